#include "sync/flag_word.h"

#define TURN (UINT64_C(1) << RIP_FLAG_TURN_AT)

int rip_flag_set(struct rip_sync *s, union rip_word *word) {
    int rc = rip_sync_check(s);
    uint64_t seen = rip_word_load(word);
    do {
        if (rc != 0 || seen & RIP_FLAG_SET) {
            return rc;
        }
        /* release: pairs with the acquire in rip_flag_is_set and rip_flag_wait */
    } while (!atomic_compare_exchange_strong_explicit(&word->whole, &seen,
                                                      ((seen & ~RIP_FLAG_WAITERS) + TURN) | RIP_FLAG_SET,
                                                      memory_order_release, memory_order_relaxed));
    if (seen & RIP_FLAG_WAITERS) {
        rip_wake_many(&word->half, INT32_MAX);
    }
    return 0;
}

int rip_flag_clear(struct rip_sync *s, union rip_word *word) {
    int rc = rip_sync_check(s);
    if (rc == 0) {
        atomic_fetch_and_explicit(&word->whole, ~RIP_FLAG_SET, memory_order_release); /* as in rip_flag_set */
    }
    return rc;
}

int rip_flag_wait(struct rip_sync *s, union rip_word *word, uint64_t turn, uint64_t deadline) {
    struct rip_watch watch;
    int rc = rip_sync_check(s);
    for (int waited = 0; rc == 0;) {
        /* acquire: pairs with the release in rip_flag_set */
        uint64_t seen = atomic_load_explicit(&word->whole, memory_order_acquire);
        if (seen & RIP_FLAG_SET || seen >> RIP_FLAG_TURN_AT != turn) {
            return 0;
        }
        if (waited == -ETIMEDOUT || deadline == 0) {
            return -ETIMEDOUT;
        }
        rip_word_watch(s, word, seen, RIP_FLAG_WAITERS, &watch);
        waited = rip_watch_wait(&watch, deadline);
        rc = rip_handle_check(&s->handle);
        rc = rc || waited >= 0 || waited == -ETIMEDOUT ? rc : waited;
    }
    return rc;
}

/* The lock orders the stores of its owners. But an owner can be killed between two of its stores: release keeps them in
 * the order in which they are written here. The kernel's release of the dead holder's byte (lock_word.c) does the
 * rest. */
static void store(_Atomic uint32_t *count, uint32_t value) {
    atomic_store_explicit(count, value, memory_order_release);
}

uint64_t rip_condition_arrive(struct rip_condition *condition) {
    store(&condition->waiting, rip_condition_waiting(condition) + 1);
    return rip_flag_turn(&condition->word);
}

int rip_condition_collect(struct rip_condition *condition, uint64_t arrived) {
    uint32_t notified = rip_condition_notified(condition);
    if (notified == 0 || rip_flag_turn(&condition->word) == arrived) {
        return 0;
    }
    store(&condition->notified, notified - 1);
    return 1;
}

void rip_condition_leave(struct rip_condition *condition) {
    uint32_t waiting = rip_condition_waiting(condition);
    if (waiting > 0) { /* it is 0 if a process was killed in one of these functions */
        store(&condition->waiting, waiting - 1);
    }
}

void rip_condition_notify(struct rip_condition *condition, uint32_t most) {
    uint32_t waiting = rip_condition_waiting(condition), count = waiting < most ? waiting : most;
    if (count == 0) {
        return;
    }
    /* In this order: wherever this process is killed, everybody who waits is counted or has something to collect, and
     * sees a new turn. What is too much is a notification for nobody. relaxed: the next store is a release. */
    uint64_t seen = atomic_fetch_add_explicit(&condition->word.whole, TURN, memory_order_relaxed) + TURN;
    store(&condition->notified, rip_condition_notified(condition) + count);
    store(&condition->waiting, waiting - count);
    /* If fewer slept than were to be woken, nobody sleeps any more, and the announcement can be cleared, unless the
     * word has changed. */
    if (seen & RIP_FLAG_WAITERS && rip_wake_many(&condition->word.half, (int)count) < (int)count) {
        atomic_compare_exchange_strong_explicit(&condition->word.whole, &seen, seen & ~RIP_FLAG_WAITERS,
                                                memory_order_relaxed, memory_order_relaxed);
    }
}
