# Semaphores, locks, events and barriers. The classes are finished in Python: a subclass says what an error code means
# (_fail).

SEMAPHORE = RIP_SEMAPHORE
LOCK = RIP_LOCK
EVENT = RIP_EVENT
BARRIER = RIP_BARRIER
MUST_BE = RIP_MUST_BE


def inspect_sync(bytes name):
    """0 or an error code, the kind, and the pid of each handle."""
    cdef rip_sync_info_at info
    cdef const char *text = name
    cdef int rc
    info.kind = info.handles = 0
    with nogil:
        rc = rip_sync_info(text, &info)
    return rc, info.kind, [pid for pid in info.pid[:info.handles]]


def clean_sync(bytes name):
    """1 when what was left of it has been removed, 0 when somebody has it open, or an error code."""
    cdef const char *text = name
    cdef int rc
    with nogil:
        rc = rip_sync_clean_up(text)
    return rc


cdef class BaseSync:
    """A handle on something that processes share to wait for each other."""

    cdef rip_sync *s

    def __dealloc__(self):
        if self.s is not NULL:
            with nogil:
                rip_handle_set_unattended(&self.s.handle)
                rip_sync_close(self.s)
                rip_sync_free(self.s)

    def _fail(self, int code):
        raise NotImplementedError

    def _open(self, bytes name, int fd, int kind, value, bint undo, int wait):
        """name None: one without a name, made here or, with fd from 0 up, by another process; value None: as it is."""
        if self.s is not NULL:
            raise RuntimeError("this handle is open already")
        cdef const char *text = NULL if name is None else <const char *>name
        cdef int64_t begins = -1 if value is None else value
        cdef rip_sync *s = NULL
        cdef int rc
        with nogil:
            rc = rip_sync_open(text, fd, <rip_sync_kind>kind, begins, undo, <rip_wait>wait, &s)
        if rc == 0:
            s.handle.give_up = RIP_TRY_ONLY  # what follows waits without the GIL
        self.s = s
        return rc

    @cython.critical_section
    def _close(self, bint exiting):
        if self.s is NULL:
            return 0
        if exiting:
            closes_at_exit()
        return close_patiently(<locking>rip_sync_close, self.s, &self.s.handle, exiting)

    @cython.critical_section
    def _descriptor(self):
        self.enter()
        return self.checked(rip_sync_fd(self.s))

    @property
    def closed(self):
        """True after `close`."""
        with cython.critical_section(self):
            return self.s is NULL or rip_handle_check(&self.s.handle) == -ESHUTDOWN

    @cython.final
    cdef inline int enter(self) except -1:
        """Each call's beginning: is it open? A forked child takes its own seat."""
        cdef int rc = -ESHUTDOWN if self.s is NULL else rip_sync_check(self.s)
        if cython.unlikely(rc != 0):
            while rc == -EAGAIN:
                await_lock(&self.s.handle, RIP_FOREVER)
                rc = rip_sync_check(self.s)
            if rc != 0:
                self._fail(rc)
        return 0

    @cython.final
    cdef int look_around(self) except -1:
        """After each piece of a wait."""
        rip_reap_if_due(&self.s.handle)
        return 0

    @cython.final
    cdef int checked(self, int rc) except -1:
        if cython.unlikely(rc < 0):
            self._fail(rc)
        return rc


cdef object ONE = 1, MINUS_ONE = -1  # the defaults: CPython has one object of each, so a look at the pointer is enough


cdef double seconds_if(object blocking, double seconds) except -1:
    """How long to wait: so many seconds, or not at all; a number of seconds in the place of blocking is refused."""
    if not isinstance(blocking, int) or blocking not in (0, 1):
        raise TypeError(
            f"blocking must be True or False, not {blocking!r}; write acquire(timeout=5) to wait for up to 5 s"
        )
    if blocking:
        return seconds
    if seconds != INFINITY:
        raise ValueError("a timeout cannot be given together with blocking=False")
    return 0


cdef inline uint32_t units_of(object n) except 0:
    """How many units a user asks for."""
    return 1 if n is ONE else many_units_of(n)


cdef uint32_t many_units_of(object n) except 0:
    cdef Py_ssize_t units = count_of(n, "n", "units", "acquire(blocking=False) not to wait, and acquire(timeout=5)")
    if not 1 <= units <= RIP_MAX_UNITS:
        raise ValueError(f"n must be from 1 to {RIP_MAX_UNITS}, not {n}")
    return <uint32_t>units


cdef class BaseUnits(BaseSync):
    """Units that are taken and given back."""

    cdef int died  # the owner before us, of a lock that we hold

    @cython.final
    cdef int take(self, uint32_t units, double seconds) except -1:
        """1, or 0 when the time is up."""
        cdef int rc
        self.enter()
        rc = rip_units_try(self.s, units)
        if rc == -EAGAIN:
            rc = self.wait_for(units, seconds)
            if rc == -ETIMEDOUT:
                return 0
        self.died = self.checked(rc)
        return 1

    @cython.final
    cdef int wait_for(self, uint32_t units, double seconds) except -1000:
        """As rip_units_try, or -ETIMEDOUT."""
        cdef uint64_t deadline = deadline_of(seconds)
        cdef rip_ticket turn
        cdef rip_watch watch
        cdef int rc, waited = 0
        if deadline == 0:
            rip_reap_if_due(&self.s.handle)  # what the dead held, for one who never waits
            rc = rip_units_try(self.s, units)
            return -ETIMEDOUT if rc == -EAGAIN else rc
        rc = rip_ticket_take(self.s, units, &turn)
        if rc != 0:
            return rc
        while True:
            rip_ticket_watch(self.s, &turn, &watch)
            rc = rip_ticket_try(self.s, &turn)
            if rc != -EAGAIN:
                return rc
            if waited == -ETIMEDOUT:
                rip_ticket_cancel(self.s, &turn)
                return waited
            try:
                waited = rip_watch_wait(&watch, deadline)
                self.look_around()
            except BaseException:
                if rip_handle_check(&self.s.handle) == 0:
                    rip_ticket_cancel(self.s, &turn)
                raise
            rc = rip_handle_check(&self.s.handle)
            if rc != 0:  # closed by another thread, and the turn with it
                return rc

    @cython.final
    cdef int give(self, uint32_t units) except -1:
        self.enter()
        return self.checked(rip_semaphore_release(self.s, units))

    @cython.critical_section
    def __enter__(self):
        self.take(1, INFINITY)
        return self

    @cython.critical_section
    def __exit__(self, kind, error, trace):
        self.give(1)

    @cython.critical_section
    def _value(self):
        self.enter()
        return rip_semaphore_value(self.s)


cdef class BaseSemaphore(BaseUnits):
    """Any number of units."""

    @cython.critical_section
    def release(self, n=1):
        """Puts n units back (V), and wakes who has waited longest, if there are enough for it.

        Raises
        ------
        OverflowError
            There would be more than 2**31 - 1.
        ValueError
            n is not from 1 to 2**31 - 1.
        Closed
            This handle is closed.
        """
        self.give(units_of(n))

    @cython.critical_section
    def acquire(self, n=1, timeout=None, *, blocking=True):
        """Takes n units at once (P): True, or False when they did not come together within timeout seconds.

        Who waits is served in turn, so one that wants many is not starved by those that want few.

        Parameters
        ----------
        n
            1 to 2**31 - 1. Unlike in `threading.Semaphore.acquire` the first argument is not ``blocking``; a bool is
            refused.
        timeout
            Seconds; None waits for ever, 0 not at all.
        blocking
            False: as timeout=0.

        Raises
        ------
        ValueError
            n is not from 1 to 2**31 - 1; or a timeout is given, and blocking is False.
        TypeError
            n is no integer, or a bool.
        Closed
            This handle is closed, or another thread closes it meanwhile.
        """
        cdef double seconds = seconds_of(timeout)
        if blocking is not True:
            seconds = seconds_if(blocking, seconds)
        return self.take(units_of(n), seconds) == 1

    @property
    def held(self):
        """Units that this handle has taken and not given back; 0 without undo."""
        with cython.critical_section(self):
            return 0 if self.s is NULL else self.s.held


cdef class BaseLock(BaseUnits):
    """One unit, and its owner."""

    @cython.critical_section
    def acquire(self, blocking=True, timeout=-1):
        """Takes it: True, or False when it did not come free in time. As `threading.Lock.acquire`.

        Parameters
        ----------
        blocking
            False: not to wait.
        timeout
            Seconds; -1 and None wait for ever.

        Raises
        ------
        ValueError
            timeout is negative and not -1; or one is given, and blocking is False.
        TypeError
            blocking is neither True nor False: a number of seconds, for example.
        Closed
            This handle is closed, or another thread closes it meanwhile.
        """
        cdef double seconds = INFINITY
        if timeout is not MINUS_ONE and timeout != -1:
            seconds = seconds_of(timeout)
        if blocking is not True:
            seconds = seconds_if(blocking, seconds)
        return self.take(1, seconds) == 1

    @cython.critical_section
    def release(self):
        """Lets the next one have it.

        Raises
        ------
        RuntimeError
            This handle does not have it.
        Closed
            This handle is closed.
        """
        self.give(1)

    @cython.critical_section
    def locked(self):
        """True while somebody has it, through this handle or another."""
        self.enter()
        return rip_semaphore_value(self.s) == 0

    @property
    def owner_died(self):
        """We have the lock, and who had it before was killed without releasing it: what it guards may be half-done.

        If we are killed too, or close it, before we release it, the next owner is told in turn.
        """
        with cython.critical_section(self):
            return self.s is not NULL and self.s.held > 0 and self.died == 1


cdef class BaseEvent(BaseSync):
    """A flag to wait for."""

    @cython.critical_section
    def set(self):
        """Sets it, and wakes all who wait."""
        self.enter()
        self.checked(rip_event_set(self.s))

    @cython.critical_section
    def clear(self):
        """From now on `wait` waits."""
        self.enter()
        self.checked(rip_event_clear(self.s))

    @cython.critical_section
    def is_set(self):
        """True after `set`, until `clear`."""
        self.enter()
        return self.checked(rip_event_is_set(self.s)) == 1

    @cython.critical_section
    def wait(self, timeout=None):
        """Waits until it is set: True, or False when it was not within timeout seconds.

        Who waits when it is set is woken, even if it is cleared at once.

        Parameters
        ----------
        timeout
            Seconds; None waits for ever, 0 not at all.

        Raises
        ------
        Closed
            This handle is closed, or another thread closes it meanwhile.
        """
        cdef uint64_t deadline = deadline_of(seconds_of(timeout)), seen
        cdef rip_watch watch
        cdef int waited = 0
        self.enter()
        seen = rip_sync_load(self.s)
        while True:
            if rip_event_is_over(self.s, seen):
                return True
            if deadline == 0 or waited == -ETIMEDOUT:
                return False
            rip_sync_watch(self.s, seen, &watch)
            waited = rip_watch_wait(&watch, deadline)
            self.look_around()
            self.enter()


cdef class BaseBarrier(BaseSync):
    """A place where processes wait until all have come."""

    @cython.critical_section
    def _wait(self, timeout):
        """The place in this round, or an error code."""
        cdef uint64_t deadline = deadline_of(seconds_of(timeout)), seen
        cdef rip_watch watch
        cdef int place, over, waited = 0
        self.enter()
        place = rip_barrier_arrive(self.s, &seen)
        if place < 0:
            return place
        while True:
            over = rip_barrier_is_over(self.s, seen)
            if over != 0:
                return over if over < 0 else place
            if deadline == 0 or waited == -ETIMEDOUT:
                rip_barrier_give_up(self.s, seen)
                return -ETIMEDOUT if rip_barrier_is_over(self.s, seen) < 0 else place
            rip_sync_watch(self.s, seen, &watch)
            try:
                waited = rip_watch_wait(&watch, deadline)
                self.look_around()
                self.enter()
            except BaseException:
                rip_barrier_give_up(self.s, seen)
                raise

    @cython.critical_section
    def abort(self):
        """Breaks it: who waits, and who comes, gets `BrokenBarrier`, until it is reset."""
        self.enter()
        self.checked(rip_barrier_abort(self.s))

    @cython.critical_section
    def reset(self):
        """Makes it as new; who waits now gets `BrokenBarrier`."""
        self.enter()
        self.checked(rip_barrier_reset(self.s))

    @property
    def n_waiting(self):
        """How many wait there now."""
        with cython.critical_section(self):
            self.enter()
            return self.checked(rip_barrier_waiting(self.s))

    @property
    def broken(self):
        """True after it has been broken, until it is reset."""
        with cython.critical_section(self):
            self.enter()
            return self.checked(rip_barrier_is_broken(self.s)) == 1

    @property
    def parties(self):
        """How many it waits for."""
        with cython.critical_section(self):
            self.enter()
            return rip_sync_value(self.s)
