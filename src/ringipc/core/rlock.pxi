# Recursive locks: words in shared memory, without a file descriptor of their own.

cdef class RLock:
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

    cdef object memory  # the Block or SharedArray that has the word
    cdef _SyncHandle handle  # of the memory
    cdef rip_sync *s  # that of the handle
    cdef rip_lock_word *word
    cdef object __weakref__

    def __init__(self):
        cdef Block block
        if self.s is not NULL:
            raise RuntimeError("this lock has been made already")
        block = new_block(0)
        self.bind(block, block.heap, block_word(block))

    @cython.final
    cdef int bind(self, object memory, _SyncHandle handle, rip_lock_word *word) except -1:
        self.memory = memory
        self.handle = handle
        self.s = handle.s
        self.word = word
        return 0

    @cython.final
    cdef inline int take(self, uint64_t deadline) except -1:
        """Acquire the lock. Return 1, or 0 at the deadline."""
        cdef int rc = -ESHUTDOWN
        if cython.likely(self.s is not NULL and self.s.handle.state == RIP_OPEN):
            rc = rip_word_enter(self.s, self.word, deadline)
            if cython.likely(rc == 0):
                return 1
        return self.take_far(rc, deadline)

    @cython.final
    cdef int take_far(self, int rc, uint64_t deadline) except -1:
        if self.s is not NULL and self.s.handle.state != RIP_OPEN:
            self.enter_handle()
            rc = rip_word_enter(self.s, self.word, deadline)
        if rc == 1 and self.word == rip_memory_lock(self.s):
            rc = self.mend()
        if rc == -ETIMEDOUT:
            return 0
        if rc < 0:
            self.fail(rc)
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
    cdef int enter_handle(self) except -1:
        """Check that the memory is open. In a forked child, make its handle a holder of its own."""
        with cython.critical_section(self.handle):
            return self.handle.enter()

    @cython.final
    cdef inline int give(self) except -1:
        cdef int rc = -ESHUTDOWN if self.s is NULL else rip_word_release(self.s, self.word)
        if cython.unlikely(rc != 0):
            self.fail(rc)
        return 0

    @cython.final
    cdef int fail(self, int rc) except -1:
        park_at_exit(rc)
        if rc == -EPERM or rc == -EAGAIN:  # -EAGAIN: a forked child that has not used the lock yet
            raise RuntimeError("this lock cannot be released: this thread has not acquired it")
        if rc == -EOVERFLOW:
            raise OverflowError("this thread has acquired the lock 4095 times without releasing it, the maximum")
        if self.s is NULL:
            raise errors.Closed("this lock was never made")
        self.handle.fail(rc)

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
        cdef uint64_t deadline = RIP_FOREVER
        cdef double seconds
        if not block:
            deadline = 0
        elif timeout is not None:
            seconds = number_of_seconds(timeout, "timeout", "")
            deadline = deadline_of(seconds) if seconds > 0 else 0
        return self.take(deadline) == 1

    def release(self):
        """Release the lock; if it was acquired more than once, once.

        Raises
        ------
        RuntimeError
            This thread has not acquired the lock.
        """
        self.give()

    def __enter__(self):
        self.take(RIP_FOREVER)
        return True

    def __exit__(self, kind, error, trace):
        self.give()

    def locked(self):
        """Return whether some thread of some process has the lock. A process that was killed with it counts."""
        return self.s is not NULL and rip_word_is_held(self.word)

    @property
    def owner_died(self):
        """Whether this thread has the lock, and the owner before it was killed with it.

        What the lock guards can be inconsistent then. If this process is killed too before it releases the lock, the
        next owner sees the same.
        """
        return self.s is not NULL and rip_word_is_mine(self.s, self.word) and rip_word_owner_died(self.word)

    def __reduce__(self):
        """Pass the lock to another process, through `multiprocessing`."""
        if self.s is NULL:
            raise errors.Closed("this lock was never made")
        return _lock_of, (self.memory,)

    def __repr__(self):
        return f"<RLock, {'held' if self.locked() else 'free'}>"


cdef RLock lock_in(Block block):
    """Return the lock of a block."""
    cdef RLock lock = RLock.__new__(RLock)
    lock.bind(block, block.heap, block_word(block))
    return lock


def _lock_of(memory):
    if isinstance(memory, SharedArray):
        return memory.lock
    return lock_in(memory)


set_signature(RLock, lambda lock: None)


cdef object exit_rlock(RLock lock, Arguments arguments, Py_ssize_t count, PyObject *names):
    """`RLock.__exit__`; the three arguments of a with statement are not parsed."""
    if cython.unlikely(count != 3 or names is not NULL):
        return parse_and_exit_rlock(lock, arguments, count, names)
    lock.give()


cdef Method parse_and_exit_rlock = replace_method(<PyTypeObject *>RLock, "__exit__", <Method>exit_rlock)
