#include "ring/reap.h"
#include "channel/groups.h"
#include "channel/lane_table.h"
#include "channel/members.h"
#include "channel/tables.h"
#include "ring/claim_files.h"
#include "store/table_lock.h"

int rip_member_leave(struct rip_channel *ch, uint32_t member) {
    struct rip_control *control = ch->control;
    uint32_t group = control->members[member].index;
    if (group >= RIP_MAX_GROUPS) {
        return 0;
    }
    int last = !rip_has_members(ch, group, member);
    int active = atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> group & 1; /* under the lock */
    if (last && !(active && control->groups[group].flags & (RIP_DURABLE | RIP_AWAITED))) {
        rip_group_leave(ch, group);
        return 0;
    }
    control->groups[group].pid = last ? 0 : control->groups[group].pid;
    return rip_claims_requeue(ch, group, member);
}

/* One that was closing, and waited for the lock until its process ended, has not died: it says so in its lane. 0, or
 * -EMFILE and the like: it is to be asked again. Where the files are deleted nobody can ask any more but who has the
 * lane mapped (rip_rescan). */
static int how_ended(struct rip_channel *ch, uint32_t lane, uint32_t *state) {
    uint64_t closed;
    int rc = rip_read_word(ch, rip_lane_id(&ch->control->lanes[lane]), offsetof(struct rip_lane, closed), &closed);
    *state = (uint32_t)closed ? RIP_LANE_ENDED : RIP_LANE_DEAD;
    return rc == -ESTALE ? 0 : rc;
}

void rip_channel_reap(struct rip_handle *handle) {
    struct rip_channel *ch = (struct rip_channel *)(void *)handle; /* its first part */
    struct rip_control *control = ch->control;
    int lanes_died = 0;
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        struct rip_member *member = &control->members[i];
        uint32_t role = member->role, index = member->index, state;
        if (role == RIP_NOBODY || i == ch->handle.member || !rip_is_dead(&ch->handle, i)) {
            continue;
        }
        if (role == RIP_A_PRODUCER && index < RIP_MAX_LANES) {
            if (how_ended(ch, index, &state) != 0) {
                continue; /* as below */
            }
            /* release: pairs with the acquire in rip_rescan; it reads the tail after it */
            atomic_store_explicit(&control->lanes[index].state, state, memory_order_release);
            lanes_died = 1;
        } else if (role == RIP_A_CONSUMER && index < RIP_MAX_GROUPS) {
            if (rip_member_leave(ch, i) != 0) {
                continue; /* it stays dead: another will find it, or we later */
            }
        }
        rip_member_end(ch, i);
    }
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (active >> g & 1 && control->groups[g].flags & RIP_INCOMPLETE) { /* who made it was killed */
            rip_group_leave(ch, g);
        }
    }
    if (lanes_died) {
        rip_lanes_retire(ch);
        rip_lanes_changed(ch);
    }
}
