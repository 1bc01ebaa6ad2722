#include "ring/reap.h"
#include "base/errors.h"
#include "channel/groups.h"
#include "channel/lane_table.h"
#include "channel/members.h"
#include "channel/tables.h"
#include "ring/claim_files.h"
#include "ring/writers.h"
#include "store/files.h"
#include "store/table_lock.h"

int rip_member_leave(struct rip_channel *ch, uint32_t member) {
    struct rip_control *control = ch->control;
    uint32_t group = control->members[member].index;
    if (group >= RIP_MAX_GROUPS) {
        return 0;
    }
    int last = !rip_has_members(ch, group, member);
    /* relaxed: under the lock */
    int active = atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> group & 1;
    uint32_t flags = control->groups[group].flags;
    if (last && active && flags & RIP_DECLARED && !(flags & RIP_DURABLE)) {
        rip_group_stay(ch, group);
    }
    if (last && !(active && control->groups[group].flags & (RIP_DURABLE | RIP_AWAITED))) {
        rip_group_leave(ch, group);
        return 0;
    }
    control->groups[group].pid = last ? 0 : control->groups[group].pid;
    return rip_claims_requeue(ch, group, member);
}

/* Ends the lane of a dead producer. One that was closing and waited for the lock until its process ended has not died:
 * its lane is marked as closed. A lane that cannot be read counts as empty. Returns 0, or -EMFILE and so on: then call
 * it again later. If the files are deleted, only handles that have the lane mapped can still check (rip_rescan). */
static int end_lane(struct rip_channel *ch, uint32_t index) {
    struct rip_lane_entry *lane = &ch->control->lanes[index];
    struct rip_file_key file = rip_lane_file(rip_lane_id(lane));
    struct rip_file_word words[] = {{.offset = offsetof(struct rip_lane, closed)},
                                    {.offset = offsetof(struct rip_lane, tail)}};
    int rc = rip_file_read(&ch->handle, file, words, 2);
    uint64_t closed = rc ? RIP_NOT_CLOSED : words[0].value, tail = rc ? UINT64_MAX : words[1].value;
    if (rip_is_resource_error(rc) && rc != -ESTALE) {
        return rc;
    }
    int is_readable = rc == 0 || rc == -ESTALE;
    lane->tail = is_readable ? tail : 0;
    /* release: pairs with the acquire in rip_rescan, which loads the tail of the lane afterwards */
    atomic_store_explicit(&lane->state, is_readable ? rip_lane_end_state((uint32_t)closed) : RIP_LANE_ENDED,
                          memory_order_release);
    return 0;
}

void rip_channel_reap(struct rip_handle *handle) {
    struct rip_channel *ch = (struct rip_channel *)(void *)handle; /* the handle is its first member */
    struct rip_control *control = ch->control;
    int lanes_died = 0;
    uint32_t reasons = 0;
    for (uint32_t i = 0; i < rip_members_used(control); i++) {
        struct rip_member *member = &control->members[i];
        uint32_t role = member->role, index = member->index;
        if (role == RIP_NOBODY || i == ch->handle.member || !rip_is_dead(&ch->handle, i)) {
            continue;
        }
        if (role == RIP_A_PRODUCER && index < rip_lanes_used(control)) {
            uint64_t id = rip_lane_id(&control->lanes[index]);
            /* relaxed: under the lock */
            if (atomic_load_explicit(&control->lanes[index].state, memory_order_relaxed) == RIP_LANE_FREE) {
                rip_file_remove(&ch->handle, rip_lane_file(id)); /* it was killed before its lane was live */
                rip_member_end(ch, i);
                continue;
            }
            /* the last step of joining */
            control->lanes_ever = control->lanes_ever > id ? control->lanes_ever : id + 1;
            int rc = control->lanes[index].shared ? rip_writer_end(ch, i) : end_lane(ch, index);
            if (rc != 0) {
                continue; /* stays a member; reaped later */
            }
            lanes_died = 1;
            /* relaxed: under the lock */
            uint32_t state = atomic_load_explicit(&control->lanes[index].state, memory_order_relaxed);
            reasons |= rip_lane_is_reported(state) || control->lanes[index].shared ? RIP_POLLFD_DEATHS : 0;
        } else if (role == RIP_A_CONSUMER && index < RIP_MAX_GROUPS) {
            if (rip_member_leave(ch, i) != 0) {
                continue; /* stays a dead member: another process reaps it, or this one does later */
            }
        }
        rip_member_end(ch, i);
    }
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* relaxed: under the lock */
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        /* the process that made the group was killed */
        if (active >> g & 1 && control->groups[g].flags & RIP_INCOMPLETE) {
            rip_group_leave(ch, g);
        }
    }
    if (lanes_died) {
        rip_lanes_retire(ch);
        rip_lanes_changed(ch, reasons | rip_reasons_of_end(control));
    }
}
