# Semaphores, locks, events and barriers.

KINDS = {"semaphore": RIP_SEMAPHORE, "lock": RIP_LOCK, "event": RIP_EVENT, "barrier": RIP_BARRIER}


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
    """1 if it had no handles and has been removed, 0 if it has handles, or an error code."""
    cdef const char *text = name
    cdef int rc
    with nogil:
        rc = rip_sync_clean_up(text)
    return rc


cdef class _SyncHandle:
    """A handle of a semaphore, lock, event or barrier.

    Attributes
    ----------
    name : str or None
        None: it is anonymous.
    """

    cdef rip_sync *s
    cdef readonly str name
    cdef str what
    cdef tuple options  # of `open`, for other processes
    cdef object __weakref__

    def __dealloc__(self):
        if self.s is not NULL:
            with nogil:
                rip_handle_set_unattended(&self.s.handle)
                rip_sync_close(self.s)
                rip_sync_free(self.s)

    @cython.final
    cdef int open(
        self, str what, object name, object value, bint undo, object wait, int fd=-1, bint passed=False
    ) except -1:
        """Opens or makes what is meant. fd: of an anonymous one from another process. passed: it has to exist."""
        cdef rip_sync_kind kind = KINDS[what]
        cdef bytes code = None if name is None else _names.checked_name(name, what)
        cdef const char *text = NULL if code is None else <const char *>code
        cdef int64_t begins = RIP_MUST_BE if passed else -1 if value is None else value
        cdef rip_wait mode
        cdef rip_sync *s = NULL
        cdef int rc
        if self.s is not NULL:
            raise RuntimeError("this handle is open already")
        if wait not in _arguments.WAITS:
            raise ValueError(f'wait must be "spin", "adaptive" or "block", not {wait!r}')
        mode = <rip_wait><int>_arguments.WAITS[wait]
        if name is not None:
            _failures.check_base()
        self.what = what
        self.name = name
        self.options = (what, value, undo, wait)
        with nogil:
            rc = rip_sync_open(text, fd, kind, begins, undo, mode, &s)
        if rc < 0:
            _failures.fail_sync_open(rc, what, name, value, passed, wanted())
        s.handle.give_up = RIP_TRY_ONLY  # from here on waits release the GIL
        self.s = s
        _atexit.close_at_exit(self)
        return 0

    @cython.final
    cdef int fail(self, int rc, timeout=None) except -1:
        _failures.fail_sync(rc, self.what, self.name, timeout, wanted())

    @cython.final
    cdef int checked(self, int rc) except -1:
        if cython.unlikely(rc < 0):
            self.fail(rc)
        return rc

    @cython.final
    cdef inline int enter(self) except -1:
        """Begins a call: checks that the handle is open. In a forked child it becomes a member of its own."""
        cdef int rc = -ESHUTDOWN if self.s is NULL else rip_sync_check(self.s)
        if cython.unlikely(rc != 0):
            while rc == -EAGAIN:
                await_lock(&self.s.handle, RIP_FOREVER)
                rc = rip_sync_check(self.s)
            if rc != 0:
                self.fail(rc)
        return 0

    def close(self):
        """Close this handle. A named object ends with its last handle. Closing again does nothing.

        If a signal handler raises an exception meanwhile (Ctrl-C), the handle is closed for all other calls, but what it
        holds has not been given back yet. Close it again; otherwise it is closed when the process exits.
        """
        self._end()

    @cython.critical_section
    def _end(self, *, bint exiting=False):
        if self.s is NULL:
            return
        self.checked(close_patiently(<locking>rip_sync_close, self.s, &self.s.handle, exiting))

    @property
    def closed(self):
        """Whether this handle has been closed."""
        with cython.critical_section(self):
            return self.s is NULL or rip_handle_check(&self.s.handle) == -ESHUTDOWN

    def __reduce__(self):
        """To another process: by name, or as a file descriptor that `multiprocessing` passes."""
        if self.name is not None:
            return _open_named, (type(self), self.name, *self.options)
        from multiprocessing.reduction import DupFd

        return _open_passed, (type(self), DupFd(self._descriptor()), *self.options)

    @cython.critical_section
    def _descriptor(self):
        """A file descriptor for another process. It is closed with the handle."""
        self.enter()
        return self.checked(rip_sync_fd(self.s))

    def __repr__(self):
        named = "" if self.name is None else f" {self.name!r}"
        return f"<{type(self).__name__}{named}{', closed' if self.closed else ''}>"


def _open_named(type cls, name, *options):
    return opened(cls, name, options, -1)


def _open_passed(type cls, passed, *options):
    fd = passed.detach()
    try:
        return opened(cls, None, options, fd)
    finally:
        os.close(fd)


cdef _SyncHandle opened(type cls, name, tuple options, int fd):
    """A handle of an object that another process has passed."""
    cdef _SyncHandle handle = cls.__new__(cls)
    what, value, undo, wait = options
    handle.open(what, name, value, undo, wait, fd, True)
    return handle


cdef object signature_of(str parameters):
    """The signature of a class, which a class in C does not have by itself."""
    return signature(eval(f"lambda {parameters}: None"))


cdef object ONE = 1, MINUS_ONE = -1  # the default arguments: CPython has one object of each, so comparing pointers does


cdef double seconds_if(object blocking, double seconds) except -1:
    """The time to wait, for an argument blocking and a timeout. A timeout in the place of blocking is refused."""
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
    """An argument n, a number of units."""
    return 1 if n is ONE else checked_units(n)


cdef uint32_t checked_units(object n) except 0:
    cdef Py_ssize_t units = count_of(n, "n", "units", "acquire(blocking=False) not to wait, and acquire(timeout=5)")
    if not 1 <= units <= RIP_MAX_UNITS:
        raise ValueError(f"n must be from 1 to {RIP_MAX_UNITS}, not {n}")
    return <uint32_t>units


cdef class _UnitsHandle(_SyncHandle):
    """A handle of something that has units: a semaphore, or a lock, which has one."""

    cdef int died  # whether the previous owner of a lock that this handle holds died

    @cython.final
    cdef int take(self, uint32_t units, double seconds) except -1:
        """1, or 0 after the timeout."""
        cdef int rc
        self.enter()
        rc = rip_semaphore_acquire(self.s, units, deadline_of(seconds))
        if rc == -ETIMEDOUT:
            return 0
        self.died = self.checked(rc)
        return 1

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


cdef class Semaphore(_UnitsHandle):
    """A counting semaphore that processes and threads share. `P` and `V` are other names of `acquire` and `release`.

    A handle can be inherited by a forked process and passed to another process as an argument. Threads can share it.

    Parameters
    ----------
    name
        For unrelated processes; names of channels and semaphores are in one name space. A named semaphore ends with its
        last handle. None: it is anonymous and passed as an argument. It exists until every process that has it, or is
        about to receive it, has closed it or ended.
    value
        Initial number of units, 0 to 2**31 - 1. None: open an existing semaphore as it is, or make one with 1 unit.
    undo
        Whether the units that this handle holds are given back when it is closed or its process is killed. The latter
        takes up to a second, and happens while some process waits. Each handle counts its own units.
    wait
        How `acquire` waits; as in `Producer`.

    Raises
    ------
    Incompatible
        The name is used for something else, or the semaphore was made with another value.
    TableFull
        It has 255 handles already.
    SystemRefused
        There is no space, or it belongs to another user: an `OSError`, see `errno`.

    Examples
    --------
    >>> import ringipc
    >>> gpus = ringipc.Semaphore(value=4, undo=True)
    >>> gpus.acquire(3), gpus.acquire(2, timeout=0), gpus.value
    (True, False, 1)
    >>> gpus.release(3)
    >>> with gpus:
    ...     gpus.value
    3
    >>> gpus.close()
    """

    __signature__ = signature_of("name=None, value=None, *, undo=False, wait='adaptive'")

    def __init__(self, name=None, value=None, *, undo=False, wait="adaptive"):
        if value is not None:
            value = _arguments.checked_count(value, "value", "units", 0, RIP_MAX_UNITS)
        self.open("semaphore", name, value, undo, wait)

    @cython.critical_section
    def acquire(self, n=1, timeout=None, *, blocking=True):
        """Take n units at once (P).

        Waiting threads are served in the order of their calls, so large requests do not starve.

        Parameters
        ----------
        n
            1 to 2**31 - 1. Unlike in `threading.Semaphore.acquire` the first argument is not ``blocking``; a bool is
            refused.
        timeout
            Seconds; None waits for ever, 0 not at all.
        blocking
            False: as timeout=0.

        Returns
        -------
        bool
            False if there were not n units within the timeout.

        Raises
        ------
        ValueError
            n is not from 1 to 2**31 - 1; or a timeout is given with blocking=False.
        TypeError
            n is not an integer, or is a bool.
        TableFull
            256 threads wait for units already.
        Closed
            This handle is closed, or another thread closes it meanwhile.
        """
        cdef double seconds = seconds_of(timeout)
        if blocking is not True:
            seconds = seconds_if(blocking, seconds)
        return self.take(units_of(n), seconds) == 1

    @cython.critical_section
    def release(self, n=1):
        """Give n units back (V), and wake the thread that has waited longest if there are enough for it.

        Raises
        ------
        OverflowError
            There would be more than 2**31 - 1 units.
        ValueError
            n is not from 1 to 2**31 - 1.
        Closed
            This handle is closed.
        """
        self.give(units_of(n))

    P = acquire
    V = release

    @property
    def value(self):
        """Number of units that are free now."""
        with cython.critical_section(self):
            self.enter()
            return rip_semaphore_value(self.s)

    @property
    def held(self):
        """Number of units that this handle has taken and not given back; 0 without undo."""
        with cython.critical_section(self):
            return 0 if self.s is NULL else self.s.held


cdef class Lock(_UnitsHandle):
    """A lock that processes and threads share. If its owner is killed, the next owner gets it and can see that.

    Threads can share a handle, and exclude each other like processes. The handle owns the lock, so another thread can
    release it. It is not reentrant.

    Parameters
    ----------
    name, wait
        As in `Semaphore`.

    Raises
    ------
    Incompatible, TableFull, SystemRefused
        As in `Semaphore`.

    Examples
    --------
    >>> import ringipc
    >>> with ringipc.Lock() as lock:
    ...     if lock.owner_died:
    ...         pass  # repair the data that the lock guards
    >>> lock.close()
    """

    __signature__ = signature_of("name=None, *, wait='adaptive'")

    def __init__(self, name=None, *, wait="adaptive"):
        self.open("lock", name, None, True, wait)

    @cython.critical_section
    def acquire(self, blocking=True, timeout=-1):
        """Take the lock, as `threading.Lock.acquire` does.

        Parameters
        ----------
        blocking
            False: do not wait.
        timeout
            Seconds; -1 and None wait for ever.

        Returns
        -------
        bool
            False if the lock was not free within the timeout.

        Raises
        ------
        ValueError
            timeout is negative and not -1; or a timeout is given with blocking=False.
        TypeError
            blocking is neither True nor False, for example a number of seconds.
        TableFull
            256 threads wait for the lock already.
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
        """Release the lock, and wake the thread that has waited longest.

        Raises
        ------
        RuntimeError
            This handle does not hold the lock.
        Closed
            This handle is closed.
        """
        self.give(1)

    @cython.critical_section
    def locked(self):
        """Whether some handle, this one or another, holds the lock."""
        self.enter()
        return rip_semaphore_value(self.s) == 0

    @property
    def owner_died(self):
        """Whether this handle holds the lock and the previous owner was killed while it held it.

        The data that the lock guards can be inconsistent then. If this process is killed too, or closes the handle,
        before it releases the lock, the next owner sees the same.
        """
        with cython.critical_section(self):
            return self.s is not NULL and self.s.held > 0 and self.died == 1


cdef class Event(_SyncHandle):
    """A flag that processes and threads can wait for. It is clear at first.

    Parameters
    ----------
    name, wait
        As in `Semaphore`.

    Raises
    ------
    Incompatible, TableFull, SystemRefused
        As in `Semaphore`.

    Examples
    --------
    >>> import ringipc
    >>> ready = ringipc.Event()
    >>> ready.wait(timeout=0.01)
    False
    >>> ready.set()
    >>> ready.wait()
    True
    >>> ready.close()
    """

    __signature__ = signature_of("name=None, *, wait='adaptive'")

    def __init__(self, name=None, *, wait="adaptive"):
        self.open("event", name, 0, False, wait)

    @cython.critical_section
    def set(self):
        """Set the flag, and wake all waiting threads."""
        self.enter()
        self.checked(rip_event_set(self.s))

    @cython.critical_section
    def clear(self):
        """Clear the flag."""
        self.enter()
        self.checked(rip_event_clear(self.s))

    @cython.critical_section
    def is_set(self):
        """Whether the flag is set."""
        self.enter()
        return self.checked(rip_event_is_set(self.s)) == 1

    @cython.critical_section
    def wait(self, timeout=None):
        """Wait until the flag is set.

        `set` ends every wait that has begun, even if `clear` follows at once.

        Parameters
        ----------
        timeout
            Seconds; None waits for ever, 0 not at all.

        Returns
        -------
        bool
            False if the flag was not set within the timeout.

        Raises
        ------
        Closed
            This handle is closed, or another thread closes it meanwhile.
        """
        cdef uint64_t deadline = deadline_of(seconds_of(timeout))
        cdef int rc
        self.enter()
        rc = rip_event_wait(self.s, deadline)
        if rc == -ETIMEDOUT:
            return False
        self.checked(rc)
        return True


cdef class Barrier(_SyncHandle):
    """A point where a number of parties wait until all of them have arrived. Then the next round begins.

    A process that is killed while it has the barrier open breaks it, within a second while some party waits: the others
    get `BrokenBarrier` and do not wait for ever.

    Parameters
    ----------
    name, wait
        As in `Semaphore`.
    parties
        Number of parties, 1 to 255. None: open an existing barrier as it is, or make one of 1 party.

    Raises
    ------
    Incompatible, TableFull, SystemRefused
        As in `Semaphore`. Incompatible also if the barrier was made for another number of parties.

    Examples
    --------
    >>> import ringipc, threading
    >>> barrier = ringipc.Barrier(parties=2)
    >>> other = threading.Thread(target=barrier.wait)
    >>> other.start()
    >>> barrier.wait() in (0, 1)
    True
    >>> other.join()
    >>> barrier.close()
    """

    __signature__ = signature_of("name=None, parties=None, *, wait='adaptive'")

    def __init__(self, name=None, parties=None, *, wait="adaptive"):
        if parties is not None:
            parties = _arguments.checked_count(parties, "parties", "handles", 1, RIP_MAX_PARTIES)
        self.open("barrier", name, parties, False, wait)

    @cython.critical_section
    def wait(self, timeout=None):
        """Wait until all parties have arrived.

        Parameters
        ----------
        timeout
            Seconds; None waits for ever.

        Returns
        -------
        int
            The order of arrival in this round: 0 for the first.

        Raises
        ------
        BrokenBarrier
            Not all parties arrived within the timeout, which breaks the barrier; or it is broken already.
        Closed
            This handle is closed, or another thread closes it meanwhile.
        """
        cdef uint64_t deadline = deadline_of(seconds_of(timeout))
        cdef int rc
        self.enter()
        rc = rip_barrier_wait(self.s, deadline)
        if rc < 0:
            self.fail(rc, timeout)
        return rc

    @cython.critical_section
    def abort(self):
        """Break the barrier: waiting and arriving parties get `BrokenBarrier`, until it is reset."""
        self.enter()
        self.checked(rip_barrier_abort(self.s))

    @cython.critical_section
    def reset(self):
        """Make the barrier as new. Waiting parties get `BrokenBarrier`."""
        self.enter()
        self.checked(rip_barrier_reset(self.s))

    @property
    def n_waiting(self):
        """Number of parties that wait now."""
        with cython.critical_section(self):
            self.enter()
            return self.checked(rip_barrier_waiting(self.s))

    @property
    def broken(self):
        """Whether the barrier is broken; see `reset`."""
        with cython.critical_section(self):
            self.enter()
            return self.checked(rip_barrier_is_broken(self.s)) == 1

    @property
    def parties(self):
        """Number of parties."""
        with cython.critical_section(self):
            self.enter()
            return rip_sync_value(self.s)
