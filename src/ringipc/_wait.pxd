"""What every skin needs to wait: deadlines, and how a thread stops when the interpreter ends."""

from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "ringipc.h" nogil:
    const uint64_t RIP_FOREVER
    enum rip_wait:
        RIP_WAIT_SPIN
        RIP_WAIT_ADAPTIVE
        RIP_WAIT_BLOCK
    uint64_t rip_now()


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


cdef inline int deadline_of(object timeout, uint64_t *deadline) except -1:
    """None waits for ever, 0 not at all."""
    if timeout is None:
        deadline[0] = RIP_FOREVER
        return 0
    cdef double seconds = timeout
    if not seconds >= 0:
        raise ValueError(f"timeout must be None or a number of seconds from 0 up, not {timeout!r}")
    if seconds == 0:
        deadline[0] = 0
    elif seconds < 9e9:
        deadline[0] = rip_now() + <uint64_t>(seconds * 1e9)
    else:
        deadline[0] = RIP_FOREVER
    return 0


cdef inline double seconds_until(uint64_t deadline) noexcept:
    cdef uint64_t now = rip_now()
    return (deadline - now) * 1e-9 if deadline > now else 0


cdef inline void park_after(unsigned long exiting) noexcept:
    """A daemon thread that is still here when another one ends the interpreter shall neither raise nor run again."""
    cdef rip_word never = 0
    if exiting and exiting != PyThread_get_thread_ident():
        with nogil:
            while True:
                rip_sleep(&never, 0, RIP_FOREVER)
