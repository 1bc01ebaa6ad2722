/* One word to wait on, the fences that go with it, and how long to spin first. */
#ifndef RIP_WAIT_H
#define RIP_WAIT_H

#include "channel/layout.h"

#define RIP_SLICE_NS UINT64_C(50000000) /* the longest sleep in one piece: a caller looks around that often */

/* Announcing oneself and looking again needs a store-load order against every publisher. The sleeper pays for both sides with
 * membarrier(2), so that a publish has no fence (asymmetric fences: Dice, Huang, Yang 2001; liburcu, folly). */
int rip_fence_setup(void); /* 1 if this process can give and take the heavy fence */
void rip_fence_heavy(void);
void rip_fence_forget(void); /* in a forked child: it must set itself up */

/* Sleeps while *word == expected, until woken, a signal, or the deadline: 0, -EINTR, -ETIMEDOUT. */
int rip_sleep(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline);
void rip_wake(_Atomic uint32_t *word);

/* Who sleeps: one that takes what any wake-up is for, so that it is enough to wake one; or one that may leave it. */
enum rip_sleeper { RIP_WAITS_FOR_ANY = 1, RIP_WAITS_FOR_SOME = 2 };
/* Wakes so many at most of those that sleep on it as who: how many. */
int rip_wake_some(_Atomic uint32_t *word, enum rip_sleeper who, int most);

/* What a wait looks at. It is filled in by a handle and then stands alone, so that other threads can use the handle meanwhile. */
struct rip_watch {
    const _Atomic uint64_t *words[2 * RIP_RX_LANES + 1]; /* ready when one of them */
    uint64_t seen[2 * RIP_RX_LANES + 1];                 /* is not what it was */
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

/* The hooks of rip_on_wait, for a piece of a wait that is not rip_watch_wait's. The end takes what the piece has returned (-EINTR: a signal
 * has come), and returns that, or the negative errno that ends the wait. Of a table lock only the end is called. */
void rip_wait_begin(struct rip_waiting *waiting);
int rip_wait_end(struct rip_waiting *waiting, int rc);

#endif
