/* The header of an array message:
 *
 *   0         2      3         4                8                   8 + 8 ndim
 *   | lines   | ndim | fortran | dtype_length   | shape[ndim]       | dtype ...     up to 64 * lines, then the elements
 */
#include "channel/layout.h"

#include <errno.h>
#include <string.h>

struct fixed {
    uint16_t lines;
    uint8_t ndim;
    uint8_t fortran;
    uint32_t dtype_length;
};

static_assert(sizeof(struct fixed) == 8, "ABI");

uint64_t rip_array_header_size(const struct rip_array *array) {
    uint64_t size = sizeof(struct fixed) + 8u * (uint64_t)array->ndim + array->dtype_length;
    size = rip_round_up(size, RIP_LINE);
    return array->ndim <= RIP_MAX_NDIM && size / RIP_LINE <= UINT16_MAX ? size : 0;
}

static struct fixed fixed_part(const struct rip_array *array) {
    return (struct fixed){(uint16_t)(rip_array_header_size(array) / RIP_LINE), array->ndim, array->fortran,
                          array->dtype_length};
}

void rip_array_write(const struct rip_array *array, unsigned char *payload) {
    struct fixed fixed = fixed_part(array);
    memcpy(payload, &fixed, sizeof fixed);
    memcpy(payload + sizeof fixed, array->shape, 8u * (size_t)array->ndim);
    memcpy(payload + sizeof fixed + 8u * (size_t)array->ndim, array->dtype, array->dtype_length);
}

int rip_array_read(struct rip_array *array, const unsigned char *payload, uint64_t length) {
    struct fixed fixed;
    if (length < sizeof fixed) {
        return -EBADMSG;
    }
    memcpy(&fixed, payload, sizeof fixed);
    array->ndim = fixed.ndim;
    array->fortran = fixed.fortran;
    array->dtype_length = fixed.dtype_length;
    array->header = (uint64_t)fixed.lines * RIP_LINE;
    if (array->ndim > RIP_MAX_NDIM || array->header == 0 || array->header > length ||
        array->header != rip_array_header_size(array)) {
        return -EBADMSG;
    }
    memcpy(array->shape, payload + sizeof fixed, 8u * (size_t)array->ndim);
    array->dtype = (const char *)payload + sizeof fixed + 8u * (size_t)array->ndim;
    return 0;
}

int rip_array_check(const struct rip_array *array, uint64_t itemsize, uint64_t length) {
    uint64_t room = length - array->header, bytes = itemsize;
    int empty = itemsize == 0;
    for (unsigned i = 0; i < array->ndim; i++) {
        empty |= array->shape[i] == 0;
    }
    for (unsigned i = 0; i < array->ndim && !empty; i++) { /* bytes never exceeds room, so it cannot overflow */
        if (array->shape[i] > room / bytes) {
            return -EBADMSG;
        }
        bytes *= array->shape[i];
    }
    return (empty ? 0 : bytes) == room ? 0 : -EBADMSG;
}

int rip_array_matches(const struct rip_array *array, const unsigned char *payload, uint64_t length) {
    const struct fixed fixed = fixed_part(array);
    const unsigned char *shape = payload + sizeof fixed, *dtype = shape + 8u * (size_t)array->ndim;
    return length >= rip_array_header_size(array) && memcmp(payload, &fixed, sizeof fixed) == 0 &&
           memcmp(shape, array->shape, 8u * (size_t)array->ndim) == 0 &&
           memcmp(dtype, array->dtype, array->dtype_length) == 0;
}
