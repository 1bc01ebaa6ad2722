/* One word in shared memory to sleep on, and the fences that go with it. */
#ifndef RIP_FUTEX_H
#define RIP_FUTEX_H

#include "base/common.h"

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

/* The same, as who: what rip_wake_some looks at. */
int rip_sleep_as(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline, enum rip_sleeper who);

int rip_has_one_processor(void); /* may this process use no more than one, on a machine that has no more? */

#endif
