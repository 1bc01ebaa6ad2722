#include "ring/rx_state.h"
#include "channel/lane_table.h"
#include "ring/rx_lanes.h"
#include "store/table_lock.h"

static void try_retire(struct rip_consumer *c, struct rip_rx *rx) {
    if (!rx->tried && rx->released == rx->tail && rip_try_lock(&c->ch.handle) == 0) {
        rx->tried = 1;
        rip_lanes_retire(&c->ch);
        rip_unlock(&c->ch.handle);
    }
}

/* May a message of this lane still come to this consumer? In a shared group, one that another member has may be
 * requeued. */
static int has_more(const struct rip_consumer *c, const struct rip_rx *rx) {
    return rx->state == RIP_LANE_LIVE ||
           (c->shared && rip_claims_first_unacked(rx->claims, rx->slots, rx->released, rx->tail) != rx->tail);
}

/* Is it the end of the stream, if no lane has more messages? While the table of lanes has changes that are not known
 * yet, it is too early to say so. */
static int may_end(const struct rip_consumer *c) {
    return c->expects != RIP_NO_END && c->came >= c->expects && !rip_rx_is_stale(c);
}

int rip_at_end(struct rip_consumer *c) {
    int more = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        more |= has_more(c, rx);
        if (RIP_UNLIKELY(rx->released != rx->next) && !rx->claims) { /* the program gets again, and has views */
            rip_rx_report_acked(rx);
        }
        if (rx->state != RIP_LANE_LIVE) {
            try_retire(c, rx);
        }
    }
    return !more && may_end(c) ? -ENODATA : 0;
}

int rip_rx_pending(struct rip_consumer *c) {
    int more = 0;
    rip_update_lanes(c);
    if (c->map_error) {
        return 1;
    }
    if (rip_rx_awaits_lock(c)) {
        return 0;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        int rc = rx->claims ? rip_rx_poll(rx) : rip_rx_refresh(rx);
        if (rc < 0 || (rc == 1 && (!rx->claims || rip_rx_has_free(rx))) || (!c->skips_deaths && rip_rx_has_loss(rx))) {
            return 1;
        }
        more |= has_more(c, rx);
    }
    return !more && may_end(c);
}

/* The next death or failure of a writer of a shared lane, or all of them if they are skipped. The pid of one that was
 * long ago is not known. */
static int report_loss(struct rip_consumer *c, struct rip_rx *rx) {
    const volatile struct rip_lane *lane = rx->lane; /* volatile: read once */
    uint32_t losses = lane->lost - rx->lost;
    int32_t pid = losses <= RIP_MAX_LOSSES ? lane->losses[rx->lost % RIP_MAX_LOSSES].pid : 0;
    losses = c->skips_deaths ? losses : 1;
    rx->lost += losses;
    c->deaths += losses;
    c->died = pid < 0 ? -pid : pid;
    return c->skips_deaths ? 0 : pid < 0 ? -ECONNABORTED : -EOWNERDEAD;
}

int rip_report_death(struct rip_consumer *c, struct rip_rx *rx) {
    if (RIP_LIKELY(!rip_rx_has_loss(rx))) {
        return 0;
    }
    if (!rip_lane_is_reported(rx->state) || rx->reported) {
        return report_loss(c, rx);
    }
    rx->reported = 1;
    c->died = rx->pid;
    c->deaths++;
    return c->skips_deaths ? 0 : rx->state == RIP_LANE_FAILED ? -ECONNABORTED : -EOWNERDEAD;
}

uint64_t rip_rx_backlog(struct rip_consumer *c) {
    uint64_t backlog = 0;
    rip_update_lanes(c);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct rip_rx *rx = c->lanes[i];
        /* relaxed: for display only */
        uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_relaxed), seq = rx->next;
        if (!rx->claims) {
            backlog += tail - seq;
            continue;
        }
        for (seq = tail - seq > rx->slots ? tail - rx->slots : seq; seq != tail; seq++) {
            backlog += (uint64_t)rip_claim_is_free(rx->claims, rx->slots, seq);
        }
    }
    return backlog;
}

/* Messages of this consumer that the cursor has passed and that keep their memory. */
static uint64_t kept_by(const struct rip_rx *rx, uint64_t tail) {
    uint64_t kept = rx->claims ? rx->ours : rx->kept;
    for (uint64_t seq = rx->released; rx->claims && kept && seq != tail; seq++) {
        kept -= (uint64_t)rip_claim_is_taken_by(rx->claims, rx->slots, seq, rx->ch->handle.member);
    }
    return kept;
}

/* An estimate: its producer sleeps, or another message like the last one would not fit. kept: as kept_by. */
static int is_full(const struct rip_rx *rx, uint64_t tail, uint64_t kept) {
    uint64_t mask = rx->slots - 1, bytes = 0;
    /* relaxed: for display only */
    if (tail - rx->released >= rx->slots ||
        atomic_load_explicit(&rx->entry->asleep, memory_order_relaxed) & RIP_ASLEEP) {
        return 1;
    }
    for (uint64_t seq = rx->released; seq != tail; seq++) {
        bytes += rip_round_up(rip_desc_length(&rx->desc[seq & mask]), RIP_LINE);
    }
    return bytes + (kept + 1) * rip_round_up(rip_desc_length(&rx->desc[(tail - 1) & mask]), RIP_LINE) > rx->capacity;
}

int32_t rip_rx_blocks(const struct rip_consumer *c) {
    for (uint32_t i = 0; i < c->count; i++) {
        const struct rip_rx *rx = c->lanes[i];
        if (rx->drops || rx->state != RIP_LANE_LIVE) {
            continue;
        }
        /* acquire: pairs with rip_tx_publish; the descriptors are visible after the tail */
        uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire);
        uint64_t kept = tail - rx->released <= rx->slots ? kept_by(rx, tail) : 0;
        int has_oldest = rx->claims ? rip_claim_is_taken_by(rx->claims, rx->slots, rx->released, c->ch.handle.member)
                                    : rx->released != rx->next;
        if ((has_oldest || kept) && is_full(rx, tail, kept)) {
            return rx->pid;
        }
    }
    return 0;
}

uint64_t rip_rx_missed(const struct rip_consumer *c) {
    uint64_t missed = c->missed;
    for (uint32_t i = 0; i < c->count; i++) {
        missed += rip_rx_missed_of(c->lanes[i]);
    }
    return missed;
}
