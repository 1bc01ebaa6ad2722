# A consumer. The GIL is released during waits and large copies.

cdef enum:  # a consumer's copy option
    COPY_DEFAULT
    COPY_ALWAYS
    COPY_NEVER


cdef class Consumer:
    """Gets messages as a member of a group. Every group receives every message, each producer's messages in order.

    Iteration gets message after message, as `get` does, until the end of the stream. If a producer fails, the loop
    raises `ProducerFailed`, once, after the last message of that producer (and in a shared lane perhaps after messages
    of others); if its process dies, `ProducerDied`, which is a `ProducerFailed`. A new loop continues with the others.
    Threads may share a consumer: each message goes to one of them.

    Parameters
    ----------
    channel
        The name of a channel, which a producer creates; or a `Channel`, a URL, or an endpoint. See `Producer`.
    group
        The name of the group, at most 47 bytes.
    shared
        False: the group is exclusive, and this consumer is its only member. True: the members of the group compete, and
        each message goes to one of them (a work queue). What a member has taken and not acknowledged when it dies goes
        to the others. What a thread or task got is acknowledged when it gets again, or at `close`; a `Message` when its
        block ends. So take a message with `message` (or `amessage`) to hand it to another thread or task, and release
        it there. If an exception leaves the consumer's with block, what was in work goes to the others.
    durable
        True: the group stays when its last member has left. Messages are kept for the next member, which continues
        where the group stood; what was taken and not acknowledged is redelivered. End the group with
        ``ringipc.Channel.open(channel).remove_group(group)``. Taking a message costs one compare-and-swap more.
    max_deliveries
        In a shared or durable group: a message that was delivered so often (1 to 63 times) and is not done is not
        delivered again. It is moved to dead_letters, counted (`ConsumerStats.dead`), and the first one is logged. None:
        there is no limit. Give all members the same.
    dead_letters
        A channel, as its name or a URL, to which such messages are moved as they are. This consumer opens a producer
        there for the first one, with overflow="drop-new". None: they are dropped.
    overflow
        What the group does where its unread messages leave a producer no room. "block": the producer waits. "drop-old":
        the group loses its oldest unread messages, and `Message.missed` and `stats` say how many; groups beside it lose
        nothing. What a consumer has taken and still uses is never overwritten: producers go around it, so it costs only
        its own memory. They wait for the group only if its consumers use more than 64 messages of a lane, or all of the
        lane's memory.
    start
        Where a new group starts: at the "oldest" message that is still there, or after the "newest".
    order
        In which order the messages of several producers come. "lane": no order is promised; producers are read in turn,
        some messages of each. "time": the oldest message first, by the time of its put. So if a message was put, or
        got by somebody, before another one was put, it comes first, whoever has put them; deaths and failures of
        producers come in this order too. Give all members of a shared group the same. What is redelivered comes late,
        and so does what is still on its way over a connection. With one or four producers a `get` takes some 60 ns
        longer; with a thousand up to 30 µs, if the message is the only one.
    producers
        The stream ends for this consumer when this many producers have come, all that have come have closed, and all
        messages are read. A producer has come if it is open, or has unread messages, when the group gets its first
        member, or if it comes later. Of a shared lane that has an open producer, or unread messages, all that have ever
        written it have come. None: the stream never ends, and `get` waits for the next producer.
    deaths
        "raise": `ProducerFailed` or `ProducerDied` is raised when a producer has failed or died. "skip": the consumer
        goes on as if it had closed; `stats.deaths` counts it.
    copy
        None: bytes are copied, and arrays of at most 512 bytes, which are read-only too. Larger arrays are views, and
        so are all arrays in records. True: everything is copied. False: bytes are memoryviews, and arrays are views. A
        view keeps its message in the lane until the last reference to it, slices included, is gone; producers go around
        it, if they are not many (4 views of a producer's messages in an exclusive group, 64 in others). Do not write to
        a view: code that ignores the read-only flag crashes (in-place operations on a torch tensor made of a view,
        ``np.add.at``). A forked child must not use its parent's views.
    arrays
        "numpy", or "torch": arrays come out as tensors, those in records too. Those of a dtype that torch lacks (text,
        dates, fields) stay NumPy arrays, and so do those in pickled objects. Torch has no read-only tensors, so tensors
        are copies, to which you may write, unless you say copy=False. Torch is imported.
    pickle
        True: unpickle objects. Use it only if you trust every producer of the channel: unpickling can run any code.
    wait
        How `get` waits; see `Producer`.
    timeout
        Seconds to wait until the channel is created, or until somebody listens; None waits for ever. After 5 s this is
        logged (logger "ringipc"), with similar names. The timeout also limits the wait for a process that is stopped
        while it has the table lock, but this wait takes at least one second.
    fallback
        A socket, as a URL or an endpoint, the same as the producer's. It is used if this process cannot map the shared
        memory, because the channel belongs to another user or is not visible.

    Attributes
    ----------
    channel : str, Channel or Endpoint
        As in `Producer`.
    group : str
        The name of its group. Read-only.

    Raises
    ------
    ChannelNotFound
        The channel was not created, or nobody listened, within the timeout.
    GroupBusy
        The group is exclusive and has a live member.
    TableFull
        The channel already has 32 groups or 256 consumers.
    AuthenticationError, Incompatible, Corrupt, SystemRefused
        As for `Producer`. Incompatible also if the group has another shared or overflow.

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
    cdef dict dtypes  # from the code of a dtype to the dtype; nobody else refers to the structured ones
    cdef object dtype  # of the array got last, from dtypes
    cdef bytes dtype_code
    cdef uint64_t holds  # messages that Hold objects keep in their lanes
    cdef Work *works  # the list of messages in work, the oldest first
    cdef Work *last_work  # the last one in that list
    cdef Work *spare_works  # a list of entries to be used again
    cdef uint64_t worker  # the one that called `begin_get` last, and its thread
    cdef PyThreadState *thread
    cdef uint32_t limit  # a message that was delivered so often before is dead
    cdef object dead_letters  # the channel of the dead letters, or None
    cdef Producer letters  # None: no message was moved yet
    cdef uint64_t dead  # messages that were moved or dropped
    cdef bint gives_back  # closed by an exception: what is in work is not done
    cdef bint picking  # the pollfd is not to be readable for messages that are there already
    cdef readonly bint _silenced
    cdef object __weakref__
    cdef object _channel
    cdef object _group
    cdef public object _link  # to a producer in another process, or None
    cdef public bint _pickle
    cdef public bint _tensors  # arrays come out as torch tensors
    cdef public bint _done_at_once  # what get gives out is done then, also in a group that keeps claims
    cdef object readiness
    cdef IoLoop io_loop  # None: the messages come through shared memory
    cdef unsigned char head[RIP_LINE]  # the header of the array got last
    cdef uint64_t array_length  # the length of that message; 0: its header was longer than head
    cdef rip_array array  # what that header says, except dtype
    cdef PyObject *small_bytes[2]  # those of at most USED_AGAIN bytes that were returned last, or NULL
    cdef uint32_t older_bytes  # the index of the older one
    cdef cnp.ndarray last_copy, older_copy  # the small arrays returned last
    cdef int copy_flags  # of the array made last; 0: no array was made since the header was read
    cdef cnp.npy_intp copy_strides[RIP_MAX_NDIM]

    def __cinit__(self, *args, **kwargs):
        self.dtypes = {}
        self.limit = NO_LIMIT

    def __dealloc__(self):
        if self.c is not NULL:
            with nogil:
                rip_handle_set_unattended(&self.c.ch.handle)
                rip_consumer_close(self.c)
                rip_consumer_free(self.c)
        Py_XDECREF(self.small_bytes[0])
        Py_XDECREF(self.small_bytes[1])
        free_works(self.works)
        free_works(self.spare_works)

    def __init__(self, *args, **options):
        self.readiness = _readiness.Readiness()
        constructors[Consumer](self, *args, **options)

    def __reduce__(self):
        raise TypeError(
            "a Consumer cannot be pickled: give the other process the channel's name, or its Channel, to make its own"
        )

    # ---- opening and closing ----

    def _name(self, channel, group):
        """Set the attributes that users can only read."""
        self._channel, self._group = channel, group

    @property
    def channel(self):
        """The channel as it was given; for an endpoint its URL, with the port."""
        return self._channel

    @property
    def group(self):
        """The name of its group."""
        return self._group

    def _open(self, bytes channel, bytes group, uint32_t flags, int wait, copy, timeout):
        """Join the group. Return 0 or a negative errno, and the pid of the live member if there is one."""
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
            c.ch.handle.give_up = RIP_TRY_ONLY  # from here on waits for the table lock release the GIL
        self.c = c
        self.copy = COPY_DEFAULT if copy is None else COPY_ALWAYS if copy else COPY_NEVER
        return rc, holder

    def _expect(self, producers, bint skips_deaths):
        """Set how many producers must have come before the stream can end (None: it never ends)."""
        if self.c is not NULL:
            rip_consumer_expect(self.c, RIP_NO_END if producers is None else <uint32_t>producers)
            if skips_deaths:
                rip_consumer_skip_deaths(self.c)

    @cython.critical_section
    def _limit_deliveries(self, uint32_t limit, dead_letters):
        """Set max_deliveries and dead_letters. Return False if the group does not count deliveries."""
        self.limit, self.dead_letters = limit, dead_letters
        return self.c.claims != 0

    @cython.critical_section
    def _set_io_loop(self, IoLoop io_loop not None):
        """Let waits read from the connections of an I/O loop."""
        if self.c is not NULL:
            self.io_loop = io_loop
            self.c.io_loop = io_loop.loop
            self.c.pull = io_loop.loop.pull

    @cython.critical_section
    def _close(self, bint exiting):
        """Leave the group when the last view is gone; at once if the interpreter exits.

        If a signal handler raises during the wait for the table lock, the consumer refuses all calls except another
        `_close`.
        """
        if self.c is NULL:
            return 0
        end_works(self, NO_WORKER)
        if self.holds and not exiting:
            return 0
        return close_patiently(<locking>rip_consumer_close, self.c, &self.c.ch.handle, exiting)

    @cython.critical_section
    def _begin_close(self, bint clean):
        """Let all later calls but `_close` find the consumer closed. Return 0, or -ECHILD in a forked child.

        clean: what all threads and tasks have got is done; else `_close` gives it back.
        """
        if self.c is NULL:
            return 0
        if not self.c.leaving:
            self.gives_back = not clean
        self.c.leaving = True  # the handle stays open for views
        return 0 if rip_handle_check(&self.c.ch.handle) != -ECHILD else -ECHILD

    @property
    def closed(self):
        """True after `close`, and in a forked child."""
        with cython.critical_section(self):
            return not self.is_open()

    @cython.final
    cdef inline bint lists_works(self) noexcept:
        """Whether what `get` gives out stays in work."""
        return self.c.claims and not self._done_at_once

    @cython.final
    cdef inline bint is_open(self) noexcept:
        return self.c is not NULL and not self.c.leaving and rip_handle_check(&self.c.ch.handle) == 0

    @cython.critical_section
    def fileno(self):
        """Return a file descriptor that is readable while there is a message, an end of the stream or a death to get.

        Use it with select, poll, epoll, `multiprocessing.connection.wait` and event loops. It belongs to the consumer
        and is closed with it. If it is readable, the next `get` does not wait, unless another thread, or another member
        of a shared group, is quicker; or rarely, because a process was interrupted for milliseconds while it made the
        descriptor readable, or the last producer has closed while another member of a shared group still works. Each
        call that gets brings it up to date: after the last message is got it is not readable. Deaths are noticed within
        a second, by a thread that updates the descriptors of this process. Messages that type or where leaves keep it
        readable. In a shared or durable group get until `Empty` before you wait: that also says that the last message
        is done. `ringipc.wait` does so by itself.

        Raises
        ------
        Closed
            The consumer is closed, or belongs to the parent process.
        SystemRefused
            There is no file descriptor left.
        """
        cdef int fd = -ESHUTDOWN
        cdef bint begins = False
        if self.c is not NULL and not self.c.leaving:
            begins = self.c.ch.pollfd is NULL
            fd = rip_consumer_fd(self.c)
        if fd < 0:
            self.fail(fd, "file descriptor")
        if begins:
            _upkeep.begin(self)
        return fd

    @cython.critical_section
    def _update_pollfd(self):
        """Update the pollfd, as each call that gets does."""
        if self.is_open():
            self.settle()

    @cython.critical_section
    def _end_work(self):
        """What this thread or task has got is done."""
        if self.is_open() and self.lists_works():
            begin_get(self)
            self.settle()

    @cython.critical_section
    def _notify(self, int number, value):
        cdef int32_t sent = 0 if value is None else value
        return -ESHUTDOWN if self.c is NULL or self.c.leaving else rip_consumer_notify(
            self.c, number, NULL if value is None else &sent)

    @cython.critical_section
    def _pick(self, get, type, where):
        """Call get without waiting. Afterwards the pollfd is readable only for messages that are put from now on.

        _silenced says whether it was readable before: other tasks may wait for that.
        """
        self._silenced = self.c is not NULL and not self.c.leaving and rip_consumer_rearm_fd(self.c) == 1
        self.picking = True
        try:
            return get(0, type=type, where=where)
        finally:
            self.picking = False

    @cython.final
    cdef inline void settle(self) noexcept:
        """Update the pollfd, if there is one."""
        if self.c is not NULL and self.c.ch.pollfd is not NULL and not self.picking:
            rip_consumer_update_fd(self.c)

    @cython.final
    cdef void let_go(self, rip_rx *lane, uint64_t seq) noexcept:
        """Release a message whose Hold is gone."""
        if rip_handle_check(&self.c.ch.handle) == 0:
            rip_rx_release_acked(lane, seq)
            self.settle()  # the end of the stream may have waited for it
        self.let_loose()

    @cython.final
    cdef inline void let_loose(self) noexcept:
        """Count a Hold that is gone. The last one completes `_close`."""
        self.holds -= 1
        if cython.unlikely(
            self.c.leaving and self.holds == 0 and rip_handle_check(&self.c.ch.handle) == 0
        ):
            self.close_at_last()

    @cython.final
    cdef void let_back(self, rip_rx *lane, uint64_t seq, uint64_t length, bint redelivered) noexcept:
        """Requeue a message whose Hold is gone, and do otherwise as `let_go`."""
        cdef rip_message message
        if rip_handle_check(&self.c.ch.handle) == 0:
            message.lane, message.seq, message.length = lane, seq, length
            if redelivered:
                rip_rx_redeliver(self.c, &message)
            else:
                rip_rx_requeue(self.c, &message, False)
            self.settle()
        self.let_loose()

    @cython.final
    cdef void close_at_last(self) noexcept:
        """Close when the last view is gone. Nothing can be raised here: after a second without the lock, abandon."""
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
            return dtypes.decode_dtype(code, self._tensors)
        except (errors.Corrupt, errors.UnsafeMessage) as error:
            raise _failures.named(error, self.channel) from error.__cause__

    # ---- getting ----

    @cython.final
    cdef inline PyObject *get_near(self) except? NULL:
        """Return the next message (a new reference) if nothing else is to be done first; NULL: call `peek`."""
        cdef rip_message message, other
        cdef PyObject *data
        cdef cnp.ndarray array
        cdef rip_consumer *c = self.c
        if cython.unlikely(not self.is_open() or c.ch.pollfd is not NULL or not rip_rx_peek_near(c, &message)):
            return NULL
        if message.kind == RIP_BYTES and self.copy != COPY_NEVER and message.length < LARGE:
            data = copy_of_bytes(self, message.data, <Py_ssize_t>message.length)
            if cython.unlikely(data is NULL):
                PyErr_Clear()  # `peek` and `receive` try again, and raise
                return NULL
            rip_rx_take_near(c, &message)
            return data
        if message.kind == RIP_ARRAY and self.copy_flags and has_last_header(self, message.data, message.length):
            array = copy_small(self, message.data + RIP_LINE, message.length - RIP_LINE)
            rip_rx_take_near(c, &message)
            keep_copy(self, array)
            return given(array)
        other = message  # a copy, so that the compiler keeps message in registers
        return given(receive(self, &other, False))

    @cython.final
    cdef object get_far(self, double seconds, object timeout):
        """Return the next message, and wait for it. timeout, for errors: seconds as the caller gave them."""
        cdef rip_message message
        cdef int rc = self.peek(&message, seconds)
        if rc:
            self.fail(rc, timeout)
        return receive(self, &message, False)

    @cython.final
    cdef inline int peek(self, rip_message *message, double seconds) except -1:
        """Find the next message and do not take it. Return 0, -ETIMEDOUT or -ENODATA, or raise."""
        cdef int rc = 0
        if cython.likely(self.is_open()):
            if self.lists_works():
                begin_get(self)
            rc = rip_rx_peek(self.c, message)
            if cython.likely(rc == 1):
                if cython.likely(message.redelivered < self.limit):
                    return 0
                bury(self, message, False)
                rc = 0
        return self.wait(rc, rip_rx_next, NULL, message, seconds)

    @cython.final
    cdef int wait(
        self, int rc, rip_rx_getter *getter, rip_filter *filter, rip_message *message, double seconds
    ) except -1:
        """Wait for a message. Return as `peek`. rc: what was found already (a death is reported only once), or 0."""
        cdef uint64_t deadline
        if rc == 0:
            if self.c is not NULL and self.lists_works() and self.is_open():
                begin_get(self)
            deadline = deadline_of(seconds)
            rc = -ESHUTDOWN if self.c is NULL else rip_rx_wait(self.c, getter, filter, message, deadline)
            while rc == 1 and message.redelivered >= self.limit and getter != rip_rx_find:  # that one is not claimed
                bury(self, message, getter != rip_rx_next)
                rc = rip_rx_wait(self.c, getter, filter, message, deadline)
        if rc == 1:
            return 0
        self.settle()
        if rc == -ETIMEDOUT or rc == -ENODATA:
            return rc
        park_at_exit(rc)
        self.fail(rc, self.c.died if self.c is not NULL else None)

    @cython.critical_section
    def get(self, timeout=None, *, type=None, where=None):
        """Return the next message; see `Producer.put` for its type.

        Parameters
        ----------
        timeout
            Seconds to wait for a message; None waits for ever, 0 not at all.
        type
            Take only a message of this type; of one of several types (a set, or another iterable of ints); or, with
            "lowest", of the lowest type that is there. The other messages stay, in their order.
        where
            Take only a message for which this function returns true. It is called with the `Message` and must not keep
            the payload. What it raises is raised here, and the message stays, unless its payload could not be read:
            then it is skipped.

        Raises
        ------
        Empty
            There was no message within the timeout.
        EndOfStream
            As many producers as the consumer's `producers` have come, all of them have closed, and all messages are
            read, or none is left that type and where select.
        ProducerFailed
            A producer has closed because of an error, so its stream may not be complete. Raised once, when all messages
            of that producer are read, or all that are there of its shared lane; not with deaths="skip".
        ProducerDied
            A producer's process ended without closing. Otherwise as ProducerFailed, of which it is a subclass.
        Corrupt
            The message is malformed; it is skipped.
        UnsafeMessage
            The message is pickled, and this consumer was opened without pickle=True; it is skipped.
        MemoryError
            There is too little memory for the message; it stays, and can be got later.
        RecursionError
            There is too little stack left to read a nested message; it stays, and can be got later.
        SystemRefused
            The lane of a new producer cannot be mapped: there are too few file descriptors, or too little memory or
            space. Raised once for each lane. The consumer tries again, and reads the other lanes in the meantime. A
            damaged or missing file raises `Corrupt`.
        Closed
            The consumer is closed, or belongs to the parent process.
        """
        cdef rip_message message
        cdef PyObject *got
        cdef double seconds = seconds_or(timeout, "get_nowait()")
        cdef int rc
        if type is None and where is None:
            got = self.get_near()
            return owned(got) if got is not NULL else self.get_far(seconds, timeout)
        if where is None:
            rc = select_type(self, &message, seconds, type)
            if rc:
                self.fail(rc, timeout)
            return receive(self, &message, True)
        cdef Message found = select_where(self, timeout, type, where)
        try:
            payload = found.payload
            pass_on(self, found.hold)
        except (MemoryError, RecursionError):
            unhold(self, found.hold)
            raise
        return payload

    @cython.critical_section
    def get_nowait(self):
        """Return the next message without waiting: `get` with timeout=0."""
        cdef PyObject *got = self.get_near()
        return owned(got) if got is not NULL else self.get_far(0, 0)

    @cython.critical_section
    def latest(self, timeout=None):
        """Return the newest message and release the older ones. Otherwise as `get`."""
        cdef rip_message message
        cdef int rc = self.wait(0, rip_rx_newest, NULL, &message, seconds_of(timeout))
        if rc:
            self.fail(rc, timeout)
        return receive(self, &message, True)

    @cython.critical_section
    def get_many(self, max, timeout=None, *, bint stack=False):
        """Return several messages: wait for the first as `get` does, and take the others that are there.

        Parameters
        ----------
        max
            The most messages to take, at least 1.
        timeout
            Seconds to wait for the first; None waits for ever, 0 not at all.
        stack
            True: the messages must be arrays. They are copied into one array, and no view keeps them. The batch ends
            before a message of another dtype, shape or memory order, which stays. Large copies release the GIL.

        Returns
        -------
        A list of k messages, 1 <= k <= max. With stack=True an array of shape (k, *shape) that is the caller's own; if
        the messages are in Fortran order, so is each of its rows.

        Raises
        ------
        TypeError
            With stack=True: the next message is not an array. It stays, and can be got without stack=True.
        Empty, EndOfStream, ProducerFailed, Corrupt, UnsafeMessage, MemoryError, RecursionError, SystemRefused, Closed
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
                if message.redelivered >= self.limit:
                    try:
                        bury(self, &message, False)
                    except Exception:  # the next call finds this message again, and raises
                        break
                    continue
                if message.kind == RIP_BYTES and self.copy != COPY_NEVER and message.length < LARGE:
                    got.append(PyBytes_FromStringAndSize(<const char *>message.data, <Py_ssize_t>message.length))
                elif (message.kind == RIP_ARRAY and self.copy_flags
                        and has_last_header(self, message.data, message.length)):
                    got.append(copy_small(self, message.data + RIP_LINE, message.length - RIP_LINE))
                elif receive_more(self, &message, got):
                    continue
                else:
                    break
                if lane is not NULL and lane is not message.lane:
                    rip_rx_publish_cursor(lane)
                lane = message.lane
                rip_rx_take(self.c, &message)
                give_out_copy(self, &message, False)
        except MemoryError:  # the next call gets this message
            give_back(self, &message, False)
        if lane is not NULL and rip_handle_check(&self.c.ch.handle) == 0:
            rip_rx_publish_cursor(lane)
            self.settle()
        return got

    @cython.critical_section
    def message(self, timeout=None, *, type=None, where=None):
        """Return the next message as a `Message`, which has its attributes too. Otherwise as `get`.

        It is acknowledged by `Message.release`, at the end of its with block, or when it is deleted. Another thread or
        task may release it.
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
        return take_message(self, &raw, type is not None)

    def messages(self, *, type=None, where=None):
        """Iterate over `Message` objects until the end of the stream, with `for` or `async for`.

        A message is acknowledged when the loop asks for the next one. If the loop is left in any other way (an
        exception, ``break`` or ``return``), the message is requeued, so work that was not completed is never lost. In a
        shared or durable group it is then marked as redelivered. To leave the loop when the work is done, call
        `Message.release` before ``break``. Views that outlive the loop delay the requeueing until they are gone.

        The iterator keeps the message in work. So write ``for message in consumer.messages()``, and keep no other
        reference to the iterator. Each thread or task has an iterator of its own.

        Parameters
        ----------
        type, where
            As in `get`.

        Raises
        ------
        ProducerFailed, Corrupt, MemoryError, SystemRefused, Closed
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
        """Copy the next message into memory of the caller. Otherwise as `get`.

        Large copies are made without the GIL.

        Parameters
        ----------
        array : numpy.ndarray or a writable buffer
            A writable array of the message's shape and dtype, with any strides; or, for a message of bytes, any other
            writable, contiguous buffer (a bytearray, a memoryview) that is at least as long as the message.

        Returns
        -------
        The array; for a buffer, the number of bytes copied.

        Raises
        ------
        ValueError
            The array has another shape or dtype, or is read-only, or the buffer is too short.
        TypeError
            An array is given and the message is not an array; or a buffer is given and the message is not bytes; or
            array is neither.
        Empty, EndOfStream, ProducerFailed, Corrupt, MemoryError, SystemRefused, Closed
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
        if self.peek(&message, INFINITY):  # without a timeout it is -ENODATA
            raise StopIteration
        return receive(self, &message, False)

    # ---- statistics and signals ----

    @cython.critical_section
    def _blocks(self):
        """Return the messages in work, those that views hold, and the pid of a producer whose lane they fill, or 0."""
        cdef uint64_t works = 0
        cdef Work *work = self.works
        while work is not NULL:
            works += 1
            work = work.after
        cdef bint open = self.holds and rip_handle_check(&self.c.ch.handle) == 0
        return works, self.holds, rip_rx_blocks(self.c) if open else 0

    @cython.critical_section
    def _counts(self):
        """Return the numbers of `ConsumerStats`, in its order."""
        if self.c is NULL:
            self.fail(-ESHUTDOWN, None)
        return (self.c.taken, self.c.bytes, rip_rx_missed(self.c), self.c.deaths, self.dead, rip_rx_backlog(self.c),
                self.holds, self.c.count, self.c.waits, self.c.waited * 1e-9)

    def notify(self, signum, *, value=None):
        """Send this process a signal at the next message, once, like mq_notify(3).

        Messages that are there already send none, so call this first, then get until `Empty`, then wait. The end of the
        stream and a new producer send the signal too. In a shared group, a message that wakes another member sends
        none. Prefer `fileno`: it is level-triggered and reports deaths. A signal is lost if its sender is killed just
        before it sends it, belongs to another user, or runs in another pid namespace.

        Parameters
        ----------
        signum
            For example ``signal.SIGUSR1``, or ``signal.SIGRTMIN`` (real-time signals are queued). None cancels the
            request.
        value
            A C int that the signal carries (``si_value``). None: the `Message.lane_id` of the lane.

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
        """Open a consumer, like `Consumer(channel, **options)`, in a task of an event loop. Other tasks run meanwhile.

        A cancelled task leaves no consumer open. Close the consumer with ``async with`` or `close`.

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
        """Return the next message, like `get`, in a task of asyncio, uvloop, trio or anyio. Other tasks run meanwhile.

        A cancelled task has taken no message. Use the event loop's own timeouts.

        Parameters
        ----------
        type, where
            As in `get`.

        Raises
        ------
        EndOfStream, ProducerFailed, Corrupt, UnsafeMessage, MemoryError, RecursionError, SystemRefused, Closed
            As in `get`.
        """
        return await self._wait_for(self.get, type, where)

    async def amessage(self, *, type=None, where=None):
        """Return the next message as a `Message`, like `message`. Another task may release it. Otherwise as `aget`."""
        return await self._wait_for(self.message, type, where)

    async def aget_many(self, max, *, stack=False):
        """Return several messages, like `get_many`, in a task. A cancelled task has taken no message.

        Parameters
        ----------
        max, stack
            As in `get_many`.

        Raises
        ------
        TypeError, EndOfStream, ProducerFailed, Corrupt, UnsafeMessage, MemoryError, RecursionError, SystemRefused,
        Closed
            As in `get_many`.
        """
        def get_now(timeout):
            return self.get_many(max, timeout, stack=stack)

        return await self._wait_for(get_now, None, None)

    async def _wait_for(self, get, type, where):
        """Call get when the pollfd is readable, until it returns."""
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
                    self.readiness.wake_others()  # the pollfd was readable for them
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
        """The counters of this consumer now, a `ConsumerStats`."""
        return ConsumerStats(*self._counts(), transport=self._link.transport if self._link is not None else "ring")

    def close(self):
        """Leave the group when the last view is gone. Closing again does nothing.

        In a shared or durable group, what all threads and tasks have got is done now. If an exception leaves the
        consumer's with block, it is given back instead, marked as redelivered; so it is if the process exits without
        closing the consumer.

        If a signal handler raises an exception during this call (Ctrl-C), all other calls raise `Closed`, but the
        consumer is still a member of its group. Close it again; otherwise it is closed when the process exits.
        """
        self._end(exiting=False, clean=True)

    def _end(self, *, bint exiting, bint clean=False):
        """Close the producer, and its link."""
        rc = self._begin_close(clean)  # first, so that threads and tasks that are woken find it closed
        if rc == 0:
            self.readiness.closing()
            _upkeep.end(self)
            rc = self._close(exiting)
        if self._link is not None:
            self._link.close()
        letters, self.letters = self.letters, None
        if letters is not None:
            letters.close()
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
