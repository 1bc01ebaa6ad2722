# Constructors and names of the public classes. The constructors are registered by Python modules above the extension.

cdef extern from "Python.h":
    ctypedef struct TypeFields "PyTypeObject":
        const char *tp_name
        PyObject *tp_dict
    void PyType_Modified(TypeFields *)

cdef dict constructors = {}  # from a class to the function that initializes its objects


def constructor(type cls):
    """Return a decorator that makes a function the constructor of cls, and gives cls its signature.

    `cls(...)` calls the function with the new object. The function is in a module above this one, so it can use
    transports.
    """
    def register(function):
        function.__qualname__ = cls.__name__  # the TypeError for wrong arguments names the class
        constructors[cls] = function
        set_signature(cls, function)
        return function
    return register


cdef int set_signature(type cls, initialize) except -1:
    """Give an extension class, which has no signature, that of the function that initializes its objects."""
    cdef TypeFields *fields = <TypeFields *>cls
    call = signature(initialize)
    (<dict>fields.tp_dict)["__signature__"] = call.replace(
        parameters=list(call.parameters.values())[1:], return_annotation=Signature.empty)
    PyType_Modified(fields)
    return 0
