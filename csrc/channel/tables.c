#include "channel/tables.h"

int rip_fences_all(const struct rip_control *control) {
    for (uint32_t i = 0; i < rip_members_used(control); i++) {
        if (control->members[i].role != RIP_NOBODY && control->fences[i] & RIP_FENCES_ALL) {
            return 1;
        }
    }
    return 0;
}

int rip_has_members(const struct rip_channel *ch, uint32_t group, uint32_t other_than) {
    for (uint32_t i = 0; i < RIP_MAX_CONSUMERS; i++) {
        const struct rip_member *member = &ch->control->members[i];
        if (i != other_than && member->role == RIP_A_CONSUMER && member->index == group) {
            return 1;
        }
    }
    return 0;
}

/* Is there a lane in the table? Those that every group has read leave it (rip_lanes_retire). */
static int has_lanes(const struct rip_control *control) {
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        if (atomic_load_explicit(&control->lanes[i].state, memory_order_relaxed) !=
            RIP_LANE_FREE) { /* under the lock */
            return 1;
        }
    }
    return 0;
}

uint32_t rip_kept_for(const struct rip_control *control) {
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    uint32_t flags = control->groups_ever ? 0 : RIP_AWAITED;
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        uint32_t its = active >> g & 1 ? control->groups[g].flags : 0;
        flags |= its & RIP_DECLARED && !has_lanes(control) ? its & ~(uint32_t)RIP_DURABLE : its;
    }
    return flags & (RIP_AWAITED | RIP_DURABLE);
}

int rip_has_awaited_messages(const struct rip_control *control) {
    return rip_kept_for(control) & RIP_AWAITED && rip_producers_ever(control) > control->epoch_start;
}

uint32_t rip_reasons_of_end(const struct rip_control *control) {
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        /* relaxed: without the lock it is a hint */
        if (atomic_load_explicit(&control->lanes[i].state, memory_order_relaxed) == RIP_LANE_LIVE) {
            return 0;
        }
    }
    return RIP_POLLFD_ENDS;
}
