#include "ring/consumer.h"
#include "base/names.h"
#include "channel/enter.h"
#include "channel/groups.h"
#include "ring/join.h"
#include "ring/reap.h"
#include "ring/rx_lanes.h"
#include "ring/rx_next.h"
#include "ring/rx_state.h"
#include "ring/select.h"
#include "ring/watch.h"
#include "store/control_file.h"
#include "store/table_lock.h"

#include <stdlib.h>
#include <string.h>

void rip_rx_pass_wakeup(struct rip_consumer *c) {
    if (c->shared && rip_handle_check(&c->ch.handle) == 0) { /* who closes it wakes all */
        rip_wake_groups(&c->ch, 1);
    }
}

int rip_consumer_open(const char *channel, const char *group, uint32_t how, enum rip_wait wait, uint64_t deadline,
                      struct rip_consumer **out, int32_t *holder) {
    *holder = 0;
    if (!rip_is_group_name(group)) {
        return -EINVAL;
    }
    struct rip_consumer *c = NULL;
    if (posix_memalign((void **)&c, 128, sizeof *c) != 0) {
        return -ENOMEM;
    }
    memset(c, 0, sizeof *c);
    rip_spin_init(&c->ch.spin, wait);
    c->shared = (how & RIP_SHARED) != 0;
    c->ch.claims_of = rip_rx_claims_of;
    c->ch.handle.reap = rip_channel_reap;
    c->ch.handle.give_up = deadline > RIP_TRY_ONLY ? deadline : RIP_TRY_ONLY;
    int rc = rip_channel_open(&c->ch, channel, 0, rip_private);
    if (rc != 0) {
        free(c);
        return rc;
    }
    rc = rip_group_join(c, group, how, holder);
    if (rc != 0 && !c->ch.handle.locked) {
        rip_channel_abandon(&c->ch); /* the tables are not ours to edit: the next member to look reaps us */
    } else if (rc != 0) {
        if (c->ch.handle.member != RIP_NO_MEMBER) {
            rip_member_leave(&c->ch, c->ch.handle.member);
        }
        rip_channel_close(&c->ch);
    }
    if (rc != 0) {
        rip_consumer_free(c);
        return rc;
    }
    rip_unlock(&c->ch.handle);
    c->ch.handle.give_up = 0;
    c->joined = 1;
    *out = c;
    return 0;
}

int rip_consumer_close(struct rip_consumer *c) {
    if (c->ch.handle.state == RIP_CLOSED) {
        return 0;
    }
    int rc = rip_handle_begin_close(&c->ch.handle);
    rc = rc ? rc : rip_lock(&c->ch.handle);
    if (rc == -ECHILD || rip_is_locked_out(rc)) {
        return rc;
    }
    c->ch.handle.state = RIP_CLOSED;
    if (rc != 0) { /* as in rip_producer_close */
        rip_channel_abandon(&c->ch);
        return rc;
    }
    if (rip_member_leave(&c->ch, c->ch.handle.member) != 0) {
        rip_channel_abandon(&c->ch); /* others find us dead, and what we hold */
        return 0;
    }
    rip_channel_close(&c->ch);
    return 0;
}

void rip_consumer_abandon(struct rip_consumer *c) {
    c->ch.handle.state = RIP_CLOSED;
    rip_channel_abandon(&c->ch);
}

void rip_consumer_free(struct rip_consumer *c) {
    for (uint32_t i = 0; i < c->count; i++) {
        rip_rx_unmap(c->lanes[i]);
    }
    rip_channel_unmap(&c->ch);
    free(c);
}

int32_t rip_message_pid(const struct rip_message *message) { return message->lane->pid; }

uint64_t rip_message_time(const struct rip_rx *lane, uint64_t ticks) {
    return rip_rx_time(lane, ticks) + lane->ch->time_offset;
}

/* ---- the same for C programs, where a wait may keep the handle to itself ---- */

typedef int look(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);

/* A look of one who does not wait. */
static int look_once(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message, look *look) {
    int rc = rip_handle_check(&c->ch.handle);
    if (rc != 0) {
        return rc;
    }
    while ((rc = look(c, filter, message)) == 0 && rip_may_sleep_briefly(c)) {
        rip_brief_sleep();
    }
    return rc == 0 ? -EAGAIN : rc;
}

static int peek(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    return rip_rx_peek(c, message);
}

int rip_peek(struct rip_consumer *c, struct rip_message *message) { return look_once(c, NULL, message, peek); }

int rip_select(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    return look_once(c, filter, message, rip_rx_select);
}

void rip_take(struct rip_consumer *c, const struct rip_message *message) { rip_rx_take(c, message); }

void rip_acknowledge(struct rip_consumer *c, const struct rip_message *message) {
    if (c->ch.handle.state == RIP_OPEN) {
        rip_rx_ack(message->lane, message->seq);
    }
}

void rip_release(struct rip_consumer *c, const struct rip_message *message) {
    if (c->ch.handle.state == RIP_OPEN) {
        rip_rx_release(message->lane, message->seq);
    }
}

/* A piece of a wait: as rip_watch_wait. */
static int wait_once(struct rip_consumer *c, const struct rip_filter *filter, uint64_t deadline) {
    struct rip_watch watch;
    rip_message_watch(c, filter, &watch);
    int rc = rip_watch_wait(&watch, deadline);
    rip_reap_if_due(&c->ch.handle);
    return rc;
}

int rip_wait_message(struct rip_consumer *c, uint64_t deadline) {
    int rc = rip_handle_check(&c->ch.handle);
    while (rc >= 0 && !rip_rx_pending(c)) {
        rc = wait_once(c, NULL, deadline);
    }
    return rc < 0 ? rc : 0;
}

static int get(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message, uint64_t deadline,
               look *look) {
    int rc, waited = 0, waits = 0;
    while ((rc = look_once(c, filter, message, look)) == -EAGAIN && waited >= 0) {
        waited = wait_once(c, filter, deadline);
        waits = 1;
    }
    if (rc == -EAGAIN) {
        return waited;
    }
    if (waits && rc < 0) { /* it may have been woken for a message, and leaves with something else */
        rip_rx_pass_wakeup(c);
    }
    return rc;
}

static int take_next(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    int rc = rip_rx_peek(c, message);
    if (rc == 1) {
        rip_rx_take(c, message);
    }
    return rc;
}

static int take_latest(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    return rip_rx_latest(c, message);
}

int rip_get(struct rip_consumer *c, struct rip_message *message, uint64_t deadline) {
    return get(c, NULL, message, deadline, take_next);
}

int rip_get_latest(struct rip_consumer *c, struct rip_message *message, uint64_t deadline) {
    return get(c, NULL, message, deadline, take_latest);
}

int rip_get_selected(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message,
                     uint64_t deadline) {
    rip_select_begin(c, filter);
    return get(c, filter, message, deadline, rip_rx_select);
}
