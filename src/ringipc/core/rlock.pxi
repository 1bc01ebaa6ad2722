# Recursive locks, which are words in shared memory; also those of shared arrays.

cdef class RLock(_WordLock):
    """A recursive lock of 8 bytes in shared memory, for thousands of small locks. It has no file descriptor of its own.

    It is passed to other processes as an argument, and inherited by forked ones. The lock belongs to the thread that
    acquires it. That thread can acquire it again, and has to release it as often. The lock of a `SharedArray` belongs
    to one handle of the array besides. If a process is killed with a lock, the next owner gets it within a tenth of a
    second, and can see that. `Value.get_lock` returns such a lock.

    Raises
    ------
    SystemRefused
        There is no memory, or no file descriptor for a new piece of shared memory.

    Examples
    --------
    >>> import ringipc
    >>> lock = ringipc.RLock()
    >>> with lock, lock:
    ...     lock.locked()
    True
    >>> lock.locked()
    False
    """

    def __init__(self):
        self.make(0)

    @cython.final
    cdef inline int take(self, uint64_t deadline) except -1:
        """Acquire the lock. Return 1, or 0 at the deadline."""
        cdef int rc = -ESHUTDOWN
        if cython.likely(self.s is not NULL and self.s.handle.state == RIP_OPEN):
            rc = rip_word_enter(self.s, self.word, RIP_RECURSIVE, deadline)
            if cython.likely(rc == 0):
                return 1
        return self.take_far(rc, deadline)

    @cython.final
    cdef int take_far(self, int rc, uint64_t deadline) except -1:
        if self.s is not NULL and self.s.handle.state != RIP_OPEN:
            self.enter()
            rc = rip_word_enter(self.s, self.word, RIP_RECURSIVE, deadline)
        if rc == 1 and self.word == rip_memory_lock(self.s):
            rc = self.mend()
        if rc == -ETIMEDOUT:
            return 0
        if rc < 0:
            self.refuse(rc)
        return 1

    @cython.final
    cdef int mend(self) noexcept:
        """Complete an update of the array whose process was killed. On an error the lock is released."""
        cdef int rc
        with nogil:
            rc = rip_memory_mend(self.s)
            if rc != 0:
                rip_word_pass_on(self.s, self.word)
        return rc

    @cython.final
    cdef inline int give(self) except -1:
        cdef int rc = -ESHUTDOWN if self.s is NULL else rip_word_release(self.s, self.word)
        if cython.unlikely(rc != 0):
            self.refuse(rc)
        return 0

    @cython.final
    cdef int refuse(self, int rc) except -1:
        park_at_exit(rc)
        if rc == -EPERM or rc == -EAGAIN:  # -EAGAIN: a forked child that has not used the lock yet
            raise errors.LockNotOwned("this lock cannot be released: this thread has not acquired it")
        if rc == -EOVERFLOW:
            raise OverflowError("this thread has acquired the lock 4095 times without releasing it, the maximum")
        self.fail(rc)

    def acquire(self, block=True, timeout=None):
        """Acquire the lock, as `multiprocessing.RLock.acquire` does.

        Parameters
        ----------
        block
            False: do not wait.
        timeout
            Seconds to wait; None waits for ever; zero and less: do not wait.

        Returns
        -------
        bool
            False if another thread had the lock until the end.

        Raises
        ------
        OverflowError
            This thread has acquired the lock 4095 times.
        Closed
            The array of this lock is closed, or another thread closes it during the wait.
        """
        return self.take(deadline_if(block, timeout)) == 1

    def release(self):
        """Release the lock; if it was acquired more than once, once.

        Raises
        ------
        LockNotOwned
            This thread has not acquired the lock: a RuntimeError as of threading, and an AssertionError as of
            multiprocessing.
        """
        self.give()

    def __enter__(self):
        self.take(RIP_FOREVER)
        return True

    def __exit__(self, kind, error, trace):
        self.give()

    def __reduce__(self):
        """Pass the lock to another process, through `multiprocessing`."""
        if self.s is NULL:
            raise errors.Closed("this lock was never made")
        return (_word_in, (type(self), self.memory)) if isinstance(self.memory, Block) else (_lock_of, (self.memory,))

    def __repr__(self):
        return f"<RLock, {'held' if self.locked() else 'free'}>"


cdef RLock lock_in(Block block):
    """Return the lock of a block."""
    cdef RLock lock = RLock.__new__(RLock)
    lock.bind(block, block.heap, block_word(block))
    return lock


def _lock_of(array):
    return array.lock


set_signature(RLock, lambda lock: None)


cdef object exit_rlock(RLock lock, Arguments arguments, Py_ssize_t count, PyObject *names):
    """`RLock.__exit__`; the three arguments of a with statement are not parsed."""
    if cython.unlikely(count != 3 or names is not NULL):
        return parse_and_exit_rlock(lock, arguments, count, names)
    lock.give()


cdef Method parse_and_exit_rlock = replace_method(<PyTypeObject *>RLock, "__exit__", <Method>exit_rlock)
