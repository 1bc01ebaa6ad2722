# Copies of small messages. A copy of an array costs less than a view, and keeps no message in the lane. In a usual loop
# the objects that were returned are used again, because making and freeing one takes longer than the rest of `get`.

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

    /* Replaces the content of a bytes object if nothing else refers to it, and the length is the same. Returns 1 if it
     * did, else 0. */
    static inline int refill_bytes(PyObject *bytes, const unsigned char *data, Py_ssize_t length) {
    #ifdef Py_GIL_DISABLED
        return 0;
    #else
        if (bytes == NULL || Py_REFCNT(bytes) != 1 || PyBytes_GET_SIZE(bytes) != length) {
            return 0;
        }
        memcpy(PyBytes_AS_STRING(bytes), data, (size_t)length);
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* of the hash, which only CPython itself should set */
        ((PyBytesObject *)bytes)->ob_shash = -1; /* not known yet; the old content may have been hashed */
    #pragma GCC diagnostic pop
        return 1;
    #endif
    }
    """
    bint has_only(cnp.ndarray, Py_ssize_t)
    bint refill_bytes(PyObject *, const unsigned char *, Py_ssize_t)
    Py_ssize_t Py_REFCNT(PyObject *)

cdef enum:
    SMALL = 512  # an array of at most so many bytes is copied
    USED_AGAIN = 4096  # bytes objects of at most this length are used again


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


cdef inline PyObject *copy_of_bytes(Consumer consumer, const unsigned char *data, Py_ssize_t length) noexcept:
    """Return a copy of memory as bytes (a new reference); NULL with an exception if there is too little memory.

    As in `copy_small`, the older one of the two that were returned last is usually unused.
    """
    cdef PyObject *copy
    cdef PyObject **older
    if length > USED_AGAIN:
        return new_bytes(<const char *>data, length)
    older = &consumer.small_bytes[consumer.older_bytes]
    if not refill_bytes(older[0], data, length):
        copy = new_bytes(<const char *>data, length)
        if copy is NULL:
            return NULL
        Py_XDECREF(older[0])
        older[0] = copy
    consumer.older_bytes ^= 1  # this one is now the newer one
    return new_reference(older[0])


cdef inline cnp.ndarray copy_small(Consumer consumer, const unsigned char *elements, size_t size):
    """Return a copy of an array with the header read last. Pass it to `keep_copy` when the message is released.

    A usual loop keeps no array for longer than a step, so the older one of the two that were returned last is unused,
    and gets the new elements.
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
