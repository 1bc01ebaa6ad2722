# Calls and answers in one step, where nothing else is to be done: the hot paths of clients and servers.

cdef object PENDING = object()


cdef class Exchange:
    """A producer of requests and a consumer of their replies, which have the same types.

    The thread that receives replies *leads*; others that wait follow. While no other request is on the way, a call is
    one step. The rest is in the subclass.

    Attributes
    ----------
    calls : dict
        The requests on the way that the subclass knows, by their types.
    followers : collections.deque
        What waits to lead.
    """

    cdef Producer requests
    cdef Consumer replies
    cdef uint32_t last  # the type of the last request
    cdef unsigned long leader  # the ident of the thread that leads, or 0
    cdef readonly dict calls
    cdef readonly object followers

    def __cinit__(self, *args, **options):
        self.calls = {}
        self.followers = collections.deque()

    def _set_ends(self, Producer requests not None, Consumer replies not None):
        """Allow calls in one step."""
        self.requests, self.replies = requests, replies

    def next_type(self):
        """Return a type that no request on the way has, from 1 to 2**31 - 1."""
        return self.type_after()

    cdef uint32_t type_after(self) except 0:
        with cython.critical_section(self):
            self.last = self.last % 0x7fffffff + 1
            while self.calls and self.last in self.calls:  # still on the way, after 2**31 others
                self.last = self.last % 0x7fffffff + 1
            return self.last

    def try_lead(self):
        """Lead unless another thread does. Return whether this thread leads now."""
        return self.begin_lead()

    cdef bint begin_lead(self):
        with cython.critical_section(self):
            led = self.leader != 0
            if not led:
                self.leader = this_thread()
            return not led

    @property
    def is_led(self):
        """Whether a thread leads."""
        return self.leader != 0

    @property
    def is_led_here(self):
        """Whether this thread leads."""
        return self.leader == this_thread()

    def end_lead(self):
        """Lead no more, and let a follower lead."""
        self.stop_leading()

    cdef int stop_leading(self) except -1:
        self.leader = 0
        if self.followers:
            self.promote()
        return 0

    cdef object call(self, object request, double seconds):
        """Send a request and return its reply. Return PENDING, and send nothing, where that takes more than a step."""
        cdef rip_message message
        cdef uint32_t type
        cdef int rc
        cdef Producer requests = self.requests
        cdef Consumer replies = self.replies
        cdef uint64_t deadline
        if requests is None or self.calls or not self.begin_lead():
            return PENDING
        try:
            with cython.critical_section(requests):
                if requests.p is NULL or rip_handle_check(&requests.p.ch.handle) != 0:
                    return PENDING
                type = self.type_after()
                rip_tx_stamp(requests.p)
                if write_message(requests, request, 0, type) != WRITTEN:
                    requests.settle()
                    return PENDING
                requests.publish()
                requests.settle()
            deadline = deadline_of(seconds)
            with cython.critical_section(replies):
                if replies.is_open():
                    rip_rx_spin(replies.c)  # first: a look for a message that is not there takes longer than a poll
                try:
                    rc = replies.peek(&message, seconds if seconds < 0.1 else 0.1)
                except errors.RingError:
                    rc = -1  # the subclass finds out what it means
                except BaseException:
                    self.abandon(type)
                    raise
                if rc == 0 and message.type == type:
                    return receive(replies, &message, False)
            call = self.resume(type)
        finally:
            self.stop_leading()
        return self.await_reply(call, type, seconds_until(deadline))


cdef class CallingEnd:
    """The part of `ringipc.Client` that is called most."""

    cdef public Exchange _connection

    def call(self, request, timeout=None):
        """Send a request, and return what the server replies.

        Parameters
        ----------
        request
            As in `Producer.put`; likewise the reply.
        timeout
            Seconds to wait, in all; None waits as long as there is a server. A reply that comes later is discarded.

        Raises
        ------
        RemoteError
            The handler raised an exception. With pickle=True on both sides, that exception itself.
        TimedOut
            There was no reply within the timeout, or no first server.
        NoServer
            No server is left. Raised soon, whatever the timeout.
        ServerDied
            The servers that took the request died, one after the other.
        UnsafeMessage, MessageTooLarge, SystemRefused
            The request cannot be sent; as in `Producer.put`.
        Closed
            The client is closed.
        """
        cdef double seconds = seconds_of(timeout)
        if self._connection is not None:
            reply = self._connection.call(request, seconds)
            if reply is not PENDING:
                return reply
        return self._call(request, seconds)


cdef class ReplyEnd:
    """The end of a channel of replies in a server."""

    cdef readonly Producer replies

    def __init__(self, Producer replies not None):
        self.replies = replies


def answer(Consumer requests not None, dict ends, handler, double seconds):
    """Answer requests with what handler returns for their payloads, as long as each takes one step.

    Parameters
    ----------
    ends
        For each lane of requests the `ReplyEnd` of its client, by the id of the lane.
    seconds
        How long to wait for a request.

    Returns
    -------
    None if there was none; or a `Message` that is taken, and what is left to do: "handle" it; "reply" with a result for
    which there was no room; or "fail" with an exception.
    """
    cdef rip_message raw
    cdef Hold hold
    cdef int found, outcome
    cdef uint64_t lane = 0
    end = None
    while True:
        with cython.critical_section(requests):
            found = 0
            if requests.is_open():
                rip_rx_spin(requests.c)  # as in Exchange.call
                found = rip_rx_peek(requests.c, &raw)
                if found == 0:
                    found = rip_rx_wait(requests.c, rip_rx_next, NULL, &raw, deadline_of(seconds))
            if found != 1 and requests.wait(found, rip_rx_next, NULL, &raw, seconds):
                return None
            hold = take_hold(requests, &raw, False)
            enlist(requests, hold.lane, hold.seq, hold.length, <PyObject *>hold, <uint64_t>A_MESSAGE)
            if end is None or lane != raw.lane.id:
                lane = raw.lane.id
                end = ends.get(lane)
            if end is None or raw.redelivered:
                return taken_message(requests, &raw, hold), "handle", None
            try:
                payload = payload_of(requests, hold, raw.kind)
            except Exception:
                return taken_message(requests, &raw, hold), "handle", None
        hold.end = REDELIVER  # unless it is answered
        try:
            result = handler(payload)
        except Exception as error:
            return taken_message(requests, &raw, hold), "fail", error
        payload = None
        try:
            outcome = reply_in_step((<ReplyEnd?>end).replies, result, raw.type)
        except errors.Closed:
            outcome = TIMED_OUT
        except Exception as error:
            return taken_message(requests, &raw, hold), "fail", error
        if outcome != WRITTEN:
            return taken_message(requests, &raw, hold), "reply", result
        with cython.critical_section(requests):
            hold.end = RELEASE
            if cython.unlikely(Py_REFCNT(<PyObject *>hold) > 1):
                end_message(requests, hold)  # views on it are alive
        result = hold = None


cdef Message taken_message(Consumer requests, const rip_message *raw, Hold hold):
    """Return a `Message` for a message that a Hold keeps in work."""
    cdef Message message = wrap_message(requests, raw)
    hold.end = RELEASE
    message.hold = hold
    return message


cdef int reply_in_step(Producer replies, object result, uint32_t type) except -1:
    """Put a reply without waiting. Return as `write_message`."""
    cdef int outcome
    with cython.critical_section(replies):
        if replies.p is not NULL:
            rip_tx_stamp(replies.p)
        outcome = write_message(replies, result, 0, type)
        if outcome == WRITTEN:
            replies.publish()
        replies.settle()
    return outcome
