/* The futex word: a word in shared memory to sleep on; and the fences that this needs. */
#ifndef RIP_FUTEX_H
#define RIP_FUTEX_H

#include "base/common.h"

/* A sleeper announces its sleep and then checks again; a publisher publishes and then checks for announcements. Both
 * sides need a store-load order. The sleeper executes the fence for both, with membarrier(2), so that a publish needs
 * no fence (asymmetric fences: Dice, Huang, Yang 2001; liburcu, folly). */

/* Registers this process for membarrier(2). Returns 1 if it can execute the heavy fence and is reached by those of
 * others, else 0. */
int rip_fence_setup(void);
/* A fence on this processor and on every processor that runs a registered process. */
void rip_fence_heavy(void);
/* In a forked child: forgets the parent's registration, so that the child registers itself. */
void rip_fence_forget(void);

/* Sleeps while *word == expected. Returns 0 when woken or when the word has changed, -EINTR after a signal, or
 * -ETIMEDOUT at the deadline. */
int rip_sleep(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline);
/* Increments the word and wakes all who sleep on it. */
void rip_wake(_Atomic uint32_t *word);

/* Wakes at most `most` of those who sleep on a word that the caller has changed itself. Returns how many it woke. */
int rip_wake_many(_Atomic uint32_t *word, int most);

/* A sleeper that waits for any message takes it when woken, so it is enough to wake one such sleeper. One that waits
 * for selected messages may leave it. */
enum rip_sleeper { RIP_WAITS_FOR_ANY = 1, RIP_WAITS_FOR_SOME = 2 };
/* Increments the word and wakes at most `most` sleepers of this kind. Returns how many it woke. */
int rip_wake_some(_Atomic uint32_t *word, enum rip_sleeper kind, int most);

/* As rip_sleep, as a sleeper of this kind. */
int rip_sleep_as(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline, enum rip_sleeper kind);

/* Returns 1 if the machine has one processor online and this process may run on it only. Then spinning is useless. */
int rip_has_one_processor(void);

#endif
