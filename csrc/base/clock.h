/* The clock of time stamps: the processor's counter where it runs steadily, which costs less, else the machine's time.
 *
 * The machine's time is CLOCK_MONOTONIC as processes outside of all time namespaces see it. What lies in shared memory,
 * or goes over a connection, is of that clock; it differs from rip_now by what rip_clock_offset says. */
#ifndef RIP_CLOCK_H
#define RIP_CLOCK_H

#include "base/common.h"

enum rip_clock { RIP_CLOCK_NS, RIP_CLOCK_COUNTER }; /* RIP_CLOCK_NS: the machine's time */

#if defined(__x86_64__)
#include <x86intrin.h>

static inline uint64_t rip_counter(void) { return __rdtsc(); }

static inline void rip_pause(void) { _mm_pause(); }

#elif defined(__aarch64__)

static inline uint64_t rip_counter(void) {
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
}

static inline void rip_pause(void) { __asm__ volatile("isb"); }

#else

static inline uint64_t rip_counter(void) { return rip_now(); }
static inline void rip_pause(void) { atomic_signal_fence(memory_order_seq_cst); }

#endif

/* offset: rip_clock_offset of this process. */
static inline uint64_t rip_ticks(enum rip_clock clock, uint64_t offset) {
    return __builtin_expect(clock == RIP_CLOCK_COUNTER, 1) ? rip_counter() : rip_now() - offset;
}

/* 1 if the counter runs at one rate on all processors, and the kernel keeps its own time by it. */
int rip_counter_is_steady(void);
/* By how much CLOCK_MONOTONIC of this process's time namespace is ahead of the machine's time, nanoseconds, modulo
 * 2^64; 0, or -EMFILE and the like. */
int rip_clock_offset(uint64_t *offset);

/* One moment on both clocks. */
struct rip_moment {
    uint64_t ticks;
    uint64_t ns; /* of the machine's time */
};

/* Now, on both clocks, which are read one after the other: of a few tries the one that took least, so that an interrupt
 * or another thread between the two readings does no harm. offset: as in rip_ticks. */
struct rip_moment rip_moment_now(uint64_t offset);
/* Nanoseconds of the machine's time, by a moment before now. offset: as in rip_ticks. */
uint64_t rip_ticks_to_ns(struct rip_moment since, uint64_t ticks, uint64_t offset);

#endif
