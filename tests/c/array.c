/* The header of an array message: written, read back, and read when it is damaged. */
#include "check.h"

#define ROOM 8192u

static alignas(64) unsigned char payload[ROOM];

static struct rip_array make(const char *dtype, uint32_t dtype_length, uint8_t ndim) {
    struct rip_array array = {.dtype = dtype, .dtype_length = dtype_length, .ndim = ndim};
    for (unsigned i = 0; i < ndim && i < RIP_MAX_NDIM; i++) {
        array.shape[i] = i + 1;
    }
    array.header = rip_array_header_size(&array);
    return array;
}

static void round_trip(void) {
    static const char dtype[] = "[('x', '<f4'), ('y', '<f4'), ('name', 'S10'), ('when', '<M8[ns]'), ('and', 'so on')]";
    for (uint8_t ndim = 0; ndim <= RIP_MAX_NDIM; ndim++) {
        for (uint32_t length = 0; length < sizeof dtype; length++) {
            struct rip_array array = make(dtype, length, ndim), back;
            array.fortran = ndim % 2;
            CHECK(array.header >= 8 + 8u * ndim + length && array.header % 64 == 0);
            CHECK(array.header < 8 + 8u * ndim + length + 64);
            memset(payload, 0xee, sizeof payload);
            rip_array_write(&array, payload);
            CHECK_IS(rip_array_read(&back, payload, array.header), 0);
            CHECK(back.ndim == ndim && back.fortran == array.fortran && back.header == array.header);
            CHECK(memcmp(back.shape, array.shape, 8u * ndim) == 0);
            CHECK(back.dtype_length == length && memcmp(back.dtype, dtype, length) == 0);
            CHECK_IS(rip_array_read(&back, payload, array.header - 1), -EBADMSG);
        }
    }
}

static void too_large(void) {
    struct rip_array array = make("", 0, RIP_MAX_NDIM + 1);
    CHECK_IS(array.header, 0);
    array = make("", UINT16_MAX * 64 - 8, 0);
    CHECK_IS(array.header, UINT16_MAX * 64);
    array = make("", UINT16_MAX * 64 - 7, 0);
    CHECK_IS(array.header, 0);
    array = make("", UINT32_MAX, 3);
    CHECK_IS(array.header, 0);
}

/* Reads an array message of this length that ends right before an unmapped page. */
static void read_at_edge(const unsigned char *bytes, size_t length) {
    static unsigned char *edge;
    if (!edge) {
        unsigned char *pages = mmap(NULL, ROOM + RIP_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(pages != MAP_FAILED);
        edge = pages + ROOM;
        CHECK_IS(mprotect(edge, RIP_PAGE, PROT_NONE), 0);
    }
    const unsigned char *message = edge - length;
    struct rip_array array;
    memcpy(edge - length, bytes, length);
    if (rip_array_read(&array, message, length) != 0) {
        return;
    }
    CHECK(array.ndim <= RIP_MAX_NDIM && array.header <= length && array.header >= 8);
    CHECK((const unsigned char *)array.dtype >= message + 8 + 8u * array.ndim);
    CHECK((const unsigned char *)array.dtype + array.dtype_length <= message + array.header);
}

static void damaged_headers(void) {
    static const struct {
        uint16_t lines;
        uint8_t ndim, fortran;
        uint32_t dtype_length;
    } headers[] = {
        {0, 0, 0, 0},           {0, 0, 0, UINT32_MAX},
        {0, 64, 0, UINT32_MAX}, {0, 64, 0, 4194233},
        {0, 65, 0, 0},          {1, 255, 0, 0},
        {1, 0, 0, UINT32_MAX},  {1, 0, 0, 57},
        {1, 7, 0, 1},           {1, 8, 0, 0},
        {2, 0, 0, 3},           {UINT16_MAX, 0, 0, 56},
        {1, 0, 0, 56},          {UINT16_MAX, 64, 0, 4193784},
    };
    static const size_t lengths[] = {8, 9, 63, 64, 65, 128, 520, 576};
    for (unsigned i = 0; i < sizeof headers / sizeof *headers; i++) {
        for (unsigned k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            memset(payload, 0xff, sizeof payload);
            memcpy(payload, &headers[i], sizeof headers[i]);
            read_at_edge(payload, lengths[k]);
        }
    }
    struct random r = {9};
    for (unsigned i = 0; i < 300000; i++) {
        size_t length = (size_t)random_below(&r, 700);
        uint64_t word = random_next(&r);
        word &= random_below(&r, 2) ? UINT64_MAX : UINT64_C(0x0000003f000f001f); /* or numbers that may be valid */
        memcpy(payload, &word, sizeof word);
        read_at_edge(payload, length);
    }
}

static void sizes(void) {
    struct rip_array array = make("<f4", 3, 2); /* 1 x 2 */
    CHECK_IS(array.header, 64);
    CHECK_IS(rip_array_check(&array, 4, 64 + 8), 0);
    CHECK_IS(rip_array_check(&array, 4, 64 + 7), -EBADMSG);
    CHECK_IS(rip_array_check(&array, 4, 64 + 9), -EBADMSG);
    CHECK_IS(rip_array_check(&array, 4, 64), -EBADMSG);
    CHECK_IS(rip_array_check(&array, 0, 64), 0);
    CHECK_IS(rip_array_check(&array, 0, 65), -EBADMSG);
    array.shape[0] = 0;
    array.shape[1] = UINT64_MAX;
    CHECK_IS(rip_array_check(&array, 4, 64), 0); /* empty, however large the other dimension is */
    array.shape[0] = UINT64_C(1) << 32;
    array.shape[1] = UINT64_C(1) << 32; /* 2**64 wraps to 0 */
    CHECK_IS(rip_array_check(&array, 1, 64), -EBADMSG);
    CHECK_IS(rip_array_check(&array, 4, 64 + 8), -EBADMSG);
    array.shape[0] = UINT64_C(1) << 63;
    array.shape[1] = 2;
    CHECK_IS(rip_array_check(&array, 8, 64), -EBADMSG);
    array.shape[0] = UINT64_C(1) << 33;
    array.shape[1] = (UINT64_C(1) << 31) + 1; /* wraps to the length of the message */
    CHECK_IS(rip_array_check(&array, 1, 64 + (UINT64_C(1) << 33)), -EBADMSG);
    array.ndim = 0; /* one element */
    CHECK_IS(rip_array_check(&array, 8, 64 + 8), 0);
    CHECK_IS(rip_array_check(&array, UINT64_MAX, 64 + 8), -EBADMSG);
}

int main(void) {
    run("a header is read back as it was written", round_trip);
    run("an array that is too large for a header is refused", too_large);
    run("no damaged header leads to a byte outside of its message", damaged_headers);
    run("an array fills its message exactly, even if the product of its shape overflows", sizes);
    return 0;
}
