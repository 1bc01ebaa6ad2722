# A barrier.

cdef class Barrier(_SyncHandle):
    """A point where a number of parties wait until all of them have arrived. Then the next round starts.

    If a process is killed while it has the barrier open, the barrier breaks: within a second while some party waits.
    The other parties get `BrokenBarrier` and do not wait for ever.

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
            This handle is closed, or another thread closes it during the wait.
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
        """Return the barrier to its initial state. Waiting parties get `BrokenBarrier`."""
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


set_signature(Barrier, lambda barrier, name=None, parties=None, *, wait="adaptive": None)
