#include "claims.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_control(int dir, uint32_t mode) {
    struct rip_segment made;
    int rc = rip_segment_make(dir, sizeof(struct rip_control), mode, &made);
    if (rc != 0) {
        return rc;
    }
    struct rip_control *control = made.at; /* all zero */
    control->identity = (struct rip_identity){RIP_MAGIC, RIP_ABI, RIP_FILE_CONTROL, sizeof *control};
    rc = rip_segment_name(dir, &made, "control");
    rip_segment_close(&made);
    return rc == -EEXIST ? 0 : rc; /* another process was quicker: its control is as good */
}

static void close_fds(struct rip_channel *ch) {
    rip_fork_hold();
    rip_handle_remove(ch);
    rip_bell_close(ch);
    rip_segment_close_fd(&ch->segment); /* the last descriptor of its description: every lock of ours goes with it */
    if (ch->dir >= 0) {
        close(ch->dir);
        ch->dir = -1;
    }
    rip_fork_allow();
}

static void let_go(struct rip_channel *ch) {
    close_fds(ch);
    rip_segment_close(&ch->segment);
}

/* Locks live as long as their open file description, and a mapping keeps that too: one that a forked child inherits would keep our
 * locks after our death. So the description that locks is another one than the one that is mapped. */
static int open_for_locks(struct rip_channel *ch) {
    int fd = openat(ch->dir, "control", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct stat mapped, opened;
    if (fstat(ch->segment.fd, &mapped) != 0 || fstat(fd, &opened) != 0 || mapped.st_ino != opened.st_ino ||
        mapped.st_dev != opened.st_dev) {
        close(fd);
        return -ENOENT; /* removed between the two, and made anew */
    }
    rip_segment_close_fd(&ch->segment);
    ch->segment.fd = fd;
    ch->mode = (uint32_t)mapped.st_mode & 0777u;
    return 0;
}

static int open_fds(struct rip_channel *ch, int make, uint32_t mode) {
    ch->segment = (struct rip_segment){.fd = -1};
    ch->dir = rip_dir_open(ch->name, make);
    if (ch->dir < 0) {
        return ch->dir;
    }
    int rc = rip_segment_open(ch->dir, "control", RIP_FILE_CONTROL, 1, &ch->segment);
    if (rc == -ENOENT && make) {
        rc = make_control(ch->dir, mode);
        if (rc == 0) {
            rc = rip_segment_open(ch->dir, "control", RIP_FILE_CONTROL, 1, &ch->segment);
        }
    }
    if (rc == 0 && ch->segment.size != sizeof(struct rip_control)) {
        rc = -EBADMSG;
    }
    return rc ? rc : open_for_locks(ch);
}

static int enter_once(struct rip_channel *ch, int make, uint32_t mode) {
    rip_fork_hold();
    int rc = open_fds(ch, make, mode);
    rip_handle_add(ch);
    rip_fork_allow();
    if (rc == 0) {
        rc = rip_lock(ch);
    }
    if (rc != 0) {
        let_go(ch);
        return rc;
    }
    ch->control = ch->segment.at;
    if (atomic_load_explicit(&ch->control->removed, memory_order_relaxed)) { /* under the lock */
        struct stat st;
        if (fstat(ch->segment.fd, &st) == 0 && st.st_nlink > 0) { /* who removed it was killed on the way */
            rip_dir_remove(ch->dir, ch->name);
        }
        let_go(ch);
        return -ENOENT;
    }
    return 0;
}

/* A name is one plain part of a path. */
static int check_name(const char *name) {
    if (strlen(name) > RIP_MAX_CHANNEL_NAME) {
        return -ENAMETOOLONG;
    }
    return name[0] == '\0' || name[0] == '.' || strchr(name, '/') ? -EINVAL : 0;
}

int rip_channel_enter(struct rip_channel *ch, const char *name, int make, uint32_t mode) {
    int bad = check_name(name);
    if (bad) {
        return bad;
    }
    strcpy(ch->name, name);
    ch->member = RIP_NO_MEMBER;
    int rc = -ENOENT;
    for (int tries = 0; tries < 100; tries++) {
        rc = enter_once(ch, make, mode);
        if (rc != -ENOENT || !make) { /* making: the last member may have removed it under us; then make it anew */
            break;
        }
    }
    if (rc != 0) {
        return rc;
    }
    rip_reap(ch);
    if (!rip_fence_setup()) { /* a publish that is under way now may miss these bits; a sleeper looks again within RIP_SLICE_NS */
        atomic_fetch_or_explicit(&ch->control->groups_asleep, RIP_FENCE_GROUPS, memory_order_seq_cst);
        for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
            atomic_fetch_or_explicit(&ch->control->lanes[i].asleep, RIP_FENCE_LANE, memory_order_seq_cst);
        }
    }
    return 0;
}

int rip_member_join(struct rip_channel *ch, enum rip_role role, uint32_t index) {
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        struct rip_member *member = &ch->control->members[i];
        if (member->role == RIP_NOBODY && rip_member_lock(ch, i) == 0) {
            member->index = index;
            atomic_store_explicit(&member->bell, 0, memory_order_relaxed); /* the lock is held; nobody knows us yet */
            member->pid = (int32_t)getpid();
            member->pids = rip_pid_namespace();
            atomic_store_explicit(&member->signal, 0, memory_order_relaxed);
            atomic_signal_fence(memory_order_seq_cst); /* a kill in between leaves no role with another's index */
            member->role = (uint32_t)role;
            ch->member = i;
            return 0;
        }
    }
    return -EUSERS;
}

int rip_read_word(struct rip_channel *ch, uint64_t id, size_t offset, uint64_t *word) {
    char name[32];
    *word = 0;
    rip_lane_name(id, name);
    int fd = openat(ch->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return rip_is_short(-errno) ? -errno : 0;
    }
    if (pread(fd, word, sizeof *word, (off_t)offset) != sizeof *word) {
        *word = 0;
    }
    close(fd);
    return 0;
}

/* Reasons to outlive the last member: a durable group, or messages that wait for a first consumer. */
static int is_wanted(struct rip_channel *ch) {
    uint64_t active = atomic_load_explicit(&ch->control->groups_active, memory_order_relaxed); /* under the lock */
    uint32_t flags = ch->control->groups_ever ? 0 : RIP_AWAITED;
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        flags |= active >> g & 1 ? ch->control->groups[g].flags : 0;
    }
    if (!(flags & RIP_AWAITED)) {
        return (flags & RIP_DURABLE) != 0;
    }
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &ch->control->lanes[i];
        uint64_t tail;
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) != RIP_LANE_FREE &&
            (rip_read_word(ch, rip_lane_id(lane), offsetof(struct rip_lane, tail), &tail) != 0 || tail > 0)) {
            return 1;
        }
    }
    return (flags & RIP_DURABLE) != 0;
}

void rip_channel_remove(struct rip_channel *ch) {
    atomic_store_explicit(&ch->control->removed, 1, memory_order_relaxed); /* under the lock */
    rip_dir_remove(ch->dir, ch->name);
}

void rip_member_end(struct rip_channel *ch, uint32_t i) {
    struct rip_member *member = &ch->control->members[i];
    if (atomic_load_explicit(&member->bell, memory_order_relaxed) & RIP_BELL_IS) {
        char name[32];
        rip_bell_name(i, name);
        unlinkat(ch->dir, name, 0);
    }
    member->role = RIP_NOBODY; /* one store: see rip_member_join */
}

void rip_channel_leave(struct rip_channel *ch) {
    if (ch->member != RIP_NO_MEMBER) {
        rip_member_end(ch, ch->member);
        rip_member_unlock(ch, ch->member);
        ch->member = RIP_NO_MEMBER;
    }
    rip_reap(ch);
    int alone = 1;
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        alone = alone && ch->control->members[i].role == RIP_NOBODY;
    }
    if (alone && !is_wanted(ch)) {
        rip_channel_remove(ch);
    }
    rip_unlock(ch);
    close_fds(ch);
}

void rip_channel_abandon(struct rip_channel *ch) {
    ch->member = RIP_NO_MEMBER;
    close_fds(ch);
}

void rip_channel_unmap(struct rip_channel *ch) {
    let_go(ch);
    ch->control = NULL;
}

void rip_lane_name(uint64_t id, char out[32]) { snprintf(out, 32, "lane-%llu", (unsigned long long)id); }

void rip_lanes_changed(struct rip_channel *ch) {
    /* release: pairs with the acquire in rip_rescan, which reads the table after it */
    atomic_fetch_add_explicit(&ch->control->lanes_changed, 1, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with rip_fence_heavy of whoever goes to sleep */
    if (atomic_load_explicit(&ch->control->groups_asleep, memory_order_relaxed)) {
        rip_ring_groups(ch);
    }
}

void rip_group_leave(struct rip_channel *ch, uint32_t group) {
    struct rip_control *control = ch->control;
    uint64_t bit = UINT64_C(1) << group;
    int last = atomic_load_explicit(&control->groups_active, memory_order_relaxed) == bit;
    for (uint32_t i = 0; last && i < RIP_MAX_LANES; i++) {
        /* acquire: pairs with the release in rip_rx_tell, or the compare-and-swap in move_cursor */
        uint64_t held = atomic_load_explicit(&control->cursors[group][i].held, memory_order_acquire);
        if (held > atomic_load_explicit(&control->lanes[i].floor, memory_order_relaxed)) {
            atomic_store_explicit(&control->lanes[i].floor, held, memory_order_relaxed);
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
        rip_ring_lane(ch, &control->lanes[i]);
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
    return rip_claims_return(ch, group, member);
}

void rip_lanes_retire(struct rip_channel *ch) {
    struct rip_control *control = ch->control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    int retired = 0;
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        /* acquire: pairs with the release in rip_producer_close and rip_reap; the tail read below is the last one. The cursors pair
         * with rip_rx_tell: the group's reads before the file goes */
        uint32_t state = atomic_load_explicit(&lane->state, memory_order_acquire);
        if (state != RIP_LANE_ENDED && state != RIP_LANE_DEAD) {
            continue;
        }
        uint64_t tail;
        int rc = rip_read_word(ch, rip_lane_id(lane), offsetof(struct rip_lane, tail), &tail);
        int needed = rc != 0 || (!active && atomic_load_explicit(&lane->floor, memory_order_relaxed) < tail);
        for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
            needed |=
                (active >> g & 1) && atomic_load_explicit(&control->cursors[g][i].held, memory_order_acquire) < tail;
        }
        if (!needed) {
            char name[32];
            rip_lane_name(rip_lane_id(lane), name);
            unlinkat(ch->dir, name, 0);
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

__attribute__((cold, noinline)) void rip_ring_group(struct rip_channel *ch, uint32_t group) {
    struct rip_group_entry *entry = &ch->control->groups[group];
    rip_wake(&entry->bell);
    /* relaxed: whoever has a bell has said so before it announced itself */
    if (atomic_load_explicit(&entry->bells, memory_order_relaxed)) {
        for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
            const struct rip_member *member = &ch->control->members[i];
            if (member->role == RIP_A_CONSUMER && member->index == group) {
                rip_bell_ring(ch, i);
            }
        }
    }
}

__attribute__((cold, noinline)) void rip_ring_groups(struct rip_channel *ch) {
    struct rip_control *control = ch->control;
    if (atomic_load_explicit(&control->groups_asleep, memory_order_relaxed) & RIP_FENCE_GROUPS) {
        atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence of a sleeper that has no membarrier */
    }
    uint64_t mask = atomic_load_explicit(&control->groups_asleep, memory_order_relaxed) & ~RIP_FENCE_GROUPS;
    if (mask) { /* whose bit we clear, we wake: one may have come since we looked */
        mask = atomic_fetch_and_explicit(&control->groups_asleep, RIP_FENCE_GROUPS, memory_order_acq_rel);
    }
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (mask >> g & 1) {
            rip_ring_group(ch, g);
        }
    }
}

__attribute__((cold, noinline)) void rip_ring_lane(struct rip_channel *ch, struct rip_lane_entry *lane) {
    if (atomic_load_explicit(&lane->asleep, memory_order_relaxed) & RIP_FENCE_LANE) {
        atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence of a sleeper that has no membarrier */
    }
    if (atomic_load_explicit(&lane->asleep, memory_order_relaxed) & RIP_ASLEEP &&
        atomic_fetch_and_explicit(&lane->asleep, RIP_FENCE_LANE, memory_order_acq_rel) & RIP_ASLEEP) {
        rip_wake(&lane->bell);
        uint32_t member = atomic_load_explicit(&lane->bell_of, memory_order_relaxed); /* as in rip_ring_group */
        if (member > 0 && member <= RIP_MAX_MEMBERS) {
            rip_bell_ring(ch, member - 1);
        }
    }
}
