/* Entering a group: making one, taking over one that waits for members, or joining those who compete; and making one that waits. What
 * a consumer does afterwards is in consumer.c. */
#include "ring/lane.h"
#include "store/files.h"

#include <string.h>
#include <unistd.h>

static int is_active(const struct rip_control *control, uint32_t g) {
    return atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> g & 1; /* under the lock */
}

int rip_is_group_name(const char *name) { return name[0] != '\0' && strlen(name) <= RIP_MAX_GROUP_NAME; }

/* RIP_MAX_GROUPS if there is none. */
static uint32_t find_group(const struct rip_control *control, const char *name) {
    uint32_t g = 0;
    while (g < RIP_MAX_GROUPS &&
           !(is_active(control, g) && strncmp(control->groups[g].name, name, sizeof control->groups[g].name) == 0)) {
        g++;
    }
    return g;
}

static uint32_t find_free(const struct rip_control *control) {
    uint32_t g = 0;
    while (g < RIP_MAX_GROUPS && is_active(control, g)) {
        g++;
    }
    return g;
}

/* The cursors of a new group; the lock is held. */
static void set_cursors(struct rip_channel *ch, uint32_t group, enum rip_how start) {
    struct rip_control *control = ch->control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed);
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        uint64_t seq = 0;
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) != RIP_LANE_FREE) {
            uint64_t oldest = active ? UINT64_MAX : atomic_load_explicit(&lane->base_seq, memory_order_relaxed);
            for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
                uint64_t released = atomic_load_explicit(&control->cursors[g][i].released, memory_order_relaxed);
                oldest = (active >> g & 1) && released < oldest ? released : oldest;
            }
            if (start != RIP_NEWEST ||
                rip_read_word(ch, rip_lane_id(lane), offsetof(struct rip_lane, tail), &seq) != 0) {
                seq = oldest;
            }
        }
        atomic_store_explicit(&control->cursors[group][i].released, seq, memory_order_relaxed);
    }
}

/* Moves the cursors of a new group over what has been reclaimed while it came: 0, -EMFILE and the like, or -EBADMSG
 * where the file of a lane that lives has been removed: the group could not read it, and would hold its producer back
 * for ever. */
static int pass_reclaimed(struct rip_channel *ch, uint32_t group) {
    struct rip_control *control = ch->control;
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        _Atomic uint64_t *released = &control->cursors[group][i].released;
        uint64_t head, from, magic;
        uint32_t state = atomic_load_explicit(&lane->state, memory_order_relaxed); /* under the lock */
        if (state == RIP_LANE_FREE) {
            continue;
        }
        int rc = rip_read_word(ch, rip_lane_id(lane), offsetof(struct rip_lane, reclaimed), &head);
        rc = rc ? rc : rip_read_word(ch, rip_lane_id(lane), offsetof(struct rip_lane, dropped_below), &from);
        if (rc == 0 && state == RIP_LANE_LIVE) {
            rc = rip_file_read(&ch->handle, rip_lane_file(rip_lane_id(lane)), 0, &magic) == -ENOENT ? -EBADMSG : 0;
        }
        if (rc != 0) {
            return rc;
        }
        head = from > head ? from : head;
        if (head > atomic_load_explicit(released, memory_order_relaxed)) {
            atomic_store_explicit(released, head, memory_order_release); /* pairs with the acquire in rip_reclaim */
        }
    }
    return 0;
}

static void end_group(struct rip_control *control, uint32_t g) {
    atomic_fetch_and_explicit(&control->groups_active, ~(UINT64_C(1) << g), memory_order_acq_rel);
}

/* Makes a new entry of the table. A kill between any two steps leaves a free one, or a group that waits. */
static int begin_group(struct rip_channel *ch, uint32_t g, const char *name, uint32_t flags, enum rip_how start) {
    struct rip_control *control = ch->control;
    struct rip_group_entry *group = &control->groups[g];
    control->groups_named++;
    atomic_store_explicit(&group->id, control->groups_named, memory_order_relaxed); /* the bit below publishes it */
    group->flags = flags | RIP_INCOMPLETE;
    group->pid = 0;
    strncpy(group->name, name, RIP_MAX_GROUP_NAME);
    atomic_store_explicit(&group->pollfds, 0, memory_order_relaxed);
    atomic_store_explicit(&group->picky, 0, memory_order_relaxed);
    set_cursors(ch, g, start);
    atomic_fetch_or_explicit(&control->groups_active, UINT64_C(1) << g, memory_order_seq_cst);
    atomic_fetch_add_explicit(&control->group_epoch, 1, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in rip_reclaim: our bit, then its head */
    int rc = pass_reclaimed(ch, g);
    if (rc != 0) {
        end_group(control, g);
    }
    group->flags = flags;
    return rc;
}

/* Enters a group that is there: one without a member, or one whose members compete. */
static int join_group(struct rip_consumer *c, uint32_t g, uint32_t how, int32_t *holder) {
    struct rip_group_entry *group = &c->ch.control->groups[g];
    uint32_t kind = how & RIP_SHARED, durable = how & RIP_DURABLE;
    int has_members = rip_has_members(&c->ch, g, RIP_NO_MEMBER);
    if ((has_members || !(group->flags & RIP_AWAITED)) && (group->flags & RIP_SHARED) != kind) {
        return -EEXIST;
    }
    if (!kind && has_members) {
        *holder = group->pid;
        return -EBUSY;
    }
    c->group = g;
    c->claims = kind || durable || (group->flags & RIP_DURABLE);
    int rc = rip_member_join(&c->ch, RIP_A_CONSUMER, g);
    if (rc == 0) { /* before rip_rescan, which may release the lock: a member says what a declared group is */
        group->pid = (int32_t)getpid();
        group->flags = kind | (group->flags & (RIP_AWAITED | RIP_DURABLE));
        rc = rip_rescan(c);
    }
    if (rc == 0) { /* from here on it goes with its last member, if it is not durable */
        group->flags = kind | durable | (group->flags & RIP_DURABLE);
        c->ch.control->groups_ever = 1;
    }
    return rc;
}

static int join_new_group(struct rip_consumer *c, const char *name, uint32_t how) {
    struct rip_control *control = c->ch.control;
    c->group = find_free(control);
    if (c->group == RIP_MAX_GROUPS) {
        return -ENOSR;
    }
    int rc = rip_member_join(&c->ch, RIP_A_CONSUMER, c->group);
    if (rc != 0) {
        return rc;
    }
    uint32_t flags = how & (RIP_SHARED | RIP_DURABLE);
    c->claims = flags != 0;
    rc = begin_group(&c->ch, c->group, name, flags, how & RIP_NEWEST ? RIP_NEWEST : RIP_OLDEST);
    if (rc != 0) {
        return rc;
    }
    control->groups[c->group].pid = (int32_t)getpid();
    rc = rip_rescan(c);
    if (rc == 0) {
        control->groups_ever = 1;
    } else if (c->ch.handle.locked && !rip_has_members(&c->ch, c->group, c->ch.handle.member)) {
        end_group(control, c->group); /* as if it had never been: what waits for a first group goes on waiting */
    }
    return rc;
}

int rip_group_join(struct rip_consumer *c, const char *name, uint32_t how, int32_t *holder) {
    uint32_t g = find_group(c->ch.control, name);
    return g < RIP_MAX_GROUPS ? join_group(c, g, how, holder) : join_new_group(c, name, how);
}

int rip_group_declare(struct rip_channel *ch, const char *name) {
    struct rip_control *control = ch->control;
    if (find_group(control, name) < RIP_MAX_GROUPS) {
        return 0;
    }
    uint32_t g = find_free(control);
    if (g == RIP_MAX_GROUPS) {
        return -ENOSR;
    }
    int rc = begin_group(ch, g, name, RIP_AWAITED, RIP_OLDEST);
    control->groups_ever |= rc == 0;
    return rc;
}

int rip_group_remove(struct rip_channel *ch, const char *name, int32_t *holder) {
    uint32_t g = find_group(ch->control, name);
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
