/* Waiting: for how long to spin first, and how to sleep without missing what is waited for. */
#ifndef RIP_WAIT_H
#define RIP_WAIT_H

#include "base/futex.h"

#define RIP_WATCHED (4 * RIP_MAX_LANES + 1) /* words that a wait looks at, at most */

#define RIP_ASLEEP 1u                   /* an announcement that has a word of its own */
#define RIP_SLICE_NS UINT64_C(50000000) /* the longest sleep in one piece: a caller looks around that often */

/* What a wait looks at. It is filled in by a handle and then stands alone, so that other threads can use the handle meanwhile. */
struct rip_watch {
    const _Atomic uint64_t *words[RIP_WATCHED]; /* ready when one of them */
    uint64_t seen[RIP_WATCHED];                 /* is not what it was */
    unsigned count;
    _Atomic uint32_t *futex;
    _Atomic uint32_t *asleep32; /* the announcement: one of these two */
    _Atomic uint64_t *asleep64;
    uint64_t bit;
    uint64_t slice; /* nanoseconds, RIP_SLICE_NS at most: the longest sleep in one piece */
    int fenced; /* whoever makes it ready has a fence between that and the look at the announcement: no heavy one is needed */
    int picky; /* it may leave what it is woken for (rip_wake_some) */
    struct rip_spin *spin;
};

/* Learns from recent waits how long spinning pays; shared by threads, and only a hint. */
struct rip_spin {
    enum rip_wait mode;
    _Atomic uint32_t budget; /* nanoseconds */
    _Atomic uint32_t probe;  /* so many waits from the last long spin to the next */
    _Atomic uint32_t waits;  /* since the last one */
    _Atomic uint32_t slept;  /* a slice has passed, and what is waited for has not come */
};

void rip_spin_init(struct rip_spin *spin, enum rip_wait mode);

int rip_watch_is_ready(const struct rip_watch *watch);
/* Says that we are about to sleep: whoever makes the watch ready from now on wakes us, or it is ready already. */
void rip_watch_announce(const struct rip_watch *watch);
/* Spins for at most ns nanoseconds: 1 when ready, else 0. */
int rip_watch_spin(const struct rip_watch *watch, uint64_t ns);
/* Spins and sleeps as the mode says, with the hooks of rip_on_wait around it: 1 when ready; 0 when the slice has passed, or another
 * sleeper was woken: reap, and go on; -ETIMEDOUT: look once more, and end; any other negative errno ends the wait with that. */
int rip_watch_wait(const struct rip_watch *watch, uint64_t deadline);

#endif
