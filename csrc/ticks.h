/* A cheap clock for time stamps: the processor's counter where it runs steadily, CLOCK_MONOTONIC elsewhere. */
#ifndef RIP_TICKS_H
#define RIP_TICKS_H

#include "layout.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>

static inline uint64_t rip_counter(void) { return __rdtsc(); }

/* Invariant TSC, AMD64 manual vol. 3, CPUID Fn8000_0007. */
static inline int rip_counter_is_steady(void) {
    unsigned a, b, c, d = 0;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d >> 8 & 1u);
}

static inline void rip_pause(void) { _mm_pause(); }

#elif defined(__aarch64__)

static inline uint64_t rip_counter(void) {
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
}

static inline int rip_counter_is_steady(void) { return 1; }

static inline void rip_pause(void) { __asm__ volatile("isb"); }

#else

static inline uint64_t rip_counter(void) { return rip_now(); }
static inline int rip_counter_is_steady(void) { return 0; }
static inline void rip_pause(void) { atomic_signal_fence(memory_order_seq_cst); }

#endif

static inline uint64_t rip_ticks(enum rip_clock clock) {
    return __builtin_expect(clock == RIP_CLOCK_COUNTER, 1) ? rip_counter() : rip_now();
}

/* Ticks to nanoseconds, by two moments seen on both clocks: the lane's making and now. */
static inline uint64_t rip_ticks_to_ns(const struct rip_lane *lane, uint64_t ticks) {
    if (lane->clock != RIP_CLOCK_COUNTER) {
        return ticks;
    }
    uint64_t now = rip_now(), counter = rip_counter();
    double span = (double)(counter - lane->ticks0);
    double rate = span > 0 ? (double)(now - lane->ns0) / span : 0;
    double age = (double)(int64_t)(counter - ticks) * rate;
    if (!(age > -9e18 && age < 9e18)) { /* the lane's numbers are anybody's */
        return now;
    }
    return now - (uint64_t)(int64_t)age;
}

#endif
