# A heap: small blocks of shared memory, thousands of them with a few file descriptors.

cdef enum:
    FIRST_HEAP = 65536  # bytes of the first heap of a process; each further one has twice as many, up to LAST_HEAP
    LAST_HEAP = 4194304
    ALIGNMENT = 16  # of blocks, bytes: enough for every type of C

cdef object known_heaps = WeakValueDictionary()  # from (device, inode) to each heap that this process has open
cdef object opening = new_rlock()  # held while a heap that was passed is looked up and opened
cdef Heap current_heap = None  # from which this process allocates
cdef uint64_t next_heap = FIRST_HEAP
cdef uint64_t forks = 0  # how often this process has forked, or its ancestors had


cdef class Heap(_SyncHandle):
    """Anonymous shared memory, from which the process that makes it allocates blocks. It ends with its last block.

    It is not closed at exit, because finalizers may still use values.

    Memory is used again if no other process can have the block: it was not passed on, and this process has not forked
    since. What was passed on is freed together with the heap.
    """

    cdef unsigned char *base
    cdef uint64_t size
    cdef uint64_t used  # bytes that were given to blocks
    cdef dict free  # from a size to the offsets of unused blocks

    def __reduce__(self):
        return _open_heap, (_passing.Passed(self._descriptor()),)


cdef Heap opened_heap(int fd, int64_t size):
    """Return a heap. fd: of a heap that another process has passed; -1: a new one of this size."""
    cdef Heap heap = Heap.__new__(Heap)
    heap.open_memory("shared memory", None, None, fd, size, None, "adaptive")
    heap.base = <unsigned char *>rip_memory_data(heap.s, &heap.size)
    heap.free = {}
    known_heaps[key_of(heap.s.handle.mapping.fd)] = heap
    return heap


cdef tuple key_of(int fd):
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _open_heap(passed):
    fd = passed.detach()
    try:
        with opening:  # two handles of a heap would be two holders of each lock in it, also in one thread
            heap = known_heaps.get(key_of(fd))
            return heap if heap is not None else opened_heap(fd, RIP_MUST_BE)
    finally:
        os.close(fd)


def _forked_in_parent():
    global forks
    forks += 1


def _forked_in_child():
    global forks, current_heap, opening
    forks += 1
    current_heap = None
    opening = new_rlock()  # another thread of the parent may have held it


os.register_at_fork(after_in_parent=_forked_in_parent, after_in_child=_forked_in_child)


@cython.no_gc
cdef class Block:
    """Some bytes of a heap, and a lock word behind them."""

    cdef Heap heap
    cdef unsigned char *at
    cdef uint64_t size  # without the lock word
    cdef uint64_t forks  # when it was made
    cdef bint passed  # another process may have it

    def __dealloc__(self):
        if self.heap is not None and self.heap is current_heap and not self.passed and self.forks == forks:
            whole = block_size(self.size)
            self.heap.free.setdefault(whole, []).append(self.at - self.heap.base)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.at, <Py_ssize_t>self.size, False, flags)

    def create_memoryview(self):
        """For `multiprocessing.sharedctypes.rebuild_ctype`."""
        return memoryview(self)

    def __reduce__(self):
        self.passed = True
        return _open_block, (self.heap, self.at - self.heap.base, self.size)


cdef inline uint64_t block_size(uint64_t size) noexcept:
    """Return how many bytes a block takes, with its lock word."""
    return ((size + 7) // 8 * 8 + 8 + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


cdef inline rip_lock_word *block_word(Block block) noexcept:
    return <rip_lock_word *>(block.at + (block.size + 7) // 8 * 8)


cdef Block block_at(Heap heap, uint64_t offset, uint64_t size, bint passed):
    cdef Block block = Block.__new__(Block)
    block.heap = heap
    block.at = heap.base + offset
    block.size = size
    block.forks = forks
    block.passed = passed
    return block


def _open_block(Heap heap not None, uint64_t offset, uint64_t size):
    if offset % ALIGNMENT or offset > heap.size or size > heap.size or block_size(size) > heap.size - offset:
        raise errors.Corrupt("this is not a block of its shared memory")
    return block_at(heap, offset, size, True)


def shared_block(size):
    """Return a block of this size, bytes, all zero."""
    return new_block(size)


cdef Block new_block(uint64_t size):
    """Return a block of this size, all zero."""
    global current_heap, next_heap
    cdef uint64_t whole = block_size(size), offset
    cdef Heap heap = current_heap
    cdef list unused
    if heap is not None:
        unused = heap.free.get(whole)
        if unused:
            offset = unused.pop()
            memset(heap.base + offset, 0, whole)
            return block_at(heap, offset, size, False)
    if heap is None or heap.size - heap.used < whole:
        heap = opened_heap(-1, <int64_t>max(whole, next_heap))
        next_heap = min(2 * next_heap, <uint64_t>LAST_HEAP)
        if heap.size > whole:
            current_heap = heap
    offset = heap.used
    heap.used += whole
    return block_at(heap, offset, size, False)
