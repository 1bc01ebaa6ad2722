# A consumer: the GIL is off while waiting and while copying much.

cdef enum:  # a consumer's copy option
    COPY_DEFAULT
    COPY_ALWAYS
    COPY_NEVER


cdef class Consumer:
    """A member of a group; every group sees every message of every producer of a channel, each producer's in order.

    Threads may share it: each message goes to one of them. Iterating over it gets message after message, as `get` does,
    to the end of the stream. If a producer's process dies, the loop raises `ProducerDied`, once, after all that it had
    put; another loop goes on with what the other producers put.

    Parameters
    ----------
    channel
        Its name: a producer makes it. Or a `Channel`, a URL, or an endpoint; see `Producer`.
    group
        At most 47 bytes. Every group sees every message.
    shared
        False: the group is exclusive, this consumer its one member. True: its members compete, and each message goes to
        one of them, a work queue. What a member has in work when it dies, or ends without `close`, goes to the others.
        A view is in work until the thread or task that got it gets again, or until `close`, and a `Message` until its
        block ends. So to hand a message to another thread or task, take it with `message` (or `amessage`) and release
        it there: a view counts as done at your next get. Views may be kept beyond that.
    durable
        True: the group stays when its last member has gone, and all that is put waits for the next one, which goes on
        where the group stood; what was in work comes again, marked as redelivered. A durable group ends with
        ``ringipc.Channel.open(channel).remove_group(group)``. Taking a message costs a compare-and-swap more.
    start
        Where a new group begins: at the "oldest" message still there, or after the "newest".
    copy
        None: bytes are copied out, arrays are views. True: all are copied. False: all are views, bytes as a memoryview.
        A view is read-only, and keeps its message in the ring until the last reference to it is gone, slices included.
        What ignores that it is read-only crashes: an in-place operation on a torch tensor made of a view (``.clone()``
        it first, or copy=True), or ``np.add.at``. In a forked child a view may show another message later.
    pickle
        True: objects are unpickled. Only for channels whose every producer you trust: a pickle can run any code.
    wait
        How `get` waits; see `Producer`.
    timeout
        Seconds to wait for the channel to be made, or for somebody who listens, or (one second at least) for a process
        that is stopped while it has the channel's tables locked; None waits for ever.
    fallback
        A socket, as a URL or an endpoint, the same as the producer's: used if the ring cannot be mapped, because it is
        another user's, or not visible from here.

    Attributes
    ----------
    channel : str, Channel or Endpoint
        As in `Producer`.
    group : str
        The name of its group. Read-only.

    Raises
    ------
    ChannelNotFound
        There was no such channel within timeout seconds.
    GroupBusy
        The group is exclusive and has a member that lives.
    TableFull
        The channel has 32 groups, or 256 members, already.
    Incompatible, Corrupt, SystemRefused
        As for `Producer`.

    Examples
    --------
    >>> import ringipc
    >>> producer = ringipc.Producer("words", capacity="1 MiB")
    >>> consumer = ringipc.Consumer("words")
    >>> producer.put_many([b"to", b"be"])
    2
    >>> producer.close()
    >>> list(consumer)
    [b'to', b'be']
    >>> consumer.close()
    """

    cdef rip_consumer *c
    cdef int copy
    cdef dict dtypes  # by their codes; nobody else has the structured ones
    cdef object dtype  # of the array got last, from there
    cdef bytes dtype_code
    cdef uint64_t holds  # messages in the hands of Hold objects
    cdef Work *works  # those of them that are not done
    cdef bint picking  # the descriptor is to say nothing of what is left
    cdef readonly bint _silenced
    cdef object __weakref__
    cdef readonly object channel  # as it was given, or the URL
    cdef readonly object group
    cdef public object _link  # to other processes, or None
    cdef public bint _pickle
    cdef object readiness
    cdef IoLoop io_loop  # where the messages come by connections, else None
    cdef unsigned char head[RIP_LINE]  # the header of the array got last
    cdef uint64_t array_length  # of that message; 0: its header was longer
    cdef rip_array array  # what the header says, beside dtype

    def __cinit__(self, *args, **kwargs):
        self.dtypes = {}

    def __dealloc__(self):
        if self.c is not NULL:
            with nogil:
                rip_handle_set_unattended(&self.c.ch.handle)
                rip_consumer_close(self.c)
                rip_consumer_free(self.c)

    def __init__(self, *args, **options):
        self.readiness = _readiness.Readiness()
        constructors[Consumer](self, *args, **options)

    def __reduce__(self):
        raise TypeError(
            "a Consumer cannot be pickled: give the other process the channel's name, or its Channel, to make its own"
        )

    # ---- opening and closing ----

    def _name(self, channel, group):
        """Sets the attributes that users can only read."""
        self.channel, self.group = channel, group

    def _open(self, bytes channel, bytes group, uint32_t flags, int wait, copy, timeout):
        """0 and 0, or an error code and the pid of the group's live member. timeout: to wait for the table lock."""
        if self.c is not NULL:
            raise RuntimeError("this Consumer is open already")
        cdef const char *name = channel
        cdef const char *group_name = group
        cdef rip_consumer *c = NULL
        cdef int32_t holder = 0
        cdef uint64_t deadline
        cdef int rc
        deadline = max(deadline_of(seconds_of(timeout)), rip_now() + <uint64_t>AT_LEAST_NS)
        with nogil:
            rc = rip_consumer_open(name, group_name, flags, <rip_wait>wait, deadline, &c, &holder)
        if rc == 0:
            c.ch.handle.give_up = RIP_TRY_ONLY  # what follows waits without the GIL
        self.c = c
        self.copy = COPY_DEFAULT if copy is None else COPY_ALWAYS if copy else COPY_NEVER
        return rc, holder

    @cython.critical_section
    def _set_io_loop(self, IoLoop io_loop not None):
        if self.c is not NULL:
            self.io_loop = io_loop
            self.c.io_loop = io_loop.loop
            self.c.pull = io_loop.loop.pull

    @cython.critical_section
    def _close(self, bint exiting, bint clean):
        """Leaves the group; not before the last view is gone, unless the interpreter is exiting.

        Clean: what its threads and tasks were given is done.

        What a signal's handler raises while it waits leaves it to be closed again: it refuses all other calls.
        """
        if self.c is NULL:
            return 0
        self.c.leaving = True
        if clean:
            end_works(self, NO_WORKER)
        if self.holds and not exiting:
            return 0
        return close_patiently(<locking>rip_consumer_close, self.c, &self.c.ch.handle, exiting)

    @cython.critical_section
    def _begin_close(self):
        """From here on every call but `_close` finds it closed: 0, or an error code in a forked child."""
        if self.c is NULL:
            return 0
        self.c.leaving = True  # the handle stays open for what is held
        return 0 if rip_handle_check(&self.c.ch.handle) != -ECHILD else -ECHILD

    @property
    def closed(self):
        """True after `close`, and in a forked child."""
        with cython.critical_section(self):
            return not self.is_open()

    @cython.final
    cdef inline bint is_open(self) noexcept:
        return self.c is not NULL and not self.c.leaving and rip_handle_check(&self.c.ch.handle) == 0

    @cython.critical_section
    def fileno(self):
        """A descriptor that is readable while there is something to get: a message, the end of the stream, a death.

        For select, poll, epoll, and event loops. It is the consumer's, and closed with it. In a shared group it may be
        readable for a message that another member was quicker to get. What `get` leaves out because of type or where
        keeps it readable. Spurious readiness is possible, at the latest 0.6 s after the last call: try, and wait again.

        Raises
        ------
        Closed, SystemRefused
            As when opening.
        """
        cdef int fd = -ESHUTDOWN
        if self.c is not NULL and not self.c.leaving:
            fd = rip_consumer_fd(self.c)
        if fd < 0:
            self.fail(fd, "descriptor")
        return fd

    @cython.critical_section
    def _notify(self, int number, value):
        cdef int32_t sent = 0 if value is None else value
        return -ESHUTDOWN if self.c is NULL or self.c.leaving else rip_consumer_notify(
            self.c, number, NULL if value is None else &sent)

    @cython.critical_section
    def _pick(self, get, type, where):
        """get without waiting, then the descriptor says only what comes from now on, whatever else is there.

        What it said before is in _silenced: other tasks may wait for that.
        """
        self._silenced = self.c is not NULL and not self.c.leaving and rip_consumer_rearm_fd(self.c) == 1
        self.picking = True
        try:
            return get(0, type=type, where=where)
        finally:
            self.picking = False

    @cython.final
    cdef inline void settle(self) noexcept:
        """Makes the descriptor, if there is one, say what is so."""
        if self.c is not NULL and self.c.ch.pollfd is not NULL and not self.picking:
            rip_consumer_update_fd(self.c)

    @cython.final
    cdef void let_go(self, rip_rx *lane, uint64_t seq) noexcept:
        self.holds -= 1
        if rip_handle_check(&self.c.ch.handle) == 0:
            rip_rx_release(lane, seq)
            self.settle()  # the end of a stream waits for what is held
            if self.c.leaving and self.holds == 0:
                self.close_at_last()

    @cython.final
    cdef void let_back(self, rip_rx *lane, uint64_t seq, uint64_t length, bint redelivered) noexcept:
        """`let_go` of a message that is not acknowledged: it is requeued."""
        cdef rip_message message
        self.holds -= 1
        if rip_handle_check(&self.c.ch.handle) == 0:
            message.lane, message.seq, message.length = lane, seq, length
            message.flags = 0
            if redelivered:
                rip_rx_redeliver(self.c, &message)
            else:
                rip_rx_requeue(self.c, &message)
            self.settle()
            if self.c.leaving and self.holds == 0:
                self.close_at_last()

    @cython.final
    cdef void close_at_last(self) noexcept:
        """With the last view, where nothing can be raised: after a second without the lock others find us gone."""
        cdef uint64_t deadline
        cdef int rc = rip_consumer_close(self.c)
        if rc != -EAGAIN:
            return
        rip_handle_set_unattended(&self.c.ch.handle)
        deadline = self.c.ch.handle.give_up
        self.c.ch.handle.give_up = RIP_TRY_ONLY
        while rc == -EAGAIN and rip_now() < deadline:
            with nogil:
                quietly_await_lock(&self.c.ch.handle, deadline)
            rc = rip_consumer_close(self.c)
        if rc == -EAGAIN:
            rip_consumer_abandon(self.c)

    @cython.final
    cdef int fail(self, int rc, detail) except -1:
        shortage = last_shortage()
        why = _failures.why_empty(*self._blocks()) if rc == -ETIMEDOUT or rc == -EAGAIN else ""
        _failures.fail_consumer(self.channel, self.group, rc, detail, shortage, why=why)
        return -1

    @cython.final
    cdef object decode_dtype(self, bytes code):
        try:
            return dtypes.decode_dtype(code)
        except errors.Corrupt as error:
            raise _failures.named(error, self.channel) from error.__cause__

    # ---- getting ----

    @cython.final
    cdef inline PyObject *get_near(self) except? NULL:
        """The next message, a new reference, if it is there and nothing is to be done first; NULL: `peek` finds out."""
        cdef rip_message message, other
        cdef PyObject *data
        cdef rip_consumer *c = self.c
        if cython.unlikely(not self.is_open() or self.works is not NULL or c.ch.pollfd is not NULL
                           or not rip_rx_peek_near(c, &message)):
            return NULL
        if message.kind != RIP_BYTES or self.copy == COPY_NEVER or message.length >= LARGE:
            other = message  # so that the compiler keeps message itself in registers
            return given(receive(self, &other, False))
        data = new_bytes(<const char *>message.data, <Py_ssize_t>message.length)
        if cython.unlikely(data is NULL):
            PyErr_Clear()  # the long way tries again, and raises
            return NULL
        rip_rx_take(c, &message)
        rip_rx_release(message.lane, message.seq)
        return data

    @cython.final
    cdef inline int peek(self, rip_message *message, double seconds) except -1:
        """0 and the next message, not yet taken, or -ETIMEDOUT, or -ENODATA; what else there is is raised."""
        cdef int rc = 0
        if cython.likely(self.is_open()):
            if cython.unlikely(self.works is not NULL):
                end_works(self, current_worker(self))
            rc = rip_rx_peek(self.c, message)
            if cython.likely(rc == 1):
                return 0
        return self.wait(rc, rip_rx_next, NULL, message, seconds)

    @cython.final
    cdef int wait(
        self, int rc, rip_rx_getter *getter, rip_filter *filter, rip_message *message, double seconds
    ) except -1:
        """0 and a message, or as `peek`; rc is what has been found already, as a death is reported only once, or 0."""
        if rc == 0:
            if self.works is not NULL and self.is_open():
                end_works(self, current_worker(self))
            rc = -ESHUTDOWN if self.c is NULL else rip_rx_wait(self.c, getter, filter, message, deadline_of(seconds))
        if rc == 1:
            return 0
        self.settle()
        if rc == -ETIMEDOUT or rc == -ENODATA:
            return rc
        park_at_exit()
        self.fail(rc, self.c.died if self.c is not NULL else None)

    @cython.critical_section
    def get(self, timeout=None, *, type=None, where=None):
        """The next message, as `Producer.put` says.

        Parameters
        ----------
        timeout
            Seconds to wait for one; None waits for ever, 0 not at all.
        type
            Only a message of this type, of one of these (a set, or another iterable of ints), or, with "lowest", one of
            the lowest type that is there. The others stay, in their order.
        where
            Only a message for which this function, called with the `Message`, is true. It must not keep the payload.
            What it raises comes out of here, and the message stays, unless its payload could not be read: then it is
            skipped.

        Raises
        ------
        Empty
            There was none within timeout seconds.
        EndOfStream
            Every producer has closed, and all is read, or nothing is left of what was asked for.
        ProducerDied
            A producer's process ended without closing; told once, when all that it had put is read.
        Corrupt
            The message cannot be what a producer wrote; it is skipped.
        UnsafeMessage
            It goes by pickle, and this consumer did not say pickle=True; it is skipped.
        MemoryError
            There is too little memory for the message; it stays, and can be got later.
        RecursionError
            Too little is left of the caller's stack to read a nested message; it stays, and can be got later.
        SystemRefused
            A new producer's lane cannot be mapped, for want of descriptors, memory or space. Raised once for each lane.
            The consumer retries, and meanwhile reads the others; that producer must wait. A damaged or missing file
            raises `Corrupt`.
        Closed
            The consumer is closed, or belongs to the parent process.
        """
        cdef rip_message message
        cdef PyObject *got
        cdef double seconds = seconds_or(timeout, "get_nowait()")
        cdef int rc
        if cython.likely(type is None and where is None):
            got = self.get_near()
            if cython.likely(got is not NULL):
                return owned(got)
            rc = self.peek(&message, seconds)
            if rc:
                self.fail(rc, timeout)
            return receive(self, &message, False)
        if where is None:
            rc = select_type(self, &message, seconds, type)
            if rc:
                self.fail(rc, timeout)
            return receive(self, &message, True)
        cdef Message found = select_where(self, timeout, type, where)
        try:
            payload = found.payload
            if self.c.claims:
                unlist(self, &found.hold.work)  # its end is not the message's
                give_out(self, found.hold)
        except (MemoryError, RecursionError):
            unhold(self, found.hold)
            raise
        return payload

    @cython.critical_section
    def get_nowait(self):
        """`get` with timeout=0."""
        cdef rip_message message
        cdef int rc = self.peek(&message, 0)
        if rc:
            self.fail(rc, 0)
        return receive(self, &message, False)

    @cython.critical_section
    def latest(self, timeout=None):
        """The newest message; the older ones that were not got are let go. Otherwise as `get`."""
        cdef rip_message message
        cdef int rc = self.wait(0, rip_rx_newest, NULL, &message, seconds_of(timeout))
        if rc:
            self.fail(rc, timeout)
        return receive(self, &message, True)

    @cython.critical_section
    def get_many(self, max, timeout=None, *, bint stack=False):
        """Several messages: waits for the first as `get` does, and takes those that are there with it.

        Parameters
        ----------
        max
            The most messages to take, at least 1.
        timeout
            Seconds to wait for the first; None waits for ever, 0 not at all.
        stack
            True: the messages must be arrays, and come out copied, in one array. It ends before a message of another
            dtype, shape or memory order, which stays. The messages are released at once. Large copies are made without
            the GIL.

        Returns
        -------
        A list of k messages, 1 <= k <= max. With stack=True an array of shape (k, *shape) that is the caller's own; if
        the messages are in Fortran order, so is each of its rows.

        Raises
        ------
        TypeError
            With stack=True: the next message is no array. It stays, and can be got otherwise.
        Empty, EndOfStream, ProducerDied, Corrupt, UnsafeMessage, MemoryError, RecursionError, SystemRefused, Closed
            As in `get`, of the first message.

        Examples
        --------
        >>> import numpy as np, ringipc
        >>> with ringipc.Producer("rows", capacity="1 MiB") as producer, ringipc.Consumer("rows") as consumer:
        ...     producer.put_many(np.arange(3 * k, 3 * k + 3) for k in range(4))
        ...     consumer.get_many(2)
        ...     consumer.get_many(100, stack=True)
        4
        [array([0, 1, 2]), array([3, 4, 5])]
        array([[ 6,  7,  8],
               [ 9, 10, 11]])
        """
        cdef rip_message message
        cdef rip_rx *lane = NULL
        cdef list got = []
        cdef double seconds = seconds_of(timeout)
        cdef int rc
        cdef Py_ssize_t most = count_of(max, "max", "messages", "get_many(10, timeout=5)")
        if most < 1:
            raise ValueError(f"max must be at least 1, not {max}")
        rc = self.peek(&message, seconds)
        if rc:
            self.fail(rc, timeout)
        if stack:
            return get_stack(self, &message, most)
        got.append(receive(self, &message, False))
        try:
            while len(got) < most and not self.c.leaving and rip_handle_check(&self.c.ch.handle) == 0:
                if rip_rx_ready(self.c, &message) != 1:
                    break
                if message.kind == RIP_BYTES and self.copy != COPY_NEVER and message.length < LARGE:
                    got.append(PyBytes_FromStringAndSize(<const char *>message.data, <Py_ssize_t>message.length))
                    if lane is not NULL and lane is not message.lane:
                        rip_rx_publish_cursor(lane)
                    lane = message.lane
                    rip_rx_take(self.c, &message)
                    rip_rx_release_only(lane, message.seq)
                elif not receive_more(self, &message, got):
                    break
        except MemoryError:  # it waits for the next call, where nothing is got before it
            give_back(self, &message, False)
        if lane is not NULL and rip_handle_check(&self.c.ch.handle) == 0:
            rip_rx_publish_cursor(lane)
            self.settle()
        return got

    @cython.critical_section
    def message(self, timeout=None, *, type=None, where=None):
        """The next message with what is known about it, a `Message`. Otherwise as `get`.

        It is in work until its block ends, or `Message.release`, or until nobody refers to it. It may be handed to
        another thread or task, and be released there.
        """
        cdef rip_message raw
        cdef double seconds
        cdef int rc
        if where is not None:
            return select_where(self, timeout, type, where)
        seconds = seconds_of(timeout)
        rc = self.peek(&raw, seconds) if type is None else select_type(self, &raw, seconds, type)
        if rc:
            self.fail(rc, timeout)
        cdef Message message = None
        try:
            message = wrap_message(self, &raw)
        finally:
            if message is None:
                give_back(self, &raw, type is not None)
        if type is None:
            rip_rx_take(self.c, &raw)
        take_charge(self, message, raw.lane)
        return message

    def messages(self, *, type=None, where=None):
        """Iterates over `Message`s to the end of the stream, with `for` or `async for`.

        A message is in work until the loop asks for the next one. Then it is acknowledged. So a message whose work was
        not completed is never lost: if the loop is left in any other way, by an exception, ``break`` or ``return``, the
        message is given back, and is got again by whoever gets next; in a shared or durable group it is then marked as
        redelivered. To leave the loop when a message is done, call its `release` before ``break``. Views on the
        payload that outlive the loop delay this until they are gone.

        The iterator keeps the message in work. So write ``for message in consumer.messages()``, and keep no other
        reference to the iterator. Each thread or task has an iterator of its own.

        Parameters
        ----------
        type, where
            As in `get`.

        Raises
        ------
        ProducerDied, Corrupt, MemoryError, SystemRefused, Closed
            As in `get`, out of the loop. Another loop goes on with the messages that are left.

        Examples
        --------
        >>> import ringipc
        >>> producer = ringipc.Producer("jobs", capacity="1 MiB", groups=["work"])
        >>> producer.put_many([b"wash", b"dry"])
        2
        >>> producer.close()
        >>> with ringipc.Consumer("jobs", group="work", shared=True) as consumer:
        ...     for message in consumer.messages():
        ...         print(message.seq, message.payload)
        0 b'wash'
        1 b'dry'
        """
        return new_messages(self, type, where)

    def get_into(self, array, timeout=None, *, type=None, where=None):
        """Copies the next message into memory of the caller, and releases the message. Otherwise as `get`.

        Large copies are made without the GIL.

        Parameters
        ----------
        array : numpy.ndarray or a writable buffer
            A writable array of the message's shape and dtype, with any strides; or, for a message of bytes, any other
            writable, contiguous buffer (a bytearray, a memoryview) that is at least as long as the message.

        Returns
        -------
        The array; or, for a buffer, the number of bytes copied, an int.

        Raises
        ------
        ValueError
            The array has another shape or dtype, or is read-only, or the buffer is too short.
        TypeError
            The message is no array where an array is given, or not bytes where a buffer is given; or array is neither.
        Empty, EndOfStream, ProducerDied, Corrupt, MemoryError, SystemRefused, Closed
            As in `get`.

        A message that does not fit is not lost: it is the next one to get.

        Examples
        --------
        >>> import numpy as np, ringipc
        >>> frame = np.empty((2, 2), "f4")
        >>> with ringipc.Producer("into", capacity="1 MiB") as producer, ringipc.Consumer("into") as consumer:
        ...     producer.put(np.ones((2, 2), "f4"))
        ...     consumer.get_into(frame) is frame
        True
        True
        >>> frame
        array([[1., 1.],
               [1., 1.]], dtype=float32)
        """
        return get_into(self, array, timeout, type, where)

    def __iter__(self):
        return self

    @cython.critical_section
    def __next__(self):
        cdef rip_message message
        cdef PyObject *got = self.get_near()
        if cython.likely(got is not NULL):
            return owned(got)
        if self.peek(&message, INFINITY):  # without a time limit, what it may return is -ENODATA
            raise StopIteration
        return receive(self, &message, False)

    # ---- looking ----

    @cython.critical_section
    def _blocks(self):
        """Messages in work, messages held, and the pid of a producer who has no room because of them, or 0."""
        cdef uint64_t works = 0
        cdef Work *work = self.works
        while work is not NULL:
            works += 1
            work = work.after
        cdef bint open = self.holds and rip_handle_check(&self.c.ch.handle) == 0
        return works, self.holds, rip_rx_blocks(self.c) if open else 0

    @cython.critical_section
    def _counts(self):
        """Messages got, bytes got, missed, backlog, messages held, lanes, waits, seconds waited."""
        if self.c is NULL:
            self.fail(-ESHUTDOWN, None)
        return (self.c.taken, self.c.bytes, rip_rx_missed(self.c), rip_rx_backlog(self.c), self.holds, self.c.count,
                self.c.waits, self.c.waited * 1e-9)

    def notify(self, signum, *, value=None):
        """Asks for a signal to this process when the next message comes: once, until asked again, as mq_notify(3) does.

        What is there already sends none; nor, in a shared group, does what goes to a member that waits in `get`. So ask
        first, then get until `Empty`, then wait. The end of the stream, and a producer that comes, send it too. A
        descriptor (`fileno`) is usually better: it cannot arrive in the middle of something else, it says what is so
        and not what was, and it tells of deaths; and of a sender that is killed just before it sends, or runs as
        another user or in another pid namespace, no signal comes.

        Parameters
        ----------
        signum
            For example ``signal.SIGUSR1``, or a real-time signal, ``signal.SIGRTMIN``, which queues. None takes the
            request back.
        value
            Comes with the signal (``si_value``) to handlers that see it; a C int. None: the sending producer's lane, as
            in `Message.lane_id`.

        Raises
        ------
        ValueError
            There is no such signal.
        Closed
            The consumer is closed, or belongs to the parent process.
        """
        if value is not None and not -(1 << 31) <= value < 1 << 31:
            raise ValueError(f"the value of a signal is a C int, not {value}")
        rc = self._notify(0 if signum is None else signum, value)
        if rc == -EINVAL:
            raise ValueError(f"there is no signal {signum}")
        if rc < 0:
            self.fail(rc, None)

    @classmethod
    async def aopen(cls, channel, **options):
        """`Consumer(channel, **options)` for a task of an event loop: other tasks go on while it waits for the channel.

        A task that is cancelled leaves no consumer. Close the consumer with ``async with`` or `close`.

        Parameters
        ----------
        channel, options
            As for `Consumer`; also timeout.

        Raises
        ------
        ChannelNotFound, GroupBusy, TableFull, Incompatible, Corrupt, SystemRefused
            As for `Consumer`.

        Examples
        --------
        >>> import asyncio, ringipc
        >>> async def read():
        ...     async with await ringipc.Consumer.aopen("later", timeout=10) as consumer:
        ...         return await consumer.aget()
        >>> async def main():
        ...     reader = asyncio.create_task(read())
        ...     async with ringipc.Producer("later", capacity="1 MiB") as producer:
        ...         await producer.aput(b"hello")
        ...         return await reader
        >>> asyncio.run(main())
        b'hello'
        """
        return await _readiness.open_in_thread(cls, channel, options)

    async def aget(self, *, type=None, where=None):
        """`get` for a task of an event loop: asyncio, uvloop, trio, anyio. Other tasks go on while it waits.

        A task that is cancelled has taken nothing. Use the event loop's own timeouts.

        Parameters
        ----------
        type, where
            As in `get`.

        Raises
        ------
        EndOfStream, ProducerDied, Corrupt, UnsafeMessage, MemoryError, RecursionError, SystemRefused, Closed
            As in `get`.
        """
        return await self._wait_for(self.get, type, where)

    async def amessage(self, *, type=None, where=None):
        """`message` for a task of an event loop: what it returns may be handed to another task, and released there.

        Otherwise as `aget`.
        """
        return await self._wait_for(self.message, type, where)

    async def aget_many(self, max, *, stack=False):
        """`get_many` for a task of an event loop. A task that is cancelled has taken nothing.

        Parameters
        ----------
        max, stack
            As in `get_many`.

        Raises
        ------
        TypeError, EndOfStream, ProducerDied, Corrupt, UnsafeMessage, MemoryError, RecursionError, SystemRefused, Closed
            As in `get_many`.
        """
        def get_now(timeout):
            return self.get_many(max, timeout, stack=stack)

        return await self._wait_for(get_now, None, None)

    async def _wait_for(self, get, type, where):
        if type is None and where is None:
            while True:
                try:
                    return get(0)
                except errors.Empty:
                    await self.readiness.wait(self.fileno())
        fd = self.fileno()
        while True:
            try:
                return self._pick(get, type, where)
            except errors.Empty:
                if self._silenced:
                    self.readiness.wake_others()  # they may have been about to see what the descriptor said
                await self.readiness.wait(fd, picky=True)

    def __aiter__(self):
        return self

    def __anext__(self):
        return self._anext()

    async def _anext(self):
        try:
            return await self.aget()
        except errors.EndOfStream:
            raise StopAsyncIteration from None

    @property
    def stats(self):
        """Counters, as of now."""
        return ConsumerStats(*self._counts(), transport=self._link.transport if self._link is not None else "ring")

    def close(self):
        """Leaves the group, once the last view on its messages is gone. Closing again does nothing.

        What its threads and tasks got as views is done then, unless an exception leaves the consumer's with block.

        If a signal's handler raises meanwhile (Ctrl-C), every other call finds the consumer closed, but it is still a
        member of its group: close it again, or let it be closed at exit.
        """
        self._end(exiting=False, clean=True)

    def _end(self, *, bint exiting, bint clean=False):
        rc = self._begin_close()  # first: whoever is woken finds it closed
        if rc == 0:
            self.readiness.closing()
            rc = self._close(exiting, clean)
        if self._link is not None:
            self._link.close()
        if rc < 0 and rc != -ECHILD:
            _failures.fail(rc, self.channel)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self._end(exiting=False, clean=kind is None)

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        await _readiness.leave(self, kind, error, trace)

    def __repr__(self):
        closed = ", closed" if self.closed else ""
        return f"<Consumer on channel {self.channel!r}, group {self.group!r}{closed}>"
