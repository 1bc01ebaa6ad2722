# Numbers in shared memory: which types have atomic operations, and the bits of their values.

cdef extern from "Python.h":
    unsigned long long PyLong_AsUnsignedLongLongMask(object) except? 0xffffffffffffffff
    double PyFloat_AsDouble(object) except? -1.0
    bint PyLong_CheckExact(object)
    bint PyLong_Check(object)


cdef struct Number:
    rip_number kind
    int size  # bytes; 0: it is not a number that has atomic operations
    bint is_float
    bint is_signed


cdef Number number_of(str kind, Py_ssize_t size):
    """Return the number type of a dtype's kind ("i", "u", "f") and size."""
    cdef Number number
    number.kind, number.size, number.is_float, number.is_signed = RIP_INT8, 0, kind == "f", kind == "i"
    if kind == "f" and size in (4, 8):
        number.kind = RIP_FLOAT32 if size == 4 else RIP_FLOAT64
        number.size = <int>size
    elif kind in ("i", "u") and size in (1, 2, 4, 8):
        number.kind = {1: RIP_INT8, 2: RIP_INT16, 4: RIP_INT32, 8: RIP_INT64}[size]
        number.size = <int>size
    return number


cdef inline uint64_t bits_of(const Number *number, object value) except? 0xfedcba9876543210:
    """Return the bits of a value. An integer that does not fit wraps around, as in C and in ctypes."""
    cdef double real
    cdef float single
    cdef uint64_t bits = 0
    if not number.is_float:
        return PyLong_AsUnsignedLongLongMask(value if PyLong_Check(value) else index_of(value))
    real = PyFloat_AS_DOUBLE(value) if PyFloat_CheckExact(value) else PyFloat_AsDouble(value)
    if number.size == 4:
        single = <float>real
        memcpy(&bits, &single, sizeof(float))
    else:
        memcpy(&bits, &real, sizeof(double))
    return bits


cdef inline object value_at(const Number *number, const unsigned char *at):
    """Return the value of a number in memory. A lock is held, or the number is aligned, which makes it whole."""
    if number.size == 4:
        if number.is_float:
            return <double>(<const float *>at)[0]
        return (<const int32_t *>at)[0] if number.is_signed else (<const uint32_t *>at)[0]
    if number.size == 8:
        if number.is_float:
            return (<const double *>at)[0]
        return (<const int64_t *>at)[0] if number.is_signed else (<const uint64_t *>at)[0]
    return value_of(number, rip_number_load(at, number.kind))


cdef uint64_t bits_that_fit(const Number *number, object value) except? 0xfedcba9876543210:
    """Return the bits of a value. Refuse an integer that the type does not have."""
    cdef uint64_t bits = bits_of(number, value)
    if not number.is_float and value_of(number, bits & (~<uint64_t>0 >> (64 - 8 * number.size))) != index_of(value):
        name = f"{'int' if number.is_signed else 'uint'}{8 * number.size}"
        raise OverflowError(f"{value} is not a value of {name}")
    return bits


cdef inline object value_of(const Number *number, uint64_t bits):
    """Return the value that has these bits; those above the size of the number are 0."""
    cdef double real
    cdef float single
    cdef int unused = 64 - 8 * number.size
    if number.is_float:
        if number.size == 4:
            memcpy(&single, &bits, sizeof(float))
            return <double>single
        memcpy(&real, &bits, sizeof(double))
        return real
    if number.is_signed:
        return <int64_t>(bits << unused) >> unused
    return bits
