#include "channel/pollfd.h"
#include "base/file.h"
#include "base/poller.h"
#include "base/process.h"
#include "store/control_file.h"
#include "store/table_lock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct rip_pollfd {
    struct rip_poller poller; /* of the pipe, and of a timer */
    int pipe;
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
    rip_poller_close(&pollfd->poller);
    if (pollfd->pipe >= 0) {
        close(pollfd->pipe);
    }
    free(pollfd);
    ch->pollfd = NULL;
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
    int end = rip_file_open_again(ends[0], O_RDWR | O_NONBLOCK); /* both ends in one descriptor: no hang-up */
    close(ends[0]);
    close(ends[1]);
    if (end >= 0 && fstat(end, &st) == 0) {
        pollfd->inode = (uint32_t)st.st_ino;
    }
    return end;
}

static int open_pipe(struct rip_channel *ch, struct rip_pollfd *pollfd) {
    pollfd->pipe = rip_handle_has_name(&ch->handle) ? open_named(ch) : open_nameless(pollfd);
    return pollfd->pipe < 0 ? pollfd->pipe : rip_poller_change(&pollfd->poller, pollfd->pipe, 0, RIP_POLL_IN, 0);
}

static int make_bell(struct rip_channel *ch) {
    struct rip_pollfd *pollfd = calloc(1, sizeof *pollfd);
    if (!pollfd) {
        return -ENOMEM;
    }
    pollfd->pipe = -1;
    rip_fork_hold(); /* a child forked now would keep them */
    int rc = rip_poller_open(&pollfd->poller, 1);
    rc = rc ? rc : open_pipe(ch, pollfd);
    ch->pollfd = pollfd;
    if (rc != 0) {
        rip_pollfd_close(ch);
    }
    rip_fork_allow();
    return rc ? rc : pollfd->poller.fd;
}

int rip_pollfd_open(struct rip_channel *ch, _Atomic uint32_t *rung, uint32_t value) {
    int rc = rip_handle_check(&ch->handle);
    if (rc != 0 || ch->pollfd) {
        return rc ? rc : ch->pollfd->poller.fd;
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

int rip_pollfd_rearm(struct rip_channel *ch, const struct rip_watch *watch) {
    int was = silence(ch->pollfd);
    rip_poller_set_timer(&ch->pollfd->poller, RIP_POLLFD_CHECK_NS);
    /* release: pairs with the fetch_and of whoever rings; before the announcement, which sends them to look */
    atomic_fetch_or_explicit(&ch->control->members[ch->handle.member].pollfd, RIP_POLLFD_ARMED, memory_order_release);
    rip_watch_announce(watch);
    rip_reap_if_due(&ch->handle);
    return was;
}

void rip_pollfd_update(struct rip_channel *ch, rip_idle *idle, void *handle, const struct rip_watch *watch) {
    if (idle(handle)) {
        rip_pollfd_rearm(ch, watch);
        uint64_t ns = idle(handle);
        if (ns) {
            if (ns != RIP_POLLFD_CHECK_NS) {
                rip_poller_set_timer(&ch->pollfd->poller, ns);
            }
            return;
        }
    }
    ring_ourselves(ch->pollfd);
}

struct addressee {
    struct rip_channel *ch;
    uint32_t member;
};

/* The process that holds the member's lock after we have got hold of one with its pid is that one. */
static int is_it(void *whom) {
    const struct addressee *addressee = whom;
    return !rip_is_dead(&addressee->ch->handle, addressee->member);
}

static void send_signal(struct rip_channel *ch, uint32_t member, uint32_t wanted) {
    struct rip_member *entry = &ch->control->members[member];
    int number = (int)(wanted & 0xffu);
    if ((wanted & 0xffff0000u) != RIP_SIGNAL_IS || entry->pid <= 0 || entry->pids != rip_pid_namespace()) {
        return;
    }
    int32_t value =
        wanted & RIP_VALUE_IS_LANE ? (int32_t)ch->lane : atomic_load_explicit(&entry->value, memory_order_relaxed);
    struct addressee whom = {.ch = ch, .member = member};
    rip_fork_hold();
    int rc = rip_process_signal(entry->pid, number, value, is_it, &whom);
    rip_fork_allow();
    if (rip_is_resource_error(rc)) { /* the next ringer is to send it */
        uint32_t none = 0;
        /* release: as in rip_consumer_notify; fails where it has asked anew */
        atomic_compare_exchange_strong_explicit(&entry->signal, &none, wanted, memory_order_release,
                                                memory_order_relaxed);
    }
}

/* A pipe without a name, by what its member has noted of it. */
static int open_noted(const struct rip_member *entry, uint32_t number, uint32_t inode) {
    int is_here = entry->pid > 0 && entry->pids == rip_pid_namespace();
    return is_here ? rip_process_open_pipe(entry->pid, number, inode) : -ENOENT;
}

static void ring_pipe(struct rip_channel *ch, uint32_t member) {
    struct rip_member *entry = &ch->control->members[member];
    _Atomic uint32_t *pollfd = &entry->pollfd;
    if (!(atomic_load_explicit(pollfd, memory_order_relaxed) & RIP_POLLFD_ARMED)) {
        return;
    }
    /* acq_rel: pairs with the release in rip_pollfd_rearm; one of us rings it */
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
                 ? open_noted(entry, was >> RIP_POLLFD_SHIFT, inode)
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
