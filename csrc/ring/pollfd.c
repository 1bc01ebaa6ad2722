/* A descriptor that is readable when there is something to do, for programs that wait in poll, epoll or an event loop; and a signal.
 *
 * Each member that has asked for one has a pipe of its own in the channel's directory, bell-<member>, and an epoll descriptor over the
 * pipe's end. It announces itself as a sleeper does, with the same bit, and notes in its entry that it wants to be rung. Whoever
 * would wake a sleeper then writes a byte into the pipe: once, until the member has looked and announced itself again.
 * Where there is no directory, or none that is the channel's any more, the pipe has no name, and is reached through
 * /proc/<pid>/fd by processes of the same user and pid namespace.
 * A ringer of another one cannot ring it; one that is killed between taking the note and writing would leave the member waiting for
 * ever; and nobody tells it of a death. So the epoll descriptor also becomes readable some time after the member has looked last:
 * then it looks again, and for the dead too. */
#include "ring/lane.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PIPEFS_MAGIC 0x50495045
#define LOOK_AGAIN_NS 600000000 /* a little more than rip_is_reap_due takes */

struct rip_pollfd {
    int epoll, pipe, timer;
    uint32_t inode; /* of a pipe without a name */
    uint32_t rung;  /* there is a byte in the pipe, as far as we know */
};

static void name_of(uint32_t member, char out[32]) { snprintf(out, 32, "pollfd-%u", (unsigned)member); }

void rip_pollfd_remove(struct rip_channel *ch, uint32_t member) {
    if (ch->handle.dir >= 0 &&
        atomic_load_explicit(&ch->control->members[member].pollfd, memory_order_relaxed) & RIP_POLLFD_EXISTS) {
        char name[32];
        name_of(member, name);
        rip_handle_unlink(&ch->handle, name);
    }
}

void rip_pollfd_close(struct rip_channel *ch) {
    struct rip_pollfd *pollfd = ch->pollfd;
    if (!pollfd) {
        return;
    }
    int fds[] = {pollfd->timer, pollfd->pipe, pollfd->epoll};
    for (unsigned i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    free(pollfd);
    ch->pollfd = NULL;
}

static int watch(struct rip_pollfd *pollfd, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(pollfd->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/* Both ends in one descriptor: no hang-up. */
static int open_end(int fd) {
    char path[48];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int end = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    return end < 0 ? -errno : end;
}

static int open_named(struct rip_channel *ch) {
    char name[32];
    name_of(ch->handle.member, name);
    unlinkat(ch->handle.dir, name, 0); /* of a dead member in whose place we are */
    if (mkfifoat(ch->handle.dir, name, ch->handle.mode) != 0) {
        return -errno;
    }
    int end = openat(ch->handle.dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (end >= 0 && fchmod(end, ch->handle.mode) == 0) { /* the umask may have taken from it */
        return end;
    }
    int rc = -errno;
    if (end >= 0) {
        close(end);
    }
    return rc;
}

static int open_nameless(struct rip_pollfd *pollfd) {
    int ends[2];
    struct stat st;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    int end = open_end(ends[0]);
    close(ends[0]);
    close(ends[1]);
    if (end >= 0 && fstat(end, &st) == 0) {
        pollfd->inode = (uint32_t)st.st_ino;
    }
    return end;
}

static int open_pipe(struct rip_channel *ch, struct rip_pollfd *pollfd) {
    pollfd->pipe = rip_handle_has_name(&ch->handle) ? open_named(ch) : open_nameless(pollfd);
    return pollfd->pipe < 0 ? pollfd->pipe : watch(pollfd, pollfd->pipe);
}

static int make_bell(struct rip_channel *ch) {
    struct rip_pollfd *pollfd = calloc(1, sizeof *pollfd);
    if (!pollfd) {
        return -ENOMEM;
    }
    pollfd->pipe = pollfd->timer = -1;
    rip_fork_hold(); /* a child forked now would keep them */
    pollfd->epoll = epoll_create1(EPOLL_CLOEXEC);
    int rc = pollfd->epoll < 0 ? -errno : open_pipe(ch, pollfd);
    if (rc == 0) {
        pollfd->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        rc = pollfd->timer < 0 ? -errno : watch(pollfd, pollfd->timer);
    }
    ch->pollfd = pollfd;
    if (rc != 0) {
        rip_pollfd_close(ch);
    }
    rip_fork_allow();
    return rc ? rc : pollfd->epoll;
}

/* 1 if it was rung. */
static int silence(struct rip_pollfd *pollfd) {
    char bytes[64];
    int was = 0;
    while (read(pollfd->pipe, bytes, sizeof bytes) > 0) {
        was = 1;
    }
    pollfd->rung = 0;
    return was;
}

static void ring_ourselves(struct rip_pollfd *pollfd) {
    if (!pollfd->rung) {
        pollfd->rung = write(pollfd->pipe, "", 1) == 1; /* full: it is readable all the same */
    }
}

static void look_again(struct rip_pollfd *pollfd, uint64_t ns) {
    struct itimerspec later = {.it_value = {.tv_nsec = (long)ns}};
    timerfd_settime(pollfd->timer, 0, &later, NULL);
}

/* Asks to be rung: whatever comes from now on makes the descriptor readable. 1 if it had been rung before. */
static int arm(struct rip_channel *ch, const struct rip_watch *watch) {
    int was = silence(ch->pollfd);
    look_again(ch->pollfd, LOOK_AGAIN_NS);
    /* release: pairs with the fetch_and of whoever rings; before the announcement, which sends them to look */
    atomic_fetch_or_explicit(&ch->control->members[ch->handle.member].pollfd, RIP_POLLFD_ARMED, memory_order_release);
    rip_watch_announce(watch);
    rip_reap_if_due(ch);
    return was;
}

/* 0 if there is something to do, else nanoseconds until it is time to look again, at most LOOK_AGAIN_NS. */
typedef uint64_t idle(void *handle);

static void settle(struct rip_channel *ch, idle *idle, void *handle, const struct rip_watch *watch) {
    if (idle(handle)) {
        arm(ch, watch);
        uint64_t ns = idle(handle);
        if (ns) {
            if (ns != LOOK_AGAIN_NS) {
                look_again(ch->pollfd, ns);
            }
            return;
        }
    }
    ring_ourselves(ch->pollfd);
}

/* Where several users share a channel none can have another one's processes send signals to whom it cannot send them itself. */
static int is_ours(int32_t pid) {
    char path[32];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    return stat(path, &st) == 0 && st.st_uid == geteuid();
}

/* The process that holds the member's lock after we have got hold of one with its pid is that one: a pid is not given away as long as
 * its process lives. */
static void send_signal(struct rip_channel *ch, uint32_t member, uint32_t wanted) {
    const struct rip_member *entry = &ch->control->members[member];
    int number = (int)(wanted & 0xffu);
    if ((wanted & 0xffff0000u) != RIP_SIGNAL_IS || entry->pid <= 0 || entry->pids != rip_pid_namespace()) {
        return;
    }
    rip_fork_hold();
    int fd = (int)syscall(SYS_pidfd_open, entry->pid, 0);
    if (fd >= 0) {
        siginfo_t info = {.si_signo = number, .si_code = SI_QUEUE};
        info.si_pid = getpid();
        info.si_uid = getuid();
        info.si_value.sival_int =
            wanted & RIP_VALUE_IS_LANE ? (int)ch->lane : atomic_load_explicit(&entry->value, memory_order_relaxed);
        if (!rip_is_dead(&ch->handle, member) && is_ours(entry->pid)) {
            syscall(SYS_pidfd_send_signal, fd, number, &info, 0);
        }
        close(fd);
    } else if (rip_is_resource_error(-errno)) { /* the next ringer is to send it */
        uint32_t none = 0;
        /* release: as in rip_consumer_notify; fails where it has asked anew */
        atomic_compare_exchange_strong_explicit(&ch->control->members[member].signal, &none, wanted,
                                                memory_order_release, memory_order_relaxed);
    }
    rip_fork_allow();
}

/* The member may have died, and its number be another process's: only the pipe that it spoke of is opened. */
static int find_nameless(const struct rip_member *entry, uint32_t number, uint32_t inode) {
    char path[48];
    struct stat st;
    struct statfs fs;
    if (entry->pid <= 0 || entry->pids != rip_pid_namespace()) {
        return -ENOENT;
    }
    snprintf(path, sizeof path, "/proc/%d/fd/%u", (int)entry->pid, (unsigned)number);
    int there = open(path, O_PATH | O_CLOEXEC); /* opens nothing yet */
    if (there < 0) {
        return -errno;
    }
    int is = fstat(there, &st) == 0 && S_ISFIFO(st.st_mode) && (uint32_t)st.st_ino == inode &&
             fstatfs(there, &fs) == 0 && fs.f_type == PIPEFS_MAGIC;
    int end = is ? open_end(there) : -ENOENT;
    close(there);
    return end;
}

static void ring_pipe(struct rip_channel *ch, uint32_t member) {
    struct rip_member *entry = &ch->control->members[member];
    _Atomic uint32_t *pollfd = &entry->pollfd;
    if (!(atomic_load_explicit(pollfd, memory_order_relaxed) & RIP_POLLFD_ARMED)) {
        return;
    }
    /* acq_rel: pairs with the release in arm; one of us rings it */
    uint32_t was = atomic_fetch_and_explicit(pollfd, ~RIP_POLLFD_ARMED, memory_order_acq_rel);
    if (!(was & RIP_POLLFD_ARMED)) {
        return; /* rung by somebody else */
    }
    char name[32];
    name_of(member, name);
    rip_fork_hold();
    /* Both ends: or a member that dies before the write would have us killed by SIGPIPE. */
    uint32_t inode = atomic_load_explicit(&entry->pipe, memory_order_relaxed); /* noted before the bell was wanted */
    int fd = inode && !rip_handle_has_name(&ch->handle)
                 ? find_nameless(entry, was >> RIP_POLLFD_SHIFT, inode)
                 : openat(ch->handle.dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t written = write(fd, "", 1); /* fails where it is full: then it is readable already */
        (void)written;
        close(fd);
    }
    rip_fork_allow();
}

void rip_pollfd_wake(struct rip_channel *ch, uint32_t member) {
    _Atomic uint32_t *signal = &ch->control->members[member].signal;
    ring_pipe(ch, member);
    /* acq_rel: pairs with the release in rip_consumer_notify; one of us sends it */
    uint32_t wanted = atomic_load_explicit(signal, memory_order_relaxed)
                          ? atomic_exchange_explicit(signal, 0, memory_order_acq_rel)
                          : 0;
    if (wanted) {
        send_signal(ch, member, wanted);
    }
}

int rip_consumer_notify(struct rip_consumer *c, int number, const int32_t *value) {
    int rc = rip_handle_check(&c->ch.handle);
    if (rc != 0 || number < 0 || number > SIGRTMAX) {
        return rc ? rc : -EINVAL;
    }
    struct rip_member *member = &c->ch.control->members[c->ch.handle.member];
    atomic_store_explicit(&member->value, value ? *value : 0, memory_order_relaxed);
    atomic_store_explicit(&c->ch.control->groups[c->group].pollfds, 1, memory_order_relaxed);
    /* release: pairs with the exchange of whoever sends it */
    uint32_t wanted = number ? RIP_SIGNAL_IS | (uint32_t)number | (value ? 0 : RIP_VALUE_IS_LANE) : 0;
    atomic_store_explicit(&member->signal, wanted, memory_order_release);
    struct rip_watch watch;
    rip_message_watch(c, NULL, &watch);
    rip_watch_announce(&watch);
    return 0;
}

/* While another member has the lock of the table of lanes, nobody tells us when it lets go. */
static uint64_t has_no_message(void *handle) {
    if (rip_rx_pending(handle)) {
        return 0;
    }
    uint64_t slice = rip_rx_slice(handle);
    return slice < RIP_SLICE_NS ? slice : LOOK_AGAIN_NS;
}

static uint64_t has_no_room(void *handle) {
    struct rip_producer *p = handle;
    return p->overflow == RIP_BLOCK && rip_make_room(p, p->wanted) == -EAGAIN ? LOOK_AGAIN_NS : 0;
}

/* Opens the descriptor, and says in the table that there is one: *rung is where those look who would wake us. */
static int open_pollfd(struct rip_channel *ch, _Atomic uint32_t *rung, uint32_t value) {
    int rc = rip_handle_check(&ch->handle);
    if (rc != 0 || ch->pollfd) {
        return rc ? rc : ch->pollfd->epoll;
    }
    rc = make_bell(ch);
    const struct rip_pollfd *pollfd = ch->pollfd;
    if (rc >= 0 && pollfd) { /* relaxed: our announcement comes after it */
        uint32_t number = pollfd->inode ? (uint32_t)pollfd->pipe << RIP_POLLFD_SHIFT : 0;
        struct rip_member *member = &ch->control->members[ch->handle.member];
        atomic_store_explicit(&member->pipe, pollfd->inode, memory_order_relaxed);
        atomic_store_explicit(&member->pollfd, number | RIP_POLLFD_EXISTS, memory_order_relaxed);
        atomic_store_explicit(rung, value, memory_order_relaxed);
    }
    return rc;
}

int rip_consumer_fd(struct rip_consumer *c) {
    int fd = open_pollfd(&c->ch, c->ch.control ? &c->ch.control->groups[c->group].pollfds : NULL, 1);
    if (fd >= 0) {
        rip_consumer_update_fd(c);
    }
    return fd;
}

void rip_consumer_update_fd(struct rip_consumer *c) {
    if (c->ch.pollfd && c->ch.handle.state == RIP_OPEN) {
        struct rip_watch watch;
        rip_message_watch(c, NULL, &watch);
        settle(&c->ch, has_no_message, c, &watch);
    }
}

int rip_consumer_rearm_fd(struct rip_consumer *c) {
    if (!c->ch.pollfd || c->ch.handle.state != RIP_OPEN) {
        return 0;
    }
    struct rip_watch watch;
    rip_message_watch(c, NULL, &watch);
    return arm(&c->ch, &watch);
}

int rip_producer_fd(struct rip_producer *p) {
    int fd = open_pollfd(&p->ch, p->entry ? &p->entry->pollfd_member : NULL, p->ch.handle.member + 1);
    if (fd >= 0) {
        rip_producer_update_fd(p);
    }
    return fd;
}

void rip_producer_update_fd(struct rip_producer *p) {
    if (p->ch.pollfd && p->ch.handle.state == RIP_OPEN) {
        struct rip_watch watch;
        rip_room_watch(p, &watch);
        settle(&p->ch, has_no_room, p, &watch);
    }
}
