/* Opening and closing semaphores, locks, events and barriers, and doing for the dead what they would have done at close. */
#include "store/control_file.h"
#include "store/table_lock.h"
#include "sync/barrier.h"
#include "sync/semaphore.h"

#include <stdlib.h>
#include <unistd.h>

/* The kinds of objects: a new one is a file with what its word means, and a line here. */
struct kind {
    int64_t least, most; /* its value */
    /* The word of a new one, or of one that begins again, whose word was before. NULL: 0. */
    uint64_t (*first_word)(uint32_t value, uint64_t before);
    /* A seat ends; the table lock is held. died: its process was killed. NULL: nothing is to be done. */
    void (*left)(struct rip_sync *s, uint32_t member, int died);
};

static const struct kind kinds[] = {
    [RIP_SEMAPHORE] = {0, RIP_MAX_UNITS, rip_units_word, rip_units_reap},
    [RIP_LOCK] = {0, 1, rip_units_word, rip_units_reap},
    [RIP_EVENT] = {0, 1, NULL, NULL},
    [RIP_BARRIER] = {1, RIP_MAX_PARTIES, NULL, rip_barrier_left},
};

/* kind: as the file says, which is anybody's writing. */
static const struct kind *kind_of(uint32_t kind) { return &kinds[kind < sizeof kinds / sizeof kinds[0] ? kind : 0]; }

static struct rip_sync *of(struct rip_handle *handle) {
    return (struct rip_sync *)(void *)((char *)handle - offsetof(struct rip_sync, handle));
}

static void in_child(struct rip_handle *handle) {
    struct rip_sync *s = of(handle);
    s->me = 0;
    s->held = 0;
    rip_handle_reopen_in_child(handle);
}

/* A seat whose process is gone, or goes. */
static void leave(struct rip_sync *s, uint32_t member, int died) {
    const struct kind *kind = kind_of(s->file->kind);
    if (kind->left) {
        kind->left(s, member, died);
    }
    /* relaxed: under the lock. Last: who is killed on the way leaves it to the next */
    atomic_store_explicit(&s->file->members[member].taken, 0, memory_order_relaxed);
}

/* relaxed: under the lock */
static int is_taken(const struct rip_sync *s, uint32_t member) {
    return (int)atomic_load_explicit(&s->file->members[member].taken, memory_order_relaxed);
}

static void reap(struct rip_handle *handle) {
    struct rip_sync *s = of(handle);
    for (uint32_t i = 0; i < RIP_MAX_SYNC_MEMBERS; i++) {
        if (is_taken(s, i) && i + 1 != s->me && rip_is_dead(handle, i)) {
            leave(s, i, 1);
        }
    }
}

/* Reaps, and says whether somebody else lives; the lock must be held. */
static int has_others(struct rip_sync *s) {
    int others = 0;
    rip_reap(&s->handle);
    for (uint32_t i = 0; i < RIP_MAX_SYNC_MEMBERS; i++) {
        others |= is_taken(s, i) && i + 1 != s->me;
    }
    return others;
}

/* The lock must be held; whoever is killed here leaves it to the next, who finds nobody. */
static void begin(struct rip_sync_file *file, enum rip_sync_kind kind, uint32_t value) {
    uint64_t before = file->kind == (uint32_t)kind ? atomic_load_explicit(&file->word, memory_order_relaxed) : 0;
    const struct kind *of_kind = kind_of((uint32_t)kind);
    uint64_t word = of_kind->first_word ? of_kind->first_word(value, before) : 0;
    atomic_store_explicit(&file->word, word, memory_order_relaxed);
    atomic_store_explicit(&file->asleep, 0, memory_order_relaxed);
    file->kind = (uint32_t)kind;
    file->value = value;
    file->epoch++;
}

/* The lock is held, and is let go. */
static int join(struct rip_sync *s, enum rip_sync_kind kind, int64_t value) {
    int rc = 0, others = has_others(s);
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
    rc = rc ? rc : rip_sync_join(s);
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
    if (value > kind_of(kind)->most || (value >= 0 && value < kind_of(kind)->least)) {
        return -EINVAL;
    }
    struct rip_sync *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->handle = (struct rip_handle){.state = RIP_OPEN, .dir = -1, .mapping.fd = -1, .forked = in_child, .reap = reap};
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
        int others = has_others(s);
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
    *s = (struct rip_sync){.handle = {.state = RIP_OPEN, .dir = -1, .mapping.fd = -1, .forked = in_child, .reap = reap},
                           .give = -1};
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
    rip_reap(&s.handle);
    *info = (struct rip_sync_info){.kind = s.file->kind, .value = s.file->value};
    for (uint32_t i = 0; i < RIP_MAX_SYNC_MEMBERS; i++) {
        if (is_taken(&s, i)) {
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
    int others = has_others(&s);
    if (!others) {
        rip_handle_remove_files(&s.handle);
    }
    rip_handle_unmap(&s.handle);
    return !others;
}
