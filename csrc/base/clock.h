/* The clock of time stamps: the processor's counter if it runs steadily, because reading it costs less; else the
 * machine's time.
 *
 * The machine's time is CLOCK_MONOTONIC as a process outside of all time namespaces sees it. Times in shared memory and
 * in frames are of that clock. rip_now reads CLOCK_MONOTONIC of this process's time namespace, which is ahead of the
 * machine's time by rip_clock_offset. */
#ifndef RIP_CLOCK_H
#define RIP_CLOCK_H

#include "base/common.h"

enum rip_clock { RIP_CLOCK_NS, RIP_CLOCK_COUNTER }; /* RIP_CLOCK_NS: the machine's time */

#if defined(__x86_64__)
#include <x86intrin.h>

static inline uint64_t rip_counter(void) { return __rdtsc(); }

static inline void rip_counter_fence(void) { _mm_lfence(); }

static inline void rip_pause(void) { _mm_pause(); }

#elif defined(__aarch64__)

static inline uint64_t rip_counter(void) {
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
}

static inline void rip_counter_fence(void) { __asm__ volatile("isb" ::: "memory"); }

static inline void rip_pause(void) { __asm__ volatile("isb"); }

#else

static inline uint64_t rip_counter(void) { return rip_now(); }
static inline void rip_counter_fence(void) { atomic_signal_fence(memory_order_seq_cst); }
static inline void rip_pause(void) { atomic_signal_fence(memory_order_seq_cst); }

#endif

/* Reads the clock of time stamps. offset: rip_clock_offset of this process. */
static inline uint64_t rip_ticks(enum rip_clock clock, uint64_t offset) {
    return __builtin_expect(clock == RIP_CLOCK_COUNTER, 1) ? rip_counter() : rip_now() - offset;
}

/* rip_counter_fence: a reading of the counter that follows is not executed before the loads that precede. A processor
 * may otherwise read the counter while it still waits for what an earlier load returns. */

/* Returns 1 if the counter runs at one rate on all processors and the kernel keeps its own time by it, else 0. */
int rip_counter_is_steady(void);
/* In a forked child: what is known of the counter is asked again. */
void rip_clock_forget(void);
/* Stores in *offset by how many nanoseconds (modulo 2^64) CLOCK_MONOTONIC of this process's time namespace is ahead of
 * the machine's time. Returns 0 or a negative errno, as -EMFILE. */
int rip_clock_offset(uint64_t *offset);

/* One moment, read on both clocks. */
struct rip_moment {
    uint64_t ticks;
    uint64_t ns; /* the machine's time, nanoseconds */
};

/* Returns the present moment on both clocks. They are read one after the other. Of a few readings the one that took the
 * shortest time counts, so an interrupt or another thread between the two does no harm. offset: as in rip_ticks. */
struct rip_moment rip_moment_now(uint64_t offset);
/* Converts ticks of the counter to nanoseconds of the machine's time, at the rate of the clocks between an earlier
 * moment and the present one. */
uint64_t rip_ticks_to_ns(struct rip_moment since, struct rip_moment now, uint64_t ticks);
/* The reverse. */
uint64_t rip_ns_to_ticks(struct rip_moment since, struct rip_moment now, uint64_t ns);

#endif
