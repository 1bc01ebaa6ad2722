/* Inspecting and removing a channel without joining it. */
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

/* Messages before tail that are not released by this cursor. Those before from are given up. */
static uint64_t count_from(_Atomic uint64_t *cursor, uint64_t from, uint64_t tail) {
    uint64_t seq = atomic_load_explicit(cursor, memory_order_relaxed); /* relaxed: for display only */
    seq = seq < from ? from : seq;
    return seq < tail ? tail - seq : 0;
}

static uint64_t backlog_of(struct rip_control *control, uint32_t i, uint64_t from, uint64_t tail) {
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* relaxed: under the lock */
    uint64_t most = active ? 0 : count_from(&control->lanes[i].base_seq, from, tail);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        uint64_t count = active >> g & 1 ? count_from(&control->lanes[i].cursors[g].released, from, tail) : 0;
        most = count > most ? count : most;
    }
    return most;
}

/* Opens the channel with a limit on all waits: a process that only inspects or cleans up must not wait for ever if
 * another process is stopped. */
static int enter(struct rip_channel *ch, const char *channel, int make) {
    *ch = (struct rip_channel){.handle = {.state = RIP_OPEN, .reap = rip_channel_reap}};
    rip_handle_limit_waits(&ch->handle);
    return rip_channel_open(ch, channel, make, rip_private);
}

static void read_lanes(struct rip_channel *ch, struct rip_inspection *out, uint64_t tails[RIP_MAX_LANES],
                       uint64_t froms[RIP_MAX_LANES]) {
    for (uint32_t i = 0; i < rip_lanes_used(ch->control); i++) {
        struct rip_lane_entry *lane = &ch->control->lanes[i];
        uint32_t state = atomic_load_explicit(&lane->state, memory_order_relaxed); /* relaxed: under the lock */
        struct rip_file_word words[] = {{.offset = offsetof(struct rip_lane, tail)},
                                        {.offset = offsetof(struct rip_lane, dropped_below)}};
        if (state != RIP_LANE_FREE && rip_lane_read(ch, rip_lane_id(lane), words, 2) == 0) {
            tails[i] = words[0].value;
            froms[i] = words[1].value;
            out->lane[out->lanes++] = (struct rip_lane_info){.id = rip_lane_id(lane),
                                                             .pid = lane->pid,
                                                             .state = state,
                                                             .messages = tails[i],
                                                             .backlog = backlog_of(ch->control, i, froms[i], tails[i])};
        }
    }
}

static void read_groups(struct rip_channel *ch, struct rip_inspection *out, const uint64_t tails[RIP_MAX_LANES],
                        const uint64_t froms[RIP_MAX_LANES], int32_t indices[RIP_MAX_GROUPS]) {
    struct rip_control *control = ch->control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* relaxed: under the lock */
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        indices[g] = -1;
        if (!(active >> g & 1)) {
            continue;
        }
        indices[g] = (int32_t)out->groups;
        struct rip_group_info *info = &out->group[out->groups++];
        uint32_t flags = control->groups[g].flags; /* RIP_DURABLE: also without anything to read */
        uint32_t hidden = flags & RIP_DECLARED ? RIP_DURABLE : 0;
        *info = (struct rip_group_info){.flags = flags & (RIP_SHARED | RIP_DURABLE | RIP_LOSSY) & ~hidden};
        memcpy(info->name, control->groups[g].name, sizeof info->name - 1);
        for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
            info->backlog += count_from(&control->lanes[i].cursors[g].released, froms[i], tails[i]);
        }
    }
}

static void read_members(struct rip_channel *ch, struct rip_inspection *out, const int32_t indices[RIP_MAX_GROUPS]) {
    for (uint32_t i = 0; i < rip_members_used(ch->control); i++) {
        const struct rip_member *member = &ch->control->members[i];
        int32_t group = -1;
        if (member->role == RIP_NOBODY) {
            continue;
        }
        if (member->role == RIP_A_CONSUMER) {
            group = member->index < RIP_MAX_GROUPS ? indices[member->index] : -1;
            if (group < 0) {
                continue;
            }
            out->group[group].members++;
        }
        out->member[out->members++] = (struct rip_member_info){.pid = member->pid, .group = group};
    }
}

static int has_producers(const struct rip_channel *ch) {
    for (uint32_t i = 0; i < rip_members_used(ch->control); i++) {
        if (ch->control->members[i].role == RIP_A_PRODUCER) {
            return 1;
        }
    }
    return 0;
}

int rip_inspect(const char *channel, struct rip_inspection *out) {
    struct rip_channel ch;
    uint64_t tails[RIP_MAX_LANES] = {0}, froms[RIP_MAX_LANES] = {0};
    int32_t indices[RIP_MAX_GROUPS];
    memset(out, 0, sizeof *out);
    int rc = enter(&ch, channel, 0);
    if (rc == 0) {
        read_lanes(&ch, out, tails, froms);
        read_groups(&ch, out, tails, froms, indices);
        read_members(&ch, out, indices);
        out->end_waits = (uint32_t)(rip_has_awaited_messages(ch.control) && !has_producers(&ch));
        rip_channel_unmap(&ch); /* the lock is released with its file descriptor */
    }
    return rc;
}

/* Opens the channel that is to be removed. If files are left without a control file, this makes one, whose lock keeps
 * other processes out. The channel is then empty, and all its files are removed with it. */
static int enter_to_remove(struct rip_channel *ch, const char *channel) {
    int rc = enter(ch, channel, 0);
    if (rc == -ENOENT && rip_dir_leave(channel) == -ENOTEMPTY) {
        rc = enter(ch, channel, 1);
    }
    return rc;
}

/* Can it be removed by its name without reading it? */
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
    for (uint32_t i = 0; i < rip_members_used(ch.control) && rc == 0; i++) {
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
    if (is_discarded(channel, rc, 0)) { /* another version can still read what waits in its channel */
        rc = rip_handle_discard(channel, RIP_FILE_CONTROL, sizeof(struct rip_control));
        return rc ? rc : 1;
    }
    if (rc != 0) {
        return rc;
    }
    rip_channel_close(&ch);
    /* relaxed: set by this process under the lock */
    rc = (int)atomic_load_explicit(&ch.control->removed, memory_order_relaxed);
    rip_channel_unmap(&ch);
    return rc == 1 && rip_dir_leave(channel) == -ENOTEMPTY ? -ENOTEMPTY : rc;
}

int rip_remove_group(const char *channel, const char *group, int32_t *holder) {
    struct rip_channel ch;
    *holder = 0;
    int rc = enter(&ch, channel, 0);
    if (rc == 0) {
        rc = rip_group_remove(&ch, group, holder);
        rip_channel_close(&ch); /* the group may have been all that kept the channel */
        rip_channel_unmap(&ch);
    }
    return rc;
}
