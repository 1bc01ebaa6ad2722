#include "base/clock.h"
#include "ring/claims.h"
#include "store/extent.h"
#include "store/files.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void in_child(struct rip_handle *handle) {
    rip_pollfd_close((struct rip_channel *)(void *)((char *)handle - offsetof(struct rip_channel, handle)));
    rip_handle_close_in_child(handle);
}

int rip_channel_fd(void) {
    int fd = rip_handle_make_anonymous(RIP_FILE_CONTROL, sizeof(struct rip_control), 0);
    int rc = fd < 0 ? fd : rip_extents_create(fd);
    if (rc != 0 && fd >= 0) {
        close(fd);
    }
    return rc ? rc : fd;
}

/* The number in "fd:<number>", -ENOENT in any other name, or -EINVAL. */
static int fd_in(const char *name) {
    if (strncmp(name, "fd:", 3) != 0) {
        return -ENOENT;
    }
    char *end;
    long fd = name[3] >= '0' && name[3] <= '9' ? strtol(name + 3, &end, 10) : -1;
    return fd < 0 || *end || fd > INT_MAX ? -EINVAL : (int)fd;
}

static int enter_nameless(struct rip_handle *handle, int fd) {
    int rc = rip_handle_adopt(handle, fd, RIP_FILE_CONTROL, sizeof(struct rip_control));
    if (rc == 0) {
        rc = rip_extents_check(handle);
        if (rc != 0) {
            rip_handle_unmap(handle);
        }
    }
    return rc;
}

int rip_channel_open(struct rip_channel *ch, const char *name, int make, struct rip_access access) {
    int fd = fd_in(name);
    ch->handle.forked = in_child;
    rip_fence_setup(); /* before the lock: the first time it takes milliseconds */
    int rc = rip_clock_offset(&ch->time_offset);
    if (rc == 0) {
        rc = fd >= 0 ? enter_nameless(&ch->handle, fd)
             : fd != -ENOENT
                 ? fd
                 : rip_handle_open(&ch->handle, name, RIP_FILE_CONTROL, sizeof(struct rip_control), make, access);
    }
    if (rc != 0) {
        return rc;
    }
    ch->control = ch->handle.mapping.at;
    rip_reap(ch);
    return 0;
}

int rip_fences_all(const struct rip_control *control) {
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        if (control->members[i].role != RIP_NOBODY && control->fences[i] & RIP_FENCES_ALL) {
            return 1;
        }
    }
    return 0;
}

/* A member has its peers fence. The last step of joining: who is killed before has no bit set, and whoever reaps us clears them. */
static void ask_for_fences(struct rip_channel *ch, enum rip_role role, uint8_t fences) {
    struct rip_control *control = ch->control;
    if (fences & RIP_FENCES_ALL ||
        (fences & RIP_FENCES_OWN && role == RIP_A_CONSUMER)) { /* a producer's lane is not there yet */
        atomic_fetch_or_explicit(&control->groups_asleep, RIP_FENCE_GROUPS, memory_order_seq_cst);
    }
    for (uint32_t i = 0; fences & RIP_FENCES_ALL && i < RIP_MAX_LANES; i++) {
        atomic_fetch_or_explicit(&control->lanes[i].asleep, RIP_FENCE_LANE, memory_order_seq_cst);
    }
    if (fences) { /* every publish from now on sees it; without membarrier one that is under way may not, for RIP_SLICE_NS */
        rip_fence_heavy();
    }
}

/* Before a member ends: the bits that no other one needs are cleared. Nobody else relies on them: see rip_watch_announce. */
static void take_back_fences(struct rip_channel *ch, uint32_t ends) {
    struct rip_control *control = ch->control;
    uint8_t groups = 0, lanes[RIP_MAX_LANES] = {0}, all = 0;
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        const struct rip_member *member = &control->members[i];
        uint32_t role = i == ends ? RIP_NOBODY : member->role, index = member->index;
        if (role == RIP_A_PRODUCER && index < RIP_MAX_LANES) {
            lanes[index] |= control->fences[i];
        }
        groups |= role == RIP_A_CONSUMER ? control->fences[i] : 0;
        all |= role != RIP_NOBODY ? control->fences[i] & RIP_FENCES_ALL : 0;
    }
    if (!groups && !all) { /* relaxed: publishers may see it late */
        atomic_fetch_and_explicit(&control->groups_asleep, ~RIP_FENCE_GROUPS, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < RIP_MAX_LANES && !all; i++) {
        if (!lanes[i]) {
            atomic_fetch_and_explicit(&control->lanes[i].asleep, ~RIP_FENCE_LANE, memory_order_relaxed);
        }
    }
}

int rip_member_join(struct rip_channel *ch, enum rip_role role, uint32_t index) {
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        struct rip_member *member = &ch->control->members[i];
        if (member->role == RIP_NOBODY && rip_member_lock(&ch->handle, i) == 0) {
            member->index = index;
            atomic_store_explicit(&member->pollfd, 0, memory_order_relaxed); /* the lock is held; nobody knows us yet */
            member->pid = (int32_t)getpid();
            member->pids = rip_pid_namespace();
            atomic_store_explicit(&member->signal, 0, memory_order_relaxed);
            ch->fenced = ch->spin.mode == RIP_WAIT_BLOCK;
            uint8_t fences = (uint8_t)((ch->fenced ? RIP_FENCES_OWN : 0) | (rip_fence_setup() ? 0 : RIP_FENCES_ALL));
            ch->control->fences[i] = fences;
            atomic_signal_fence(memory_order_seq_cst); /* a kill in between leaves no role with another's index */
            member->role = (uint32_t)role;
            ch->handle.member = i;
            ask_for_fences(ch, role, fences);
            return 0;
        }
    }
    return -EUSERS;
}

int rip_read_word(struct rip_channel *ch, uint64_t id, size_t offset, uint64_t *word) {
    int rc = rip_file_read(&ch->handle, rip_lane_file(id), offset, word);
    *word = rc ? 0 : *word;
    return rip_is_resource_error(rc) ? rc : 0;
}

/* What there is to be kept for: RIP_AWAITED, the first group, or one that was declared and has had no member yet;
 * RIP_DURABLE. The lock must be held. */
static uint32_t kept_for(const struct rip_control *control) {
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    uint32_t flags = control->groups_ever ? 0 : RIP_AWAITED;
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        flags |= active >> g & 1 ? control->groups[g].flags : 0;
    }
    return flags & (RIP_AWAITED | RIP_DURABLE);
}

int rip_has_awaited_messages(const struct rip_control *control) {
    return kept_for(control) & RIP_AWAITED && control->lanes_ever > control->epoch_start;
}

/* Reasons to outlive the last member: a durable group, or a stream for those who have seen nothing of it yet, if only
 * its end. */
static int is_wanted(const struct rip_channel *ch) {
    const struct rip_control *control = ch->control;
    if (ch->handle.dir >= 0 && !rip_handle_has_name(&ch->handle)) { /* nobody can come to it any more */
        return 0;
    }
    return kept_for(control) & RIP_DURABLE || rip_has_awaited_messages(control);
}

void rip_member_end(struct rip_channel *ch, uint32_t i) {
    rip_pollfd_remove(ch, i);
    rip_files_remove_all(&ch->handle, i);
    if (ch->control->fences[i]) {
        take_back_fences(ch, i);
    }
    ch->control->members[i].role = RIP_NOBODY; /* one store: see rip_member_join */
}

static void released(struct rip_channel *ch) {
    rip_fork_hold();
    rip_pollfd_close(ch);
    rip_fork_allow();
    rip_handle_close_files(&ch->handle);
}

void rip_channel_close(struct rip_channel *ch) {
    if (ch->handle.member != RIP_NO_MEMBER) {
        rip_member_end(ch, ch->handle.member);
        rip_member_unlock(&ch->handle, ch->handle.member);
        ch->handle.member = RIP_NO_MEMBER;
    }
    rip_reap(ch);
    int alone = 1;
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        alone = alone && ch->control->members[i].role == RIP_NOBODY;
    }
    if (alone && !is_wanted(ch)) {
        rip_channel_clear(ch);
    }
    rip_unlock(&ch->handle);
    released(ch);
}

void rip_channel_clear(struct rip_channel *ch) {
    struct rip_control *control = ch->control;
    if (ch->handle.dir >= 0) {
        rip_handle_remove_files(&ch->handle);
        return;
    }
    /* Whoever holds a descriptor can use it again: then it is as new. */
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> g & 1) { /* under the lock */
            rip_group_leave(ch, g);
        }
    }
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) != RIP_LANE_FREE) {
            atomic_store_explicit(&lane->base_seq, UINT64_MAX, memory_order_relaxed);
            atomic_store_explicit(&lane->state, RIP_LANE_ENDED, memory_order_relaxed);
        }
    }
    rip_lanes_retire(ch);
    control->epoch_start = control->lanes_ever;
    control->groups_ever = 0;
}

void rip_channel_abandon(struct rip_channel *ch) {
    ch->handle.member = RIP_NO_MEMBER;
    released(ch);
}

void rip_channel_unmap(struct rip_channel *ch) {
    released(ch);
    rip_handle_unmap(&ch->handle);
    ch->control = NULL;
}

void rip_lanes_changed(struct rip_channel *ch) {
    /* release: pairs with the acquire in rip_rescan, which reads the table after it */
    atomic_fetch_add_explicit(&ch->control->lanes_changed, 1, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with rip_fence_heavy of whoever goes to sleep */
    if (atomic_load_explicit(&ch->control->groups_asleep, memory_order_relaxed)) {
        rip_wake_groups(ch, 0);
    }
}

void rip_group_leave(struct rip_channel *ch, uint32_t group) {
    struct rip_control *control = ch->control;
    uint64_t bit = UINT64_C(1) << group;
    int last = atomic_load_explicit(&control->groups_active, memory_order_relaxed) == bit;
    for (uint32_t i = 0; last && i < RIP_MAX_LANES; i++) {
        /* acquire: pairs with the release in rip_rx_publish_cursor, or the compare-and-swap in move_cursor */
        uint64_t released = atomic_load_explicit(&control->cursors[group][i].released, memory_order_acquire);
        if (released > atomic_load_explicit(&control->lanes[i].base_seq, memory_order_relaxed)) {
            atomic_store_explicit(&control->lanes[i].base_seq, released, memory_order_relaxed);
        }
    }
    /* release: pairs with the acquire in rip_reclaim; who finds no group sees the floor, and our reads are over */
    atomic_fetch_and_explicit(&control->groups_active, ~bit, memory_order_acq_rel);
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        if (atomic_load_explicit(&control->lanes[i].state, memory_order_relaxed) != RIP_LANE_FREE) {
            rip_claims_remove(ch, rip_group_id(control, group), rip_lane_id(&control->lanes[i]));
        }
    }
    control->groups[group].flags = 0;
    control->groups[group].name[0] = '\0';
    control->groups[group].pid = 0;
    rip_lanes_retire(ch);
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        rip_wake_lane(ch, &control->lanes[i]);
    }
}

int rip_has_members(struct rip_channel *ch, uint32_t group, uint32_t other_than) {
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        const struct rip_member *member = &ch->control->members[i];
        if (i != other_than && member->role == RIP_A_CONSUMER && member->index == group) {
            return 1;
        }
    }
    return 0;
}

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

void rip_lanes_retire(struct rip_channel *ch) {
    struct rip_control *control = ch->control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    int retired = 0, untold = kept_for(control) & RIP_AWAITED;
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        /* acquire: pairs with the release in rip_producer_close and rip_reap; the tail read below is the last one. The cursors pair
         * with rip_rx_publish_cursor: the group's reads before the file goes */
        uint32_t state = atomic_load_explicit(&lane->state, memory_order_acquire);
        if (state != RIP_LANE_ENDED && state != RIP_LANE_DEAD) {
            continue;
        }
        uint64_t tail;
        int rc = rip_file_read(&ch->handle, rip_lane_file(rip_lane_id(lane)), offsetof(struct rip_lane, tail), &tail);
        tail = rc ? 0 : tail; /* what cannot be read counts as empty */
        int needed = rip_is_resource_error(rc) ||
                     (!active && atomic_load_explicit(&lane->base_seq, memory_order_relaxed) < tail);
        for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
            needed |= (active >> g & 1) &&
                      atomic_load_explicit(&control->cursors[g][i].released, memory_order_acquire) < tail;
        }
        if (state == RIP_LANE_DEAD && rc == 0 && untold) { /* that one was killed is told, also if it had put nothing */
            untold = 0;
            needed = 1;
        }
        if (!needed) {
            rip_file_remove(&ch->handle, rip_lane_file(rip_lane_id(lane)));
            for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
                if (active >> g & 1) {
                    rip_claims_remove(ch, rip_group_id(control, g), rip_lane_id(lane));
                }
            }
            atomic_store_explicit(&lane->state, RIP_LANE_FREE, memory_order_relaxed);
            retired = 1;
        }
    }
    if (retired) {
        rip_lanes_changed(ch);
    }
}

__attribute__((cold, noinline)) void rip_wake_group(struct rip_channel *ch, uint32_t group) {
    struct rip_group_entry *entry = &ch->control->groups[group];
    rip_wake(&entry->futex);
    /* relaxed: whoever has a bell has said so before it announced itself */
    if (atomic_load_explicit(&entry->pollfds, memory_order_relaxed)) {
        for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
            const struct rip_member *member = &ch->control->members[i];
            if (member->role == RIP_A_CONSUMER && member->index == group) {
                rip_pollfd_wake(ch, i);
            }
        }
    }
}

/* Wakes a member for each message. One with a descriptor may be busy with something else: it is rung where too few sleep. */
static void ring_some(struct rip_channel *ch, uint32_t group, uint64_t messages) {
    struct rip_group_entry *entry = &ch->control->groups[group];
    int most = messages < INT32_MAX ? (int)messages : INT32_MAX;
    if (rip_wake_some(&entry->futex, RIP_WAITS_FOR_ANY, most) == most) { /* more may sleep: the group's bit stays */
        /* relaxed: whoever is picky has said so before it announced itself */
        if (atomic_load_explicit(&entry->picky, memory_order_relaxed)) {
            rip_wake_some(&entry->futex, RIP_WAITS_FOR_SOME, INT32_MAX);
        }
        return;
    }
    /* Nobody sleeps that could be woken. Whose bit we clear, we wake: one may have come since. */
    atomic_fetch_and_explicit(&ch->control->groups_asleep, ~(UINT64_C(1) << group), memory_order_acq_rel);
    rip_wake_group(ch, group);
}

/* Of the groups in mask, those whose members compete: a hint, as that changes under the lock. */
static uint64_t shared_of(const struct rip_control *control, uint64_t mask) {
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        mask &= control->groups[g].flags & RIP_SHARED ? UINT64_MAX : ~(UINT64_C(1) << g);
    }
    return mask;
}

__attribute__((cold, noinline)) void rip_wake_groups(struct rip_channel *ch, uint64_t messages) {
    struct rip_control *control = ch->control;
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence of a sleeper that relies on ours */
    uint64_t mask = atomic_load_explicit(&control->groups_asleep, memory_order_relaxed) & ~RIP_FENCE_GROUPS;
    uint64_t some = messages && mask ? shared_of(control, mask) : 0;
    if (mask & ~some) { /* whose bit we clear, we wake: one may have come since we looked */
        mask = atomic_fetch_and_explicit(&control->groups_asleep, RIP_FENCE_GROUPS | some, memory_order_acq_rel);
    }
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (some >> g & 1) {
            ring_some(ch, g, messages);
        } else if (mask >> g & 1) {
            rip_wake_group(ch, g);
        }
    }
}

__attribute__((cold, noinline)) void rip_wake_lane(struct rip_channel *ch, struct rip_lane_entry *lane) {
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence of a sleeper that relies on ours */
    if (atomic_load_explicit(&lane->asleep, memory_order_relaxed) & RIP_ASLEEP &&
        atomic_fetch_and_explicit(&lane->asleep, RIP_FENCE_LANE, memory_order_acq_rel) & RIP_ASLEEP) {
        rip_wake(&lane->futex);
        uint32_t member = atomic_load_explicit(&lane->pollfd_member, memory_order_relaxed); /* as in rip_wake_group */
        if (member > 0 && member <= RIP_MAX_MEMBERS) {
            rip_pollfd_wake(ch, member - 1);
        }
    }
}
