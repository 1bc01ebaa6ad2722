# What keeps a message in the ring while views on it exist.

@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Hold:
    """Keeps a message in the ring for as long as somebody refers to it; the base of every view on it."""

    cdef Consumer consumer
    cdef rip_rx *lane
    cdef uint64_t seq
    cdef const unsigned char *data
    cdef uint64_t length
    cdef Work work
    cdef at_end end

    def __dealloc__(self):
        if self.lane is not NULL:
            with cython.critical_section(self.consumer):
                if self.work.worker != NO_WORKER:
                    unlist(self.consumer, &self.work)
                if cython.likely(self.end == RELEASE):
                    self.consumer.let_go(self.lane, self.seq)
                else:
                    self.consumer.let_back(self.lane, self.seq, self.length, self.end == REDELIVER)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *>self.data, <Py_ssize_t>self.length, True, flags)


cdef Hold take_hold(Consumer consumer, rip_message *message, bint taken):
    """Takes a message, if it is not taken yet, and charge of it."""
    cdef Hold hold = point_at(consumer, message)
    if not taken:
        rip_rx_take(consumer.c, message)
    hold.lane = message.lane
    consumer.holds += 1
    consumer.settle()
    return hold


cdef Hold point_at(Consumer consumer, const rip_message *message):
    """Points at a message without keeping it there."""
    cdef Hold hold = Hold.__new__(Hold)
    hold.consumer = consumer
    hold.seq = message.seq
    hold.data = message.data
    hold.length = message.length
    return hold
