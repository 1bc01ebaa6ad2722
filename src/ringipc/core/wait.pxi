# Waiting: timeouts and deadlines, the hooks of the C core, table locks, and threads when the interpreter exits.

cdef extern from "Python.h":
    bint PyIndex_Check(object)
    Py_ssize_t PyNumber_AsSsize_t(object, PyObject *) except? -1  # cpython.number takes no NULL
    ctypedef struct PyThreadState
    PyThreadState *PyEval_SaveThread() nogil
    void PyEval_RestoreThread(PyThreadState *) nogil
    unsigned long this_thread "PyThread_get_thread_ident"() nogil
    int raised_by_signals "PyErr_CheckSignals"() nogil  # for callers that return its error


cdef enum:
    WARN_AFTER_NS = 3000000000
    LOG_AFTER_NS = 5000000000
    AT_EXIT_NS = 1000000000
    AT_LEAST_NS = 1000000000  # even a holder that is not stopped may wait this long for a processor


cdef inline double seconds_of(object timeout) except -1:
    """Return a timeout argument in seconds, INFINITY for None."""
    return seconds_or(timeout, "")


cdef inline double seconds_or(object timeout, str call) except -1:
    """Return what `seconds_of` does. call, for errors: the call that does not wait."""
    return INFINITY if timeout is None else seconds_from(timeout, "timeout", call)


cdef inline double seconds_from(object timeout, str what, str call) except -1:
    cdef double seconds
    if PyFloat_CheckExact(timeout):
        seconds = PyFloat_AS_DOUBLE(timeout)
    else:
        seconds = number_of_seconds(timeout, what, call)
    if not seconds >= 0:
        raise ValueError(f"{what} must be None or a number of seconds from 0 up, not {timeout!r}")
    return seconds


cdef inline double number_of_seconds(object timeout, str what, str call) except? -1:
    if type(timeout) is not int and not isinstance(timeout, float):
        from numbers import Real
        if isinstance(timeout, bool) or not isinstance(timeout, Real):
            raise TypeError(
                f"{what} must be None or a number of seconds, not {timeout!r}; write {what}=5 to wait for up to 5 s, "
                f"and {what}=0{' or ' if call else ''}{call} not to wait"
            )
    try:
        return timeout
    except OverflowError:  # an int beyond all floats
        return INFINITY if timeout > 0 else -INFINITY


cdef inline Py_ssize_t count_of(object n, str what, str things, str instead) except? -1:
    """Return a count that a user asks for, or the largest Py_ssize_t if it is larger."""
    if isinstance(n, bool) or not PyIndex_Check(n):
        raise TypeError(f"{what} must be a number of {things}, not {n!r}; write {instead} to wait for up to 5 s")
    return PyNumber_AsSsize_t(n, NULL)


cdef inline uint64_t deadline_of(double seconds) noexcept:
    """Return the deadline of a wait that starts now: 0 for no wait, RIP_FOREVER for no deadline."""
    if seconds == 0:
        return 0
    return rip_now() + <uint64_t>(seconds * 1e9) if seconds < 9e9 else RIP_FOREVER


cdef inline double seconds_until(uint64_t deadline) noexcept:
    """Return the seconds that are left until a deadline of `deadline_of`."""
    cdef uint64_t now
    if deadline == RIP_FOREVER:
        return INFINITY
    now = rip_now() if deadline else 0
    return (deadline - now) * 1e-9 if deadline > now else 0


cdef unsigned long exiting = 0  # the thread that ends the interpreter, once it closes handles
cdef bint exiting_last = False  # these are the last ones


def _begin_exit(bint last):
    """Stop other threads from now on in calls whose handle is closed: they neither raise nor return.

    last: all handles will be closed now, so stop threads in all calls that wait, or fail.
    """
    global exiting, exiting_last
    exiting, exiting_last = this_thread(), last


cdef void park_at_exit(int rc) noexcept nogil:
    """Block for ever if another thread ends the interpreter. Only a daemon thread can be here then. Needs the GIL.

    rc: why the call is about to raise; 0: it waits.
    """
    cdef rip_word never = 0
    if exiting and exiting != this_thread() and (exiting_last or rc == -ESHUTDOWN):
        PyEval_SaveThread()
        while True:
            rip_sleep(&never, 0, RIP_FOREVER)


cdef void before_wait(rip_waiting *waiting) noexcept nogil:
    waiting.kept = PyEval_SaveThread()


cdef int after_wait(rip_waiting *waiting) except -EINTR nogil:
    """Take the GIL back and run signal handlers. An exception of a handler ends the wait and stays set.

    Only waits for the table lock run without the GIL. In all other waits the C core, which has no locks for threads,
    uses the handle with the GIL and sleeps without it.
    """
    if waiting.control >= 0:
        return after_lock_wait(waiting)
    PyEval_RestoreThread(<PyThreadState *>waiting.kept)
    park_at_exit(0)
    return -EINTR if raised_by_signals() else 0


cdef int after_lock_wait(rip_waiting *waiting) except -EINTR nogil:
    """Run signal handlers, and log once, after 3 s, which process has the table lock."""
    cdef bint due = waiting.kept is NULL and rip_now() - waiting.since >= <uint64_t>WARN_AFTER_NS
    cdef int32_t holder = rip_lock_holder(waiting.control) if due else 0
    with gil:
        PyErr_CheckSignals()
        if due:
            waiting.kept = waiting
            warn(waiting.control, holder)
    return 0


cdef inline int warn(int fd, int32_t holder) except -1:
    import logging
    import os

    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # another thread has closed the handle
        return 0
    who = f"pid {holder}" if holder else "a process that cannot be seen from here"
    logging.getLogger("ringipc").warning(
        "waiting for %s, which has locked %s and does not run: it is stopped (SIGSTOP, a debugger, a paused "
        "container); continue or kill it", who, path
    )
    return 0


cdef inline int await_lock(rip_handle *place, uint64_t deadline) except -1:
    """Wait without the GIL until no other process has the table lock. Return 1 at the deadline, else 0."""
    cdef int rc
    with nogil:
        rc = rip_await_lock(place, deadline)
    return rc == -EAGAIN


ctypedef int (*locking)(void *) noexcept nogil


cdef inline int patiently(locking call, void *handle, rip_handle *place, uint64_t deadline) except -1000:
    """Make a call that takes the table lock. Return its result, -EAGAIN at the deadline.

    The call runs with the GIL, because threads share the handle. It only tries the lock: the wait is without the GIL.
    """
    cdef int rc = call(handle)
    while rc == -EAGAIN and not await_lock(place, deadline):
        rc = call(handle)
    return rc


cdef inline int close_patiently(locking close, void *handle, rip_handle *place, bint exiting) except -1000:
    """Close a handle. At exit, give up after a second: other members then reap the handle."""
    cdef int rc = patiently(close, handle, place, rip_now() + AT_EXIT_NS if exiting else RIP_FOREVER)
    return 0 if exiting and rc == -EAGAIN else rc


def check_timeout(timeout, str what="timeout"):
    """Raise TypeError or ValueError unless timeout is None or a number of seconds from 0 up."""
    if timeout is not None:
        seconds_from(timeout, what, "")


def last_shortage():
    """Return what this thread's last failed call needed: bytes (0: a file), bytes free, whether for the tables."""
    cdef rip_shortage want = rip_last_shortage()
    return want.bytes, want.free, want.for_tables
