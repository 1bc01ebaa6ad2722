/* Semaphores of 8 bytes that lie in shared memory (memory.h), without a file descriptor or a table.
 *
 *   word   | how often units were released 32 | waiters 1 | units 31 |
 *
 * Every change is one compare-and-swap. Nobody owns units: those of a killed process are lost, as with a semaphore of
 * POSIX; semaphore.h has semaphores that get them back. A waiter announces itself in the word (waiters) and sleeps on
 * its lower half. A release leaves the announcement and wakes one waiter; it clears the announcement if nobody slept.
 * So a waiter that has been killed delays the others by at most a slice. */
#ifndef RIP_COUNT_WORD_H
#define RIP_COUNT_WORD_H

#include "sync/sync.h"

#define RIP_COUNT_UNITS UINT64_C(0x7fffffff)
#define RIP_COUNT_WAITERS (UINT64_C(1) << 31)
#define RIP_COUNT_RELEASE (UINT64_C(1) << 32)

static_assert(RIP_COUNT_UNITS == RIP_MAX_UNITS, "the units fit into their bits");

/* Gives a new semaphore its units. */
static inline void rip_count_start(union rip_word *word, uint32_t units) {
    atomic_store_explicit(&word->whole, units, memory_order_relaxed); /* relaxed: no other process has it yet */
}
/* Acquires a unit. Returns 0, -ETIMEDOUT, or as rip_sync_wait. */
int rip_count_acquire(struct rip_sync *s, union rip_word *word, uint64_t deadline);
/* Releases a unit, and wakes a waiter. Returns 0, -EOVERFLOW if there are `most` units already, or as
 * rip_sync_check. */
int rip_count_release(struct rip_sync *s, union rip_word *word, uint32_t most);
static inline uint32_t rip_count_units(const union rip_word *word) {
    return (uint32_t)(rip_word_load(word) & RIP_COUNT_UNITS);
}

#endif
