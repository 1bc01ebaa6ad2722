#include "channel/wake.h"
#include "channel/pollfd.h"
#include "channel/tables.h"

__attribute__((cold, noinline)) void rip_wake_group(struct rip_channel *ch, uint32_t group, uint32_t reasons) {
    struct rip_group_entry *entry = &ch->control->groups[group];
    rip_wake(&entry->futex);
    /* relaxed: a member with a pollfd has stored this before it announced itself */
    if (atomic_load_explicit(&entry->pollfds, memory_order_relaxed)) {
        for (uint32_t i = 0; i < RIP_MAX_CONSUMERS; i++) {
            const struct rip_member *member = &ch->control->members[i];
            if (member->role == RIP_A_CONSUMER && member->index == group) {
                rip_pollfd_wake(ch, i, reasons);
            }
        }
    }
}

/* Wakes a member for each message. The pollfd of a member may belong to a process that is busy. So if too few members
 * sleep, all pollfds of the group are made readable. */
static void wake_some(struct rip_channel *ch, uint32_t group, uint64_t messages) {
    struct rip_group_entry *entry = &ch->control->groups[group];
    int most = messages < INT32_MAX ? (int)messages : INT32_MAX;
    /* If that many slept, more may sleep: the bit of the group stays set. */
    if (rip_wake_some(&entry->futex, RIP_WAITS_FOR_ANY, most) == most) {
        /* relaxed: a member that selects has stored this before it announced itself */
        if (atomic_load_explicit(&entry->picky, memory_order_relaxed)) {
            rip_wake_some(&entry->futex, RIP_WAITS_FOR_SOME, INT32_MAX);
        }
        return;
    }
    /* Fewer members sleep than there are messages. The bit is cleared, so all are woken: one may have gone to sleep
     * since. */
    atomic_fetch_and_explicit(&ch->control->groups_asleep, ~(UINT64_C(1) << group), memory_order_acq_rel);
    rip_wake_group(ch, group, RIP_POLLFD_ARMED);
}

/* Returns the shared groups in mask. It is a hint, because the flags change under the table lock. */
static uint64_t shared_of(const struct rip_control *control, uint64_t mask) {
    uint64_t shared = 0;
    for (uint64_t left = rip_groups_in(mask); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        shared |= control->groups[g].flags & RIP_SHARED ? UINT64_C(1) << g : 0;
    }
    return shared;
}

__attribute__((cold, noinline)) void rip_wake_groups(struct rip_channel *ch, uint64_t messages) {
    struct rip_control *control = ch->control;
    /* Pairs with the fence in rip_watch_announce of a sleeper that relies on this one (RIP_FENCE_GROUPS). */
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t mask = atomic_load_explicit(&control->groups_asleep, memory_order_relaxed) & ~RIP_FENCE_GROUPS;
    uint64_t some = messages && mask ? shared_of(control, mask) : 0;
    /* Every group whose bit is cleared is woken: a member may have gone to sleep since the load. */
    if (mask & ~some) {
        mask = atomic_fetch_and_explicit(&control->groups_asleep, RIP_FENCE_GROUPS | some, memory_order_acq_rel);
    }
    for (uint64_t left = rip_groups_in(mask); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        if (some >> g & 1) {
            wake_some(ch, g, messages);
        } else {
            rip_wake_group(ch, g, RIP_POLLFD_ARMED);
        }
    }
}

__attribute__((cold, noinline)) void rip_wake_for(struct rip_channel *ch, uint32_t reasons) {
    /* as in rip_wake_groups */
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t mask = atomic_load_explicit(&ch->control->groups_asleep, memory_order_relaxed) & ~RIP_FENCE_GROUPS;
    for (uint64_t left = rip_groups_in(mask); left; left &= left - 1) {
        rip_wake_group(ch, rip_first_group(left), reasons);
    }
}

/* Makes the pollfds of all producers of a shared lane readable. */
static void wake_writers(struct rip_channel *ch, uint32_t lane) {
    for (uint32_t i = RIP_MAX_CONSUMERS; i < rip_members_used(ch->control); i++) {
        const struct rip_member *member = &ch->control->members[i];
        if (member->role == RIP_A_PRODUCER && member->index == lane) {
            rip_pollfd_wake(ch, i, RIP_POLLFD_ARMED);
        }
    }
}

__attribute__((cold, noinline)) void rip_wake_lane(struct rip_channel *ch, struct rip_lane_entry *lane) {
    /* Pairs with the fence in rip_watch_announce of a producer that relies on this one (RIP_FENCE_LANE); as an acquire,
     * with rip_lane_enter_or_announce. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&lane->asleep, memory_order_relaxed) & RIP_ASLEEP &&
        atomic_fetch_and_explicit(&lane->asleep, RIP_FENCE_LANE, memory_order_acq_rel) & RIP_ASLEEP) {
        rip_wake(&lane->futex);
        uint32_t member = atomic_load_explicit(&lane->pollfd_member, memory_order_relaxed); /* as in rip_wake_group */
        if (member > 0 && member <= RIP_MAX_MEMBERS) {
            rip_pollfd_wake(ch, member - 1, RIP_POLLFD_ARMED);
        }
        if (member == RIP_ANY_MEMBER) {
            wake_writers(ch, (uint32_t)(lane - ch->control->lanes));
        }
    }
}

void rip_wake_lanes(struct rip_channel *ch) {
    for (uint32_t i = 0; i < rip_lanes_used(ch->control); i++) {
        rip_wake_lane(ch, &ch->control->lanes[i]);
    }
}
