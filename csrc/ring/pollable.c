/* The pollfds of producers and consumers, and the signals that consumers can request (channel/pollfd.h). */
#include "channel/pollfd.h"
#include "ring/lane_lock.h"
#include "ring/rx_lanes.h"
#include "ring/rx_state.h"
#include "ring/tx_room.h"
#include "ring/watch.h"

#include <signal.h>

int rip_consumer_notify(struct rip_consumer *c, int number, const int32_t *value) {
    int rc = rip_handle_check(&c->ch.handle);
    if (rc != 0 || number < 0 || number > SIGRTMAX) {
        return rc ? rc : -EINVAL;
    }
    struct rip_member *member = &c->ch.control->members[c->ch.handle.member];
    atomic_store_explicit(&member->value, value ? *value : 0, memory_order_relaxed);
    atomic_store_explicit(&c->ch.control->groups[c->group].pollfds, 1, memory_order_relaxed);
    /* release: pairs with the exchange of the process that sends the signal */
    uint32_t wanted = number ? RIP_SIGNAL_IS | (uint32_t)number | (value ? 0 : RIP_VALUE_IS_LANE) : 0;
    atomic_store_explicit(&member->signal, wanted, memory_order_release);
    struct rip_watch watch;
    rip_message_watch(c, NULL, &watch);
    rip_watch_announce(&watch);
    return 0;
}

static int has_no_message(void *handle) { return !rip_rx_pending(handle); }

static int has_no_room(void *handle) {
    struct rip_producer *p = handle;
    if (p->overflow != RIP_BLOCK) {
        return rip_lane_is_awaited(p);
    }
    int was_owner = p->owner != 0, rc = p->shared && !was_owner ? rip_lane_enter_or_announce(p) : 0;
    rc = rc ? rc : rip_make_room(p, p->wanted);
    if (!was_owner) {
        rip_tx_leave(p);
    }
    return rc == -EAGAIN || rc == -ENOLCK || rc == -EINPROGRESS;
}

/* For what else the pollfd of a consumer is armed. If too few producers have come, the stream does not end before
 * another one has come; if that one puts nothing, its end is found later. */
static uint32_t also(const struct rip_consumer *c) {
    return (c->expects != RIP_NO_END && c->came >= c->expects ? RIP_POLLFD_ENDS : 0) |
           (c->skips_deaths ? 0 : RIP_POLLFD_DEATHS);
}

int rip_consumer_fd(struct rip_consumer *c) {
    int fd = rip_pollfd_open(&c->ch, c->ch.control ? &c->ch.control->groups[c->group].pollfds : NULL, 1);
    if (fd >= 0) {
        rip_consumer_update_fd(c);
    }
    return fd;
}

void rip_consumer_update_fd(struct rip_consumer *c) {
    if (c->ch.pollfd && c->ch.handle.state == RIP_OPEN) {
        struct rip_watch watch;
        rip_message_watch(c, NULL, &watch);
        rip_pollfd_update(&c->ch, has_no_message, c, &watch, also(c));
    }
}

int rip_consumer_rearm_fd(struct rip_consumer *c) {
    if (!c->ch.pollfd || c->ch.handle.state != RIP_OPEN) {
        return 0;
    }
    struct rip_watch watch;
    rip_message_watch(c, NULL, &watch);
    return rip_pollfd_rearm(&c->ch, &watch, also(c));
}

int rip_producer_fd(struct rip_producer *p) {
    int fd = rip_pollfd_open(&p->ch, p->entry ? &p->entry->pollfd_member : NULL,
                             p->shared ? RIP_ANY_MEMBER : p->ch.handle.member + 1);
    if (fd >= 0) {
        rip_producer_update_fd(p);
    }
    return fd;
}

void rip_producer_update_fd(struct rip_producer *p) {
    if (p->ch.pollfd && p->ch.handle.state == RIP_OPEN) {
        struct rip_watch watch;
        rip_room_watch(p, &watch);
        rip_pollfd_update(&p->ch, has_no_room, p, &watch, 0);
    }
}
