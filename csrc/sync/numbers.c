/* Atomic operations on single numbers in shared memory. Their contract is in ringipc.h. All but the
 * store are sequentially consistent, as the atomic operations of C are by default: programs use them to tell each other
 * that something is ready. */
#include "base/common.h"

#include <errno.h>
#include <string.h>

static_assert(sizeof(float) == 4 && sizeof(double) == 8, "RIP_FLOAT32 and RIP_FLOAT64");

int rip_number_size(enum rip_number kind) {
    switch (kind) {
    case RIP_INT8:
        return 1;
    case RIP_INT16:
        return 2;
    case RIP_INT32:
    case RIP_FLOAT32:
        return 4;
    case RIP_INT64:
    case RIP_FLOAT64:
        return 8;
    }
    return -EINVAL;
}

uint64_t rip_number_load(const void *at, enum rip_number kind) {
    switch (rip_number_size(kind)) {
    case 1:
        return atomic_load((const _Atomic uint8_t *)at);
    case 2:
        return atomic_load((const _Atomic uint16_t *)at);
    case 4:
        return atomic_load((const _Atomic uint32_t *)at);
    default:
        return atomic_load((const _Atomic uint64_t *)at);
    }
}

void rip_number_store(void *at, enum rip_number kind, uint64_t value) {
    switch (rip_number_size(kind)) {
    case 1:
        atomic_store_explicit((_Atomic uint8_t *)at, (uint8_t)value, memory_order_release);
        break;
    case 2:
        atomic_store_explicit((_Atomic uint16_t *)at, (uint16_t)value, memory_order_release);
        break;
    case 4:
        atomic_store_explicit((_Atomic uint32_t *)at, (uint32_t)value, memory_order_release);
        break;
    default:
        atomic_store_explicit((_Atomic uint64_t *)at, value, memory_order_release);
    }
}

uint64_t rip_number_exchange(void *at, enum rip_number kind, uint64_t value) {
    switch (rip_number_size(kind)) {
    case 1:
        return atomic_exchange((_Atomic uint8_t *)at, (uint8_t)value);
    case 2:
        return atomic_exchange((_Atomic uint16_t *)at, (uint16_t)value);
    case 4:
        return atomic_exchange((_Atomic uint32_t *)at, (uint32_t)value);
    default:
        return atomic_exchange((_Atomic uint64_t *)at, value);
    }
}

int rip_number_compare_exchange(void *at, enum rip_number kind, uint64_t *expected, uint64_t value) {
    int done;
    switch (rip_number_size(kind)) {
    case 1: {
        uint8_t seen = (uint8_t)*expected;
        done = atomic_compare_exchange_strong((_Atomic uint8_t *)at, &seen, (uint8_t)value);
        *expected = seen;
        return done;
    }
    case 2: {
        uint16_t seen = (uint16_t)*expected;
        done = atomic_compare_exchange_strong((_Atomic uint16_t *)at, &seen, (uint16_t)value);
        *expected = seen;
        return done;
    }
    case 4: {
        uint32_t seen = (uint32_t)*expected;
        done = atomic_compare_exchange_strong((_Atomic uint32_t *)at, &seen, (uint32_t)value);
        *expected = seen;
        return done;
    }
    default:
        return atomic_compare_exchange_strong((_Atomic uint64_t *)at, expected, value);
    }
}

static uint64_t sum(enum rip_number kind, uint64_t one, uint64_t other) {
    if (kind == RIP_FLOAT32) {
        uint32_t bits[2] = {(uint32_t)one, (uint32_t)other};
        float terms[2];
        memcpy(terms, bits, sizeof terms);
        terms[0] += terms[1];
        memcpy(bits, terms, sizeof bits);
        return bits[0];
    }
    double terms[2];
    memcpy(&terms[0], &one, sizeof one);
    memcpy(&terms[1], &other, sizeof other);
    terms[0] += terms[1];
    memcpy(&one, &terms[0], sizeof one);
    return one;
}

uint64_t rip_number_add(void *at, enum rip_number kind, uint64_t value) {
    switch (kind) {
    case RIP_INT8:
        return atomic_fetch_add((_Atomic uint8_t *)at, (uint8_t)value);
    case RIP_INT16:
        return atomic_fetch_add((_Atomic uint16_t *)at, (uint16_t)value);
    case RIP_INT32:
        return atomic_fetch_add((_Atomic uint32_t *)at, (uint32_t)value);
    case RIP_INT64:
        return atomic_fetch_add((_Atomic uint64_t *)at, value);
    default: {
        uint64_t before = rip_number_load(at, kind);
        while (!rip_number_compare_exchange(at, kind, &before, sum(kind, before, value))) {
        }
        return before;
    }
    }
}
