/* Opening and closing semaphores, locks, events, barriers, latest values and shared memory; reaping their dead members;
 * inspecting and removing them. */
#include "base/file.h"
#include "base/shortage.h"
#include "store/control_file.h"
#include "store/table_lock.h"
#include "sync/barrier.h"
#include "sync/latest.h"
#include "sync/latest_fd.h"
#include "sync/memory.h"
#include "sync/semaphore.h"

#include <stdlib.h>
#include <unistd.h>

/* The kinds of objects. A new kind needs a file that says what its word means, and a line in this table. */
struct kind {
    int64_t least, most, usual; /* limits of its value, and that of a new object if none is given */
    /* Returns the first word of a new object, or of one that starts again and had the word `before`. NULL: the word is
     * 0. */
    uint64_t (*first_word)(uint32_t value, uint64_t before);
    /* A member leaves; called with the table lock held. died: its process was killed. NULL: there is nothing to do. */
    void (*left)(struct rip_sync *s, uint32_t member, int died);
};

static const struct kind kinds[] = {
    [RIP_SEMAPHORE] = {0, RIP_MAX_UNITS, 1, rip_units_word, rip_units_reap},
    [RIP_LOCK] = {0, 1, 1, rip_units_word, rip_units_reap},
    [RIP_EVENT] = {0, 1, 1, NULL, NULL},
    [RIP_BARRIER] = {1, RIP_MAX_PARTIES, 1, NULL, rip_barrier_left},
    [RIP_LATEST] = {1, RIP_MAX_LATEST_CAPACITY, RIP_LATEST_CAPACITY, NULL, rip_latest_left},
    [RIP_MEMORY] = {0, RIP_MAX_MEMORY, 0, NULL, NULL},
};

/* kind: read from the file, which may be damaged: an unknown kind gives the first entry. */
static const struct kind *kind_of(uint32_t kind) { return &kinds[kind < sizeof kinds / sizeof kinds[0] ? kind : 0]; }

static struct rip_sync *of(struct rip_handle *handle) {
    return (struct rip_sync *)(void *)((char *)handle - offsetof(struct rip_sync, handle));
}

static void in_child(struct rip_handle *handle) {
    struct rip_sync *s = of(handle);
    s->me = 0;
    s->held = 0;
    s->latest.setting = 0;
    s->holder = 0;
    atomic_store_explicit(&s->memory.use, 0, memory_order_relaxed); /* no other thread of the parent is in the child */
    rip_latest_fd_forget(s);
    rip_handle_reopen_in_child(handle);
}

/* Frees the entry of a member that closes, or that is dead (died). The table lock is held. */
static void leave(struct rip_sync *s, uint32_t member, int died) {
    const struct kind *kind = kind_of(s->file->kind);
    if (kind->left) {
        kind->left(s, member, died);
    }
    /* relaxed: under the table lock. Last: if this process is killed before, the next one that reaps does it again. */
    atomic_store_explicit(&s->file->members[member].taken, 0, memory_order_relaxed);
}

static int is_taken(const struct rip_sync *s, uint32_t member) {
    /* relaxed: under the table lock */
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

/* Reaps, and returns 1 if another handle has the object open. The table lock is held. */
static int has_others(struct rip_sync *s) {
    rip_reap(&s->handle);
    return !rip_sync_is_alone(s);
}

/* What a caller asks for. */
struct wish {
    enum rip_sync_kind kind;
    int64_t value;
    const struct rip_memory_wish *memory; /* of shared memory, else NULL */
};

/* Returns the kind and the size of the control file of a new object. */
static struct rip_control_size file_size(const struct wish *wish) {
    uint64_t value = (uint64_t)(wish->value < 0 ? kind_of((uint32_t)wish->kind)->usual : wish->value);
    struct rip_control_size size = {.file = RIP_FILE_SYNC, .tables = sizeof(struct rip_sync_file)};
    if (wish->kind == RIP_LATEST) {
        size.size = rip_latest_size(value);
    } else if (wish->kind == RIP_MEMORY) {
        size.size = rip_memory_size(wish->memory->description_length, value, &size.extra);
    }
    size.size += size.tables;
    return size;
}

/* Can the object start in this file? The slots of a latest value and the data of shared memory that were left behind
 * are not made empty again: the object gets a new file. */
static int can_start(const struct rip_sync *s, const struct wish *wish) {
    return s->handle.mapping.size == file_size(wish).size && (wish->kind < RIP_LATEST || s->file->epoch == 0);
}

/* Gives the object its first state. The table lock is held. If this process is killed here, the next one finds no
 * member and does it again. */
static void start(struct rip_sync_file *file, enum rip_sync_kind kind, uint32_t value) {
    uint64_t before = file->kind == (uint32_t)kind ? atomic_load_explicit(&file->word, memory_order_relaxed) : 0;
    const struct kind *of_kind = kind_of((uint32_t)kind);
    uint64_t word = of_kind->first_word ? of_kind->first_word(value, before) : 0;
    atomic_store_explicit(&file->word, word, memory_order_relaxed);
    atomic_store_explicit(&file->asleep, 0, memory_order_relaxed);
    file->kind = (uint32_t)kind;
    file->value = value;
    file->epoch++;
}

/* Checks that an object that others have open is as it should be. Returns as rip_sync_open. */
static int check(struct rip_sync *s, const struct wish *wish) {
    enum rip_sync_kind kind = wish->kind;
    int64_t value = wish->value;
    if (s->file->kind != (uint32_t)kind) {
        return -EPROTOTYPE;
    }
    if (kind == RIP_MEMORY) {
        return rip_memory_check(s, wish->memory, value);
    }
    if (kind == RIP_LATEST) {
        uint64_t capacity = rip_latest_capacity_of(s->handle.mapping.size);
        return capacity == 0 ? -EBADMSG : value >= 0 && capacity < (uint64_t)value ? -EEXIST : 0;
    }
    if (s->handle.mapping.size != sizeof(struct rip_sync_file)) {
        return -EBADMSG;
    }
    return value >= 0 && s->file->value != (uint32_t)value ? -EEXIST : 0;
}

#define LEFT_BEHIND 1

/* Joins, and initializes the object if this handle is its first. The table lock is held, and is released here. Returns
 * LEFT_BEHIND if there was no handle, and the file was of no use: it is removed. */
static int join(struct rip_sync *s, const struct wish *wish) {
    enum rip_sync_kind kind = wish->kind;
    int64_t value = wish->value;
    int rc = 0, others = has_others(s), has_name = s->handle.dir >= 0;
    /* A named object ends with its last handle, however that ended. An anonymous one ends with its last file
     * descriptor, which may be on its way to another process: that process must find the state as it was left. */
    int is_first = has_name ? !others : s->file->epoch == 0;
    if (is_first && value == RIP_MUST_BE) {
        rc = -ENOENT;
    } else if (is_first && !can_start(s, wish)) {
        if (has_name) {
            rip_handle_remove_files(&s->handle);
        }
        rc = has_name ? LEFT_BEHIND : -EBADMSG;
    } else if (is_first) {
        if (kind == RIP_MEMORY) {
            rip_memory_describe(s, wish->memory, (uint64_t)value);
        }
        start(s->file, kind, kind >= RIP_LATEST ? 0 : value < 0 ? 1 : (uint32_t)value);
    } else {
        rc = check(s, wish);
    }
    if (rc == 0 && kind == RIP_LATEST) {
        rip_latest_attach(s, is_first);
    }
    rc = rc ? rc : rip_sync_join(s);
    if (rc == 0 && kind == RIP_MEMORY) {
        rc = rip_memory_recover(s);
    }
    rip_unlock(&s->handle);
    return rc;
}

static int open_it(struct rip_sync *s, const char *name, int fd, const struct wish *wish) {
    struct rip_control_size size = file_size(wish);
    if (wish->memory && wish->memory->path) {
        return rip_handle_open_path(&s->handle, wish->memory->path, size, wish->value != RIP_MUST_BE);
    }
    if (!name || fd >= 0) {
        return rip_handle_adopt(&s->handle, fd, size);
    }
    return rip_handle_open(&s->handle, name, size, wish->value != RIP_MUST_BE, rip_private);
}

static int open_object(const char *name, int fd, const struct wish *wish, int undo, enum rip_wait wait,
                       struct rip_sync **out) {
    enum rip_sync_kind kind = wish->kind;
    int64_t value = wish->value;
    if (value > kind_of(kind)->most || (value >= 0 && value < kind_of(kind)->least)) {
        return -EINVAL;
    }
    struct rip_sync *s = calloc(1, sizeof *s);
    if (!s) {
        return -ENOMEM;
    }
    s->handle = (struct rip_handle){.state = RIP_OPEN, .dir = -1, .mapping.fd = -1, .forked = in_child, .reap = reap};
    s->shared_fd = -1;
    s->kind = (uint32_t)kind;
    s->undo = kind == RIP_LOCK || (kind == RIP_SEMAPHORE && undo);
    rip_spin_init(&s->spin, wait);
    rip_spin_init(&s->no_spin, RIP_WAIT_BLOCK);
    int rc = kind == RIP_LATEST ? rip_clock_offset(&s->latest.time_offset) : 0;
    if (rc == 0) {
        do {
            rip_handle_unmap(&s->handle); /* if there is one that was left behind */
            rc = open_it(s, name, fd, wish);
            s->file = s->handle.mapping.at;
            rc = rc ? rc : join(s, wish);
        } while (rc == LEFT_BEHIND);
    }
    if (rc != 0) {
        rip_sync_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

int rip_sync_open(const char *name, int fd, enum rip_sync_kind kind, int64_t value, int undo, enum rip_wait wait,
                  struct rip_sync **out) {
    struct wish wish = {.kind = kind, .value = value};
    return kind == RIP_MEMORY ? -EINVAL : open_object(name, fd, &wish, undo, wait, out);
}

int rip_memory_open(const char *name, int fd, int64_t size, const struct rip_memory_wish *memory, enum rip_wait wait,
                    struct rip_sync **out) {
    static const struct rip_memory_wish plain = {0};
    struct wish wish = {.kind = RIP_MEMORY, .value = size, .memory = memory ? memory : &plain};
    if (wish.memory->description_length > RIP_MAX_DESCRIPTION) {
        return -EINVAL;
    }
    uint64_t free = name || fd >= 0 || wish.memory->path || size <= 0 ? UINT64_MAX : rip_memory_available();
    if (size > 0 && (uint64_t)size > free) { /* a memfd has no limit of its own */
        rip_note_shortage((uint64_t)size, free);
        return -ENOSPC;
    }
    int rc = open_object(name, fd, &wish, 0, wait, out);
    if (rc == 0) {
        (*out)->memory.has_path = wish.memory->path != NULL;
        rc = wish.memory->path ? 0 : rip_memory_map(*out);
        if (rc != 0) {
            rip_sync_close(*out);
            rip_sync_free(*out);
        }
    }
    return rc;
}

int rip_sync_fd(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    if (rc == 0 && s->shared_fd < 0) {
        rip_fork_hold();
        rc = s->shared_fd = rip_handle_dup(&s->handle);
        rip_fork_allow();
    }
    return rc < 0 ? rc : s->shared_fd;
}

uint32_t rip_sync_value(const struct rip_sync *s) { return s->file->value; }

static void close_shared_fd(struct rip_sync *s) {
    if (s->shared_fd >= 0) {
        close(s->shared_fd);
        s->shared_fd = -1;
    }
}

int rip_sync_close(struct rip_sync *s) {
    if (s->handle.state == RIP_CLOSED) {
        return 0;
    }
    int forked = rip_handle_begin_close(&s->handle); /* a forked child has not joined */
    if (s->kind == RIP_MEMORY) {
        rip_memory_stop(s);
    }
    int rc = forked ? 0 : rip_lock(&s->handle);
    if (rip_is_locked_out(rc)) {
        return rc;
    }
    int joined = !forked && rc == 0;
    s->handle.state = RIP_CLOSED;
    s->held = 0;
    close_shared_fd(s);
    rip_latest_fd_close(s);
    if (joined) {
        int others = has_others(s);
        if (s->me) {
            leave(s, s->me - 1, 0);
        }
        rip_sync_wake(s); /* another thread of this process may wait with this handle */
        if (!others && s->handle.dir >= 0) {
            rip_handle_remove_files(&s->handle);
        }
        rip_unlock(&s->handle);
    }
    rip_handle_close_files(&s->handle); /* if there was no lock: others find this member dead */
    return rc;
}

void rip_sync_free(struct rip_sync *s) {
    close_shared_fd(s); /* still open if rip_sync_close did not get the lock */
    rip_latest_fd_close(s);
    rip_handle_unmap(&s->handle);
    free(s);
}

/* Opens a named object without joining, and does not wait for long. On success the table lock is held. */
static int open_to_inspect(struct rip_sync *s, const char *name) {
    static const struct wish plain = {.kind = RIP_SEMAPHORE};
    *s = (struct rip_sync){.handle = {.state = RIP_OPEN, .dir = -1, .mapping.fd = -1, .forked = in_child, .reap = reap},
                           .shared_fd = -1};
    rip_handle_limit_waits(&s->handle);
    int rc = rip_handle_open(&s->handle, name, file_size(&plain), 0, rip_private);
    s->file = rc ? NULL : s->handle.mapping.at;
    return rc;
}

int rip_sync_info(const char *name, struct rip_sync_info *info) {
    struct rip_sync s;
    int rc = open_to_inspect(&s, name);
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
    rip_handle_unmap(&s.handle); /* closes the file descriptor, which releases the table lock */
    return 0;
}

int rip_sync_clean_up(const char *name) {
    struct rip_sync s;
    int rc = open_to_inspect(&s, name);
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
