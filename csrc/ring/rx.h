/* The hot path of a consumer on one lane, inline: read, take and release messages. */
#ifndef RIP_RX_H
#define RIP_RX_H

#include "base/clock.h"
#include "channel/tables.h"
#include "channel/wake.h"
#include "ring/arena.h"
#include "ring/claims.h"

#include <errno.h>

struct rip_io_loop;

/* Taken before an older message was; released before an older message was; without claims: acknowledged and not
 * released. */
enum rip_mark { RIP_MARK_TAKEN = 1, RIP_MARK_RELEASED = 2, RIP_MARK_ACKED = 4 };

/* One lane as one consumer sees it. The first two cache lines are all that a get of the next message needs. */
struct rip_rx {
    uint64_t next;     /* the first seq not taken */
    uint64_t tail;     /* every message before it is known to be published */
    uint64_t released; /* the oldest seq not released; published in cursor->released */
    uint64_t stop;     /* up to here it is read before the other lanes are checked */
    uint64_t slots;
    uint64_t readable; /* bytes of the arena that are known to be allocated */
    const struct rip_desc *desc;
    const unsigned char *payloads;
    struct rip_cursor *cursor;
    struct rip_lane_entry *entry;
    struct rip_channel *ch;
    uint8_t *marks;            /* [slots], enum rip_mark: what has happened to messages from released on */
    uint64_t ahead;            /* taken messages whose seq is at or after next */
    struct rip_claims *claims; /* if several processes compete for a message; else NULL */
    uint32_t state;            /* enum rip_lane_state at the last check */
    uint32_t index;            /* in the lane table */
    uint64_t search, scan_pos; /* the last search that scanned this lane, and how far it came */
    uint64_t capacity;
    const struct rip_lane *lane;
    struct rip_mapping mapping;
    struct rip_mapping claims_mapping;
    uint64_t requeued;         /* claims->requeued at the last check */
    uint64_t ours;             /* with claims: messages that this member has taken and neither released nor requeued */
    uint64_t counted;          /* with claims: every message before it has been taken or counted as missed */
    uint64_t gap, last_gap;    /* messages missed and not reported yet; those reported with the last message taken */
    uint64_t last_seq;         /* with claims: the last message taken */
    uint64_t dropped, refused; /* the values of claims->dropped and lane->refused when this consumer joined */
    uint32_t drops;            /* its producer passes this group: the lane is drop-old, or the group is lossy */
    /* drops, and this consumer is the only one of its group: it counts the missed messages */
    uint32_t counts;
    uint64_t id;
    int32_t pid;
    uint32_t group;
    uint32_t reported; /* the death or failure of its producer has been reported */
    uint32_t shared;   /* any number of producers write it (writers.h) */
    uint32_t lost;     /* if it is shared: how many deaths and failures of its producers have been reported */
    uint32_t tried;    /* to retire it */
    uint32_t present;  /* in the lane table at the last check */
    uint32_t kept;     /* without claims: messages of this consumer in cursor->kept */
    uint64_t acked;    /* without claims: the value of cursor->acked */
    uint32_t clock;    /* enum rip_clock: the unit of its time stamps */
    /* Of a consumer that reads by time (rx_order.h): */
    uint64_t settled; /* every message before it was known before the last scan began */
    uint64_t timed;   /* the message whose time is `time`, or a number that rx_order.c defines */
    uint64_t time;
    /* when a death or failure of a producer was noticed that is not reported yet; 0: there is none */
    uint64_t died;
    uint32_t death_settled;     /* it was known before the last scan began */
    struct rip_rx_large *large; /* messages that are longer than the capacity (rx_large.h); NULL: there was none */
};

struct rip_consumer {
    struct rip_channel ch;  /* first: see rip_rx_claims_of */
    struct rip_rx *current; /* the lane read last; NULL if that lane has claims */
    struct rip_rx *claimed; /* the lane read last if it has claims; else NULL */
    struct rip_rx *lanes[RIP_RX_LANES];
    uint32_t count;
    uint32_t scan; /* index of the lane that was checked last */
    uint32_t group;
    uint32_t shared;         /* the members of the group compete */
    uint32_t claims;         /* a message that it has taken may be redelivered: the group is shared or durable */
    uint32_t lossy;          /* the group is lossy */
    uint32_t leaving;        /* closed for the program, but still a member because of messages in use */
    uint32_t watches;        /* waits in progress: they read mapped lanes, so no lane is unmapped meanwhile */
    uint32_t expects;        /* the stream ends when at least this many producers have come; RIP_NO_END: never */
    uint32_t came;           /* the number that has come for this consumer, at the last rip_rescan */
    uint32_t counts_all;     /* every producer of the stream counts, not only those that have come for the group */
    uint32_t joined;         /* set once the group is joined: lanes found later are new */
    int32_t died;            /* pid of the producer that the last -EOWNERDEAD or -ECONNABORTED reported */
    uint32_t skips_deaths;   /* producers that died or failed are counted and not reported */
    uint64_t deaths;         /* producers that died or failed: reported or skipped */
    uint64_t lanes_changed;  /* version of the lane table that is mapped completely */
    uint64_t lanes_seen;     /* version of the lane table that was read last, perhaps incompletely */
    uint32_t failed_updates; /* updates in a row that failed because another member held the table lock */
    int32_t map_error;       /* error of mapping a lane that is not reported yet; else 0 */
    uint32_t hides_errors;   /* errors of mapping a lane are not reported */
    uint64_t retry_at;       /* time of the next attempt to map such lanes, nanoseconds; 0: all are mapped */
    uint64_t taken;
    uint64_t bytes;
    uint64_t missed;        /* in lanes that are unmapped */
    uint64_t searches;      /* searches started so far: the id of the last one */
    uint64_t waits, waited; /* waits for a message: their number, and their duration in nanoseconds */
    /* Of a consumer that reads by time (rx_order.h): */
    uint32_t by_time;
    uint32_t queued;          /* how many of the lanes are in the heap: the first ones */
    uint32_t clocks;          /* of the lanes, a bit for each enum rip_clock */
    struct rip_moment moment; /* if there are two clocks: when the lanes were scanned last */
    uint64_t scanned;         /* the value of `taken` then */
    /* If messages arrive over links: replaces rip_watch_wait. Else NULL. */
    int (*pull)(struct rip_io_loop *loop, const struct rip_watch *watch, uint64_t deadline);
    struct rip_io_loop *io_loop;
    /* By index in the lane table: the lane that was mapped last; 1 + the id of a lane whose mapping error was
     * reported. */
    struct rip_rx *mapped[RIP_MAX_LANES];
    uint64_t reported[RIP_MAX_LANES];
};

/* Takes message seq of a lane with claims: 1; 0: another member has it, or it is lost; -EBADMSG: no member can read it,
 * and it is released. */
int rip_rx_claim_one(struct rip_consumer *c, struct rip_rx *rx, uint64_t seq, struct rip_message *message);
/* Takes the next message of a lane with claims: 1, 0, or -EBADMSG. */
int rip_rx_claim(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message);
/* Reads the tail of a lane and the counter of requeued messages: 1 if there may be a message, 0, or -EBADMSG. */
int rip_rx_poll(struct rip_rx *rx);
/* With claims: is there a message that no member has taken? */
int rip_rx_has_free(const struct rip_rx *rx);
/* rip_rx_ack in a lane with claims. */
void rip_rx_ack_claim(struct rip_rx *rx, uint64_t seq);
/* Without claims: moves the cursor over acknowledged messages that are older than a released one. They are kept:
 * written into the table beside the cursor. To be called after one is acknowledged, the oldest one is released, or a
 * later one is marked as released. */
void rip_rx_keep(struct rip_rx *rx);
/* Without claims: reports to the producer which messages are acknowledged and not released. */
void rip_rx_report_acked(struct rip_rx *rx);
/* Without claims: releases a message out of order. */
void rip_rx_release_late(struct rip_rx *rx, uint64_t seq);
/* With claims, in a lane that has ended: if all messages are acknowledged, wakes the members that wait for the end. */
void rip_rx_report_end(struct rip_rx *rx);
/* Has a producer of the lane died or failed, and this is not reported yet? */
int rip_rx_has_loss(const struct rip_rx *rx);
/* Messages of the lane that the group has missed since this consumer joined. */
uint64_t rip_rx_missed_of(const struct rip_rx *rx);
/* Converts ticks of this lane to nanoseconds of the machine's time (base/clock.h). now: the present moment, for a
 * caller that converts many, because reading both clocks costs more than the rest. */
uint64_t rip_rx_time_at(const struct rip_rx *rx, struct rip_moment now, uint64_t ticks);
uint64_t rip_rx_time(const struct rip_rx *rx, uint64_t ticks);
/* Converts ticks of this lane to ticks of the counter. now: as for rip_rx_time_at. */
uint64_t rip_rx_ticks_at(const struct rip_rx *rx, struct rip_moment now, uint64_t ticks);

static inline int rip_rx_describe(struct rip_rx *rx, uint64_t seq, uint64_t place, uint64_t size,
                                  struct rip_message *message) {
    const struct rip_desc *desc = &rx->desc[seq & (rx->slots - 1)];
    *message = (struct rip_message){.data = rx->payloads + (place & RIP_PLACE_MASK),
                                    .length = size & RIP_PLACE_MASK,
                                    .seq = seq,
                                    .ticks = ((const volatile struct rip_desc *)desc)->ticks,
                                    .lane = rx,
                                    .missed = size >> RIP_PLACE_BITS,
                                    .type = rip_desc_type(desc),
                                    .kind = (uint8_t)(place >> RIP_PLACE_BITS),
                                    .redelivered = (uint8_t)(place >> (RIP_PLACE_BITS + 8))};
    return 1;
}

/* rip_rx_read of a message that lies beyond the part known to be allocated: checks whether that part has grown, or finds
 * the memory of a message that is longer than the capacity. Reading
 * an unallocated page of a tmpfs allocates it, or ends in SIGBUS. */
int rip_rx_read_far(struct rip_rx *rx, uint64_t seq, struct rip_message *message);

/* Reads the descriptor of message seq: 1, or 0 if the message lies beyond the part known to be allocated. */
static inline int rip_rx_read_near(struct rip_rx *rx, uint64_t seq, struct rip_message *message) {
    /* volatile: read once, so that the checked value is the one used */
    const volatile struct rip_desc *desc = &rx->desc[seq & (rx->slots - 1)];
    uint64_t place = desc->place, size = desc->size;
    uint64_t offset = place & RIP_PLACE_MASK, length = size & RIP_PLACE_MASK;
    if (RIP_UNLIKELY(offset > rx->readable || length > rx->readable - offset || offset % RIP_LINE)) {
        return 0;
    }
    return rip_rx_describe(rx, seq, place, size, message);
}

/* Reads the descriptor of message seq: 1, -EBADMSG, or another negative errno if the memory of a message that is longer
 * than the capacity cannot be mapped now. */
static inline int rip_rx_read(struct rip_rx *rx, uint64_t seq, struct rip_message *message) {
    return RIP_LIKELY(rip_rx_read_near(rx, seq, message)) ? 1 : rip_rx_read_far(rx, seq, message);
}

/* Advances next over messages that were taken out of order. */
static inline void rip_rx_skip(struct rip_rx *rx) {
    while (RIP_UNLIKELY(rx->ahead) && rx->next != rx->tail && rx->marks[rx->next & (rx->slots - 1)] & RIP_MARK_TAKEN) {
        rx->marks[rx->next & (rx->slots - 1)] &= (uint8_t)~RIP_MARK_TAKEN;
        rx->ahead--;
        rx->next++;
    }
}

/* Finds all messages of a lane, by its tail: 1 if there is one at next, 0, or -EBADMSG. The producer's next publish
 * then waits for the cache line of the tail. So this is only for those who need more than the next message. */
int rip_rx_refresh_all(struct rip_rx *rx);

/* The slot of message seq. */
static inline const struct rip_desc *rip_rx_desc(const struct rip_rx *rx, uint64_t seq) {
    return &rx->desc[seq & (rx->slots - 1)];
}

/* Finds the next message of a lane without claims: 1, 0, or -EBADMSG. While the lane is live, its slot tells. */
static inline int rip_rx_refresh(struct rip_rx *rx) {
    rip_rx_skip(rx);
    if (RIP_UNLIKELY(rx->next != rx->tail)) { /* known from rip_rx_refresh_all */
        return 1;
    }
    /* A producer that was killed while it published may have stored the tail and not what is in the slots. */
    if (RIP_UNLIKELY(rx->state != RIP_LANE_LIVE)) {
        return rip_rx_refresh_all(rx);
    }
    if (!rip_desc_is_of(rip_rx_desc(rx, rx->next), rx->next)) {
        return 0;
    }
    if (RIP_UNLIKELY(rx->next - rx->released >= rx->slots)) { /* a message that is not released is in this slot */
        return -EBADMSG;
    }
    rx->tail = rx->next + 1;
    return 1;
}

static inline void rip_rx_take(struct rip_consumer *c, const struct rip_message *message) {
    if (RIP_LIKELY(!message->lane->claims)) {
        message->lane->next = message->seq + 1;
    }
    c->taken++;
    c->bytes += message->length;
}

/* With claims, in an exclusive group: message seq was taken, so it will not be counted as missed. */
static inline void rip_rx_mark_taken(struct rip_rx *rx, uint64_t seq) {
    uint8_t *mark = &rx->marks[seq & (rx->slots - 1)];
    rx->ahead += *mark & RIP_MARK_TAKEN ? 0 : 1;
    *mark |= RIP_MARK_TAKEN;
    for (; rx->marks[rx->counted & (rx->slots - 1)] & RIP_MARK_TAKEN && rx->ahead; rx->counted++, rx->ahead--) {
        rx->marks[rx->counted & (rx->slots - 1)] = 0;
    }
}

/* Advances rx->released over messages that were released out of order. */
static inline void rip_rx_release_marked(struct rip_rx *rx) {
    while (RIP_UNLIKELY(rx->released != rx->next && rx->marks[rx->released & (rx->slots - 1)] & RIP_MARK_RELEASED)) {
        rx->marks[rx->released & (rx->slots - 1)] &= (uint8_t)~RIP_MARK_RELEASED;
        rx->released++;
    }
}

/* before: deliveries in this group. A message that came over a connection may have been delivered elsewhere too. */
static inline void rip_rx_count_deliveries(struct rip_message *message, uint8_t before) {
    unsigned all = message->redelivered + before;
    message->redelivered = (uint8_t)(all < RIP_MAX_REDELIVERED ? all : RIP_MAX_REDELIVERED);
}

/* Called after a claim was released or acknowledged. While the lane is live no member waits for its end. seq_cst: the
 * word is stored before the state is loaded. The process that ends the lane stores the state, then wakes all
 * (rip_lanes_changed), and they see the word. */
static inline void rip_rx_check_end(struct rip_rx *rx) {
    if (RIP_UNLIKELY(atomic_load_explicit(&rx->entry->state, memory_order_seq_cst) != RIP_LANE_LIVE)) {
        rx->tried = 0; /* this may have been all that kept the lane in the table */
        rip_rx_report_end(rx);
    }
}

/* Releases a taken message; the cursor of the lane advances to the oldest one that is not released. */
static inline void rip_rx_release_only(struct rip_rx *rx, uint64_t seq) {
    if (RIP_UNLIKELY(rx->claims)) {
        rx->ours--;
        rip_claim_release(rx->claims, rx->slots, rx->cursor, rx->entry, seq, rx->drops);
        rip_rx_check_end(rx);
        return;
    }
    rip_rx_skip(rx);
    if (RIP_UNLIKELY(seq != rx->released || seq >= rx->next)) {
        rip_rx_release_late(rx, seq);
        return;
    }
    rx->released = seq + 1;
    rip_rx_release_marked(rx);
    if (RIP_UNLIKELY(rx->released != rx->next)) { /* this message may have held the cursor at others that are kept */
        rip_rx_keep(rx);
    }
}

/* Wakes the producer of the lane if it sleeps: call this after a change that it may wait for. */
static inline void rip_rx_wake_producer(struct rip_rx *rx) {
    atomic_signal_fence(memory_order_seq_cst); /* with the sleeper's fence, as in rip_tx_publish */
    if (RIP_UNLIKELY(atomic_load_explicit(&rx->entry->asleep, memory_order_relaxed))) {
        rip_wake_lane(rx->ch, rx->entry);
    }
}

static inline void rip_rx_publish_cursor(struct rip_rx *rx) {
    if (RIP_LIKELY(!rx->claims)) {
        /* release: pairs with the acquire in rip_reclaim; this process has read the payload before it is reused */
        atomic_store_explicit(&rx->cursor->released, rx->released, memory_order_release);
    }
    rip_rx_wake_producer(rx);
}

static inline void rip_rx_release(struct rip_rx *rx, uint64_t seq) {
    rip_rx_release_only(rx, seq);
    rip_rx_publish_cursor(rx);
}

/* Acknowledges a taken message. Its memory stays until rip_rx_release_acked. */
static inline void rip_rx_ack(struct rip_rx *rx, uint64_t seq) {
    if (RIP_UNLIKELY(rx->claims)) {
        rip_rx_ack_claim(rx, seq);
    } else if (seq >= rx->released) {
        rx->marks[seq & (rx->slots - 1)] |= RIP_MARK_ACKED;
        rip_rx_skip(rx);
        if (RIP_UNLIKELY(seq + 1 != rx->next)) { /* a later one may be released */
            rip_rx_keep(rx);
            rip_rx_publish_cursor(rx);
        }
    }
}

/* rip_rx_release of a message that may be acknowledged. */
static inline void rip_rx_release_acked(struct rip_rx *rx, uint64_t seq) {
    if (!rx->claims && seq >= rx->released) {
        rx->marks[seq & (rx->slots - 1)] &= (uint8_t)~RIP_MARK_ACKED;
    }
    rip_rx_release(rx, seq);
}

#endif
