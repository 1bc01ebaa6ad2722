/* Entering a group: making one, or joining those who compete. What a consumer does afterwards is in consumer.c. */
#include "lane.h"

#include <string.h>
#include <unistd.h>

/* The cursors of a new group; the lock is held. */
static void set_cursors(struct rip_consumer *c, enum rip_how start) {
    struct rip_control *control = c->ch.control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed);
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        uint64_t seq = 0;
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) != RIP_LANE_FREE) {
            uint64_t oldest = active ? UINT64_MAX : atomic_load_explicit(&lane->floor, memory_order_relaxed);
            for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
                uint64_t held = atomic_load_explicit(&control->cursors[g][i].held, memory_order_relaxed);
                oldest = (active >> g & 1) && held < oldest ? held : oldest;
            }
            if (start != RIP_NEWEST || rip_read_tail(&c->ch, lane->id, &seq) != 0) {
                seq = oldest;
            }
        }
        atomic_store_explicit(&control->cursors[c->group][i].held, seq, memory_order_relaxed);
    }
}

static uint32_t find_group(const struct rip_control *control, const char *name) {
    uint32_t g = 0;
    while (g < RIP_MAX_GROUPS && strncmp(control->groups[g].name, name, sizeof control->groups[g].name) != 0) {
        g++;
    }
    return g;
}

/* Enters a group that is there: only one whose members compete takes another. */
static int join_members(struct rip_consumer *c, uint32_t g, int32_t *holder) {
    struct rip_group_entry *group = &c->ch.control->groups[g];
    if ((group->flags & RIP_SHARED) != (c->shared ? RIP_SHARED : 0u)) {
        return -EEXIST;
    }
    if (!c->shared) {
        *holder = group->pid;
        return -EBUSY;
    }
    c->group = g;
    int rc = rip_member_join(&c->ch, RIP_A_CONSUMER, g);
    if (rc == 0) {
        group->pid = (int32_t)getpid();
        rc = rip_rescan(c);
    }
    return rc;
}

/* Makes a new entry of the table. A kill between any two steps leaves what rip_reap can end. */
static int join_first(struct rip_consumer *c, const char *name, enum rip_how start) {
    struct rip_control *control = c->ch.control;
    c->group = find_group(control, "");
    if (c->group == RIP_MAX_GROUPS) {
        return -EUSERS;
    }
    struct rip_group_entry *group = &control->groups[c->group];
    int rc = rip_member_join(&c->ch, RIP_A_CONSUMER, c->group);
    if (rc != 0) {
        return rc;
    }
    group->id = control->groups_named + 1;
    control->groups_named = group->id;
    group->flags = c->shared ? RIP_SHARED : 0;
    group->pid = (int32_t)getpid();
    strncpy(group->name, name, RIP_MAX_GROUP_NAME);
    set_cursors(c, start);
    atomic_fetch_or_explicit(&control->groups_active, UINT64_C(1) << c->group, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in rip_reclaim: our bit, then its head */
    rc = rip_rescan(c);
    if (rc != 0) { /* as if it had never been: what waits for a first group goes on waiting */
        atomic_fetch_and_explicit(&control->groups_active, ~(UINT64_C(1) << c->group), memory_order_acq_rel);
        return rc;
    }
    control->groups_ever = 1;
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        uint64_t head = atomic_load_explicit(&rx->lane->head, memory_order_relaxed);
        if (head > rx->held) { /* reclaimed while we came */
            rx->next = rx->held = rx->tail = head;
            atomic_store_explicit(&rx->cursor->held, head, memory_order_release);
        }
    }
    return 0;
}

int rip_group_join(struct rip_consumer *c, const char *name, enum rip_how start, int32_t *holder) {
    uint32_t g = find_group(c->ch.control, name);
    int rc = g < RIP_MAX_GROUPS ? join_members(c, g, holder) : join_first(c, name, start);
    if (rc == 0 && c->ch.spin.mode == RIP_WAIT_BLOCK) {
        atomic_fetch_or_explicit(&c->ch.control->groups_asleep, RIP_FENCE_GROUPS, memory_order_seq_cst);
        rip_fence_heavy(); /* every publish from now on sees it */
    }
    return rc;
}
