# `Consumer.get` and `Producer.put` without options: parsing arguments that are not there takes a tenth of such a call.

cdef extern from *:
    """
    #include <string.h>

    typedef PyObject *const *Arguments;
    typedef PyObject *(*Method)(PyObject *self, Arguments arguments, Py_ssize_t count, PyObject *names);

    /* Lets a method of an extension type call another function. Returns the function that it called before. */
    static Method replace_method(PyTypeObject *type, const char *name, Method function) {
        PyMethodDef *method = type->tp_methods;
        while (strcmp(method->ml_name, name) != 0) {
            method++;
        }
        assert(method->ml_flags == (METH_FASTCALL | METH_KEYWORDS));
        Method before = (Method)(void (*)(void))method->ml_meth;
        method->ml_meth = (PyCFunction)(void (*)(void))function;
        return before;
    }
    """
    ctypedef PyObject **Arguments
    ctypedef object (*Method)(object, Arguments, Py_ssize_t, PyObject *)
    Method replace_method(PyTypeObject *, const char *, Method)


cdef object get_shortly(Consumer consumer, Arguments arguments, Py_ssize_t count, PyObject *names):
    """`Consumer.get`; without arguments, they are not parsed."""
    cdef PyObject *got
    if cython.unlikely(count or names is not NULL):
        return parse_and_get(consumer, arguments, count, names)
    with cython.critical_section(consumer):
        got = consumer.get_near()
        return owned(got) if got is not NULL else consumer.get_far(INFINITY, None)


cdef object put_shortly(Producer producer, Arguments arguments, Py_ssize_t count, PyObject *names):
    """`Producer.put`; with a message and no other arguments, they are not parsed."""
    if cython.unlikely(count != 1 or names is not NULL):
        return parse_and_put(producer, arguments, count, names)
    with cython.critical_section(producer):
        return True if producer.put_near(arguments[0]) else (
            producer.put_far(<object>arguments[0], INFINITY, None, 0, -ETIMEDOUT))


cdef Method parse_and_get = replace_method(<PyTypeObject *>Consumer, "get", <Method>get_shortly)
cdef Method parse_and_put = replace_method(<PyTypeObject *>Producer, "put", <Method>put_shortly)
