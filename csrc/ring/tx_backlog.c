#include "ring/tx_backlog.h"
#include "channel/tables.h"
#include "ring/claim_files.h"
#include "ring/drop_old.h"

#include <string.h>

/* The oldest published message that some group has not released. Lossy groups do not count. *group: that group;
 * RIP_MAX_GROUPS: no group is behind. */
static uint64_t oldest_unreleased(const struct rip_producer *p, uint32_t *group) {
    struct rip_control *control = p->ch.control;
    uint64_t active =
        atomic_load_explicit(&control->groups_active, memory_order_acquire); /* acquire: pairs with rip_group_leave */
    uint64_t oldest = active ? p->published : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
    *group = RIP_MAX_GROUPS;
    /* relaxed: a lossy group may be seen as one that waits */
    uint64_t lossy = atomic_load_explicit(&control->groups_lossy, memory_order_relaxed);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        /* relaxed: for display only */
        uint64_t released = atomic_load_explicit(&p->entry->cursors[g].released, memory_order_relaxed);
        if (((active & ~lossy) >> g & 1) && released < oldest) {
            oldest = released;
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
    return p->published - oldest_unreleased(p, &group);
}

/* Only reads: another thread may be filling reserved memory, so the arena must not change here. */
uint64_t rip_producer_bytes(struct rip_producer *p) {
    uint32_t group;
    uint64_t oldest = oldest_unreleased(p, &group);
    uint64_t offset = rip_desc_offset(&p->lane->desc[oldest & (p->slots - 1)]);
    return oldest == p->published ? 0 : rip_arena_from(&p->arena, oldest, offset);
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

void rip_producer_slowest(struct rip_producer *p, struct rip_slowest *slowest) {
    const struct rip_group_entry *groups = p->ch.control->groups;
    uint32_t g;
    uint64_t oldest = oldest_unreleased(p, &g);
    *slowest = (struct rip_slowest){
        .messages = p->published - oldest, .bytes = rip_producer_bytes(p), .kept = p->arena.pinned};
    g = g == RIP_MAX_GROUPS ? rip_drop_old_user(p) : g;
    if (g == RIP_MAX_GROUPS) {
        return;
    }
    memcpy(slowest->group, groups[g].name, sizeof slowest->group - 1);
    slowest->members = (uint32_t)rip_has_members(&p->ch, g, RIP_NO_MEMBER);
    slowest->shared = (groups[g].flags & RIP_SHARED) != 0;
    slowest->pid = !slowest->members ? 0 : slowest->shared ? member_with(p, g, oldest) : groups[g].pid;
}

uint64_t rip_lane_acked(struct rip_producer *p, uint64_t known) {
    struct rip_control *control = p->ch.control;
    /* acquire: as in rip_reclaim */
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_acquire);
    uint64_t least = active ? p->published : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (active >> g & 1) {
            /* acquire: orders it before the load of the id, which changes before the cursors do */
            uint64_t released = atomic_load_explicit(&p->entry->cursors[g].released, memory_order_acquire);
            released = released < known ? known : released;
            if (control->groups[g].flags & (RIP_SHARED | RIP_DURABLE | RIP_LOSSY)) {
                released = rip_claims_read_unacked(&p->ch, rip_group_id(control, g), rip_lane_id(p->entry), p->slots,
                                                   released, p->published);
            }
            least = released < least ? released : least;
        }
    }
    /* this producer has closed, and all of its messages were read */
    int is_another = (uint32_t)rip_lane_id(p->entry) != p->ch.lane;
    return is_another ? p->published : least;
}
