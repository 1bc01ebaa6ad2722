/* How threads that put and get move messages by themselves. */
#include "base/clock.h"
#include "base/wait.h"
#include "stream/links.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

/* A message put within this time of the last push is left to the thread, which sends many at once. */
#define STREAMING_NS UINT64_C(5000)
/* A getter that has waited so long reports what has been released, however little: the sender may wait for it. */
#define REPORT_MS 1

/* Locks unless another thread holds the lock until a time. Returns 1 if it has locked. */
static int lock_until(struct rip_links *io, uint64_t end) {
    if (pthread_mutex_trylock(&io->lock) == 0) {
        return 1;
    }
    uint64_t now = rip_now(), left = now < end ? end - now : 0;
    struct timespec at; /* a change of this clock makes the wait shorter, or as long as the lock is held */
    clock_gettime(CLOCK_REALTIME, &at);
    left += (uint64_t)at.tv_nsec;
    at.tv_sec += (time_t)(left / 1000000000u);
    at.tv_nsec = (long)(left % 1000000000u);
    return pthread_mutex_timedlock(&io->lock, &at) == 0;
}

/* Waits until the links that lag now do so no more, or until a time, and sends to them meanwhile. The lock must be
 * held, and is released while this waits. Returns 1 if it is held again. */
static int pace(struct rip_links *io, uint64_t end) {
    uint64_t ids[RIP_MAX_LINKS], now = rip_now();
    uint32_t count = 0;
    for (uint32_t i = 0; i < io->count; i++) {
        struct rip_link *link = &io->links[i];
        if (rip_link_lags(link, now)) {
            rip_pacing_begin(&link->pacing, link->sender);
            ids[count++] = link->id;
        }
    }
    while (count && now < end) {
        struct pollfd fds[RIP_MAX_LINKS];
        for (uint32_t i = 0; i < count; i++) {
            fds[i] = (struct pollfd){.fd = rip_link_find(io, ids[i])->fd, .events = POLLOUT};
        }
        struct timespec most = {.tv_nsec = (long)(end - now)};
        pthread_mutex_unlock(&io->lock);
        /* a link may be disconnected meanwhile; then what is found out about its fd is not used */
        int n = ppoll(fds, count, &most, NULL);
        if (!lock_until(io, end)) {
            return 0;
        }
        uint64_t start = now;
        uint32_t kept = 0;
        now = rip_now();
        for (uint32_t i = 0; i < count; i++) {
            struct rip_link *link = rip_link_find(io, ids[i]);
            if (link && n > 0 && fds[i].revents) {
                rip_link_step(io, link, 0);
            }
            if (link && rip_link_may_send(link)) {
                rip_pacing_add(&link->pacing, link->sender, (now < end ? now : end) - start, now);
            }
            if (link && rip_link_lags(link, now)) {
                ids[kept++] = ids[i];
            }
        }
        count = kept;
        if (n < 0) { /* a signal: let its handler run */
            break;
        }
    }
    return 1;
}

void rip_links_push(struct rip_io_loop *loop) {
    struct rip_links *io = rip_links_of(loop);
    uint64_t now = rip_now(), end = now + RIP_PACE_NS;
    /* relaxed, both: only hints */
    uint32_t lagging = atomic_load_explicit(&loop->lagging, memory_order_relaxed);
    int streaming = now - atomic_load_explicit(&io->pushed, memory_order_relaxed) <= STREAMING_NS;
    if (lagging ? lock_until(io, end) : !streaming && pthread_mutex_trylock(&io->lock) == 0) {
        int more = 0, stepped = 0;
        for (uint32_t i = 0; i < io->count; i++) {
            if (rip_link_is_writable(&io->links[i])) {
                rip_link_step(io, &io->links[i], 0);
                stepped = 1;
            } else if (rip_link_may_send(&io->links[i])) { /* now it may lag */
                rip_sender_take(io->links[i].sender);      /* an error is returned again by the next step */
            }
        }
        int locked = pace(io, end);
        if (locked) {
            rip_links_note_lagging(io);
            for (uint32_t i = 0; i < io->count; i++) {
                more |= rip_link_has_more(&io->links[i]);
            }
            more |= io->pause < 0 && rip_links_pause(io) >= 0; /* else the thread checks by itself */
            pthread_mutex_unlock(&io->lock);
        }
        if (stepped) {
            atomic_store_explicit(&io->pushed, rip_now(), memory_order_relaxed);
        }
        if (more || !locked) {
            rip_links_kick(io);
        }
    } else if (atomic_exchange_explicit(&loop->asleep, 0,
                                        memory_order_acq_rel)) { /* acq_rel: pairs with fall_asleep; one thread kicks */
        rip_links_kick(io);
    }
}

static uint64_t left(uint64_t now, uint64_t deadline, uint64_t slice) {
    return deadline <= now ? 0 : deadline - now < slice ? deadline - now : slice;
}

static int wait_and_step(struct rip_links *io, int ms) {
    uint64_t ids[RIP_MAX_LINKS];
    int n = rip_poller_wait(&io->poller, ids, RIP_MAX_LINKS, ms);
    for (int i = 0; i < n; i++) {
        if (ids[i] == 0) {
            rip_kick_clear(io->getters_kick);
        }
    }
    if (n > 0) {
        pthread_mutex_lock(&io->lock);
        for (int i = 0; i < n; i++) {
            struct rip_link *link = rip_link_find(io, ids[i]);
            if (link) {
                rip_link_step(io, link, 1);
            }
        }
        pthread_mutex_unlock(&io->lock);
    }
    return n;
}

/* Reads messages for which there is room now, and reports what has been released. */
static void catch_up(struct rip_links *io) {
    for (uint32_t i = 0; i < io->count; i++) {
        struct rip_link *link = &io->links[i];
        if (link->receiver && link->result == RIP_STEP_ROOM) {
            rip_link_step(io, link, 1);
        } else if (link->receiver && link->fd >= 0 && !rip_link_is_finished(link)) {
            rip_receiver_ack(link->receiver, link->prompt); /* an error is returned again by the next step */
        }
    }
}

/* Reports all that has been released and is not reported. */
static void report(struct rip_links *io) {
    for (uint32_t i = 0; i < io->count; i++) {
        struct rip_link *link = &io->links[i];
        if (link->receiver && link->fd >= 0 && !rip_link_is_finished(link)) {
            rip_receiver_ack(link->receiver, 1); /* an error is returned again by the next step */
        }
    }
}

static int has_unacked(const struct rip_links *io) {
    for (uint32_t i = 0; i < io->count; i++) {
        if (io->links[i].receiver && rip_receiver_has_unacked(io->links[i].receiver)) {
            return 1;
        }
    }
    return 0;
}

/* Waits for messages, for ms at most. unacked: there may be something to report. */
static int wait_and_report(struct rip_links *io, int ms, int unacked) {
    int first = unacked && REPORT_MS < ms ? REPORT_MS : ms, n = wait_and_step(io, first);
    if (n == 0 && first < ms) {
        pthread_mutex_lock(&io->lock);
        report(io);
        pthread_mutex_unlock(&io->lock);
        n = wait_and_step(io, ms - first);
    }
    return n;
}

int rip_links_pull(struct rip_io_loop *loop, const struct rip_watch *watch, uint64_t deadline) {
    struct rip_links *io = rip_links_of(loop);
    /* seq_cst: pairs with rip_io_loop_run. Either the thread sees this getter, or this getter sees that the thread
     * polls and makes it stop. */
    atomic_fetch_add_explicit(&io->pulling, 1, memory_order_seq_cst);
    if (deadline && atomic_load_explicit(&io->polling, memory_order_seq_cst)) {
        rip_links_kick(io);
    }
    pthread_mutex_lock(&io->lock);
    catch_up(io);
    /* every reader has the lock, so what arrives from now on is seen by the wait below */
    int ready = rip_watch_is_ready(watch), unacked = has_unacked(io);
    pthread_mutex_unlock(&io->lock);
    uint64_t now = rip_now(), slice = now + watch->slice;
    int ms = io->spin ? 0 : rip_to_ms(left(now, deadline, watch->slice));
    int n = ready ? 1 : wait_and_report(io, ms, unacked);
    while (n == 0 && io->spin && (now = rip_now()) < deadline && now < slice) {
        rip_pause();
        n = wait_and_step(io, 0);
    }
    now = rip_now();
    if (deadline) { /* a call that does not wait may not come again soon; relaxed: only a hint */
        atomic_store_explicit(&io->pulled, now, memory_order_relaxed);
    }
    /* release: pairs with are_readers; a thread that finds no getter reads what arrives from here on */
    atomic_fetch_sub_explicit(&io->pulling, 1, memory_order_release);
    /* As rip_watch_wait: after the deadline the caller checks once more, however much still arrives. */
    return n < 0 ? n : now >= deadline ? -ETIMEDOUT : n > 0;
}
