#include "channel/members.h"
#include "base/process.h"
#include "channel/pollfd.h"
#include "channel/tables.h"
#include "store/files.h"
#include "store/table_lock.h"

#include <unistd.h>

/* Makes the peers execute the fence for this member. It is the last step of joining: if the process is killed before
 * it, no bit is set; if it is killed later, the process that reaps it clears the bits. */
static void ask_for_fences(struct rip_channel *ch, enum rip_role role, uint8_t fences) {
    struct rip_control *control = ch->control;
    /* RIP_FENCES_OWN of a producer concerns its lane, which does not exist yet. */
    if (fences & RIP_FENCES_ALL || (fences & RIP_FENCES_OWN && role == RIP_A_CONSUMER)) {
        atomic_fetch_or_explicit(&control->groups_asleep, RIP_FENCE_GROUPS, memory_order_seq_cst);
    }
    for (uint32_t i = 0; fences & RIP_FENCES_ALL && i < rip_lanes_used(control); i++) {
        atomic_fetch_or_explicit(&control->lanes[i].asleep, RIP_FENCE_LANE, memory_order_seq_cst);
    }
    /* Every later publish sees the bits. Without membarrier a publish that is under way may miss them: then the sleeper
     * checks again after RIP_SLICE_NS. */
    if (fences) {
        rip_fence_heavy();
    }
}

/* Before a member leaves: clears the bits that no other member has asked for. Only members that have asked rely on them
 * (see rip_watch_announce). */
static void take_back_fences(struct rip_channel *ch, uint32_t leaving) {
    struct rip_control *control = ch->control;
    uint8_t groups = 0, lanes[RIP_MAX_LANES] = {0}, all = 0;
    for (uint32_t i = 0; i < rip_members_used(control); i++) {
        const struct rip_member *member = &control->members[i];
        uint32_t role = i == leaving ? RIP_NOBODY : member->role, index = member->index;
        if (role == RIP_A_PRODUCER && index < RIP_MAX_LANES) {
            lanes[index] |= control->fences[i];
        }
        groups |= role == RIP_A_CONSUMER ? control->fences[i] : 0;
        all |= role != RIP_NOBODY ? control->fences[i] & RIP_FENCES_ALL : 0;
    }
    if (!groups && !all) { /* relaxed: it does no harm if publishers see it late */
        atomic_fetch_and_explicit(&control->groups_asleep, ~RIP_FENCE_GROUPS, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < rip_lanes_used(control) && !all; i++) {
        if (!lanes[i]) {
            atomic_fetch_and_explicit(&control->lanes[i].asleep, ~RIP_FENCE_LANE, memory_order_relaxed);
        }
    }
}

int rip_member_join(struct rip_channel *ch, enum rip_role role, uint32_t index) {
    /* the number of a consumer must fit into a claim */
    uint32_t first = role == RIP_A_CONSUMER ? 0 : RIP_MAX_CONSUMERS;
    uint32_t end = role == RIP_A_CONSUMER ? RIP_MAX_CONSUMERS : RIP_MAX_MEMBERS;
    for (uint32_t i = first; i < end; i++) {
        struct rip_member *member = &ch->control->members[i];
        if (member->role == RIP_NOBODY && rip_member_lock(&ch->handle, i) == 0) {
            member->index = index;
            atomic_store_explicit(&member->pollfd, 0, memory_order_relaxed); /* relaxed: the entry has no role yet */
            member->pid = (int32_t)getpid();
            member->pids = rip_pid_namespace();
            atomic_store_explicit(&member->signal, 0, memory_order_relaxed);
            atomic_store_explicit(&member->writer, 0, memory_order_relaxed);
            ch->fenced = ch->spin.mode == RIP_WAIT_BLOCK;
            uint8_t fences = (uint8_t)((ch->fenced ? RIP_FENCES_OWN : 0) | (rip_fence_setup() ? 0 : RIP_FENCES_ALL));
            ch->control->fences[i] = fences;
            if (i >= rip_members_used(ch->control)) {
                atomic_store_explicit(&ch->control->members_used, i + 1, memory_order_relaxed);
            }
            /* The role comes last: if the process is killed before, no role has the index of an earlier member. */
            atomic_signal_fence(memory_order_seq_cst);
            member->role = (uint32_t)role;
            ch->handle.member = i;
            ask_for_fences(ch, role, fences);
            return 0;
        }
    }
    return role == RIP_A_CONSUMER ? -EUSERS : -EXFULL;
}

void rip_member_end(struct rip_channel *ch, uint32_t i) {
    rip_pollfd_remove(ch, i);
    rip_files_remove_incomplete(&ch->handle, i);
    if (ch->control->fences[i]) {
        take_back_fences(ch, i);
    }
    ch->control->members[i].role = RIP_NOBODY; /* one store frees the entry: see rip_member_join */
}
