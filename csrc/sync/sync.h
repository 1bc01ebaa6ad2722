/* What semaphores, locks, events and barriers have in common: a place, a seat in it, and one word that says it all. */
#ifndef RIP_SYNC_H
#define RIP_SYNC_H

#include "base/wait.h"
#include "sync/sync_file.h"

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

/* 0 if the handle may be used. A forked child takes a seat of its own here; it holds nothing of its parent's. */
int rip_sync_enter(struct rip_sync *s);
static inline int rip_sync_check(struct rip_sync *s) {
    return __builtin_expect(s->handle.state == RIP_OPEN, 1) ? 0 : rip_sync_enter(s);
}

/* Takes a seat, by which others know that this handle lives; the table lock must be held. */
int rip_sync_join(struct rip_sync *s);

/* The word, with what was done before it was changed so. */
static inline uint64_t rip_sync_load(const struct rip_sync *s) {
    /* acquire: pairs with the release of every compare-and-swap on it */
    return atomic_load_explicit(&s->file->word, memory_order_acquire);
}

/* Ready when the word is not what was seen, or when somebody rings. */
void rip_sync_watch(struct rip_sync *s, uint64_t seen, struct rip_watch *watch);
/* Waits for a slice, and reaps if that is due: as rip_watch_wait, or -ESHUTDOWN where another thread has closed the handle meanwhile. */
int rip_sync_wait(struct rip_sync *s, const struct rip_watch *watch, uint64_t deadline);
/* Wakes all who wait in rip_sync_watch; to be called after the word has changed. */
void rip_sync_wake(struct rip_sync *s);

#endif
