# A semaphore, and what it has in common with a lock.

cdef object ONE = 1  # a default argument: CPython has one object of it, so `is` finds it


cdef double seconds_if(object blocking, double seconds) except -1:
    """Return the seconds to wait for a blocking argument that is not True. Refuse a timeout in its position."""
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
    """Return an argument n as a number of units."""
    return 1 if n is ONE else checked_units(n)


cdef uint32_t checked_units(object n) except 0:
    cdef Py_ssize_t units = count_of(n, "n", "units", "acquire(blocking=False) not to wait, and acquire(timeout=5)")
    if not 1 <= units <= RIP_MAX_UNITS:
        raise ValueError(f"n must be from 1 to {RIP_MAX_UNITS}, not {n}")
    return <uint32_t>units


cdef class _UnitsHandle(_SyncHandle):
    """A handle of something that has units: a semaphore, or a lock, which has one."""

    cdef int died  # whether the previous owner of the lock that this handle holds died

    @cython.final
    cdef int take(self, uint32_t units, double seconds) except -1:
        """Take units. Return 1, or 0 after the timeout."""
        cdef int rc
        self.enter()
        rc = rip_semaphore_acquire(self.s, units, deadline_of(seconds))
        if rc == -ETIMEDOUT:
            return 0
        self.died = self.checked(rc)
        return 1

    @cython.final
    cdef int give(self, uint32_t units) except -1:
        """Give units back."""
        self.enter()
        return self.checked(rip_semaphore_release(self.s, units))

    @cython.critical_section
    def __enter__(self):
        self.take(1, INFINITY)
        return self

    @cython.critical_section
    def __exit__(self, kind, error, trace):
        self.give(1)


cdef object exit_units(_UnitsHandle handle, Arguments arguments, Py_ssize_t count, PyObject *names):
    """`__exit__`; the three arguments of a with statement are not parsed."""
    if cython.unlikely(count != 3 or names is not NULL):
        return parse_and_exit_units(handle, arguments, count, names)
    with cython.critical_section(handle):
        handle.give(1)


cdef Method parse_and_exit_units = replace_method(<PyTypeObject *>_UnitsHandle, "__exit__", <Method>exit_units)


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

    def __init__(self, name=None, value=None, *, undo=False, wait="adaptive"):
        if value is not None:
            value = _arguments.checked_count(value, "value", "units", 0, RIP_MAX_UNITS)
        self.open("semaphore", name, value, _arguments.checked_bool("undo", undo), wait)

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
            This handle is closed, or another thread closes it during the wait.
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


set_signature(Semaphore, lambda semaphore, name=None, value=None, *, undo=False, wait="adaptive": None)
