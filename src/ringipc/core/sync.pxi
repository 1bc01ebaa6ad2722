# What semaphores, locks, events, barriers, latest values and arrays have in common: opening, closing, passing on.

# A new kind is a file with a class, an entry here and in csrc/sync/objects.c, and a line in ringipc/__init__.py.
KINDS = {
    "semaphore": RIP_SEMAPHORE, "lock": RIP_LOCK, "event": RIP_EVENT, "barrier": RIP_BARRIER,
    "latest value": RIP_LATEST, "shared array": RIP_MEMORY,
}


def inspect_sync(bytes name):
    """Inspect an object by name. Return 0 or a negative errno, its kind, and the pid of each member."""
    cdef rip_sync_info_at info
    cdef const char *text = name
    cdef int rc
    info.kind = info.handles = 0
    with nogil:
        rc = rip_sync_info(text, &info)
    return rc, info.kind, [pid for pid in info.pid[:info.handles]]


def clean_sync(bytes name):
    """Remove an object without handles. Return 1 if it is removed, 0 if it has handles, or a negative errno."""
    cdef const char *text = name
    cdef int rc
    with nogil:
        rc = rip_sync_clean_up(text)
    return rc


cdef class _SyncHandle:
    """A handle of a semaphore, lock, event, barrier, latest value or shared array.

    Attributes
    ----------
    name : str or None
        None: it is anonymous.
    """

    cdef rip_sync *s
    cdef str _name
    cdef str _path  # of a shared array in a file
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
        """Open or create an object. fd: of an anonymous object from another process. passed: the object must exist."""
        cdef rip_sync_kind kind = KINDS[what]
        if isinstance(name, int):
            argument = {"semaphore": "value", "barrier": "parties"}.get(what)
            advice = f"; write {type(self).__name__}({argument}={name!r}) for an anonymous one" if argument else ""
            raise TypeError(f"the {what}'s name must be a str, not {name!r}{advice}")
        cdef bytes core_name
        cdef const char *text = NULL
        cdef int64_t begins = RIP_MUST_BE if passed else -1 if value is None else value
        cdef rip_wait mode
        cdef rip_sync *s = NULL
        cdef int rc
        if self.s is not NULL:
            raise RuntimeError("this handle is open already")
        if name is not None:
            core_name = _names.checked_name(name, what)
            text = core_name
        mode = <rip_wait><int>_arguments.checked_choice("wait", wait, _facts.WAITS)
        if name is not None:
            _failures.check_base()
        self.what = what
        self._name = name
        self.options = (what, value, undo, wait)
        with nogil:
            rc = rip_sync_open(text, fd, kind, begins, undo, mode, &s)
        if rc < 0:
            _failures.fail_sync_open(rc, what, name, value, passed, last_shortage())
        self.own(s)
        _atexit.close_at_exit(self)
        return 0

    @cython.final
    cdef int open_memory(
        self, str what, object name, object path, int fd, int64_t size, bytes description, object wait
    ) except -1:
        """Open or create shared memory. fd: as for `open`. size: RIP_MUST_BE if it must exist. description: or None."""
        cdef bytes core_name, core_path
        cdef rip_memory_wish wish
        cdef const char *text = NULL
        cdef rip_wait mode
        cdef rip_sync *s = NULL
        cdef int rc
        if self.s is not NULL:
            raise RuntimeError("this handle is open already")
        if name is not None:
            core_name = _names.checked_name(name, what)
            text = core_name
            _failures.check_base()
        wish.path = wish.description = NULL
        wish.description_length = 0
        if path is not None:
            core_path = os.fsencode(path)
            if b"\0" in core_path:
                raise ValueError(f"the path of a {what} must not have a NUL character: {path!r}")
            wish.path = PyBytes_AS_STRING(core_path)
        if description is not None:
            wish.description = PyBytes_AS_STRING(description)
            wish.description_length = <uint32_t>PyBytes_GET_SIZE(description)
        mode = <rip_wait><int>_arguments.checked_choice("wait", wait, _facts.WAITS)
        self.what = what
        self._name = name
        self._path = path
        self.options = (what, None, False, wait)
        with nogil:
            rc = rip_memory_open(text, fd, size, &wish, mode, &s)
        if rc < 0:
            _failures.fail_memory_open(rc, what, name, path, size, last_shortage())
        self.own(s)
        return 0

    @cython.final
    cdef void own(self, rip_sync *s) noexcept:
        s.handle.give_up = RIP_TRY_ONLY  # from here on waits release the GIL
        self.s = s

    @cython.final
    cdef int fail(self, int rc, timeout=None) except -1:
        park_at_exit(rc)
        if self.s is NULL:
            raise errors.Closed(f"this {type(self).__name__} was never opened")
        _failures.fail_sync(rc, self.what, self._name, timeout, last_shortage(), self._path)

    @cython.final
    cdef int checked(self, int rc) except -1:
        if cython.unlikely(rc < 0):
            self.fail(rc)
        return rc

    @cython.final
    cdef inline int enter(self) except -1:
        """Check that the handle is open. In a forked child, make the handle a member of its own."""
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

        If a signal handler raises an exception during this call (Ctrl-C), all other calls raise `Closed`, but the units
        of the handle are not given back yet. Close it again; otherwise it is closed when the process exits.
        """
        self._end()

    @cython.critical_section
    def _end(self, *, bint exiting=False):
        if self.s is NULL:
            return
        self.checked(close_patiently(<locking>rip_sync_close, self.s, &self.s.handle, exiting))

    @property
    def name(self):
        """The name; None: it is anonymous."""
        return self._name

    @property
    def closed(self):
        """Whether this handle has been closed."""
        with cython.critical_section(self):
            return self.s is NULL or rip_handle_check(&self.s.handle) == -ESHUTDOWN

    def __reduce__(self):
        """Pass the object to another process: by name, or as a file descriptor through `multiprocessing`."""
        if self.name is not None:
            return _open_named, (type(self), self.name, *self.options)
        return _open_passed, (type(self), _passing.Passed(self._descriptor()), *self.options)

    @cython.critical_section
    def _descriptor(self):
        """Return a file descriptor to pass to another process. It is closed with the handle."""
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
    """Return a handle of an object that another process has passed."""
    cdef _SyncHandle handle = cls.__new__(cls)
    what, value, undo, wait = options
    handle.open(what, name, value, undo, wait, fd, True)
    return handle
