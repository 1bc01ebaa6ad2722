#include "sync/lock_word.h"
#include "base/byte_lock.h"

/* Returns 1 if the holder in this word is dead. */
static int is_dead(const struct rip_sync *s, uint64_t seen) {
    uint64_t holder = seen >> RIP_WORD_HOLDER_AT;
    return holder != s->holder && rip_byte_is_free(s->handle.mapping.fd, RIP_HOLDER_BYTES + holder) == 1;
}

/* Acquires the lock if it is free, or this thread's and recursive, or (look) a dead holder's. Returns as
 * rip_word_acquire, or -EAGAIN. */
static int try_word(const struct rip_sync *s, union rip_word *word, enum rip_recursion recursion, int look) {
    uint64_t me = rip_word_me(s), seen = rip_word_load(word), to;
    do {
        if (seen >> RIP_WORD_HOLDER_AT == 0) {
            to = me | (seen & (RIP_WORD_WAITERS | RIP_WORD_DIED)) | 1;
        } else if (recursion == RIP_RECURSIVE && (seen & RIP_WORD_OWNER) == me) {
            if ((seen & RIP_WORD_COUNT) == RIP_WORD_COUNT) {
                return -EOVERFLOW;
            }
            to = seen + 1;
        } else if (look && is_dead(s, seen)) {
            to = me | (seen & RIP_WORD_WAITERS) | RIP_WORD_DIED | 1;
        } else {
            return -EAGAIN;
        }
        /* acquire: pairs with the release in rip_word_release. After a death there is none: the kernel's release of
         * the byte of the holder, which comes after all that it did, takes that part. */
    } while (
        !atomic_compare_exchange_strong_explicit(&word->whole, &seen, to, memory_order_acquire, memory_order_relaxed));
    return (to & RIP_WORD_DIED) != 0;
}

/* A waiter leaves without the lock: another one gets the wake-up that may have been meant for this one. */
static int leave(union rip_word *word, int rc) {
    if (!rip_word_is_held(word) && rip_word_load(word) & RIP_WORD_WAITERS) {
        rip_word_wake(word);
    }
    return rc;
}

int rip_word_acquire(struct rip_sync *s, union rip_word *word, enum rip_recursion recursion, uint64_t deadline) {
    struct rip_watch watch;
    int rc = rip_sync_check(s);
    rc = rc ? rc : try_word(s, word, recursion, 1);
    if (rc == -EAGAIN && deadline == 0) {
        return -ETIMEDOUT;
    }
    for (int waited = 1; rc == -EAGAIN;) {
        rip_word_watch(s, word, rip_word_load(word), RIP_WORD_WAITERS, &watch);
        rc = try_word(s, word, recursion, waited != 1); /* looks for the dead once in a slice */
        if (rc != -EAGAIN) {
            return rc;
        }
        if (waited == -ETIMEDOUT) {
            return leave(word, waited);
        }
        waited = rip_watch_wait(&watch, deadline);
        int closed = rip_handle_check(&s->handle);
        if (closed || (waited < 0 && waited != -ETIMEDOUT)) {
            return leave(word, closed ? closed : waited);
        }
    }
    return rc;
}

__attribute__((noinline, cold)) void rip_word_wake(union rip_word *word) {
    uint64_t free = RIP_WORD_WAITERS | (rip_word_load(word) & RIP_WORD_DIED);
    /* The word is free: a thread that announces itself from now on sees that, and does not sleep. So if nobody was
     * woken, nobody sleeps, and the announcement can be cleared, unless the word has changed. */
    if (rip_wake_many(&word->half, 1) == 0) {
        atomic_compare_exchange_strong_explicit(&word->whole, &free, free & ~RIP_WORD_WAITERS, memory_order_relaxed,
                                                memory_order_relaxed);
    }
}
