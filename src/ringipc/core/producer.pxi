# A producer: the GIL is off while waiting and while copying much.

cdef extern from "Python.h":
    int PyBuffer_ToContiguous(void *, const Py_buffer *, Py_ssize_t, char) except -1  # cpython.buffer checks nothing

cdef enum:  # how a put ends
    WRITTEN
    TIMED_OUT
    REFUSED  # by a full lane that drops what finds no room; that has been counted


cdef int refuse_type(Py_ssize_t type) except -1:
    raise OverflowError(f"type must be from 0 to 2**32 - 1, not {type}")


cdef inline int64_t type_of(Py_ssize_t type) except -1:
    if cython.unlikely(not 0 <= type < 1 << 32):
        refuse_type(type)  # apart, so that the rest of this is inlined
    return type


cdef int check_batch(messages, str call) except -1:
    if isinstance(messages, (dict, cnp.ndarray)):
        raise TypeError(f"{call} takes a list of messages; {call.removesuffix('_many')}() sends one dict or array")
    if isinstance(messages, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"{call} takes a list of messages, not one message of type {messages.__class__.__name__}")
    return 0


cdef class Producer:
    """One lane of a channel, and its only writer; makes the channel if it is not there.

    Threads may share it. A process that is killed leaves nothing half-written: a message is there whole, or not at all.

    Parameters
    ----------
    channel
        Its name: no slash, no leading dot or tilde, at most 200 bytes; or "~user/name", a channel that another user has
        made and shares. Or a `Channel`, without a name for example. Or an endpoint, where memory cannot be shared: an
        end of a `pair`; the URL "fifo:///path", "unix:///path", "unix://@name" or "tcp://host:port"; or, for options,
        what `tcp`, `unix` and `fifo` return. The attribute `channel` has the URL, with the port that was found.
    capacity
        The most bytes for messages in flight, as a number or as text ("64 MiB"); the longest message is this long.
        Memory is allocated as it is needed: a lane whose consumers keep up takes a few messages' worth.
    slots
        Messages in flight; rounded up to a power of two unless old ones are dropped. Each takes 32 bytes at once.
    overflow
        What a full lane does. "block" makes `put` wait. "drop-new" refuses what is put. "drop-old" drops the oldest
        messages that nobody looks at; only where the consumers' views leave no room is a new one refused. With these
        two `put` never waits. It returns False if it refused the message. `stats` counts what was lost, on both sides.
        Where there is no memory for more, the lane is full.
    groups
        Names of groups that are to miss nothing, though none of their members is there yet: what is put waits for them.
    preallocate
        True: all of capacity is allocated now, so that no `put` allocates any, or fails because there is none.
    pickle
        True: `put` takes any object that pickle takes, and all but bytes, memoryviews and arrays goes by pickle, and
        comes out as what it was. A consumer gets it only if it says pickle=True too: a pickle can make its reader run
        any code.
    wait
        How `put` waits for room: "spin" burns a core for the lowest latency, "block" sleeps at once, "adaptive" spins
        for as long as has paid lately, at most 200 microseconds, then sleeps.
    mode
        The permissions of the files, if this producer makes the channel: 0o600 keeps it to this user, 0o660 shares it
        with a group of users, 0o666 with everybody. They call it "~user/name", after the user who made it.
    share_with
        The group of users, by name or number, that mode 0o660 is for (and stands for).
    fallback
        A socket, as a URL or an endpoint, where consumers that cannot map the ring get its messages. They give the
        same fallback.
    timeout
        Seconds to wait for the listener, where this producer connects (``bind=False``); None waits for ever.
    linger
        Seconds that `close`, and the end of the program, wait after the last progress for messages that only this
        process has, because they go over connections and nobody has taken them yet. None waits for ever, 0 not at all.
        A producer that is let go without `close` lingers too, in a thread of its own. What is in the buffer of a pipe
        counts as taken, though nobody may ever read it.
        After a second a warning (logger "ringipc") says what it waits for. What is then left is lost: `MessagesLost`.

    Attributes
    ----------
    channel : str, Channel or Endpoint
        As it was given; for an endpoint its URL, with the port that was found. Read-only.

    Raises
    ------
    ChannelNotFound
        It is another user's, who has not made it; or nobody listened within timeout seconds.
    AuthenticationError
        The peer has another key, is another user, or has a certificate that is not trusted.
    TableFull
        The channel has 64 lanes, or 256 members, already; or it has 32 groups, and more are declared.
    SystemRefused
        There is no memory for its slots, or with preallocate for capacity, or the directory cannot be written: an
        `OSError`, whose `errno` says what.
    Incompatible, Corrupt
        The channel is there, but another version's, or no channel.

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
    cdef object dtype  # of the array put last, or a copy that nobody else has if it is structured
    cdef bytes dtype_code
    cdef object __weakref__
    cdef readonly object channel  # as it was given, or the URL
    cdef public object _link  # to other processes, or None
    cdef public object _transport
    cdef public object _linger
    cdef object readiness
    cdef public bint _pickle  # all but bytes, memoryviews and arrays goes by pickle
    cdef IoLoop io_loop  # where the messages go on to other processes by connections, else None
    cdef object failure  # why no consumer can come there any more
    cdef unsigned char head[RIP_LINE]  # the header of the array put last, if array.header is RIP_LINE
    cdef rip_array array  # what the header says, beside dtype

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
        """Sets the attribute that users can only read."""
        self.channel = channel

    def _open(
        self, bytes channel, uint64_t capacity, uint64_t slots, uint32_t overflow, bint preallocate, int wait, int mode,
        int64_t group
    ):
        if self.p is not NULL:
            raise RuntimeError("this Producer is open already")
        cdef const char *name = channel
        cdef rip_producer *p = NULL
        cdef rip_access access = rip_access(<uint32_t>mode, <uint32_t>group)
        cdef uint32_t flags = overflow | (<uint32_t>RIP_PREALLOCATE if preallocate else 0)
        cdef int rc
        with nogil:
            rc = rip_producer_open(name, capacity, slots, flags, <rip_wait>wait, &access, &p)
        if rc == 0:
            p.ch.handle.give_up = RIP_TRY_ONLY  # what follows waits without the GIL
        self.p = p
        return rc

    @cython.critical_section
    def _set_io_loop(self, IoLoop io_loop not None):
        self.io_loop = io_loop

    @cython.critical_section
    def _cut_off(self, failure):
        """No consumer can come any more: whoever waits for room gets this exception."""
        self.failure = failure
        if self.p is not NULL:
            self.p.cut_off = True

    @cython.critical_section
    def _declare(self, bytes group):
        if self.p is NULL:
            return -ESHUTDOWN
        cdef int rc = rip_declare(self.p, group)
        while rc == -EAGAIN:
            await_lock(&self.p.ch.handle, RIP_FOREVER)
            rc = rip_declare(self.p, group)
        return rc

    @cython.critical_section
    def _begin_close(self):
        """From here on every call but `_close` finds it closed: 0, or an error code in a forked child."""
        return 0 if self.p is NULL else rip_handle_begin_close(&self.p.ch.handle)

    @cython.critical_section
    def _cancel_open(self):
        """Before `_close`: this has failed to begin, and its end is nobody's to be told of."""
        if self.p is not NULL:
            rip_producer_undo(self.p)

    @cython.critical_section
    def _close(self, bint exiting):
        """Ends the stream; waits for another thread's copy, ends a reservation.

        What a signal's handler raises while it waits leaves it to be closed again: it refuses all other calls.
        """
        if self.p is NULL:
            return 0
        if self.p.fill == RIP_FILL_COPY:
            rip_tx_wait_filled(self.p, RIP_FOREVER)
        return close_patiently(<locking>rip_producer_close, self.p, &self.p.ch.handle, exiting)

    @property
    def closed(self):
        """True after `close`, and in a forked child."""
        with cython.critical_section(self):
            return self.p is NULL or rip_handle_check(&self.p.ch.handle) != 0

    # ---- a descriptor to wait on ----

    @cython.critical_section
    def fileno(self):
        """A descriptor that is readable while there is room for a message, or for the one that was refused last.

        For select, poll, epoll, and event loops. It is the producer's, and closed with it. Spurious readiness is
        possible, at the latest 0.6 s after the last call: try, and wait again.

        Raises
        ------
        Closed, SystemRefused
            As when opening.
        """
        cdef int fd = -ESHUTDOWN
        if self.p is not NULL:
            self.await_filled("descriptor")
            fd = rip_producer_fd(self.p)
        if fd < 0:
            self.fail(fd, "descriptor")
        return fd

    @cython.final
    cdef inline void publish(self) noexcept:
        rip_tx_publish(self.p)
        if cython.unlikely(self.io_loop is not None and rip_io_loop_needs_push(self.io_loop.loop)):
            with nogil:
                self.io_loop.loop.push(self.io_loop.loop)

    @cython.final
    cdef inline void settle(self) noexcept:
        """Makes the descriptor, if there is one, say what is so."""
        if self.p is not NULL and self.p.ch.pollfd is not NULL and self.p.fill == RIP_FILL_NONE:
            rip_producer_update_fd(self.p)

    # ---- putting ----

    @cython.final
    cdef inline bint put_near(self, object message) noexcept:
        """Puts bytes, if that is a mere copy: there is room, and nothing to wait for or to notify but the groups."""
        cdef unsigned char *payload
        cdef uint64_t length
        cdef rip_producer *p = self.p
        if not PyBytes_CheckExact(message):
            return False
        length = <uint64_t>PyBytes_GET_SIZE(message)
        if cython.unlikely(p is NULL or rip_handle_check(&p.ch.handle) != 0 or p.fill != RIP_FILL_NONE
                           or p.ch.pollfd is not NULL or self.io_loop is not None or not rip_tx_has_room(p, length)):
            return False
        rip_tx_stamp(p)
        rip_tx_reserve(p, length, &payload)
        memcpy(payload, PyBytes_AS_STRING(message), length)
        rip_tx_commit(p, length, 0, RIP_BYTES)
        rip_tx_publish(p)
        return True

    @cython.final
    cdef int reserve_slow(self, uint64_t length, double seconds, unsigned char **payload) except -1:
        """Waits for room: WRITTEN, TIMED_OUT or REFUSED."""
        cdef int rc
        if self.p is NULL:
            self.fail(-ESHUTDOWN, length)
        if self.p.published != self.p.tail and rip_handle_check(&self.p.ch.handle) == 0:
            self.publish()  # what put_many has written: nobody could make room otherwise
        rc = rip_tx_wait_reserve(self.p, length, deadline_of(seconds), payload)
        if rc == -ETIMEDOUT:
            return TIMED_OUT
        if rc == -ENOBUFS:
            rip_tx_refuse(self.p)
            return REFUSED
        return self.checked(rc, length)

    @cython.final
    cdef int await_filled(self, length) except -1:
        self.checked(rip_tx_wait_filled(self.p, RIP_FOREVER), length)
        return 0

    @cython.final
    cdef int fail(self, int rc, detail) except -1:
        shortage = last_shortage()
        capacity = 0 if self.p is NULL else self.p.arena.capacity
        why = self.why_full() if rc == -ETIMEDOUT or rc == -EAGAIN else ""
        _failures.fail_producer(self.channel, rc, detail, shortage, capacity=capacity, why=why)
        return -1

    @cython.final
    cdef str why_full(self):
        """What keeps the lane full, as a part of a sentence."""
        slowest = self._slowest()
        if self._link is not None and self._link.failure is not None:
            return str(self._link.failure)
        return _failures.why_full(*slowest)

    @cython.final
    cdef object encode(self, message):
        try:
            return codecs.encode(message, self._pickle)
        except errors.UnsafeMessage as error:
            raise _failures.named(error, self.channel) from error.__cause__

    @cython.final
    cdef object encode_dtype(self, dtype, bint reserving):
        try:
            return dtypes.encode_dtype(dtype, reserving)
        except errors.UnsafeMessage as error:
            raise _failures.named(error, self.channel) from error.__cause__

    @cython.final
    cdef int checked(self, int rc, length) except -1:
        if rc == 0:
            return 0
        if rc == -EDEADLK:
            raise errors.ReservationOpen(
                f"channel {self.channel!r}: this thread has a reservation open on this producer: leave its with block "
                "first"
            )
        if rc == -EPIPE:
            raise self.failure
        park_at_exit()
        self.fail(rc, length)

    @cython.final
    cdef inline int reserve_room(self, uint64_t length, double seconds, unsigned char **payload) except -1:
        if cython.likely(self.p is not NULL and self.p.fill == RIP_FILL_NONE
                         and rip_handle_check(&self.p.ch.handle) == 0):
            if cython.likely(rip_tx_reserve(self.p, length, payload) == 0):
                return 0
        return self.reserve_slow(length, seconds, payload)

    @cython.critical_section
    def put(self, message, timeout=None, *, Py_ssize_t type=0):
        """Puts a message: whole, or not at all.

        Parameters
        ----------
        message
            What it is decides how it crosses and what comes out. It is copied into the ring.

            * an array of any shape, strides and dtype without objects and metadata: comes out as an array;
            * bytes or a memoryview: as bytes;
            * a record, that is None, a bool, an int, a float, a str, a NumPy scalar, or a dict, list or tuple of those
              and of all else that is named here, up to 100 in each other: as the same;
            * a tensor in CPU memory, that is what DLPack makes an array of: as an array;
            * anything else with a buffer (bytearray, array.array, mmap, a ctypes structure without pointers): as bytes.

            Subclasses of these (a masked array, a named tuple) and other objects are refused. With pickle=True on both
            sides all but bytes, memoryviews and arrays goes by pickle instead, and comes out as what it was: anything
            that pickle takes, with what is shared in it. (What NumPy's own pickling loses is lost: that a mask is hard,
            the subclass of a scalar, and, in a record too, NULs at the end of a numpy.str_ or numpy.bytes_.)
        timeout
            Seconds to wait for room; None waits for ever, 0 not at all.
        type
            0 to 2**32 - 1, for the reader to tell messages apart.

        Returns
        -------
        bool
            True: the message went in. False: the lane was full and refused it (overflow="drop-new" or "drop-old");
            `stats.refused` counts it.

        Raises
        ------
        Full
            There was no room within timeout seconds.
        SystemRefused
            There is no memory for it (see preallocate). That is said at once, whatever the timeout; it may go in later.
        MessageTooLarge
            The message is longer than the lane's capacity.
        UnsafeMessage
            It, or something in it, is none of the above; or pickle refuses it. The text says where it lies, and what
            to do.
        Closed
            The producer is closed, or belongs to the parent process.
        """
        if timeout is None and type == 0 and self.put_near(message):
            return True
        cdef double seconds = seconds_or(timeout, "put_nowait()")
        if self.p is not NULL:
            rip_tx_stamp(self.p)
        cdef int outcome = write_message(self, message, seconds, <uint32_t>type_of(type))
        if outcome != WRITTEN:
            self.settle()
            if outcome == TIMED_OUT:
                self.fail(-ETIMEDOUT, timeout)
            return False
        self.publish()
        self.settle()
        return True

    @cython.critical_section
    def put_nowait(self, message, *, Py_ssize_t type=0):
        """`put` with timeout=0."""
        if self.p is not NULL:
            rip_tx_stamp(self.p)
        cdef int outcome = write_message(self, message, 0, <uint32_t>type_of(type))
        if outcome != WRITTEN:
            self.settle()
            if outcome == TIMED_OUT:
                self.fail(-EAGAIN, 0)
            return False
        self.publish()
        self.settle()
        return True

    @cython.critical_section
    def put_many(self, messages, timeout=None, *, Py_ssize_t type=0):
        """Puts several messages, in order.

        On a lane that waits for room they become visible together, with one wake-up for all, as far as there is room.
        On a lane that drops messages each becomes visible at once, so that a reader can make room meanwhile.

        Parameters
        ----------
        messages
            Any iterable of what `put` takes. A list is best: of an iterator, what is left after a timeout is lost.
        timeout
            Seconds to wait for room, in all.
        type
            Of each of them.

        Returns
        -------
        int
            How many were dealt with, always the first ones: each was put, or refused by a full lane that does not wait
            (`stats.refused` counts those). Fewer than all only when timeout seconds have passed: then ``messages[n:]``
            are those to put again.

        Raises
        ------
        SystemRefused, MessageTooLarge, UnsafeMessage, Closed
            As in `put`. A note on the exception says how many messages were put, and how many refused, before the one
            that could not be put.
        """
        cdef uint64_t deadline = deadline_of(seconds_of(timeout))
        check_batch(messages, "put_many")
        if not isinstance(messages, (list, tuple)):
            messages = list(messages)
        return self.put_from(messages, 0, deadline, <uint32_t>type_of(type), "put_many")

    @cython.critical_section
    def _put_from(self, list messages, Py_ssize_t first, Py_ssize_t type):
        """`aput_many` until the lane is full: how many are dealt with, the ones before first included."""
        return self.put_from(messages, first, 0, <uint32_t>type_of(type), "aput_many")

    @cython.final
    cdef Py_ssize_t put_from(
        self, object messages, Py_ssize_t first, uint64_t deadline, uint32_t type, str call
    ) except -1:
        """Puts messages[first:], those before which have been put: how many of all are dealt with at the deadline."""
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
                    if self.p.overflow != RIP_BLOCK:
                        self.publish()
        except BaseException as error:
            refused = f", and {done - put} refused by the full lane" if done != put else ""
            error.add_note(f"{call}: messages[{done}] failed; {put} message(s) had been put before it{refused}")
            raise
        finally:
            if self.p is not NULL and rip_handle_check(&self.p.ch.handle) == 0:
                if self.p.published != self.p.tail:
                    self.publish()
                self.settle()
        return done

    @cython.critical_section
    def _begin(self, dtype, tuple shape, uint64_t size, timeout):
        """Room for an array of size bytes, for the caller to fill: it is this thread's turn until _commit or _abort.

        The array and the message's length; where the message is refused, a private array and None.
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
        """`_begin` for a message of any kind: its memory as an array of length bytes; None where it is refused."""
        cdef unsigned char *payload
        cdef cnp.npy_intp size = <cnp.npy_intp>length
        if not self.is_reserved(self.reserve_room(length, seconds_of(timeout), &payload), timeout):
            return None
        return self.lend(payload, cnp.PyArray_DescrFromType(cnp.NPY_UINT8), 1, &size)

    @cython.final
    cdef bint is_reserved(self, int outcome, timeout) except -1:
        """Whether there is room to fill; it raises Full if the time is up."""
        if outcome != WRITTEN:
            self.settle()
        if outcome == TIMED_OUT:
            self.fail(-ETIMEDOUT, timeout)
        return outcome == WRITTEN

    @cython.final
    cdef cnp.ndarray lend(self, unsigned char *elements, cnp.dtype dtype, int ndim, const cnp.npy_intp *dims):
        """A writable array over memory of the lane; until `_commit` or `_abort` no other thread reserves any."""
        array = array_at(elements, dtype, ndim, dims, cnp.NPY_ARRAY_WRITEABLE)
        Py_INCREF(self)
        PyArray_SetBaseObject(array, self)
        rip_tx_begin_fill(self.p, RIP_FILL_RESERVED)
        return array

    @cython.critical_section
    def _commit(self, uint64_t length, uint32_t type, uint8_t kind):
        """Publishes the first length bytes of what `_begin` or `_begin_memory` has reserved."""
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
        if self.p is not NULL:
            rip_tx_end_fill(self.p)
        self.settle()

    # ---- looking ----

    @cython.critical_section
    def flush(self, timeout=None):
        """Wait until every group has released every message that was put.

        Raises
        ------
        TimedOut
            That did not happen within timeout seconds. The text names the group that holds messages.
        """
        cdef uint64_t deadline = deadline_of(seconds_of(timeout))
        cdef int rc = -ESHUTDOWN if self.p is NULL else rip_flush(self.p, deadline)
        if rc == -ETIMEDOUT:
            raise errors.TimedOut(
                f"channel {self.channel!r}: not flushed {_failures.within(timeout)}: {self.why_full()}"
            )
        self.checked(rc, None)

    @cython.critical_section
    def _slowest(self):
        """Who keeps the lane from moving on: group, shared, has members, pid, messages, bytes."""
        cdef rip_slowest slowest
        if self.p is NULL:
            self.fail(-ESHUTDOWN, None)
        rip_producer_slowest(self.p, &slowest)
        return ((<bytes>slowest.group).decode(errors="replace"), slowest.shared != 0, slowest.members != 0,
                slowest.pid, slowest.messages, slowest.bytes)

    @cython.critical_section
    def _counts(self):
        """Messages and bytes put, dropped, refused, backlog, bytes of it, slots, capacity, allocated, waits, waited."""
        if self.p is NULL:
            self.fail(-ESHUTDOWN, None)
        return (self.p.tail, self.p.bytes, self.p.dropped, self.p.refused, rip_producer_backlog(self.p),
                rip_producer_bytes(self.p), self.p.keep, self.p.arena.capacity, self.p.arena.allocated, self.p.waits,
                self.p.waited * 1e-9)

    @classmethod
    async def aopen(cls, channel, **options):
        """`Producer(channel, **options)` for a task of an event loop: other tasks go on while it waits for a listener.

        A task that is cancelled leaves no producer. Close the producer with ``async with``: that does not block the
        event loop either, where messages go over connections.

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
        """`put` for a task of an event loop: asyncio, uvloop, trio, anyio. Other tasks go on while it waits for room.

        A task that is cancelled has put nothing. Use the event loop's own timeouts.

        Returns
        -------
        bool
            Whether the message went in, as in `put`.

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
        """`put_many` for a task of an event loop. Other tasks go on while it waits for room.

        The messages are put in order, as many at once as there is room for. Those of other tasks may come between.

        A task that is cancelled has put the first messages, and none of the others: a note on its exception says how
        many. Use the event loop's own timeouts; the exception with the note is then the cause of the TimeoutError.

        Parameters
        ----------
        messages
            Any iterable of what `put` takes; it is read to its end first.
        type
            Of each of them.

        Returns
        -------
        int
            How many were dealt with: all of them. Each was put, or refused by a full lane that does not wait
            (`stats.refused` counts those).

        Raises
        ------
        SystemRefused, MessageTooLarge, UnsafeMessage, Closed
            As in `put`. A note on the exception says how many messages were put, and how many refused, before the one
            that could not be put.

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
        put when the with block ends; if that is by an exception, it is discarded. Until then the puts of other threads
        wait. Where a full lane refuses the message (see overflow) there are still arrays, in memory of their own, which
        are discarded at the end of the block; the reservation's `was_put` is then False, and `stats.refused` counts the
        message.

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
        """Counters, as of now."""
        return ProducerStats(*self._counts(), transport=self._transport)

    def close(self):
        """Ends the stream. What was put stays for the groups to read. Closing again does nothing.

        If a signal's handler raises meanwhile (Ctrl-C), every other call finds the producer closed, but its stream has
        not ended yet: close it again, or let it be closed at exit, which then does not linger.

        Where messages go over connections it waits until the other sides have them, as `linger` says. A program that
        ends without closing does so too; then what is lost is told on stderr, and the exit status is 120.

        Raises
        ------
        MessagesLost
            Messages are left that nobody has taken, and that only this process has. Where an exception leaves the with
            block, this is a note on it.
        """
        self._end(exiting=False)

    def _end(self, *, bint exiting):
        rc = self._begin_close()  # first: whoever is woken finds it closed
        if rc == 0:
            self.readiness.closing()
            rc = self._close(exiting)
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
            self.close()
        except errors.RingError as lost:  # what went wrong first is what leaves the block
            error.add_note(str(lost))

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, error, trace):
        await _readiness.leave(self, kind, error, trace)

    def __repr__(self):
        return f"<Producer on channel {self.channel!r}{', closed' if self.closed else ''}>"
