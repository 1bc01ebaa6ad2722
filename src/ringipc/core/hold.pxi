# What keeps a message in the ring, and who has it in work.

cdef extern from "Python.h":
    PyThreadState *PyThreadState_Get()
    uint64_t PyThreadState_GetID(PyThreadState *)  # unlike a thread's ident it is never used again
    PyObject *PyErr_GetHandledException()  # a call of sys.exception needs some of the stack

cdef enum:  # workers beside the threads, which have the interpreter's numbers, and the tasks, which have aio.py's
    NO_WORKER = 0
    A_MESSAGE = -1  # the block of a Message

cdef struct Work:  # a message in work; where the group keeps claims, all of a consumer's are in a list
    rip_rx *lane
    uint64_t seq
    uint64_t worker  # NO_WORKER: it is not in work
    Work *before
    Work *after


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

    def __dealloc__(self):
        if self.lane is not NULL:
            with cython.critical_section(self.consumer):
                if self.work.worker != NO_WORKER:
                    self.consumer.unlist(&self.work)
                self.consumer.let_go(self.lane, self.seq)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *>self.data, <Py_ssize_t>self.length, True, flags)


cdef object handled():
    """The exception that is being handled, or None."""
    cdef PyObject *error = PyErr_GetHandledException()
    if error is NULL:
        return None
    result = <object>error
    Py_DECREF(result)
    return result


cdef int clear_frames(object error, object before) except -1:
    """Of an exception and of those that led to it, up to one that was being handled before."""
    seen = set()
    while error is not None and error is not before and id(error) not in seen:
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            try:
                trace.tb_frame.clear()
            except RuntimeError:  # it is still running
                pass
            trace = trace.tb_next
        error = error.__context__
    return 0
