# The I/O loop of a handle: its connections, and the loop of its thread.

STEP_END = RIP_STEP_END


cdef class IoLoop:
    """Moves messages between a channel of this process and connections; `run` is the loop of its thread.

    Each call but the first returns a negative errno where it fails. Descriptors stay the caller's.
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
        """Joins a group for a connection's other side: its id, or an error and the pid of the group's member."""
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
        self, bytes channel, uint64_t capacity, uint64_t slots, int32_t pid, bint stamped, bint two_way, bint prompt
    ):
        """A lane for what comes over a connection: its id, or an error."""
        cdef const char *name = channel
        cdef rip_receiver *receiver = NULL
        cdef uint64_t id = 0
        cdef int rc
        with nogil:
            rc = rip_receiver_open(name, capacity, slots, pid, stamped, two_way, &receiver)
            if rc == 0:
                rc = rip_io_loop_add(self.loop, NULL, receiver, prompt, &id)
                if rc < 0:
                    rip_receiver_free(receiver)
        return rc if rc < 0 else id

    def connect(self, uint64_t id, int fd, uint64_t next):
        """Its connection, or one in the place of one that has broken: its turn. next: what the other side has."""
        cdef int rc
        with nogil:
            rc = rip_io_loop_connect(self.loop, id, fd, next)
        return rc

    def disconnect(self, uint64_t id):
        """Its descriptor may be closed from here on."""
        with nogil:
            rip_io_loop_disconnect(self.loop, id)

    def can(self, uint64_t id, uint64_t next):
        """Go on from there?"""
        cdef bint can
        with nogil:
            can = rip_io_loop_can(self.loop, id, next)
        return can

    def finish(self):
        """What is sent ends with what has been taken."""
        with nogil:
            rip_io_loop_finish(self.loop)

    def progress(self, uint64_t id):
        """Messages that a connection has brought, or whose other side has let them go."""
        cdef uint64_t count
        with nogil:
            count = rip_io_loop_progress(self.loop, id)
        return count

    def remove(self, uint64_t id):
        with nogil:
            rip_io_loop_remove(self.loop, id)

    def push(self):
        """Something has been put, or the stream has ended."""
        with nogil:
            self.loop.push(self.loop)

    def run(self):
        """Runs until a connection ends, or `stop`: its id, turn, and why (STEP_END, or an errno below 0); or None."""
        cdef rip_end end
        cdef int rc
        with nogil:
            rc = rip_io_loop_run(self.loop, &end)
        return (end.id, end.ordinal, end.why) if rc == 1 else None

    def stop(self):
        with nogil:
            rip_io_loop_stop(self.loop)
