#include "ring/lane.h"
#include "store/files.h"

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

/* How much of the file gets memory when the first bytes of the arena need it. */
static uint64_t end_of_step(const struct rip_producer *p, uint64_t bytes) {
    uint64_t end = rip_round_up(rip_arena_offset(p->slots) + bytes, RIP_STEP);
    uint64_t size = rip_lane_size(p->slots, p->arena.capacity);
    return end < size ? end : size;
}

static int allocate(struct rip_producer *p, uint64_t bytes) {
    uint64_t arena = rip_arena_offset(p->slots), end = end_of_step(p, bytes);
    int rc = rip_file_allocate(&p->mapping, end);
    if (rc == 0) {
        p->lane = p->mapping.at;
        rip_arena_allocated(&p->arena, end - arena);
        /* relaxed: pairs with rip_rx_read_far; what is published later, in this memory, orders it */
        atomic_store_explicit(&p->lane->allocated, end - arena, memory_order_relaxed);
    }
    return rc;
}

/* The file stays open while there may be more to allocate. */
static void close_when_allocated(struct rip_producer *p) {
    if (p->mapping.allocated == p->mapping.size) {
        rip_mapping_close_fd(&p->mapping);
    }
}

static int grow(struct rip_producer *p, uint64_t bytes) {
    if (RIP_LIKELY(bytes <= p->arena.allocated)) {
        return 0;
    }
    int rc = allocate(p, bytes);
    close_when_allocated(p);
    return rc;
}

/* first: bytes of the arena that get memory now. */
static int make_lane(struct rip_producer *p, uint64_t first, int32_t pid) {
    int rc = allocate(p, first);
    if (rc != 0) {
        return rc;
    }
    p->clock = !pid && rip_counter_is_steady() ? RIP_CLOCK_COUNTER : RIP_CLOCK_NS; /* another process's is not ours */
    p->lane->slots = p->slots;
    p->lane->capacity = p->arena.capacity;
    p->lane->arena = rip_arena_offset(p->slots);
    p->lane->clock = p->clock;
    p->lane->overflow = (uint32_t)p->overflow;
    p->lane->pid = pid ? pid : (int32_t)getpid();
    p->lane->ns0 = rip_ticks(RIP_CLOCK_NS, p->ch.time_offset);
    p->lane->ticks0 = rip_ticks(p->clock, p->ch.time_offset);
    p->payloads = (unsigned char *)p->mapping.at + p->lane->arena;
    return 0;
}

/* Lane id does not count as a stream, unless there were others before it; the lock is held. */
static void forget(struct rip_control *control, uint64_t id) { control->epoch_start += control->epoch_start == id; }

/* The free place whose last lane is the oldest, or RIP_MAX_LANES: a member of a group may still be about to move the
 * cursor of the lane that was there (claims.c). Places that had none have id 0, and the search begins at them. */
static uint32_t find_free(const struct rip_control *control) {
    uint32_t found = RIP_MAX_LANES;
    uint64_t oldest = UINT64_MAX;
    for (uint32_t k = 0; k < RIP_MAX_LANES; k++) {
        uint32_t i = (uint32_t)((control->lanes_ever + k) % RIP_MAX_LANES);
        const struct rip_lane_entry *lane = &control->lanes[i];
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) == RIP_LANE_FREE && rip_lane_id(lane) < oldest) {
            oldest = rip_lane_id(lane);
            found = i;
        }
    }
    return found;
}

/* Enters the lane in the table; the lock is held, and we are a member. A kill between any two steps leaves an entry that rip_reap
 * can end: it knows the lane by our index, which comes before the file's name and after the id that tells it. */
static int join(struct rip_producer *p) {
    struct rip_control *control = p->ch.control;
    uint32_t i = find_free(control);
    if (i == RIP_MAX_LANES) { /* lanes that were read after they had ended may still be there */
        rip_lanes_retire(&p->ch);
        i = find_free(control);
    }
    if (i == RIP_MAX_LANES) {
        return -EXFULL;
    }
    int rc = control->lanes_ever ? 0 : rip_files_sweep(&p->ch.handle);
    if (rc != 0) {
        return rc;
    }
    struct rip_lane_entry *entry = &control->lanes[i];
    atomic_store_explicit(&entry->id, control->lanes_ever++, memory_order_relaxed); /* the cursors below publish it */
    entry->pid = p->lane->pid;
    atomic_store_explicit(&entry->base_seq, 0,
                          memory_order_relaxed); /* relaxed, as below: the store of state publishes it */
    uint32_t fence = p->ch.fenced || rip_fences_all(control) ? RIP_FENCE_LANE : 0;
    atomic_store_explicit(&entry->asleep, fence, memory_order_relaxed);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        atomic_store_explicit(&control->cursors[g][i].released, 0, memory_order_release); /* pairs with rip_rx_poll */
    }
    atomic_store_explicit(&entry->pollfd_member, 0, memory_order_relaxed);
    control->members[p->ch.handle.member].index = i;
    rc = rip_file_name(&p->ch.handle, rip_lane_file(rip_lane_id(entry)), &p->mapping);
    if (rc != 0) {
        forget(control, rip_lane_id(entry));
        return rc;
    }
    p->index = i;
    p->entry = entry;
    p->ch.lane = (uint32_t)rip_lane_id(entry);
    atomic_store_explicit(&entry->state, RIP_LANE_LIVE,
                          memory_order_release); /* pairs with the acquire in rip_rescan */
    rip_lanes_changed(&p->ch);
    return 0;
}

/* Old messages are dropped while somebody looks at one of them: the slots behind that one are not free yet, so there are more of
 * them than messages that may wait. */
static uint64_t slots_for(uint64_t keep, enum rip_overflow overflow) {
    uint64_t slots = overflow == RIP_DROP_OLD ? 4 * keep : keep;
    if (overflow == RIP_DROP_OLD && slots < 1024) {
        slots = 1024;
    }
    return power_of_two(slots < RIP_MAX_SLOTS ? slots : RIP_MAX_SLOTS);
}

/* pid: of the process whose messages they are, where that is another one, else 0. */
static int open_lane(const char *channel, uint64_t capacity, uint64_t slots, uint32_t how, enum rip_wait wait,
                     const struct rip_access *access, int32_t pid, struct rip_producer **out) {
    enum rip_overflow overflow = (enum rip_overflow)(how & ~RIP_PREALLOCATE);
    if (access && access->mode != 0600 && access->mode != 0660 && access->mode != 0666) { /* who takes part writes */
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
    p->slots = slots_for(slots, overflow);
    p->mapping.fd = -1;
    p->keep = overflow == RIP_DROP_OLD ? slots : p->slots;
    p->recheck_at = p->keep;
    rip_spin_init(&p->ch.spin, wait);
    capacity = rip_round_up(capacity, RIP_PAGE);
    rip_arena_init(&p->arena, capacity);
    uint64_t first = how & RIP_PREALLOCATE ? capacity : 1;
    int rc = overflow == RIP_DROP_OLD ? rip_drop_old_init(p) : 0;
    rc = rc ? rc : rip_channel_open(&p->ch, channel, 1, access ? *access : rip_private);
    if (rc != 0) {
        rip_drop_old_free(p);
        free(p);
        return rc;
    }
    rc = rip_member_join(&p->ch, RIP_A_PRODUCER, RIP_NO_LANE);
    rc =
        rc ? rc : rip_file_create(&p->ch.handle, rip_lane_size(p->slots, capacity), end_of_step(p, first), &p->mapping);
    int locked = 0;
    if (rc == 0) {
        rip_unlock(&p->ch.handle); /* allocating can take long; our membership keeps the channel */
        rc = make_lane(p, first, pid);
        locked = rip_lock(&p->ch.handle);
        rc = rc ? rc : locked;
    }
    if (rc == 0) {
        rip_reap(&p->ch); /* a free entry may be in the name of one that was killed since */
        rc = join(p);
        close_when_allocated(p);
    }
    if (rc != 0) {
        if (locked == 0) {
            rip_channel_close(&p->ch);
        } else { /* without the lock the tables are not ours to edit: the next member to look reaps us */
            rip_channel_abandon(&p->ch);
        }
        rip_producer_free(p);
        return rc;
    }
    rip_unlock(&p->ch.handle);
    *out = p;
    return 0;
}

int rip_producer_open(const char *channel, uint64_t capacity, uint64_t slots, uint32_t how, enum rip_wait wait,
                      const struct rip_access *access, struct rip_producer **out) {
    return open_lane(channel, capacity, slots, how, wait, access, 0, out);
}

int rip_lane_open(const char *channel, uint64_t capacity, uint64_t slots, int32_t pid, struct rip_producer **out) {
    return open_lane(channel, capacity, slots, RIP_BLOCK, RIP_WAIT_ADAPTIVE, NULL, pid, out);
}

uint64_t rip_lane_done(struct rip_producer *p, uint64_t known) {
    struct rip_control *control = p->ch.control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_acquire); /* as in rip_reclaim */
    uint64_t least = active ? p->published : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (active >> g & 1) {
            /* acquire: before the load of the id, which changes before the cursors do */
            uint64_t released = atomic_load_explicit(&control->cursors[g][p->index].released, memory_order_acquire);
            released = released < known ? known : released;
            if (control->groups[g].flags & (RIP_SHARED | RIP_DURABLE)) {
                released = rip_claims_read_unacked(&p->ch, rip_group_id(control, g), rip_lane_id(p->entry), p->slots,
                                                   released, p->published);
            }
            least = released < least ? released : least;
        }
    }
    int is_another = (uint32_t)rip_lane_id(p->entry) != p->ch.lane; /* all of ours was read, and we have closed */
    return is_another ? p->published : least;
}

void rip_lane_abandon(struct rip_producer *p) {
    if (rip_handle_check(&p->ch.handle) == 0) {
        p->ch.handle.state = RIP_CLOSED;
        rip_channel_abandon(&p->ch);
    }
}

int rip_reclaim(struct rip_producer *p) {
    struct rip_control *control = p->ch.control;
    for (;;) {
        /* acquire: pairs with begin_group; who sees its count sees its bit */
        uint64_t epoch = atomic_load_explicit(&control->group_epoch, memory_order_acquire);
        uint64_t active =
            atomic_load_explicit(&control->groups_active, memory_order_acquire); /* pairs with rip_group_leave */
        uint64_t limit = active ? p->published : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
        for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
            if (active >> g & 1) {
                /* acquire: pairs with the release in rip_rx_publish_cursor; the group's reads before our writes */
                uint64_t released = atomic_load_explicit(&control->cursors[g][p->index].released, memory_order_acquire);
                if (released > p->published) {
                    return -EBADMSG;
                }
                limit = released < limit ? released : limit;
            }
        }
        if (limit > p->published) {
            return -EBADMSG;
        }
        if (limit <= p->free_below) { /* smaller only while a group is just joining: it moves up by itself */
            return 0;
        }
        /* A new group sets its cursors, then its bit, counts itself, then reads head; we store head, then read the count: one of us
         * sees the other. Pairs with the fence in begin_group. */
        atomic_store_explicit(&p->lane->reclaimed, limit, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&control->group_epoch, memory_order_relaxed) == epoch) {
            p->free_below = limit;
            p->recheck_at = limit + p->slots;
            uint64_t offset = p->lane->desc[limit & (p->slots - 1)].offset;
            rip_arena_reclaim(&p->arena, limit, offset, p->tail);
            return 0;
        }
    }
}

int rip_tx_find_room(struct rip_producer *p, uint64_t length, uint64_t *end) {
    struct rip_arena *arena = &p->arena;
    uint64_t need = rip_round_up(length, RIP_LINE), handle = rip_arena_find(arena, need, *end);
    int rc = handle == UINT64_MAX ? -EAGAIN : grow(p, handle + need);
    if (rip_is_out_of_memory(rc)) {
        *end = arena->allocated;
        handle = rip_arena_find(arena, need, *end);
        rc = handle == UINT64_MAX ? rc : 0;
    }
    if (rc == 0 && handle != arena->at) {
        rip_arena_go(arena, handle, p->tail);
    }
    return rc;
}

static int find_room(struct rip_producer *p, uint64_t length) {
    uint64_t end = p->arena.capacity;
    int rc = rip_reclaim(p);
    if (rc == 0) {
        rc = p->tail >= p->recheck_at ? -EAGAIN : rip_tx_find_room(p, length, &end);
    }
    return rc;
}

__attribute__((noinline)) int rip_make_room(struct rip_producer *p, uint64_t length) {
    if (length > p->arena.capacity) {
        return -EMSGSIZE;
    }
    int rc = p->drops ? rip_drop_old_make_room(p, length) : find_room(p, length);
    int is_full = rc == -EAGAIN || rip_is_out_of_memory(rc);
    return is_full && p->overflow != RIP_BLOCK ? -ENOBUFS : rc;
}

void rip_tx_refuse(struct rip_producer *p) {
    p->refused++;
    p->lost = (uint16_t)(p->lost + (p->lost < UINT16_MAX));
    /* relaxed: a number to show, of which we are the only writer */
    atomic_store_explicit(&p->lane->refused, p->refused, memory_order_relaxed);
    rip_reap_if_due(&p->ch); /* it may be a dead one that leaves no room */
}

void rip_room_watch(struct rip_producer *p, struct rip_watch *watch) {
    struct rip_control *control = p->ch.control;
    unsigned n = 0;
    watch->words[n++] = &control->groups_active;
    watch->words[n++] = &p->entry->base_seq;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (active >> g & 1) {
            watch->words[n++] = &control->cursors[g][p->index].released;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        /* acquire: pairs with rip_rx_publish_cursor and rip_group_leave; the look that follows sees no less than this */
        watch->seen[i] = atomic_load_explicit(watch->words[i], memory_order_acquire);
    }
    watch->count = n;
    watch->futex = &p->entry->futex;
    watch->asleep32 = &p->entry->asleep;
    watch->asleep64 = NULL;
    watch->picky = 0;
    watch->bit = RIP_ASLEEP;
    watch->slice = RIP_SLICE_NS;
    watch->fenced = p->ch.fenced;
    watch->spin = &p->ch.spin;
}

/* The oldest published message that some group has not let go; *group: that one, or RIP_MAX_GROUPS: none keeps the lane. */
static uint64_t oldest_held(const struct rip_producer *p, uint32_t *group) {
    struct rip_control *control = p->ch.control;
    uint64_t active =
        atomic_load_explicit(&control->groups_active, memory_order_acquire); /* pairs with rip_group_leave */
    uint64_t oldest = active ? p->published : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
    *group = RIP_MAX_GROUPS;
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        /* relaxed: only to be shown */
        uint64_t released = atomic_load_explicit(&control->cursors[g][p->index].released, memory_order_relaxed);
        if ((active >> g & 1) && released < oldest) {
            oldest = released;
            *group = g;
        }
    }
    uint64_t given_up = p->drops ? rip_drop_old_first_kept(p) : p->free_below;
    if (oldest < given_up) { /* a group is just joining, or has not noticed what it lost */
        oldest = given_up;
    }
    /* else damaged, or we have closed and another lane has our entry */
    return oldest < p->published ? oldest : p->published;
}

uint64_t rip_producer_backlog(struct rip_producer *p) {
    uint32_t group;
    return p->published - oldest_held(p, &group);
}

/* Only looks: another thread may be filling what it has reserved, so the arena must not change here. */
uint64_t rip_producer_bytes(struct rip_producer *p) {
    uint32_t group;
    uint64_t oldest = oldest_held(p, &group);
    return oldest == p->published ? 0
                                  : rip_arena_from(&p->arena, oldest, p->lane->desc[oldest & (p->slots - 1)].offset);
}

/* In a group whose members compete: the pid of the one that holds message seq, or 0. */
static int32_t holder_of(struct rip_producer *p, uint32_t group, uint64_t seq) {
    struct rip_control *control = p->ch.control;
    uint32_t member;
    enum rip_claim state =
        rip_claim_read(&p->ch, rip_group_id(control, group), rip_lane_id(p->entry), p->slots, seq, &member);
    const struct rip_member *its = &control->members[member];
    int holds =
        (state == RIP_CLAIM_TAKEN || state == RIP_CLAIM_ACKED) && its->role == RIP_A_CONSUMER && its->index == group;
    return holds ? its->pid : 0;
}

void rip_producer_slowest(struct rip_producer *p, struct rip_slowest *gate) {
    const struct rip_group_entry *groups = p->ch.control->groups;
    uint32_t g;
    uint64_t oldest = oldest_held(p, &g);
    *gate = (struct rip_slowest){.messages = p->published - oldest, .bytes = rip_producer_bytes(p)};
    if (g == RIP_MAX_GROUPS) {
        return;
    }
    memcpy(gate->group, groups[g].name, sizeof gate->group - 1);
    gate->members = (uint32_t)rip_has_members(&p->ch, g, RIP_NO_MEMBER);
    gate->shared = (groups[g].flags & RIP_SHARED) != 0;
    gate->pid = !gate->members ? 0 : gate->shared ? holder_of(p, g, oldest) : groups[g].pid;
}

int rip_declare(struct rip_producer *p, const char *group) {
    if (!rip_is_group_name(group)) {
        return -EINVAL;
    }
    int rc = rip_handle_check(&p->ch.handle);
    rc = rc ? rc : rip_lock(&p->ch.handle);
    if (rc == 0) {
        rip_reap(&p->ch);
        rc = rip_group_declare(&p->ch, group);
        rip_unlock(&p->ch.handle);
    }
    return rc;
}

void rip_producer_undo(struct rip_producer *p) { p->undone = p->published == 0; }

int rip_producer_close(struct rip_producer *p) {
    if (p->ch.handle.state == RIP_CLOSED) {
        return 0;
    }
    int rc = rip_handle_begin_close(&p->ch.handle);
    if (rc != 0) {
        return rc;
    }
    /* release: pairs with the acquire in rip_rescan. Before the lock: if we never get it, others find that we have ended, not died */
    atomic_store_explicit(&p->lane->closed, 1, memory_order_release);
    rc = rip_lock(&p->ch.handle);
    if (rip_is_locked_out(rc)) {
        return rc;
    }
    p->ch.handle.state = RIP_CLOSED;
    if (rc != 0) { /* our membership ends with our descriptors, and the next member to look reaps it */
        rip_channel_abandon(&p->ch);
        return rc;
    }
    if (p->undone) {
        forget(p->ch.control, rip_lane_id(p->entry));
    }
    atomic_store_explicit(&p->entry->state, RIP_LANE_ENDED,
                          memory_order_release); /* pairs with the acquire in rip_rescan */
    rip_lanes_retire(&p->ch);
    rip_lanes_changed(&p->ch);
    rip_channel_close(&p->ch);
    return 0;
}

void rip_producer_free(struct rip_producer *p) {
    rip_mapping_close(&p->mapping);
    rip_drop_old_free(p);
    rip_channel_unmap(&p->ch);
    free(p);
}

/* ---- the same for C programs, where a wait may keep the handle to itself ---- */

int rip_reserve(struct rip_producer *p, uint64_t length, unsigned char **payload) {
    int rc = rip_handle_check(&p->ch.handle);
    rc = rc ? rc : rip_tx_reserve(p, length, payload);
    if (rc == -ENOBUFS) {
        rip_tx_refuse(p);
    }
    return rc;
}

int rip_publish(struct rip_producer *p, uint64_t length, uint32_t type, uint8_t kind) {
    int rc = rip_handle_check(&p->ch.handle);
    if (rc == 0) {
        rip_tx_stamp(p);
        rip_tx_commit(p, length, type, kind);
        rip_tx_publish(p);
    }
    return rc;
}

int rip_wait_room(struct rip_producer *p, uint64_t length, uint64_t deadline) {
    struct rip_watch watch;
    unsigned char *payload;
    int waited = 0;
    for (;;) {
        int rc = rip_handle_check(&p->ch.handle);
        if (rc != 0) {
            return rc;
        }
        rip_room_watch(p, &watch);
        rc = rip_tx_reserve(p, length, &payload);
        if (rc != -EAGAIN && rc != -ENOBUFS) {
            return rc;
        }
        if (waited < 0) {
            return waited;
        }
        waited = rip_watch_wait(&watch, deadline);
        rip_reap_if_due(&p->ch);
    }
}

int rip_put(struct rip_producer *p, const void *data, uint64_t length, uint32_t type, uint8_t kind, uint64_t deadline) {
    unsigned char *payload;
    int rc = rip_reserve(p, length, &payload);
    if (rc == -EAGAIN) {
        rc = rip_wait_room(p, length, deadline);
        rc = rc ? rc : rip_reserve(p, length, &payload);
    }
    if (rc == 0) {
        memcpy(payload, data, length);
        rc = rip_publish(p, length, type, kind);
    }
    return rc;
}
