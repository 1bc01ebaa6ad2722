# A producer. The GIL is released during waits and large copies.

cdef extern from "Python.h":
    int PyBuffer_ToContiguous(void *, const Py_buffer *, Py_ssize_t, char) except -1  # cpython.buffer has no except

cdef enum:  # how a put ends
    WRITTEN
    TIMED_OUT
    REFUSED  # by a full lane that does not wait; counted already


cdef inline uint32_t type_of(Py_ssize_t type) except? 0xFFFFFFFF:
    if not 0 <= type < 1 << 32:
        raise OverflowError(f"type must be from 0 to 2**32 - 1, not {type}")
    return <uint32_t>type


cdef int check_batch(messages, str call) except -1:
    """Refuse one message in the place of a list of messages."""
    if isinstance(messages, (dict, cnp.ndarray)):
        raise TypeError(f"{call} takes a list of messages; {call.removesuffix('_many')}() sends one dict or array")
    if isinstance(messages, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"{call} takes a list of messages, not one message of type {messages.__class__.__name__}")
    return 0


cdef class Producer:
    """Puts messages into a lane of its own, or into the shared lane. Creates the channel if it does not exist.

    Threads may share a producer. If its process is killed, every message is there whole or not at all.

    Parameters
    ----------
    channel
        The name of a channel, a `Channel`, or an endpoint: the end of a `pair`, a URL ("fifo:///path", "unix:///path",
        "unix://@name" or "tcp://host:port"), or what `tcp`, `unix` or `fifo` return. A name has at most 200 bytes and
        no "/", and does not begin with "." or "~"; "~user/name" is a channel that another user shares.
    capacity
        How many bytes of messages the lane holds, as a number or as text ("64 MiB"). Memory is allocated as it is
        needed: a few messages' worth while consumers keep up. A longer message passes too: it has memory of its own,
        which is freed after its release, when this producer next puts or flushes. Two such messages that are not done
        make `put` of a third one wait.
    max_message
        The longest message, in bytes or as text, at least the capacity. None: as long as memory allows; with a socket
        or a pipe, in ``channel`` or ``fallback``, 1 GiB; in a shared lane, the capacity.
    slots
        How many messages the lane holds, rounded up to a power of two except with drop-old. Each slot takes 32 bytes
        when the producer opens.
    overflow
        What a full lane does. "block" makes `put` wait. "drop-new" refuses the new message. "drop-old" drops the oldest
        messages that no consumer has taken; a new message is refused only if messages in use leave no room. With the
        last two `put` never waits: it returns False if the message is refused, and `stats` counts what is lost. If
        there is no memory for a message, such a lane counts as full.
    groups
        Names of declared groups: messages are kept for them from now on, before their first consumer joins, and until
        they are done, whoever comes and goes. The first consumer decides whether the group is shared or exclusive; it
        may have joined before.
    lane
        "own": this producer has a lane of its own, which is fastest; there is no order between lanes. "shared": all
        producers of the channel with this option write one lane, one at a time. Its messages have one exact order, so
        what is put after another put has returned comes after it, whoever put it; and any number of producers need the
        memory of one lane. The first one makes the lane; the others need the same capacity, slots and overflow. A
        killed producer delays the others by 50 ms at most; one that is stopped (SIGSTOP) while it puts, or waits for
        room, stops them, and so does a block of `reserve` until it ends. `put_nowait` waits for another producer that
        puts, for 20 ms at most. Messages do not say who put them: `Message.producer_pid` is 0. Only for channels in
        shared memory.
    preallocate
        True: allocate the whole capacity now, so that no later `put` can fail for lack of memory.
    pickle
        Pickle every message except bytes, memoryviews and plain arrays, so that it keeps its type. Consumers need
        pickle=True to read it. Unpickling can run any code.
    wait
        How `put` waits for room. "spin" uses a whole core, for the lowest latency. "block" sleeps at once. "adaptive"
        spins for up to 200 microseconds while spinning has been succeeding, then sleeps.
    mode
        The permissions of the files if this producer creates the channel: 0o600 for this user only, 0o660 for a group
        of users too, 0o666 for all users. Other users name the channel "~user/name", after the user who created it.
    share_with
        The group of users, by name or gid, that mode 0o660 is for. It implies that mode.
    fallback
        A socket, as a URL or an endpoint, for consumers that cannot map the shared memory. They give the same fallback.
    timeout
        Seconds to wait for a listener if this producer connects (``bind=False``); None waits for ever.
    linger
        How long `close` and the end of the program wait, in seconds since the last progress, for messages that exist
        only in this process because no connected consumer has taken them. None waits for ever, 0 not at all. A producer
        that is deleted without `close` lingers in a thread of its own. What is in the buffer of a pipe counts as taken.
        After one second a warning is logged (logger "ringipc"). What is left then is lost: `MessagesLost`.

    Attributes
    ----------
    channel : str, Channel or Endpoint
        As it was given; for an endpoint its URL, with the port that was found. Read-only.

    Raises
    ------
    ChannelNotFound
        The channel belongs to another user, who has not created it; or nobody listened within the timeout.
    AuthenticationError
        The peer has another key, is another user, or has a certificate that is not trusted.
    TableFull
        The channel already has 1024 lanes or, if groups are declared, 32 groups.
    SystemRefused
        There is no memory for the slots, or for the capacity with preallocate; or the directory cannot be written. It
        is an `OSError`: see its `errno`.
    Incompatible
        The name is used by a channel of another version, or by something else; or the shared lane has another capacity,
        number of slots or overflow.
    Corrupt
        The files of the channel are damaged.

    Examples
    --------
    >>> import numpy as np, ringipc
    >>> with ringipc.Producer("frames", capacity="1 MiB") as producer, ringipc.Consumer("frames") as consumer:
    ...     producer.put(np.arange(3))
    ...     consumer.get()
    True
    array([0, 1, 2])
    """

    cdef rip_producer *p
    cdef object dtype  # of the array put last; a copy of it if it is structured
    cdef bytes dtype_code
    cdef object __weakref__
    cdef object _channel
    cdef public object _link  # to consumers in other processes, or None
    cdef public object _transport
    cdef public object _linger
    cdef object readiness
    cdef public bint _pickle  # pickle everything except bytes, memoryviews and arrays
    cdef Pickler pickler  # to be used again, or None
    cdef IoLoop io_loop  # None: the messages go through shared memory only
    cdef object failure  # the exception that says why no consumer can connect any more
    cdef unsigned char head[RIP_LINE]  # the header of the array put last, if it is RIP_LINE long
    cdef rip_array array  # what that header says, except dtype
    cdef uint64_t array_size  # of the elements, in bytes
    cdef bint has_logged  # that a put waits for a group that nobody reads

    def __dealloc__(self):
        if self.p is not NULL:
            with nogil:
                rip_handle_set_unattended(&self.p.ch.handle)
                rip_producer_close(self.p)
                rip_producer_free(self.p)

    def __init__(self, *args, **options):
        self.readiness = _readiness.Readiness()
        constructors[Producer](self, *args, **options)

    def __reduce__(self):
        raise TypeError(
            "a Producer cannot be pickled: give the other process the channel's name, or its Channel, to make its own"
        )

    # ---- opening and closing ----

    def _name(self, channel):
        """Set the attribute that users can only read."""
        self._channel = channel

    @property
    def channel(self):
        """The channel as it was given; for an endpoint its URL, with the port that was found."""
        return self._channel

    def _open(
        self, bytes channel, uint64_t capacity, uint64_t slots, uint32_t overflow, bint preallocate, bint shared,
        int wait, int mode, int64_t group
    ):
        """Join the channel, and create it if it does not exist. Return 0 or a negative errno."""
        if self.p is not NULL:
            raise RuntimeError("this Producer is open already")
        cdef const char *name = channel
        cdef rip_producer *p = NULL
        cdef rip_access access = rip_access(<uint32_t>mode, <uint32_t>group)
        cdef uint32_t flags = (overflow | (<uint32_t>RIP_PREALLOCATE if preallocate else 0)
                               | (<uint32_t>RIP_SHARED_LANE if shared else 0))
        cdef int rc
        with nogil:
            rc = rip_producer_open(name, capacity, slots, flags, <rip_wait>wait, &access, &p)
        if rc == 0:
            p.ch.handle.give_up = RIP_TRY_ONLY  # from here on waits for the table lock release the GIL
        self.p = p
        return rc

    @cython.critical_section
    def _set_io_loop(self, IoLoop io_loop not None):
        """Let puts hand messages to an I/O loop. Their peers take no longer ones than `LARGEST_REMOTE`."""
        self.io_loop = io_loop
        if self.p is not NULL:
            self.p.longest = min(self.p.longest, <uint64_t>RIP_LARGEST_REMOTE)

    @cython.critical_section
    def _cut_off(self, failure):
        """Raise this exception from waits for room: no consumer can connect any more."""
        self.failure = failure
        if self.p is not NULL:
            self.p.cut_off = True

    @cython.critical_section
    def _declare(self, bytes group):
        """Keep messages for a group from now on. Return 0 or a negative errno."""
        if self.p is NULL:
            return -ESHUTDOWN
        cdef int rc = rip_declare(self.p, group)
        while rc == -EAGAIN:
            await_lock(&self.p.ch.handle, RIP_FOREVER)
            rc = rip_declare(self.p, group)
        return rc

    @cython.critical_section
    def _set_label(self, bytes label):
        """Set a text that consumers can read with each message. Return 0 or a negative errno."""
        return -ESHUTDOWN if self.p is NULL else rip_set_label(self.p, label)

    @cython.critical_section
    def _set_longest(self, uint64_t size):
        """Set how long a message can be, in bytes. The capacity, rounded up to a page, is the least."""
        if self.p is not NULL:
            rip_set_longest(self.p, max(size, self.p.arena.capacity))

    @cython.critical_section
    def _has_consumer(self, bytes group):
        """Return whether the group has a live member, after reaping the dead; True also if that cannot be known now.

        Raises
        ------
        Closed
            The producer is closed, or belongs to the parent process.
        """
        cdef int rc = -ESHUTDOWN if self.p is NULL else rip_has_consumer(self.p, group)
        if rc < 0 and rc != -EAGAIN:
            self.fail(rc, None)
        return rc != 0

    @cython.critical_section
    def _begin_close(self):
        """Let all later calls but `_close` find the producer closed. Return 0, or an errno in a forked child."""
        return 0 if self.p is NULL else rip_handle_begin_close(&self.p.ch.handle)

    @cython.critical_section
    def _cancel_open(self):
        """Undo the opening, before `_close`: consumers get no end of this stream."""
        if self.p is not NULL:
            rip_producer_undo(self.p)

    @cython.critical_section
    def _close(self, bint exiting, bint failed=False):
        """End the stream and leave. Wait until another thread has copied its message; discard a reservation.

        failed: the stream is not complete, and consumers get an error.

        If a signal handler raises during a wait, the producer refuses all calls except another `_close`.
        """
        if self.p is NULL:
            return 0
        if failed:
            rip_producer_fail(self.p)
        if self.p.fill == RIP_FILL_COPY:
            rip_tx_wait_filled(self.p, RIP_FOREVER)
        return close_patiently(<locking>rip_producer_close, self.p, &self.p.ch.handle, exiting)

    @property
    def closed(self):
        """True after `close`, and in a forked child."""
        with cython.critical_section(self):
            return self.p is NULL or rip_handle_check(&self.p.ch.handle) != 0

    # ---- the pollfd ----

    @cython.critical_section
    def fileno(self):
        """Return a file descriptor that is readable while there is room for a message, or for the one refused last.

        Use it with select, poll, epoll, and event loops. It belongs to the producer and is closed with it. It can be
        readable when there is some room, but not enough: try `put_nowait`, and wait again after `Full`.

        Raises
        ------
        Closed
            The producer is closed, or belongs to the parent process.
        SystemRefused
            There is no file descriptor left.
        """
        cdef int fd = -ESHUTDOWN
        cdef bint begins = False
        if self.p is not NULL:
            self.await_filled("descriptor")
            begins = self.p.ch.pollfd is NULL
            fd = rip_producer_fd(self.p)
        if fd < 0:
            self.fail(fd, "descriptor")
        if begins:
            _upkeep.begin(self)
        return fd

    @cython.critical_section
    def _update_pollfd(self):
        """Update the pollfd, as each call that puts does."""
        self.settle()

    @cython.final
    cdef inline void publish(self) noexcept:
        """Publish what has been written, and wake members that wait for it."""
        rip_tx_publish(self.p)
        if cython.unlikely(self.io_loop is not None and rip_io_loop_needs_push(self.io_loop.loop)):
            with nogil:
                self.io_loop.loop.push(self.io_loop.loop)

    @cython.final
    cdef int leave(self) except -1:
        """Let other producers of a shared lane write, unless another thread fills what this producer has reserved."""
        if self.p is not NULL and self.p.fill == RIP_FILL_NONE:
            rip_tx_leave(self.p)
        return 0

    @cython.final
    cdef inline void settle(self) noexcept:
        """Update the pollfd, if there is one."""
        if self.p is not NULL and self.p.ch.pollfd is not NULL and self.p.fill == RIP_FILL_NONE:
            rip_producer_update_fd(self.p)

    # ---- putting ----

    @cython.final
    cdef inline bint put_near(self, PyObject *message) noexcept:
        """Put bytes or an array like the last one, if there is room and nothing is to be done first. Return whether.

        message: borrowed, because the caller's reference outlives this call.
        """
        cdef const unsigned char *source
        cdef unsigned char *payload
        cdef uint64_t size, header = 0
        cdef rip_producer *p = self.p
        if PyBytes_CheckExact(<object>message):
            source = <const unsigned char *>PyBytes_AS_STRING(<object>message)
            size = <uint64_t>PyBytes_GET_SIZE(<object>message)
        elif PyArray_CheckExact(<object>message) and has_header_of_last(self, <cnp.ndarray>message):
            source = <const unsigned char *>cnp.PyArray_DATA(<cnp.ndarray>message)
            size = self.array_size
            header = RIP_LINE
        else:
            return False
        if cython.unlikely(p is NULL or rip_handle_check(&p.ch.handle) != 0 or p.fill != RIP_FILL_NONE
                           or p.ch.pollfd is not NULL or self.io_loop is not None
                           or not (rip_tx_has_room(p, header + size) or rip_tx_can_put(p, header + size))
                           or rip_tx_reserve(p, header + size, &payload)):
            return False
        rip_tx_stamp(p)
        if header:
            memcpy(payload, self.head, RIP_LINE)
        memcpy(payload + header, source, size)
        rip_tx_commit(p, header + size, 0, RIP_ARRAY if header else RIP_BYTES)
        rip_tx_publish(p)
        return True

    @cython.final
    cdef int reserve_slow(self, uint64_t length, double seconds, unsigned char **payload) except -1:
        """Wait for room. Return WRITTEN, TIMED_OUT or REFUSED."""
        cdef int rc
        if self.p is NULL:
            self.fail(-ESHUTDOWN, length)
        if self.p.published != self.p.tail and rip_handle_check(&self.p.ch.handle) == 0:
            self.publish()  # what put_many has written, so that consumers can make room
        rc = self.wait_for_room(length, deadline_of(seconds), payload)
        if rc == -ETIMEDOUT:
            return TIMED_OUT
        if rc == -ENOBUFS:
            rip_tx_refuse(self.p)
            return REFUSED
        return self.checked(rc, length)

    @cython.final
    cdef int wait_for_room(self, uint64_t length, uint64_t deadline, unsigned char **payload) except 1:
        """Wait for room. Return 0 or a negative errno. Log a long wait for a group that nobody reads, once."""
        cdef uint64_t log_at = rip_now() + <uint64_t>LOG_AFTER_NS
        cdef int rc
        if self.has_logged or deadline <= log_at:
            return rip_tx_wait_reserve(self.p, length, deadline, payload)
        rc = rip_tx_wait_reserve(self.p, length, log_at, payload)
        if rc == -ETIMEDOUT:
            self.log_wait()
            rc = rip_tx_wait_reserve(self.p, length, deadline, payload)
            self.p.waits -= 1  # it was one wait
        return rc

    @cython.final
    cdef int log_wait(self) except -1:
        cdef rip_slowest slowest
        rip_producer_slowest(self.p, &slowest)
        if slowest.members == 0 and slowest.messages:
            self.has_logged = True
            _failures.log_unread(self.channel, (<bytes>slowest.group).decode(errors="replace"), self.why_full())
        return 0

    @cython.final
    cdef int await_filled(self, length) except -1:
        """Wait until no other thread fills a message."""
        self.checked(rip_tx_wait_filled(self.p, RIP_FOREVER), length)
        return 0

    @cython.final
    cdef int fail(self, int rc, detail) except -1:
        shortage = last_shortage()
        longest = 0 if self.p is NULL else self.p.longest
        why = self.why_full() if rc == -ETIMEDOUT or rc == -EAGAIN else ""
        _failures.fail_producer(self.channel, rc, detail, shortage, longest=longest, why=why)
        return -1

    @cython.final
    cdef str why_full(self, bint flushes=False):
        """Return what keeps the lane full, or `flush` from returning, as a part of a sentence."""
        cdef rip_slowest slowest
        if self.p is NULL:
            self.fail(-ESHUTDOWN, None)
        if self._link is not None and self._link.failure is not None:
            return str(self._link.failure)
        if not flushes and rip_lane_is_occupied(self.p):
            return (
                "another producer has the shared lane: it has a reservation open, or its process is stopped (SIGSTOP, "
                "a debugger, a paused container)"
            )
        if flushes:
            rip_producer_unacked(self.p, &slowest)
        else:
            rip_producer_slowest(self.p, &slowest)
        return _failures.why_full(
            "acknowledged" if flushes else "released", (<bytes>slowest.group).decode(errors="replace"),
            slowest.shared != 0, slowest.members != 0, slowest.pid, slowest.messages, slowest.bytes, slowest.kept
        )

    @cython.final
    cdef object encode(self, message):
        try:
            return codecs.encode(message, self._pickle)
        except errors.UnsafeMessage as error:
            raise _failures.named(error, self.channel) from error.__cause__

    @cython.final
    cdef object encode_dtype(self, dtype, bint reserving):
        try:
            return dtypes.encode_dtype(dtype, "reserve" if reserving else "put")
        except errors.UnsafeMessage as error:
            raise _failures.named(error, self.channel) from error.__cause__

    @cython.final
    cdef int checked(self, int rc, length) except -1:
        """Raise the exception for an error of a call that puts."""
        if rc == 0:
            return 0
        if rc == -EDEADLK:
            raise errors.ReservationOpen(
                f"channel {self.channel!r}: this thread has a reservation open on this producer: leave its with block "
                "first"
            )
        if rc == -EPIPE:
            raise self.failure
        park_at_exit(rc)
        self.fail(rc, length)

    @cython.final
    cdef inline int reserve_room(self, uint64_t length, double seconds, unsigned char **payload) except -1:
        """Reserve room for a message. Return WRITTEN, TIMED_OUT or REFUSED."""
        if cython.likely(self.p is not NULL and self.p.fill == RIP_FILL_NONE
                         and rip_handle_check(&self.p.ch.handle) == 0):
            if cython.likely(rip_tx_reserve(self.p, length, payload) == 0):
                return 0
        return self.reserve_slow(length, seconds, payload)

    @cython.critical_section
    def put(self, message, timeout=None, *, Py_ssize_t type=0):
        """Copy a message into the lane and publish it.

        Parameters
        ----------
        message
            Its type decides what the consumer gets:

            * an array of any shape, strides and dtype without objects and metadata: an array;
            * bytes or a memoryview: bytes;
            * a record: the same. A record is None, a bool, int, float, str or NumPy scalar, or a dict, list or tuple of
              these and of the other types in this list, nested up to 100 deep;
            * a tensor in CPU memory (anything with DLPack): an array;
            * any other object with a buffer (bytearray, array.array, mmap, a ctypes structure without pointers): bytes.

            Subclasses of these (a masked array, a named tuple) and other objects are refused. With pickle=True on both
            sides, everything except bytes, memoryviews and arrays is pickled, as `multiprocessing` does it, and keeps
            its type. What NumPy's own pickling loses is lost: a hard mask, the subclass of a scalar, and, in records
            too, NULs at the end of a numpy.str_ or numpy.bytes_.
        timeout
            Seconds to wait for room; None waits for ever, 0 not at all.
        type
            A number for the consumer to select messages by, 0 to 2**32 - 1.

        Returns
        -------
        bool
            True: the message was put. False: the lane was full and refused it (overflow="drop-new" or "drop-old");
            `stats.refused` counts it.

        Raises
        ------
        Full
            There was no room within the timeout.
        SystemRefused
            There is no memory for the message (see preallocate). Raised at once, whatever the timeout. The same message
            may fit later.
        MessageTooLarge
            The message is longer than max_message.
        UnsafeMessage
            The message, or something in it, has none of these types, or cannot be pickled. The text says where in the
            message it is, and what to do.
        Closed
            The producer is closed, or belongs to the parent process.
        """
        cdef double seconds = seconds_or(timeout, "put_nowait()")
        if type == 0 and self.put_near(<PyObject *>message):
            return True
        return self.put_far(message, seconds, timeout, type_of(type), -ETIMEDOUT)

    @cython.final
    cdef bint forward(self, const unsigned char *data, uint64_t length, uint32_t type, uint8_t kind) except -1:
        """Put the payload of another message as it is, without waiting. Return whether it went in."""
        cdef unsigned char *payload
        with cython.critical_section(self):
            if self.p is not NULL:
                rip_tx_stamp(self.p)
            if self.reserve_room(length, 0, &payload) != WRITTEN:
                return False
            copy_in(self, payload, data, length)
            rip_tx_commit(self.p, length, type, kind)
            self.publish()
            self.settle()
        return True

    @cython.critical_section
    def _copy_of(self, message):
        """Return what can be put later as a message would be now, whatever happens to its objects meanwhile.

        Raises
        ------
        UnsafeMessage
            As in `put`.
        """
        if not self._pickle or type(message) in (bytes, memoryview, cnp.ndarray):
            try:
                return codecs.copy_of(message, self._pickle)
            except errors.UnsafeMessage as error:
                raise _failures.named(error, self.channel) from error.__cause__
        return encoded_object(self, message)

    @cython.critical_section
    def put_nowait(self, message, *, Py_ssize_t type=0):
        """Put a message without waiting: `put` with timeout=0."""
        if type == 0 and self.put_near(<PyObject *>message):
            return True
        return self.put_far(message, 0, 0, type_of(type), -EAGAIN)

    @cython.final
    cdef bint put_far(self, object message, double seconds, object timeout, uint32_t type, int full) except -1:
        """Put a message, and wait for room. Return whether it was put.

        timeout, full: for errors, seconds as the caller gave them, and what there was no room in time means.
        """
        cdef int outcome
        if self.p is not NULL:
            rip_tx_stamp(self.p)
        try:
            outcome = write_message(self, message, seconds, type)
        except BaseException:
            self.leave()
            raise
        if outcome == WRITTEN:
            self.publish()
        self.settle()
        if outcome == TIMED_OUT:
            self.fail(full, timeout)
        return outcome == WRITTEN

    @cython.critical_section
    def put_many(self, messages, timeout=None, *, Py_ssize_t type=0):
        """Put several messages, in order.

        In a lane that waits for room, the messages are published together, with one wake-up, as far as there is room.
        In a lane that drops messages, each is published at once, so that consumers can make room. In a shared lane each
        is published at once too, and messages of other producers can come between.

        Parameters
        ----------
        messages
            An iterable of what `put` takes. Use a list: what an iterator has left after a timeout is lost.
        timeout
            Seconds to wait for room, in all.
        type
            The type of each message.

        Returns
        -------
        int
            How many of the messages, from the first, were put, or refused by a lane that does not wait (`stats.refused`
            counts these). This is fewer than all only after the timeout; put ``messages[n:]`` again then.

        Raises
        ------
        SystemRefused, MessageTooLarge, UnsafeMessage, Closed
            As in `put`. A note on the exception says how many messages had been put, and how many refused.
        """
        cdef uint64_t deadline = deadline_of(seconds_of(timeout))
        check_batch(messages, "put_many")
        if not isinstance(messages, (list, tuple)):
            messages = list(messages)
        return self.put_from(messages, 0, deadline, type_of(type), "put_many")

    @cython.critical_section
    def _put_from(self, list messages, Py_ssize_t first, Py_ssize_t type):
        """Put messages[first:] until the lane is full. Return as `put_from`; an exception says the same (`done`)."""
        return self.put_from(messages, first, 0, type_of(type), "aput_many")

    @cython.final
    cdef Py_ssize_t put_from(
        self, object messages, Py_ssize_t first, uint64_t deadline, uint32_t type, str call
    ) except -1:
        """Put messages[first:] until the deadline. Return how many messages, counted from 0, were put or refused."""
        cdef Py_ssize_t done = first, put = first
        cdef int outcome
        if self.p is not NULL:
            rip_tx_stamp(self.p)
        try:
            for message in messages if first == 0 else messages[first:]:
                outcome = write_message(self, message, seconds_until(deadline), type)
                if outcome == TIMED_OUT:
                    break
                done += 1
                if outcome == WRITTEN:
                    put += 1
                    if self.p.overflow != RIP_BLOCK or self.p.shared:
                        self.publish()
        except BaseException as error:
            self.leave()
            refused = f", and {done - put} refused by the full lane" if done != put else ""
            error.add_note(f"{call}: messages[{done}] failed; {put} message(s) had been put before it{refused}")
            error.done = done
            raise
        finally:
            if self.p is not NULL and rip_handle_check(&self.p.ch.handle) == 0:
                if self.p.published != self.p.tail:
                    self.publish()
                self.settle()
        return done

    @cython.critical_section
    def _begin(self, dtype, tuple shape, uint64_t size, timeout):
        """Reserve room for an array of size bytes. Other threads that put wait until `_commit` or `_abort`.

        Return the array and the length of the message; if the lane refuses it, a private array and None.
        """
        cdef cnp.npy_intp dims[RIP_MAX_NDIM]
        cdef unsigned char *elements
        cdef uint64_t length
        cdef double seconds = seconds_of(timeout)
        cdef int i, ndim = <int>len(shape)
        if ndim > RIP_MAX_NDIM:
            raise ValueError(f"an array has at most {RIP_MAX_NDIM} dimensions, not {ndim}")
        for i in range(ndim):
            dims[i] = shape[i]
        if not knows_dtype(self, dtype):
            learn_dtype(self, dtype, True)
        cdef int outcome = begin_array(self, dtype, ndim, dims, False, size, seconds, &elements, &length)
        if not self.is_reserved(outcome, timeout):
            return array_at(NULL, dtype, ndim, dims, 0), None
        return self.lend(elements, dtype, ndim, dims), length

    @cython.critical_section
    def _begin_memory(self, uint64_t length, timeout):
        """Reserve memory for a message of any kind. Return an array of length bytes; None if the lane refuses it."""
        cdef unsigned char *payload
        cdef cnp.npy_intp size = <cnp.npy_intp>length
        if not self.is_reserved(self.reserve_room(length, seconds_of(timeout), &payload), timeout):
            return None
        return self.lend(payload, cnp.PyArray_DescrFromType(cnp.NPY_UINT8), 1, &size)

    @cython.final
    cdef bint is_reserved(self, int outcome, timeout) except -1:
        """Return whether there is room to fill; raise Full at the timeout."""
        if outcome != WRITTEN:
            self.settle()
        if outcome == TIMED_OUT:
            self.fail(-ETIMEDOUT, timeout)
        return outcome == WRITTEN

    @cython.final
    cdef cnp.ndarray lend(self, unsigned char *elements, cnp.dtype dtype, int ndim, const cnp.npy_intp *dims):
        """Return a writable array over memory of the lane. Other threads that put wait until `_commit` or `_abort`."""
        try:
            array = array_at(elements, dtype, ndim, dims, cnp.NPY_ARRAY_WRITEABLE)
        except BaseException:
            self.leave()
            raise
        Py_INCREF(self)
        PyArray_SetBaseObject(array, self)
        rip_tx_begin_fill(self.p, RIP_FILL_RESERVED)
        return array

    @cython.critical_section
    def _commit(self, uint64_t length, uint32_t type, uint8_t kind):
        """Publish the first length bytes of what `_begin` or `_begin_memory` has reserved."""
        if self.p is NULL:
            self.fail(-ESHUTDOWN, length)
        rip_tx_end_fill(self.p)
        self.checked(rip_handle_check(&self.p.ch.handle), length)
        rip_tx_stamp(self.p)
        rip_tx_commit(self.p, length, type, kind)
        self.publish()
        self.settle()

    @cython.critical_section
    def _abort(self):
        """Discard what `_begin` or `_begin_memory` has reserved."""
        if self.p is not NULL:
            rip_tx_end_fill(self.p)
            rip_tx_leave(self.p)
        self.settle()

    # ---- statistics ----

    @cython.critical_section
    def flush(self, timeout=None):
        """Wait until the work on every message that was put is done, in every group except lossy ones.

        In a shared or durable group, a message is done when it is acknowledged; a view that is still alive does not
        matter. In another group, it is done when it is released: a view that is alive delays it.

        Raises
        ------
        TimedOut
            That did not happen within timeout seconds. The text names the group that is not done.
        RingError
            The messages go over a link that has failed for good, so no consumer can get them.
        """
        cdef uint64_t deadline = deadline_of(seconds_of(timeout))
        cdef int rc = -ESHUTDOWN if self.p is NULL else rip_flush(self.p, deadline)
        if rc == -ETIMEDOUT:
            raise errors.TimedOut(
                f"channel {self.channel!r}: not flushed {_failures.within(timeout)}: {self.why_full(True)}"
            )
        self.checked(rc, None)

    @cython.critical_section
    def _counts(self):
        """Return the numbers of `ProducerStats`, in its order."""
        if self.p is NULL:
            self.fail(-ESHUTDOWN, None)
        return (self.p.tail - self.p.others, self.p.bytes, self.p.dropped, self.p.refused, rip_producer_backlog(self.p),
                rip_producer_bytes(self.p), self.p.keep, self.p.arena.capacity,
                self.p.arena.allocated + rip_large_bytes(self.p), self.p.waits,
                self.p.waited * 1e-9)

    @classmethod
    async def aopen(cls, channel, **options):
        """Open a producer, like `Producer(channel, **options)`, in a task of an event loop. Other tasks run meanwhile.

        A cancelled task leaves no producer open. Close the producer with ``async with``: over connections, this does
        not block the event loop either.

        Parameters
        ----------
        channel, options
            As for `Producer`; also timeout.

        Raises
        ------
        ChannelNotFound, AuthenticationError, TableFull, SystemRefused, Incompatible, Corrupt
            As for `Producer`.
        """
        return await _readiness.open_in_thread(cls, channel, options)

    async def aput(self, message, *, type=0):
        """Put a message, like `put`, in a task of asyncio, uvloop, trio or anyio. Other tasks run meanwhile.

        A cancelled task has put no message. Use the event loop's own timeouts.

        Returns
        -------
        bool
            True: the message was put. False: it was refused, as in `put`.

        Raises
        ------
        SystemRefused, MessageTooLarge, UnsafeMessage, Closed
            As in `put`.
        """
        while True:
            try:
                return self.put_nowait(message, type=type)
            except errors.Full:
                await self.readiness.wait(self.fileno())

    async def aput_many(self, messages, *, type=0):
        """Put several messages, like `put_many`, in a task of an event loop. Other tasks run meanwhile.

        The messages are put in order, as many at once as there is room for. Messages of other tasks can come between.

        A cancelled task has put the first messages and none of the others. A note on its exception says how many. Use
        the event loop's own timeouts; the exception with the note is then the cause of the TimeoutError.

        Parameters
        ----------
        messages
            An iterable of what `put` takes. It is read to its end first.
        type
            The type of each message.

        Returns
        -------
        int
            The number of messages. Each was put, or refused by a full lane that does not wait (`stats.refused` counts
            these).

        Raises
        ------
        SystemRefused, MessageTooLarge, UnsafeMessage, Closed
            As in `put`. A note on the exception says how many messages had been put, and how many refused.

        Examples
        --------
        >>> import asyncio, ringipc
        >>> with ringipc.Producer("batches", capacity="1 MiB") as producer, ringipc.Consumer("batches") as consumer:
        ...     asyncio.run(producer.aput_many([b"a", b"b"]))
        ...     consumer.get_many(2)
        2
        [b'a', b'b']
        """
        check_batch(messages, "aput_many")
        batch = list(messages)
        done = self._put_from(batch, 0, type)
        while done < len(batch):
            try:
                await self.readiness.wait(self.fileno())
            except BaseException as error:
                error.add_note(f"aput_many: {done} of {len(batch)} messages were put")
                raise
            done = self._put_from(batch, done, type)
        return done

    def reserve(self, shape, dtype="u1", timeout=None, *, type=0):
        """Reserve memory in the lane for an array, or for a record with arrays, to be filled there: nothing is copied.

        The result is a context manager. Its ``as`` target is the array, or the record with its arrays. The message is
        put when the with block ends; if that is by an exception, it is discarded. Until then the puts of other threads,
        and of all other producers of a shared lane, wait. Where a full lane refuses the message (see overflow) there
        are still arrays, in memory of their own, which are discarded at the end of the block; the reservation's
        `was_put` is then False, and `stats.refused` counts the message.

        An array is aligned to 64 bytes. It is read-only once it is put. Slices and other views of it are not: writing
        through one that is kept changes a message that others read.

        Parameters
        ----------
        shape
            Of the array: an integer or a sequence of integers, from 0 up. Or a record, that is a dict, list or tuple as
            `put` takes it, in which `ringipc.empty` stands for each array to be filled; consumers get an ordinary
            record. All else in it is encoded when the block is entered, so the record in the block is read-only: its
            dicts are mapping proxies and its lists tuples.
        dtype
            Of the array; the arrays of a record have their own. The elements are uninitialised.
        timeout
            Seconds to wait for room, when the with block is entered; None waits for ever.
        type
            The message's type, 0 to 2**32 - 1.

        Raises
        ------
        TypeError, ValueError
            shape is neither a shape nor a record with arrays to be filled.
        Full, SystemRefused, MessageTooLarge, UnsafeMessage, Closed
            As in `put`, when the with block is entered. UnsafeMessage: a dtype cannot be described to other processes.

        Examples
        --------
        >>> import ringipc
        >>> producer, consumer = ringipc.Producer("filled", capacity="1 MiB"), ringipc.Consumer("filled")
        >>> with producer.reserve((2, 2), "f4") as frame:
        ...     frame[:] = 7
        >>> consumer.get()
        array([[7., 7.],
               [7., 7.]], dtype=float32)
        >>> with producer.reserve({"id": 7, "frame": ringipc.empty((2, 2), "f4")}) as record:
        ...     record["frame"][:] = 1
        >>> consumer.get()
        {'id': 7, 'frame': array([[1., 1.],
               [1., 1.]], dtype=float32)}
        >>> producer.close(); consumer.close()
        """
        check_timeout(timeout)
        return reservation(self, shape, dtype, timeout, type)

    def reserve_bytes(self, size, timeout=None, *, type=0):
        """Reserve memory in the lane for a message of at most size bytes, to be written there: nothing is copied.

        For encoders and `recv_into`, which know how long the message is only when they have written it. The result is a
        context manager, and the ``as`` target too. Its `buffer` is a writable memoryview of size bytes. Set its
        `length` to the number of bytes that are the message: the first ones; it is size at first. The message is put
        when the with block ends, as in `reserve`. Consumers get bytes.

        Parameters
        ----------
        size
            The most bytes that the message can have, from 0 up. They need room in the lane; what the message does not
            use is free for the next one.
        timeout
            Seconds to wait for room, when the with block is entered; None waits for ever.
        type
            The message's type, 0 to 2**32 - 1.

        Raises
        ------
        ValueError
            size is negative.
        Full, SystemRefused, MessageTooLarge, Closed
            As in `put`, when the with block is entered.

        Examples
        --------
        >>> import ringipc
        >>> with ringipc.Producer("lines", capacity="1 MiB") as producer, ringipc.Consumer("lines") as consumer:
        ...     with producer.reserve_bytes(65536) as message:
        ...         message.buffer[:5] = b"hello"
        ...         message.length = 5
        ...     consumer.get()
        b'hello'
        """
        check_timeout(timeout)
        return BytesReservation(self, size, timeout, type)

    @property
    def stats(self):
        """The counters of this producer now, a `ProducerStats`."""
        return ProducerStats(*self._counts(), transport=self._transport)

    def close(self, *, bint failed=False):
        """End the stream. The groups can still read what was put. Closing again does nothing.

        An exception that leaves the producer's with block closes it as failed: Ctrl-C, a cancelled task and an exit
        with an error too, but not ``sys.exit()``. If that is the regular end of the stream, catch the exception inside
        the block.

        If messages go over connections, wait until the peers have them, at most as long as `linger` says. A program
        that ends without `close` waits too; it then reports lost messages on stderr, and its exit status is 120.

        A reservation that is open is discarded; its with block raises `Closed` at its end. In a shared lane the
        reserved memory becomes private to the process, and is zero.

        If a signal handler raises an exception during this call (Ctrl-C), all other calls raise `Closed`, but the
        stream has not ended yet. Close it again; otherwise it is closed, without lingering, when the process exits.

        Parameters
        ----------
        failed
            True: the stream is not complete. Consumers get `ProducerFailed` after its last message.

        Raises
        ------
        MessagesLost
            Messages are left that no consumer has taken and that only this process has. If an exception leaves the with
            block, this error is a note on it.
        """
        self._end(exiting=False, failed=failed)

    def _end(self, *, bint exiting, bint failed=False):
        """Close the producer, and its link."""
        rc = self._begin_close()  # first, so that threads and tasks that are woken find it closed
        if rc == 0:
            self.readiness.closing()
            _upkeep.end(self)
            rc = self._close(exiting, failed)
        lost = self._link.close(self._linger, at_end=exiting) if self._link is not None else ""
        if rc < 0 and rc != -ECHILD:
            _failures.fail(rc, self.channel)
        if lost:
            raise errors.MessagesLost(f"channel {self.channel!r}: {lost}")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            return self.close()
        try:
            self.close(failed=not isinstance(error, SystemExit) or error.code not in (None, 0))
        except errors.RingError as lost:  # the first error leaves the block
            error.add_note(str(lost))

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        await _readiness.leave(self, kind, error, trace)

    def __repr__(self):
        return f"<Producer on channel {self.channel!r}{', closed' if self.closed else ''}>"
