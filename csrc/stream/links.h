/* The links of a handle, and what the threads share that move their messages: the I/O loop's own (io_loop.c), and those
 * that put and get (push_pull.c). */
#ifndef RIP_LINKS_H
#define RIP_LINKS_H

#include "base/poller.h"
#include "stream/io_calls.h"
#include "stream/pacing.h"
#include "stream/receiver.h"
#include "stream/sender.h"

#include <pthread.h>

#define RIP_MAX_LINKS 64

struct rip_link {
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

struct rip_links {
    struct rip_io_loop calls; /* first: see rip_links_of */
    pthread_mutex_t lock;     /* protects everything except the atomics */
    struct rip_poller poller; /* of the links' file descriptors */
    int kick;                 /* wakes the thread */
    int getters_kick;         /* wakes threads that get, when another thread has read messages */
    int spin;
    int stop;
    int pause; /* the result of rip_links_pause when the thread checked last */
    uint64_t ids;
    uint32_t count;
    struct rip_link links[RIP_MAX_LINKS];
    _Atomic uint32_t polling; /* the thread itself polls the links */
    _Atomic uint64_t pulled;  /* time of the last pull, nanoseconds */
    _Atomic uint32_t pulling; /* threads that are in pull */
    _Atomic uint64_t pushed;  /* time of the last push, nanoseconds */
    _Atomic uint64_t locked;  /* time at which a sender last could not leave because of the table lock */
};

static inline struct rip_links *rip_links_of(struct rip_io_loop *loop) { return (struct rip_links *)(void *)loop; }

static inline void rip_links_kick(struct rip_links *io) { rip_kick(io->kick); }

static inline int rip_link_is_finished(const struct rip_link *link) {
    return link->result < 0 || link->result == RIP_STEP_END;
}

static inline int rip_link_may_send(const struct rip_link *link) {
    return link->sender && link->fd >= 0 && !rip_link_is_finished(link);
}

/* May a sender write now? If not, the poller wakes the thread when it may. */
static inline int rip_link_is_writable(const struct rip_link *link) {
    return rip_link_may_send(link) && link->result != RIP_STEP_OUT;
}

/* Has a sender messages to send without an event that would wake the thread? */
static inline int rip_link_has_more(const struct rip_link *link) {
    return rip_link_is_writable(link) && rip_sender_has_more(link->sender);
}

static inline int rip_to_ms(uint64_t ns) { return (int)((ns + 999999) / 1000000); }

static inline int rip_link_lags(const struct rip_link *link, uint64_t now) {
    return rip_link_may_send(link) && rip_pacing_lags(&link->pacing, link->sender, now);
}

/* The link of this id, or NULL. The lock must be held, here and below. */
struct rip_link *rip_link_find(struct rip_links *io, uint64_t id);
/* Polls the file descriptor of a connected link for these events, enum rip_poll. */
void rip_link_poll(struct rip_links *io, struct rip_link *link, uint32_t events);
/* Starts or stops polling the pollfd of a sender. While its messages cannot be sent, the pollfd is not polled. */
void rip_link_poll_ready_fd(struct rip_links *io, struct rip_link *link, int polls_ready);
void rip_link_disconnect(struct rip_links *io, struct rip_link *link);
/* Sends or receives what it can without waiting. in_pull: 1 if the caller is in pull, else 0. */
void rip_link_step(struct rip_links *io, struct rip_link *link, uint32_t in_pull);
/* Milliseconds until a sender should try again to map a lane that it could not map; -1 if there is no such lane.
 * Nothing wakes the thread when mapping becomes possible. */
int rip_links_pause(const struct rip_links *io);
/* Stores whether a link lags, for rip_io_loop_needs_push. */
void rip_links_note_lagging(struct rip_links *io);

/* What threads that put and get call (push and pull of struct rip_io_loop). */
void rip_links_push(struct rip_io_loop *loop);
int rip_links_pull(struct rip_io_loop *loop, const struct rip_watch *watch, uint64_t deadline);

#endif
