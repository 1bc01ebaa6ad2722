#include "ring/tx_backlog.h"
#include "channel/tables.h"
#include "ring/claim_files.h"
#include "ring/drop_old.h"

#include <string.h>

/* How far a group has acknowledged the messages before end, if it has released those up to here. */
static uint64_t acked_by(struct rip_producer *p, uint32_t g, uint64_t released, uint64_t end) {
    /* which lanes of a group have claims: as in rx_lanes.c */
    if (p->overflow == RIP_DROP_OLD || p->ch.control->groups[g].flags & (RIP_SHARED | RIP_DURABLE | RIP_LOSSY)) {
        return rip_claims_read_unacked(&p->ch, rip_group_id(p->ch.control, g), rip_lane_id(p->entry), p->slots,
                                       released, end);
    }
    /* acquire: pairs with rip_rx_report_acked */
    uint64_t acked = atomic_load_explicit(&p->entry->cursors[g].acked, memory_order_acquire);
    return acked > released ? acked : released;
}

enum until { RELEASED, ACKED };

/* The end of the messages that count: all that are published in the lane, or of those to be acknowledged the own
 * ones. What this handle knows of a shared lane may be old, but the header of the lane says it. */
static uint64_t end_for(const struct rip_producer *p, enum until until) {
    if (!p->shared) {
        return p->published;
    }
    /* acquire: pairs with rip_tx_publish */
    return until == ACKED ? p->own_end : atomic_load_explicit(&p->lane->tail, memory_order_acquire);
}

/* The oldest message before end that some group has not released, or not acknowledged. Lossy groups do not count.
 * *group: that group; RIP_MAX_GROUPS: no group is behind. */
static uint64_t oldest_until(struct rip_producer *p, enum until until, uint64_t end, uint32_t *group) {
    struct rip_control *control = p->ch.control;
    /* relaxed: for display only, or it is this producer's own */
    uint64_t given_up = atomic_load_explicit(&p->lane->reclaimed, memory_order_relaxed);
    uint64_t active =
        atomic_load_explicit(&control->groups_active, memory_order_acquire); /* acquire: pairs with rip_group_leave */
    uint64_t oldest = active ? end : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
    *group = RIP_MAX_GROUPS;
    /* relaxed: a lossy group may be seen as one that waits */
    uint64_t lossy = atomic_load_explicit(&control->groups_lossy, memory_order_relaxed);
    for (uint64_t left = rip_groups_in(active & ~lossy); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        /* acquire: orders it before the load of the id, which changes before the cursors do */
        uint64_t reached = atomic_load_explicit(&p->entry->cursors[g].released, memory_order_acquire);
        if (until == ACKED && reached < oldest) {
            reached = acked_by(p, g, reached < given_up ? given_up : reached, end);
        }
        if (reached < oldest) {
            oldest = reached;
            *group = g;
        }
    }
    if (oldest < given_up) { /* a group is joining, or has not noticed yet what it lost */
        oldest = given_up;
    }
    /* above: damaged, or this producer has closed and another lane has the table entry */
    return oldest < end ? oldest : end;
}

uint64_t rip_producer_backlog(struct rip_producer *p) {
    uint32_t group;
    uint64_t end = end_for(p, RELEASED);
    return end - oldest_until(p, RELEASED, end, &group);
}

uint64_t rip_tx_first_unacked(struct rip_producer *p) {
    uint32_t group;
    uint64_t end = end_for(p, ACKED);
    return oldest_until(p, ACKED, end, &group);
}

int rip_has_unacked(struct rip_producer *p) { return rip_tx_first_unacked(p) != end_for(p, ACKED); }

/* Only reads: another thread may be filling reserved memory, so the arena must not change here. The arena of a shared
 * lane may be that of a while ago. */
static uint64_t bytes_from(const struct rip_producer *p, uint64_t oldest, uint64_t end) {
    const struct rip_desc *desc = p->lane->desc;
    uint64_t mask = p->slots - 1, bytes = 0;
    if (oldest == end || !p->shared) {
        return oldest == end ? 0 : rip_arena_from(&p->arena, oldest, rip_desc_offset(&desc[oldest & mask]));
    }
    for (uint64_t seq = end - oldest > p->slots ? end - p->slots : oldest; seq != end; seq++) {
        bytes += rip_round_up(rip_desc_length(&desc[seq & mask]), RIP_LINE);
    }
    return bytes;
}

uint64_t rip_producer_bytes(struct rip_producer *p) {
    uint32_t group;
    uint64_t end = end_for(p, RELEASED);
    return bytes_from(p, oldest_until(p, RELEASED, end, &group), end);
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
    uint64_t end = end_for(p, until), oldest = oldest_until(p, until, end, &g);
    *slowest =
        (struct rip_slowest){.messages = end - oldest, .bytes = bytes_from(p, oldest, end), .kept = p->arena.pinned};
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
        uint64_t acked = acked_by(p, g, released < least_known ? least_known : released, p->published);
        least = acked < least ? acked : least;
    }
    /* this producer has closed, and all of its messages were read */
    int is_another = (uint32_t)rip_lane_id(p->entry) != p->ch.lane;
    return is_another ? p->published : least;
}
