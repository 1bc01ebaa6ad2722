#include "ring/rx_next.h"
#include "ring/rx_lanes.h"
#include "ring/rx_order.h"
#include "ring/rx_state.h"

#define BURST 16u /* messages read from one lane before the next lane is checked */

/* Reads the next message of a lane, the first of a burst. A burst has a few messages, or one if it is large, and at
 * most as many as the lane holds: a producer may fill its lane again meanwhile. */
static int read_burst(struct rip_rx *rx, struct rip_message *message) {
    int rc = rip_rx_read(rx, rx->next, message);
    uint64_t most = rx->slots < BURST ? rx->slots : BURST;
    rx->stop = rx->next + (rc == 1 && message->length >= RIP_LARGE ? 1 : most);
    return rc;
}

__attribute__((noinline)) int rip_advance(struct rip_consumer *c, struct rip_message *message) {
    if (c->by_time) {
        return rip_order_next(c, message);
    }
    int rc = rip_update_lanes_or_fail(c);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        c->scan = c->scan + 1 < c->count ? c->scan + 1 : 0;
        struct rip_rx *rx = c->lanes[c->scan];
        c->current = rx->claims ? NULL : rx;
        c->claimed = rx->claims ? rx : NULL;
        rc = rx->claims ? rip_rx_claim(c, rx, message) : rip_rx_refresh(rx);
        if (rc != 0) {
            return rc == 1 && !rx->claims ? read_burst(rx, message) : rc;
        }
        rc = rip_report_death(c, rx);
        if (rc != 0) {
            return rc;
        }
    }
    return rip_at_end(c);
}

/* take_newest in a lane with claims: takes each message that no other member has, and releases all but the last. */
static int claim_newest(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    struct rip_message next;
    int rc, found = 0;
    while ((rc = rip_rx_claim(c, rx, &next)) == 1) {
        if (found) {
            rip_rx_release(rx, message->seq);
            next.missed += message->missed;
        }
        *message = next;
        found = 1;
    }
    return found ? 1 : rc;
}

/* Takes the newest message of a lane and releases the older ones that can be read. Does not count it as taken. Returns
 * 1, or 0 if there is none. */
static int take_newest(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    if (rx->claims) {
        return claim_newest(c, rx, message);
    }
    int rc = rip_rx_refresh_all(rx);
    if (rc != 1) {
        return rc;
    }
    uint64_t mask = rx->slots - 1, newest = rx->tail - 1, missed = 0;
    /* ends above next: rip_rx_refresh_all has advanced next over taken messages */
    while (rx->marks[newest & mask] & RIP_MARK_TAKEN) {
        newest--;
    }
    for (; rx->next != newest; rx->next++) {
        uint8_t *mark = &rx->marks[rx->next & mask];
        if (*mark & RIP_MARK_TAKEN) {
            *mark &= (uint8_t)~RIP_MARK_TAKEN;
            rx->ahead--;
        } else {
            *mark |= RIP_MARK_RELEASED;
            missed += rip_desc_lost(&rx->desc[rx->next & mask]);
        }
    }
    rip_rx_release_marked(rx);
    rip_rx_keep(rx);
    rip_rx_publish_cursor(rx);
    rc = rip_rx_read(rx, newest, message);
    if (rc == 1) {
        message->missed += missed;
        rx->next = newest + 1;
    }
    return rc;
}

/* Was message put after the other one, or at the same time? Ticks are comparable if both lanes have the same clock; a
 * lane that is filled over a link has another one. */
static int is_newer(const struct rip_message *message, const struct rip_message *other) {
    if (message->lane->clock == other->lane->clock) {
        return message->ticks >= other->ticks;
    }
    return rip_rx_time(message->lane, message->ticks) >= rip_rx_time(other->lane, other->ticks);
}

int rip_rx_latest(struct rip_consumer *c, struct rip_message *message) {
    if (c->by_time) {
        return rip_order_newest(c, message);
    }
    int rc = rip_update_lanes_or_fail(c);   /* the newest message may be in a new lane */
    rc = rc ? rc : rip_rx_peek(c, message); /* also detects the end */
    if (rc != 1) {
        return rc;
    }
    if (!c->claimed) { /* in a lane with claims the message is taken already */
        message->lane = NULL;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_message other = {.lane = NULL};
        rc = take_newest(c, c->lanes[i], &other);
        if (rc < 0) {
            if (message->lane) {
                rip_rx_release(message->lane, message->seq);
            }
            return rc;
        }
        if (!other.lane) {
            continue;
        }
        if (message->lane) { /* of several lanes, the message that was put last */
            int newer = other.lane == message->lane || is_newer(&other, message);
            struct rip_message *older = newer ? message : &other;
            other.missed += other.lane == message->lane ? message->missed : 0;
            rip_rx_release(older->lane, older->seq);
            *message = newer ? other : *message;
        } else {
            *message = other;
        }
    }
    if (!message->lane) { /* the message that was found is gone: a tail went backwards */
        return -EBADMSG;
    }
    rip_rx_take(c, message);
    return 1;
}
