/* What semaphores, locks, events and barriers have in common: a place, a seat in it, and one word that says it all. */
#ifndef RIP_SYNC_H
#define RIP_SYNC_H

#include "base/wait.h"
#include "store/handle.h"

#include <errno.h>

struct rip_sync {
    struct rip_handle handle;
    struct rip_sync_file *file;
    uint32_t kind;  /* enum rip_sync_kind */
    uint32_t undo;  /* what we hold is counted in our seat */
    uint32_t me;    /* 1 + our seat */
    uint32_t held;  /* units, where they are counted */
    uint32_t epoch; /* as in the file when we took the seat */
    int give;       /* a descriptor for other processes, once one is asked for, or -1 */
    struct rip_spin spin, no_spin;
};

/* A place in the queue for units: one thread's, while it waits. */
struct rip_ticket {
    uint32_t units;
    uint32_t index; /* of its waiter */
    uint32_t tries; /* in vain */
};

/* 0 if the handle may be used. A forked child takes a seat of its own here; it holds nothing of its parent's. */
int rip_sync_enter(struct rip_sync *s);
static inline int rip_sync_check(struct rip_sync *s) {
    return __builtin_expect(s->handle.state == RIP_OPEN, 1) ? 0 : rip_sync_enter(s);
}

/* The word, with what was done before it was changed so. */
static inline uint64_t rip_sync_load(const struct rip_sync *s) {
    /* acquire: pairs with the release of every compare-and-swap on it */
    return atomic_load_explicit(&s->file->word, memory_order_acquire);
}

/* Gives back what killed processes held, at most every half second. For whoever waits for long. */
void rip_sync_reap_if_due(struct rip_sync *s);
/* Ready when the word is not what was seen, or when somebody rings. */
void rip_sync_watch(struct rip_sync *s, uint64_t seen, struct rip_watch *watch);
/* Wakes all who wait in rip_sync_watch; to be called after the word has changed. */
void rip_sync_wake(struct rip_sync *s);

/* ---- semaphore.c: semaphores and locks ---- */

/* 1 where the last owner of a lock died, 0, or -EAGAIN: not now. */
int rip_units_try(struct rip_sync *s, uint32_t units);
/* Stands in the queue: 0 or -EXFULL. From here on rip_ticket_try is called, until it takes them, or rip_ticket_cancel. */
int rip_ticket_take(struct rip_sync *s, uint32_t units, struct rip_ticket *ticket);
int rip_ticket_try(struct rip_sync *s, struct rip_ticket *ticket); /* as rip_units_try */
void rip_ticket_cancel(struct rip_sync *s, const struct rip_ticket *ticket);
void rip_ticket_watch(struct rip_sync *s, const struct rip_ticket *ticket, struct rip_watch *watch);
/* A seat ends: what it held comes back, and it waits no more; the table lock must be held. died: its process was killed. */
void rip_units_reap(struct rip_sync *s, uint32_t member, int died);
uint64_t rip_units_word(uint32_t units, uint64_t before); /* a word that says: this many are there */

/* ---- event.c, barrier.c ---- */

int rip_event_is_over(const struct rip_sync *s, uint64_t seen); /* set now, or set since the word was seen */
/* The place in this round, from 0 on, and the word to wait on, or -EPIPE: broken, or -EBADMSG. */
int rip_barrier_arrive(struct rip_sync *s, uint64_t *seen);
void rip_barrier_break(struct rip_sync *s);                       /* whatever the state of the handle */
void rip_barrier_give_up(struct rip_sync *s, uint64_t seen);      /* breaks that round, if it is not over */
int rip_barrier_is_over(const struct rip_sync *s, uint64_t seen); /* 0: not yet, 1: all have come, -EPIPE: broken */

#endif
