#include "ring/rx.h"
#include "base/clock.h"
#include "base/file.h"

__attribute__((cold, noinline)) int rip_rx_read_far(struct rip_rx *rx, uint64_t seq, struct rip_message *message) {
    const volatile struct rip_desc *desc = &rx->desc[seq & (rx->slots - 1)]; /* volatile: read once */
    uint64_t offset = desc->offset, length = desc->length;
    /* relaxed: the tail was stored after it, and loaded before */
    uint64_t allocated = atomic_load_explicit(&rx->lane->allocated, memory_order_relaxed);
    if (allocated > rx->capacity || offset > allocated || length > allocated - offset || offset % RIP_LINE) {
        return -EBADMSG;
    }
    uint64_t end = rip_round_up(offset + length, RIP_STEP);
    end = end < allocated ? end : allocated;
    if (end > rx->readable) {
        void *at = (char *)rx->mapping.at + rip_arena_offset(rx->slots) + rx->readable;
        int rc = rip_populate(at, end - rx->readable, 0);
        if (rc == -EBADMSG) {
            return rc;
        }
        rx->readable = rc ? rx->readable : end; /* short of memory for a moment: the message is good all the same */
    }
    return rip_rx_describe(rx, seq, offset, length, message);
}

/* Where an exclusive group loses messages: those before seq that have not been got, or counted. */
static uint64_t count_to(struct rip_rx *rx, uint64_t seq) {
    if (!rx->counts || seq < rx->counted) {
        return 0;
    }
    uint64_t gap = seq - rx->counted;
    uint64_t first = gap > rx->slots ? seq - rx->slots : rx->counted;
    for (; rx->ahead && first != seq; first++) {
        uint8_t *mark = &rx->marks[first & (rx->slots - 1)];
        gap -= *mark & RIP_MARK_TAKEN ? 1 : 0;
        rx->ahead -= *mark & RIP_MARK_TAKEN ? 1 : 0;
        *mark = 0;
    }
    rx->counted = seq;
    return gap;
}

/* Messages missed between the last one claimed in its turn and this one. */
static uint64_t gap_before(const struct rip_consumer *c, struct rip_rx *rx, uint64_t seq) {
    if (c->shared) { /* whoever comes next is told, for all of the group */
        return rip_claims_take_dropped(rx->claims);
    }
    uint64_t gap = count_to(rx, seq);
    rx->counted = seq < rx->counted ? rx->counted : seq + 1;
    return gap;
}

int rip_rx_poll(struct rip_rx *rx) {
    if (!rx->claims) {
        return rip_rx_refresh(rx);
    }
    /* acquire: pairs with the release of whoever gives a message back */
    uint64_t requeued = atomic_load_explicit(&rx->claims->requeued, memory_order_acquire);
    /* acquire: pairs with rip_tx_publish; before the cursor, so that they cannot lie more than the slots apart */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire);
    uint64_t released = atomic_load_explicit(&rx->cursor->released, memory_order_acquire); /* pairs with move_cursor */
    /* Its id changes before its cursors do. Relaxed: the load of the cursor comes before. */
    if (rip_lane_id(rx->entry) != rx->id) { /* all is read, and the place taken */
        rx->released = rx->next = rx->tail = tail;
        return 0;
    }
    if (rx->drops) {
        /* acquire: pairs with rip_drop_old_make_room; after the tail, which can be no more than the slots ahead of it */
        uint64_t head = atomic_load_explicit(&rx->lane->reclaimed, memory_order_acquire);
        if (head > tail && head > atomic_load_explicit(&rx->lane->tail, memory_order_acquire)) {
            return -EBADMSG;
        }
        rip_claims_pass(rx->claims, rx->slots, rx->cursor, rx->entry, released, head);
        released = released < head ? head : released;
    }
    if (released > tail) { /* it has moved on since */
        tail = released;
    }
    if (tail - released > rx->slots || tail < rx->tail) {
        return -EBADMSG;
    }
    if (requeued != rx->requeued || rx->next < released) {
        rx->scan_pos = requeued != rx->requeued ? 0 : rx->scan_pos; /* a search may want what has come back */
        rx->requeued = requeued;
        rx->next = released;
    }
    rx->gap += count_to(rx, released);
    rx->released = released;
    rx->tail = tail;
    return rx->next != tail;
}

int rip_rx_claim(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    int rc = 1;
    while (rc == 1) {
        int redelivered = 0;
        /* The tail travels to us at each look, so we look only when we have come to where it was. Relaxed: the look acquires. */
        if (rx->next == rx->tail || atomic_load_explicit(&rx->claims->requeued, memory_order_relaxed) != rx->requeued) {
            rc = rip_rx_poll(rx);
            if (rc != 1) {
                return rc;
            }
        }
        uint64_t seq = rx->next++;
        if (!rip_claim(rx->claims, rx->slots, seq, c->ch.handle.member, &redelivered)) {
            continue;
        }
        rx->ours++;
        rx->gap += gap_before(c, rx, seq);
        rc = rip_rx_read(rx, seq, message);
        if (rc == 1) {
            message->flags |= redelivered ? RIP_REDELIVERED : 0; /* or it was before it came over a connection */
            message->missed += rx->gap;
            rx->last_gap = rx->gap;
            rx->gap = 0;
            return 1;
        }
        rip_rx_release_only(rx, seq); /* nobody could read it */
    }
    return rc;
}

void rip_rx_ack(struct rip_rx *rx, uint64_t seq) {
    if (rx->claims) {
        rip_claim_ack(rx->claims, rx->slots, seq);
        rip_rx_check_end(rx);
    }
}

void rip_rx_report_end(struct rip_rx *rx) {
    uint64_t released =
        atomic_load_explicit(&rx->cursor->released, memory_order_seq_cst);       /* as in rip_claims_first_unacked */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire); /* pairs with rip_tx_publish */
    if (rip_claims_first_unacked(rx->claims, rx->slots, released, tail) == tail) {
        atomic_fetch_add_explicit(&rx->claims->requeued, 1, memory_order_release); /* as in rip_claim_requeue */
        rip_wake_group(rx->ch, rx->group);
    }
}

int rip_rx_has_free(const struct rip_rx *rx) {
    for (uint64_t seq = rx->next; seq != rx->tail; seq++) {
        if (rip_claim_is_free(rx->claims, rx->slots, seq)) {
            return 1;
        }
    }
    return 0;
}

uint64_t rip_rx_missed_of(const struct rip_rx *rx) {
    /* relaxed: numbers to show */
    uint64_t missed = atomic_load_explicit(&rx->lane->refused, memory_order_relaxed) - rx->refused;
    return rx->claims ? missed + atomic_load_explicit(&rx->claims->dropped, memory_order_relaxed) - rx->dropped
                      : missed;
}

uint64_t rip_rx_time(const struct rip_rx *rx, uint64_t ticks) {
    const volatile struct rip_lane *lane = rx->lane; /* volatile: read once */
    if (lane->clock != RIP_CLOCK_COUNTER) {
        return ticks;
    }
    return rip_ticks_to_ns((struct rip_moment){lane->ticks0, lane->ns0}, ticks, rx->ch->time_offset);
}
