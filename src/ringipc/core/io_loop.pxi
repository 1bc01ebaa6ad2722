# The I/O loop of a handle.

STEP_END = RIP_STEP_END


cdef class IoLoop:
    """Moves messages between a channel of this process and connections. The thread of the handle calls `run`.

    Methods return a negative errno if they fail. The caller keeps the file descriptors open, and closes them.
    """

    cdef rip_io_loop *loop

    def __cinit__(self, bint spin):
        cdef int rc = rip_io_loop_open(spin, &self.loop)
        if rc < 0:
            raise OSError(-rc, "no file descriptors for an I/O loop")

    def __dealloc__(self):
        if self.loop is not NULL:
            with nogil:
                rip_io_loop_free(self.loop)

    def join(self, bytes channel, bytes group, uint32_t flags, uint32_t window, bint two_way, bint others=False):
        """Join a group for a peer. Return the id of the link or a negative errno, and the pid of the group's member."""
        cdef const char *name = channel
        cdef const char *group_name = group
        cdef rip_consumer *source = NULL
        cdef rip_sender *sender = NULL
        cdef int32_t holder = 0
        cdef uint64_t id = 0
        cdef int rc
        with nogil:
            rc = rip_consumer_open(name, group_name, flags, RIP_WAIT_ADAPTIVE, RIP_FOREVER, &source, &holder)
            if rc == 0:
                rc = rip_sender_open(source, window, two_way, &sender)
                if rc < 0:
                    rip_consumer_close(source)
                    rip_consumer_free(source)
            if rc == 0:
                rc = rip_io_loop_add(self.loop, sender, NULL, others, &id)
                if rc < 0:
                    rip_sender_free(sender, False)
        return (rc if rc < 0 else id), holder

    def lane(
        self, bytes channel, uint64_t capacity, uint64_t slots, int32_t pid, bint stamped, bint two_way, bint prompt,
        bytes label=b""
    ):
        """Add a lane for the messages of the peer. Return the id of the link, or a negative errno."""
        cdef const char *name = channel
        cdef const char *lane_label = label
        cdef rip_receiver *receiver = NULL
        cdef uint64_t id = 0
        cdef int rc
        with nogil:
            rc = rip_receiver_open(name, capacity, slots, pid, stamped, two_way, &receiver)
            if rc == 0:
                rc = rip_receiver_set_label(receiver, lane_label)
                if rc == 0:
                    rc = rip_io_loop_add(self.loop, NULL, receiver, prompt, &id)
                if rc < 0:
                    rip_receiver_free(receiver)
        return rc if rc < 0 else id

    def connect(self, uint64_t id, int fd, uint64_t next):
        """Connect a link, for the first time or again; the peer has the messages before next. Return the ordinal."""
        cdef int rc
        with nogil:
            rc = rip_io_loop_connect(self.loop, id, fd, next)
        return rc

    def disconnect(self, uint64_t id):
        """Stop using the connection of a link. The caller may close its file descriptor afterwards."""
        with nogil:
            rip_io_loop_disconnect(self.loop, id)

    def can(self, uint64_t id, uint64_t next):
        """Return whether a link can continue at message next."""
        cdef bint can
        with nogil:
            can = rip_io_loop_can(self.loop, id, next)
        return can

    def finish(self):
        """Take no more messages, and end each stream after those that have been taken."""
        with nogil:
            rip_io_loop_finish(self.loop)

    def progress(self, uint64_t id):
        """Return how many messages a link has received, or how many its peer has released."""
        cdef uint64_t count
        with nogil:
            count = rip_io_loop_progress(self.loop, id)
        return count

    def remove(self, uint64_t id):
        """Remove a link."""
        with nogil:
            rip_io_loop_remove(self.loop, id)

    def push(self):
        """Send what has been put, or the end of the stream."""
        with nogil:
            self.loop.push(self.loop)

    def run(self):
        """Move messages until a connection ends or `stop` is called.

        Return the id of the link, the ordinal of the connection and the reason (STEP_END or a negative errno); None
        after `stop`.
        """
        cdef rip_end end
        cdef int rc
        with nogil:
            rc = rip_io_loop_run(self.loop, &end)
        return (end.id, end.ordinal, end.why) if rc == 1 else None

    def stop(self):
        """End `run`. Any thread may call this."""
        with nogil:
            rip_io_loop_stop(self.loop)
