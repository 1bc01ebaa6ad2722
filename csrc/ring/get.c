/* The get calls and their waits. */
#include "ring/get.h"
#include "base/wait.h"
#include "base/wait_hook.h"
#include "ring/rx_lanes.h"
#include "ring/rx_next.h"
#include "ring/rx_state.h"
#include "ring/select.h"
#include "ring/watch.h"
#include "store/table_lock.h"

/* 0, or why this handle cannot get messages. */
static int check(const struct rip_consumer *c) { return c->leaving ? -ESHUTDOWN : rip_handle_check(&c->ch.handle); }

/* A member that was woken for a message and leaves without checking wakes another one. (Closing a consumer wakes
 * all.) */
static void pass_wakeup(struct rip_consumer *c) {
    if (c->shared && rip_handle_check(&c->ch.handle) == 0) {
        rip_wake_groups(&c->ch, 1);
    }
}

/* Sleeps because another member holds the table lock. */
static int sleep_for(uint64_t ns) {
    struct rip_waiting waiting = {.since = rip_now(), .control = -1};
    rip_wait_begin(&waiting);
    rip_sleep_for(ns);
    return rip_wait_end(&waiting, 0);
}

/* One slice of a wait; returns as rip_watch_wait. */
static int wait_once(struct rip_consumer *c, const struct rip_filter *filter, uint64_t deadline) {
    struct rip_watch watch;
    int rc;
    if (rip_rx_awaits_lock(c)) { /* there may be messages, but none that it may take */
        uint64_t now = rip_now(), slice = rip_rx_slice(c);
        return now < deadline ? sleep_for(deadline - now < slice ? deadline - now : slice) : -ETIMEDOUT;
    }
    rip_message_watch(c, filter, &watch);
    c->watches++;
    if (c->pull) {
        struct rip_waiting waiting = {.since = rip_now(), .control = -1};
        rip_wait_begin(&waiting);
        rc = rip_wait_end(&waiting, c->pull(c->io_loop, &watch, deadline));
    } else {
        rc = rip_watch_wait(&watch, deadline);
    }
    c->watches--;
    if (rc >= 0 || rc == -ETIMEDOUT) {
        rip_reap_if_due(&c->ch.handle);
    }
    return rc;
}

int rip_rx_wait(struct rip_consumer *c, rip_rx_getter *getter, struct rip_filter *filter, struct rip_message *message,
                uint64_t deadline) {
    uint64_t start = 0;
    int rc, waited = 0;
    for (;;) {
        rc = check(c);
        rc = rc ? rc : getter(c, filter, message);
        if (rc != 0 || waited < 0) {
            break;
        }
        if (!deadline && rip_may_sleep_briefly(c)) {
            rc = sleep_for(RIP_BRIEF_NS); /* the lock is likely free again in a moment */
            if (rc < 0) {
                break;
            }
            continue;
        }
        if (deadline && !start) {
            if (rip_rx_spin(c)) {
                rc = getter(c, filter, message);
                if (rc != 0) {
                    break;
                }
            }
            start = rip_now();
            c->waits++;
        }
        if (!deadline && !c->pull) {
            if (!rip_reap_if_due(&c->ch.handle) && !rip_rx_is_stale(c)) {
                break;
            }
            waited = -ETIMEDOUT; /* one more attempt: it may find what the dead have left, a new lane, or the end */
            continue;
        }
        waited = wait_once(c, filter, deadline);
        if (waited < 0 && waited != -ETIMEDOUT) {
            rc = waited;
            break;
        }
    }
    if (start) {
        c->waited += rip_now() - start;
        if (rc < 0) { /* this member may have been woken for a message that it does not take */
            pass_wakeup(c);
        }
    }
    return rc == 0 ? -ETIMEDOUT : rc;
}

int rip_wait_message(struct rip_consumer *c, uint64_t deadline) {
    int rc = check(c), waited = 0;
    while (rc >= 0 && !rip_rx_pending(c)) {
        rc = wait_once(c, NULL, deadline);
        rc = rc < 0 ? rc : check(c);
        waited = 1;
    }
    rc = rc == -ETIMEDOUT && rip_rx_pending(c) ? 0 : rc; /* the last wait may have brought something */
    if (rc < 0 && waited) {                              /* as in rip_rx_wait */
        pass_wakeup(c);
    }
    return rc < 0 ? rc : 0;
}

/* ---- the attempts of a wait ---- */

int rip_rx_next(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    return rip_rx_peek(c, message);
}

int rip_rx_newest(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    return rip_rx_latest(c, message);
}

static int take_next(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    int rc = rip_rx_next(c, filter, message);
    if (rc == 1) {
        rip_rx_take(c, message);
    }
    return rc;
}

static int try_once(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message,
                    rip_rx_getter *getter) {
    int rc = check(c);
    if (rc != 0) {
        return rc;
    }
    while ((rc = getter(c, filter, message)) == 0 && rip_may_sleep_briefly(c)) {
        rip_sleep_for(RIP_BRIEF_NS);
    }
    return rc == 0 ? -EAGAIN : rc;
}

/* ---- the calls ---- */

int rip_peek(struct rip_consumer *c, struct rip_message *message) { return try_once(c, NULL, message, rip_rx_next); }

int rip_select(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    return try_once(c, filter, message, rip_rx_select);
}

void rip_take(struct rip_consumer *c, const struct rip_message *message) { rip_rx_take(c, message); }

void rip_acknowledge(struct rip_consumer *c, const struct rip_message *message) {
    if (c->ch.handle.state == RIP_OPEN) {
        rip_rx_ack(message->lane, message->seq);
    }
}

void rip_release(struct rip_consumer *c, const struct rip_message *message) {
    if (c->ch.handle.state == RIP_OPEN) {
        rip_rx_release_acked(message->lane, message->seq);
    }
}

int rip_get(struct rip_consumer *c, struct rip_message *message, uint64_t deadline) {
    return rip_rx_wait(c, take_next, NULL, message, deadline);
}

int rip_get_latest(struct rip_consumer *c, struct rip_message *message, uint64_t deadline) {
    return rip_rx_wait(c, rip_rx_newest, NULL, message, deadline);
}

int rip_get_selected(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message,
                     uint64_t deadline) {
    rip_select_begin(c, filter);
    return rip_rx_wait(c, rip_rx_select, filter, message, deadline);
}
