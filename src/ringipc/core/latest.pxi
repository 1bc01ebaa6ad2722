# The latest value. The GIL is released during waits and large copies.

cdef bytes EMPTY = b""


cdef object NO_SEQ = 0  # the default of newer_than: an int of this size is always the same object


cdef inline uint64_t seq_of(object newer_than) except? -1:
    """Return a newer_than argument."""
    return 0 if newer_than is NO_SEQ else seq_from(newer_than)


cdef uint64_t seq_from(object newer_than) except? -1:
    if isinstance(newer_than, bool) or not PyIndex_Check(newer_than):
        raise TypeError(f"newer_than must be the seq of a value, an int, not {newer_than!r}")
    try:
        return newer_than
    except OverflowError:
        raise ValueError(f"newer_than must be the seq of a value, from 0 to 2**64 - 1, not {newer_than!r}") from None


cdef class Latest(_SyncHandle):
    """The newest value of something: a pose, a price, a frame, a configuration. Any number of processes can read it.

    A new value replaces the one before, and reading takes nothing away. If several processes set it, the last one wins.
    Readers get copies, each whole: never a part of one value and a part of another, whoever is killed at whatever
    moment. No reader can delay a writer, and no writer a reader. Threads may share it.

    Parameters
    ----------
    name
        For unrelated processes; names of channels, semaphores and so on are in one name space. A value with a name ends
        with its last handle, whether that can set it or not. None: it is anonymous and passed as an argument. It exists
        until every process that has it, or is about to receive it, has closed it or ended.
    capacity
        The most bytes that a value can have, as a number or as text ("64 MiB"). An array has 64 bytes more than its
        elements. None: that of the existing one, or 64 MiB. Whoever opens it first decides; others can give less, but
        not more. Memory is allocated as it is needed: up to 8 times what the largest value has needed, and 4 times if
        values have 64 KiB or more.
    pickle
        As in `Producer` and `Consumer`: `set` pickles every value except bytes, memoryviews and arrays, and `get`
        unpickles.
    wait
        How calls wait; as in `Producer`.

    Raises
    ------
    Incompatible
        The name is used for something else, or the latest value exists with a smaller capacity.
    SystemRefused
        There is no space, or it belongs to another user: an `OSError`, see `errno`.

    Examples
    --------
    >>> import numpy as np, ringipc
    >>> with ringipc.Latest("pose") as robot, ringipc.Latest("pose") as display:
    ...     robot.set(np.zeros(3))
    ...     robot.set(np.array([1.0, 2.0, 0.5]))
    ...     display.get()
    ...     display.wait(newer_than=2, timeout=0.01)
    1
    2
    array([1. , 2. , 0.5])
    False
    """

    cdef bint _pickle
    cdef object readiness
    cdef uint64_t seen  # the word of the value that this handle has found last
    cdef object set_dtype  # of the array set last; a copy of it if it is structured
    cdef bytes set_code
    cdef object dtype  # of the array got last; nobody else refers to it if it is structured
    cdef bytes dtype_code
    cdef unsigned char head[RIP_LINE]  # the header of the array got last
    cdef uint64_t array_length  # the length of that value; 0: its header was longer than head
    cdef rip_array array  # what that header says, except dtype

    def __cinit__(self, *args, **kwargs):
        self.readiness = _readiness.Readiness()

    def __init__(self, name=None, *, capacity=None, pickle=False, wait="adaptive"):
        self._pickle = _arguments.checked_bool("pickle", pickle)
        size = None if capacity is None else _arguments.size_in_bytes(capacity)
        self.open("latest value", name, size, False, wait)

    def __reduce__(self):
        """Pass it to another process, as other objects in shared memory."""
        return _open_latest, (*_SyncHandle.__reduce__(self), self._pickle)

    # ---- setting ----

    @cython.critical_section
    def set(self, value):
        """Make a copy of this value the newest one, and wake all who wait for it.

        Parameters
        ----------
        value
            What `Producer.put` takes: an array, bytes, a record, a tensor; any object with pickle=True.

        Returns
        -------
        int
            The number of the value: its `seq`.

        Raises
        ------
        MessageTooLarge
            The value has more bytes than capacity.
        UnsafeMessage
            As in `Producer.put`.
        SystemRefused
            There is no memory for the value. The value before stays the newest one.
        TableFull
            255 handles have set it already.
        Closed
            This handle is closed.
        """
        if PyBytes_CheckExact(value):
            return self.set_memory(RIP_BYTES, <const unsigned char *>PyBytes_AS_STRING(value),
                                   <uint64_t>PyBytes_GET_SIZE(value))
        if PyArray_CheckExact(value) and (not self._pickle or self.knows_dtype(<cnp.dtype>cnp.PyArray_DESCR(value))):
            return self.set_array(value)
        return self.set_other(value)

    @cython.final
    cdef int begin(self, uint64_t length, unsigned char **payload) except -1:
        """Claim a slot for a value of length bytes. Return its number."""
        cdef int slot = -ESHUTDOWN if self.s is NULL else rip_latest_begin(self.s, length, RIP_FOREVER, payload)
        while slot == -EAGAIN:
            await_lock(&self.s.handle, RIP_FOREVER)
            slot = rip_latest_begin(self.s, length, RIP_FOREVER, payload)
        if cython.unlikely(slot < 0):
            if slot == -EMSGSIZE:
                raise _failures.value_too_large(self.name, length, rip_latest_capacity(self.s))
            self.fail(slot)
        return slot

    @cython.final
    cdef object set_memory(self, uint8_t kind, const unsigned char *data, uint64_t length):
        cdef unsigned char *payload
        cdef int slot = self.begin(length, &payload)
        copy_memory(payload, data, length)
        return rip_latest_publish(self.s, slot, length, kind)

    @cython.final
    cdef inline bint knows_dtype(self, cnp.dtype dtype) except -1:
        """Return whether set_code describes this dtype with the present names of its fields."""
        if cython.likely(<void *>dtype == <void *>self.set_dtype):
            return True
        return self.set_dtype is not None and PyDataType_HASFIELDS(dtype) and is_same(dtype, self.set_dtype)

    @cython.final
    cdef object set_array(self, cnp.ndarray array):
        cdef rip_array header
        cdef unsigned char *payload
        cdef uint64_t size = <uint64_t>cnp.PyArray_NBYTES(array)
        cdef bint plain = cnp.PyArray_IS_C_CONTIGUOUS(array)
        cdef bytes code
        cdef int slot
        if not self.knows_dtype(<cnp.dtype>cnp.PyArray_DESCR(array)):
            try:
                self.set_dtype, self.set_code = dtypes.encode_dtype(<object>cnp.PyArray_DESCR(array))
            except errors.UnsafeMessage as error:
                raise _failures.named_value(error, self.name) from error.__cause__
        code = self.set_code  # another thread may change it while this one waits
        header.dtype = PyBytes_AS_STRING(code)
        header.dtype_length = <uint32_t>PyBytes_GET_SIZE(code)
        header.ndim = <uint8_t>cnp.PyArray_NDIM(array)
        header.fortran = not plain and cnp.PyArray_IS_F_CONTIGUOUS(array)
        memcpy(header.shape, cnp.PyArray_DIMS(array), sizeof(uint64_t) * header.ndim)
        header.header = rip_array_header_size(&header)
        if header.header == 0:
            raise ValueError("the description of this dtype takes more than 4 MB")
        slot = self.begin(header.header + size, &payload)
        rip_array_write(&header, payload)
        if plain or header.fortran:
            copy_memory(payload + header.header, <const unsigned char *>cnp.PyArray_DATA(array), size)
        else:
            try:
                copy_strided(payload + header.header, array)
            except BaseException:
                rip_latest_cancel(self.s, slot)
                raise
        return rip_latest_publish(self.s, slot, header.header + size, RIP_ARRAY)

    @cython.final
    cdef object set_other(self, object value):
        """Set what is neither bytes nor a plain array: encode it first."""
        cdef uint64_t head[2]
        cdef PyObject *packed = NULL if self._pickle else packed_record(value)
        if packed is not NULL:
            record = owned(packed)
            head[0], head[1] = <uint64_t>PyBytes_GET_SIZE(record), 0
            return self.set_parts(RIP_RECORD, PyBytes_FromStringAndSize(<const char *>head, RECORD_HEAD) + record, [])
        try:
            value = codecs.encode(value, self._pickle)
        except errors.UnsafeMessage as error:
            raise _failures.named_value(error, self.name) from error.__cause__
        if PyArray_CheckExact(value):
            return self.set_array(value)
        if isinstance(value, tuple):
            return self.set_parts(value[0], value[1], list(value[2]))
        return self.set_parts(RIP_BYTES, b"", [value])

    @cython.final
    cdef object set_parts(self, uint8_t kind, bytes head, list blocks):
        """Set a value of several parts: a head, and then blocks of memory, each aligned to 64 bytes."""
        cdef unsigned char *payload
        cdef uint64_t length = parts_length(head, blocks)
        cdef int slot = self.begin(length, &payload)
        try:
            copy_parts(payload, head, blocks)
        except BaseException:
            rip_latest_cancel(self.s, slot)
            raise
        return rip_latest_publish(self.s, slot, length, kind)

    # ---- reading ----

    @cython.final
    cdef inline bint find(self, rip_value *value, double seconds, uint64_t newer_than) except -1:
        """Find the newest value. Return False if there is none within the timeout that is newer than this seq."""
        cdef int rc = -ESHUTDOWN if self.s is NULL else rip_latest_wait(self.s, newer_than, deadline_of(seconds), value)
        while rc == -EAGAIN:
            await_lock(&self.s.handle, RIP_FOREVER)
            rc = rip_latest_wait(self.s, newer_than, deadline_of(seconds), value)
        if cython.unlikely(rc < 0 and rc != -ETIMEDOUT):
            self.fail(rc)
        self.seen = value.word
        if cython.unlikely(self.s.latest.fd is not NULL):
            self.update_fd()
        return rc == 1

    @cython.final
    cdef int find_or_fail(self, rip_value *value, object timeout, uint64_t newer_than) except -1:
        if not self.find(value, seconds_or(timeout, "get_nowait()"), newer_than):
            raise _failures.no_value(self.name, timeout, newer_than)
        return 0

    @cython.final
    cdef int find_again(self, rip_value *value) except -1:
        """Find the newest value after another one was overwritten while it was read."""
        PyErr_CheckSignals()
        self.find(value, 0, 0)
        return 0

    @cython.final
    cdef object read(self, rip_value *value):
        """Return a copy of the value, or of a newer one (then also in *value) if it is overwritten meanwhile."""
        cdef PyObject *record
        while True:
            if value.kind == RIP_ARRAY:
                got = self.read_array(value)
            elif value.kind == RIP_BYTES:
                got = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>value.length)
                copy_memory(<unsigned char *>PyBytes_AS_STRING(got), value.data, value.length)
            else:
                record = unpacked_record(value.data, value.length) if value.kind == RIP_RECORD else NULL
                if record is not NULL:
                    got = owned(record)
                else:
                    got = array_of_bytes(value.length)
                    copy_memory(<unsigned char *>cnp.PyArray_DATA(got), value.data, value.length)
                    if rip_latest_is_whole(self.s, value):
                        return self.decode(value.kind, got)
            if cython.likely(rip_latest_is_whole(self.s, value)):
                return got
            self.find_again(value)

    @cython.final
    cdef object decode(self, uint8_t kind, object memory):
        """Return the record or object in this memory. Its arrays are in that memory, and keep it alive."""
        try:
            return codecs.decode(kind, PyMemoryView_FromObject(memory), False, self._pickle)
        except (errors.Corrupt, errors.UnsafeMessage) as error:
            raise _failures.named_value(error, self.name) from error.__cause__

    @cython.final
    cdef bint read_header(self, const rip_value *value) except -1:
        """Bring self.array and self.dtype up to date for this value. Return False if it has been overwritten."""
        cdef unsigned char head[RIP_LINE]
        cdef uint64_t lines = 0, length = value.length
        cdef rip_array array
        cdef bytes copy, code
        if length == self.array_length:
            memcpy(head, value.data, RIP_LINE)
            if cython.likely(memcmp(head, self.head, RIP_LINE) == 0):
                return True  # if it is being overwritten, the caller finds that later
        memcpy(&lines, value.data, min(length, 2))  # RIP_LINE bytes each
        copy = PyBytes_FromStringAndSize(<const char *>value.data, <Py_ssize_t>min(length, lines * RIP_LINE))
        if not rip_latest_is_whole(self.s, value):
            return False
        if rip_array_read(&array, <const unsigned char *>PyBytes_AS_STRING(copy), length) != 0:
            self.fail(-EBADMSG)
        if (self.dtype_code is None or array.dtype_length != <uint32_t>PyBytes_GET_SIZE(self.dtype_code)
                or memcmp(array.dtype, PyBytes_AS_STRING(self.dtype_code), array.dtype_length) != 0):
            self.array_length = 0
            code = PyBytes_FromStringAndSize(array.dtype, array.dtype_length)
            try:
                self.dtype, self.dtype_code = dtypes.decode_dtype(code), code
            except (errors.Corrupt, errors.UnsafeMessage) as error:
                raise _failures.named_value(error, self.name) from error.__cause__
        if rip_array_check(&array, (<cnp.dtype>self.dtype).itemsize, length) != 0:
            self.fail(-EBADMSG)
        self.array = array
        self.array_length = 0
        if array.header == RIP_LINE:
            self.array_length = length
            memcpy(self.head, PyBytes_AS_STRING(copy), RIP_LINE)
        return True

    @cython.final
    cdef cnp.ndarray array_in(self, void *elements):
        """Return an array of the shape and dtype in self.array, over this memory, or with memory of its own if NULL."""
        cdef cnp.npy_intp dims[RIP_MAX_NDIM]
        cdef object dtype = self.dtype
        cdef int i, flags = cnp.NPY_ARRAY_F_CONTIGUOUS if self.array.fortran else 0
        for i in range(self.array.ndim):
            dims[i] = <cnp.npy_intp>self.array.shape[i]
        if PyDataType_HASFIELDS(<cnp.dtype>dtype):
            dtype = own_copy(<cnp.dtype>dtype)  # users can rename its fields in place
        try:
            return array_at(elements, dtype, self.array.ndim, dims, flags)
        except ValueError:  # NumPy refuses the number or the sizes of its dimensions
            self.fail(-EBADMSG)

    @cython.final
    cdef object read_array(self, const rip_value *value):
        """Return a copy of an array; it may be torn, if the value has been overwritten."""
        cdef cnp.ndarray array
        cdef uint64_t header
        if not self.read_header(value):
            return None
        header = self.array.header
        if (<cnp.dtype>self.dtype).itemsize == 0:  # with memory of its own, NumPy would make it 1: "S0" would be "S1"
            return self.array_in(PyBytes_AS_STRING(EMPTY))
        array = self.array_in(NULL)
        copy_memory(<unsigned char *>cnp.PyArray_DATA(array), value.data + header, value.length - header)
        return array

    @cython.critical_section
    def get(self, timeout=None, *, newer_than=0):
        """Return a copy of the newest value. Wait for the first one if none has been set.

        Parameters
        ----------
        timeout
            Seconds to wait; None waits for ever, 0 not at all.
        newer_than
            Wait for a value with a greater seq than this.

        Returns
        -------
        What was set; see `Producer.put`. Arrays can be written to.

        Raises
        ------
        ValueError
            newer_than or timeout is less than 0.
        Empty
            There was no such value within the timeout.
        UnsafeMessage
            The value is pickled, and this handle was opened without pickle=True.
        Corrupt
            The value is malformed.
        Closed
            This handle is closed, or another thread closes it during the wait.
        """
        cdef rip_value value
        self.find_or_fail(&value, timeout, seq_of(newer_than))
        return self.read(&value)

    @cython.critical_section
    def get_nowait(self, *, newer_than=0):
        """Return the newest value without waiting: `get` with timeout=0."""
        cdef rip_value value
        if not self.find(&value, 0, seq_of(newer_than)):
            raise _failures.no_value(self.name, 0, newer_than)
        return self.read(&value)

    @cython.critical_section
    def message(self, timeout=None, *, newer_than=0):
        """Return the newest value with its number and time, a `LatestMessage`. Otherwise as `get`."""
        cdef rip_value value
        self.find_or_fail(&value, timeout, seq_of(newer_than))
        payload = self.read(&value)  # first: it may change the value
        return LatestMessage(payload, value.seq, rip_latest_time(self.s, value.ticks))

    @cython.critical_section
    def get_into(self, cnp.ndarray array not None, timeout=None, *, newer_than=0):
        """Copy the newest value, which must be an array, into an array of the caller. Otherwise as `get`.

        Large copies are made without the GIL.

        Parameters
        ----------
        array
            A writable array of the value's shape and dtype, with any strides. If an exception is raised, what it holds
            is undefined.

        Returns
        -------
        int
            The number of the value: its seq.

        Raises
        ------
        ValueError
            The array has another shape or dtype, or is read-only.
        TypeError
            The value is not an array.

        Examples
        --------
        >>> import numpy as np, ringipc
        >>> frame = np.empty((2, 2), "f4")
        >>> with ringipc.Latest() as latest:
        ...     latest.set(np.ones((2, 2), "f4"))
        ...     latest.get_into(frame)
        1
        1
        >>> frame
        array([[1., 1.],
               [1., 1.]], dtype=float32)
        """
        cdef rip_value value
        if not array.flags.writeable:
            raise ValueError("get_into() needs a writable array, and this one is read-only")
        self.find_or_fail(&value, timeout, seq_of(newer_than))
        while not self.fill(&value, array):
            self.find_again(&value)
        return value.seq

    @cython.final
    cdef bint fill(self, const rip_value *value, cnp.ndarray array) except -1:
        """Copy a value into an array. Return False if the value has been overwritten."""
        if value.kind != RIP_ARRAY:
            if not rip_latest_is_whole(self.s, value):
                return False
            raise TypeError(_failures.misfit_value(self.name, content_of(value.kind, value.length), array_text(array)))
        if not self.read_header(value):
            return False
        view = self.array_in(<void *>(value.data + self.array.header))
        if (<object>view).dtype != (<object>array).dtype or (<object>view).shape != (<object>array).shape:
            if not rip_latest_is_whole(self.s, value):
                return False
            raise ValueError(_failures.misfit_value(self.name, array_text(view), array_text(array)))
        PyArray_CopyInto(array, view)  # without the GIL, if there is much to copy
        return rip_latest_is_whole(self.s, value)

    @cython.critical_section
    def wait(self, timeout=None, *, newer_than=0):
        """Wait until there is a value with a greater seq than this; by default for the first value.

        Parameters
        ----------
        timeout
            Seconds; None waits for ever, 0 not at all.
        newer_than
            The seq of a value, from `message`, `seq` or `set`.

        Returns
        -------
        bool
            False if there was none within the timeout.

        Raises
        ------
        Closed
            This handle is closed, or another thread closes it during the wait.
        """
        cdef rip_value value
        return self.find(&value, seconds_of(timeout), seq_of(newer_than))

    @property
    def seq(self):
        """The number of the newest value; 0 if none has been set."""
        cdef rip_value value
        with cython.critical_section(self):
            self.find(&value, 0, 0)
            return value.seq

    @property
    def capacity(self):
        """The most bytes that a value can have."""
        with cython.critical_section(self):
            self.enter()
            return rip_latest_capacity(self.s)

    def __iter__(self):
        """Iterate over new values: first the newest, then, whenever there is a newer one, the newest. It never ends."""
        return new_values(self)

    # ---- event loops ----

    @cython.critical_section
    def fileno(self):
        """Return a file descriptor that is readable while there is a newer value than this handle has found last.

        Every call that reads, and `wait` and `seq`, finds the newest value. Use the file descriptor with select, poll,
        epoll, and event loops. It belongs to the handle and is closed with it. Spurious readiness is possible. The
        first call starts a thread that waits for new values, without the GIL.

        Raises
        ------
        SystemRefused
            There is no file descriptor or no thread left.
        Closed
            This handle is closed.
        """
        cdef rip_value value
        cdef int fd
        self.enter()
        fd = self.checked(rip_latest_fd(self.s, self.seen))
        if self.checked(rip_latest_peek(self.s, &value)) >= 0 and value.word == self.seen:
            self.update_fd()
        return fd

    @cython.final
    cdef int update_fd(self) except -1:
        """Bring the pollfd up to date. Wake tasks that may not have seen that it was readable."""
        if rip_latest_update_fd(self.s, self.seen):
            self.readiness.wake_others()
        return 0

    async def aget(self, *, newer_than=0):
        """Return the newest value, like `get`, in a task of asyncio, uvloop, trio or anyio. Other tasks run meanwhile.

        Use the event loop's own timeouts.

        Raises
        ------
        UnsafeMessage, Corrupt, SystemRefused, Closed
            As in `get` and `fileno`.
        """
        return (await self.amessage(newer_than=newer_than)).payload

    async def amessage(self, *, newer_than=0):
        """Return the newest value with its number and time, like `message`, in a task. Otherwise as `aget`."""
        while True:
            wakes = self.readiness.wakes
            fd = self.fileno()  # first, so that the next line brings it up to date
            try:
                return self.message(0, newer_than=newer_than)
            except errors.Empty:
                await self.readiness.wait(fd, picky=True, since=wakes)

    def __aiter__(self):
        return new_values(self)

    # ---- closing ----

    @cython.critical_section
    def _end(self, *, bint exiting=False):
        cdef rip_word never = 0
        if self.s is NULL:
            return
        rip_handle_begin_close(&self.s.handle)  # first, so that threads and tasks that are woken find it closed
        self.readiness.closing()
        while self.s.latest.setting:  # another thread copies a value without the GIL
            if exiting:  # it may be a daemon thread that does not go on; when the process ends, others reap the handle
                return
            PyErr_CheckSignals()
            with nogil:
                rip_sleep(&never, 0, rip_now() + 1000000)
        _SyncHandle._end(self, exiting=exiting)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        self.close()


set_signature(Latest, lambda latest, name=None, *, capacity=None, pickle=False, wait="adaptive": None)


@cython.internal
cdef class NewValues:
    """An iterator over new values, with `for` or `async for`. Each loop has its own."""

    cdef Latest latest
    cdef uint64_t seq

    def __iter__(self):
        return self

    def __next__(self):
        return self.payload_of(self.latest.message(newer_than=self.seq))

    def __aiter__(self):
        return self

    def __anext__(self):
        return self._anext()

    async def _anext(self):
        return self.payload_of(await self.latest.amessage(newer_than=self.seq))

    @cython.final
    cdef object payload_of(self, object message):
        self.seq = message.seq
        return message.payload


cdef NewValues new_values(Latest latest):
    cdef NewValues values = NewValues.__new__(NewValues)
    values.latest = latest
    return values


def _open_latest(open_it, tuple arguments, bint pickle):
    cdef Latest latest = open_it(*arguments)
    latest._pickle = pickle
    return latest


cdef inline cnp.ndarray array_of_bytes(uint64_t length):
    cdef cnp.npy_intp size = <cnp.npy_intp>length
    return array_at(NULL, cnp.PyArray_DescrFromType(cnp.NPY_UINT8), 1, &size, 0)
