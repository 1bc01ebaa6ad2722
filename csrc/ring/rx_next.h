/* Which message comes next: lanes take turns. */
#ifndef RIP_RX_NEXT_H
#define RIP_RX_NEXT_H

#include "base/clock.h"
#include "ring/rx.h"

/* The next message of the next lane that has one: 1, else 0, -ENODATA, -EOWNERDEAD, -EBADMSG. Where members compete it is ours. */
int rip_advance(struct rip_consumer *c, struct rip_message *message);
/* Takes the newest message of all lanes and lets the older go: 1, else as rip_advance. */
int rip_rx_latest(struct rip_consumer *c, struct rip_message *message);

/* Is c->current the only lane? Then it need not wait for its turn. */
static inline int rip_rx_only(const struct rip_consumer *c) {
    /* relaxed: another count than ours only sends us the long way, which acquires */
    return c->current && c->count == 1 &&
           atomic_load_explicit(&c->ch.control->lanes_changed, memory_order_relaxed) == c->lanes_changed;
}

/* Looks for something to read up to tries times, as fast as can be; 1 if it is worth a rip_rx_peek. */
static inline int rip_rx_spin(const struct rip_consumer *c, unsigned tries) {
    if (!rip_rx_only(c)) {
        return 0;
    }
    const struct rip_rx *rx = c->current;
    for (unsigned i = 0; i < tries; i++) {
        /* relaxed: rip_rx_refresh loads it again */
        if (atomic_load_explicit(&rx->lane->tail, memory_order_relaxed) != rx->next) {
            return 1;
        }
        rip_pause();
    }
    return 0;
}

/* 1 and the next message, else as rip_advance. */
static inline int rip_rx_peek(struct rip_consumer *c, struct rip_message *message) {
    struct rip_rx *rx = c->current;
    if (RIP_UNLIKELY(!rx || rx->next == rx->tail || rx->ahead)) {
        if (!rip_rx_only(c) || rip_rx_refresh(rx) != 1) {
            return rip_advance(c, message);
        }
    }
    return rip_rx_read(rx, rx->next, message);
}

/* The same for one that follows: 1 and the next message of the lane that the last one came from, or 0; it has no end to tell. */
static inline int rip_rx_ready(struct rip_consumer *c, struct rip_message *message) {
    struct rip_rx *rx = c->current;
    if (!rx) {
        return c->claimed ? rip_rx_claim(c, c->claimed, message) == 1 : 0;
    }
    if ((rx->next == rx->tail || rx->ahead) && rip_rx_refresh(rx) != 1) {
        return 0;
    }
    return rip_rx_read(rx, rx->next, message) == 1;
}

#endif
