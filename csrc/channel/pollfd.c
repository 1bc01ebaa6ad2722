#include "channel/pollfd.h"
#include "base/file.h"
#include "base/process.h"
#include "store/control_file.h"
#include "store/table_lock.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE_NS UINT64_C(20000000) /* longest wait for a waker that is about to write */

struct rip_pollfd {
    int pipe;         /* both ends */
    uint32_t inode;   /* of a pipe without a name, else 0 */
    uint32_t written; /* 1: this handle has written a byte, and has not emptied the pipe since */
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
    close(pollfd->pipe);
    free(pollfd);
    ch->pollfd = NULL;
}

static int open_named(struct rip_channel *ch) {
    char name[32];
    name_of(ch->handle.member, name);
    unlinkat(ch->handle.dir, name, 0); /* left by a dead member with the same index */
    if (mkfifoat(ch->handle.dir, name, ch->handle.mode) != 0) {
        return -errno;
    }
    int end = openat(ch->handle.dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (end >= 0 && fchmod(end, ch->handle.mode) == 0) { /* fchmod: the umask may have cleared bits of the mode */
        return end;
    }
    int rc = -errno;
    if (end >= 0) {
        close(end);
    }
    return rc;
}

static int open_unnamed(struct rip_pollfd *pollfd) {
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

static int make_pollfd(struct rip_channel *ch) {
    struct rip_pollfd *pollfd = calloc(1, sizeof *pollfd);
    if (!pollfd) {
        return -ENOMEM;
    }
    rip_fork_hold(); /* a child forked now would keep the file descriptor */
    pollfd->pipe = rip_handle_has_name(&ch->handle) ? open_named(ch) : open_unnamed(pollfd);
    int rc = pollfd->pipe;
    ch->pollfd = rc >= 0 ? pollfd : NULL;
    rip_fork_allow();
    if (rc < 0) {
        free(pollfd);
    }
    return rc;
}

int rip_pollfd_open(struct rip_channel *ch, _Atomic uint32_t *entry, uint32_t value) {
    int rc = rip_handle_check(&ch->handle);
    if (rc != 0 || ch->pollfd) {
        return rc ? rc : ch->pollfd->pipe;
    }
    rc = make_pollfd(ch);
    const struct rip_pollfd *pollfd = ch->pollfd;
    if (rc >= 0 && pollfd) { /* relaxed: the announcement comes later, with a fence */
        uint32_t number = pollfd->inode ? (uint32_t)pollfd->pipe << RIP_POLLFD_SHIFT : 0;
        struct rip_member *member = &ch->control->members[ch->handle.member];
        atomic_store_explicit(&member->pipe, pollfd->inode, memory_order_relaxed);
        atomic_store_explicit(&member->pollfd, number | RIP_POLLFD_EXISTS, memory_order_relaxed);
        atomic_store_explicit(entry, value, memory_order_relaxed);
    }
    return rc;
}

/* Returns 1 if there was a byte in the pipe. */
static int empty_pipe(struct rip_pollfd *pollfd) {
    char bytes[64];
    int was = 0;
    while (read(pollfd->pipe, bytes, sizeof bytes) > 0) {
        was = 1;
    }
    pollfd->written = 0;
    return was;
}

static void make_readable(struct rip_pollfd *pollfd) {
    if (!pollfd->written) {
        pollfd->written = write(pollfd->pipe, "", 1) == 1; /* fails if the pipe is full: then it is readable */
    }
}

/* Waits until no waker is about to write into the pipe. One that was killed, or that is interrupted for long, is not
 * waited for again. */
static void await_writer(_Atomic uint32_t *word) {
    /* acquire: pairs with the release in write_to_pipe; the byte is in the pipe */
    if (!(atomic_load_explicit(word, memory_order_acquire) & RIP_POLLFD_WRITES)) {
        return;
    }
    for (uint64_t end = rip_now() + WRITE_NS; rip_now() < end;) {
        sched_yield();
        if (!(atomic_load_explicit(word, memory_order_acquire) & RIP_POLLFD_WRITES)) { /* as above */
            return;
        }
    }
    atomic_fetch_and_explicit(word, ~RIP_POLLFD_WRITES, memory_order_relaxed);
}

int rip_pollfd_rearm(struct rip_channel *ch, const struct rip_watch *watch, uint32_t also) {
    _Atomic uint32_t *word = &ch->control->members[ch->handle.member].pollfd;
    await_writer(word);
    int was = empty_pipe(ch->pollfd);
    atomic_fetch_and_explicit(word, ~(RIP_POLLFD_ENDS | RIP_POLLFD_DEATHS), memory_order_relaxed);
    /* release: pairs with the compare-and-swap in write_to_pipe. It comes before the announcement, which makes wakers
     * check this bit. */
    atomic_fetch_or_explicit(word, RIP_POLLFD_ARMED | also, memory_order_release);
    rip_watch_announce(watch);
    rip_reap_if_due(&ch->handle);
    return was;
}

void rip_pollfd_update(struct rip_channel *ch, rip_idle *idle, void *handle, const struct rip_watch *watch,
                       uint32_t also) {
    if (idle(handle)) {
        rip_pollfd_rearm(ch, watch, also);
        if (idle(handle)) {
            return;
        }
    }
    make_readable(ch->pollfd);
}

struct target {
    struct rip_channel *ch;
    uint32_t member;
};

/* The caller has a pidfd of a process with the member's pid. If the member's lock is still held, that process is the
 * member. */
static int is_alive(void *argument) {
    const struct target *target = argument;
    return !rip_is_dead(&target->ch->handle, target->member);
}

static void send_signal(struct rip_channel *ch, uint32_t member, uint32_t wanted) {
    struct rip_member *entry = &ch->control->members[member];
    int number = (int)(wanted & 0xffu);
    if ((wanted & 0xffff0000u) != RIP_SIGNAL_IS || entry->pid <= 0 || entry->pids != rip_pid_namespace()) {
        return;
    }
    int32_t value =
        wanted & RIP_VALUE_IS_LANE ? (int32_t)ch->lane : atomic_load_explicit(&entry->value, memory_order_relaxed);
    struct target target = {.ch = ch, .member = member};
    rip_fork_hold();
    int rc = rip_process_signal(entry->pid, number, value, is_alive, &target);
    rip_fork_allow();
    if (rip_is_resource_error(rc)) { /* the next waker sends it */
        uint32_t none = 0;
        /* release: as in rip_consumer_notify; fails if the member has stored a new request */
        atomic_compare_exchange_strong_explicit(&entry->signal, &none, wanted, memory_order_release,
                                                memory_order_relaxed);
    }
}

/* Opens a pipe without a name, with what its member has recorded in its entry. */
static int open_recorded(const struct rip_member *entry, uint32_t number, uint32_t inode) {
    int is_here = entry->pid > 0 && entry->pids == rip_pid_namespace();
    return is_here ? rip_process_open_pipe(entry->pid, number, inode) : -ENOENT;
}

static void write_to_pipe(struct rip_channel *ch, uint32_t member, uint32_t reasons) {
    struct rip_member *entry = &ch->control->members[member];
    _Atomic uint32_t *pollfd = &entry->pollfd;
    uint32_t was = atomic_load_explicit(pollfd, memory_order_relaxed);
    do {
        if (!(was & RIP_POLLFD_ARMED) || !(was & reasons)) {
            return; /* or another waker writes */
        }
        /* acq_rel: pairs with the release in rip_pollfd_rearm; only one waker writes */
    } while (!atomic_compare_exchange_weak_explicit(pollfd, &was, (was & ~RIP_POLLFD_ARMED) | RIP_POLLFD_WRITES,
                                                    memory_order_acq_rel, memory_order_relaxed));
    char name[32];
    name_of(member, name);
    rip_fork_hold();
    /* O_RDWR opens both ends. Otherwise, if the member died before the write, SIGPIPE would kill this process. */
    uint32_t inode = atomic_load_explicit(&entry->pipe, memory_order_relaxed); /* stored before the pollfd was armed */
    int fd = inode && !rip_handle_has_name(&ch->handle)
                 ? open_recorded(entry, was >> RIP_POLLFD_SHIFT, inode)
                 : openat(ch->handle.dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t written = write(fd, "", 1); /* fails if the pipe is full: then it is readable */
        (void)written;
        close(fd);
    }
    rip_fork_allow();
    /* release: pairs with the acquire in await_writer */
    atomic_fetch_and_explicit(pollfd, ~RIP_POLLFD_WRITES, memory_order_release);
}

void rip_pollfd_wake(struct rip_channel *ch, uint32_t member, uint32_t reasons) {
    _Atomic uint32_t *signal = &ch->control->members[member].signal;
    write_to_pipe(ch, member, reasons);
    /* acq_rel: pairs with the release in rip_consumer_notify; only one waker sends the signal */
    uint32_t wanted = atomic_load_explicit(signal, memory_order_relaxed)
                          ? atomic_exchange_explicit(signal, 0, memory_order_acq_rel)
                          : 0;
    if (wanted) {
        send_signal(ch, member, wanted);
    }
}
