#include "ring/select.h"
#include "ring/rx_lanes.h"
#include "ring/rx_order.h"
#include "ring/rx_state.h"

static int wants(const struct rip_filter *filter, uint32_t type) {
    if (filter->count == 0) {
        return 1;
    }
    for (uint32_t i = 0; i < filter->count; i++) {
        if (filter->types[i] == type) {
            return 1;
        }
    }
    return 0;
}

static int is_free(const struct rip_rx *rx, uint64_t seq) {
    return rx->claims ? rip_claim_is_free(rx->claims, rx->slots, seq)
                      : seq >= rx->next && !(rx->marks[seq & (rx->slots - 1)] & RIP_MARK_TAKEN);
}

int rip_rx_is_there(const struct rip_message *message) { return is_free(message->lane, message->seq); }

int rip_rx_try(struct rip_consumer *c, struct rip_message *message) {
    struct rip_rx *rx = message->lane;
    uint8_t before = 0;
    if (rx->claims) {
        if (!rip_claim(rx->claims, rx->slots, message->seq, c->ch.handle.member, &before)) {
            return 0;
        }
        rx->ours++;
        rip_rx_count_deliveries(message, before);
        rx->last_gap = c->shared ? rip_claims_take_dropped(rx->claims) : 0;
        message->missed += rx->last_gap;
        rx->last_seq = message->seq;
        if (rx->counts && message->seq >= rx->counted) {
            rip_rx_mark_taken(rx, message->seq);
        }
    } else if (!is_free(rx, message->seq)) {
        return 0;
    } else if (message->seq != rx->next) {
        rx->marks[message->seq & (rx->slots - 1)] |= RIP_MARK_TAKEN;
        rx->ahead++;
        c->taken++;
        c->bytes += message->length;
        return 1;
    }
    rip_rx_take(c, message);
    return 1;
}

/* The first message of a lane from seq on that the filter accepts; the tail if there is none. If type is not NULL: the
 * first message of the lowest type, which is stored in *type. */
static uint64_t find(const struct rip_rx *rx, const struct rip_filter *filter, uint64_t seq, uint32_t *type) {
    uint64_t mask = rx->slots - 1, found = rx->tail;
    for (; seq != rx->tail; seq++) {
        uint32_t its = rip_desc_type(&rx->desc[seq & mask]);
        if (!wants(filter, its) || !is_free(rx, seq)) {
            continue;
        }
        if (!type) {
            return seq;
        }
        if (found == rx->tail || its < *type) {
            found = seq;
            *type = its;
        }
    }
    return found;
}

/* With claims, another member may have taken and released the message meanwhile, and the producer may have overwritten
 * it. Then this returns 0. */
static int read_found(struct rip_rx *rx, uint64_t seq, struct rip_message *message) {
    int rc = rip_rx_read(rx, seq, message);
    return rc == -EBADMSG && !is_free(rx, seq) ? 0 : rc;
}

static void begin_search(struct rip_rx *rx, const struct rip_filter *filter) {
    if (rx->search != filter->search) {
        rx->search = filter->search;
        rx->scan_pos = 0;
    }
}

/* Where a search continues: where it stopped, if that is not behind next. Damage may have moved the tail backwards. */
static uint64_t begin_at(const struct rip_rx *rx) {
    return rx->scan_pos - rx->next <= rx->tail - rx->next ? rx->scan_pos : rx->next;
}

/* The first message of a lane that the filter accepts: 1, 0, or -EBADMSG. */
static int find_first(struct rip_rx *rx, const struct rip_filter *filter, struct rip_message *message) {
    uint64_t seq = begin_at(rx);
    int rc = 0;
    while (rc == 0 && (seq = find(rx, filter, seq, NULL)) != rx->tail) {
        rc = read_found(rx, seq++, message);
    }
    rx->scan_pos = seq;
    return rc;
}

/* The first message of the lowest type in all lanes: 1, 0, or a negative errno. */
static int find_lowest(struct rip_consumer *c, const struct rip_filter *filter, struct rip_message *message) {
    for (;;) {
        struct rip_rx *best = NULL;
        uint64_t best_seq = 0;
        uint32_t best_type = UINT32_MAX;
        for (uint32_t i = 0; i < c->count; i++) {
            struct rip_rx *rx = c->lanes[i];
            uint32_t type = UINT32_MAX;
            int rc = rip_rx_poll(rx);
            if (rc < 0) {
                return rc;
            }
            uint64_t seq = find(rx, filter, rx->next, &type);
            if (seq != rx->tail && (!best || type < best_type)) {
                best = rx;
                best_seq = seq;
                best_type = type;
            }
        }
        int rc = best ? read_found(best, best_seq, message) : 0;
        if (rc != 0 || !best) {
            return rc;
        }
    }
}

/* What a lane has for a search in the order of time: a message, or the death of its producer. */
struct candidate {
    struct rip_rx *rx; /* NULL: nothing */
    uint64_t seq, time;
    uint32_t type; /* if the lowest type is wanted */
};

static struct candidate candidate_of(const struct rip_consumer *c, struct rip_rx *rx, const struct rip_filter *filter) {
    struct candidate found = {.rx = rx, .time = rx->died};
    do { /* another member may take a message just when it is found */
        found.type = filter->lowest ? UINT32_MAX : 0;
        found.seq = filter->lowest ? find(rx, filter, rx->next, &found.type) : find(rx, filter, begin_at(rx), NULL);
        rx->scan_pos = found.seq;
    } while (found.seq != rx->tail && !rip_order_time(c, rx, found.seq, &found.time));
    if (found.seq == rx->tail) {
        found.time = rx->died;
        found.rx = rx->died ? rx : NULL;
    }
    return found;
}

static int is_better(const struct candidate *one, const struct candidate *other) {
    return !other->rx || (one->type != other->type   ? one->type < other->type
                          : one->time != other->time ? one->time < other->time
                                                     : one->rx->id < other->rx->id);
}

/* rip_rx_find for a consumer that reads by time: as rip_order_next, of the messages that the filter accepts. */
static int find_oldest(struct rip_consumer *c, const struct rip_filter *filter, struct rip_message *message) {
    for (uint32_t scans = 0; scans < rip_order_most_scans(c); scans++) {
        struct candidate best = {.rx = NULL};
        int rc = rip_order_scan(c, 1);
        if (rc != 1) {
            return rc;
        }
        for (uint32_t i = 0; i < c->count; i++) {
            begin_search(c->lanes[i], filter);
            struct candidate found = candidate_of(c, c->lanes[i], filter);
            best = found.rx && is_better(&found, &best) ? found : best;
        }
        if (!best.rx) {
            return rip_at_end(c);
        }
        int is_death = best.seq == best.rx->tail;
        if (is_death ? !best.rx->death_settled : best.seq >= best.rx->settled) {
            continue; /* the next scan settles it */
        }
        rc = is_death ? rip_order_report_death(c, best.rx) : read_found(best.rx, best.seq, message);
        if (rc != 0) {
            best.rx->scan_pos += !is_death;
            return rc;
        }
        scans = is_death ? 0 : scans;
    }
    return 0;
}

int rip_rx_find(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    if (c->by_time) {
        return find_oldest(c, filter, message);
    }
    int rc = rip_update_lanes_or_fail(c);
    if (rc == 0 && filter->lowest) {
        rc = find_lowest(c, filter, message);
    }
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        c->scan = c->scan + 1 < c->count ? c->scan + 1 : 0; /* as in rip_advance */
        struct rip_rx *rx = c->lanes[c->scan];
        begin_search(rx, filter);
        rc = rip_rx_poll(rx);
        if (rc >= 0 && !filter->lowest) {
            rc = find_first(rx, filter, message);
        }
        rc = rc == 0 || (rc == 1 && filter->lowest) ? rip_report_death(c, rx) : rc;
        if (rc != 0) {
            return rc;
        }
    }
    return rip_at_end(c);
}

int rip_rx_select(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    int rc;
    while ((rc = rip_rx_find(c, filter, message)) == 1 && !rip_rx_try(c, message)) { /* another member has taken it */
    }
    return rc;
}

/* Message seq was counted as taken and can be missed again. The messages after it stay counted. */
static void uncount(struct rip_rx *rx, uint64_t seq) {
    if (!rx->counts || rx->counted - seq > rx->slots) { /* not counted yet, or damaged */
        return;
    }
    while (rx->counted != seq) {
        rx->counted--;
        if (rx->counted != seq) {
            rx->marks[rx->counted & (rx->slots - 1)] |= RIP_MARK_TAKEN;
            rx->ahead++;
        }
    }
}

void rip_rx_requeue(struct rip_consumer *c, const struct rip_message *message, int started) {
    struct rip_rx *rx = message->lane;
    uint64_t mask = rx->slots - 1;
    if (rx->claims && !rip_claim_requeue(rx->claims, rx->slots, rx->cursor, message->seq, started)) {
        rx->ours--;
        rx->gap += rx->counts; /* it stays counted as taken, so it is not missed a second time */
        rip_rx_publish_cursor(rx);
    } else if (rx->claims) {
        uint8_t *mark = &rx->marks[message->seq & mask];
        if (*mark & RIP_MARK_TAKEN) {
            *mark &= (uint8_t)~RIP_MARK_TAKEN;
            rx->ahead--;
        } else {
            if (message->seq == rx->last_seq) { /* else what was missed before it stays reported */
                rx->gap += rx->last_gap;
                rx->last_gap = 0;
            }
            uncount(rx, message->seq);
        }
        rx->ours--;
        rip_wake_group(&c->ch, c->group, RIP_POLLFD_ARMED);
    } else if (message->seq < rx->released) { /* it is acknowledged and kept, so it is released instead */
        rip_rx_release(rx, message->seq);
    } else if (message->seq >= rx->next) {
        rx->marks[message->seq & mask] &= (uint8_t)~(RIP_MARK_TAKEN | RIP_MARK_ACKED);
        rx->ahead--;
    } else { /* the messages after it were taken in order; now they are taken ahead of it */
        while (rx->next != message->seq + 1) {
            rx->next--;
            rx->marks[rx->next & mask] |= RIP_MARK_TAKEN;
            rx->ahead++;
        }
        rx->next--;
        rx->marks[rx->next & mask] &= (uint8_t)~RIP_MARK_ACKED;
    }
    c->queued = 0; /* it is the oldest one again */
    c->taken--;
    c->bytes -= message->length;
}

void rip_rx_redeliver(struct rip_consumer *c, const struct rip_message *message) {
    rip_rx_requeue(c, message, 1);
    message->lane->scan_pos = 0;
    if (!message->lane->claims) {
        /* other threads of this member; with claims all members are woken already */
        rip_wake_group(&c->ch, c->group, RIP_POLLFD_ARMED);
    }
}

/* ---- the calls of ringipc.h ---- */

void rip_select_begin(struct rip_consumer *c, struct rip_filter *filter) { filter->search = ++c->searches; }

void rip_requeue(struct rip_consumer *c, const struct rip_message *message, int started) {
    if (rip_handle_check(&c->ch.handle) == 0) {
        rip_rx_requeue(c, message, started);
    }
}
