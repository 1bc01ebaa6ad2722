#include "stream/io_loop.h"
#include "base/clock.h"
#include "base/poller.h"
#include "base/wait.h"
#include "stream/receiver.h"
#include "stream/sender.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* What is put within this time of the last push is left to the thread, which sends many at once. */
#define STREAMING_NS UINT64_C(5000)
#define LEFT_ALONE_NS UINT64_C(5000000) /* so long after a getter has pulled the thread leaves the reading to getters */
/* A connection is behind when more than AHEAD bytes of payload are taken for it and not sent. A putter then helps to
 * send, and waits for the connection, PACE_NS at most: so the ring stays within a few messages' worth of cache, where a
 * long queue would be written to memory and read back. A connection that is slow even then (it sends less than half of
 * AHEAD in PACE_NS) is not waited for again within UNPACED_NS. */
#define AHEAD (UINT64_C(1) << 20)
#define PACE_NS UINT64_C(1000000)
#define UNPACED_NS UINT64_C(20000000)
#define TICK_MS 5
#define ROOM_MS 1
#define UNFENCED_MS 50
#define TRY_ONLY_NS UINT64_C(1000000000) /* so long after one could not leave */

struct link {
    uint64_t id;
    struct rip_sender *sender;
    struct rip_receiver *receiver;
    int fd;          /* -1: broken */
    uint32_t events; /* enum rip_poll: that the poller looks for */
    int prompt;
    int ready_fd; /* -1, or readable when others have put something */
    int listens;  /* the poller looks for that */
    uint32_t ordinal;
    int says;     /* what its last step said */
    int reported; /* of its end */
};

struct pump {
    struct rip_io_loop calls; /* first */
    pthread_mutex_t lock;     /* over all but the atomics */
    struct rip_poller poller; /* of the connections */
    int kick;                 /* for the thread */
    int news;                 /* and one for getters, of what somebody else has read */
    int spin;
    int stop;
    uint64_t unpaced; /* until when putters do not wait for a connection */
    int pause;        /* as pause_of, when the thread last looked */
    uint64_t ids;
    uint32_t count;
    struct link links[RIP_MAX_LINKS];
    _Atomic uint32_t watching; /* it looks at the connections itself */
    _Atomic uint64_t pulled;   /* when a getter last was here, nanoseconds */
    _Atomic uint32_t pulling;  /* getters that are */
    _Atomic uint64_t pushed;   /* when a putter last was */
    _Atomic uint64_t locked;   /* when a sender last could not leave because of the table lock */
};

static struct pump *of(struct rip_io_loop *pump) { return (struct pump *)(void *)pump; }

static void kick(struct pump *p) { rip_kick(p->kick); }

static struct link *find(struct pump *p, uint64_t id) {
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->links[i].id == id) {
            return &p->links[i];
        }
    }
    return NULL;
}

static void look_for(struct pump *p, struct link *link, uint32_t events) {
    if (events == link->events || link->fd < 0) {
        return;
    }
    int rc = rip_poller_change(&p->poller, link->fd, link->events, events, link->id);
    if (rc != 0 && link->says >= 0) {
        link->says = rc;
        events = 0;
    }
    link->events = events;
}

/* For the bell of a sender, whose descriptor is closed with it. While what is there cannot be sent it is not looked at. */
static void listen_for(struct pump *p, struct link *link, int listens) {
    uint32_t was = link->listens ? RIP_POLL_IN : 0, events = listens ? RIP_POLL_IN : 0;
    if (link->ready_fd >= 0 && rip_poller_change(&p->poller, link->ready_fd, was, events, link->id) == 0) {
        link->listens = listens;
    }
}

static void disconnect(struct pump *p, struct link *link) {
    look_for(p, link, 0);
    listen_for(p, link, 0);
    link->fd = -1;
    if (link->sender) {
        rip_sender_disconnect(link->sender);
    } else {
        rip_receiver_disconnect(link->receiver);
    }
}

static int is_over(const struct link *link) { return link->says < 0 || link->says == RIP_STEP_END; }

/* others: getters beside us. */
static void step(struct pump *p, struct link *link, uint32_t others) {
    if (link->fd < 0 || is_over(link)) {
        return;
    }
    uint64_t before = link->receiver ? rip_receiver_next(link->receiver) : 0;
    link->says = link->sender ? rip_sender_step(link->sender) : rip_receiver_step(link->receiver);
    /* relaxed: who comes now looks after us, as we have the lock */
    if (link->receiver && rip_receiver_next(link->receiver) != before &&
        atomic_load_explicit(&p->pulling, memory_order_relaxed) > others) {
        rip_kick(p->news);
    }
    if (link->receiver && link->says >= 0 && link->prompt) {
        int rc = rip_receiver_ack(link->receiver, 1);
        link->says = rc < 0 ? rc : link->says;
    }
    uint32_t events = link->says == RIP_STEP_OUT ? RIP_POLL_IN | RIP_POLL_OUT : RIP_POLL_IN;
    look_for(p, link, is_over(link) || link->says == RIP_STEP_ROOM ? 0 : events);
    if (link->ready_fd >= 0 && link->says == RIP_STEP_IDLE) {
        rip_sender_update_fd(link->sender);
    }
    listen_for(p, link, link->says == RIP_STEP_IDLE);
    if (is_over(link)) {
        kick(p);
    }
}

static int may_send(const struct link *link) { return link->sender && link->fd >= 0 && !is_over(link); }

/* Has a sender something to do that nothing will wake us for? */
static int has_more(const struct link *link) {
    return may_send(link) && link->says != RIP_STEP_OUT && rip_sender_has_more(link->sender);
}

static int to_ms(uint64_t ns) { return (int)((ns + 999999) / 1000000); }

/* Are there lanes that one of them could not map yet? Nobody tells us when it can: milliseconds until the next look, or
 * -1. */
static int pause_of(const struct pump *p) {
    uint64_t least = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        uint64_t pause = may_send(&p->links[i]) ? rip_sender_pause(p->links[i].sender) : 0;
        least = pause && (!least || pause < least) ? pause : least;
    }
    return least ? to_ms(least) : -1;
}

static const struct link *find_behind(const struct pump *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        const struct link *link = &p->links[i];
        if (may_send(link) && rip_sender_unsent(link->sender) > AHEAD) {
            return link;
        }
    }
    return NULL;
}

static void note_behind(struct pump *p) {
    /* relaxed: a hint */
    atomic_store_explicit(&p->calls.behind, find_behind(p) != NULL, memory_order_relaxed);
}

/* Sends, and waits, until no connection is behind, or for PACE_NS. The lock is held, and released meanwhile. */
static void pace(struct pump *p) {
    uint64_t now = rip_now(), end = now + PACE_NS, id = 0, first = 0;
    const struct link *behind;
    while ((behind = now >= p->unpaced ? find_behind(p) : NULL) != NULL) {
        uint64_t unsent = rip_sender_unsent(behind->sender);
        first = behind->id == id ? first : unsent;
        if (now >= end) {
            p->unpaced = first - unsent < AHEAD / 2 ? now + UNPACED_NS : 0;
            return;
        }
        id = behind->id;
        struct pollfd fd = {.fd = behind->fd, .events = POLLOUT};
        pthread_mutex_unlock(&p->lock);
        int n = poll(&fd, 1, to_ms(end - now)); /* if it has been closed meanwhile, whatever this says does no harm */
        pthread_mutex_lock(&p->lock);
        struct link *link = find(p, id);
        if (n < 0) { /* a signal, whose handler is to run */
            return;
        }
        if (link) {
            step(p, link, 0);
        }
        now = rip_now();
    }
}

/* ---- for handles ---- */

static void push(struct rip_io_loop *pump) {
    struct pump *p = of(pump);
    /* relaxed, both: hints */
    int behind = (int)atomic_load_explicit(&pump->behind, memory_order_relaxed);
    int streaming = rip_now() - atomic_load_explicit(&p->pushed, memory_order_relaxed) <= STREAMING_NS;
    if ((behind || !streaming) &&
        (pthread_mutex_trylock(&p->lock) == 0 || (behind && pthread_mutex_lock(&p->lock) == 0))) {
        int more = 0;
        for (uint32_t i = 0; i < p->count; i++) {
            if (p->links[i].sender) {
                step(p, &p->links[i], 0);
            }
        }
        pace(p);
        note_behind(p);
        for (uint32_t i = 0; i < p->count; i++) {
            more |= has_more(&p->links[i]);
        }
        more |= p->pause < 0 && pause_of(p) >= 0; /* else the thread looks by itself */
        pthread_mutex_unlock(&p->lock);
        atomic_store_explicit(&p->pushed, rip_now(), memory_order_relaxed);
        if (more) {
            kick(p);
        }
    } else if (atomic_exchange_explicit(&pump->asleep, 0,
                                        memory_order_acq_rel)) { /* pairs with fall_asleep: one of us kicks */
        kick(p);
    }
}

static uint64_t left(uint64_t now, uint64_t deadline, uint64_t slice) {
    return deadline <= now ? 0 : deadline - now < slice ? deadline - now : slice;
}

static int wait_and_step(struct pump *p, int ms) {
    uint64_t ids[RIP_MAX_LINKS];
    int n = rip_poller_wait(&p->poller, ids, RIP_MAX_LINKS, ms);
    for (int i = 0; i < n; i++) {
        if (ids[i] == 0) {
            rip_kick_clear(p->news);
        }
    }
    if (n > 0) {
        pthread_mutex_lock(&p->lock);
        for (int i = 0; i < n; i++) {
            struct link *link = find(p, ids[i]);
            if (link) {
                step(p, link, 1);
            }
        }
        pthread_mutex_unlock(&p->lock);
    }
    return n;
}

/* Reads what there is room for now, and says what has been let go. */
static void catch_up(struct pump *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        struct link *link = &p->links[i];
        if (link->receiver && link->says == RIP_STEP_ROOM) {
            step(p, link, 1);
        } else if (link->receiver && link->fd >= 0 && !is_over(link)) {
            rip_receiver_ack(link->receiver, link->prompt); /* an error comes again with the next step */
        }
    }
}

static int pull(struct rip_io_loop *pump, const struct rip_watch *watch, uint64_t deadline) {
    struct pump *p = of(pump);
    /* seq_cst: pairs with rip_io_loop_run; the thread sees us, or we see that it watches, and send it away */
    atomic_fetch_add_explicit(&p->pulling, 1, memory_order_seq_cst);
    if (deadline && atomic_load_explicit(&p->watching, memory_order_seq_cst)) {
        kick(p);
    }
    pthread_mutex_lock(&p->lock);
    catch_up(p);
    int ready = rip_watch_is_ready(watch); /* what comes from now on comes by us: whoever reads has the lock */
    pthread_mutex_unlock(&p->lock);
    uint64_t now = rip_now(), slice = now + watch->slice;
    int n = ready ? 1 : wait_and_step(p, p->spin ? 0 : to_ms(left(now, deadline, watch->slice)));
    while (n == 0 && p->spin && (now = rip_now()) < deadline && now < slice) {
        rip_pause();
        n = wait_and_step(p, 0);
    }
    now = rip_now();
    if (deadline) { /* who does not wait may not come again soon; relaxed: a hint */
        atomic_store_explicit(&p->pulled, now, memory_order_relaxed);
    }
    /* release: pairs with are_readers; a thread that finds nobody reads what comes from here on */
    atomic_fetch_sub_explicit(&p->pulling, 1, memory_order_release);
    return n > 0 ? 1 : now >= deadline ? -ETIMEDOUT : 0; /* as rip_watch_wait */
}

/* ---- the thread ---- */

/* Steps what is the thread's to step; how long it may sleep then, milliseconds, -1: until it is woken. */
static int round_of(struct pump *p, int readers, int idle) {
    int ms = readers ? TICK_MS : -1;
    for (uint32_t i = 0; i < p->count; i++) {
        struct link *link = &p->links[i];
        if (link->fd < 0 || is_over(link)) {
            continue;
        }
        if (link->sender || !readers || link->says == RIP_STEP_ROOM) {
            step(p, link, 0);
        }
        if (link->receiver && link->fd >= 0 && !is_over(link) && rip_receiver_has_unacked(link->receiver)) {
            if (idle) {
                rip_receiver_ack(link->receiver, 1); /* an error comes again with the next step */
            }
            ms = ms < 0 || ms > TICK_MS ? TICK_MS : ms;
        }
        if (link->says == RIP_STEP_ROOM) {
            ms = ROOM_MS;
        }
    }
    return ms;
}

static int has_ended(struct pump *p, struct rip_end *end) {
    for (uint32_t i = 0; i < p->count; i++) {
        struct link *link = &p->links[i];
        if (is_over(link) && !link->reported) {
            link->reported = 1;
            *end = (struct rip_end){link->id, link->ordinal, link->says};
            disconnect(p, link);
            return 1;
        }
    }
    return 0;
}

/* 0 where a sender has something to do after all. */
static int fall_asleep(struct pump *p) {
    uint32_t senders = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        senders += (uint32_t)may_send(&p->links[i]);
    }
    if (!senders) { /* a putter need not wake us */
        return 1;
    }
    /* relaxed: the fence orders it. Asleep, then is there a message? Pairs with rip_io_loop_needs_push: the message, then is it asleep? */
    atomic_store_explicit(&p->calls.asleep, 1, memory_order_relaxed);
    rip_fence_heavy();
    for (uint32_t i = 0; i < p->count; i++) {
        const struct link *link = &p->links[i];
        if (has_more(link)) {
            atomic_store_explicit(&p->calls.asleep, 0, memory_order_relaxed); /* relaxed: a needless kick at most */
            return 0;
        }
    }
    return 1;
}

static int are_readers(struct pump *p) {
    /* seq_cst: as in pull. relaxed: a hint */
    return atomic_load_explicit(&p->pulling, memory_order_seq_cst) != 0 ||
           rip_now() - atomic_load_explicit(&p->pulled, memory_order_relaxed) < LEFT_ALONE_NS;
}

int rip_io_loop_run(struct rip_io_loop *pump, struct rip_end *end) {
    struct pump *p = of(pump);
    int idle = 0;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        int readers = are_readers(p), ms = round_of(p, readers, idle);
        int over = has_ended(p, end), stop = p->stop;
        int asleep = !over && !stop && fall_asleep(p);
        note_behind(p);
        p->pause = pause_of(p);
        ms = ms < 0 || (p->pause >= 0 && p->pause < ms) ? p->pause : ms;
        pthread_mutex_unlock(&p->lock);
        if (over || stop) {
            return over;
        }
        if (!asleep) {
            continue;
        }
        /* seq_cst: pairs with pull; a getter sees that we watch, or we see the getter */
        atomic_store_explicit(&p->watching, !readers, memory_order_seq_cst);
        readers = readers || atomic_load_explicit(&p->pulling, memory_order_seq_cst) != 0;
        struct pollfd fds[2] = {{.fd = p->kick, .events = POLLIN},
                                {.fd = readers ? -1 : p->poller.fd, .events = POLLIN}};
        ms = ms < 0 && !rip_fence_setup() ? UNFENCED_MS : ms; /* a putter may not see that we sleep */
        idle = poll(fds, 2, readers && (ms < 0 || ms > TICK_MS) ? TICK_MS : ms) == 0;
        /* relaxed, both: a needless kick at most */
        atomic_store_explicit(&p->watching, 0, memory_order_relaxed);
        atomic_store_explicit(&p->calls.asleep, 0, memory_order_relaxed);
        if (fds[1].revents) {
            rip_kick_clear(p->news); /* for a getter that has left since */
        }
        if (fds[0].revents) {
            rip_kick_clear(p->kick);
        }
    }
}

/* ---- connections ---- */

static void close_all(struct pump *p) {
    int fds[] = {p->kick, p->news};
    rip_poller_close(&p->poller);
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

int rip_io_loop_open(int spin, struct rip_io_loop **out) {
    struct pump *p = calloc(1, sizeof *p);
    if (!p) {
        return -ENOMEM;
    }
    p->calls = (struct rip_io_loop){.push = push, .pull = pull};
    p->spin = spin;
    p->pause = -1;
    p->kick = p->news = -1;
    int rc = rip_poller_open(&p->poller, 0);
    if (rc == 0) {
        p->kick = rip_kick_open();
        p->news = p->kick < 0 ? p->kick : rip_kick_open();
        rc = p->news < 0 ? p->news : rip_poller_change(&p->poller, p->news, 0, RIP_POLL_IN, 0);
    }
    if (rc != 0) {
        close_all(p);
        free(p);
        return rc;
    }
    pthread_mutex_init(&p->lock, NULL);
    *out = &p->calls;
    return 0;
}

static int connect_link(struct pump *p, struct link *link, int fd, uint64_t next) {
    disconnect(p, link);
    int rc = link->sender ? rip_sender_connect(link->sender, fd, next) : rip_receiver_connect(link->receiver, fd);
    if (rc == 0) {
        link->fd = fd;
        link->says = link->reported = 0;
        link->ordinal++;
        look_for(p, link, RIP_POLL_IN);
        rc = link->says < 0 ? link->says : (int)link->ordinal;
    }
    return rc;
}

int rip_io_loop_add(struct rip_io_loop *pump, struct rip_sender *sender, struct rip_receiver *receiver, int prompt,
                    uint64_t *id) {
    struct pump *p = of(pump);
    pthread_mutex_lock(&p->lock);
    int rc = p->count == RIP_MAX_LINKS ? -EMLINK : 0;
    if (rc == 0) {
        *id = ++p->ids;
        p->links[p->count++] = (struct link){
            .id = *id, .sender = sender, .receiver = receiver, .fd = -1, .ready_fd = -1, .prompt = prompt};
        if (sender && prompt) {
            rc = p->links[p->count - 1].ready_fd = rip_sender_fd(sender);
            rc = rc < 0 ? rc : 0;
            p->count -= rc < 0;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

int rip_io_loop_connect(struct rip_io_loop *pump, uint64_t id, int fd, uint64_t next) {
    struct pump *p = of(pump);
    pthread_mutex_lock(&p->lock);
    struct link *link = find(p, id);
    int rc = link ? connect_link(p, link, fd, next) : -ENOENT;
    pthread_mutex_unlock(&p->lock);
    kick(p);
    return rc;
}

void rip_io_loop_disconnect(struct rip_io_loop *pump, uint64_t id) {
    struct pump *p = of(pump);
    pthread_mutex_lock(&p->lock);
    struct link *link = find(p, id);
    if (link) {
        disconnect(p, link);
    }
    pthread_mutex_unlock(&p->lock);
}

int rip_io_loop_can(struct rip_io_loop *pump, uint64_t id, uint64_t next) {
    struct pump *p = of(pump);
    pthread_mutex_lock(&p->lock);
    const struct link *link = find(p, id);
    int can = link && (!link->sender || rip_sender_can(link->sender, next));
    pthread_mutex_unlock(&p->lock);
    return can;
}

void rip_io_loop_finish(struct rip_io_loop *pump) {
    struct pump *p = of(pump);
    pthread_mutex_lock(&p->lock);
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->links[i].sender) {
            rip_sender_end(p->links[i].sender);
        }
    }
    pthread_mutex_unlock(&p->lock);
    kick(p);
}

uint64_t rip_io_loop_progress(struct rip_io_loop *pump, uint64_t id) {
    struct pump *p = of(pump);
    pthread_mutex_lock(&p->lock);
    struct link *link = find(p, id);
    uint64_t count = !link ? 0 : link->sender ? rip_sender_released(link->sender) : rip_receiver_next(link->receiver);
    pthread_mutex_unlock(&p->lock);
    return count;
}

/* All senders are members of one channel: where one has waited for its table lock in vain, the next ones only try. */
static void free_link(struct pump *p, const struct link *link) {
    if (link->receiver) {
        rip_receiver_free(link->receiver);
        return;
    }
    /* relaxed, both: a hint */
    uint64_t locked = atomic_load_explicit(&p->locked, memory_order_relaxed);
    if (rip_sender_free(link->sender, locked && rip_now() - locked < TRY_ONLY_NS)) {
        atomic_store_explicit(&p->locked, rip_now(), memory_order_relaxed);
    }
}

void rip_io_loop_remove(struct rip_io_loop *pump, uint64_t id) {
    struct pump *p = of(pump);
    pthread_mutex_lock(&p->lock);
    struct link *link = find(p, id), removed = {.id = 0};
    if (link) {
        look_for(p, link, 0);
        listen_for(p, link, 0);
        removed = *link;
        *link = p->links[--p->count];
    }
    pthread_mutex_unlock(&p->lock);
    if (removed.id) { /* says good-bye where there is a connection, and may wait: the others go on meanwhile */
        free_link(p, &removed);
    }
    kick(p); /* what it gave back may be for another sender */
}

void rip_io_loop_stop(struct rip_io_loop *pump) {
    struct pump *p = of(pump);
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_mutex_unlock(&p->lock);
    kick(p);
}

void rip_io_loop_free(struct rip_io_loop *pump) {
    struct pump *p = of(pump);
    for (uint32_t i = 0; i < p->count; i++) {
        free_link(p, &p->links[i]);
    }
    close_all(p);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
