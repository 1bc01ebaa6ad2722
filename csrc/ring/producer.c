#include "ring/producer.h"
#include "base/names.h"
#include "channel/enter.h"
#include "channel/groups.h"
#include "channel/lane_table.h"
#include "channel/members.h"
#include "channel/tables.h"
#include "ring/drop_old.h"
#include "ring/lane_lock.h"
#include "ring/lane_memory.h"
#include "ring/large.h"
#include "ring/reap.h"
#include "ring/tx_room.h"
#include "ring/watch.h"
#include "ring/writers.h"
#include "store/control_file.h"
#include "store/files.h"
#include "store/table_lock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t power_of_two(uint64_t n) {
    uint64_t power = 1;
    while (power < n) {
        power *= 2;
    }
    return power;
}

/* first: bytes of the arena to allocate now. */
static int make_lane(struct rip_producer *p, uint64_t first, int32_t pid) {
    int rc = rip_lane_fill(p, first);
    if (rc != 0) {
        return rc;
    }
    /* ticks of a message from another process (pid) are nanoseconds */
    p->clock = !pid && rip_counter_is_steady() ? RIP_CLOCK_COUNTER : RIP_CLOCK_NS;
    p->lane->slots = p->slots;
    p->lane->capacity = p->arena.capacity;
    p->lane->arena = rip_arena_offset(p->slots);
    p->lane->clock = p->clock;
    p->lane->overflow = (uint32_t)p->overflow;
    p->lane->keep = (uint32_t)p->keep;
    atomic_store_explicit(&p->lane->last, p->holder, memory_order_relaxed); /* relaxed: the file has no name yet */
    p->lane->pid = pid ? pid : (int32_t)getpid();
    struct rip_moment now = rip_moment_now(p->ch.time_offset);
    p->lane->ns0 = now.ns;
    p->lane->ticks0 = now.ticks; /* of use only where ticks are the counter's */
    p->payloads = (unsigned char *)p->mapping.at + p->lane->arena;
    return 0;
}

/* Finds a free entry: the one whose last lane is the oldest, because a member of a group may still be about to move the
 * cursor of the lane that was there (claims.c). If fewer than RIP_SPARE_LANES are free, it takes a new one. Returns its
 * index, or a negative errno: -EXFULL, or there is no memory for a new entry and no other is free. */
static int find_free(struct rip_channel *ch) {
    const struct rip_control *control = ch->control;
    uint32_t found = RIP_MAX_LANES, free = 0, used = rip_lanes_used(control);
    for (uint32_t i = 0; i < used; i++) {
        const struct rip_lane_entry *lane = &control->lanes[i];
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) == RIP_LANE_FREE) {
            free++;
            found = found == RIP_MAX_LANES || rip_lane_id(lane) < rip_lane_id(&control->lanes[found]) ? i : found;
        }
    }
    int rc = free < RIP_SPARE_LANES ? rip_lanes_add(ch) : 0;
    return free < RIP_SPARE_LANES && rc >= 0 ? rc : free ? (int)found : rc;
}

/* Enters the lane in the table. The lock must be held, and this handle must be a member. If the process is killed
 * between any two steps, rip_channel_reap can end the entry: it finds the lane by the member's index, which is stored
 * before the file gets its name and after the id that identifies the file. The producer has come once its lane is live:
 * if it is killed before, the lane is as if it had never been, and its id is used again; if it is killed before the
 * last step, rip_channel_reap makes that step. */
static int join(struct rip_producer *p) {
    struct rip_control *control = p->ch.control;
    int found = find_free(&p->ch);
    if (found == -EXFULL) { /* lanes that have ended and are read may still be in the table */
        rip_lanes_retire(&p->ch);
        found = find_free(&p->ch);
    }
    if (found < 0) {
        return found;
    }
    int rc = control->lanes_ever ? 0 : rip_files_sweep(&p->ch.handle);
    if (rc != 0) {
        return rc;
    }
    uint32_t i = (uint32_t)found;
    struct rip_lane_entry *entry = &control->lanes[i];
    atomic_store_explicit(&entry->id, control->lanes_ever, memory_order_relaxed); /* the cursors below publish it */
    entry->pid = p->lane->pid;
    entry->shared = p->shared;
    entry->joined_from = control->joined;
    atomic_store_explicit(&entry->base_seq, 0,
                          memory_order_relaxed); /* relaxed, also below: the store of state publishes it */
    uint32_t fence = p->ch.fenced || rip_fences_all(control) ? RIP_FENCE_LANE : 0;
    atomic_store_explicit(&entry->asleep, fence, memory_order_relaxed);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        rip_cursor_set(entry, g, 0);
    }
    atomic_store_explicit(&entry->pollfd_member, 0, memory_order_relaxed);
    control->members[p->ch.handle.member].index = i;
    rc = rip_file_name(&p->ch.handle, rip_lane_file(rip_lane_id(entry)), &p->mapping);
    if (rc != 0) {
        return rc;
    }
    p->index = i;
    p->entry = entry;
    p->ch.lane = (uint32_t)rip_lane_id(entry);
    atomic_store_explicit(&entry->state, RIP_LANE_LIVE,
                          memory_order_release); /* release: pairs with the acquire in rip_rescan */
    atomic_signal_fence(memory_order_seq_cst);   /* so that the last step is the last one */
    control->lanes_ever++;
    rip_lanes_changed(&p->ch, 0);
    return 0;
}

/* Makes a lane of its own for the handle, or the shared lane. first: bytes of the arena to allocate now. The table lock
 * is released meanwhile. *locked: an error of taking it again. */
static int create_lane(struct rip_producer *p, uint64_t first, int32_t pid, int *locked) {
    struct rip_handle *handle = &p->ch.handle;
    uint64_t size = rip_lane_size(p->slots, p->arena.capacity);
    int rc = rip_file_create(handle, size, rip_lane_step_end(p, first), &p->mapping);
    if (rc != 0) {
        return rc;
    }
    rip_unlock(handle); /* allocation can take long; the membership keeps the channel alive meanwhile */
    rc = make_lane(p, first, pid);
    *locked = rip_lock(handle);
    if (*locked != 0) {
        return rc ? rc : *locked;
    }
    rip_reap(handle); /* a member killed meanwhile may still have an entry */
    return rc;
}

/* Joins the channel with a lane of its own, or the shared lane. Arguments: as create_lane. */
static int enter_lane(struct rip_producer *p, uint64_t first, int32_t pid, int *locked) {
    struct rip_control *control = p->ch.control;
    struct rip_handle *handle = &p->ch.handle;
    int rc = rip_member_join(&p->ch, RIP_A_PRODUCER, RIP_NO_LANE);
    if (rc == 0 && p->shared) {
        rc = rip_holder_take(handle->mapping.fd, &control->holders, &p->holder);
    }
    uint32_t found = rc == 0 && p->shared ? rip_writers_find(control) : RIP_NO_LANE;
    if (rc == 0 && found == RIP_NO_LANE) {
        rc = create_lane(p, first, pid, locked);
        found = rc == 0 && p->shared ? rip_writers_find(control) : RIP_NO_LANE;
        if (found != RIP_NO_LANE) { /* another producer has made the lane meanwhile */
            rip_mapping_close(&p->mapping);
            rip_files_remove_incomplete(handle, handle->member);
            rip_arena_init(&p->arena, p->arena.capacity);
        }
    }
    if (rc == 0) {
        rc = found == RIP_NO_LANE ? join(p) : rip_writer_join(p, found, first == p->arena.capacity);
    }
    return rc;
}

/* pid: of the process that sends the messages if it is another one, else 0. */
static int open_lane(const char *channel, uint64_t capacity, uint64_t slots, uint32_t flags, enum rip_wait wait,
                     const struct rip_access *access, int32_t pid, struct rip_producer **out) {
    enum rip_overflow overflow = (enum rip_overflow)(flags & ~(RIP_PREALLOCATE | RIP_SHARED_LANE));
    /* every member writes to the files, so read-only modes make no sense */
    if (access && access->mode != 0600 && access->mode != 0660 && access->mode != 0666) {
        return -EINVAL;
    }
    if (capacity == 0 || capacity > RIP_MAX_CAPACITY || slots == 0 || slots > RIP_MAX_SLOTS ||
        overflow > RIP_DROP_OLD) {
        return -EINVAL;
    }
    struct rip_producer *p = NULL;
    if (posix_memalign((void **)&p, 128, sizeof *p) != 0) {
        return -ENOMEM;
    }
    memset(p, 0, sizeof *p);
    p->overflow = overflow;
    p->slots = power_of_two(slots);
    p->mapping.fd = -1;
    p->keep = overflow == RIP_DROP_OLD ? slots : p->slots;
    p->shared = (flags & RIP_SHARED_LANE) != 0;
    p->own_recheck = p->keep;
    p->recheck_at = p->shared ? 0 : p->keep;
    rip_spin_init(&p->ch.spin, wait);
    rip_spin_init(&p->turn, wait);
    rip_spin_init(&p->asleep, RIP_WAIT_BLOCK);
    p->ch.handle.reap = rip_channel_reap;
    capacity = rip_round_up(capacity, RIP_PAGE);
    rip_arena_init(&p->arena, capacity);
    p->longest = p->shared ? capacity : RIP_MAX_CAPACITY; /* the regions of a lane have one writer */
    uint64_t first = flags & RIP_PREALLOCATE ? capacity : 1;
    int rc = rip_drop_old_init(p);
    rc = rc ? rc : rip_channel_open(&p->ch, channel, 1, access ? *access : rip_private);
    if (rc != 0) {
        rip_drop_old_free(p);
        free(p);
        return rc;
    }
    int locked = 0;
    rc = enter_lane(p, first, pid, &locked);
    rip_lane_close_fd(p);
    if (rc != 0) {
        if (locked == 0) {
            rip_channel_close(&p->ch);
        } else { /* without the lock this process must not change the tables: another member reaps this one */
            rip_channel_abandon(&p->ch);
        }
        rip_producer_free(p);
        return rc;
    }
    rip_unlock(&p->ch.handle);
    *out = p;
    return 0;
}

int rip_producer_open(const char *channel, uint64_t capacity, uint64_t slots, uint32_t flags, enum rip_wait wait,
                      const struct rip_access *access, struct rip_producer **out) {
    return open_lane(channel, capacity, slots, flags, wait, access, 0, out);
}

int rip_lane_open(const char *channel, uint64_t capacity, uint64_t slots, int32_t pid, struct rip_producer **out) {
    return open_lane(channel, capacity, slots, RIP_BLOCK, RIP_WAIT_ADAPTIVE, NULL, pid, out);
}

void rip_lane_abandon(struct rip_producer *p) {
    if (rip_handle_check(&p->ch.handle) == 0) {
        p->ch.handle.state = RIP_CLOSED;
        rip_channel_abandon(&p->ch);
    }
}

int rip_declare(struct rip_producer *p, const char *group) {
    if (!rip_is_group_name(group)) {
        return -EINVAL;
    }
    int rc = rip_handle_check(&p->ch.handle);
    rc = rc ? rc : rip_lock(&p->ch.handle);
    if (rc == 0) {
        rip_reap(&p->ch.handle);
        rc = rip_group_declare(&p->ch, group);
        rip_unlock(&p->ch.handle);
    }
    return rc;
}

int rip_set_label(struct rip_producer *p, const char *label) {
    size_t length = strlen(label);
    int rc = rip_handle_check(&p->ch.handle);
    if (rc != 0 || length > RIP_MAX_LABEL || p->published != 0 || p->shared) {
        return rc ? rc : -EINVAL;
    }
    memcpy(p->lane->label, label, length + 1); /* rip_tx_publish makes it visible */
    return 0;
}

int rip_set_longest(struct rip_producer *p, uint64_t bytes) {
    int rc = rip_handle_check(&p->ch.handle);
    if (rc == 0 && (bytes < p->arena.capacity || (p->shared && bytes > p->arena.capacity))) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        p->longest = bytes < RIP_MAX_CAPACITY ? bytes : RIP_MAX_CAPACITY;
    }
    return rc;
}

int rip_has_consumer(struct rip_producer *p, const char *group) {
    int rc = rip_handle_check(&p->ch.handle);
    rc = rc ? rc : rip_try_lock(&p->ch.handle);
    if (rc != 0) {
        return rc;
    }
    int live = 0, dead = 0;
    uint32_t g = rip_group_find(p->ch.control, group);
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        const struct rip_member *member = &p->ch.control->members[i];
        if (member->role == RIP_A_CONSUMER && member->index == g) {
            int is_dead = rip_is_dead(&p->ch.handle, i);
            dead |= is_dead;
            live |= !is_dead;
        }
    }
    if (dead) {
        rip_reap(&p->ch.handle);
    }
    rip_unlock(&p->ch.handle);
    return live;
}

void rip_producer_undo(struct rip_producer *p) { p->undone = p->published == 0; }

void rip_producer_fail(struct rip_producer *p) { p->failed = 1; }

/* Frees memory that the messages which are left do not need. If all is read the file is removed anyway; and another
 * thread may still write into memory that it has reserved. */
static void shrink(struct rip_producer *p) {
    if (p->fill == RIP_FILL_NONE && (p->overflow == RIP_DROP_OLD || rip_reclaim(p) >= 0) &&
        p->free_below != p->published) {
        rip_lane_shrink(p);
        if (p->large) {
            rip_large_release(p);
        }
    }
}

/* Marks a writer of a shared lane as closed. */
static void mark_closed(struct rip_producer *p, uint32_t closed) {
    _Atomic uint32_t *writer = &p->ch.control->members[p->ch.handle.member].writer;
    /* relaxed: read by a process that finds this one dead, or by this one */
    uint32_t word = atomic_load_explicit(writer, memory_order_relaxed);
    atomic_store_explicit(writer, (word & ~RIP_WRITER_LOST) | closed, memory_order_relaxed);
}

/* Leaves a shared lane, and ends it if no other producer writes it. The table lock is held. */
static int leave_shared(struct rip_producer *p) {
    uint32_t member = p->ch.handle.member;
    if (rip_writer_is_last(p->ch.control, member) && rip_lane_enter(p, 1) == 0) {
        shrink(p);
        rip_tx_leave(p);
    }
    return rip_writer_end(&p->ch, member);
}

/* Discards a reservation in a shared lane. The program can still write into the reserved memory, but the next owner may
 * put a message there: so that memory becomes private first. In an own lane nobody else writes. */
static int discard(struct rip_producer *p) {
    int is_lent = p->shared && p->owner && p->fill == RIP_FILL_RESERVED;
    return is_lent ? rip_mapping_make_private(&p->mapping, rip_arena_offset(p->slots)) : 0;
}

int rip_producer_close(struct rip_producer *p) {
    if (p->ch.handle.state == RIP_CLOSED) {
        return 0;
    }
    int rc = rip_handle_begin_close(&p->ch.handle);
    rc = rc ? rc : discard(p);
    if (rc != 0) {
        return rc;
    }
    /* Stored before taking the lock: if the lock is never obtained, others still see that this producer ended and did
     * not die. */
    uint32_t closed = p->failed ? RIP_CLOSED_AS_FAILED : RIP_CLOSED_IN_ORDER;
    if (p->shared) {
        rip_tx_leave(p);
        mark_closed(p, closed);
    } else {
        /* release: pairs with the acquire in rip_rescan */
        atomic_store_explicit(&p->lane->closed, closed, memory_order_release);
        shrink(p);
    }
    rc = rip_lock(&p->ch.handle);
    if (rip_is_locked_out(rc)) {
        return rc;
    }
    p->ch.handle.state = RIP_CLOSED;
    if (rc != 0) { /* the membership ends when the file descriptors are closed; another member reaps it */
        rip_channel_abandon(&p->ch);
        return rc;
    }
    p->ch.control->lanes_undone += p->undone; /* before the lane ends: no process that reaps this one does it again */
    if (!p->shared) {
        p->entry->tail = p->published;
        atomic_store_explicit(&p->entry->state, rip_lane_end_state(closed),
                              memory_order_release); /* release: pairs with the acquire in rip_rescan */
    } else if (leave_shared(p) != 0) {               /* others reap this member */
        rip_unlock(&p->ch.handle);
        rip_channel_abandon(&p->ch);
        return 0;
    }
    rip_lanes_retire(&p->ch);
    rip_lanes_changed(&p->ch, rip_reasons_of_end(p->ch.control) | (p->failed ? RIP_POLLFD_DEATHS : 0));
    rip_channel_close(&p->ch);
    return 0;
}

void rip_producer_free(struct rip_producer *p) {
    rip_large_free(p);
    rip_mapping_close(&p->mapping);
    rip_drop_old_free(p);
    rip_channel_unmap(&p->ch);
    free(p);
}
