#include "ring/join.h"
#include "channel/groups.h"
#include "channel/members.h"
#include "ring/rx_lanes.h"

#include <unistd.h>

/* Joins an existing group: one without a member, or a shared one. */
static int join_group(struct rip_consumer *c, uint32_t g, uint32_t flags, int32_t *holder) {
    struct rip_group_entry *group = &c->ch.control->groups[g];
    uint32_t kind = flags & (RIP_SHARED | RIP_LOSSY), durable = flags & RIP_DURABLE;
    int has_members = rip_has_members(&c->ch, g, RIP_NO_MEMBER);
    /* a producer may have passed a lossy group, so it stays lossy */
    int is_decided = has_members || !(group->flags & RIP_AWAITED) || group->flags & RIP_LOSSY;
    if (is_decided && (group->flags & (RIP_SHARED | RIP_LOSSY)) != kind) {
        *holder = (int32_t)(group->flags & (RIP_SHARED | RIP_LOSSY));
        return -EEXIST;
    }
    if (!(kind & RIP_SHARED) && has_members) {
        *holder = group->pid;
        return -EBUSY;
    }
    c->group = g;
    c->claims = kind & RIP_SHARED || durable || group->flags & RIP_DURABLE;
    int rc = rip_member_join(&c->ch, RIP_A_CONSUMER, g);
    /* before rip_rescan, which may release the lock: the first member decides whether a declared group is shared or
     * lossy */
    if (rc == 0) {
        if (!has_members && !(group->flags & RIP_AWAITED)) {
            rip_group_count(c->ch.control, g);
        }
        group->pid = (int32_t)getpid();
        group->flags = kind | (group->flags & (RIP_AWAITED | RIP_DURABLE | RIP_DECLARED));
        /* Producers that wait for the group need not wait any more. Each member does this, because the first one may
         * have been killed just before it. */
        if (kind & RIP_LOSSY) {
            rip_group_set_lossy(c->ch.control, g, kind);
            rip_wake_lanes(&c->ch);
        }
        rc = rip_rescan(c);
    }
    if (rc == 0) { /* from here on the group ends with its last member, unless it is durable */
        group->flags = kind | durable | (group->flags & (durable ? RIP_DURABLE : RIP_DURABLE | RIP_DECLARED));
        c->ch.control->groups_ever = 1;
    }
    return rc;
}

static int join_new_group(struct rip_consumer *c, const char *name, uint32_t flags) {
    struct rip_control *control = c->ch.control;
    c->group = rip_group_find_free(control);
    if (c->group == RIP_MAX_GROUPS) {
        return -ENOSR;
    }
    int rc = rip_member_join(&c->ch, RIP_A_CONSUMER, c->group);
    if (rc != 0) {
        return rc;
    }
    uint32_t kind = flags & (RIP_SHARED | RIP_DURABLE | RIP_LOSSY);
    c->claims = (kind & (RIP_SHARED | RIP_DURABLE)) != 0;
    rc = rip_group_begin(&c->ch, c->group, name, kind, flags & RIP_NEWEST ? RIP_NEWEST : RIP_OLDEST);
    if (rc != 0) {
        return rc;
    }
    control->groups[c->group].pid = (int32_t)getpid();
    rc = rip_rescan(c);
    if (rc == 0) {
        control->groups_ever = 1;
    } else if (c->ch.handle.locked && !rip_has_members(&c->ch, c->group, c->ch.handle.member)) {
        /* as if the group had never existed: messages that wait for a first group continue to wait */
        rip_group_undo(control, c->group);
    }
    return rc;
}

int rip_group_join(struct rip_consumer *c, const char *name, uint32_t flags, int32_t *holder) {
    uint32_t g = rip_group_find(c->ch.control, name);
    return g < RIP_MAX_GROUPS ? join_group(c, g, flags, holder) : join_new_group(c, name, flags);
}
