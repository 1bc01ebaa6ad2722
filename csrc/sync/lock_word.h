/* Lock words (base/holder.h) in shared memory (memory.h), whose handles are their holders. The owner is one thread of one
 * handle. The caller says with each call whether the lock is recursive: if it is not, its owner waits like anybody else,
 * and everybody may release it. */
#ifndef RIP_LOCK_WORD_H
#define RIP_LOCK_WORD_H

#include "base/holder.h"
#include "sync/sync.h"

/* Acquires the lock. Returns 0; 1 if an owner before was killed with it, and nobody has released it since
 * (rip_word_release); -ETIMEDOUT; -EOVERFLOW: this thread has acquired a recursive lock 4095 times; or as
 * rip_sync_wait. */
int rip_word_acquire(struct rip_sync *s, union rip_word *word, enum rip_recursion recursion, uint64_t deadline);
/* What the word holds in the place of holder and thread if this thread owns it. */
static inline uint64_t rip_word_me(const struct rip_sync *s) {
    return (uint64_t)s->holder << RIP_WORD_HOLDER_AT | (uint64_t)rip_thread() << RIP_WORD_THREAD_AT;
}

/* Returns how often this thread or another one of this handle has acquired the lock. */
static inline uint32_t rip_word_count(const struct rip_sync *s, const union rip_word *word) {
    uint64_t seen = rip_word_load(word);
    return s->holder != 0 && seen >> RIP_WORD_HOLDER_AT == s->holder ? (uint32_t)(seen & RIP_WORD_COUNT) : 0;
}

/* Returns 1 if this thread owns the lock: only it can put its own number into the word, or remove it. */
static inline int rip_word_is_mine(const struct rip_sync *s, const union rip_word *word) {
    return (rip_word_load(word) & RIP_WORD_OWNER) == rip_word_me(s) && s->holder != 0;
}

/* Returns 1 if the owner before was killed with the lock. For its owner. */
static inline int rip_word_owner_died(const union rip_word *word) { return (rip_word_load(word) & RIP_WORD_DIED) != 0; }

/* As rip_word_acquire; inline if the word is free. The handle must be open. */
static inline int rip_word_enter(struct rip_sync *s, union rip_word *word, enum rip_recursion recursion,
                                 uint64_t deadline) {
    if (RIP_LIKELY(s->handle.state == RIP_OPEN) && RIP_LIKELY(rip_word_take_free(word, rip_word_me(s)))) {
        return 0;
    }
    return rip_word_acquire(s, word, recursion, deadline);
}

/* Releases the lock once, and wakes a waiter if it is free then. A free word keeps these bits. Returns 0; -EPERM: this
 * thread does not own it; or as rip_sync_check. */
static inline int rip_word_give(struct rip_sync *s, union rip_word *word, uint64_t keep) {
    int rc = rip_sync_check(s);
    if (RIP_UNLIKELY(rc != 0)) {
        return rc;
    }
    if (RIP_UNLIKELY(!rip_word_is_mine(s, word))) {
        return -EPERM;
    }
    if ((rip_word_load(word) & RIP_WORD_COUNT) > 1) {
        atomic_fetch_sub_explicit(&word->whole, 1, memory_order_relaxed); /* relaxed: the lock stays with this thread */
        return 0;
    }
    rip_word_free(word, keep);
    return 0;
}

/* Releases the lock, as rip_word_give. */
static inline int rip_word_release(struct rip_sync *s, union rip_word *word) {
    return rip_word_give(s, word, RIP_WORD_WAITERS);
}

/* Releases a lock that is not recursive, whoever has acquired it. Returns 0; -EPERM: it is free; or as
 * rip_sync_check. */
static inline int rip_word_release_any(struct rip_sync *s, union rip_word *word) {
    int rc = rip_sync_check(s);
    uint64_t seen = rip_word_load(word);
    do {
        if (RIP_UNLIKELY(rc != 0 || seen >> RIP_WORD_HOLDER_AT == 0)) {
            return rc ? rc : -EPERM;
        }
        /* release: pairs with the acquire of the next owner */
    } while (RIP_UNLIKELY(!atomic_compare_exchange_weak_explicit(&word->whole, &seen, seen & RIP_WORD_WAITERS,
                                                                 memory_order_release, memory_order_relaxed)));
    if (RIP_UNLIKELY(seen & RIP_WORD_WAITERS)) {
        rip_word_wake(word);
    }
    return 0;
}

/* The same as rip_word_release, but the next owner sees a death that this one has seen. */
static inline int rip_word_pass_on(struct rip_sync *s, union rip_word *word) {
    return rip_word_give(s, word, RIP_WORD_WAITERS | RIP_WORD_DIED);
}

#endif
