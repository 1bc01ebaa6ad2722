# How a producer writes each kind of message into its lane.

cdef inline void copy_memory(unsigned char *to, const unsigned char *source, uint64_t length) noexcept:
    """Copy memory, without the GIL if it is large."""
    if length < LARGE:
        memcpy(to, source, length)
    else:
        with nogil:
            memcpy(to, source, length)


cdef int copy_strided(unsigned char *to, cnp.ndarray array) except -1:
    """Copy the elements of an array in C order."""
    PyArray_CopyInto(array_at(to, <cnp.dtype>cnp.PyArray_DESCR(array), cnp.PyArray_NDIM(array),
                              cnp.PyArray_DIMS(array), cnp.NPY_ARRAY_WRITEABLE), array)
    return 0


cdef uint64_t copy_block(unsigned char *to, object block) except? 0:
    """Copy an array or a buffer contiguously, as `multipart.Parts` describes it. Return the number of bytes."""
    cdef Py_buffer view
    cdef uint64_t length
    if PyArray_CheckExact(block):  # arrays of dates do not support the buffer protocol
        length = <uint64_t>cnp.PyArray_NBYTES(block)
        if cnp.PyArray_IS_C_CONTIGUOUS(block) or cnp.PyArray_IS_F_CONTIGUOUS(block):
            copy_memory(to, <const unsigned char *>cnp.PyArray_DATA(block), length)
        else:
            copy_strided(to, block)
        return length
    PyObject_GetBuffer(block, &view, PyBUF_FULL_RO)
    try:
        length = <uint64_t>view.len
        if PyBuffer_IsContiguous(&view, b"C"):
            copy_memory(to, <const unsigned char *>view.buf, length)
        else:
            PyBuffer_ToContiguous(to, &view, view.len, b"C")
        return length
    finally:
        PyBuffer_Release(&view)


cdef uint64_t parts_length(bytes head, list blocks) except? 0:
    """Return the length of a message of a head and blocks of memory, each aligned to 64 bytes."""
    cdef uint64_t length = <uint64_t>PyBytes_GET_SIZE(head)
    for block in blocks:  # a block with strides of 0 may exceed all memory, and the sum must not overflow
        length = ((length + 63) & ~<uint64_t>63) + <uint64_t>block.nbytes
        length = min(length, <uint64_t>1 << 62)  # refused as too large
    return length


cdef int copy_parts(unsigned char *to, bytes head, list blocks) except -1:
    """Copy a head and blocks of memory to where `parts_length` expects them."""
    cdef uint64_t at = <uint64_t>PyBytes_GET_SIZE(head)
    memcpy(to, PyBytes_AS_STRING(head), at)
    for block in blocks:
        at = (at + 63) & ~<uint64_t>63
        at += copy_block(to + at, block)
    return 0


cdef inline void copy_in(Producer producer, unsigned char *to, const unsigned char *source, uint64_t length) noexcept:
    """Copy a payload into the lane. Other threads that put wait while it is copied without the GIL."""
    if length < LARGE:
        memcpy(to, source, length)
        return
    rip_tx_begin_fill(producer.p, RIP_FILL_COPY)
    with nogil:
        memcpy(to, source, length)
    rip_tx_end_fill(producer.p)


cdef inline int write_bytes(
    Producer producer, const unsigned char *data, uint64_t length, double seconds, uint32_t type
) except -1:
    """Write a message of bytes. Return as `write_message`."""
    cdef unsigned char *payload
    cdef int outcome = producer.reserve_room(length, seconds, &payload)
    if outcome == WRITTEN:
        copy_in(producer, payload, data, length)
        rip_tx_commit(producer.p, length, type, RIP_BYTES)
    return outcome


cdef inline bint knows_dtype(Producer producer, dtype) except -1:
    """Return whether producer.dtype_code describes this dtype with the present names of its fields."""
    if cython.likely(<void *>dtype == <void *>producer.dtype):
        return True
    return producer.dtype is not None and PyDataType_HASFIELDS(dtype) and is_same(dtype, producer.dtype)


cdef int learn_dtype(Producer producer, dtype, bint reserving) except -1:
    """Set producer.dtype_code for a dtype."""
    producer.dtype, producer.dtype_code = producer.encode_dtype(dtype, reserving)
    producer.array.header = 0
    return 0


cdef inline bint has_header_of_last(Producer producer, cnp.ndarray array) noexcept:
    """Return whether an array in C order is sent with the header in producer.head. False may be wrong."""
    cdef int i
    if (<void *>cnp.PyArray_DESCR(array) != <void *>producer.dtype or producer.array.header != RIP_LINE
            or producer.array.fortran or not cnp.PyArray_IS_C_CONTIGUOUS(array)
            or cnp.PyArray_NDIM(array) != producer.array.ndim):
        return False
    for i in range(producer.array.ndim):
        if cnp.PyArray_DIMS(array)[i] != <cnp.npy_intp>producer.array.shape[i]:
            return False
    return True


cdef int begin_array(
    Producer producer, object dtype, int ndim, const cnp.npy_intp *shape, bint fortran, uint64_t size, double seconds,
    unsigned char **elements, uint64_t *length
) except -1:
    """Reserve room for an array of size bytes and write its header. Return as `write_message`.

    *elements is set to the memory for the elements, *length to the length of the message.
    """
    cdef rip_array array
    cdef unsigned char head[RIP_LINE]
    cdef bytes code
    cdef int outcome
    if not knows_dtype(producer, dtype):
        learn_dtype(producer, dtype, False)
    if (producer.array.header == RIP_LINE and producer.array.ndim == ndim and producer.array.fortran == fortran
            and memcmp(producer.array.shape, shape, sizeof(uint64_t) * <size_t>ndim) == 0):
        memcpy(head, producer.head, RIP_LINE)  # another thread may change producer.dtype_code during the wait
        length[0] = RIP_LINE + size
        outcome = producer.reserve_room(length[0], seconds, elements)
        if outcome == WRITTEN:
            memcpy(elements[0], head, RIP_LINE)
            elements[0] += RIP_LINE
        return outcome
    code = producer.dtype_code  # another thread may change producer.dtype_code during the wait
    array.dtype = PyBytes_AS_STRING(code)
    array.dtype_length = <uint32_t>PyBytes_GET_SIZE(code)
    array.ndim = <uint8_t>ndim
    array.fortran = fortran
    memcpy(array.shape, shape, sizeof(uint64_t) * <size_t>ndim)
    array.header = rip_array_header_size(&array)
    if array.header == 0:
        raise ValueError("the description of this dtype takes more than 4 MB")
    length[0] = array.header + size
    outcome = producer.reserve_room(length[0], seconds, elements)
    if outcome == WRITTEN:
        rip_array_write(&array, elements[0])
        if code is producer.dtype_code:
            producer.array = array
            producer.array_size = size
            memcpy(producer.head, elements[0], RIP_LINE)
        elements[0] += array.header
    return outcome


cdef int write_array(Producer producer, cnp.ndarray array, double seconds, uint32_t type) except -1:
    """Write an array. Return as `write_message`."""
    cdef unsigned char *elements
    cdef uint64_t length
    cdef uint64_t size = <uint64_t>cnp.PyArray_NBYTES(array)
    cdef bint plain = cnp.PyArray_IS_C_CONTIGUOUS(array)
    cdef bint fortran = not plain and cnp.PyArray_IS_F_CONTIGUOUS(array)
    cdef cnp.dtype dtype = <cnp.dtype>cnp.PyArray_DESCR(array)
    cdef int outcome = begin_array(producer, dtype, cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), fortran, size,
                                   seconds, &elements, &length)
    if outcome != WRITTEN:
        return outcome
    if plain or fortran:
        copy_in(producer, elements, <const unsigned char *>cnp.PyArray_DATA(array), size)
    else:
        rip_tx_begin_fill(producer.p, RIP_FILL_COPY)
        try:
            copy_strided(elements, array)
        finally:
            rip_tx_end_fill(producer.p)
    rip_tx_commit(producer.p, length, type, RIP_ARRAY)
    return 0


cdef int write_buffer(Producer producer, object message, double seconds, uint32_t type) except -1:
    """Write an object with a buffer as bytes. Return as `write_message`."""
    cdef Py_buffer view
    cdef unsigned char *payload
    cdef int outcome
    PyObject_GetBuffer(message, &view, PyBUF_FULL_RO)
    try:
        if PyBuffer_IsContiguous(&view, b"C"):
            return write_bytes(producer, <const unsigned char *>view.buf, <uint64_t>view.len, seconds, type)
        outcome = producer.reserve_room(<uint64_t>view.len, seconds, &payload)
        if outcome == WRITTEN:
            PyBuffer_ToContiguous(payload, &view, view.len, b"C")
            rip_tx_commit(producer.p, <uint64_t>view.len, type, RIP_BYTES)
        return outcome
    finally:
        PyBuffer_Release(&view)


cdef inline int write_message(Producer producer, object message, double seconds, uint32_t type) except -1:
    """Write a message and do not publish it. Return WRITTEN, TIMED_OUT or REFUSED."""
    if PyBytes_CheckExact(message):
        return write_bytes(producer, <const unsigned char *>PyBytes_AS_STRING(message),
                           <uint64_t>PyBytes_GET_SIZE(message), seconds, type)
    if (PyArray_CheckExact(message)
            and (not producer._pickle or knows_dtype(producer, <object>cnp.PyArray_DESCR(message)))):
        return write_array(producer, message, seconds, type)
    return write_other(producer, message, seconds, type)


cdef int write_record(Producer producer, bytes packed, double seconds, uint32_t type) except -1:
    """Write a record that `packed_record` has encoded. Return as `write_message`."""
    cdef unsigned char *payload
    cdef uint64_t size = <uint64_t>PyBytes_GET_SIZE(packed)
    cdef uint64_t head[2]
    cdef int outcome = producer.reserve_room(RECORD_HEAD + size, seconds, &payload)
    if outcome == WRITTEN:
        head[0], head[1] = size, 0
        memcpy(payload, head, RECORD_HEAD)
        copy_in(producer, payload + RECORD_HEAD, <const unsigned char *>PyBytes_AS_STRING(packed), size)
        rip_tx_commit(producer.p, RECORD_HEAD + size, type, RIP_RECORD)
    return outcome


cdef inline void stamp_encoded(Producer producer) noexcept:
    """Read the clock again: what a program does while its message is encoded may depend on other messages."""
    if producer.p is not NULL:
        rip_tx_stamp(producer.p)


cdef int write_other(Producer producer, object message, double seconds, uint32_t type) except -1:
    """Write what is neither bytes nor a plain array: encode it first. Return as `write_message`."""
    cdef PyObject *packed
    if isinstance(message, tuple) and not PyTuple_CheckExact(message) and isinstance(message, Parts):
        kind, head, blocks = message  # encoded already, by `codecs.copy_of`
        return write_parts(producer, kind, head, list(blocks), seconds, type)
    if producer._pickle:
        if not PyArray_CheckExact(message) and not PyMemoryView_Check(message):
            return write_object(producer, message, seconds, type)
    else:
        packed = packed_record(message)
        if packed is not NULL:
            return write_record(producer, owned(packed), seconds, type)
    if producer._pickle or not PyByteArray_CheckExact(message):
        message = producer.encode(message)
        stamp_encoded(producer)
    if PyArray_CheckExact(message):
        return write_array(producer, message, seconds, type)
    if isinstance(message, tuple):
        kind, head, blocks = message
        return write_parts(producer, kind, head, list(blocks), seconds, type)
    return write_buffer(producer, message, seconds, type)


cdef int write_chunks(
    Producer producer, uint8_t kind, list chunks, uint64_t length, double seconds, uint32_t type
) except -1:
    """Write bytes one after the other, length in all. Return as `write_message`."""
    cdef unsigned char *payload
    cdef PyObject *chunk
    cdef Py_ssize_t i
    cdef int outcome = producer.reserve_room(length, seconds, &payload)
    if outcome != WRITTEN:
        return outcome
    if length >= LARGE:
        rip_tx_begin_fill(producer.p, RIP_FILL_COPY)
    for i in range(PyList_GET_SIZE(chunks)):
        chunk = PyList_GET_ITEM(chunks, i)
        copy_memory(payload, <const unsigned char *>PyBytes_AS_STRING(<object>chunk),
                    <uint64_t>PyBytes_GET_SIZE(<object>chunk))
        payload += PyBytes_GET_SIZE(<object>chunk)
    if length >= LARGE:
        rip_tx_end_fill(producer.p)
    rip_tx_commit(producer.p, length, type, kind)
    return WRITTEN


cdef int write_parts(Producer producer, uint8_t kind, bytes head, list blocks, double seconds, uint32_t type) except -1:
    """Write a head and then blocks of memory. Return as `write_message`."""
    cdef unsigned char *payload
    cdef uint64_t length = parts_length(head, blocks)
    cdef int outcome = producer.reserve_room(length, seconds, &payload)
    if outcome != WRITTEN:
        return outcome
    rip_tx_begin_fill(producer.p, RIP_FILL_COPY)
    try:
        copy_parts(payload, head, blocks)
    finally:
        rip_tx_end_fill(producer.p)
    rip_tx_commit(producer.p, length, type, kind)
    return WRITTEN
