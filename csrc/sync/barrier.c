/* Barriers.
 *
 *   word   | outcomes 20 | broken 1 | arrived 11 | round 32 |
 *
 * The last thread to arrive starts the next round, and so does a break. A bit of outcomes says whether a round was
 * broken; the lowest bit is that of the last round. A thread that checks only after more rounds than there are bits
 * assumes that its round was complete. A broken barrier stays broken until it is reset. */
#include "sync/barrier.h"
#include "base/wait_hook.h"

#define ARRIVED_AT 32
#define ARRIVED UINT64_C(0x7ff)
#define BROKEN (UINT64_C(1) << 43)
#define OUTCOMES_AT 44
#define OUTCOMES 20u

static_assert(RIP_MAX_PARTIES <= ARRIVED, "all parties fit into the bits of arrived");

static int put(struct rip_sync *s, uint64_t *word, uint64_t to) {
    /* release: what this thread did before the barrier; acquire: what the others did. Both pair with this line in the
     * others. */
    return atomic_compare_exchange_weak_explicit(&s->file->word, word, to, memory_order_acq_rel, memory_order_acquire);
}

static uint64_t next_round(uint64_t word, uint64_t broken) {
    uint64_t outcomes = (word >> OUTCOMES_AT) << 1 | broken; /* the oldest outcome is shifted out */
    return outcomes << OUTCOMES_AT | (broken ? BROKEN : 0) | (uint32_t)(word + 1);
}

static uint32_t arrived(uint64_t word) { return (uint32_t)(word >> ARRIVED_AT & ARRIVED); }

/* Arrives at the barrier. Returns the index of this arrival in its round, from 0; -EPIPE: the barrier is broken;
 * -EBADMSG. Stores the word of the round in *seen. */
static int arrive(struct rip_sync *s, uint64_t *seen) {
    uint64_t word = rip_sync_load(s), to;
    uint32_t parties = s->file->value;
    int last;
    if (parties == 0 || parties > RIP_MAX_PARTIES) {
        return -EBADMSG;
    }
    do {
        if (word & BROKEN) {
            return -EPIPE;
        }
        last = arrived(word) + 1 >= parties;
        to = last ? next_round(word, 0) : word + (UINT64_C(1) << ARRIVED_AT);
    } while (!put(s, &word, to));
    *seen = to;
    if (last) {
        *seen = word; /* of the round that has just ended */
        rip_sync_wake(s);
    }
    return (int)arrived(word);
}

/* Returns 0 while the round of the word `seen` goes on, 1 if all have arrived, -EPIPE if it was broken. */
static int is_over(const struct rip_sync *s, uint64_t seen) {
    uint64_t word = rip_sync_load(s);
    uint32_t ago = (uint32_t)word - (uint32_t)seen; /* rounds that have ended since it was seen */
    if (ago == 0) {
        return 0;
    }
    return ago <= OUTCOMES && word >> (OUTCOMES_AT + ago - 1) & 1 ? -EPIPE : 1;
}

/* Breaks the round of the word `seen`, or the present one if seen is NULL. Does nothing if that round has ended. */
static void break_round(struct rip_sync *s, const uint64_t *seen) {
    uint64_t word = rip_sync_load(s);
    do {
        if (word & BROKEN || (seen && (uint32_t)word != (uint32_t)*seen)) {
            return;
        }
    } while (!put(s, &word, next_round(word, 1)));
    rip_sync_wake(s);
}

void rip_barrier_left(struct rip_sync *s, uint32_t member, int died) {
    (void)member;
    if (died) {
        break_round(s, NULL);
    }
}

int rip_barrier_abort(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    if (rc == 0) {
        break_round(s, NULL);
    }
    return rc;
}

int rip_barrier_reset(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    if (rc != 0) {
        return rc;
    }
    uint64_t word = rip_sync_load(s), to;
    do {
        /* threads that wait in this round get -EPIPE */
        to = arrived(word) ? next_round(word, 1) & ~BROKEN : word & ~BROKEN;
    } while (!put(s, &word, to));
    rip_sync_wake(s);
    return 0;
}

int rip_barrier_waiting(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    return rc ? rc : (int)arrived(rip_sync_load(s));
}

int rip_barrier_is_broken(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    return rc ? rc : (rip_sync_load(s) & BROKEN) != 0;
}

int rip_barrier_wait(struct rip_sync *s, uint64_t deadline) {
    struct rip_watch watch;
    uint64_t seen = 0;
    int rc = rip_sync_check(s);
    int index = rc ? rc : arrive(s, &seen);
    while (index >= 0) {
        rip_sync_watch(s, seen, &watch);
        int over = is_over(s, seen);
        if (over != 0) {
            return over < 0 ? over : index;
        }
        if (rc == -ETIMEDOUT) {
            break_round(s, &seen);
            return is_over(s, seen) < 0 ? -ETIMEDOUT : index;
        }
        rc = rip_sync_wait(s, &watch, deadline);
        if (rc == -EINTR && !rip_has_wait_hook()) {
            rc = 0; /* this thread has arrived and cannot arrive again, so it goes on waiting */
        }
        if (rc < 0 && rc != -ETIMEDOUT) {
            break_round(s, &seen);
            return rc;
        }
    }
    return index;
}
