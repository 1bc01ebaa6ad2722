# Copies of small arrays. A copy costs less than a view, and keeps no message in the lane.

cdef extern from *:
    """
    /* Has an array only so many references, and no weak ones? Without the GIL, reference counts do not tell. */
    static inline int has_only(PyObject *array, Py_ssize_t references) {
    #ifdef Py_GIL_DISABLED
        return 0;
    #else
        return Py_REFCNT(array) == references && !((PyArrayObject_fields *)array)->weakreflist;
    #endif
    }
    """
    bint has_only(cnp.ndarray, Py_ssize_t)
    Py_ssize_t Py_REFCNT(PyObject *)

cdef enum:
    SMALL = 512  # an array of at most so many bytes is copied


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Copy:
    """The memory of a small array. As the base of the array, it keeps the array read-only, as a view is."""

    cdef unsigned char *memory
    cdef Py_ssize_t size

    def __dealloc__(self):
        PyMem_Free(self.memory)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.memory, self.size, True, flags)


cdef inline cnp.ndarray copy_small(Consumer consumer, const unsigned char *elements, size_t size):
    """Return a copy of an array with the header read last. Pass it to `keep_copy` when the message is released.

    Making an array takes longer than all the rest of `get`. A usual loop keeps no array for longer than a step, so the
    older one of the two that were returned last is unused, and gets the new elements.
    """
    cdef cnp.ndarray array = consumer.older_copy
    if not is_unused(consumer, array, size):
        array = new_copy(consumer, <Py_ssize_t>size)
    memcpy(cnp.PyArray_DATA(array), elements, size)
    return array


cdef inline void keep_copy(Consumer consumer, cnp.ndarray array) noexcept:
    """Keep an array of `copy_small`. This can end another array, and so call a user's function (a weak reference)."""
    consumer.older_copy, consumer.last_copy = consumer.last_copy, array


cdef inline bint is_unused(Consumer consumer, cnp.ndarray array, size_t size) noexcept:
    """Return whether only the consumer refers to a copy, and it is as `new_copy` would make it now."""
    cdef PyObject *base
    cdef int i
    if (array is None or not has_only(array, 2)  # the consumer's, and that of `copy_small`
            or cnp.PyArray_FLAGS(array) != consumer.copy_flags
            or <void *>cnp.PyArray_DESCR(array) != <void *>consumer.dtype
            or cnp.PyArray_NDIM(array) != consumer.array.ndim):
        return False
    for i in range(consumer.array.ndim):
        if (cnp.PyArray_DIMS(array)[i] != <cnp.npy_intp>consumer.array.shape[i]
                or cnp.PyArray_STRIDES(array)[i] != consumer.copy_strides[i]):
            return False
    base = cnp.PyArray_BASE(array)
    return (base is not NULL and type(<object>base) is Copy and Py_REFCNT(base) == 1
            and (<Copy>base).size == <Py_ssize_t>size and <void *>(<Copy>base).memory == cnp.PyArray_DATA(array))


cdef cnp.ndarray new_copy(Consumer consumer, Py_ssize_t size):
    """Return an array for `copy_small`."""
    cdef cnp.ndarray array
    cdef Copy copy = Copy.__new__(Copy)
    copy.memory = <unsigned char *>PyMem_Malloc(<size_t>size)
    if copy.memory is NULL:
        raise MemoryError
    copy.size = size
    array = new_array(consumer, copy.memory, copy)
    consumer.copy_flags = cnp.PyArray_FLAGS(array)
    memcpy(consumer.copy_strides, cnp.PyArray_STRIDES(array), sizeof(cnp.npy_intp) * consumer.array.ndim)
    return array
