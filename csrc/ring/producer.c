#include "ring/producer.h"
#include "base/names.h"
#include "channel/enter.h"
#include "channel/groups.h"
#include "channel/lane_table.h"
#include "channel/members.h"
#include "channel/tables.h"
#include "ring/drop_old.h"
#include "ring/lane_memory.h"
#include "ring/reap.h"
#include "ring/tx_room.h"
#include "ring/watch.h"
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

/* first: bytes of the arena that get memory now. */
static int make_lane(struct rip_producer *p, uint64_t first, int32_t pid) {
    int rc = rip_lane_fill(p, first);
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
    struct rip_moment now = rip_moment_now(p->ch.time_offset);
    p->lane->ns0 = now.ns;
    p->lane->ticks0 = now.ticks; /* of use only where ticks are the counter's */
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
    p->ch.handle.reap = rip_channel_reap;
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
    rc = rc ? rc
            : rip_file_create(&p->ch.handle, rip_lane_size(p->slots, capacity), rip_lane_step_end(p, first),
                              &p->mapping);
    int locked = 0;
    if (rc == 0) {
        rip_unlock(&p->ch.handle); /* allocating can take long; our membership keeps the channel */
        rc = make_lane(p, first, pid);
        locked = rip_lock(&p->ch.handle);
        rc = rc ? rc : locked;
    }
    if (rc == 0) {
        rip_reap(&p->ch.handle); /* a free entry may be in the name of one that was killed since */
        rc = join(p);
        rip_lane_close_when_filled(p);
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
