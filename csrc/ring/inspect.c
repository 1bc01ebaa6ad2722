/* Looking at a channel, and removing it, without taking part. */
#include "base/names.h"
#include "channel/enter.h"
#include "channel/groups.h"
#include "channel/lane_table.h"
#include "channel/tables.h"
#include "ring/reap.h"
#include "store/control_file.h"
#include "store/directory.h"
#include "store/table_lock.h"

#include <string.h>

/* Messages before the tail that are there for a cursor, or floor; those before from have been given up. */
static uint64_t count_from(_Atomic uint64_t *cursor, uint64_t from, uint64_t tail) {
    uint64_t seq = atomic_load_explicit(cursor, memory_order_relaxed); /* only to be shown */
    seq = seq < from ? from : seq;
    return seq < tail ? tail - seq : 0;
}

static uint64_t backlog_of(struct rip_control *control, uint32_t i, uint64_t from, uint64_t tail) {
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    uint64_t most = active ? 0 : count_from(&control->lanes[i].base_seq, from, tail);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        uint64_t count = active >> g & 1 ? count_from(&control->cursors[g][i].released, from, tail) : 0;
        most = count > most ? count : most;
    }
    return most;
}

/* Whoever only looks, or clears up, does not wait for ever beside a process that is stopped. */
static int enter(struct rip_channel *ch, const char *channel, int make) {
    *ch = (struct rip_channel){.handle = {.state = RIP_OPEN, .reap = rip_channel_reap}};
    rip_handle_limit_waits(&ch->handle);
    return rip_channel_open(ch, channel, make, rip_private);
}

static void look_at_lanes(struct rip_channel *ch, struct rip_inspection *look, uint64_t tails[RIP_MAX_LANES],
                          uint64_t froms[RIP_MAX_LANES]) {
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &ch->control->lanes[i];
        uint32_t state = atomic_load_explicit(&lane->state, memory_order_relaxed); /* under the lock */
        tails[i] = froms[i] = 0;
        if (state != RIP_LANE_FREE &&
            rip_read_word(ch, rip_lane_id(lane), offsetof(struct rip_lane, tail), &tails[i]) == 0 &&
            rip_read_word(ch, rip_lane_id(lane), offsetof(struct rip_lane, dropped_below), &froms[i]) == 0) {
            look->lane[look->lanes++] =
                (struct rip_lane_info){.id = rip_lane_id(lane),
                                       .pid = lane->pid,
                                       .is = state,
                                       .messages = tails[i],
                                       .backlog = backlog_of(ch->control, i, froms[i], tails[i])};
        }
    }
}

static void look_at_groups(struct rip_channel *ch, struct rip_inspection *look, const uint64_t tails[RIP_MAX_LANES],
                           const uint64_t froms[RIP_MAX_LANES], int32_t places[RIP_MAX_GROUPS]) {
    struct rip_control *control = ch->control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        places[g] = -1;
        if (!(active >> g & 1)) {
            continue;
        }
        places[g] = (int32_t)look->groups;
        struct rip_group_info *info = &look->group[look->groups++];
        *info = (struct rip_group_info){.how = control->groups[g].flags & (RIP_SHARED | RIP_DURABLE)};
        memcpy(info->name, control->groups[g].name, sizeof info->name - 1);
        for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
            info->backlog += count_from(&control->cursors[g][i].released, froms[i], tails[i]);
        }
    }
}

static void look_at_members(struct rip_channel *ch, struct rip_inspection *look, const int32_t places[RIP_MAX_GROUPS]) {
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        const struct rip_member *member = &ch->control->members[i];
        int32_t handle = -1;
        if (member->role == RIP_NOBODY) {
            continue;
        }
        if (member->role == RIP_A_CONSUMER) {
            handle = member->index < RIP_MAX_GROUPS ? places[member->index] : -1;
            if (handle < 0) {
                continue;
            }
            look->group[handle].members++;
        }
        look->member[look->members++] = (struct rip_member_info){.pid = member->pid, .group = handle};
    }
}

static int has_producers(const struct rip_channel *ch) {
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        if (ch->control->members[i].role == RIP_A_PRODUCER) {
            return 1;
        }
    }
    return 0;
}

int rip_inspect(const char *channel, struct rip_inspection *look) {
    struct rip_channel ch;
    uint64_t tails[RIP_MAX_LANES], froms[RIP_MAX_LANES];
    int32_t places[RIP_MAX_GROUPS];
    memset(look, 0, sizeof *look);
    int rc = enter(&ch, channel, 0);
    if (rc == 0) {
        look_at_lanes(&ch, look, tails, froms);
        look_at_groups(&ch, look, tails, froms, places);
        look_at_members(&ch, look, places);
        look->end_waits = (uint32_t)(rip_has_awaited_messages(ch.control) && !has_producers(&ch));
        rip_channel_unmap(&ch); /* the lock goes with its descriptor */
    }
    return rc;
}

/* Enters what is to be removed. Where other files are left without a control file it makes one, whose lock keeps
 * newcomers out: then the channel is as new, and all of them go with it. */
static int enter_to_remove(struct rip_channel *ch, const char *channel) {
    int rc = enter(ch, channel, 0);
    if (rc == -ENOENT && rip_dir_leave(channel) == -ENOTEMPTY) {
        rc = enter(ch, channel, 1);
    }
    return rc;
}

/* Has it a name under which it can be removed unseen? */
static int is_discarded(const char *channel, int rc, int with_other_versions) {
    return (rc == -EBADMSG || (with_other_versions && rc == -EPROTONOSUPPORT)) && rip_name_check(channel) == 1;
}

int rip_remove(const char *channel, int32_t *holder) {
    struct rip_channel ch;
    *holder = 0;
    int rc = enter_to_remove(&ch, channel);
    if (is_discarded(channel, rc, 1)) {
        return rip_handle_discard(channel, RIP_FILE_CONTROL, sizeof(struct rip_control));
    }
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS && rc == 0; i++) {
        if (ch.control->members[i].role != RIP_NOBODY) {
            *holder = ch.control->members[i].pid;
            rc = -EBUSY;
        }
    }
    if (rc == 0) {
        rip_channel_clear(&ch);
    }
    rip_channel_unmap(&ch);
    return rc;
}

int rip_clean_up(const char *channel) {
    struct rip_channel ch;
    int rc = enter_to_remove(&ch, channel);
    if (is_discarded(channel, rc, 0)) { /* what waits in another version's, that version can read */
        rc = rip_handle_discard(channel, RIP_FILE_CONTROL, sizeof(struct rip_control));
        return rc ? rc : 1;
    }
    if (rc != 0) {
        return rc;
    }
    rip_channel_close(&ch);
    rc = (int)atomic_load_explicit(&ch.control->removed, memory_order_relaxed); /* set under the lock, by us */
    rip_channel_unmap(&ch);
    return rc == 1 && rip_dir_leave(channel) == -ENOTEMPTY ? -ENOTEMPTY : rc;
}

int rip_remove_group(const char *channel, const char *group, int32_t *holder) {
    struct rip_channel ch;
    *holder = 0;
    int rc = enter(&ch, channel, 0);
    if (rc == 0) {
        rc = rip_group_remove(&ch, group, holder);
        rip_channel_close(&ch); /* it may have been all that kept the channel */
        rip_channel_unmap(&ch);
    }
    return rc;
}
