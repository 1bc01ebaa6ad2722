# distutils: language = c
"""The skin over the core's pump: connections of a handle, and the thread's loop."""

from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EINTR
from libc.stdint cimport int32_t, uint32_t, uint64_t

from ringipc._wait cimport RIP_FOREVER, RIP_WAIT_ADAPTIVE, ask, rip_lock_ask


cdef extern from "ringipc.h" nogil:
    struct rip_consumer:
        pass
    int rip_consumer_open(const char *, const char *, uint32_t, int, uint64_t, rip_consumer **,
                          int32_t *) except? -EINTR
    int rip_consumer_close(rip_consumer *)
    void rip_consumer_free(rip_consumer *)


cdef extern from "stream/stream.h" nogil:
    struct rip_sender:
        pass
    struct rip_receiver:
        pass
    enum: RIP_STEP_END
    int rip_sender_open(rip_consumer *, uint32_t, int, rip_sender **)
    int rip_sender_free(rip_sender *, int)
    int rip_receiver_open(const char *, uint64_t, uint64_t, int32_t, int, int, rip_receiver **) except? -EINTR
    void rip_receiver_free(rip_receiver *)


cdef extern from "stream/io_loop.h" nogil:
    struct rip_io_loop:
        void (*push)(rip_io_loop *) noexcept nogil
    struct rip_end:
        uint64_t id
        uint32_t ordinal
        int why
    int rip_io_loop_open(int, rip_io_loop **)
    int rip_io_loop_add(rip_io_loop *, rip_sender *, rip_receiver *, int, uint64_t *)
    int rip_io_loop_run(rip_io_loop *, rip_end *)
    int rip_io_loop_connect(rip_io_loop *, uint64_t, int, uint64_t)
    void rip_io_loop_disconnect(rip_io_loop *, uint64_t)
    bint rip_io_loop_can(rip_io_loop *, uint64_t, uint64_t)
    void rip_io_loop_finish(rip_io_loop *)
    uint64_t rip_io_loop_progress(rip_io_loop *, uint64_t)
    void rip_io_loop_remove(rip_io_loop *, uint64_t)
    void rip_io_loop_stop(rip_io_loop *)
    void rip_io_loop_free(rip_io_loop *)

STEP_END = RIP_STEP_END

rip_lock_ask(ask)


cdef void let_go(object capsule) noexcept:
    Py_DECREF(<object>PyCapsule_GetContext(capsule))


cdef class BasePump:
    """Moves messages between a channel of this process and connections; `run` is the loop of its thread.

    Each call but the first returns a negative errno where it fails. Descriptors stay the caller's.
    """

    cdef rip_io_loop *pump

    def __cinit__(self, bint spin):
        cdef int rc = rip_io_loop_open(spin, &self.pump)
        if rc < 0:
            raise OSError(-rc, "no descriptors for a pump")

    def __dealloc__(self):
        if self.pump is not NULL:
            with nogil:
                rip_io_loop_free(self.pump)

    @property
    def capsule(self):
        """For `BaseProducer._attach` and `BaseConsumer._attach`; the pump is there for as long as it is."""
        capsule = PyCapsule_New(self.pump, "ringipc.rip_io_loop", let_go)
        Py_INCREF(self)
        PyCapsule_SetContext(capsule, <void *>self)
        return capsule

    def join(self, bytes channel, bytes group, uint32_t how, uint32_t window, bint two_way, bint others=False):
        """Joins a group for a connection's other side: its id, or an error and the pid of the group's member."""
        cdef const char *name = channel
        cdef const char *group_name = group
        cdef rip_consumer *source = NULL
        cdef rip_sender *sender = NULL
        cdef int32_t holder = 0
        cdef uint64_t id = 0
        cdef int rc
        with nogil:
            rc = rip_consumer_open(name, group_name, how, RIP_WAIT_ADAPTIVE, RIP_FOREVER, &source, &holder)
            if rc == 0:
                rc = rip_sender_open(source, window, two_way, &sender)
                if rc < 0:
                    rip_consumer_close(source)
                    rip_consumer_free(source)
            if rc == 0:
                rc = rip_io_loop_add(self.pump, sender, NULL, others, &id)
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
                rc = rip_io_loop_add(self.pump, NULL, receiver, prompt, &id)
                if rc < 0:
                    rip_receiver_free(receiver)
        return rc if rc < 0 else id

    def connect(self, uint64_t id, int fd, uint64_t next):
        """Its connection, or one in the place of one that has broken: its turn. next: what the other side has."""
        cdef int rc
        with nogil:
            rc = rip_io_loop_connect(self.pump, id, fd, next)
        return rc

    def disconnect(self, uint64_t id):
        """Its descriptor may be closed from here on."""
        with nogil:
            rip_io_loop_disconnect(self.pump, id)

    def can(self, uint64_t id, uint64_t next):
        """Go on from there?"""
        cdef bint can
        with nogil:
            can = rip_io_loop_can(self.pump, id, next)
        return can

    def finish(self):
        """What is sent ends with what has been taken."""
        with nogil:
            rip_io_loop_finish(self.pump)

    def progress(self, uint64_t id):
        """Messages that a connection has brought, or whose other side has let them go."""
        cdef uint64_t count
        with nogil:
            count = rip_io_loop_progress(self.pump, id)
        return count

    def remove(self, uint64_t id):
        with nogil:
            rip_io_loop_remove(self.pump, id)

    def push(self):
        """Something has been put, or the stream has ended."""
        with nogil:
            self.pump.push(self.pump)

    def run(self):
        """Runs until a connection ends, or `stop`: its id, turn, and why (STEP_END, or an errno below 0); or None."""
        cdef rip_end end
        cdef int rc
        with nogil:
            rc = rip_io_loop_run(self.pump, &end)
        return (end.id, end.ordinal, end.why) if rc == 1 else None

    def stop(self):
        with nogil:
            rip_io_loop_stop(self.pump)
