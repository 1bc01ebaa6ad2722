#include "stream/io_loop.h"
#include "base/clock.h"
#include "base/poller.h"
#include "base/wait.h"
#include "stream/pacing.h"
#include "stream/receiver.h"
#include "stream/sender.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* A message put within this time of the last push is left to the thread, which sends many at once. */
#define STREAMING_NS UINT64_C(5000)
/* for this long after a pull, the thread leaves reading to the threads that get */
#define READERS_NS UINT64_C(5000000)
#define TICK_MS 5
#define ROOM_MS 1
#define UNFENCED_MS 50
/* for this long after a sender could not leave, other senders do not wait for the table lock */
#define TRY_ONLY_NS UINT64_C(1000000000)

struct link {
    uint64_t id;
    struct rip_sender *sender;
    struct rip_receiver *receiver;
    int fd;          /* -1: not connected */
    uint32_t events; /* enum rip_poll: what the poller polls fd for */
    int prompt;
    int ready_fd;    /* pollfd of the sender's consumer, if messages are put without a push; else -1 */
    int polls_ready; /* the poller polls ready_fd */
    uint32_t ordinal;
    int result;   /* enum rip_step or a negative errno: the result of its last step */
    int reported; /* its end has been reported */
    struct rip_pacing pacing;
};

struct io_loop {
    struct rip_io_loop calls; /* first: see loop_of */
    pthread_mutex_t lock;     /* protects everything except the atomics */
    struct rip_poller poller; /* of the links' file descriptors */
    int kick;                 /* wakes the thread */
    int getters_kick;         /* wakes threads that get, when another thread has read messages */
    int spin;
    int stop;
    int pause; /* the result of pause_of when the thread checked last */
    uint64_t ids;
    uint32_t count;
    struct link links[RIP_MAX_LINKS];
    _Atomic uint32_t polling; /* the thread itself polls the links */
    _Atomic uint64_t pulled;  /* time of the last pull, nanoseconds */
    _Atomic uint32_t pulling; /* threads that are in pull */
    _Atomic uint64_t pushed;  /* time of the last push, nanoseconds */
    _Atomic uint64_t locked;  /* time at which a sender last could not leave because of the table lock */
};

static struct io_loop *loop_of(struct rip_io_loop *loop) { return (struct io_loop *)(void *)loop; }

static void kick(struct io_loop *io) { rip_kick(io->kick); }

static struct link *find(struct io_loop *io, uint64_t id) {
    for (uint32_t i = 0; i < io->count; i++) {
        if (io->links[i].id == id) {
            return &io->links[i];
        }
    }
    return NULL;
}

static void poll_events(struct io_loop *io, struct link *link, uint32_t events) {
    if (events == link->events || link->fd < 0) {
        return;
    }
    int rc = rip_poller_change(&io->poller, link->fd, link->events, events, link->id);
    if (rc != 0 && link->result >= 0) {
        link->result = rc;
        events = 0;
    }
    link->events = events;
}

/* Starts or stops polling the pollfd of a sender. While its messages cannot be sent, the pollfd is not polled. */
static void poll_ready_fd(struct io_loop *io, struct link *link, int polls_ready) {
    uint32_t was = link->polls_ready ? RIP_POLL_IN : 0, events = polls_ready ? RIP_POLL_IN : 0;
    if (link->ready_fd >= 0 && rip_poller_change(&io->poller, link->ready_fd, was, events, link->id) == 0) {
        link->polls_ready = polls_ready;
    }
}

static void disconnect(struct io_loop *io, struct link *link) {
    poll_events(io, link, 0);
    poll_ready_fd(io, link, 0);
    link->fd = -1;
    if (link->sender) {
        rip_sender_disconnect(link->sender);
    } else {
        rip_receiver_disconnect(link->receiver);
    }
}

static int is_finished(const struct link *link) { return link->result < 0 || link->result == RIP_STEP_END; }

/* in_pull: 1 if the caller is in pull, else 0. */
static void step(struct io_loop *io, struct link *link, uint32_t in_pull) {
    if (link->fd < 0 || is_finished(link)) {
        return;
    }
    uint64_t before = link->receiver ? rip_receiver_next(link->receiver) : 0;
    link->result = link->sender ? rip_sender_step(link->sender) : rip_receiver_step(link->receiver);
    /* relaxed: a thread that arrives now checks after this one, which has the lock */
    if (link->receiver && (rip_receiver_next(link->receiver) != before || is_finished(link)) &&
        atomic_load_explicit(&io->pulling, memory_order_relaxed) > in_pull) {
        rip_kick(io->getters_kick);
    }
    if (link->receiver && link->result >= 0 && link->prompt) {
        int rc = rip_receiver_ack(link->receiver, 1);
        link->result = rc < 0 ? rc : link->result;
    }
    uint32_t events = link->result == RIP_STEP_OUT ? RIP_POLL_IN | RIP_POLL_OUT : RIP_POLL_IN;
    poll_events(io, link, is_finished(link) || link->result == RIP_STEP_ROOM ? 0 : events);
    if (link->ready_fd >= 0 && link->result == RIP_STEP_IDLE) {
        rip_sender_update_fd(link->sender);
    }
    poll_ready_fd(io, link, link->result == RIP_STEP_IDLE);
    if (is_finished(link)) {
        kick(io);
    }
}

static int may_send(const struct link *link) { return link->sender && link->fd >= 0 && !is_finished(link); }

/* May a sender write now? If not, the poller wakes the thread when it may. */
static int is_writable(const struct link *link) { return may_send(link) && link->result != RIP_STEP_OUT; }

/* Has a sender messages to send without an event that would wake the thread? */
static int has_more(const struct link *link) { return is_writable(link) && rip_sender_has_more(link->sender); }

static int to_ms(uint64_t ns) { return (int)((ns + 999999) / 1000000); }

/* Milliseconds until a sender should try again to map a lane that it could not map; -1 if there is no such lane.
 * Nothing wakes the thread when mapping becomes possible. */
static int pause_of(const struct io_loop *io) {
    uint64_t least = 0;
    for (uint32_t i = 0; i < io->count; i++) {
        uint64_t pause = may_send(&io->links[i]) ? rip_sender_pause(io->links[i].sender) : 0;
        least = pause && (!least || pause < least) ? pause : least;
    }
    return least ? to_ms(least) : -1;
}

static int is_lagging(const struct link *link, uint64_t now) {
    return may_send(link) && rip_pacing_lags(&link->pacing, link->sender, now);
}

static void note_lagging(struct io_loop *io) {
    uint32_t lagging = 0;
    uint64_t now = 0;
    for (uint32_t i = 0; i < io->count && !lagging; i++) {
        if (may_send(&io->links[i]) && rip_pacing_is_long(io->links[i].sender)) {
            now = now ? now : rip_now();
            lagging = (uint32_t)is_lagging(&io->links[i], now);
        }
    }
    /* relaxed: only a hint */
    atomic_store_explicit(&io->calls.lagging, lagging, memory_order_relaxed);
}

/* Locks unless another thread holds the lock until a time. Returns 1 if it has locked. */
static int lock_until(struct io_loop *io, uint64_t end) {
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
static int pace(struct io_loop *io, uint64_t end) {
    uint64_t ids[RIP_MAX_LINKS], now = rip_now();
    uint32_t count = 0;
    for (uint32_t i = 0; i < io->count; i++) {
        struct link *link = &io->links[i];
        if (is_lagging(link, now)) {
            rip_pacing_begin(&link->pacing, link->sender);
            ids[count++] = link->id;
        }
    }
    while (count && now < end) {
        struct pollfd fds[RIP_MAX_LINKS];
        for (uint32_t i = 0; i < count; i++) {
            fds[i] = (struct pollfd){.fd = find(io, ids[i])->fd, .events = POLLOUT};
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
            struct link *link = find(io, ids[i]);
            if (link && n > 0 && fds[i].revents) {
                step(io, link, 0);
            }
            if (link && may_send(link)) {
                rip_pacing_add(&link->pacing, link->sender, (now < end ? now : end) - start, now);
            }
            if (link && is_lagging(link, now)) {
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

/* ---- called by the threads that put and get ---- */

static void push(struct rip_io_loop *loop) {
    struct io_loop *io = loop_of(loop);
    uint64_t now = rip_now(), end = now + RIP_PACE_NS;
    /* relaxed, both: only hints */
    uint32_t lagging = atomic_load_explicit(&loop->lagging, memory_order_relaxed);
    int streaming = now - atomic_load_explicit(&io->pushed, memory_order_relaxed) <= STREAMING_NS;
    if (lagging ? lock_until(io, end) : !streaming && pthread_mutex_trylock(&io->lock) == 0) {
        int more = 0, stepped = 0;
        for (uint32_t i = 0; i < io->count; i++) {
            if (is_writable(&io->links[i])) {
                step(io, &io->links[i], 0);
                stepped = 1;
            } else if (may_send(&io->links[i])) {     /* now it may lag */
                rip_sender_take(io->links[i].sender); /* an error is returned again by the next step */
            }
        }
        int locked = pace(io, end);
        if (locked) {
            note_lagging(io);
            for (uint32_t i = 0; i < io->count; i++) {
                more |= has_more(&io->links[i]);
            }
            more |= io->pause < 0 && pause_of(io) >= 0; /* else the thread checks by itself */
            pthread_mutex_unlock(&io->lock);
        }
        if (stepped) {
            atomic_store_explicit(&io->pushed, rip_now(), memory_order_relaxed);
        }
        if (more || !locked) {
            kick(io);
        }
    } else if (atomic_exchange_explicit(&loop->asleep, 0,
                                        memory_order_acq_rel)) { /* acq_rel: pairs with fall_asleep; one thread kicks */
        kick(io);
    }
}

static uint64_t left(uint64_t now, uint64_t deadline, uint64_t slice) {
    return deadline <= now ? 0 : deadline - now < slice ? deadline - now : slice;
}

static int wait_and_step(struct io_loop *io, int ms) {
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
            struct link *link = find(io, ids[i]);
            if (link) {
                step(io, link, 1);
            }
        }
        pthread_mutex_unlock(&io->lock);
    }
    return n;
}

/* Reads messages for which there is room now, and reports what has been released. */
static void catch_up(struct io_loop *io) {
    for (uint32_t i = 0; i < io->count; i++) {
        struct link *link = &io->links[i];
        if (link->receiver && link->result == RIP_STEP_ROOM) {
            step(io, link, 1);
        } else if (link->receiver && link->fd >= 0 && !is_finished(link)) {
            rip_receiver_ack(link->receiver, link->prompt); /* an error is returned again by the next step */
        }
    }
}

static int pull(struct rip_io_loop *loop, const struct rip_watch *watch, uint64_t deadline) {
    struct io_loop *io = loop_of(loop);
    /* seq_cst: pairs with rip_io_loop_run. Either the thread sees this getter, or this getter sees that the thread
     * polls and makes it stop. */
    atomic_fetch_add_explicit(&io->pulling, 1, memory_order_seq_cst);
    if (deadline && atomic_load_explicit(&io->polling, memory_order_seq_cst)) {
        kick(io);
    }
    pthread_mutex_lock(&io->lock);
    catch_up(io);
    /* every reader has the lock, so what arrives from now on is seen by the wait below */
    int ready = rip_watch_is_ready(watch);
    pthread_mutex_unlock(&io->lock);
    uint64_t now = rip_now(), slice = now + watch->slice;
    int n = ready ? 1 : wait_and_step(io, io->spin ? 0 : to_ms(left(now, deadline, watch->slice)));
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

/* ---- the thread ---- */

/* Steps the links that the thread must step. Returns how long it may sleep then, in milliseconds; -1: until it is
 * woken. */
static int step_all(struct io_loop *io, int readers, int idle) {
    int ms = readers ? TICK_MS : -1;
    for (uint32_t i = 0; i < io->count; i++) {
        struct link *link = &io->links[i];
        if (link->fd < 0 || is_finished(link)) {
            continue;
        }
        if (link->sender || !readers || link->result == RIP_STEP_ROOM) {
            step(io, link, 0);
        }
        if (link->receiver && link->fd >= 0 && !is_finished(link) && rip_receiver_has_unacked(link->receiver)) {
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

static int has_ended(struct io_loop *io, struct rip_end *end) {
    for (uint32_t i = 0; i < io->count; i++) {
        struct link *link = &io->links[i];
        if (is_finished(link) && !link->reported) {
            link->reported = 1;
            *end = (struct rip_end){link->id, link->ordinal, link->result};
            disconnect(io, link);
            return 1;
        }
    }
    return 0;
}

/* Announces that the thread sleeps. Returns 0 if a sender has something to do and the thread must not sleep. */
static int fall_asleep(struct io_loop *io) {
    uint32_t senders = 0;
    for (uint32_t i = 0; i < io->count; i++) {
        senders += (uint32_t)may_send(&io->links[i]);
    }
    if (!senders) { /* no push needs to wake the thread */
        return 1;
    }
    /* relaxed: the fence orders it. The thread stores asleep and then checks for messages; rip_io_loop_needs_push runs
     * after a message was published and loads asleep. One of them sees the other. */
    atomic_store_explicit(&io->calls.asleep, 1, memory_order_relaxed);
    rip_fence_heavy();
    for (uint32_t i = 0; i < io->count; i++) {
        const struct link *link = &io->links[i];
        if (has_more(link)) {
            atomic_store_explicit(&io->calls.asleep, 0, memory_order_relaxed); /* relaxed: at most one kick too many */
            return 0;
        }
    }
    return 1;
}

static int are_readers(struct io_loop *io) {
    /* seq_cst: as in pull. relaxed: only a hint */
    return atomic_load_explicit(&io->pulling, memory_order_seq_cst) != 0 ||
           rip_now() - atomic_load_explicit(&io->pulled, memory_order_relaxed) < READERS_NS;
}

int rip_io_loop_run(struct rip_io_loop *loop, struct rip_end *end) {
    struct io_loop *io = loop_of(loop);
    int idle = 0;
    for (;;) {
        pthread_mutex_lock(&io->lock);
        int readers = are_readers(io), ms = step_all(io, readers, idle);
        int over = has_ended(io, end), stop = io->stop;
        int asleep = !over && !stop && fall_asleep(io);
        note_lagging(io);
        io->pause = pause_of(io);
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

static void close_all(struct io_loop *io) {
    int fds[] = {io->kick, io->getters_kick};
    rip_poller_close(&io->poller);
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

int rip_io_loop_open(int spin, struct rip_io_loop **out) {
    struct io_loop *io = calloc(1, sizeof *io);
    if (!io) {
        return -ENOMEM;
    }
    io->calls = (struct rip_io_loop){.push = push, .pull = pull};
    io->spin = spin;
    io->pause = -1;
    io->kick = io->getters_kick = -1;
    int rc = rip_poller_open(&io->poller, 0);
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

static int connect_link(struct io_loop *io, struct link *link, int fd, uint64_t next) {
    disconnect(io, link);
    int rc = link->sender ? rip_sender_connect(link->sender, fd, next) : rip_receiver_connect(link->receiver, fd);
    if (rc == 0) {
        link->fd = fd;
        link->result = link->reported = 0;
        link->ordinal++;
        poll_events(io, link, RIP_POLL_IN);
        rc = link->result < 0 ? link->result : (int)link->ordinal;
    }
    return rc;
}

int rip_io_loop_add(struct rip_io_loop *loop, struct rip_sender *sender, struct rip_receiver *receiver, int prompt,
                    uint64_t *id) {
    struct io_loop *io = loop_of(loop);
    pthread_mutex_lock(&io->lock);
    int rc = io->count == RIP_MAX_LINKS ? -EMLINK : 0;
    if (rc == 0) {
        *id = ++io->ids;
        io->links[io->count++] = (struct link){
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
    struct io_loop *io = loop_of(loop);
    pthread_mutex_lock(&io->lock);
    struct link *link = find(io, id);
    int rc = link ? connect_link(io, link, fd, next) : -ENOENT;
    pthread_mutex_unlock(&io->lock);
    kick(io);
    return rc;
}

void rip_io_loop_disconnect(struct rip_io_loop *loop, uint64_t id) {
    struct io_loop *io = loop_of(loop);
    pthread_mutex_lock(&io->lock);
    struct link *link = find(io, id);
    if (link) {
        disconnect(io, link);
    }
    pthread_mutex_unlock(&io->lock);
}

int rip_io_loop_can(struct rip_io_loop *loop, uint64_t id, uint64_t next) {
    struct io_loop *io = loop_of(loop);
    pthread_mutex_lock(&io->lock);
    const struct link *link = find(io, id);
    int can = link && (!link->sender || rip_sender_can(link->sender, next));
    pthread_mutex_unlock(&io->lock);
    return can;
}

void rip_io_loop_finish(struct rip_io_loop *loop) {
    struct io_loop *io = loop_of(loop);
    pthread_mutex_lock(&io->lock);
    for (uint32_t i = 0; i < io->count; i++) {
        if (io->links[i].sender) {
            rip_sender_end(io->links[i].sender);
        }
    }
    pthread_mutex_unlock(&io->lock);
    kick(io);
}

uint64_t rip_io_loop_progress(struct rip_io_loop *loop, uint64_t id) {
    struct io_loop *io = loop_of(loop);
    pthread_mutex_lock(&io->lock);
    struct link *link = find(io, id);
    uint64_t count = !link ? 0 : link->sender ? rip_sender_released(link->sender) : rip_receiver_next(link->receiver);
    pthread_mutex_unlock(&io->lock);
    return count;
}

/* All senders are members of one channel. After one has waited for its table lock in vain, the next ones only try. */
static void free_link(struct io_loop *io, const struct link *link) {
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
    struct io_loop *io = loop_of(loop);
    pthread_mutex_lock(&io->lock);
    struct link *link = find(io, id), removed = {.id = 0};
    if (link) {
        poll_events(io, link, 0);
        poll_ready_fd(io, link, 0);
        removed = *link;
        *link = io->links[--io->count];
    }
    pthread_mutex_unlock(&io->lock);
    if (removed.id) { /* this sends an END frame if connected, and may wait; the other links continue meanwhile */
        free_link(io, &removed);
    }
    kick(io); /* the messages that it requeued may be for another sender */
}

void rip_io_loop_stop(struct rip_io_loop *loop) {
    struct io_loop *io = loop_of(loop);
    pthread_mutex_lock(&io->lock);
    io->stop = 1;
    pthread_mutex_unlock(&io->lock);
    kick(io);
}

void rip_io_loop_free(struct rip_io_loop *loop) {
    struct io_loop *io = loop_of(loop);
    for (uint32_t i = 0; i < io->count; i++) {
        free_link(io, &io->links[i]);
    }
    close_all(io);
    pthread_mutex_destroy(&io->lock);
    free(io);
}
