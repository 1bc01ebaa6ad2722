# Arrays in shared memory. The GIL is released during waits and large copies.

cdef class SharedArray(_SyncHandle):
    """A NumPy array in memory that processes share: each sees at once what another one writes.

    ``shared.array`` is the array. Elements are read and written in place, under the lock where that matters. Besides,
    there are atomic operations on single elements, which need no lock; and `update` and `snapshot`, which write and
    read the whole array as it is at one moment, so that no reader sees half of an update, whoever is killed.

    Parameters
    ----------
    shape, dtype
        As for `numpy.zeros`; any dtype without Python objects. A new array is all zero. If the array exists, its shape
        and dtype must be the same. None, both: those of the existing array.
    name
        For unrelated processes; names of channels, arrays and so on are in one name space. An array with a name ends
        with its last handle. None, and no path: it is anonymous and passed as an argument. It exists until every
        process that has it, or is about to receive it, has closed it or ended.
    path
        A file for the array, which stays there. It can be opened again, also after a restart of the machine, if it was
        written to the disk: `flush` and `close` do that.
    wait
        How the lock waits; as in `Producer`.

    Raises
    ------
    Incompatible
        The name is used for something else, or the array exists with another shape or dtype.
    Corrupt
        The file is not one of a shared array.
    UnsafeMessage
        The dtype has Python objects.
    SystemRefused
        There is no space, or no such array (shape=None), or it belongs to another user: an `OSError`, see `errno`.

    Examples
    --------
    >>> import numpy as np, ringipc
    >>> with ringipc.SharedArray((2, 3), "f8", name="table") as one, ringipc.SharedArray(name="table") as other:
    ...     one.array[0] = [1, 2, 3]
    ...     other.add((0, 2), 10)
    ...     with other.update() as table:
    ...         table[1] = table[0] * 2
    ...     one.snapshot()
    array([[ 1.,  2., 13.],
           [ 2.,  4., 26.]])
    """

    cdef object _dtype  # nobody else refers to it if it is structured
    cdef rip_array header  # its shape; dtype is not valid
    cdef Number number  # what its elements are, if they have atomic operations
    cdef unsigned char *data
    cdef uint64_t nbytes_
    cdef uint64_t updater  # the owner of the lock that has an update open, as rip_word_me; 0: none has

    def __init__(self, shape=None, dtype=None, *, name=None, path=None, wait="adaptive"):
        if (shape is None) != (dtype is None):
            raise TypeError("give both shape and dtype, or none of them to open an array that exists")
        if name is not None and path is not None:
            raise TypeError("an array has a name or a path, not both")
        if shape is None and name is None and path is None:
            raise TypeError("a new array needs a shape and a dtype")
        if path is not None:
            path = os.path.abspath(os.fsdecode(path))
        self.open_array(name, path, -1, None if shape is None else np.empty(0, dtype), shape, wait)

    @cython.final
    cdef int open_array(self, object name, object path, int fd, cnp.ndarray like, object shape, object wait) except -1:
        cdef rip_array header
        cdef bytes description = None
        cdef int64_t size = RIP_MUST_BE
        cdef uint32_t length
        cdef const void *found
        if shape is not None:
            description, size = describe_array(like, shape)
        self.open_memory("shared array", name, path, fd, size, description, wait)
        _atexit.close_at_exit(self)
        found = rip_memory_description(self.s, &length)
        if rip_array_read(&header, <const unsigned char *>found, length) != 0 or header.header != length:
            self.fail(-EBADMSG)
        dtype = dtypes.decode_dtype(PyBytes_FromStringAndSize(header.dtype, header.dtype_length))
        self.data = <unsigned char *>rip_memory_data(self.s, &self.nbytes_)
        if rip_array_check(&header, (<cnp.dtype>dtype).itemsize, header.header + self.nbytes_) != 0:
            self.fail(-EBADMSG)
        self.header = header
        native = dtype.isnative and not PyDataType_HASSUBARRAY(<cnp.dtype>dtype)
        self.number = number_of(dtype.kind if native else "", (<cnp.dtype>dtype).itemsize)
        self._dtype = dtype
        return 0

    @cython.final
    cdef inline int check_made(self) except -1:
        """Refuse an array that was never opened: `__init__` was not called, or has failed."""
        if cython.unlikely(self._dtype is None):
            raise errors.Closed(f"this {type(self).__name__} was never opened")
        return 0

    def __reduce__(self):
        """Pass the array to another process: by name or path, or as a file descriptor through `multiprocessing`."""
        self.check_made()
        wait = self.options[3]
        if self.name is not None or self._path is not None:
            return _open_array, (type(self), self.name, self._path, wait, None)
        return _open_array, (type(self), None, None, wait, _passing.Passed(self._descriptor()))

    @property
    def path(self):
        """The path of its file; None: it has none."""
        return self._path

    # ---- the array ----

    @cython.final
    cdef cnp.ndarray array_over(self, void *elements):
        """Return an array of this shape and dtype over this memory, or with memory of its own if NULL."""
        cdef cnp.npy_intp dims[RIP_MAX_NDIM]
        cdef int i
        self.check_made()
        for i in range(self.header.ndim):
            dims[i] = <cnp.npy_intp>self.header.shape[i]
        dtype = own_copy(<cnp.dtype>self._dtype)  # users can rename its fields in place
        # without memory, NumPy would take any flag for Fortran order
        return array_at(elements, dtype, self.header.ndim, dims, cnp.NPY_ARRAY_WRITEABLE if elements is not NULL else 0)

    @property
    def array(self):
        """The array, in shared memory. It can be used as long as it is referred to, also after `close`."""
        cdef cnp.ndarray array = self.array_over(self.data)
        Py_INCREF(self)  # the call below steals a reference
        PyArray_SetBaseObject(array, self)
        return array

    def __array__(self, dtype=None, copy=None):
        array = self.array
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"an array of {array.dtype} cannot be used as one of {dtype} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __getitem__(self, key):
        return self.array[key]

    def __setitem__(self, key, value):
        self.array[key] = value

    def __len__(self):
        return len(self.array)

    @property
    def shape(self):
        """Its shape, a tuple."""
        self.check_made()
        return tuple([self.header.shape[i] for i in range(self.header.ndim)])

    @property
    def dtype(self):
        """Its dtype."""
        self.check_made()
        return own_copy(<cnp.dtype>self._dtype)

    @property
    def nbytes(self):
        """The size of its elements in bytes."""
        return self.nbytes_

    # ---- the whole array at one moment ----

    @property
    def lock(self):
        """Its lock, an `RLock`. `update` takes it; `snapshot` and atomic operations do not.

        Its owner is a thread with this handle. If a process has opened the array twice, or has received it twice, the
        two handles exclude each other, also in one thread: it would wait for itself.
        """
        cdef RLock lock = RLock.__new__(RLock)
        self.check_made()
        lock.bind(self, self, rip_memory_lock(self.s))
        return lock

    def update(self):
        """Return a context manager that replaces the whole array at once, when its block ends.

        The block gets a copy of the array, and can change it as it likes. At its end the array is replaced by what the
        copy is then, for `snapshot` in one moment. If an exception leaves the block, nothing changes. If the process is
        killed, the array is as before, or all of it is new. The lock of the array is held meanwhile. What others write
        to the array without the lock, also by atomic operations, is lost.

        Raises
        ------
        RuntimeError
            This thread has an update open already.
        SystemRefused
            There is no memory for the second copy of the array, which the first update needs.
        ValueError
            The block has resized its copy in place.
        Closed
            This handle is closed.
        """
        cdef Update update = Update.__new__(Update)
        update.shared = self
        update.lock = self.lock
        return update

    def snapshot(self, cnp.ndarray out=None):
        """Return a copy of the array as it was at one moment: with all of an `update`, or nothing of it.

        It never waits, whoever holds the lock. Only updates are seen as a whole, not what is written in place. Large
        copies are made without the GIL.

        Parameters
        ----------
        out
            An array of this shape and dtype for the copy, in C order. None: a new one.

        Raises
        ------
        ValueError
            out has another shape, dtype or order, or is read-only.
        Closed
            This handle is closed.
        """
        cdef int rc = -EAGAIN
        cdef void *to
        if out is None:
            out = self.array_over(NULL)
        elif ((<object>out).dtype != self._dtype or (<object>out).shape != self.shape
                or not (cnp.PyArray_IS_C_CONTIGUOUS(out) and out.flags.writeable)):
            raise ValueError(
                f"out must be a writable array of shape {self.shape} and dtype {self._dtype} in C order, and is "
                f"{array_text(out)}"
            )
        self.enter_safely()
        to = cnp.PyArray_DATA(out)
        while rc == -EAGAIN:
            PyErr_CheckSignals()
            if self.nbytes_ < LARGE:
                rc = rip_memory_read(self.s, to)
            else:
                with nogil:
                    rc = rip_memory_read(self.s, to)
        self.checked(rc)
        return out

    @cython.final
    cdef int enter_safely(self) except -1:
        self.check_made()
        with cython.critical_section(self):
            return self.enter()

    @cython.final
    cdef int replace(self, cnp.ndarray values) except -1:
        """Replace the whole array. The lock is held."""
        cdef const void *new = cnp.PyArray_DATA(values)
        cdef int rc
        if cnp.PyArray_NBYTES(values) != <cnp.npy_intp>self.nbytes_:
            raise ValueError(
                f"the array of an update must keep its {self.nbytes_} bytes, and is {array_text(values)}; the shared "
                "array is as before"
            )
        if self.nbytes_ < LARGE:
            rc = rip_memory_write(self.s, new)
        else:
            with nogil:
                rc = rip_memory_write(self.s, new)
        return self.checked(rc)

    # ---- single elements ----

    @cython.final
    cdef void *element(self, object index) except NULL:
        """Return the address of an element."""
        cdef Py_ssize_t at = 0, i, n
        if cython.unlikely(self.s is NULL or self.s.handle.state != RIP_OPEN):
            self.enter_safely()
        if cython.unlikely(self.number.size == 0):
            raise TypeError(
                f"atomic operations are for integers and for float32 and float64 in native byte order, not for "
                f"{self._dtype}"
            )
        if cython.likely(self.header.ndim == 1 and type(index) is not tuple):
            return self.data + self.within(index, 0) * self.number.size
        if type(index) is not tuple or len(<tuple>index) != self.header.ndim:
            raise IndexError(f"the index of one element has {self.header.ndim} integers, not {index!r}")
        n = self.header.ndim
        for i in range(n):
            at = at * <Py_ssize_t>self.header.shape[i] + self.within((<tuple>index)[i], <int>i)
        return self.data + at * self.number.size

    @cython.final
    cdef inline Py_ssize_t within(self, object index, int axis) except -1:
        cdef Py_ssize_t at = PyNumber_AsSsize_t(index, NULL), length = <Py_ssize_t>self.header.shape[axis]
        if cython.unlikely(not -length <= at < length):
            raise IndexError(f"index {index} is out of bounds for axis {axis} with size {length}")
        return at if at >= 0 else at + length

    def add(self, index, value, /):
        """Add a value to an element, atomically.

        Parameters
        ----------
        index
            Of the element: an integer, or a tuple of as many as the array has dimensions.
        value
            Integers wrap around.

        Raises
        ------
        TypeError
            The elements are not integers, float32 or float64 in native byte order; or the value is not a number.
        IndexError
            There is no such element.
        Closed
            This handle is closed.
        """
        cdef void *at = self.element(index)
        rip_number_add(at, self.number.kind, bits_of(&self.number, value))

    def fetch_add(self, index, value, /):
        """Add a value to an element, atomically, and return what it was before. Otherwise as `add`."""
        cdef void *at = self.element(index)
        return value_of(&self.number, rip_number_add(at, self.number.kind, bits_of(&self.number, value)))

    def exchange(self, index, value, /):
        """Set an element, atomically, and return what it was before.

        Raises
        ------
        OverflowError
            The elements cannot have this value.
        TypeError, IndexError, Closed
            As for `add`.
        """
        cdef void *at = self.element(index)
        return value_of(&self.number, rip_number_exchange(at, self.number.kind, bits_that_fit(&self.number, value)))

    def compare_exchange(self, index, expected, value, /):
        """Set an element, atomically, if it is what is expected. Numbers are compared by their bits.

        Returns
        -------
        bool
            Whether it was.

        Raises
        ------
        OverflowError, TypeError, IndexError, Closed
            As for `exchange`.
        """
        cdef void *at = self.element(index)
        cdef uint64_t wanted = bits_that_fit(&self.number, expected)
        return rip_number_compare_exchange(at, self.number.kind, &wanted, bits_that_fit(&self.number, value)) == 1

    # ---- the file, and the end ----

    def flush(self):
        """Have the file of an array with a path written to the disk, and wait for it. Otherwise nothing is done.

        Raises
        ------
        SystemRefused
            The disk has failed.
        Closed
            This handle is closed.
        """
        cdef int rc
        self.enter_safely()
        if self._path is not None:
            with nogil:
                rc = rip_memory_flush(self.s)
            self.checked(rc)

    @cython.critical_section
    def _end(self, *, bint exiting=False):
        if self.s is NULL:
            return
        try:
            if self._path is not None and self.s.handle.state == RIP_OPEN:
                self.flush()
        finally:
            with nogil:
                rip_memory_stop(self.s)  # another thread may end an update now, without the GIL
            _SyncHandle._end(self, exiting=exiting)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def __repr__(self):
        if self._dtype is None:
            return "<SharedArray, never opened>"
        where = "" if self._path is None else f" {self._path!r}"
        named = where if self.name is None else f" {self.name!r}"
        return f"<SharedArray{named} of shape {self.shape} and dtype {self._dtype}{', closed' if self.closed else ''}>"


set_signature(SharedArray, lambda array, shape=None, dtype=None, *, name=None, path=None, wait="adaptive": None)


@cython.internal
cdef class Update:
    """The context manager of `SharedArray.update`."""

    cdef SharedArray shared
    cdef RLock lock
    cdef cnp.ndarray values

    def __enter__(self):
        if self.lock is None:
            raise TypeError("an update is made by SharedArray.update()")
        self.lock.take(RIP_FOREVER)
        try:
            if self.shared.updater == rip_word_me(self.lock.s):  # a forked child has copied that of its parent
                raise RuntimeError("this thread has an update of this array open already")
            self.values = self.shared.array.copy()
            self.shared.updater = rip_word_me(self.lock.s)
        except BaseException:
            self.lock.give()
            raise
        return self.values

    def __exit__(self, kind, error, trace):
        if self.values is None or self.shared.updater != rip_word_me(self.lock.s):
            raise RuntimeError("this thread is not in the block of this update")
        values, self.values = self.values, None
        self.shared.updater = 0
        try:
            if kind is None:
                self.shared.replace(values)
        finally:
            self.lock.give()


def _open_array(type cls, name, path, wait, passed):
    cdef SharedArray array = cls.__new__(cls)
    fd = -1 if passed is None else passed.detach()
    try:
        array.open_array(name, path, fd, None, None, wait)
    finally:
        if fd >= 0:
            os.close(fd)
    return array


cdef tuple describe_array(cnp.ndarray like, object shape):
    """Return the description of an array, and the size of its elements in bytes.

    like: an array of no elements. Its first dimension is replaced by shape; it has others if a subarray was its dtype.
    """
    cdef rip_array header
    cdef bytes code
    dtype, code = dtypes.encode_dtype((<object>like).dtype, "share")
    try:
        dims = (index_of(shape),)
    except TypeError:
        dims = tuple([index_of(n) for n in shape])
    dims += (<object>like).shape[1:]
    if len(dims) > RIP_MAX_NDIM or any([n < 0 for n in dims]):
        raise ValueError(f"shape must be up to {RIP_MAX_NDIM} integers from 0 up, not {shape!r}")
    size = prod(dims) * dtype.itemsize
    if size > RIP_MAX_MEMORY:
        raise ValueError(f"an array of {size} bytes is longer than the maximum of {RIP_MAX_MEMORY}")
    header.dtype = PyBytes_AS_STRING(code)
    header.dtype_length = <uint32_t>PyBytes_GET_SIZE(code)
    header.ndim = <uint8_t>len(dims)
    header.fortran = False
    for i, n in enumerate(dims):
        header.shape[i] = n
    header.header = rip_array_header_size(&header)
    if header.header == 0:
        raise ValueError("the description of this dtype takes more than 4 MB")
    description = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>header.header)
    memset(PyBytes_AS_STRING(description), 0, header.header)
    rip_array_write(&header, <unsigned char *>PyBytes_AS_STRING(description))
    return description, size
