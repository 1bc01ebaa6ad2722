# How a consumer makes a Python object of a message.

cdef extern from "Python.h":
    PyObject *PyErr_GetHandledException()  # sys.exception() would need more stack


cdef object handled():
    """Return the exception that is being handled, or None."""
    cdef PyObject *error = PyErr_GetHandledException()
    if error is NULL:
        return None
    result = <object>error
    Py_DECREF(result)
    return result


cdef int clear_frames(object error, object before) except -1:
    """Clear the frames of an exception and of those that led to it, up to before, which was being handled already."""
    seen = set()
    while error is not None and error is not before and id(error) not in seen:
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            try:
                trace.tb_frame.clear()
            except RuntimeError:  # the frame is still running
                pass
            trace = trace.tb_next
        error = error.__context__
    return 0


cdef int find_dtype(Consumer consumer, const rip_array *array) except -1:
    """Set consumer.dtype to the dtype that a header describes."""
    cdef bytes code
    if (consumer.dtype_code is None or array.dtype_length != <uint32_t>PyBytes_GET_SIZE(consumer.dtype_code)
            or memcmp(array.dtype, PyBytes_AS_STRING(consumer.dtype_code), array.dtype_length) != 0):
        consumer.array_length = 0
        code = PyBytes_FromStringAndSize(array.dtype, array.dtype_length)
        if code not in consumer.dtypes:
            dtype = consumer.decode_dtype(code)
            if len(consumer.dtypes) >= 1000:
                consumer.dtypes.clear()
            consumer.dtypes[code] = dtype
        consumer.array_length = 0  # again: another thread may have got an array during the decoding
        consumer.dtype = consumer.dtypes[code]
        consumer.dtype_code = code
    return 0


cdef int read_header(Consumer consumer, Hold hold) except -1:
    """Read the header of an array into consumer.array, and check it."""
    cdef rip_array array
    if has_last_header(consumer, hold.data, hold.length):
        return 0
    if rip_array_read(&array, hold.data, hold.length) != 0:
        consumer.fail(-EBADMSG, "the header of an array")
    find_dtype(consumer, &array)
    if rip_array_check(&array, (<cnp.dtype>consumer.dtype).itemsize, hold.length) != 0:
        consumer.fail(-EBADMSG, "the shape of an array")
    consumer.array = array
    consumer.array_length = 0
    consumer.copy_flags = 0
    if array.header == RIP_LINE:
        consumer.array_length = hold.length
        memcpy(consumer.head, hold.data, RIP_LINE)
    return 0


cdef inline bint has_last_header(Consumer consumer, const unsigned char *data, uint64_t length) noexcept:
    """Return whether the header of an array message is the one read last, for a message of the same length."""
    return (consumer.array_length and length == consumer.array_length
            and memcmp(data, consumer.head, RIP_LINE) == 0)


cdef cnp.ndarray new_array(Consumer consumer, void *elements, object owner):
    """Return an array with the header read last, over memory of owner; if elements is NULL, with memory of its own."""
    cdef cnp.ndarray array
    cdef cnp.npy_intp dims[RIP_MAX_NDIM]
    cdef int i, ndim = consumer.array.ndim
    cdef int flags = cnp.NPY_ARRAY_F_CONTIGUOUS if consumer.array.fortran else 0
    cdef object dtype = consumer.dtype
    for i in range(ndim):
        dims[i] = <cnp.npy_intp>consumer.array.shape[i]
    if PyDataType_HASFIELDS(<cnp.dtype>dtype):
        dtype = own_copy(<cnp.dtype>dtype)  # users can rename its fields in place
    try:
        array = array_at(elements, dtype, ndim, dims, flags)
    except ValueError:  # NumPy refuses the number or the sizes of its dimensions
        consumer.fail(-EBADMSG, "the shape of an array")
    if elements is not NULL:
        Py_INCREF(owner)  # the call below steals a reference
        PyArray_SetBaseObject(array, owner)
    return array


cdef cnp.ndarray view_array(Consumer consumer, Hold hold):
    """Return a view of an array in its lane."""
    read_header(consumer, hold)
    return new_array(consumer, <void *>(hold.data + consumer.array.header), hold)


cdef object array_of(Consumer consumer, Hold hold):
    """Return an array as the consumer's options ask for: a view or a copy, perhaps as a tensor."""
    cdef cnp.ndarray array
    cdef const unsigned char *elements
    cdef uint64_t size
    read_header(consumer, hold)
    elements = hold.data + consumer.array.header
    size = hold.length - consumer.array.header
    if consumer.copy == COPY_ALWAYS:
        array = new_array(consumer, NULL, None)
        copy_memory(<unsigned char *>cnp.PyArray_DATA(array), elements, size)
    elif consumer.copy == COPY_DEFAULT and size <= SMALL:
        array = copy_small(consumer, elements, size)
        keep_copy(consumer, array)
    else:
        array = new_array(consumer, <void *>elements, hold)
    return to_tensor(array) if consumer._tensors else array


cdef object copy_bytes(Consumer consumer, rip_message *message, bint taken):
    """Return a copy of a message of bytes."""
    cdef bint copied = False
    if message.length >= LARGE:
        return copy_large(consumer, message, taken)
    try:
        data = PyBytes_FromStringAndSize(<const char *>message.data, <Py_ssize_t>message.length)
        copied = True
    finally:
        if not copied:
            give_back(consumer, message, taken)
    if not taken:
        rip_rx_take(consumer.c, message)
    give_out_copy(consumer, message, True)
    consumer.settle()
    return data


cdef object copy_large(Consumer consumer, rip_message *message, bint taken):
    """Return a copy of a large message of bytes, made without the GIL."""
    cdef Hold hold = None
    try:
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>message.length)
        hold = take_hold(consumer, message, taken)  # a close() in another thread leaves the lane mapped
    finally:
        if hold is None:
            give_back(consumer, message, taken)
    cdef char *to = PyBytes_AS_STRING(data)
    with nogil:
        memcpy(to, hold.data, hold.length)
    give_out(consumer, hold)
    return data


cdef void give_back(Consumer consumer, rip_message *message, bint taken) noexcept:
    """Requeue a message for which there is too little memory, so that it can be got later."""
    if rip_handle_check(&consumer.c.ch.handle) == 0:
        if not taken:  # in a group that keeps claims, this consumer has it already
            rip_rx_take(consumer.c, message)
        rip_rx_requeue(consumer.c, message, False)
        consumer.settle()


cdef bint unhold(Consumer consumer, Hold hold) noexcept:
    """Requeue the message of a Hold. Return False if the consumer is being closed: the message is then released."""
    cdef rip_message message
    if consumer.c.leaving:
        return False
    message.lane, message.seq, message.length = hold.lane, hold.seq, hold.length
    if hold.work is not NULL:
        unlist(consumer, hold.work)
    hold.lane = NULL
    consumer.holds -= 1
    give_back(consumer, &message, True)
    return True


cdef void end_unread(Consumer consumer, Hold hold) noexcept:
    """End a message that could not be read: requeue it for lack of memory or stack, else skip it."""
    if isinstance(handled(), (MemoryError, RecursionError)):
        unhold(consumer, hold)
    elif rip_handle_check(&consumer.c.ch.handle) == 0:
        rip_rx_ack(hold.lane, hold.seq)  # not released: the exception may keep a view on it


cdef object decode_payload(Consumer consumer, Hold hold, uint8_t kind):
    """Decode a record or an object. The frames of an exception keep no view, which would keep the message in work."""
    try:
        if kind == RIP_OBJECT and consumer._pickle:
            return unpickled(consumer, hold)
        return codecs.decode(kind, PyMemoryView_FromObject(hold), consumer.copy == COPY_ALWAYS, consumer._pickle,
                             consumer._tensors)
    except (errors.Corrupt, errors.UnsafeMessage) as failure:
        error = _failures.named(failure, consumer.channel)
    except BaseException as failure:
        error = failure
    clear_frames(error, handled())
    raise error


cdef object payload_of(Consumer consumer, Hold hold, uint8_t kind):
    """Return the object that a message carries."""
    cdef PyObject *record
    if kind == RIP_ARRAY:
        return array_of(consumer, hold)
    if kind != RIP_BYTES:
        record = unpacked_record(hold.data, hold.length) if kind == RIP_RECORD else NULL
        return owned(record) if record is not NULL else decode_payload(consumer, hold, kind)
    if consumer.copy != COPY_NEVER:
        return PyBytes_FromStringAndSize(<const char *>hold.data, <Py_ssize_t>hold.length)
    return PyMemoryView_FromObject(hold)


cdef inline object receive(Consumer consumer, rip_message *message, bint taken):
    """Take a message, unless it is taken already, and return the object that it carries."""
    if message.kind == RIP_BYTES and consumer.copy != COPY_NEVER:
        return copy_bytes(consumer, message, taken)
    if message.kind == RIP_RECORD:
        return receive_record(consumer, message, taken)
    return receive_view(consumer, message, taken)


cdef object receive_record(Consumer consumer, rip_message *message, bint taken):
    """Receive a record: without a Hold if no part of it is a view, else as `receive_view`."""
    cdef PyObject *record
    if not taken:
        rip_rx_take(consumer.c, message)
    consumer.holds += 1  # a close() in another thread leaves the lane mapped
    record = unpacked_record(message.data, message.length)
    if record is NULL:
        consumer.holds -= 1
        return receive_view(consumer, message, True)
    value = owned(record)
    if consumer.lists_works():
        enlist(consumer, message.lane, message.seq, message.length, NULL, getter(consumer))
        consumer.let_loose()
    else:
        consumer.let_go(message.lane, message.seq)
    return value


cdef object receive_view(Consumer consumer, rip_message *message, bint taken):
    """`receive` for a message whose object can be a view."""
    cdef Hold hold
    cdef bint held = False, read = False
    try:
        hold = take_hold(consumer, message, taken)
        held = True
        payload = payload_of(consumer, hold, message.kind)
        give_out(consumer, hold)
        read = True
        return payload
    finally:
        if not held:
            give_back(consumer, message, taken)
        elif not read:
            end_unread(consumer, hold)


cdef bint receive_more(Consumer consumer, rip_message *message, list got) except -1:
    """Append a further message to got. Return False if it cannot be read: the next call then finds and reports it."""
    cdef Hold hold = None
    try:
        hold = take_hold(consumer, message, False)
        payload = payload_of(consumer, hold, message.kind)
        give_out(consumer, hold)
        got.append(payload)
    except Exception:
        if hold is None:
            give_back(consumer, message, False)
        elif not unhold(consumer, hold):
            raise
        return False
    return True
