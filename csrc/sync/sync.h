/* What semaphores, locks, events, barriers, latest values and shared memory have in common: a control file, and one
 * word that holds the state. Each handle has a shared lock on one byte of the file, and a member entry; but a handle of
 * a latest value has an entry only once it has set a value, so any number of handles can read it. A handle of shared
 * memory has a number instead, as a holder of lock words, so there can be any number of these too. */
#ifndef RIP_SYNC_H
#define RIP_SYNC_H

#include "base/wait.h"
#include "sync/sync_file.h"

#include <errno.h>

struct rip_latest_fd;

struct rip_latest {                       /* what a handle of a latest value knows */
    uint64_t capacity;                    /* bytes of the payload area of a slot */
    uint64_t allocated[RIP_LATEST_SLOTS]; /* bytes of it that this handle has made sure of: it writes no others */
    uint64_t
        readable[RIP_LATEST_SLOTS]; /* bytes of it that this handle has found to be allocated: it reads no others */
    uint64_t time_offset;           /* rip_clock_offset */
    uint32_t setting;               /* slots that this handle has claimed now */
    struct rip_latest_fd *fd;       /* NULL: the handle has no pollfd */
};

struct rip_memory { /* what a handle of shared memory knows */
    uint64_t size;  /* bytes of the data */
    unsigned char *data, *draft;
    uint32_t description_length; /* bytes */
    uint32_t has_path;           /* 1: the file is the user's */
    uint32_t allocated;          /* 1: this handle has made sure that the draft is allocated */
    uint32_t readable;           /* 1: this handle has found that it is */
    _Atomic uint32_t use;        /* whether a thread of this process writes with this handle: enum use in memory.c */
};

struct rip_sync {
    struct rip_handle handle;
    struct rip_sync_file *file;
    uint32_t kind;   /* enum rip_sync_kind */
    uint32_t undo;   /* 1: the member's entry counts the units of this handle */
    uint32_t me;     /* 1 + the index of this handle's member */
    uint32_t held;   /* the units of this handle, if they are counted */
    uint32_t epoch;  /* that of the file when this handle joined */
    uint32_t holder; /* the number of this handle of shared memory, or 0; base/holder.h */
    int shared_fd;   /* a file descriptor for other processes, once rip_sync_fd has been called, or -1 */
    struct rip_spin spin, no_spin;
    struct rip_latest latest;
    struct rip_memory memory;
};

/* Makes a forked child join as a member of its own. It has no units of its parent. Returns 0, -ESHUTDOWN for a closed
 * handle, -ENOENT if the object has ended since the fork, or another negative errno. */
int rip_sync_enter(struct rip_sync *s);
/* Returns 0 if the handle may be used, else as rip_sync_enter. */
static inline int rip_sync_check(struct rip_sync *s) {
    return __builtin_expect(s->handle.state == RIP_OPEN, 1) ? 0 : rip_sync_enter(s);
}

/* Locks the byte by which others see that the object is open, and takes a member entry, or a number as a holder if this
 * is shared memory; of a latest value neither. The table lock must be held. Returns 0, or -EUSERS: there are too many
 * handles. */
int rip_sync_join(struct rip_sync *s);
/* Returns 1 if no other handle has the object open; then this one has the byte of rip_sync_join for itself. The table
 * lock must be held. */
int rip_sync_is_alone(struct rip_sync *s);
/* Takes a member entry for this handle of a latest value. Returns 0, -EUSERS, or as rip_lock. */
int rip_sync_become_member(struct rip_sync *s);

/* Loads the word. What other processes did before they stored it is visible afterwards. */
static inline uint64_t rip_sync_load(const struct rip_sync *s) {
    /* acquire: pairs with the release of every compare-and-swap on it */
    return atomic_load_explicit(&s->file->word, memory_order_acquire);
}

/* Fills in a watch that is ready when the word differs from `seen`. */
void rip_sync_watch(struct rip_sync *s, uint64_t seen, struct rip_watch *watch);
/* The same for a word in shared memory whose lower half is the futex word, and which has a bit for the announcement of
 * its waiters. */
static inline void rip_word_watch(struct rip_sync *s, union rip_word *word, uint64_t seen, uint64_t waiters,
                                  struct rip_watch *watch) {
    rip_watch_word(word, seen, waiters, &s->spin, &s->no_spin, watch);
}
/* Waits for a slice, and reaps if that is due. Returns as rip_watch_wait, or -ESHUTDOWN if another thread has closed
 * the handle meanwhile. */
int rip_sync_wait(struct rip_sync *s, const struct rip_watch *watch, uint64_t deadline);
/* Wakes all who wait with a watch of rip_sync_watch. To be called after a change of the word. */
void rip_sync_wake(struct rip_sync *s);

#endif
