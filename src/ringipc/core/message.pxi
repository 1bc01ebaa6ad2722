# A message with its attributes.

@cython.no_gc_clear  # __dealloc__ uses consumer and hold
cdef class Message:
    """A message with its attributes, from `Consumer.message`.

    The end of its with block acknowledges and releases it. If an exception leaves the block in a shared or durable
    group, the message is requeued instead. `release`, `requeue` and deletion (which releases) do the same without a
    block, in any thread or task. Views on the payload keep its memory in the lane until they are gone.

    Attributes
    ----------
    payload : object
        What `Consumer.get` would return.
    type : int
        The type that the producer gave to `Producer.put`.
    seq : int
        The number of the message in its lane, from 0.
    timestamp : int
        When it was put, in nanoseconds of ``time.monotonic_ns()`` of this process, even if the producer's process is in
        another time namespace.
    producer_pid : int
        The pid of the producer's process; 0 in a shared lane, because any of its producers may have put the message.
    lane_id : int
        Identifies the producer's lane; never used twice in a channel.
    deliveries : int
        How often a shared or durable group has delivered it, this time included: 1 the first time. It counts a member
        that requeued it, died, or left before acknowledging it. 64: that many times or more.
    redelivered : bool
        It was delivered before: ``deliveries > 1``.
    missed : int
        How many messages of this producer the group lost just before this one. If messages are selected, losses can be
        counted at a later message instead.
    """

    cdef Consumer consumer
    cdef Hold hold
    cdef object content
    cdef bint unreadable
    cdef uint8_t kind
    cdef uint32_t _type
    cdef uint64_t _seq
    cdef uint64_t _timestamp
    cdef int32_t _producer_pid
    cdef uint64_t _lane_id
    cdef uint32_t _deliveries
    cdef uint64_t _missed

    def __init__(self):
        raise TypeError("only Consumer.message() makes a Message")

    def __reduce__(self):
        raise TypeError("a Message cannot be pickled: put its payload")

    @property
    def type(self):
        """The type that the producer gave to `Producer.put`."""
        return self._type

    @property
    def seq(self):
        """The number of the message in its lane, from 0."""
        return self._seq

    @property
    def timestamp(self):
        """When it was put, in nanoseconds of ``time.monotonic_ns()`` of this process."""
        return self._timestamp

    @property
    def producer_pid(self):
        """The pid of the producer's process; 0 in a shared lane."""
        return self._producer_pid

    @property
    def lane_id(self):
        """Identifies the producer's lane; never used twice in a channel."""
        return self._lane_id

    @property
    def deliveries(self):
        """How often a shared or durable group has delivered it, this time included; 64: that many times or more."""
        return self._deliveries

    @property
    def redelivered(self):
        """Whether it was delivered before: ``deliveries > 1``."""
        return self._deliveries > 1

    @property
    def missed(self):
        """How many messages of this producer the group lost just before this one."""
        return self._missed

    @property
    def _label(self):
        """The label of the producer's lane, as bytes."""
        cdef char label[RIP_MAX_LABEL + 1]
        with cython.critical_section(self.consumer):
            if self.hold is None:
                self.consumer.fail(-ESHUTDOWN, "message")
            rip_message_label((<Hold>self.hold).lane, label)
        return <bytes>label

    @property
    def payload(self):
        """What `Consumer.get` would return. Raises `Closed` after `release`, and what `Consumer.get` raises for it."""
        with cython.critical_section(self.consumer):
            if self.content is None:
                if self.hold is None:
                    self.consumer.fail(-ESHUTDOWN, "message")
                self.unreadable = True  # unless what follows succeeds, or could succeed later
                try:
                    self.content = payload_of(self.consumer, self.hold, self.kind)
                    self.unreadable = False
                except (MemoryError, RecursionError):
                    self.unreadable = False
                    raise
            return self.content

    def __dealloc__(self):
        if self.hold is not None:
            with cython.critical_section(self.consumer):
                end_message(self.consumer, self.hold)

    @cython.final
    cdef bint finish(self, at_end end) noexcept:
        """Releases it, or requeues it once the last view on its payload is gone: False if that was done before."""
        with cython.critical_section(self.consumer):
            content, hold = self.content, self.hold
            if hold is not None:
                (<Hold>hold).end = end
                if end == RELEASE:
                    end_message(self.consumer, hold)
            self.content = None
            self.hold = None
        finished = hold is not None
        del content, hold  # what they end comes back to the consumer
        return finished

    def release(self):
        """Acknowledge the message and release its memory, or leave that to the last view. Does nothing if repeated."""
        self.finish(RELEASE)

    def requeue(self):
        """Give the message back: it is delivered again, to any member of the group, also to this one.

        In a shared or durable group it is then marked as `redelivered`. It keeps its position in the lane. While views
        on its payload are alive it is still taken; it is requeued when the last one is gone.

        Raises
        ------
        Closed
            The message has been released or requeued.
        """
        if not self.finish(REDELIVER):
            self.consumer.fail(-ESHUTDOWN, "message")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        # What no member could read is released, or it would be delivered for ever.
        self.finish(REDELIVER if kind is not None and self.consumer.c.claims and not self.unreadable else RELEASE)

    def __repr__(self):
        released = "" if self.hold is not None else ", released"
        return f"<Message {self._seq} of lane {self._lane_id}, type {self._type}{released}>"


set_signature(Message, lambda message: None)


cdef Message wrap_message(Consumer consumer, const rip_message *raw):
    """Return a `Message` for a message that has not been taken yet."""
    cdef Message message = Message.__new__(Message)
    message.consumer = consumer
    message.hold = point_at(consumer, raw)
    message._type = raw.type
    message._deliveries = raw.redelivered + 1
    message._missed = raw.missed
    message.kind = raw.kind
    message._seq = raw.seq
    message._timestamp = rip_message_time(raw.lane, raw.ticks)
    message._producer_pid = 0 if raw.lane.shared else raw.lane.pid
    message._lane_id = raw.lane.id
    return message


cdef Message take_message(Consumer consumer, rip_message *raw, bint taken=False):
    """Return a `Message` that is responsible for a message. Take the message unless it is taken already."""
    cdef Message message = None
    try:
        message = wrap_message(consumer, raw)
    finally:
        if message is None:
            give_back(consumer, raw, taken)
    if not taken:
        rip_rx_take(consumer.c, raw)
    take_charge(consumer, message, raw.lane)
    return message


cdef void take_charge(Consumer consumer, Message message, rip_rx *lane) noexcept:
    """Make a `Message` responsible for its message, which has been taken: it is in work until its release."""
    message.hold.lane = lane
    consumer.holds += 1
    if consumer.c.claims:
        enlist(consumer, lane, message._seq, message.hold.length, <PyObject *>message.hold, <uint64_t>A_MESSAGE)
    consumer.settle()
