# Several array messages copied into one array.

cdef object get_stack(Consumer consumer, rip_message *message, Py_ssize_t most):
    """Return a message, which is not taken yet, and the next ones of the same dtype, shape and order, as one array."""
    cdef list holds = []
    cdef Hold hold
    if message.kind != RIP_ARRAY:
        leave(consumer, message)
        raise TypeError(
            f"channel {consumer.channel!r}: get_many(stack=True) takes arrays only, and the next message is "
            f"{content_of(message.kind, message.length)}; it was not taken, and can be got again"
        )
    try:
        holds.append(take_hold(consumer, message, False))
    finally:
        if not holds:
            give_back(consumer, message, False)
    try:
        view = view_array(consumer, <Hold>holds[0])
        take_alike(consumer, holds, most)
        rows = copy_rows(view, holds)
        for hold in holds:
            give_out(consumer, hold)
    except (errors.Corrupt, errors.UnsafeMessage):  # skip it, as `get` does
        raise
    except BaseException:
        for hold in holds:
            hold.end = REQUEUE
        raise
    holds.reverse()  # a list deletes its last item first: the messages are released in order
    return to_tensor(rows) if consumer._tensors else rows


cdef void leave(Consumer consumer, rip_message *message) noexcept:
    """Leave a message that has been found and not taken: it stays the next one."""
    if message.lane.claims is not NULL:  # finding it has claimed it
        give_back(consumer, message, False)


cdef int take_alike(Consumer consumer, list holds, Py_ssize_t most) except -1:
    """Take the messages that follow and are like the first, at most most in all."""
    cdef Hold first = holds[0]
    cdef rip_array array
    cdef rip_message message
    if rip_array_read(&array, first.data, first.length) != 0:  # it was valid just now, so its producer changes it
        consumer.fail(-EBADMSG, "the header of an array")
    while len(holds) < most and consumer.is_open() and rip_rx_ready(consumer.c, &message) == 1:
        if message.redelivered >= consumer.limit:
            bury(consumer, &message, False)
            continue
        if (message.kind != RIP_ARRAY or message.length != first.length
                or not rip_array_matches(&array, message.data, message.length)):
            leave(consumer, &message)
            break
        try:
            holds.append(take_hold(consumer, &message, False))
        except MemoryError:  # the next call raises, if there is still too little
            give_back(consumer, &message, False)
            break
    return 0


cdef object copy_rows(cnp.ndarray view, list holds):
    """Return a new array with the elements of all holds. view shows those of the first."""
    cdef Py_ssize_t count = len(holds), i, ndim = cnp.PyArray_NDIM(view)
    cdef size_t size = <size_t>cnp.PyArray_NBYTES(view)
    cdef bint fortran = cnp.PyArray_IS_F_CONTIGUOUS(view) and not cnp.PyArray_IS_C_CONTIGUOUS(view)
    cdef uint64_t offset = <const unsigned char *>cnp.PyArray_DATA(view) - (<Hold>holds[0]).data
    cdef const unsigned char **sources
    cdef unsigned char *to
    shape = (<object>view).shape
    rows = np.empty((count, *(shape[::-1] if fortran else shape)), (<object>view).dtype)
    to = <unsigned char *>cnp.PyArray_DATA(<cnp.ndarray>rows)
    sources = <const unsigned char **>PyMem_Malloc(<size_t>count * sizeof(void *))
    if sources is NULL:
        raise MemoryError
    try:
        for i in range(count):
            sources[i] = (<Hold>holds[i]).data + offset
        if size * <size_t>count < LARGE:
            for i in range(count):
                memcpy(to + <size_t>i * size, sources[i], size)
        else:
            with nogil:
                for i in range(count):
                    memcpy(to + <size_t>i * size, sources[i], size)
    finally:
        PyMem_Free(sources)
    return rows.transpose(0, *range(ndim, 0, -1)) if fortran else rows
