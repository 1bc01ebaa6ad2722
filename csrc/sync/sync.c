#include "sync/sync.h"

#include <stdlib.h>
#include <unistd.h>

static void in_child(struct rip_handle *handle) {
    struct rip_sync *s = (struct rip_sync *)(void *)((char *)handle - offsetof(struct rip_sync, handle));
    s->me = 0;
    s->held = 0;
    rip_handle_reopen_in_child(handle);
}

/* A seat whose process is gone, or goes. */
static void leave(struct rip_sync *s, uint32_t member, int died) {
    if (s->file->kind == RIP_SEMAPHORE || s->file->kind == RIP_LOCK) {
        rip_units_reap(s, member, died);
    } else if (s->file->kind == RIP_BARRIER && died) {
        rip_barrier_break(s); /* whoever waits there would wait for ever */
    }
    /* relaxed: under the lock. Last: who is killed on the way leaves it to the next */
    atomic_store_explicit(&s->file->members[member].taken, 0, memory_order_relaxed);
}

/* The lock must be held. 1 if somebody else lives. */
static int reap(struct rip_sync *s) {
    int others = 0;
    s->handle.reaped_at = rip_now();
    for (uint32_t i = 0; i < RIP_MAX_SYNC_MEMBERS; i++) {
        /* relaxed: under the lock */
        if (atomic_load_explicit(&s->file->members[i].taken, memory_order_relaxed) && i + 1 != s->me) {
            if (rip_is_dead(&s->handle, i)) {
                leave(s, i, 1);
            } else {
                others = 1;
            }
        }
    }
    return others;
}

void rip_sync_reap_if_due(struct rip_sync *s) {
    if (rip_is_reap_due(&s->handle)) {
        reap(s);
        rip_unlock(&s->handle);
    }
}

static int sit_down(struct rip_sync *s) {
    for (uint32_t i = 0; i < RIP_MAX_SYNC_MEMBERS; i++) {
        struct rip_sync_member *member = &s->file->members[i];
        if (!atomic_load_explicit(&member->taken, memory_order_relaxed) && rip_member_lock(&s->handle, i) == 0) {
            member->pid = (int32_t)getpid();
            s->handle.member = i;
            s->me = i + 1;
            s->held = 0;
            s->epoch = s->file->epoch;
            atomic_store_explicit(&member->taken, 1, memory_order_relaxed); /* under the lock */
            return 0;
        }
    }
    return -EUSERS;
}

/* The lock must be held; whoever is killed here leaves it to the next, who finds nobody. */
static void begin(struct rip_sync_file *file, enum rip_sync_kind kind, uint32_t value) {
    uint64_t before = file->kind == (uint32_t)kind ? atomic_load_explicit(&file->word, memory_order_relaxed) : 0;
    int counts = kind == RIP_SEMAPHORE || kind == RIP_LOCK;
    atomic_store_explicit(&file->word, counts ? rip_units_word(value, before) : 0, memory_order_relaxed);
    atomic_store_explicit(&file->asleep, 0, memory_order_relaxed);
    file->kind = (uint32_t)kind;
    file->value = value;
    file->epoch++;
}

/* The lock is held, and is let go. */
static int join(struct rip_sync *s, enum rip_sync_kind kind, int64_t value) {
    int rc = 0, others = reap(s);
    /* With a name it ends with the last handle, however that went. Without one it ends with the last descriptor, which may be on its way
     * to a process that is to find what has been set, or released. */
    int begins = s->handle.dir >= 0 ? !others : s->file->epoch == 0;
    if (begins && value == RIP_MUST_BE) {
        rc = -ENOENT;
    } else if (begins) {
        begin(s->file, kind, value < 0 ? 1 : (uint32_t)value);
    } else if (s->file->kind != (uint32_t)kind) {
        rc = -EPROTOTYPE;
    } else if (value >= 0 && s->file->value != (uint32_t)value) {
        rc = -EEXIST;
    }
    rc = rc ? rc : sit_down(s);
    rip_unlock(&s->handle);
    return rc;
}

int rip_sync_enter(struct rip_sync *s) {
    int rc = rip_handle_refusal(&s->handle);
    if (rc != -ECHILD) {
        return rc;
    }
    /* no descriptor: it says why, see rip_handle_reopen_in_child */
    rc = s->handle.mapping.fd < 0 ? s->handle.mapping.fd : rip_lock(&s->handle);
    if (rc != 0) {
        return rc;
    }
    /* relaxed: under the lock. Our parent and all others may have gone since the fork, and more may have come and begun it anew. */
    if (atomic_load_explicit(&s->file->removed, memory_order_relaxed) || s->file->epoch != s->epoch) {
        rip_unlock(&s->handle);
        return -ENOENT;
    }
    reap(s);
    rc = sit_down(s);
    s->handle.state = rc ? RIP_FORKED : RIP_OPEN;
    rip_unlock(&s->handle);
    return rc;
}

static int open_it(struct rip_sync *s, const char *name, int fd, int make) {
    if (!name || fd >= 0) {
        return rip_handle_adopt(&s->handle, fd, RIP_FILE_SYNC, sizeof(struct rip_sync_file));
    }
    return rip_handle_open(&s->handle, name, RIP_FILE_SYNC, sizeof(struct rip_sync_file), make, rip_private);
}

int rip_sync_open(const char *name, int fd, enum rip_sync_kind kind, int64_t value, int undo, enum rip_wait wait,
                  struct rip_sync **out) {
    int64_t most = kind == RIP_BARRIER ? RIP_MAX_PARTIES : kind == RIP_SEMAPHORE ? RIP_MAX_UNITS : 1;
    if (value > most || (kind == RIP_BARRIER && value == 0)) {
        return -EINVAL;
    }
    struct rip_sync *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->handle = (struct rip_handle){.state = RIP_OPEN, .dir = -1, .mapping.fd = -1, .forked = in_child};
    s->give = -1;
    s->kind = (uint32_t)kind;
    s->undo = kind == RIP_LOCK || (kind == RIP_SEMAPHORE && undo);
    rip_spin_init(&s->spin, wait);
    rip_spin_init(&s->no_spin, RIP_WAIT_BLOCK);
    int rc = open_it(s, name, fd, value != RIP_MUST_BE);
    if (rc == 0) {
        s->file = s->handle.mapping.at;
        rc = join(s, kind, value);
    }
    if (rc != 0) {
        rip_sync_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

int rip_sync_fd(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    if (rc == 0 && s->give < 0) {
        rip_fork_hold();
        rc = s->give = rip_handle_dup(&s->handle);
        rip_fork_allow();
    }
    return rc < 0 ? rc : s->give;
}

uint32_t rip_sync_value(const struct rip_sync *s) { return s->file->value; }

static void close_given(struct rip_sync *s) {
    if (s->give >= 0) {
        close(s->give);
        s->give = -1;
    }
}

int rip_sync_close(struct rip_sync *s) {
    if (s->handle.state == RIP_CLOSED) {
        return 0;
    }
    int forked = rip_handle_begin_close(&s->handle); /* and has taken no seat of its own */
    int rc = forked ? 0 : rip_lock(&s->handle);
    if (rip_is_locked_out(rc)) {
        return rc;
    }
    int joined = !forked && rc == 0;
    s->handle.state = RIP_CLOSED;
    s->held = 0;
    close_given(s);
    if (joined) {
        int others = reap(s);
        leave(s, s->me - 1, 0);
        rip_sync_wake(s); /* a thread of this process, if the handle is closed under it */
        if (!others && s->handle.dir >= 0) {
            rip_handle_remove_files(&s->handle);
        }
        rip_unlock(&s->handle);
    }
    rip_handle_close_files(&s->handle); /* where there was no lock to be had: others find us dead */
    return rc;
}

void rip_sync_free(struct rip_sync *s) {
    close_given(s); /* a close that did not get the lock has left it open */
    rip_handle_unmap(&s->handle);
    free(s);
}

/* Without taking a seat, nor waiting for long; the lock is held. */
static int look_in(struct rip_sync *s, const char *name) {
    *s = (struct rip_sync){.handle = {.state = RIP_OPEN, .dir = -1, .mapping.fd = -1, .forked = in_child}, .give = -1};
    rip_handle_limit_waits(&s->handle);
    int rc = rip_handle_open(&s->handle, name, RIP_FILE_SYNC, sizeof(struct rip_sync_file), 0, rip_private);
    s->file = rc ? NULL : s->handle.mapping.at;
    return rc;
}

int rip_sync_info(const char *name, struct rip_sync_info *info) {
    struct rip_sync s;
    int rc = look_in(&s, name);
    if (rc != 0) {
        return rc;
    }
    reap(&s);
    *info = (struct rip_sync_info){.kind = s.file->kind, .value = s.file->value};
    for (uint32_t i = 0; i < RIP_MAX_SYNC_MEMBERS; i++) {
        if (atomic_load_explicit(&s.file->members[i].taken, memory_order_relaxed)) { /* under the lock */
            info->pid[info->handles++] = s.file->members[i].pid;
        }
    }
    rip_handle_unmap(&s.handle); /* the lock goes with its descriptor */
    return 0;
}

int rip_sync_clean_up(const char *name) {
    struct rip_sync s;
    int rc = look_in(&s, name);
    if (rc != 0) {
        return rc;
    }
    int others = reap(&s);
    if (!others) {
        rip_handle_remove_files(&s.handle);
    }
    rip_handle_unmap(&s.handle);
    return !others;
}

void rip_sync_watch(struct rip_sync *s, uint64_t seen, struct rip_watch *watch) {
    watch->words[0] = &s->file->word;
    watch->seen[0] = seen;
    watch->count = 1;
    watch->futex = &s->file->futex;
    watch->asleep32 = &s->file->asleep;
    watch->asleep64 = NULL;
    watch->picky = 0;
    watch->bit = RIP_ASLEEP;
    watch->slice = RIP_SLICE_NS;
    watch->fenced = 1; /* each change of the word is a fence, and so is rip_sync_wake */
    watch->spin = &s->spin;
}

void rip_sync_wake(struct rip_sync *s) {
    atomic_thread_fence(memory_order_seq_cst); /* the word, then asleep; pairs with the fence in rip_watch_announce */
    if (atomic_load_explicit(&s->file->asleep, memory_order_relaxed) & RIP_ASLEEP &&
        atomic_fetch_and_explicit(&s->file->asleep, ~RIP_ASLEEP, memory_order_acq_rel) & RIP_ASLEEP) {
        rip_wake(&s->file->futex);
    }
}
