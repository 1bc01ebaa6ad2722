#include "sync/count_word.h"

/* Acquires a unit if there is one. Returns 0 or -EAGAIN. */
static int try_count(union rip_word *word) {
    uint64_t seen = rip_word_load(word);
    do {
        if ((seen & RIP_COUNT_UNITS) == 0) {
            return -EAGAIN;
        }
        /* acquire: pairs with the release in rip_count_release */
    } while (!atomic_compare_exchange_strong_explicit(&word->whole, &seen, seen - 1, memory_order_acquire,
                                                      memory_order_relaxed));
    return 0;
}

/* Wakes a waiter if there are units. */
static __attribute__((noinline, cold)) void wake(union rip_word *word) {
    uint64_t seen = rip_word_load(word);
    /* There are units: a thread that announces itself from now on sees that, and does not sleep. So if nobody was
     * woken, nobody sleeps, and the announcement can be cleared, unless the word has changed. */
    if (seen & RIP_COUNT_UNITS && seen & RIP_COUNT_WAITERS && rip_wake_many(&word->half, 1) == 0) {
        atomic_compare_exchange_strong_explicit(&word->whole, &seen, seen & ~RIP_COUNT_WAITERS, memory_order_relaxed,
                                                memory_order_relaxed);
    }
}

int rip_count_acquire(struct rip_sync *s, union rip_word *word, uint64_t deadline) {
    struct rip_watch watch;
    int rc = rip_sync_check(s);
    rc = rc ? rc : try_count(word);
    if (rc == -EAGAIN && deadline == 0) {
        return -ETIMEDOUT;
    }
    for (int waited = 0; rc == -EAGAIN;) {
        rip_word_watch(s, word, rip_word_load(word), RIP_COUNT_WAITERS, &watch);
        rc = try_count(word);
        if (rc == 0) {
            return 0;
        }
        if (waited == -ETIMEDOUT) {
            return waited;
        }
        waited = rip_watch_wait(&watch, deadline);
        int closed = rip_handle_check(&s->handle);
        if (closed || (waited < 0 && waited != -ETIMEDOUT)) {
            wake(word); /* another waiter gets the wake-up that may have been meant for this one */
            return closed ? closed : waited;
        }
    }
    return rc;
}

int rip_count_release(struct rip_sync *s, union rip_word *word, uint32_t most) {
    int rc = rip_sync_check(s);
    uint64_t seen = rip_word_load(word);
    do {
        if (rc != 0 || (seen & RIP_COUNT_UNITS) >= most) {
            return rc ? rc : -EOVERFLOW;
        }
        /* release: pairs with the acquire in try_count */
    } while (!atomic_compare_exchange_strong_explicit(&word->whole, &seen, seen + RIP_COUNT_RELEASE + 1,
                                                      memory_order_release, memory_order_relaxed));
    if (seen & RIP_COUNT_WAITERS) {
        wake(word);
    }
    return 0;
}
