"""What both ends of a lane need to know of NumPy's arrays."""

cimport numpy as cnp
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_INCREF


cdef enum:
    LARGE = 65536  # bytes from which a copy lets the GIL go

cdef extern from "numpy/arrayobject.h":
    cnp.ndarray PyArray_NewFromDescr(
        PyTypeObject *, cnp.dtype, int, cnp.npy_intp *, cnp.npy_intp *, void *, int, object
    )
    object PyArray_NewCopy(cnp.ndarray, cnp.NPY_ORDER)
    int PyArray_CopyInto(cnp.ndarray, cnp.ndarray) except -1
    int PyArray_SetBaseObject(cnp.ndarray, object) except -1
    bint PyArray_CheckExact(object)
    cnp.dtype PyArray_DescrNew(cnp.dtype)
    bint PyDataType_HASFIELDS(cnp.dtype)
    PyTypeObject PyArray_Type


cdef inline cnp.ndarray array_at(
    void *elements, cnp.dtype dtype, int ndim, const cnp.npy_intp *shape, int flags
):
    """An array over memory that somebody else keeps alive; elements NULL: one with its own."""
    Py_INCREF(dtype)  # the call below steals one
    return PyArray_NewFromDescr(&PyArray_Type, dtype, ndim, <cnp.npy_intp *>shape, NULL, elements, flags, None)
