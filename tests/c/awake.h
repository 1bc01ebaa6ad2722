/* Finding lost wake-ups: a process sleeps although what it waits for is there. The core checks again after each slice
 * (RIP_SLICE_NS), so a lost wake-up costs at most 50 ms. Here it counts as a failure. */
#ifndef AWAKE_H
#define AWAKE_H

#include "check.h"

#define PATIENCE (20 * MS) /* a sleep without its wake-up lasts up to RIP_SLICE_NS: longer than this */

static unsigned lost, slow;
static uint64_t wake_ups;

static inline uint64_t load(_Atomic uint64_t *word) { return atomic_load_explicit(word, memory_order_acquire); }

static inline void count_up(_Atomic uint64_t *word) { atomic_fetch_add_explicit(word, 1, memory_order_release); }

/* Waits until the peer has counted up to value. What the peer waits for is there. So if it still sleeps, its wake-up is
 * lost; if it is runnable but does not run, the machine is busy. */
static inline void expect_awake(pid_t peer, _Atomic uint64_t *word, uint64_t value) {
    wake_ups++;
    if (reaches(word, value, PATIENCE)) {
        return;
    }
    unsigned asleep = 0;
    for (unsigned i = 0; i < 5; i++) {
        asleep += process_state(peer) == 'S';
        nap(MS);
    }
    lost += asleep == 5 && load(word) < value;
    slow++;
    CHECK(reaches(word, value, 10000 * MS));
}

static inline void no_wake_up_was_lost(void) {
    printf("  %u of %llu wake-ups were slow\n", slow, (unsigned long long)wake_ups);
    CHECK_IS(lost, 0);
}

#endif
