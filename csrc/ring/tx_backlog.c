#include "ring/tx_backlog.h"
#include "channel/tables.h"
#include "ring/claim_files.h"
#include "ring/drop_old.h"

#include <string.h>

/* How far a group has acknowledged the lane, if it has released it up to here. */
static uint64_t acked_by(struct rip_producer *p, uint32_t g, uint64_t released) {
    /* which lanes of a group have claims: as in rx_lanes.c */
    if (p->overflow == RIP_DROP_OLD || p->ch.control->groups[g].flags & (RIP_SHARED | RIP_DURABLE | RIP_LOSSY)) {
        return rip_claims_read_unacked(&p->ch, rip_group_id(p->ch.control, g), rip_lane_id(p->entry), p->slots,
                                       released, p->published);
    }
    /* acquire: pairs with rip_rx_report_acked */
    uint64_t acked = atomic_load_explicit(&p->entry->cursors[g].acked, memory_order_acquire);
    return acked > released ? acked : released;
}

enum until { RELEASED, ACKED };

/* The oldest published message that some group has not released, or not acknowledged. Lossy groups do not count.
 * *group: that group; RIP_MAX_GROUPS: no group is behind. */
static uint64_t oldest_until(struct rip_producer *p, enum until until, uint32_t *group) {
    struct rip_control *control = p->ch.control;
    uint64_t active =
        atomic_load_explicit(&control->groups_active, memory_order_acquire); /* acquire: pairs with rip_group_leave */
    uint64_t oldest = active ? p->published : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
    *group = RIP_MAX_GROUPS;
    /* relaxed: a lossy group may be seen as one that waits */
    uint64_t lossy = atomic_load_explicit(&control->groups_lossy, memory_order_relaxed);
    for (uint64_t left = rip_groups_in(active & ~lossy); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        /* acquire: orders it before the load of the id, which changes before the cursors do */
        uint64_t reached = atomic_load_explicit(&p->entry->cursors[g].released, memory_order_acquire);
        if (until == ACKED && reached < oldest) {
            reached = acked_by(p, g, reached < p->free_below ? p->free_below : reached);
        }
        if (reached < oldest) {
            oldest = reached;
            *group = g;
        }
    }
    if (oldest < p->free_below) { /* a group is joining, or has not noticed yet what it lost */
        oldest = p->free_below;
    }
    /* above: damaged, or this producer has closed and another lane has the table entry */
    return oldest < p->published ? oldest : p->published;
}

uint64_t rip_producer_backlog(struct rip_producer *p) {
    uint32_t group;
    return p->published - oldest_until(p, RELEASED, &group);
}

int rip_has_unacked(struct rip_producer *p) {
    uint32_t group;
    return oldest_until(p, ACKED, &group) != p->published;
}

/* Only reads: another thread may be filling reserved memory, so the arena must not change here. */
static uint64_t bytes_from(const struct rip_producer *p, uint64_t oldest) {
    uint64_t offset = rip_desc_offset(&p->lane->desc[oldest & (p->slots - 1)]);
    return oldest == p->published ? 0 : rip_arena_from(&p->arena, oldest, offset);
}

uint64_t rip_producer_bytes(struct rip_producer *p) {
    uint32_t group;
    return bytes_from(p, oldest_until(p, RELEASED, &group));
}

/* In a shared group: the pid of the member that has message seq, or 0. */
static int32_t member_with(struct rip_producer *p, uint32_t group, uint64_t seq) {
    struct rip_control *control = p->ch.control;
    uint32_t member;
    enum rip_claim state =
        rip_claim_read(&p->ch, rip_group_id(control, group), rip_lane_id(p->entry), p->slots, seq, &member);
    const struct rip_member *its = &control->members[member];
    int has_it =
        (state == RIP_CLAIM_TAKEN || state == RIP_CLAIM_ACKED) && its->role == RIP_A_CONSUMER && its->index == group;
    return has_it ? its->pid : 0;
}

static void find_slowest(struct rip_producer *p, enum until until, struct rip_slowest *slowest) {
    const struct rip_group_entry *groups = p->ch.control->groups;
    uint32_t g;
    uint64_t oldest = oldest_until(p, until, &g);
    *slowest = (struct rip_slowest){
        .messages = p->published - oldest, .bytes = bytes_from(p, oldest), .kept = p->arena.pinned};
    g = g == RIP_MAX_GROUPS ? rip_drop_old_user(p) : g;
    if (g == RIP_MAX_GROUPS) {
        return;
    }
    memcpy(slowest->group, groups[g].name, sizeof slowest->group - 1);
    slowest->members = (uint32_t)rip_has_members(&p->ch, g, RIP_NO_MEMBER);
    slowest->shared = (groups[g].flags & RIP_SHARED) != 0;
    slowest->pid = !slowest->members ? 0 : slowest->shared ? member_with(p, g, oldest) : groups[g].pid;
}

void rip_producer_slowest(struct rip_producer *p, struct rip_slowest *slowest) { find_slowest(p, RELEASED, slowest); }

void rip_producer_unacked(struct rip_producer *p, struct rip_slowest *slowest) { find_slowest(p, ACKED, slowest); }

uint64_t rip_lane_acked(struct rip_producer *p, uint64_t known) {
    struct rip_control *control = p->ch.control;
    /* acquire: as in rip_reclaim */
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_acquire);
    uint64_t least = active ? p->published : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
    for (uint64_t left = rip_groups_in(active); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        /* acquire: orders it before the load of the id, which changes before the cursors do */
        uint64_t released = atomic_load_explicit(&p->entry->cursors[g].released, memory_order_acquire);
        uint64_t least_known = known > p->free_below ? known : p->free_below; /* a cursor may be late */
        uint64_t acked = acked_by(p, g, released < least_known ? least_known : released);
        least = acked < least ? acked : least;
    }
    /* this producer has closed, and all of its messages were read */
    int is_another = (uint32_t)rip_lane_id(p->entry) != p->ch.lane;
    return is_another ? p->published : least;
}
