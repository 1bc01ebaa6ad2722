#include "sync/sync.h"
#include "base/byte_lock.h"
#include "store/table_lock.h"

#include <unistd.h>

#define OPEN_BYTE (1 + (uint64_t)RIP_MAX_SYNC_MEMBERS) /* every handle has a shared lock on it */

static int take_entry(struct rip_sync *s) {
    for (uint32_t i = 0; i < RIP_MAX_SYNC_MEMBERS; i++) {
        struct rip_sync_member *member = &s->file->members[i];
        if (!atomic_load_explicit(&member->taken, memory_order_relaxed) && rip_member_lock(&s->handle, i) == 0) {
            member->pid = (int32_t)getpid();
            s->handle.member = i;
            s->me = i + 1;
            s->held = 0;
            atomic_store_explicit(&member->taken, 1, memory_order_relaxed); /* relaxed: under the table lock */
            return 0;
        }
    }
    return -EUSERS;
}

int rip_sync_join(struct rip_sync *s) {
    int rc = rip_byte_lock_shared(s->handle.mapping.fd, OPEN_BYTE);
    if (rc == 0 && s->kind != RIP_LATEST) {
        rc = s->kind == RIP_MEMORY ? rip_holder_take(s->handle.mapping.fd, &s->file->memory.holders, &s->holder)
                                   : take_entry(s);
        if (rc != 0) {
            rip_byte_unlock(s->handle.mapping.fd, OPEN_BYTE);
        }
    }
    s->epoch = s->file->epoch;
    return rc;
}

int rip_sync_is_alone(struct rip_sync *s) { return rip_byte_lock(s->handle.mapping.fd, OPEN_BYTE) == 0; }

int rip_sync_become_member(struct rip_sync *s) {
    int rc = rip_lock(&s->handle);
    if (rc == 0) {
        rip_reap(&s->handle);
        rc = take_entry(s);
        rip_unlock(&s->handle);
    }
    return rc;
}

int rip_sync_enter(struct rip_sync *s) {
    int rc = rip_handle_refusal(&s->handle);
    if (rc != -ECHILD) {
        return rc;
    }
    /* a negative file descriptor is the errno of rip_handle_reopen_in_child */
    rc = s->handle.mapping.fd < 0 ? s->handle.mapping.fd : rip_lock(&s->handle);
    if (rc != 0) {
        return rc;
    }
    /* relaxed: under the table lock. Since the fork the parent and all other members may have left; the file may have
     * been removed, or the object started again. */
    if (atomic_load_explicit(&s->file->removed, memory_order_relaxed) || s->file->epoch != s->epoch) {
        rip_unlock(&s->handle);
        return -ENOENT;
    }
    rip_reap(&s->handle);
    rc = rip_sync_join(s);
    s->handle.state = rc ? RIP_FORKED : RIP_OPEN;
    rip_unlock(&s->handle);
    return rc;
}

void rip_sync_watch(struct rip_sync *s, uint64_t seen, struct rip_watch *watch) {
    watch->words[0] = &s->file->word;
    watch->seen[0] = seen;
    watch->count = 1;
    watch->futex = &s->file->futex;
    watch->asleep32 = &s->file->asleep;
    watch->asleep64 = NULL;
    watch->picky = NULL;
    watch->bit = RIP_ASLEEP;
    watch->slice = RIP_SLICE_NS;
    watch->fenced = 1; /* each change of the word is a full fence, and rip_sync_wake has one */
    watch->spin = &s->spin;
}

int rip_sync_wait(struct rip_sync *s, const struct rip_watch *watch, uint64_t deadline) {
    int waited = rip_watch_wait(watch, deadline);
    if (waited < 0 && waited != -ETIMEDOUT) {
        return waited;
    }
    int rc = rip_handle_check(&s->handle);
    if (rc != 0) {
        return rc;
    }
    rip_reap_if_due(&s->handle);
    return waited;
}

void rip_sync_wake(struct rip_sync *s) {
    /* The word is stored before asleep is loaded. Pairs with the fence in rip_watch_announce. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&s->file->asleep, memory_order_relaxed) & RIP_ASLEEP &&
        atomic_fetch_and_explicit(&s->file->asleep, ~RIP_ASLEEP, memory_order_acq_rel) & RIP_ASLEEP) {
        rip_wake(&s->file->futex);
    }
}
