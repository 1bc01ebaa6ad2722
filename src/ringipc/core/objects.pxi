# Objects: the pickler of `codecs` is called directly, and what it has written is copied into the lane as it is.

cdef enum:
    KEPT_PICKLE = 1024  # a pickler is used again after a pickle of at most this size: its memory never shrinks

cdef object unpickle = loads


@cython.final
cdef class Pickler:
    """A pickler, and what it has made of an object: the chunks of the pickle, and the memory that is out of band."""

    cdef object dump
    cdef object clear_memo
    cdef list chunks
    cdef list blocks

    def __cinit__(self):
        self.dump, self.clear_memo, self.chunks, self.blocks = pickled.new_pickler()


cdef Pickler pickled_object(Producer producer, object value):
    """Pickle an object. No room is reserved yet: the pickling can run any code, which can put into this producer."""
    cdef Pickler pickler = producer.pickler
    producer.pickler = None  # that code, and other threads meanwhile, use other picklers
    if pickler is None:
        pickler = Pickler()
    try:
        pickler.dump(value)
    except MemoryError:
        raise
    except Exception as error:
        raise _failures.named(pickled.refusal(value, error), producer.channel) from error
    pickler.clear_memo()
    return pickler


cdef int write_object(Producer producer, object value, double seconds, uint32_t type) except -1:
    """Write an object. Return as `write_message`."""
    cdef Pickler pickler = pickled_object(producer, value)
    cdef uint64_t size = 0
    cdef Py_ssize_t i
    cdef int outcome
    stamp_encoded(producer)
    for i in range(PyList_GET_SIZE(pickler.chunks)):
        if not PyBytes_CheckExact(pickler.chunks[i]):
            pickler.chunks[i] = bytes(pickler.chunks[i])  # a large bytearray: others can change it during the wait
        size += <uint64_t>PyBytes_GET_SIZE(pickler.chunks[i])
    if pickler.blocks:
        kind, head, blocks = pickled.parts(b"".join(pickler.chunks), pickler.blocks)
        outcome = write_parts(producer, kind, head, blocks, seconds, type)
    else:
        outcome = write_chunks(producer, RIP_OBJECT, pickler.chunks, size, seconds, type)
    keep_pickler(producer, pickler, size)
    return outcome


cdef void keep_pickler(Producer producer, Pickler pickler, uint64_t size) noexcept:
    """Let a pickler that has made a pickle of this size be used again."""
    if size <= <uint64_t>KEPT_PICKLE:
        pickler.chunks.clear()
        pickler.blocks.clear()
        producer.pickler = pickler


cdef object encoded_object(Producer producer, object value):
    """Return an object as the parts of a message, without blocks."""
    cdef Pickler pickler = pickled_object(producer, value)
    cdef bytes data = b"".join(pickler.chunks)
    kind, head, blocks = parts = pickled.parts(data, pickler.blocks)
    if blocks:
        parts = Parts(kind, bytes(multipart.contents(parts)), ())
    keep_pickler(producer, pickler, <uint64_t>len(data))
    return parts


cdef object unpickled(Consumer consumer, Hold hold):
    """Return the object in a message that is a pickle and nothing else."""
    try:
        return unpickle(hold)
    except UnpicklingError as error:
        raise pickled.malformed(error) from error
