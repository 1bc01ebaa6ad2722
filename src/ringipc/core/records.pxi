# Records of plain values: msgspec is called directly. `codecs` handles all other records, and the errors.

cdef enum:
    RECORD_HEAD = 16  # the numbers that `multipart.join` writes before the msgpack: its length, and 0 blocks
    RECORD_TABLE = 0xC1  # the first byte of a record with tuples
    RECORD_DEPTH = 20  # nesting of lists and dicts; `codecs` takes more

cdef extern from "Python.h":
    PyObject *PyObject_CallOneArg(object, object)
    bint PyBool_Check(object)
    bint PyDict_CheckExact(object)
    bint PyList_CheckExact(object)
    Py_ssize_t PyList_GET_SIZE(object)
    PyObject *PyList_GET_ITEM(object, Py_ssize_t)
    bint PyLong_CheckExact(object)
    bint PyUnicode_CheckExact(object)


cdef object pack_record = record.pack
cdef object unpack_record = record.unpack


cdef inline bint is_scalar(PyObject *value) noexcept:
    return (PyUnicode_CheckExact(<object>value) or PyLong_CheckExact(<object>value) or PyFloat_CheckExact(<object>value)
            or <object>value is None or PyBool_Check(<object>value) or PyBytes_CheckExact(<object>value))


cdef bint is_plain(PyObject *value, int room) noexcept:
    """Return whether msgspec encodes a value as the codec of records does. False may be wrong."""
    cdef PyObject *key
    cdef PyObject *item
    cdef Py_ssize_t at = 0
    cdef object container
    if is_scalar(value):
        return True
    if not room:
        return False
    container = <object>value
    with cython.critical_section(container):  # the references below are borrowed
        if PyDict_CheckExact(container):
            while PyDict_Next(container, &at, &key, &item):
                if not is_scalar(key) or not (is_scalar(item) or is_plain(item, room - 1)):
                    return False
            return True
        if PyList_CheckExact(container):
            for at in range(PyList_GET_SIZE(container)):
                item = PyList_GET_ITEM(container, at)
                if not (is_scalar(item) or is_plain(item, room - 1)):
                    return False
            return True
    return False


cdef inline PyObject *called(object function, object argument) noexcept:
    """Return a new reference to what a function returns; NULL if it raises: `codecs` raises a better error."""
    cdef PyObject *result = PyObject_CallOneArg(function, argument)
    if result is NULL:
        PyErr_Clear()
    return result


cdef inline PyObject *packed_record(object message) noexcept:
    """Return the msgpack of a record of plain values (a new reference); NULL if `codecs` must encode the message."""
    return called(pack_record, message) if is_plain(<PyObject *>message, RECORD_DEPTH) else NULL


cdef PyObject *unpacked_record(const unsigned char *data, uint64_t length) noexcept:
    """Return the record of plain values in a message (a new reference); NULL if `codecs` must decode it."""
    cdef PyObject *packed
    cdef uint64_t head[2]
    if not RECORD_HEAD < length < LARGE or data[RECORD_HEAD] == RECORD_TABLE:
        return NULL
    memcpy(head, data, RECORD_HEAD)
    if head[0] != length - RECORD_HEAD or head[1]:
        return NULL
    packed = new_bytes(<const char *>data + RECORD_HEAD, <Py_ssize_t>(length - RECORD_HEAD))
    if packed is NULL:
        PyErr_Clear()
        return NULL
    return called(unpack_record, owned(packed))
