# Values and arrays with the interface of multiprocessing.sharedctypes, in blocks of a heap.

cdef dict typecodes = None  # from each typecode to its type of ctypes; filled by the first call, as ctypes is large
cdef dict number_codes = {  # from the typecode of a type of ctypes to the kind of a dtype
    "b": "i", "B": "u", "h": "i", "H": "u", "i": "i", "I": "u", "l": "i", "L": "u", "q": "i", "Q": "u", "f": "f",
    "d": "f",
}
cdef object unguarded = object()  # only this module has it, to make an object of `_Guard`
cdef object structures = WeakKeyDictionary()  # from a structure of ctypes to the class of its values


def ctype_of(typecode_or_type):
    """Return a type of ctypes."""
    global typecodes
    if typecodes is None:
        import ctypes
        typecodes = {
            "c": ctypes.c_char, "u": ctypes.c_wchar, "b": ctypes.c_byte, "B": ctypes.c_ubyte, "h": ctypes.c_short,
            "H": ctypes.c_ushort, "i": ctypes.c_int, "I": ctypes.c_uint, "l": ctypes.c_long, "L": ctypes.c_ulong,
            "q": ctypes.c_longlong, "Q": ctypes.c_ulonglong, "f": ctypes.c_float, "d": ctypes.c_double,
        }
    try:
        return typecodes.get(typecode_or_type, typecode_or_type)
    except TypeError:  # not hashable
        return typecode_or_type


def raw_object(type_, length):
    """Return a new object of ctypes in shared memory, all zero. length: of an array of such objects; None: one."""
    import ctypes
    from multiprocessing.sharedctypes import rebuild_ctype
    size = ctypes.sizeof(type_) * (1 if length is None else length)
    if size > RIP_MAX_MEMORY - LAST_HEAP:
        raise ValueError(f"an array of {size} bytes is longer than the maximum of {RIP_MAX_MEMORY - LAST_HEAP}")
    return rebuild_ctype(type_, new_block(max(size, 1)), length)


def synchronized(obj, lock):
    """Return what guards an object of `raw_object` with a lock. lock None: with that of its block."""
    if isinstance(obj, imported["ctypes"].Array):
        return open_guard(obj._type_, obj._wrapper, obj._length_, lock)
    return open_guard(type(obj), obj._wrapper, None, lock)


def _open_guard(type_, block, length, lock):
    return open_guard(type_, block, length, lock)


cdef object open_guard(type_, Block block, length, lock):
    import ctypes
    cdef _Guard guard
    if isinstance(lock, RLock) and (<RLock>lock).s is NULL:
        raise errors.Closed("this lock was never made")
    if length is not None:
        cls = SynchronizedString if type_ is ctypes.c_char else SynchronizedArray
    elif issubclass(type_, ctypes._SimpleCData):
        cls = Synchronized
    else:
        cls = structures.get(type_)
        if cls is None:
            if not issubclass(type_, (ctypes.Structure, ctypes.Union)):
                raise TypeError(f"a value is a number, a character, a structure or a union, not {type_!r}")
            fields = {name: _field(name) for name, *_ in getattr(type_, "_fields_", ())}
            cls = structures[type_] = type(f"Synchronized{type_.__name__}", (_Guard,), fields)
    guard = cls.__new__(cls, unguarded)
    guard.type_ = type_
    guard.block = block
    guard.length = length
    guard.n = 1 if length is None else length
    guard.own = lock_in(block) if lock is None else lock if isinstance(lock, RLock) else None
    guard.lock = guard.own if guard.own is not None else lock
    guard.foreign = lock is not None
    code = getattr(type_, "_type_", None)
    kind = number_codes.get(code, "") if isinstance(code, str) and not is_swapped(type_) else ""
    guard.number = number_of(kind, ctypes.sizeof(type_))
    if <uint64_t>(guard.n * ctypes.sizeof(type_)) > block.size:
        raise errors.Corrupt("this block of shared memory is too small for its type")
    return guard


cdef bint is_swapped(type_) except -1:
    """Return whether a simple type of ctypes has the other byte order."""
    from sys import byteorder
    native = getattr(type_, "__ctype_le__" if byteorder == "little" else "__ctype_be__", type_)
    return native is not type_


def _field(str name):
    def get(self):
        with self:
            return getattr(self.get_obj(), name)

    def set(self, value):
        with self:
            setattr(self.get_obj(), name, value)

    return property(get, set)


cdef class _Guard:
    """A ctypes object in shared memory and its lock, like `multiprocessing.sharedctypes.SynchronizedBase`."""

    cdef object type_  # of ctypes: of the value, or of an element
    cdef Block block
    cdef object length  # of an array, or None
    cdef Py_ssize_t n
    cdef Number number  # size 0: only ctypes knows how to read it
    cdef object lock
    cdef RLock own  # the lock, if it is an RLock of ringipc
    cdef bint foreign  # the lock is not that of the block
    cdef object obj  # made when it is first asked for
    cdef object dtype  # the same
    cdef object __weakref__

    def __cinit__(self, made_by=None):
        if made_by is not unguarded:
            raise TypeError("use Value() or Array()")

    @cython.final
    cdef inline bint enter(self) except -1:
        """Acquire the lock, unless this thread has it. Return whether to leave afterwards."""
        if cython.likely(self.own is not None):
            if rip_word_is_mine(self.own.s, self.own.word):
                return False
            self.own.take(RIP_FOREVER)
        else:
            self.lock.acquire()
        return True

    @cython.final
    cdef inline int leave(self) except -1:
        if cython.likely(self.own is not None):
            return self.own.give()
        self.lock.release()
        return 0

    @cython.final
    cdef int check_number(self) except -1:
        if self.number.size == 0:
            raise TypeError(f"atomic operations are for integers and for floats of 4 or 8 bytes, not {self.type_!r}")
        return 0

    def acquire(self, *args, **kwargs):
        """Acquire the lock, with the arguments and the result of its own method: see `RLock.acquire`."""
        return self.lock.acquire(*args, **kwargs)

    def release(self):
        """Release the lock, as its own method does: see `RLock.release`."""
        self.lock.release()

    def __enter__(self):
        if self.own is not None:
            return self.own.take(RIP_FOREVER) == 1
        return self.lock.__enter__()

    def __exit__(self, kind, error, trace):
        if self.own is not None:
            self.own.give()
            return None
        return self.lock.__exit__(kind, error, trace)

    def get_lock(self):
        """Return the lock."""
        return self.lock

    def get_obj(self):
        """Return the object of ctypes, which is in the shared memory too. Using it takes no lock."""
        if self.obj is None:
            from multiprocessing.sharedctypes import rebuild_ctype
            self.obj = rebuild_ctype(self.type_, self.block, self.length)
        return self.obj

    def __reduce__(self):
        """Pass it to another process, through `multiprocessing`."""
        return _open_guard, (self.type_, self.block, self.length, self.lock if self.foreign else None)

    def __repr__(self):
        return f"<{type(self).__name__} wrapper for {self.get_obj()}>"


cdef class Synchronized(_Guard):
    """A number, character or flag in shared memory, with a lock. Made by `Value`."""

    @property
    def value(self):
        """The value. Reading and setting it takes the lock."""
        cdef bint leaves = self.enter()
        try:
            if cython.likely(self.number.size != 0):
                return value_at(&self.number, self.block.at)
            return self.get_obj().value
        finally:
            if leaves:
                self.leave()

    @value.setter
    def value(self, value):
        cdef uint64_t bits
        cdef bint leaves
        if cython.likely(self.number.size != 0):
            bits = bits_of(&self.number, value)
            leaves = self.enter()
            rip_number_store(self.block.at, self.number.kind, bits)
            if leaves:
                self.leave()
            return
        leaves = self.enter()
        try:
            self.get_obj().value = value
        finally:
            if leaves:
                self.leave()

    def add(self, value, /):
        """Add to the number, atomically and without the lock. Integers wrap around.

        Raises
        ------
        TypeError
            This is neither an integer nor a float of 4 or 8 bytes; or the argument is not a number.
        """
        self.check_number()
        rip_number_add(self.block.at, self.number.kind, bits_of(&self.number, value))

    def fetch_add(self, value, /):
        """Add to the number, and return what it was before. Otherwise as `add`."""
        self.check_number()
        return value_of(
            &self.number, rip_number_add(self.block.at, self.number.kind, bits_of(&self.number, value)))

    def exchange(self, value, /):
        """Set the number, atomically and without the lock, and return what it was before.

        Raises
        ------
        OverflowError
            The number cannot have this value. (Setting `value` takes its low bits, as in `multiprocessing`.)
        TypeError
            As for `add`.
        """
        self.check_number()
        return value_of(
            &self.number, rip_number_exchange(self.block.at, self.number.kind, bits_that_fit(&self.number, value)))

    def compare_exchange(self, expected, value, /):
        """Set the number, atomically and without the lock, if it is what is expected. Return whether it was.

        Numbers are compared by their bits.

        Raises
        ------
        OverflowError, TypeError
            As for `exchange`.
        """
        self.check_number()
        cdef uint64_t wanted = bits_that_fit(&self.number, expected)
        return rip_number_compare_exchange(
            self.block.at, self.number.kind, &wanted, bits_that_fit(&self.number, value)) == 1


cdef class SynchronizedArray(_Guard):
    """An array of ctypes in shared memory, with a lock. Made by `Array`."""

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        cdef Py_ssize_t at, start, stop, step, count, i
        cdef bint leaves = self.enter()
        cdef bint is_slice = isinstance(index, slice)
        cdef list items
        try:
            if cython.unlikely(self.number.size == 0):
                return self.get_obj()[index]
            if not is_slice:
                at = PyNumber_AsSsize_t(index, NULL)
                at = at + self.n if at < 0 else at
                if cython.unlikely(not 0 <= at < self.n):
                    raise IndexError("invalid index")
                return value_at(&self.number, self.block.at + at * self.number.size)
            start, stop, step = index.indices(self.n)
            count = len(range(start, stop, step))
            items = PyList_New(count)
            for i in range(count):
                item = value_at(&self.number, self.block.at + (start + i * step) * self.number.size)
                Py_INCREF(item)
                PyList_SET_ITEM(items, i, item)
            return items
        finally:
            if leaves:
                self.leave()

    def __setitem__(self, index, value):
        cdef Py_ssize_t at
        cdef uint64_t bits
        cdef bint leaves
        if cython.likely(self.number.size != 0):
            if isinstance(index, slice):
                self.set_slice(index, value)
                return
            bits = bits_of(&self.number, value)
            at = PyNumber_AsSsize_t(index, NULL)
            at = at + self.n if at < 0 else at
            if cython.unlikely(not 0 <= at < self.n):
                raise IndexError("invalid index")
            leaves = self.enter()
            rip_number_store(self.block.at + at * self.number.size, self.number.kind, bits)
            if leaves:
                self.leave()
            return
        leaves = self.enter()
        try:
            self.get_obj()[index] = value
        finally:
            if leaves:
                self.leave()

    @cython.final
    cdef int set_slice(self, slice index, object values) except -1:
        cdef Py_ssize_t start, stop, step, i, count
        cdef uint64_t *bits
        cdef bytes converted
        cdef bint leaves
        if not PySequence_Check(values):
            raise TypeError(f"a slice is set to a sequence, not to {values!r}")
        start, stop, step = index.indices(self.n)
        count = len(range(start, stop, step))
        if count != len(values):
            raise ValueError("Can only assign sequence of same size")
        if isinstance(values, np.ndarray) and values.dtype.kind in ("biuf" if self.number.is_float else "biu"):
            leaves = self.enter()
            try:
                self.array[index] = values
            finally:
                if leaves:
                    self.leave()
            return 0
        # All are converted first, without the lock: that runs code of the elements, and can fail. The code can change
        # the length of the sequence too.
        converted = PyBytes_FromStringAndSize(NULL, count * <Py_ssize_t>sizeof(uint64_t))
        bits = <uint64_t *>PyBytes_AS_STRING(converted)
        for i in range(count):
            bits[i] = bits_of(&self.number, PySequence_GetItem(values, i))
        leaves = self.enter()
        for i in range(count):
            rip_number_store(self.block.at + (start + i * step) * self.number.size, self.number.kind, bits[i])
        if leaves:
            self.leave()
        return 0

    @property
    def array(self):
        """A NumPy array over the same memory. Using it takes no lock."""
        cdef cnp.npy_intp n = self.n
        cdef cnp.ndarray array
        if self.dtype is None:
            try:
                self.dtype = np.dtype(self.type_)
            except TypeError:
                raise TypeError(f"NumPy has no dtype for {self.type_!r}; use indices, slices or get_obj()") from None
        array = array_at(self.block.at, own_copy(<cnp.dtype>self.dtype), 1, &n, cnp.NPY_ARRAY_WRITEABLE)
        Py_INCREF(self.block)  # the call below steals a reference
        PyArray_SetBaseObject(array, self.block)
        return array


cdef class SynchronizedString(SynchronizedArray):
    """An array of characters in shared memory, with a lock. Made by `Array` with typecode "c"."""

    @property
    def value(self):
        """The bytes before the first zero byte. Reading and setting it takes the lock."""
        with self:
            return self.get_obj().value

    @value.setter
    def value(self, value):
        with self:
            self.get_obj().value = value

    @property
    def raw(self):
        """All bytes. Reading and setting it takes the lock."""
        with self:
            return self.get_obj().raw

    @raw.setter
    def raw(self, value):
        with self:
            self.get_obj().raw = value


set_signature(Synchronized, lambda synchronized: None)
set_signature(SynchronizedArray, lambda synchronized: None)
set_signature(SynchronizedString, lambda synchronized: None)
