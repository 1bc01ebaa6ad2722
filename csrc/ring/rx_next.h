/* Which message comes next: round robin over the lanes, or in the order of time (rx_order.h). */
#ifndef RIP_RX_NEXT_H
#define RIP_RX_NEXT_H

#include "base/clock.h"
#include "ring/rx_order.h"

/* Finds the next message, of the next lane that has one or of the lane with the oldest: 1, else 0, -ENODATA,
 * -EOWNERDEAD, -ECONNABORTED, -EBADMSG. In a lane with claims, the message is taken. */
int rip_advance(struct rip_consumer *c, struct rip_message *message);
/* Takes the newest message of all lanes and releases the older ones: 1, else as rip_advance. */
int rip_rx_latest(struct rip_consumer *c, struct rip_message *message);

/* Is there only one lane? Then there is no other lane to check. */
static inline int rip_rx_only(const struct rip_consumer *c) {
    /* relaxed: a difference only leads to the slow path, which loads with acquire */
    return c->count == 1 &&
           atomic_load_explicit(&c->ch.control->lanes_changed, memory_order_relaxed) == c->lanes_changed;
}

/* May the next message be taken from c->current without a check of the other lanes? A consumer that reads by time has
 * no current lane. */
static inline int rip_rx_stays(const struct rip_consumer *c) {
    return c->current && (c->current->next < c->current->stop || rip_rx_only(c));
}

#define RIP_TRIES 50u /* polls before a wait, one or two microseconds: a prompt peer answers within them */

/* Polls the next slot of the only lane, unless the consumer is to sleep at once: 1 if rip_rx_peek is worth a call. In a
 * lane that drops, slots do not tell. */
static inline int rip_rx_spin(const struct rip_consumer *c) {
    const struct rip_rx *rx = c->lanes[0];
    if (!rip_rx_only(c) || rx->drops || c->pull || c->ch.spin.mode == RIP_WAIT_BLOCK) {
        return 0;
    }
    for (unsigned i = 0; i < RIP_TRIES; i++) {
        if (rip_desc_is_of(rip_rx_desc(rx, rx->next), rx->next)) {
            return 1;
        }
        rip_pause();
    }
    return 0;
}

/* 1 and the next message, if it is in the lane that the last one came from, and in memory known to be allocated; else
 * 0, and rip_rx_peek finds out. It passes the message to no call, so the compiler can keep it in registers. */
static inline int rip_rx_peek_near(struct rip_consumer *c, struct rip_message *message) {
    struct rip_rx *rx = c->current;
    if (RIP_UNLIKELY(!rip_rx_stays(c) || rx->ahead || rip_rx_refresh(rx) != 1)) {
        return 0;
    }
    return rip_rx_read_near(rx, rx->next, message);
}

/* Takes the message that rip_rx_peek_near has found, and releases it: as rip_rx_take and rip_rx_release, in a lane
 * without claims in which no message was taken out of order. */
static inline void rip_rx_take_near(struct rip_consumer *c, const struct rip_message *message) {
    struct rip_rx *rx = message->lane;
    rx->next = message->seq + 1;
    c->taken++;
    c->bytes += message->length;
    if (RIP_UNLIKELY(rx->released != message->seq)) { /* an older message is still in use */
        rip_rx_release(rx, message->seq);
        return;
    }
    rx->released = message->seq + 1;
    /* release: pairs with the acquire in rip_reclaim, as in rip_rx_publish_cursor */
    atomic_store_explicit(&rx->cursor->released, rx->released, memory_order_release);
    rip_rx_wake_producer(rx);
}

/* 1 and the next message, else as rip_advance. */
static inline int rip_rx_peek(struct rip_consumer *c, struct rip_message *message) {
    struct rip_rx *rx = c->current;
    if (RIP_UNLIKELY(!rip_rx_stays(c) || rip_rx_refresh(rx) != 1)) {
        return rip_advance(c, message);
    }
    return rip_rx_read(rx, rx->next, message);
}

/* For the messages after the first of a batch: 1 and the next message of the lane that the last one came from, or by
 * time; or 0. Reports no end and no death. */
static inline int rip_rx_ready(struct rip_consumer *c, struct rip_message *message) {
    struct rip_rx *rx = c->current;
    if (!rx) {
        return (c->claimed ? rip_rx_claim(c, c->claimed, message) : rip_order_ready(c, message)) == 1;
    }
    return rip_rx_refresh(rx) == 1 && rip_rx_read(rx, rx->next, message) == 1;
}

#endif
