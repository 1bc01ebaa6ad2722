#include "base/holder.h"
#include "base/byte_lock.h"

#include <errno.h>

#define TRIES (UINT32_C(1) << 16) /* more than there can be live holders with numbers in a row */

int rip_holder_take(int fd, _Atomic uint32_t *numbers, uint32_t *holder) {
    *holder = 0;
    for (uint32_t i = 0; i < TRIES; i++) {
        /* relaxed: under the table lock */
        uint32_t number = atomic_fetch_add_explicit(numbers, 1, memory_order_relaxed) + 1;
        number &= (UINT32_C(1) << RIP_HOLDER_BITS) - 1;
        int rc = number ? rip_byte_lock(fd, RIP_HOLDER_BYTES + number) : -EAGAIN;
        if (rc != -EAGAIN) {
            *holder = rc ? 0 : number;
            return rc;
        }
    }
    return -ENOLCK; /* another process has locked the bytes of numbers that were never given */
}

/* Returns 1 if the holder in this word is dead. */
static int is_dead(uint64_t seen, uint64_t me, int fd) {
    uint64_t holder = seen >> RIP_WORD_HOLDER_AT;
    return holder != me >> RIP_WORD_HOLDER_AT && rip_byte_is_free(fd, RIP_HOLDER_BYTES + holder) == 1;
}

int rip_word_try(union rip_word *word, uint64_t me, enum rip_recursion recursion, int fd, int look) {
    uint64_t seen = rip_word_load(word), to;
    do {
        if (seen >> RIP_WORD_HOLDER_AT == 0) {
            to = me | (seen & (RIP_WORD_WAITERS | RIP_WORD_DIED)) | 1;
        } else if (recursion == RIP_RECURSIVE && (seen & RIP_WORD_OWNER) == me) {
            if ((seen & RIP_WORD_COUNT) == RIP_WORD_COUNT) {
                return -EOVERFLOW;
            }
            to = seen + 1;
        } else if (look && is_dead(seen, me, fd)) {
            to = me | (seen & RIP_WORD_WAITERS) | RIP_WORD_DIED | 1;
        } else {
            return -EAGAIN;
        }
        /* acquire: pairs with the release in rip_word_free. After a death there is none: the kernel's release of the
         * byte of the holder, which comes after all that it did, takes that part. */
    } while (
        !atomic_compare_exchange_strong_explicit(&word->whole, &seen, to, memory_order_acquire, memory_order_relaxed));
    return (to & RIP_WORD_DIED) != 0;
}

void rip_watch_word(union rip_word *word, uint64_t seen, uint64_t waiters, struct rip_spin *spin,
                    struct rip_spin *no_spin, struct rip_watch *watch) {
    watch->words[0] = &word->whole;
    watch->seen[0] = seen;
    watch->count = 1;
    watch->futex = &word->half;
    watch->asleep32 = NULL;
    watch->asleep64 = &word->whole;
    watch->bit = waiters;
    watch->picky = NULL;
    watch->slice = RIP_SLICE_NS;
    watch->fenced = 1; /* each change of the word is a full fence */
    /* If some thread sleeps already (it may be this one, which has just announced that), do not spin to overtake it. */
    watch->spin = seen & waiters && spin->mode != RIP_WAIT_SPIN ? no_spin : spin;
}

void rip_word_give_up(union rip_word *word) {
    if (!rip_word_is_held(word) && rip_word_load(word) & RIP_WORD_WAITERS) {
        rip_word_wake(word);
    }
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
