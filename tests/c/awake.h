/* Finding a lost wake-up: a process that sleeps although what it waits for is there. The core's waits end every RIP_SLICE_NS anyway, so a lost
 * one costs 50 ms and no more; here it counts as a failure. */
#ifndef AWAKE_H
#define AWAKE_H

#include "check.h"

#define PATIENCE (20 * MS) /* a sleep that is to be noticed lasts up to RIP_SLICE_NS */

static unsigned lost, slow;
static uint64_t hand_overs;

static inline uint64_t load(_Atomic uint64_t *word) { return atomic_load_explicit(word, memory_order_acquire); }

static inline void count_up(_Atomic uint64_t *word) { atomic_fetch_add_explicit(word, 1, memory_order_release); }

/* Waits until the peer has counted up to value. It has been given what it waits for: if it still sleeps, its wake-up is lost; if it
 * is ready to run but does not, the machine is busy. */
static inline void expect_awake(pid_t peer, _Atomic uint64_t *word, uint64_t value) {
    hand_overs++;
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
    printf("  %u of %llu hand-overs were slow\n", slow, (unsigned long long)hand_overs);
    CHECK_IS(lost, 0);
}

#endif
