#include "channel/enter.h"
#include "base/clock.h"
#include "base/names.h"
#include "channel/groups.h"
#include "channel/lane_table.h"
#include "channel/members.h"
#include "channel/pollfd.h"
#include "channel/tables.h"
#include "store/control_file.h"
#include "store/extent.h"

#include <unistd.h>

static void in_child(struct rip_handle *handle) {
    rip_pollfd_close((struct rip_channel *)(void *)((char *)handle - offsetof(struct rip_channel, handle)));
    rip_handle_close_in_child(handle);
}

static const struct rip_control_size control_size = {
    .file = RIP_FILE_CONTROL, .tables = RIP_CONTROL_FIXED, .size = sizeof(struct rip_control)};

int rip_channel_fd(void) {
    int fd = rip_handle_make_anonymous(control_size, 0);
    int rc = fd < 0 ? fd : rip_extents_create(fd, sizeof(struct rip_control));
    if (rc != 0 && fd >= 0) {
        close(fd);
    }
    return rc ? rc : fd;
}

static int enter_anonymous(struct rip_handle *handle, int fd) {
    int rc = rip_handle_adopt(handle, fd, control_size);
    if (rc == 0) {
        rc = rip_extents_check(handle);
        if (rc != 0) {
            rip_handle_unmap(handle);
        }
    }
    return rc;
}

int rip_channel_open(struct rip_channel *ch, const char *name, int make, struct rip_access access) {
    int fd = rip_name_fd(name);
    ch->handle.forked = in_child;
    rip_fence_setup(); /* before the table lock is taken: the first call takes milliseconds */
    int rc = rip_clock_offset(&ch->time_offset);
    if (rc == 0) {
        rc = fd >= 0         ? enter_anonymous(&ch->handle, fd)
             : fd != -ENOENT ? fd
                             : rip_handle_open(&ch->handle, name, control_size, make, access);
    }
    if (rc == 0 && ch->handle.mapping.size != sizeof(struct rip_control)) {
        rip_handle_unmap(&ch->handle);
        rc = -EBADMSG;
    }
    if (rc != 0) {
        return rc;
    }
    ch->control = ch->handle.mapping.at;
    rc = rip_lanes_load(ch);
    if (rc != 0) {
        rip_handle_unmap(&ch->handle);
        return rc;
    }
    ch->handle.others = &ch->control->reaped_at;
    rip_reap(&ch->handle);
    return 0;
}

/* Returns 1 if the channel must outlive its last member: it has a durable group, or a stream (perhaps only its end)
 * that waits for a first or a declared group. */
static int must_stay(const struct rip_channel *ch) {
    const struct rip_control *control = ch->control;
    if (ch->handle.dir >= 0 && !rip_handle_has_name(&ch->handle)) { /* nobody can open it any more */
        return 0;
    }
    return rip_kept_for(control) & RIP_DURABLE || rip_has_awaited_messages(control);
}

static void close_files(struct rip_channel *ch) {
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
    rip_reap(&ch->handle);
    int is_empty = 1;
    for (uint32_t i = 0; i < rip_members_used(ch->control); i++) {
        is_empty = is_empty && ch->control->members[i].role == RIP_NOBODY;
    }
    if (is_empty) { /* a declared group that has read all keeps nothing */
        rip_lanes_retire(ch);
    }
    if (is_empty && !must_stay(ch)) {
        rip_channel_clear(ch);
    }
    rip_unlock(&ch->handle);
    close_files(ch);
}

void rip_channel_clear(struct rip_channel *ch) {
    struct rip_control *control = ch->control;
    if (ch->handle.dir >= 0) {
        rip_handle_remove_files(&ch->handle);
        return;
    }
    /* A process that has a file descriptor of the channel can use it again. It is like a new one then. */
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> g & 1) { /* under the lock */
            rip_group_leave(ch, g);
        }
    }
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) != RIP_LANE_FREE) {
            atomic_store_explicit(&lane->base_seq, UINT64_MAX, memory_order_relaxed);
            atomic_store_explicit(&lane->state, RIP_LANE_ENDED, memory_order_relaxed);
        }
    }
    rip_lanes_retire(ch);
    control->epoch_start = rip_producers_ever(control);
    control->groups_ever = 0;
    atomic_store_explicit(&control->by_time, 0, memory_order_relaxed); /* there is no member */
}

void rip_channel_abandon(struct rip_channel *ch) {
    ch->handle.member = RIP_NO_MEMBER;
    close_files(ch);
}

void rip_channel_unmap(struct rip_channel *ch) {
    close_files(ch);
    rip_handle_unmap(&ch->handle);
    ch->control = NULL;
}
