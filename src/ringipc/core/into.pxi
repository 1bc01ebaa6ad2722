# Getting messages into memory of the caller.

cdef object get_into(Consumer consumer, object target, object timeout, object type, object where):
    """`Consumer.get_into`."""
    cdef Py_buffer buffer
    if isinstance(target, cnp.ndarray):
        if not target.flags.writeable:
            raise ValueError("get_into() needs a writable array, and this one is read-only")
        fill(consumer, consumer.message(timeout, type=type, where=where), target, NULL)
        return target
    try:
        PyObject_GetBuffer(target, &buffer, PyBUF_WRITABLE)
    except (TypeError, BufferError) as error:
        raise TypeError(
            "get_into() needs a writable array, or a writable, contiguous buffer such as a bytearray, not "
            f"{target.__class__.__name__}: {error}"
        ) from None
    try:
        return fill(consumer, consumer.message(timeout, type=type, where=where), None, &buffer)
    finally:
        PyBuffer_Release(&buffer)


cdef object fill(Consumer consumer, Message message, cnp.ndarray array, Py_buffer *buffer):
    """Copy a payload and release the message, or requeue it if it does not fit. Return its length in bytes."""
    cdef Hold hold = message.hold
    try:
        if message.kind == RIP_ARRAY and array is not None:
            copy_array(consumer, hold, array)
        elif message.kind == RIP_BYTES and array is None and hold.length <= <uint64_t>buffer.len:
            copy_memory(<unsigned char *>buffer.buf, hold.data, hold.length)
        else:
            fits = message.kind == RIP_BYTES and array is None
            raise (ValueError if fits else TypeError)(misfit(consumer, text_of(consumer, message), array, buffer))
    except (errors.Corrupt, errors.UnsafeMessage):
        message.release()  # skip it, as `get` does
        raise
    except BaseException:
        message.finish(REQUEUE)
        raise
    with cython.critical_section(consumer):
        pass_on(consumer, hold)
    message.release()  # its memory, in a group without claims
    return hold.length


cdef int copy_array(Consumer consumer, Hold hold, cnp.ndarray array) except -1:
    """Copy an array message into an array of the same shape and dtype."""
    with cython.critical_section(consumer):
        view = view_array(consumer, hold)
    if (<object>view).dtype != (<object>array).dtype or (<object>view).shape != (<object>array).shape:
        raise ValueError(misfit(consumer, array_text(view), array, NULL))
    PyArray_CopyInto(array, view)  # without the GIL, if there is much to copy
    return 0


cdef str misfit(Consumer consumer, str content, cnp.ndarray array, Py_buffer *buffer):
    """Return the text of the error for a message that does not fit into an array, or into a buffer."""
    target = array_text(array) if array is not None else f"a buffer of {buffer.len} bytes"
    return (
        f"channel {consumer.channel!r}: the message is {content}, which does not fit into {target}; "
        "it was not taken, and can be got again"
    )


cdef str array_text(object array):
    return f"an array of shape {array.shape} and dtype {array.dtype}"


cdef str text_of(Consumer consumer, Message message):
    """Return what a message is, for errors."""
    if message.kind == RIP_ARRAY:
        with cython.critical_section(consumer):
            return array_text(view_array(consumer, message.hold))
    return content_of(message.kind, message.hold.length)


cdef str content_of(uint8_t kind, uint64_t length):
    """Return what a message other than an array is, for errors."""
    if kind == RIP_BYTES:
        return f"{length} bytes"
    return "a record" if kind == RIP_RECORD else "a pickled object"
