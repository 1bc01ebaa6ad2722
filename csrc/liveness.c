/* A member is alive while its byte of the control file is locked. The lock is an open-file-description lock (Linux 3.15): the kernel
 * lets it go when the process ends, however it ends; nobody asks about pids. */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_EVERY_NS UINT64_C(500000000)

static int lock_byte(int fd, int command, short type, off_t byte) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, command, &lock) == 0 ? 0 : -errno;
}

int rip_lock(struct rip_channel *ch) {
    int rc;
    do {
        rc = lock_byte(ch->segment.fd, F_OFD_SETLKW, F_WRLCK, 0);
    } while (rc == -EINTR); /* held for microseconds, and let go by the kernel if its holder dies */
    return rc;
}

int rip_try_lock(struct rip_channel *ch) { return lock_byte(ch->segment.fd, F_OFD_SETLK, F_WRLCK, 0); }

void rip_unlock(struct rip_channel *ch) { lock_byte(ch->segment.fd, F_OFD_SETLK, F_UNLCK, 0); }

int rip_member_lock(struct rip_channel *ch, uint32_t member) {
    return lock_byte(ch->segment.fd, F_OFD_SETLK, F_WRLCK, 1 + (off_t)member);
}

void rip_member_unlock(struct rip_channel *ch, uint32_t member) {
    lock_byte(ch->segment.fd, F_OFD_SETLK, F_UNLCK, 1 + (off_t)member);
}

uint32_t rip_pid_namespace(void) {
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (uint32_t)st.st_ino : 0;
}

int rip_is_dead(struct rip_channel *ch, uint32_t member) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1 + (off_t)member, .l_len = 1};
    return fcntl(ch->segment.fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

void rip_reap(struct rip_channel *ch) {
    struct rip_control *control = ch->control;
    ch->looked = rip_now();
    int lanes_died = 0;
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        struct rip_member *member = &control->members[i];
        uint32_t role = member->role, index = member->index;
        if (role == RIP_NOBODY || i == ch->member || !rip_is_dead(ch, i)) {
            continue;
        }
        if (role == RIP_A_PRODUCER && index < RIP_MAX_LANES) {
            /* release: pairs with the acquire in rip_rescan; it reads the tail after it */
            atomic_store_explicit(&control->lanes[index].state, RIP_LANE_DEAD, memory_order_release);
            lanes_died = 1;
        } else if (role == RIP_A_CONSUMER && index < RIP_MAX_GROUPS) {
            if (rip_member_leave(ch, i) != 0) {
                continue; /* it stays dead: another will find it, or we later */
            }
        }
        rip_member_end(ch, i);
    }
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (active >> g & 1 && control->groups[g].flags & RIP_BEGINNING) { /* who made it was killed */
            rip_group_leave(ch, g);
        }
    }
    if (lanes_died) {
        rip_lanes_retire(ch);
        rip_lanes_changed(ch);
    }
}

void rip_look_around(struct rip_channel *ch) {
    if (ch->state == RIP_OPEN && rip_now() - ch->looked > LOOK_EVERY_NS && rip_try_lock(ch) == 0) {
        rip_reap(ch);
        rip_unlock(ch);
    }
}

/* ---- fork ---- */

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rip_channel *handles;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void) { pthread_mutex_lock(&handles_lock); }

static void in_parent(void) { pthread_mutex_unlock(&handles_lock); }

/* An inherited descriptor would keep the parent's locks after its death. */
static void in_child(void) {
    for (struct rip_channel *ch = handles; ch; ch = ch->next) {
        ch->state = RIP_FORKED;
        ch->listed = 0;
        rip_bell_close(ch);
        rip_segment_close_fd(&ch->segment);
        if (ch->dir >= 0) {
            close(ch->dir);
            ch->dir = -1;
        }
    }
    handles = NULL;
    rip_fence_forget();
    pthread_mutex_unlock(&handles_lock);
}

static void install(void) { pthread_atfork(before_fork, in_parent, in_child); }

void rip_fork_hold(void) {
    pthread_once(&once, install);
    pthread_mutex_lock(&handles_lock);
}

void rip_fork_allow(void) { pthread_mutex_unlock(&handles_lock); }

void rip_handle_add(struct rip_channel *ch) {
    ch->listed = 1;
    ch->prev = NULL;
    ch->next = handles;
    if (handles) {
        handles->prev = ch;
    }
    handles = ch;
}

void rip_handle_remove(struct rip_channel *ch) {
    if (!ch->listed) {
        return;
    }
    ch->listed = 0;
    if (ch->prev) {
        ch->prev->next = ch->next;
    } else {
        handles = ch->next;
    }
    if (ch->next) {
        ch->next->prev = ch->prev;
    }
}
