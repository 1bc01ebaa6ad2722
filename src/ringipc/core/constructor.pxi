# What the classes of this module need to be those of the package: their names, and constructors from above.

cdef extern from "Python.h":
    ctypedef struct TypeFields "PyTypeObject":
        const char *tp_name
        PyObject *tp_dict
    void PyType_Modified(TypeFields *)

cdef dict constructors = {}  # a class: the function that initializes its objects


def constructor(type cls):
    """A decorator: the function is what `cls(...)` calls with the new object, and has its signature.

    It stands above this module, as it may know transports.
    """
    def register(function):
        function.__qualname__ = cls.__name__  # for the TypeError of arguments that do not fit
        constructors[cls] = function
        set_signature(cls, function)
        return function
    return register


cdef int set_signature(type cls, initialize) except -1:
    """Give a class, which in C has no signature, that of a function that initializes its objects."""
    cdef TypeFields *fields = <TypeFields *>cls
    call = signature(initialize)
    (<dict>fields.tp_dict)["__signature__"] = call.replace(
        parameters=list(call.parameters.values())[1:], return_annotation=Signature.empty)
    PyType_Modified(fields)
    return 0
