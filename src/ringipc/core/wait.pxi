# Waiting: timeouts and deadlines, table locks, and how a thread stops when the interpreter ends.

cdef extern from "Python.h":
    bint PyIndex_Check(object)
    Py_ssize_t PyNumber_AsSsize_t(object, PyObject *) except? -1  # cpython.number takes no NULL
    ctypedef struct PyThreadState
    PyThreadState *PyEval_SaveThread() nogil
    void PyEval_RestoreThread(PyThreadState *) nogil
    unsigned long this_thread "PyThread_get_thread_ident"() nogil
    int raised_by_signals "PyErr_CheckSignals"() nogil  # for a caller that knows what to do with what is raised


cdef enum:
    WARN_AFTER_NS = 3000000000
    AT_EXIT_NS = 1000000000
    AT_LEAST_NS = 1000000000  # a holder that is not stopped may be waiting for a processor


cdef inline double seconds_of(object timeout) except -1:
    """What a user gives as a timeout, in seconds; None waits for ever (INFINITY), 0 not at all."""
    return seconds_or(timeout, "")


cdef inline double seconds_or(object timeout, str call) except -1:
    """`seconds_of` for a call that has a twin, call, which does not wait."""
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
    """How many things a user asks for; the most that there can be where that is more."""
    if isinstance(n, bool) or not PyIndex_Check(n):
        raise TypeError(f"{what} must be a number of {things}, not {n!r}; write {instead} to wait for up to 5 s")
    return PyNumber_AsSsize_t(n, NULL)


cdef inline uint64_t deadline_of(double seconds) noexcept:
    """The moment until which to wait: 0 not at all, RIP_FOREVER without an end."""
    if seconds == 0:
        return 0
    return rip_now() + <uint64_t>(seconds * 1e9) if seconds < 9e9 else RIP_FOREVER


cdef inline double seconds_until(uint64_t deadline) noexcept:
    """What is left until a moment that `deadline_of` gave."""
    cdef uint64_t now
    if deadline == RIP_FOREVER:
        return INFINITY
    now = rip_now() if deadline else 0
    return (deadline - now) * 1e-9 if deadline > now else 0


cdef unsigned long exiting = 0  # the thread that ends the interpreter, from when it closes the handles


def _begin_exit():
    """From here on other threads neither raise nor return from a call of a handle that waits or is closed."""
    global exiting
    exiting = this_thread()


cdef void park_at_exit() noexcept nogil:
    """With the GIL: a daemon thread that runs on while another one ends the interpreter neither raises nor returns."""
    cdef rip_word never = 0
    if exiting and exiting != this_thread():
        PyEval_SaveThread()
        while True:
            rip_sleep(&never, 0, RIP_FOREVER)


cdef void before_wait(rip_waiting *waiting) noexcept nogil:
    waiting.kept = PyEval_SaveThread()


cdef int after_wait(rip_waiting *waiting) except -EINTR nogil:
    """Runs the handlers of signals. What one raises ends the wait and stays set.

    A table lock is waited for without the GIL, all else with it: the C core, which knows no threads, looks at a handle
    while the GIL is held and sleeps while it is not.
    """
    if waiting.control >= 0:
        return after_lock_wait(waiting)
    PyEval_RestoreThread(<PyThreadState *>waiting.kept)
    park_at_exit()
    return -EINTR if raised_by_signals() else 0


cdef int after_lock_wait(rip_waiting *waiting) except -EINTR nogil:
    """Also reports once, after a while, whom this thread waits for."""
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
    except OSError:  # another thread has closed the handle meanwhile
        return 0
    who = f"pid {holder}" if holder else "a process that cannot be seen from here"
    logging.getLogger("ringipc").warning(
        "waiting for %s, which has locked %s and does not go on: it is stopped (SIGSTOP, a debugger, a paused "
        "container); let it go on, or end it", who, path
    )
    return 0


cdef inline int await_lock(rip_handle *place, uint64_t deadline) except -1:
    """Without the GIL, until no other process has the table lock: 0, or 1 when the time is up."""
    cdef int rc
    with nogil:
        rc = rip_await_lock(place, deadline)
    return rc == -EAGAIN


ctypedef int (*locking)(void *) noexcept nogil


cdef inline int patiently(locking call, void *handle, rip_handle *place, uint64_t deadline) except -1000:
    """Makes a call that takes the table lock, with the GIL, as threads share the handle; waits for the lock without.

    What the call says, which is -EAGAIN when the time is up.
    """
    cdef int rc = call(handle)
    while rc == -EAGAIN and not await_lock(place, deadline):
        rc = call(handle)
    return rc


cdef inline int close_patiently(locking close, void *handle, rip_handle *place, bint exiting) except -1000:
    """A process that ends waits a second at most; whoever has the lock, or comes next, finds that it has gone."""
    cdef int rc = patiently(close, handle, place, rip_now() + AT_EXIT_NS if exiting else RIP_FOREVER)
    return 0 if exiting and rc == -EAGAIN else rc


def check_timeout(timeout, str what="timeout"):
    """Refuses what is not a number of seconds from 0 up, or None."""
    if timeout is not None:
        seconds_from(timeout, what, "")


def last_shortage():
    """Where this thread's last call had no room: bytes needed (0: a file), bytes free, were they for tables?"""
    cdef rip_shortage want = rip_last_shortage()
    return want.bytes, want.free, want.for_tables
