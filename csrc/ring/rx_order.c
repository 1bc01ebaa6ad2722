#include "ring/rx_order.h"
#include "ring/rx_lanes.h"
#include "ring/rx_state.h"

#define SCAN_EVERY 16u /* messages taken until the lanes are scanned again, for each lane one if there are more */

/* in rip_rx.timed, beside the number of a message */
#define NOTHING UINT64_MAX
#define DEATH (UINT64_MAX - 1)

/* ---- times ---- */

/* The unit of all times: ticks of the counter, if any lane has these; else nanoseconds. A conversion is exact to some
 * hundred nanoseconds only, so what most lanes have is not converted. */
static uint64_t time_of(const struct rip_consumer *c, const struct rip_rx *rx, uint64_t ticks) {
    return c->clocks >> RIP_CLOCK_COUNTER & 1 ? rip_rx_ticks_at(rx, c->moment, ticks) : ticks;
}

static uint64_t time_now(const struct rip_consumer *c) {
    return c->clocks >> RIP_CLOCK_COUNTER & 1 ? rip_counter() : rip_now() - c->ch.time_offset;
}

static void set_clocks(struct rip_consumer *c) {
    uint32_t clocks = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        clocks |= 1u << c->lanes[i]->clock;
    }
    if (clocks == (1u << RIP_CLOCK_COUNTER | 1u << RIP_CLOCK_NS)) {
        c->moment = rip_moment_now(c->ch.time_offset);
    }
    if (clocks != c->clocks) { /* there may be another unit now */
        for (uint32_t i = 0; i < c->count; i++) {
            c->lanes[i]->timed = NOTHING;
            c->lanes[i]->died = 0;
        }
        c->clocks = clocks;
    }
}

/* ---- the first message of a lane ---- */

int rip_order_time(const struct rip_consumer *c, const struct rip_rx *rx, uint64_t seq, uint64_t *time) {
    const volatile struct rip_desc *desc = rip_rx_desc(rx, seq); /* volatile: read once */
    *time = time_of(c, rx, desc->ticks);
    /* The word is loaded after the ticks: if no member has the message then, nobody has overwritten its slot. */
    atomic_thread_fence(memory_order_acquire);
    return !rx->claims || rip_claim_is_free(rx->claims, rx->slots, seq);
}

/* Finds the first message of a lane, as far as the last scan knows, or a death before it: 1 and rx->timed, or 0. If
 * another member takes it meanwhile, its time is earlier than that of the next one: the lane's turn comes early. */
static int find_first(const struct rip_consumer *c, struct rip_rx *rx) {
    if (!rx->claims) {
        rip_rx_skip(rx);
    }
    while (rx->next != rx->tail && rx->timed != rx->next && !rip_order_time(c, rx, rx->next, &rx->time)) {
        rx->next++;
    }
    if (rx->next != rx->tail && !(rx->died && rx->died < rx->time)) {
        rx->timed = rx->next;
        return 1;
    }
    rx->timed = rx->died ? DEATH : NOTHING;
    rx->time = rx->died;
    return rx->died != 0;
}

static int is_settled(const struct rip_rx *rx) {
    return rx->timed == DEATH ? (int)rx->death_settled : rx->timed < rx->settled;
}

int rip_order_report_death(struct rip_consumer *c, struct rip_rx *rx) {
    rx->died = 0;
    return rip_report_death(c, rx);
}

/* ---- the heap: c->lanes[0 .. queued), the lane with the oldest message first ---- */

/* Messages of the same time (a slow clock) come in the order in which their producers came, for all members. */
static int is_older(const struct rip_rx *rx, const struct rip_rx *other) {
    return rx->time != other->time ? rx->time < other->time : rx->id < other->id;
}

static void swap(struct rip_consumer *c, uint32_t i, uint32_t k) {
    struct rip_rx *rx = c->lanes[i];
    c->lanes[i] = c->lanes[k];
    c->lanes[k] = rx;
}

/* Moves the lane at position i down to its place. */
static void sink(struct rip_consumer *c, uint32_t i) {
    for (;;) {
        uint32_t oldest = i, child = 2 * i + 1;
        for (uint32_t k = child; k < child + 2 && k < c->queued; k++) {
            oldest = is_older(c->lanes[k], c->lanes[oldest]) ? k : oldest;
        }
        if (oldest == i) {
            return;
        }
        swap(c, i, oldest);
        i = oldest;
    }
}

static void drop_first(struct rip_consumer *c) {
    swap(c, 0, --c->queued);
    sink(c, 0);
}

/* ---- scanning the lanes ---- */

/* Notes what the scan settles: all that is known now. Returns how many lanes have messages, plus how many have a
 * death. */
static uint32_t begin_scan(struct rip_consumer *c) {
    uint32_t settles = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        rx->settled = rx->tail;
        rx->death_settled = rx->died != 0;
        settles += (rx->next != rx->tail) + rx->death_settled;
    }
    c->scanned = c->taken;
    return settles;
}

/* Looks for messages in a lane. to_end: finds all that are published. Else only slots are read of a lane that is read
 * in order, unless two messages wait: the producer's next publish then need not wait for the cache line of its tail. */
static int poll(struct rip_rx *rx, int to_end) {
    if (to_end || rx->claims) {
        return rip_rx_poll(rx);
    }
    int rc = rip_rx_refresh(rx);
    int has_more = rc == 1 && rx->tail == rx->next + 1 && rip_desc_is_of(rip_rx_desc(rx, rx->tail), rx->tail);
    return has_more ? rip_rx_refresh_all(rx) : rc;
}

int rip_order_scan(struct rip_consumer *c, int all) {
    int rc = rip_update_lanes_or_fail(c);
    if (rc != 0 || rip_rx_awaits_lock(c)) {
        return rc;
    }
    set_clocks(c);
    uint32_t settles = begin_scan(c);
    c->queued = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        /* Does the scan settle anything else than messages of this lane? Then nothing in it may be overlooked. */
        int found = poll(rx, all || settles > (rx->next != rx->tail));
        if (found < 0) {
            rc = found; /* the other lanes can be read */
            continue;
        }
        rx->died = rx->died || !rip_rx_has_loss(rx) ? rx->died : time_now(c);
        if (find_first(c, rx)) {
            swap(c, i, c->queued++);
        }
    }
    for (uint32_t i = c->queued / 2; i > 0; i--) {
        sink(c, i - 1);
    }
    return rc ? rc : 1;
}

int rip_order_ready(struct rip_consumer *c, struct rip_message *message) {
    while (c->queued) {
        struct rip_rx *rx = c->lanes[0];
        uint64_t timed = rx->timed;
        if (!find_first(c, rx)) {
            drop_first(c);
            continue;
        }
        if (rx->timed != timed) {
            sink(c, 0);
            continue;
        }
        if (timed == DEATH || !is_settled(rx)) {
            return 0;
        }
        int rc = rx->claims ? rip_rx_claim_one(c, rx, rx->next++, message) : rip_rx_read(rx, timed, message);
        if (rc < 0) { /* the others can be read until the next scan */
            drop_first(c);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int rip_order_next(struct rip_consumer *c, struct rip_message *message) {
    int is_due = c->taken - c->scanned >= (c->count > SCAN_EVERY ? c->count : SCAN_EVERY);
    for (uint32_t scans = 0;; is_due = 0) {
        int rc = is_due ? 0 : rip_order_ready(c, message);
        if (rc != 0) {
            return rc;
        }
        if (!is_due && c->queued && is_settled(c->lanes[0])) { /* a death */
            rc = rip_order_report_death(c, c->lanes[0]);
            if (rc != 0) {
                return rc;
            }
            scans = 0;
            continue;
        }
        if (scans++ >= rip_order_most_scans(c)) {
            return 0;
        }
        rc = rip_order_scan(c, 0);
        if (rc != 1) {
            return rc;
        }
        if (!c->queued) {
            return rip_at_end(c);
        }
    }
}

int rip_order_newest(struct rip_consumer *c, struct rip_message *message) {
    int rc = rip_order_scan(c, 1);
    rc = rc == 1 ? rip_order_scan(c, 1) : rc; /* settles all that is there now */
    rc = rc == 1 ? rip_order_next(c, message) : rc;
    if (rc != 1) {
        return rc;
    }
    struct rip_message next;
    rip_rx_take(c, message);
    while (rip_order_ready(c, &next) == 1) {
        next.missed += message->missed;
        rip_rx_release(message->lane, message->seq);
        c->taken--; /* only the last one counts */
        c->bytes -= message->length;
        *message = next;
        rip_rx_take(c, message);
    }
    return 1;
}
