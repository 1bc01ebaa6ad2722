# An event.

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
        """Return whether the flag is set."""
        self.enter()
        return self.checked(rip_event_is_set(self.s)) == 1

    @cython.critical_section
    def wait(self, timeout=None):
        """Wait until the flag is set.

        `set` ends every wait that is in progress, even if `clear` follows at once.

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
            This handle is closed, or another thread closes it during the wait.
        """
        cdef uint64_t deadline = deadline_of(seconds_of(timeout))
        cdef int rc
        self.enter()
        rc = rip_event_wait(self.s, deadline)
        if rc == -ETIMEDOUT:
            return False
        self.checked(rc)
        return True


set_signature(Event, lambda event, name=None, *, wait="adaptive": None)
