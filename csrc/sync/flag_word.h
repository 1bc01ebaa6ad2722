/* Events of 8 bytes and conditions of 16 that lie in shared memory (memory.h), without a file descriptor or a table.
 *
 *   word   | turn 62 | waiters 1 | set 1 |
 *
 * The turn counts how often the event has been set. It shows a waiter that the event has been set since, even if it has
 * been cleared again. Every change is one compare-and-swap. Whoever changes the turn wakes those who announced
 * themselves in the word (waiters); if it is killed before, they find out within a slice.
 *
 * A **condition** is an event that is never set, only its turn changes, and two counts, which the lock of the condition
 * guards: how many threads wait that have not been notified (waiting), and how many notifications nobody has collected
 * yet (notified). A thread that arrives counts itself, releases the lock, sleeps until the turn changes, takes the lock
 * again, and collects a notification; if there is none left it sleeps again. A notifier wakes as many sleepers as it
 * notifies, but it does not wait for them. So nobody waits for a process that is killed: what was meant for it is
 * collected by another thread. A notification is not collected by a thread that arrived after it. */
#ifndef RIP_FLAG_WORD_H
#define RIP_FLAG_WORD_H

#include "sync/sync.h"

#define RIP_FLAG_SET UINT64_C(1)
#define RIP_FLAG_WAITERS UINT64_C(2)
#define RIP_FLAG_TURN_AT 2

/* Each returns 0 (rip_flag_wait also -ETIMEDOUT), or as rip_sync_wait. */
int rip_flag_set(struct rip_sync *s, union rip_word *word);
int rip_flag_clear(struct rip_sync *s, union rip_word *word);
/* Waits until the event is set, or has been set since its turn was this one. */
int rip_flag_wait(struct rip_sync *s, union rip_word *word, uint64_t turn, uint64_t deadline);

static inline uint64_t rip_flag_turn(const union rip_word *word) { return rip_word_load(word) >> RIP_FLAG_TURN_AT; }
static inline int rip_flag_is_set(const union rip_word *word) {
    /* acquire: pairs with the release in rip_flag_set */
    return (int)(atomic_load_explicit(&word->whole, memory_order_acquire) & RIP_FLAG_SET);
}

struct rip_condition {
    union rip_word word;
    _Atomic uint32_t waiting, notified; /* under the lock of the condition */
};
static_assert(sizeof(struct rip_condition) == 16, "ABI");

static inline union rip_word *rip_condition_word(struct rip_condition *condition) { return &condition->word; }
static inline uint64_t rip_condition_turn(const struct rip_condition *condition) {
    return rip_flag_turn(&condition->word);
}
static inline uint32_t rip_condition_waiting(const struct rip_condition *condition) {
    return atomic_load_explicit(&condition->waiting, memory_order_relaxed);
}
static inline uint32_t rip_condition_notified(const struct rip_condition *condition) {
    return atomic_load_explicit(&condition->notified, memory_order_relaxed);
}
/* The caller has the lock. Returns the turn, for rip_flag_wait and rip_condition_collect. */
uint64_t rip_condition_arrive(struct rip_condition *condition);
/* The caller, which arrived in this turn, has the lock again. Returns 1 if it is notified, and does not wait any
 * more. */
int rip_condition_collect(struct rip_condition *condition, uint64_t arrived);
/* The caller has the lock, and does not wait any more. */
void rip_condition_leave(struct rip_condition *condition);
/* The caller has the lock. Notifies at most `most` of those who wait. */
void rip_condition_notify(struct rip_condition *condition, uint32_t most);

#endif
