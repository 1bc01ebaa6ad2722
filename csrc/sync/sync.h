/* What semaphores, locks, events and barriers have in common: a control file, a member entry for each handle, and one
 * word that holds the state. */
#ifndef RIP_SYNC_H
#define RIP_SYNC_H

#include "base/wait.h"
#include "sync/sync_file.h"

#include <errno.h>

struct rip_sync {
    struct rip_handle handle;
    struct rip_sync_file *file;
    uint32_t kind;  /* enum rip_sync_kind */
    uint32_t undo;  /* 1: the member's entry counts the units of this handle */
    uint32_t me;    /* 1 + the index of this handle's member */
    uint32_t held;  /* the units of this handle, if they are counted */
    uint32_t epoch; /* that of the file when this handle joined */
    int shared_fd;  /* a file descriptor for other processes, once rip_sync_fd has been called, or -1 */
    struct rip_spin spin, no_spin;
};

/* Makes a forked child join as a member of its own. It has no units of its parent. Returns 0, -ESHUTDOWN for a closed
 * handle, -ENOENT if the object has ended since the fork, or another negative errno. */
int rip_sync_enter(struct rip_sync *s);
/* Returns 0 if the handle may be used, else as rip_sync_enter. */
static inline int rip_sync_check(struct rip_sync *s) {
    return __builtin_expect(s->handle.state == RIP_OPEN, 1) ? 0 : rip_sync_enter(s);
}

/* Takes a member entry and locks its byte, by which others see that this handle is alive. The table lock must be held.
 * Returns 0 or -EUSERS: there are too many handles. */
int rip_sync_join(struct rip_sync *s);

/* Loads the word. What other processes did before they stored it is visible afterwards. */
static inline uint64_t rip_sync_load(const struct rip_sync *s) {
    /* acquire: pairs with the release of every compare-and-swap on it */
    return atomic_load_explicit(&s->file->word, memory_order_acquire);
}

/* Fills in a watch that is ready when the word differs from `seen`. */
void rip_sync_watch(struct rip_sync *s, uint64_t seen, struct rip_watch *watch);
/* Waits for a slice, and reaps if that is due. Returns as rip_watch_wait, or -ESHUTDOWN if another thread has closed
 * the handle meanwhile. */
int rip_sync_wait(struct rip_sync *s, const struct rip_watch *watch, uint64_t deadline);
/* Wakes all who wait with a watch of rip_sync_watch. To be called after a change of the word. */
void rip_sync_wake(struct rip_sync *s);

#endif
