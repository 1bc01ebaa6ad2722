/* Lock words, and their holders: locks of 8 bytes that lie in shared memory, without a file descriptor or a table.
 *
 *   word   | holder 28 | thread 22 | waiters 1 | died 1 | count 12 |      holder 0: free
 *
 * Every change is one compare-and-swap (or another single atomic operation). So a process that is killed at any
 * instruction leaves a word that is free, or one whose holder is dead.
 *
 * The **holder** is a handle. It has a number that no other handle of the file has had, and keeps a byte of the file
 * locked while it lives, as members do. Whoever finds a word with a dead holder takes it, and sees that (died); if it
 * could not handle the death it leaves died in the free word, for the next owner. Where threads compete for the lock,
 * the word names the thread too. The caller says with each call whether the lock is recursive; count says how often its
 * owner has acquired it.
 *
 * A waiter announces itself in the word (waiters) and sleeps on its lower half. A release leaves the announcement and
 * wakes one waiter; it clears the announcement if nobody slept. So a waiter that has been killed delays the others by
 * at most a slice. */
#ifndef RIP_HOLDER_H
#define RIP_HOLDER_H

#include "base/thread.h"
#include "base/wait.h"

union rip_word { /* in shared memory: a lock word, or another one that waiters sleep on */
    _Atomic uint64_t whole;
    _Atomic uint32_t half; /* the lower half: the futex word */
};

#define RIP_HOLDER_BITS 28
#define RIP_HOLDER_BYTES (UINT64_C(1) << 32) /* holder n locks byte RIP_HOLDER_BYTES + n; no byte of a member is here */

#define RIP_WORD_COUNT UINT64_C(0xfff)
#define RIP_WORD_DIED (UINT64_C(1) << 12)
#define RIP_WORD_WAITERS (UINT64_C(1) << 13)
#define RIP_WORD_THREAD_AT 14
#define RIP_WORD_HOLDER_AT 36
#define RIP_WORD_OWNER (UINT64_MAX << RIP_WORD_THREAD_AT) /* holder and thread */

static_assert(RIP_WORD_THREAD_AT + RIP_THREAD_BITS == RIP_WORD_HOLDER_AT && RIP_WORD_HOLDER_AT + RIP_HOLDER_BITS == 64,
              "the parts of a lock word fill it");
static_assert(sizeof(union rip_word) == 8, "ABI");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lower half of a word comes first");

enum rip_recursion { RIP_NOT_RECURSIVE, RIP_RECURSIVE };

/* Takes the next number of a holder, and locks its byte. fd: of the file whose bytes the holders lock. numbers: how
 * many have been given, modulo 2^32; it changes under the table lock of the file. None is used twice before 2^28
 * others have been, and none that a live holder has. Returns 0 or a negative errno. */
int rip_holder_take(int fd, _Atomic uint32_t *numbers, uint32_t *holder);

/* Acquires the lock if it is free, or the caller's and recursive, or (look) a dead holder's. me: holder and thread, as
 * the word has them. Returns 0; 1 if an owner before was killed with it, and nobody has released it since; -EAGAIN;
 * -EOVERFLOW: the caller has acquired it 4095 times. */
int rip_word_try(union rip_word *word, uint64_t me, enum rip_recursion recursion, int fd, int look);
/* Fills in a watch that is ready when a word differs from `seen`. waiters: the bit in it for the announcement of
 * waiters. no_spin: for a waiter that is to sleep at once, because others sleep already. */
void rip_watch_word(union rip_word *word, uint64_t seen, uint64_t waiters, struct rip_spin *spin,
                    struct rip_spin *no_spin, struct rip_watch *watch);
/* To be called after a release of a word that others wait for: wakes one of them. */
void rip_word_wake(union rip_word *word);
/* A waiter leaves without the lock: another one gets the wake-up that may have been meant for this one. */
void rip_word_give_up(union rip_word *word);

static inline uint64_t rip_word_load(const union rip_word *word) {
    return atomic_load_explicit(&word->whole, memory_order_relaxed); /* relaxed: who acts on it uses an acquire */
}

/* Returns 1 if some holder has acquired the lock; it may be dead. */
static inline int rip_word_is_held(const union rip_word *word) {
    return rip_word_load(word) >> RIP_WORD_HOLDER_AT != 0;
}

/* Acquires the lock if it is free, and nobody waits for it or has died with it. Returns 1, else 0. */
static inline int rip_word_take_free(union rip_word *word, uint64_t me) {
    uint64_t free = 0;
    /* acquire: pairs with the release in rip_word_free */
    return atomic_compare_exchange_strong_explicit(&word->whole, &free, me | 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

/* Frees a word that the caller owns once, and wakes a waiter. A free word keeps these bits. Returns 1 if a waiter had
 * announced itself. */
static inline int rip_word_free(union rip_word *word, uint64_t keep) {
    /* release: pairs with the acquire of the next owner */
    if (RIP_UNLIKELY(atomic_fetch_and_explicit(&word->whole, keep, memory_order_release) & RIP_WORD_WAITERS)) {
        rip_word_wake(word);
        return 1;
    }
    return 0;
}

#endif
