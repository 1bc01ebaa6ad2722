# Words in shared memory: locks, semaphores, events and conditions without a file descriptor of their own.

cdef class _Word:
    """Base of what is one word in shared memory, and so is made by the thousands.

    It is passed to other processes as an argument, and inherited by forked ones.
    """

    cdef object memory  # the Block or SharedArray that has the word
    cdef _SyncHandle handle  # of the memory
    cdef rip_sync *s  # that of the handle
    cdef rip_lock_word *word
    cdef object __weakref__

    @cython.final
    cdef int make(self, uint64_t size) except -1:
        """Take new memory. size: bytes of it beside a word."""
        cdef Block block
        if self.s is not NULL:
            raise RuntimeError(f"this {type(self).__name__} has been made already")
        block = new_block(size)
        self.bind(block, block.heap, block_word(block))
        return 0

    @cython.final
    cdef int bind(self, object memory, _SyncHandle handle, rip_lock_word *word) except -1:
        self.memory = memory
        self.handle = handle
        self.s = handle.s
        self.word = word
        return 0

    @cython.final
    cdef inline int enter(self) except -1:
        """Check that the memory is open. In a forked child, make its handle a holder of its own."""
        if cython.unlikely(self.s is NULL or self.s.handle.state != RIP_OPEN):
            if self.s is NULL:
                raise errors.Closed(f"this {type(self).__name__} was never made")
            with cython.critical_section(self.handle):
                self.handle.enter()
        return 0

    @cython.final
    cdef int fail(self, int rc) except -1:
        park_at_exit(rc)
        if self.s is NULL:
            raise errors.Closed(f"this {type(self).__name__} was never made")
        self.handle.fail(rc)

    def __reduce__(self):
        """Pass it to another process, through `multiprocessing`."""
        self.enter()
        return _word_in, (type(self), self.memory)


def _word_in(type cls, Block block not None):
    cdef _Word word = cls.__new__(cls)
    word.bind(block, block.heap, block_word(block))
    return word


cdef uint64_t deadline_if(object block, object timeout) except? 0:
    """Return the deadline for the arguments of the method `acquire` of multiprocessing."""
    cdef double seconds
    if not block:
        return 0
    if timeout is None:
        return RIP_FOREVER
    seconds = number_of_seconds(timeout, "timeout", "")
    return deadline_of(seconds) if seconds > 0 else 0


cdef class _WordLock(_Word):
    """What a lock and a recursive lock have in common."""

    def locked(self):
        """Return whether some thread of some process has the lock. A process that was killed with it counts."""
        return self.s is not NULL and rip_word_is_held(self.word)

    @property
    def owner_died(self):
        """Whether this thread has the lock, and the owner before it was killed with it.

        What the lock guards can be inconsistent then. If this process is killed too before it releases the lock, the
        next owner sees the same.
        """
        return self.is_mine() and rip_word_owner_died(self.word)

    @cython.final
    cdef bint is_mine(self) noexcept:
        return self.s is not NULL and rip_word_is_mine(self.s, self.word)

    def _is_mine(self):
        """Return whether this thread has the lock."""
        return self.is_mine()

    def _count(self):
        """Return how often a thread of this process has acquired the lock."""
        return 0 if self.s is NULL else rip_word_count(self.s, self.word)


cdef class WordLock(_WordLock):
    """A lock of 8 bytes in shared memory, with the methods of `multiprocessing.Lock`.

    Every thread of every process can release it. If the process that acquired it is killed, the next owner gets it
    within a tenth of a second, and can see that.

    Raises
    ------
    SystemRefused
        There is no memory, or no file descriptor for a new piece of shared memory.
    """

    def __init__(self):
        self.make(0)

    @cython.final
    cdef inline int take(self, uint64_t deadline) except -1:
        """Acquire the lock. Return 1, or 0 at the deadline."""
        cdef int rc
        self.enter()
        rc = rip_word_enter(self.s, self.word, RIP_NOT_RECURSIVE, deadline)
        if cython.unlikely(rc < 0):
            return 0 if rc == -ETIMEDOUT else self.fail(rc)
        return 1

    @cython.final
    cdef inline int give(self) except -1:
        cdef int rc
        self.enter()
        rc = rip_word_release_any(self.s, self.word)
        if cython.unlikely(rc != 0):
            if rc == -EPERM:
                raise ValueError("this lock cannot be released: nobody has acquired it")
            self.fail(rc)
        return 0

    def acquire(self, block=True, timeout=None):
        """Acquire the lock, as `multiprocessing.Lock.acquire` does.

        Parameters
        ----------
        block
            False: do not wait.
        timeout
            Seconds to wait; None waits for ever; zero and less: do not wait.

        Returns
        -------
        bool
            False if the lock was not free until the end.
        """
        return self.take(RIP_FOREVER if block is True and timeout is None else deadline_if(block, timeout)) == 1

    def release(self):
        """Release the lock, whoever has acquired it.

        Raises
        ------
        ValueError
            Nobody has acquired it.
        """
        self.give()

    def __enter__(self):
        self.take(RIP_FOREVER)
        return True

    def __exit__(self, kind, error, trace):
        self.give()


cdef class WordSemaphore(_Word):
    """A semaphore of 8 bytes in shared memory, with the methods of `multiprocessing.Semaphore`.

    Nobody owns its units: those that a killed process has acquired are lost. See `Semaphore` for those that are not.

    Parameters
    ----------
    value
        The number of units.
    most
        `release` raises ValueError if there are so many units already.

    Raises
    ------
    ValueError
        value is negative or larger than most, or most is larger than 2**31 - 1.
    SystemRefused
        There is no memory, or no file descriptor for a new piece of shared memory.
    """

    cdef readonly uint32_t most

    def __init__(self, value=1, most=RIP_MAX_UNITS):
        if not 0 <= value <= most <= RIP_MAX_UNITS:
            raise ValueError(f"the value must be from 0 to {min(most, RIP_MAX_UNITS)}, not {value!r}")
        self.make(0)
        self.most = most
        rip_count_start(self.word, value)

    @cython.final
    cdef int take(self, uint64_t deadline) except -1:
        """Acquire a unit. Return 1, or 0 at the deadline."""
        cdef int rc
        self.enter()
        rc = rip_count_acquire(self.s, self.word, deadline)
        if cython.unlikely(rc < 0):
            return 0 if rc == -ETIMEDOUT else self.fail(rc)
        return 1

    @cython.final
    cdef int give(self) except -1:
        cdef int rc
        self.enter()
        rc = rip_count_release(self.s, self.word, self.most)
        if cython.unlikely(rc != 0):
            if rc == -EOVERFLOW:
                raise ValueError(f"this semaphore cannot be released: it has {self.most} units already, the maximum")
            self.fail(rc)
        return 0

    def acquire(self, block=True, timeout=None):
        """Acquire a unit, as `multiprocessing.Semaphore.acquire` does; see `WordLock.acquire`."""
        return self.take(RIP_FOREVER if block is True and timeout is None else deadline_if(block, timeout)) == 1

    def release(self):
        """Release a unit.

        Raises
        ------
        ValueError
            There are as many units as there can be.
        """
        self.give()

    def __enter__(self):
        self.take(RIP_FOREVER)
        return True

    def __exit__(self, kind, error, trace):
        self.give()

    def get_value(self):
        """Return the number of units."""
        self.enter()
        return rip_count_units(self.word)

    def __reduce__(self):
        """Pass it to another process, through `multiprocessing`."""
        self.enter()
        return _semaphore_in, (type(self), self.memory, self.most)


def _semaphore_in(type cls, memory, most):
    cdef WordSemaphore semaphore = _word_in(cls, memory)
    semaphore.most = most
    return semaphore


cdef class WordEvent(_Word):
    """An event of 8 bytes in shared memory, with the methods of `multiprocessing.Event`. It is clear at first.

    Raises
    ------
    SystemRefused
        There is no memory, or no file descriptor for a new piece of shared memory.
    """

    def __init__(self):
        self.make(0)

    @cython.final
    cdef inline int checked(self, int rc) except -1:
        return self.fail(rc) if cython.unlikely(rc != 0) else 0

    def set(self):
        """Set the event. This ends every wait that is in progress, even if `clear` follows at once."""
        self.enter()
        self.checked(rip_flag_set(self.s, self.word))

    def clear(self):
        """Clear the event."""
        self.enter()
        self.checked(rip_flag_clear(self.s, self.word))

    def is_set(self):
        """Return whether the event is set."""
        self.enter()
        return rip_flag_is_set(self.word) == 1

    def wait(self, timeout=None):
        """Wait until the event is set.

        Parameters
        ----------
        timeout
            Seconds; None waits for ever; zero and less: do not wait.

        Returns
        -------
        bool
            False if it was not set within the timeout.
        """
        cdef uint64_t deadline = deadline_if(True, timeout)
        cdef int rc
        self.enter()
        rc = rip_flag_wait(self.s, self.word, rip_flag_turn(self.word), deadline)
        if rc == -ETIMEDOUT:
            return False
        self.checked(rc)
        return True


cdef class WordCondition(_Word):
    """The threads that wait for a condition: 16 bytes in shared memory. A lock of the caller guards them.

    A thread arrives with the lock, releases it, sleeps, acquires it, and collects its notification or leaves.
    """

    def __init__(self):
        self.make(16)

    @cython.final
    cdef rip_condition *at(self) except NULL:
        self.enter()
        return <rip_condition *>(<Block>self.memory).at

    def arrive(self):
        """Count this thread as one that waits, and return the present turn."""
        return rip_condition_arrive(self.at())

    def turn(self):
        """Return the present turn. Each notification begins a new one."""
        return rip_condition_turn(self.at())

    def sleep(self, uint64_t turn, timeout=None):
        """Sleep until this turn is over, without the lock. Return False if it was not within the timeout, seconds."""
        cdef rip_condition *condition = self.at()
        cdef int rc = rip_flag_wait(self.s, rip_condition_word(condition), turn, deadline_if(True, timeout))
        if rc == -ETIMEDOUT:
            return False
        if rc != 0:
            self.fail(rc)
        return True

    def collect(self, uint64_t arrived):
        """Return whether this thread, which arrived in this turn, is notified; then it does not wait any more."""
        return rip_condition_collect(self.at(), arrived) == 1

    def leave(self):
        """Stop to wait without a notification."""
        rip_condition_leave(self.at())

    def notify(self, n):
        """Notify at most n of the threads that wait."""
        if n > 0:
            rip_condition_notify(self.at(), <uint32_t>min(n, RIP_MAX_UNITS))

    def counts(self):
        """Return how many threads wait that are not notified, and how many are notified and do not know it yet."""
        cdef rip_condition *condition = self.at()
        return rip_condition_waiting(condition), rip_condition_notified(condition)


cdef object exit_word_lock(WordLock lock, Arguments arguments, Py_ssize_t count, PyObject *names):
    """`WordLock.__exit__`; the three arguments of a with statement are not parsed."""
    if cython.unlikely(count != 3 or names is not NULL):
        return parse_and_exit_word_lock(lock, arguments, count, names)
    lock.give()


cdef Method parse_and_exit_word_lock = replace_method(<PyTypeObject *>WordLock, "__exit__", <Method>exit_word_lock)


set_signature(WordLock, lambda lock: None)
set_signature(WordSemaphore, lambda semaphore, value=1, most=2**31 - 1: None)
set_signature(WordEvent, lambda event: None)
set_signature(WordCondition, lambda condition: None)
