#include "ring/rx.h"
#include "base/file.h"
#include "ring/rx_large.h"

/* Finds a message that lies beyond the capacity. Returns as rip_rx_large_find. */
static int find_large(struct rip_rx *rx, uint64_t offset, uint64_t length, const unsigned char **data) {
    if (offset % RIP_LINE) {
        return -EBADMSG;
    }
    if (!rx->large) {
        uint64_t arena = rx->mapping.offset + rip_arena_offset(rx->slots);
        rx->large = rip_rx_large_new(&rx->ch->handle, rx->id, rx->lane, arena);
    }
    return rx->large ? rip_rx_large_find(rx->large, offset, length, data) : -ENOMEM;
}

__attribute__((cold, noinline)) int rip_rx_read_far(struct rip_rx *rx, uint64_t seq, struct rip_message *message) {
    const volatile struct rip_desc *desc = &rx->desc[seq & (rx->slots - 1)]; /* volatile: read once */
    uint64_t place = desc->place, size = desc->size;
    uint64_t offset = place & RIP_PLACE_MASK, length = size & RIP_PLACE_MASK;
    if (offset > rx->capacity || length > rx->capacity - offset) {
        const unsigned char *data;
        int rc = find_large(rx, offset, length, &data);
        if (rc == 0) {
            rc = rip_rx_describe(rx, seq, place, size, message);
            message->data = data;
        }
        return rc;
    }
    /* relaxed: it was stored before the tail, and the tail was loaded with acquire */
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
        rx->readable = rc ? rx->readable : end; /* a temporary lack of memory; the message is intact all the same */
    }
    return rip_rx_describe(rx, seq, place, size, message);
}

int rip_rx_refresh_all(struct rip_rx *rx) {
    rip_rx_skip(rx);
    /* acquire: pairs with the release in rip_tx_publish; descriptor and payload are visible after the tail */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire);
    if (tail < rx->tail || tail - rx->released > rx->slots) {
        return -EBADMSG;
    }
    rx->tail = tail;
    return rx->next != tail;
}

int rip_rx_has_loss(const struct rip_rx *rx) {
    /* acquire: pairs with the release in rip_writer_end */
    int is_lost = rx->shared && atomic_load_explicit(&rx->lane->lost, memory_order_acquire) != rx->lost;
    return is_lost || (rip_lane_is_reported(rx->state) && !rx->reported);
}

/* In an exclusive group of a lane that drops: the number of messages before seq that were neither taken nor counted. */
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

/* Messages missed between the last one taken in order and this one. */
static uint64_t gap_before(const struct rip_consumer *c, struct rip_rx *rx, uint64_t seq) {
    if (c->shared) { /* the member that gets the next message reports the loss for the whole group */
        return rip_claims_take_dropped(rx->claims);
    }
    uint64_t gap = count_to(rx, seq);
    rx->counted = seq < rx->counted ? rx->counted : seq + 1;
    return gap;
}

int rip_rx_poll(struct rip_rx *rx) {
    if (!rx->claims) {
        return rip_rx_refresh_all(rx);
    }
    /* acquire: pairs with the release of the process that requeues a message */
    uint64_t requeued = atomic_load_explicit(&rx->claims->requeued, memory_order_acquire);
    /* acquire: pairs with rip_tx_publish. Loaded before the cursor, so that they are at most slots apart. */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire);
    /* acquire: pairs with move_cursor */
    uint64_t released = atomic_load_explicit(&rx->cursor->released, memory_order_acquire);
    if (!rx->drops && rip_claim_is_passable(rx->claims, rx->slots, released)) { /* the producer keeps it */
        rip_claims_pass(rx->claims, rx->slots, rx->cursor, rx->entry, released, released);
        released = atomic_load_explicit(&rx->cursor->released, memory_order_acquire); /* as above */
    }
    /* The id changes before the cursors do. Relaxed: the cursor was loaded before, with acquire. */
    if (rip_lane_id(rx->entry) != rx->id) { /* everything is read, and another lane has the table entry */
        rx->released = rx->next = rx->tail = tail;
        return 0;
    }
    if (rx->drops) {
        /* acquire: pairs with rip_drop_old_make_room. Loaded after the tail, so the tail can be ahead of it by at most
         * slots. */
        uint64_t reclaimed = atomic_load_explicit(&rx->lane->reclaimed, memory_order_acquire);
        if (reclaimed > tail && reclaimed > atomic_load_explicit(&rx->lane->tail, memory_order_acquire)) {
            return -EBADMSG;
        }
        rip_claims_pass(rx->claims, rx->slots, rx->cursor, rx->entry, released, reclaimed);
        released = released < reclaimed ? reclaimed : released;
    }
    if (released > tail) { /* the cursor has advanced since the tail was loaded */
        tail = released;
    }
    if (tail - released > rx->slots || tail < rx->tail) {
        return -EBADMSG;
    }
    if (requeued != rx->requeued || rx->next < released) {
        /* a search may accept a message that was requeued */
        rx->scan_pos = requeued != rx->requeued ? 0 : rx->scan_pos;
        rx->requeued = requeued;
        rx->next = released;
    }
    rx->gap += count_to(rx, released);
    rx->released = released;
    rx->tail = tail;
    return rx->next != tail;
}

/* With claims: is message next published, as far as is known without the tail? Each load of the tail moves its cache
 * line here. While the lane is live its slots tell too, unless the producer passes this group. */
static int is_next_known(struct rip_rx *rx) {
    /* relaxed: rip_rx_poll loads with acquire */
    if (atomic_load_explicit(&rx->claims->requeued, memory_order_relaxed) != rx->requeued) {
        return 0;
    }
    /* The cursor was read in the last rip_rx_poll. It must be read again before a slot is used a second time. */
    if (rx->next == rx->tail && !rx->drops && rx->state == RIP_LANE_LIVE && rx->next - rx->released < rx->slots &&
        rip_desc_is_of(rip_rx_desc(rx, rx->next), rx->next)) {
        rx->tail = rx->next + 1;
    }
    return rx->next != rx->tail;
}

int rip_rx_claim_one(struct rip_consumer *c, struct rip_rx *rx, uint64_t seq, struct rip_message *message) {
    uint8_t before = 0;
    /* Before the message is taken: from then on the producer may pass it and reuse its slot. */
    int rc = rip_rx_read(rx, seq, message);
    if (rc < 0 && rc != -EBADMSG) { /* it cannot be mapped now: perhaps another member can, or this one later */
        rx->next = seq < rx->next ? seq : rx->next;
        return rc;
    }
    if (!rip_claim(rx->claims, rx->slots, seq, c->ch.handle.member, &before)) {
        return 0; /* what was read does not count */
    }
    rx->ours++;
    rx->gap += gap_before(c, rx, seq);
    if (rc != 1) {
        rip_rx_release_only(rx, seq); /* no member could read it */
        return rc;
    }
    rip_rx_count_deliveries(message, before);
    message->missed += rx->gap;
    rx->last_gap = rx->gap;
    rx->last_seq = seq;
    rx->gap = 0;
    return 1;
}

int rip_rx_claim(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    int rc = 0;
    while (rc == 0) {
        if (!is_next_known(rx)) {
            rc = rip_rx_poll(rx);
            if (rc != 1) {
                return rc;
            }
        }
        uint64_t seq = rx->next++;
        rc = rip_claim_is_free(rx->claims, rx->slots, seq) ? rip_rx_claim_one(c, rx, seq, message) : 0;
    }
    return rc;
}

/* ---- messages in use that the cursor has passed, in a group without claims ---- */

/* An entry of cursor->kept that is free (seq: UINT64_MAX), or that has message seq; RIP_CURSOR_KEPT: there is none. */
static uint32_t find_kept(const struct rip_rx *rx, uint64_t seq) {
    uint32_t k = 0;
    /* relaxed: only this consumer writes the table */
    while (k < RIP_CURSOR_KEPT &&
           atomic_load_explicit(&rx->cursor->kept[k], memory_order_relaxed) >> RIP_KEPT_SEQ_SHIFT != 1 + seq) {
        k++;
    }
    return k;
}

/* Lets the cursor pass the oldest message, which is in use. Returns 0 if the table is full. */
static int keep(struct rip_rx *rx) {
    uint64_t seq = rx->released;
    uint32_t k = find_kept(rx, UINT64_MAX);
    if (k == RIP_CURSOR_KEPT) {
        return 0;
    }
    /* relaxed: the store of the cursor publishes it */
    atomic_store_explicit(&rx->cursor->kept[k], rip_kept_word(seq, rx->ch->handle.member), memory_order_relaxed);
    rx->marks[seq & (rx->slots - 1)] = 0;
    rx->kept++;
    rx->released++;
    return 1;
}

/* How far the cursor could get if all messages before were kept: to the first one that is not acknowledged, if that is
 * released; else nowhere. */
static uint64_t passable(const struct rip_rx *rx) {
    uint64_t seq = rx->released, mask = rx->slots - 1;
    while (seq != rx->next && seq - rx->released < RIP_CURSOR_KEPT && rx->marks[seq & mask] == RIP_MARK_ACKED) {
        seq++;
    }
    return seq != rx->next && rx->marks[seq & mask] & RIP_MARK_RELEASED ? seq : rx->released;
}

/* Lets a producer that waits check again. */
static void count_freed(struct rip_rx *rx) {
    /* relaxed: this consumer is the only member. release: pairs with the acquire in rip_room_watch */
    uint64_t freed = atomic_load_explicit(&rx->cursor->freed, memory_order_relaxed);
    atomic_store_explicit(&rx->cursor->freed, freed + 1, memory_order_release);
}

void rip_rx_keep(struct rip_rx *rx) {
    uint64_t seq;
    while ((seq = passable(rx)) != rx->released) {
        while (rx->released != seq) {
            if (!keep(rx)) {
                return;
            }
        }
        rip_rx_release_marked(rx);
    }
}

void rip_rx_release_late(struct rip_rx *rx, uint64_t seq) {
    if (seq >= rx->released) {
        rx->marks[seq & (rx->slots - 1)] |= RIP_MARK_RELEASED;
        rip_rx_keep(rx);
        return;
    }
    uint32_t k = find_kept(rx, seq);
    if (k == RIP_CURSOR_KEPT || rip_lane_id(rx->entry) != rx->id) { /* damaged */
        return;
    }
    rx->kept--;
    rx->tried = 0; /* this may have been all that kept the lane in the table */
    /* release: pairs with the acquire in rip_is_kept */
    atomic_store_explicit(&rx->cursor->kept[k], 0, memory_order_release);
    count_freed(rx);
    rip_rx_keep(rx); /* there is an entry for another one */
}

/* ---- acknowledging ---- */

void rip_rx_report_acked(struct rip_rx *rx) {
    uint64_t seq = rx->acked > rx->released ? rx->acked : rx->released;
    while (seq < rx->next && rx->marks[seq & (rx->slots - 1)] & (RIP_MARK_ACKED | RIP_MARK_RELEASED)) {
        seq++;
    }
    if (seq != rx->acked && seq != rx->released && rip_lane_id(rx->entry) == rx->id) {
        rx->acked = seq;
        /* release: pairs with the acquire in acked_by */
        atomic_store_explicit(&rx->cursor->acked, seq, memory_order_release);
        count_freed(rx);
        rip_rx_wake_producer(rx);
    }
}

void rip_rx_ack_claim(struct rip_rx *rx, uint64_t seq) {
    rip_claim_ack(rx->claims, rx->slots, seq);
    /* release: pairs with the acquire in rip_room_watch; a producer in rip_flush then reads the claim */
    atomic_fetch_add_explicit(&rx->cursor->freed, 1, memory_order_release);
    rip_rx_wake_producer(rx);
    rip_rx_check_end(rx);
}

void rip_rx_report_end(struct rip_rx *rx) {
    uint64_t released =
        /* seq_cst: as in rip_claims_first_unacked */
        atomic_load_explicit(&rx->cursor->released, memory_order_seq_cst);
    /* acquire: pairs with rip_tx_publish */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire);
    if (rip_claims_first_unacked(rx->claims, rx->slots, released, tail) == tail) {
        /* release: as in rip_claim_requeue */
        atomic_fetch_add_explicit(&rx->claims->requeued, 1, memory_order_release);
        rip_wake_group(rx->ch, rx->group, rip_reasons_of_end(rx->ch->control));
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
    /* relaxed: for display only */
    uint64_t missed = atomic_load_explicit(&rx->lane->refused, memory_order_relaxed) - rx->refused;
    return rx->claims ? missed + atomic_load_explicit(&rx->claims->dropped, memory_order_relaxed) - rx->dropped
                      : missed;
}

uint64_t rip_rx_time_at(const struct rip_rx *rx, struct rip_moment now, uint64_t ticks) {
    const volatile struct rip_lane *lane = rx->lane; /* volatile: read once */
    struct rip_moment since = {lane->ticks0, lane->ns0};
    return rx->clock == RIP_CLOCK_COUNTER ? rip_ticks_to_ns(since, now, ticks) : ticks;
}

uint64_t rip_rx_time(const struct rip_rx *rx, uint64_t ticks) {
    return rx->clock == RIP_CLOCK_COUNTER ? rip_rx_time_at(rx, rip_moment_now(rx->ch->time_offset), ticks) : ticks;
}

uint64_t rip_rx_ticks_at(const struct rip_rx *rx, struct rip_moment now, uint64_t ticks) {
    const volatile struct rip_lane *lane = rx->lane; /* volatile: read once */
    struct rip_moment since = {lane->ticks0, lane->ns0};
    return rx->clock == RIP_CLOCK_COUNTER ? ticks : rip_ns_to_ticks(since, now, ticks);
}
