#include "channel/groups.h"
#include "base/errors.h"
#include "channel/lane_table.h"
#include "channel/tables.h"
#include "channel/wake.h"
#include "store/files.h"

#include <string.h>

uint32_t rip_group_find(const struct rip_control *control, const char *name) {
    uint32_t g = 0;
    while (g < RIP_MAX_GROUPS && !(rip_group_is_active(control, g) &&
                                   strncmp(control->groups[g].name, name, sizeof control->groups[g].name) == 0)) {
        g++;
    }
    return g;
}

uint32_t rip_group_find_free(const struct rip_control *control) {
    uint32_t g = 0;
    while (g < RIP_MAX_GROUPS && rip_group_is_active(control, g)) {
        g++;
    }
    return g;
}

/* Sets the cursors of a new group. start: RIP_OLDEST or RIP_NEWEST. */
static void set_cursors(struct rip_channel *ch, uint32_t group, enum rip_group_flag start) {
    struct rip_control *control = ch->control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed);
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        uint64_t seq = 0;
        struct rip_file_word tail = {.offset = offsetof(struct rip_lane, tail)};
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) != RIP_LANE_FREE) {
            uint64_t oldest = active ? UINT64_MAX : atomic_load_explicit(&lane->base_seq, memory_order_relaxed);
            for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
                uint64_t released = atomic_load_explicit(&lane->cursors[g].released, memory_order_relaxed);
                oldest = (active >> g & 1) && released < oldest ? released : oldest;
            }
            int starts_newest = start == RIP_NEWEST && rip_lane_read(ch, rip_lane_id(lane), &tail, 1) == 0;
            seq = starts_newest ? tail.value : oldest;
        }
        rip_cursor_set(lane, group, seq);
    }
}

/* Moves the cursors of a new group over the messages that producers have reclaimed or given up meanwhile. Returns 0;
 * -EBADMSG if the file of a live lane has been removed, because the group could not read the lane and would hold its
 * producer back for ever; or another negative errno. */
static int pass_reclaimed(struct rip_channel *ch, uint32_t group) {
    struct rip_control *control = ch->control;
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        _Atomic uint64_t *released = &lane->cursors[group].released;
        struct rip_file_word words[] = {{.offset = offsetof(struct rip_lane, reclaimed)},
                                        {.offset = offsetof(struct rip_lane, dropped_below)}};
        uint32_t state = atomic_load_explicit(&lane->state, memory_order_relaxed); /* under the lock */
        if (state == RIP_LANE_FREE) {
            continue;
        }
        int rc = rip_file_read(&ch->handle, rip_lane_file(rip_lane_id(lane)), words, 2);
        if (rip_is_resource_error(rc) || (rc == -ENOENT && state == RIP_LANE_LIVE)) {
            return rc == -ENOENT ? -EBADMSG : rc;
        }
        uint64_t limit = words[0].value > words[1].value ? words[0].value : words[1].value;
        if (limit > atomic_load_explicit(released, memory_order_relaxed)) {
            atomic_store_explicit(released, limit, memory_order_release); /* pairs with the acquire in rip_reclaim */
        }
    }
    return 0;
}

/* How many producers have come for this group, of those that write this lane? The group has its cursors. */
static uint64_t counts(const struct rip_control *control, uint32_t group, uint32_t lane) {
    const struct rip_lane_entry *entry = &control->lanes[lane];
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed); /* relaxed: under the lock */
    int is_live = state == RIP_LANE_LIVE;
    int has_come = state == RIP_LANE_ENDED
                       ? atomic_load_explicit(&entry->cursors[group].released, memory_order_relaxed) < entry->tail
                       : state != RIP_LANE_FREE;
    uint64_t joined = entry->shared ? (is_live ? control->joined : entry->joined_to) - entry->joined_from : 0;
    return has_come ? 1 + joined : 0;
}

void rip_group_count(struct rip_control *control, uint32_t group) {
    uint64_t first = control->epoch_start;
    if (control->groups_ever) {
        first = rip_producers_ever(control);
        for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
            first -= counts(control, group, i);
        }
    }
    control->groups[group].first = (uint32_t)first;
}

void rip_group_set_lossy(struct rip_control *control, uint32_t g, uint32_t flags) {
    uint64_t bit = UINT64_C(1) << g;
    /* release: pairs with the acquire in find_groups */
    if (flags & RIP_LOSSY) {
        atomic_fetch_or_explicit(&control->groups_lossy, bit, memory_order_release);
    } else {
        atomic_fetch_and_explicit(&control->groups_lossy, ~bit, memory_order_release);
    }
}

void rip_group_undo(struct rip_control *control, uint32_t g) {
    atomic_fetch_and_explicit(&control->groups_active, ~(UINT64_C(1) << g), memory_order_acq_rel);
    rip_group_set_lossy(control, g, 0);
}

int rip_group_begin(struct rip_channel *ch, uint32_t g, const char *name, uint32_t flags, enum rip_group_flag start) {
    struct rip_control *control = ch->control;
    struct rip_group_entry *group = &control->groups[g];
    control->groups_named++;
    /* relaxed: the bit in groups_active publishes it */
    atomic_store_explicit(&group->id, control->groups_named, memory_order_relaxed);
    group->flags = flags | RIP_INCOMPLETE;
    group->pid = 0;
    strncpy(group->name, name, RIP_MAX_GROUP_NAME);
    atomic_store_explicit(&group->pollfds, 0, memory_order_relaxed);
    atomic_store_explicit(&group->picky, 0, memory_order_relaxed);
    rip_group_set_lossy(control, g, flags);
    set_cursors(ch, g, start);
    atomic_fetch_or_explicit(&control->groups_active, UINT64_C(1) << g, memory_order_seq_cst);
    atomic_fetch_add_explicit(&control->group_epoch, 1, memory_order_seq_cst);
    /* Pairs with the fence in rip_reclaim: the bit of the group is set before `reclaimed` is read below. */
    atomic_thread_fence(memory_order_seq_cst);
    int rc = pass_reclaimed(ch, g);
    if (rc != 0) {
        rip_group_undo(control, g);
    }
    rip_group_count(control, g);
    group->flags = flags;
    return rc;
}

void rip_group_leave(struct rip_channel *ch, uint32_t group) {
    struct rip_control *control = ch->control;
    uint64_t bit = UINT64_C(1) << group;
    int last = atomic_load_explicit(&control->groups_active, memory_order_relaxed) == bit;
    for (uint32_t i = 0; last && i < rip_lanes_used(control); i++) {
        /* acquire: pairs with the release in rip_rx_publish_cursor, or the compare-and-swap in move_cursor */
        uint64_t released = atomic_load_explicit(&control->lanes[i].cursors[group].released, memory_order_acquire);
        if (released > atomic_load_explicit(&control->lanes[i].base_seq, memory_order_relaxed)) {
            atomic_store_explicit(&control->lanes[i].base_seq, released, memory_order_relaxed);
        }
    }
    /* release: pairs with the acquire in rip_reclaim. A producer that finds no group sees base_seq, and the reads of
     * this group come before its writes. */
    atomic_fetch_and_explicit(&control->groups_active, ~bit, memory_order_acq_rel);
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        if (atomic_load_explicit(&control->lanes[i].state, memory_order_relaxed) != RIP_LANE_FREE) {
            rip_file_remove(&ch->handle,
                            rip_claims_file(rip_group_id(control, group), rip_lane_id(&control->lanes[i])));
        }
    }
    rip_group_set_lossy(control, group, 0);
    control->groups[group].flags = 0;
    control->groups[group].name[0] = '\0';
    control->groups[group].pid = 0;
    rip_lanes_retire(ch);
    rip_wake_lanes(ch);
}

void rip_group_stay(struct rip_channel *ch, uint32_t g) {
    struct rip_control *control = ch->control;
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        /* relaxed: under the lock, and there is no member that writes them */
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) != RIP_LANE_FREE) {
            uint64_t released = atomic_load_explicit(&lane->cursors[g].released, memory_order_relaxed);
            uint64_t acked = atomic_load_explicit(&lane->cursors[g].acked, memory_order_relaxed);
            rip_cursor_set(lane, g, acked > released ? acked : released);
        }
    }
    control->groups[g].flags |= RIP_DURABLE; /* last: if this process is killed before, the next one does it all */
    rip_wake_lanes(ch);
}

int rip_group_declare(struct rip_channel *ch, const char *name) {
    struct rip_control *control = ch->control;
    uint32_t g = rip_group_find(control, name);
    if (g < RIP_MAX_GROUPS) {
        /* Its members have come first. That of an exclusive group keeps no claims, as members of durable groups do: then
         * the group becomes durable when it leaves (rip_group_stay). */
        if (!(control->groups[g].flags & RIP_DURABLE)) {
            control->groups[g].flags |= RIP_DECLARED | (control->groups[g].flags & RIP_SHARED ? RIP_DURABLE : 0);
        }
        return 0;
    }
    g = rip_group_find_free(control);
    if (g == RIP_MAX_GROUPS) {
        return -ENOSR;
    }
    int rc = rip_group_begin(ch, g, name, RIP_AWAITED | RIP_DURABLE | RIP_DECLARED, RIP_OLDEST);
    control->groups_ever |= rc == 0;
    return rc;
}

int rip_group_remove(struct rip_channel *ch, const char *name, int32_t *holder) {
    uint32_t g = rip_group_find(ch->control, name);
    if (g == RIP_MAX_GROUPS) {
        return -ENOENT;
    }
    if (rip_has_members(ch, g, RIP_NO_MEMBER)) {
        *holder = ch->control->groups[g].pid;
        return -EBUSY;
    }
    rip_group_leave(ch, g);
    return 0;
}
