#include "sync/latest_fd.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* How long the thread sleeps at most. A wake-up is lost if its sender is killed just before it sends it. */
#define SLICE_NS UINT64_C(500000000)

struct rip_latest_fd {
    struct rip_watch watch; /* to announce the sleep of the thread */
    struct rip_sync_file *file;
    pthread_t thread;
    int ends[2];           /* of the pipe; the first one is the pollfd */
    _Atomic uint64_t seen; /* the word at which the handle has looked last */
    _Atomic uint32_t
        changed; /* futex word: seen or stop has changed; the thread sleeps on it while the pollfd is readable */
    _Atomic uint32_t stop;
};

static int is_newer(const struct rip_latest_fd *fd) {
    /* acquire: pairs with the release in rip_latest_update_fd; relaxed: whoever finds the pollfd readable loads the
     * word with acquire */
    uint64_t seen = atomic_load_explicit(&fd->seen, memory_order_acquire);
    return atomic_load_explicit(&fd->file->word, memory_order_relaxed) != seen;
}

static void *watch_for_values(void *argument) {
    struct rip_latest_fd *fd = argument;
    for (;;) {
        /* acquire: pairs with the release in rip_wake */
        uint32_t changed = atomic_load_explicit(&fd->changed, memory_order_acquire);
        uint32_t futex = atomic_load_explicit(&fd->file->futex, memory_order_acquire);
        if (atomic_load_explicit(&fd->stop, memory_order_acquire)) {
            return NULL;
        }
        if (!is_newer(fd)) {
            rip_watch_announce(&fd->watch);
        }
        if (!is_newer(fd)) {
            rip_sleep(&fd->file->futex, futex, rip_now() + SLICE_NS);
        } else if (write(fd->ends[1], "", 1) == 1 ||
                   errno == EAGAIN) { /* EAGAIN: the pipe is full, so it is readable */
            rip_sleep(&fd->changed, changed, RIP_FOREVER);
        }
    }
}

/* Returns 1 if the pipe was not empty. */
static int empty(const struct rip_latest_fd *fd) {
    char bytes[64];
    int was_readable = 0;
    while (read(fd->ends[0], bytes, sizeof bytes) > 0) {
        was_readable = 1;
    }
    return was_readable;
}

static void close_ends(struct rip_latest_fd *fd) {
    close(fd->ends[0]);
    close(fd->ends[1]);
}

/* Starts the thread with all signals blocked: they are for the threads of the program. */
static int start(struct rip_latest_fd *fd) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&fd->thread, NULL, watch_for_values, fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static int open_fd(struct rip_sync *s, uint64_t seen) {
    struct rip_latest_fd *fd = calloc(1, sizeof *fd);
    if (!fd) {
        return -ENOMEM;
    }
    rip_sync_watch(s, seen, &fd->watch);
    fd->file = s->file;
    atomic_init(&fd->seen, seen);
    rip_fork_hold(); /* a forked child closes the pipe of a handle in the list */
    int rc = pipe2(fd->ends, O_CLOEXEC | O_NONBLOCK) == 0 ? 0 : -errno;
    if (rc == 0) {
        rc = start(fd);
        if (rc != 0) {
            close_ends(fd);
        }
    }
    if (rc == 0) {
        s->latest.fd = fd;
    } else {
        free(fd);
    }
    rip_fork_allow();
    return rc;
}

int rip_latest_fd(struct rip_sync *s, uint64_t seen) {
    int rc = rip_sync_check(s);
    if (rc == 0 && !s->latest.fd) {
        rc = open_fd(s, seen);
    }
    return rc ? rc : s->latest.fd->ends[0];
}

int rip_latest_update_fd(struct rip_sync *s, uint64_t seen) {
    struct rip_latest_fd *fd = s->latest.fd;
    if (!fd) {
        return 0;
    }
    int was_readable = empty(fd);
    /* release: pairs with the acquire in is_newer. The pollfd was about to be readable if the word has changed. */
    was_readable |= atomic_exchange_explicit(&fd->seen, seen, memory_order_acq_rel) != seen;
    rip_wake(&fd->changed);
    return was_readable;
}

void rip_latest_fd_close(struct rip_sync *s) {
    struct rip_latest_fd *fd = s->latest.fd;
    if (!fd) {
        return;
    }
    atomic_store_explicit(&fd->stop, 1, memory_order_release); /* pairs with the acquire in watch_for_values */
    rip_wake(&fd->changed);
    rip_wake(&fd->file->futex); /* the thread sleeps on one of the two */
    pthread_join(fd->thread, NULL);
    rip_fork_hold();
    close_ends(fd);
    s->latest.fd = NULL;
    rip_fork_allow();
    free(fd);
}

void rip_latest_fd_forget(struct rip_sync *s) {
    if (s->latest.fd) {
        close_ends(s->latest.fd);
        free(s->latest.fd);
        s->latest.fd = NULL;
    }
}
