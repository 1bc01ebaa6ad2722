# distutils: language = c
"""A Cython module that reads a channel with the C API, without the GIL: the sum of arrays of float32.

Build it and use it, where ringipc is installed:

    cd examples/cython && python setup.py build_ext --inplace
    python -c "import totals; print(totals.total('numbers'))"
"""

from libc.errno cimport ENODATA
from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef extern from "ringipc.h" nogil:
    const uint64_t RIP_FOREVER
    enum: RIP_OLDEST, RIP_WAIT_ADAPTIVE
    struct rip_consumer:
        pass
    struct rip_message:
        const unsigned char *data
        uint64_t length
    struct rip_array:
        uint64_t header  # bytes before the elements
    int rip_consumer_open(const char *, const char *, uint32_t, int, uint64_t, rip_consumer **, int32_t *)
    int rip_get(rip_consumer *, rip_message *, uint64_t)
    int rip_array_read(rip_array *, const unsigned char *, uint64_t)
    void rip_release(rip_consumer *, const rip_message *)
    int rip_consumer_close(rip_consumer *)
    void rip_consumer_free(rip_consumer *)


cdef int add(rip_consumer *consumer, double *sum) noexcept nogil:
    """Adds up the next array: 0, or a negative errno."""
    cdef rip_message message
    cdef rip_array array
    cdef uint64_t i
    cdef int rc = rip_get(consumer, &message, RIP_FOREVER)
    if rc < 0:
        return rc
    rc = rip_array_read(&array, message.data, message.length)
    if rc == 0:
        elements = <const float *>(message.data + array.header)
        for i in range((message.length - array.header) // sizeof(float)):
            sum[0] += elements[i]
    rip_release(consumer, &message)
    return rc


def total(str channel):
    """The sum of all elements of all arrays, when every producer has closed."""
    cdef bytes name = channel.encode()
    cdef const char *named = name
    cdef rip_consumer *consumer = NULL
    cdef int32_t holder = 0
    cdef double sum = 0
    cdef int rc
    with nogil:
        rc = rip_consumer_open(named, b"totals", RIP_OLDEST, RIP_WAIT_ADAPTIVE, RIP_FOREVER, &consumer, &holder)
        if rc == 0:
            while rc == 0:
                rc = add(consumer, &sum)
            rip_consumer_close(consumer)
            rip_consumer_free(consumer)
    if rc != -ENODATA:  # the end of the stream
        raise OSError(-rc, f"cannot read the channel {channel!r}")
    return sum
