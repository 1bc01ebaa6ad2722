# A lock: a semaphore of one unit, with an owner.

cdef object MINUS_ONE = -1  # a default argument: CPython has one object of it, so `is` finds it


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
            This handle is closed, or another thread closes it during the wait.
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
        """Return whether some handle, this one or another, holds the lock."""
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


set_signature(Lock, lambda lock, name=None, *, wait="adaptive": None)
