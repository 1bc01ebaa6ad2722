# What a consumer makes of a message.

cdef extern from "Python.h":
    PyObject *PyErr_GetHandledException()  # a call of sys.exception needs some of the stack


cdef object handled():
    """The exception that is being handled, or None."""
    cdef PyObject *error = PyErr_GetHandledException()
    if error is NULL:
        return None
    result = <object>error
    Py_DECREF(result)
    return result


cdef int clear_frames(object error, object before) except -1:
    """Of an exception and of those that led to it, up to one that was being handled before."""
    seen = set()
    while error is not None and error is not before and id(error) not in seen:
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            try:
                trace.tb_frame.clear()
            except RuntimeError:  # it is still running
                pass
            trace = trace.tb_next
        error = error.__context__
    return 0


cdef int find_dtype(Consumer consumer, const rip_array *array) except -1:
    """Sets consumer.dtype to the dtype that a header describes."""
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
        consumer.array_length = 0  # once more: another thread may have got an array while this one decoded
        consumer.dtype = consumer.dtypes[code]
        consumer.dtype_code = code
    return 0


cdef int read_header(Consumer consumer, Hold hold) except -1:
    """Reads the header of an array into consumer.array, and checks it."""
    cdef rip_array array
    if rip_array_read(&array, hold.data, hold.length) != 0:
        consumer.fail(-EBADMSG, "the header of an array")
    find_dtype(consumer, &array)
    if rip_array_check(&array, (<cnp.dtype>consumer.dtype).itemsize, hold.length) != 0:
        consumer.fail(-EBADMSG, "the shape of an array")
    consumer.array = array
    consumer.array_length = 0
    if array.header == RIP_LINE:
        consumer.array_length = hold.length
        memcpy(consumer.head, hold.data, RIP_LINE)
    return 0


cdef cnp.ndarray view_array(Consumer consumer, Hold hold):
    cdef cnp.ndarray view
    cdef cnp.npy_intp dims[RIP_MAX_NDIM]
    cdef int i, ndim, flags
    cdef void *elements
    if (not consumer.array_length or hold.length != consumer.array_length
            or memcmp(hold.data, consumer.head, RIP_LINE) != 0):
        read_header(consumer, hold)
    cdef object dtype = consumer.dtype
    ndim = consumer.array.ndim
    flags = cnp.NPY_ARRAY_F_CONTIGUOUS if consumer.array.fortran else 0
    elements = <void *>(hold.data + consumer.array.header)
    for i in range(ndim):
        dims[i] = <cnp.npy_intp>consumer.array.shape[i]
    if PyDataType_HASFIELDS(<cnp.dtype>dtype):
        dtype = own_copy(<cnp.dtype>dtype)  # its fields can be renamed in place
    try:
        view = array_at(elements, dtype, ndim, dims, flags)
    except ValueError:  # more dimensions, or longer ones, than NumPy takes
        consumer.fail(-EBADMSG, "the shape of an array")
    Py_INCREF(hold)  # the call below steals one
    PyArray_SetBaseObject(view, hold)
    return view


cdef object copy_bytes(Consumer consumer, rip_message *message, bint taken):
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
    rip_rx_release(message.lane, message.seq)
    consumer.settle()
    return data


cdef object copy_large(Consumer consumer, rip_message *message, bint taken):
    cdef Hold hold = None
    try:
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>message.length)
        hold = take_hold(consumer, message, taken)  # so that close() in another thread waits for us
    finally:
        if hold is None:
            give_back(consumer, message, taken)
    cdef char *to = PyBytes_AS_STRING(data)
    with nogil:
        memcpy(to, hold.data, hold.length)
    return data


cdef void give_back(Consumer consumer, rip_message *message, bint taken) noexcept:
    """It can be got later: without memory nothing is lost."""
    if rip_handle_check(&consumer.c.ch.handle) == 0:
        if not taken:  # where claims are kept it is ours already
            rip_rx_take(consumer.c, message)
        rip_rx_requeue(consumer.c, message)
        consumer.settle()


cdef bint unhold(Consumer consumer, Hold hold) noexcept:
    """Gives a message back that is in charge of a Hold, unless it is all that keeps a closed consumer open."""
    cdef rip_message message
    if consumer.c.leaving:
        return False
    message.lane, message.seq, message.length, message.flags = hold.lane, hold.seq, hold.length, 0
    if hold.work.worker != NO_WORKER:
        unlist(consumer, &hold.work)
    hold.lane = NULL
    consumer.holds -= 1
    give_back(consumer, &message, True)
    return True


cdef void end_unread(Consumer consumer, Hold hold) noexcept:
    """What could not be read, as the exception in flight says, is skipped, or can be got later."""
    if isinstance(handled(), (MemoryError, RecursionError)):
        unhold(consumer, hold)
    elif consumer.c.claims and rip_handle_check(&consumer.c.ch.handle) == 0:
        rip_rx_ack(hold.lane, hold.seq)  # and no more, as what the exception keeps may be a view


cdef object decode_payload(Consumer consumer, Hold hold, uint8_t kind):
    """A record or an object. An exception keeps no view on the message in its frames, or it would stay in work."""
    try:
        return codecs.decode(kind, PyMemoryView_FromObject(hold), consumer.copy == COPY_ALWAYS, consumer._pickle)
    except (errors.Corrupt, errors.UnsafeMessage) as failure:
        error = _failures.named(failure, consumer.channel)
    except BaseException as failure:
        error = failure
    clear_frames(error, handled())
    raise error


cdef object payload_of(Consumer consumer, Hold hold, uint8_t kind):
    cdef cnp.ndarray view
    cdef PyObject *record
    if kind == RIP_ARRAY:
        view = view_array(consumer, hold)
        return PyArray_NewCopy(view, cnp.NPY_KEEPORDER) if consumer.copy == COPY_ALWAYS else view
    if kind != RIP_BYTES:
        record = unpacked_record(hold.data, hold.length) if kind == RIP_RECORD else NULL
        return owned(record) if record is not NULL else decode_payload(consumer, hold, kind)
    if consumer.copy != COPY_NEVER:
        return PyBytes_FromStringAndSize(<const char *>hold.data, <Py_ssize_t>hold.length)
    return PyMemoryView_FromObject(hold)


cdef inline object receive(Consumer consumer, rip_message *message, bint taken):
    """Takes a message, and makes of it what the user gets."""
    if message.kind == RIP_BYTES and consumer.copy != COPY_NEVER:
        return copy_bytes(consumer, message, taken)
    if message.kind == RIP_RECORD:
        return receive_record(consumer, message, taken)
    return receive_view(consumer, message, taken)


cdef object receive_record(Consumer consumer, rip_message *message, bint taken):
    """`receive_view`, without a Hold where no part of the record is a view."""
    cdef PyObject *record
    if not taken:
        rip_rx_take(consumer.c, message)
    consumer.holds += 1  # so that close() in another thread waits for us
    record = unpacked_record(message.data, message.length)
    if record is not NULL:
        consumer.let_go(message.lane, message.seq)
        return owned(record)
    consumer.holds -= 1
    return receive_view(consumer, message, True)


cdef object receive_view(Consumer consumer, rip_message *message, bint taken):
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
    """Receives one that follows. What cannot be read waits for the next call, where nothing is got before it."""
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
