#include "stream/io_loop.h"
#include "base/clock.h"
#include "base/wait.h"
#include "stream/links.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* for this long after a pull, the thread leaves reading to the threads that get */
#define READERS_NS UINT64_C(5000000)
#define TICK_MS 5
#define ROOM_MS 1
#define UNFENCED_MS 50
/* for this long after a sender could not leave, other senders do not wait for the table lock */
#define TRY_ONLY_NS UINT64_C(1000000000)

/* ---- the thread ---- */

/* Steps the links that the thread must step. Returns how long it may sleep then, in milliseconds; -1: until it is
 * woken. */
static int step_all(struct rip_links *io, int readers, int idle) {
    int ms = readers ? TICK_MS : -1;
    for (uint32_t i = 0; i < io->count; i++) {
        struct rip_link *link = &io->links[i];
        if (link->fd < 0 || rip_link_is_finished(link)) {
            continue;
        }
        if (link->sender || !readers || link->result == RIP_STEP_ROOM) {
            rip_link_step(io, link, 0);
        }
        if (link->receiver && link->fd >= 0 && !rip_link_is_finished(link) &&
            rip_receiver_has_unacked(link->receiver)) {
            if (idle) {
                rip_receiver_ack(link->receiver, 1); /* an error is returned again by the next step */
            }
            ms = ms < 0 || ms > TICK_MS ? TICK_MS : ms;
        }
        if (link->result == RIP_STEP_ROOM) {
            ms = ROOM_MS;
        }
    }
    return ms;
}

static int has_ended(struct rip_links *io, struct rip_end *end) {
    for (uint32_t i = 0; i < io->count; i++) {
        struct rip_link *link = &io->links[i];
        if (rip_link_is_finished(link) && !link->reported) {
            link->reported = 1;
            *end = (struct rip_end){link->id, link->ordinal, link->result};
            rip_link_disconnect(io, link);
            return 1;
        }
    }
    return 0;
}

/* Announces that the thread sleeps. Returns 0 if a sender has something to do and the thread must not sleep. */
static int fall_asleep(struct rip_links *io) {
    uint32_t senders = 0;
    for (uint32_t i = 0; i < io->count; i++) {
        senders += (uint32_t)rip_link_may_send(&io->links[i]);
    }
    if (!senders) { /* no push needs to wake the thread */
        return 1;
    }
    /* relaxed: the fence orders it. The thread stores asleep and then checks for messages; rip_io_loop_needs_push runs
     * after a message was published and loads asleep. One of them sees the other. */
    atomic_store_explicit(&io->calls.asleep, 1, memory_order_relaxed);
    rip_fence_heavy();
    for (uint32_t i = 0; i < io->count; i++) {
        const struct rip_link *link = &io->links[i];
        if (rip_link_has_more(link)) {
            atomic_store_explicit(&io->calls.asleep, 0, memory_order_relaxed); /* relaxed: at most one kick too many */
            return 0;
        }
    }
    return 1;
}

static int are_readers(struct rip_links *io) {
    /* seq_cst: as in pull. relaxed: only a hint */
    return atomic_load_explicit(&io->pulling, memory_order_seq_cst) != 0 ||
           rip_now() - atomic_load_explicit(&io->pulled, memory_order_relaxed) < READERS_NS;
}

int rip_io_loop_run(struct rip_io_loop *loop, struct rip_end *end) {
    struct rip_links *io = rip_links_of(loop);
    int idle = 0;
    for (;;) {
        pthread_mutex_lock(&io->lock);
        int readers = are_readers(io), ms = step_all(io, readers, idle);
        int over = has_ended(io, end), stop = io->stop;
        int asleep = !over && !stop && fall_asleep(io);
        rip_links_note_lagging(io);
        io->pause = rip_links_pause(io);
        ms = ms < 0 || (io->pause >= 0 && io->pause < ms) ? io->pause : ms;
        pthread_mutex_unlock(&io->lock);
        if (over || stop) {
            return over;
        }
        if (!asleep) {
            continue;
        }
        /* seq_cst: pairs with pull; either a getter sees that this thread polls, or this thread sees the getter */
        atomic_store_explicit(&io->polling, !readers, memory_order_seq_cst);
        readers = readers || atomic_load_explicit(&io->pulling, memory_order_seq_cst) != 0;
        struct pollfd fds[2] = {{.fd = io->kick, .events = POLLIN},
                                {.fd = readers ? -1 : io->poller.fd, .events = POLLIN}};
        /* without membarrier a push may not see that the thread sleeps */
        ms = ms < 0 && !rip_fence_setup() ? UNFENCED_MS : ms;
        idle = poll(fds, 2, readers && (ms < 0 || ms > TICK_MS) ? TICK_MS : ms) == 0;
        /* relaxed, both: at most one kick too many */
        atomic_store_explicit(&io->polling, 0, memory_order_relaxed);
        atomic_store_explicit(&io->calls.asleep, 0, memory_order_relaxed);
        if (fds[1].revents) {
            rip_kick_clear(io->getters_kick); /* it was meant for a getter that has left since */
        }
        if (fds[0].revents) {
            rip_kick_clear(io->kick);
        }
    }
}

/* ---- connections ---- */

static void close_all(struct rip_links *io) {
    int fds[] = {io->kick, io->getters_kick};
    rip_poller_close(&io->poller);
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

int rip_io_loop_open(int spin, struct rip_io_loop **out) {
    struct rip_links *io = calloc(1, sizeof *io);
    if (!io) {
        return -ENOMEM;
    }
    io->calls = (struct rip_io_loop){.push = rip_links_push, .pull = rip_links_pull};
    io->spin = spin;
    io->pause = -1;
    io->kick = io->getters_kick = -1;
    int rc = rip_poller_open(&io->poller);
    if (rc == 0) {
        io->kick = rip_kick_open();
        io->getters_kick = io->kick < 0 ? io->kick : rip_kick_open();
        rc = io->getters_kick < 0 ? io->getters_kick
                                  : rip_poller_change(&io->poller, io->getters_kick, 0, RIP_POLL_IN, 0);
    }
    if (rc != 0) {
        close_all(io);
        free(io);
        return rc;
    }
    pthread_mutex_init(&io->lock, NULL);
    *out = &io->calls;
    return 0;
}

static int connect_link(struct rip_links *io, struct rip_link *link, int fd, uint64_t next) {
    rip_link_disconnect(io, link);
    int rc = link->sender ? rip_sender_connect(link->sender, fd, next) : rip_receiver_connect(link->receiver, fd);
    if (rc == 0) {
        link->fd = fd;
        link->result = link->reported = 0;
        link->ordinal++;
        rip_link_poll(io, link, RIP_POLL_IN);
        rc = link->result < 0 ? link->result : (int)link->ordinal;
    }
    return rc;
}

int rip_io_loop_add(struct rip_io_loop *loop, struct rip_sender *sender, struct rip_receiver *receiver, int prompt,
                    uint64_t *id) {
    struct rip_links *io = rip_links_of(loop);
    pthread_mutex_lock(&io->lock);
    int rc = io->count == RIP_MAX_LINKS ? -EMLINK : 0;
    if (rc == 0) {
        *id = ++io->ids;
        io->links[io->count++] = (struct rip_link){
            .id = *id, .sender = sender, .receiver = receiver, .fd = -1, .ready_fd = -1, .prompt = prompt};
        if (sender && prompt) {
            rc = io->links[io->count - 1].ready_fd = rip_sender_fd(sender);
            rc = rc < 0 ? rc : 0;
            io->count -= rc < 0;
        }
    }
    pthread_mutex_unlock(&io->lock);
    return rc;
}

int rip_io_loop_connect(struct rip_io_loop *loop, uint64_t id, int fd, uint64_t next) {
    struct rip_links *io = rip_links_of(loop);
    pthread_mutex_lock(&io->lock);
    struct rip_link *link = rip_link_find(io, id);
    int rc = link ? connect_link(io, link, fd, next) : -ENOENT;
    pthread_mutex_unlock(&io->lock);
    rip_links_kick(io);
    return rc;
}

void rip_io_loop_disconnect(struct rip_io_loop *loop, uint64_t id) {
    struct rip_links *io = rip_links_of(loop);
    pthread_mutex_lock(&io->lock);
    struct rip_link *link = rip_link_find(io, id);
    if (link) {
        rip_link_disconnect(io, link);
    }
    pthread_mutex_unlock(&io->lock);
}

int rip_io_loop_can(struct rip_io_loop *loop, uint64_t id, uint64_t next) {
    struct rip_links *io = rip_links_of(loop);
    pthread_mutex_lock(&io->lock);
    const struct rip_link *link = rip_link_find(io, id);
    int can = link && (!link->sender || rip_sender_can(link->sender, next));
    pthread_mutex_unlock(&io->lock);
    return can;
}

void rip_io_loop_finish(struct rip_io_loop *loop) {
    struct rip_links *io = rip_links_of(loop);
    pthread_mutex_lock(&io->lock);
    for (uint32_t i = 0; i < io->count; i++) {
        if (io->links[i].sender) {
            rip_sender_end(io->links[i].sender);
        }
    }
    pthread_mutex_unlock(&io->lock);
    rip_links_kick(io);
}

uint64_t rip_io_loop_progress(struct rip_io_loop *loop, uint64_t id) {
    struct rip_links *io = rip_links_of(loop);
    pthread_mutex_lock(&io->lock);
    struct rip_link *link = rip_link_find(io, id);
    uint64_t count = !link ? 0 : link->sender ? rip_sender_released(link->sender) : rip_receiver_next(link->receiver);
    pthread_mutex_unlock(&io->lock);
    return count;
}

/* All senders are members of one channel. After one has waited for its table lock in vain, the next ones only try. */
static void free_link(struct rip_links *io, const struct rip_link *link) {
    if (link->receiver) {
        rip_receiver_free(link->receiver);
        return;
    }
    /* relaxed, both: only a hint */
    uint64_t locked = atomic_load_explicit(&io->locked, memory_order_relaxed);
    if (rip_sender_free(link->sender, locked && rip_now() - locked < TRY_ONLY_NS)) {
        atomic_store_explicit(&io->locked, rip_now(), memory_order_relaxed);
    }
}

void rip_io_loop_remove(struct rip_io_loop *loop, uint64_t id) {
    struct rip_links *io = rip_links_of(loop);
    pthread_mutex_lock(&io->lock);
    struct rip_link *link = rip_link_find(io, id), removed = {.id = 0};
    if (link) {
        rip_link_poll(io, link, 0);
        rip_link_poll_ready_fd(io, link, 0);
        removed = *link;
        *link = io->links[--io->count];
    }
    pthread_mutex_unlock(&io->lock);
    if (removed.id) { /* this sends an END frame if connected, and may wait; the other links continue meanwhile */
        free_link(io, &removed);
    }
    rip_links_kick(io); /* the messages that it requeued may be for another sender */
}

void rip_io_loop_stop(struct rip_io_loop *loop) {
    struct rip_links *io = rip_links_of(loop);
    pthread_mutex_lock(&io->lock);
    io->stop = 1;
    pthread_mutex_unlock(&io->lock);
    rip_links_kick(io);
}

void rip_io_loop_free(struct rip_io_loop *loop) {
    struct rip_links *io = rip_links_of(loop);
    for (uint32_t i = 0; i < io->count; i++) {
        free_link(io, &io->links[i]);
    }
    close_all(io);
    pthread_mutex_destroy(&io->lock);
    free(io);
}
