"""What every skin needs to wait: deadlines, and how a thread stops when the interpreter ends."""

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.pythread cimport PyThread_get_thread_ident
from libc.math cimport INFINITY
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "ringipc.h" nogil:
    const uint64_t RIP_FOREVER
    enum rip_wait:
        RIP_WAIT_SPIN
        RIP_WAIT_ADAPTIVE
        RIP_WAIT_BLOCK
    uint64_t rip_now()
    struct rip_want:
        uint64_t bytes
        uint64_t free
        bint for_tables
    rip_want rip_wanted()


cdef extern from "wait.h" nogil:
    ctypedef unsigned int rip_word "_Atomic uint32_t"
    enum: RIP_SLICE_NS
    struct rip_watch:
        pass
    struct rip_spin:
        rip_wait mode
    int rip_sleep(rip_word *, uint32_t, uint64_t)
    void rip_wake(rip_word *)
    int rip_watch_wait(const rip_watch *, uint64_t)


cdef extern from "place.h" nogil:
    struct rip_place:
        pass
    int rip_check(const rip_place *)


cdef inline double seconds_of(object timeout) except -1:
    """What a user gives as a timeout, in seconds; None waits for ever (INFINITY), 0 not at all."""
    return INFINITY if timeout is None else seconds_from(timeout, "timeout")


cdef inline double seconds_from(object timeout, str what) except -1:
    cdef double seconds
    if PyFloat_CheckExact(timeout):
        seconds = PyFloat_AS_DOUBLE(timeout)
    else:
        seconds = number_of_seconds(timeout, what)
    if not seconds >= 0:
        raise ValueError(f"{what} must be None or a number of seconds from 0 up, not {timeout!r}")
    return seconds


cdef inline double number_of_seconds(object timeout, str what) except? -1:
    if type(timeout) is not int and not isinstance(timeout, float):
        from numbers import Real
        if isinstance(timeout, bool) or not isinstance(timeout, Real):
            raise TypeError(
                f"{what} must be None or a number of seconds, not {timeout!r}; write {what}=5 to wait for up to 5 s, "
                f"and {what}=0 (or get_nowait(), put_nowait()) not to wait"
            )
    return timeout


cdef inline uint64_t deadline_of(double seconds) noexcept:
    """The moment until which to wait: 0 not at all, RIP_FOREVER without an end."""
    if seconds == 0:
        return 0
    return rip_now() + <uint64_t>(seconds * 1e9) if seconds < 9e9 else RIP_FOREVER


cdef inline tuple wanted_last():
    """Where a call of this module and thread had no room: bytes needed (0: a file), and free; were they for tables?"""
    cdef rip_want want = rip_wanted()
    return want.bytes, want.free, want.for_tables


cdef inline double seconds_until(uint64_t deadline) noexcept:
    """What is left until a moment that `deadline_of` gave."""
    cdef uint64_t now
    if deadline == RIP_FOREVER:
        return INFINITY
    now = rip_now() if deadline else 0
    return (deadline - now) * 1e-9 if deadline > now else 0


cdef inline void park_after(unsigned long exiting) noexcept:
    """A daemon thread that is still here when another one ends the interpreter shall neither raise nor run again."""
    cdef rip_word never = 0
    if exiting and exiting != PyThread_get_thread_ident():
        with nogil:
            while True:
                rip_sleep(&never, 0, RIP_FOREVER)
