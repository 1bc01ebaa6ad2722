# NumPy arrays, for producers and consumers.

cdef enum:
    LARGE = 65536  # a copy of this many bytes or more releases the GIL

cdef extern from "numpy/arrayobject.h":
    cnp.ndarray PyArray_NewFromDescr(
        PyTypeObject *, cnp.dtype, int, cnp.npy_intp *, cnp.npy_intp *, void *, int, object
    )
    int PyArray_CopyInto(cnp.ndarray, cnp.ndarray) except -1
    int PyArray_SetBaseObject(cnp.ndarray, object) except -1
    bint PyArray_CheckExact(object)
    cnp.dtype PyArray_DescrNew(cnp.dtype)
    bint PyDataType_HASFIELDS(cnp.dtype)
    bint PyDataType_HASSUBARRAY(cnp.dtype)
    void *PyDataType_METADATA(cnp.dtype)
    PyTypeObject PyArray_Type


cdef inline cnp.ndarray array_at(
    void *elements, cnp.dtype dtype, int ndim, const cnp.npy_intp *shape, int flags
):
    """Return an array over memory that the caller keeps alive, or with memory of its own if elements is NULL."""
    Py_INCREF(dtype)  # the call below steals a reference
    return PyArray_NewFromDescr(&PyArray_Type, dtype, ndim, <cnp.npy_intp *>shape, NULL, elements, flags, None)


cdef inline cnp.dtype own_copy(cnp.dtype dtype):
    """Return a deep copy of a structured dtype, whose fields can be renamed in place; any other dtype itself.

    The copy shares the tuples of names and the dtypes without fields. `is_same` compares them by identity.
    """
    cdef cnp.dtype copy
    if PyDataType_HASSUBARRAY(dtype):
        return <cnp.dtype>cnp.dtype((own_copy(dtype.base), dtype.shape)) if has_fields(dtype) else dtype
    if not PyDataType_HASFIELDS(dtype):
        return dtype
    copy = PyArray_DescrNew(dtype)  # it shares the dict of fields; renaming a field replaces that dict
    if is_nested(dtype):
        copy_fields(copy)
    return copy


cdef inline int copy_fields(cnp.dtype dtype) except -1:
    """Replace the structured dtypes in the fields of a dtype by copies."""
    cdef dict fields = <dict>dtype.fields, copied = {}
    cdef tuple names = dtype.names, field
    for name in names:
        field = <tuple>fields[name]
        if has_fields(<cnp.dtype>field[0]):
            inner = own_copy(<cnp.dtype>field[0])
            field = (inner, field[1]) if len(field) == 2 else (inner, field[1], field[2])
        copied[name] = field
        if len(field) > 2 and isinstance(field[2], str):
            copied[field[2]] = field  # a field can be found by its title too
    dtype.__setstate__((3, "|", None, names, copied, dtype.itemsize, dtype.alignment, (<object>dtype).flags))
    return 0


cdef inline bint is_nested(cnp.dtype dtype) except -1:
    """Return whether the dtype of some field is structured."""
    cdef Py_ssize_t at = 0
    cdef PyObject *field
    while PyDict_Next(dtype.fields, &at, NULL, &field):
        if has_fields(<cnp.dtype>PyTuple_GET_ITEM(<object>field, 0)):
            return True
    return False


cdef inline bint has_fields(cnp.dtype dtype) except -1:
    """Return whether a dtype, or its base if it is a subarray dtype, is structured."""
    return PyDataType_HASFIELDS(dtype.base if PyDataType_HASSUBARRAY(dtype) else dtype)


cdef inline bint is_same(cnp.dtype dtype, cnp.dtype kept) except -1:
    """Return whether a dtype still equals kept, which `own_copy` made of it or of an equal dtype.

    False may be wrong: the caller then does unnecessary work only. NumPy's own comparison is not exact enough. It
    ignores metadata, alignment, and different names of the same unit of time.
    """
    cdef dict fields, kept_fields
    cdef tuple names, field, kept_field
    if dtype is kept:
        return True
    if (dtype.typeobj != kept.typeobj or dtype.itemsize != kept.itemsize or dtype.flags != kept.flags
            or PyDataType_METADATA(dtype) != PyDataType_METADATA(kept)):
        return False
    if PyDataType_HASSUBARRAY(dtype) or PyDataType_HASSUBARRAY(kept):
        return (PyDataType_HASSUBARRAY(dtype) and PyDataType_HASSUBARRAY(kept)
                and <object>dtype.subarray.shape == <object>kept.subarray.shape
                and is_same(dtype.base, kept.base))
    if not PyDataType_HASFIELDS(dtype) or not PyDataType_HASFIELDS(kept) or dtype.names is not kept.names:
        return False
    fields = <dict>dtype.fields
    kept_fields = <dict>kept.fields
    if fields is kept_fields:
        return True
    names = dtype.names
    for name in names:
        field = <tuple>fields[name]
        kept_field = <tuple>kept_fields[name]
        if field is kept_field:
            continue
        if len(field) != len(kept_field) or field[1] != kept_field[1] or len(field) > 2 and field[2] != kept_field[2]:
            return False
        if not is_same(<cnp.dtype>field[0], <cnp.dtype>kept_field[0]):
            return False
    return True
