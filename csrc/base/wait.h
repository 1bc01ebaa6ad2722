/* Waiting: for how long to spin first, and how to sleep without a lost wake-up. */
#ifndef RIP_WAIT_H
#define RIP_WAIT_H

#include "base/futex.h"

#define RIP_WATCHED (4 * RIP_MAX_LANES + 1) /* the most words that a wait checks */

#define RIP_ASLEEP 1u                   /* the announcement, in a word of its own */
#define RIP_SLICE_NS UINT64_C(50000000) /* a slice: the longest sleep without a check for signals and dead members */

/* What a wait checks and sleeps on. A handle fills it in. A wait then reads only this struct, so other threads can use
 * the handle meanwhile. */
struct rip_watch {
    _Atomic uint32_t *futex;    /* the futex word */
    _Atomic uint32_t *asleep32; /* the word of the announcement is one of these two; */
    _Atomic uint64_t *asleep64; /* the other is NULL */
    uint64_t bit;               /* the announcement in that word */
    uint64_t slice;             /* the longest sleep, nanoseconds, RIP_SLICE_NS at most */
    /* 1: a process that makes the watch ready executes a fence before it reads the announcement, so the sleeper needs
     * no heavy fence. */
    int fenced;
    /* If the sleeper may leave the message that it is woken for: a word that the announcement sets to 1, and the
     * sleeper sleeps as RIP_WAITS_FOR_SOME. Else NULL. */
    _Atomic uint32_t *picky;
    struct rip_spin *spin;
    unsigned count;                             /* of the following; they come last, so that few pages are touched */
    const _Atomic uint64_t *words[RIP_WATCHED]; /* the watch is ready if one of these words */
    uint64_t seen[RIP_WATCHED];                 /* differs from the value that the handle has seen */
};

/* Learns from recent waits how long spinning pays. Threads share it; a lost update does no harm, because it is only a
 * hint. */
struct rip_spin {
    enum rip_wait mode;
    _Atomic uint32_t budget; /* how long to spin, nanoseconds */
    _Atomic uint32_t probe;  /* number of waits from one long spin to the next */
    _Atomic uint32_t waits;  /* number of waits since the last long spin */
    _Atomic uint32_t slept;  /* 1 if the last sleep took its whole slice and the watch was not ready */
};

void rip_spin_init(struct rip_spin *spin, enum rip_wait mode);

/* Returns 1 if a watched word has changed, else 0. */
int rip_watch_is_ready(const struct rip_watch *watch);
/* Announces that this member is about to sleep. A process that makes the watch ready afterwards wakes it; if one has
 * done so before, rip_watch_is_ready returns 1. */
void rip_watch_announce(const struct rip_watch *watch);
/* Spins and sleeps for a slice at most, as the mode of the spin says, and calls the hooks of rip_on_wait before and
 * after. Returns 1 if the watch is ready; 0 if the slice has passed, or if the wake-up was meant for another sleeper:
 * the caller reaps and waits again; -ETIMEDOUT at the deadline: the caller checks once more; another negative errno
 * ends the wait. */
int rip_watch_wait(const struct rip_watch *watch, uint64_t deadline);

#endif
