# What keeps a message in its lane while views on it exist.

@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Hold:
    """Keeps a message in its lane while it is referred to. It is the base of every view on the message."""

    cdef Consumer consumer
    cdef rip_rx *lane
    cdef uint64_t seq
    cdef const unsigned char *data
    cdef uint64_t length
    cdef Work *work  # NULL: it is not in work
    cdef at_end end

    def __dealloc__(self):
        if self.lane is not NULL:
            with cython.critical_section(self.consumer):
                if self.work is not NULL:
                    if self.end == RELEASE and self.work.worker != <uint64_t>A_MESSAGE:
                        self.work.hold = NULL  # the view is gone; the message is done when its worker gets again
                        self.consumer.let_loose()
                        return
                    unlist(self.consumer, self.work)
                if cython.likely(self.end == RELEASE):
                    self.consumer.let_go(self.lane, self.seq)
                else:
                    self.consumer.let_back(self.lane, self.seq, self.length, self.end == REDELIVER)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *>self.data, <Py_ssize_t>self.length, True, flags)


cdef Hold take_hold(Consumer consumer, rip_message *message, bint taken):
    """Return a Hold that keeps a message in its lane. Take the message unless it is taken already."""
    cdef Hold hold = point_at(consumer, message)
    if not taken:
        rip_rx_take(consumer.c, message)
    hold.lane = message.lane
    consumer.holds += 1
    consumer.settle()
    return hold


cdef Hold point_at(Consumer consumer, const rip_message *message):
    """Return a Hold that points at a message and does not keep it in its lane."""
    cdef Hold hold = Hold.__new__(Hold)
    hold.consumer = consumer
    hold.seq = message.seq
    hold.data = message.data
    hold.length = message.length
    return hold
