/* A consumer's side of a lane: reading, taking and releasing its messages, inline. */
#ifndef RIP_RX_H
#define RIP_RX_H

#include "channel/tables.h"
#include "channel/wake.h"
#include "ring/arena.h"
#include "ring/claims.h"

#include <errno.h>

struct rip_io_loop;

/* Taken before an older one; let go before an older one was. */
enum rip_mark { RIP_MARK_TAKEN = 1, RIP_MARK_RELEASED = 2 };

/* One lane as one consumer sees it. */
struct rip_rx {
    uint64_t next;     /* the first seq not taken */
    uint64_t tail;     /* lane->tail when last looked */
    uint64_t released; /* the oldest seq not let go; cursor->held says so to the producer */
    uint64_t guess;    /* where in the arena the next message probably lies: behind the last one read */
    uint64_t slots;
    uint64_t readable; /* bytes of the arena that are allocated, as we have seen */
    const struct rip_desc *desc;
    const unsigned char *payloads;
    struct rip_cursor *cursor;
    struct rip_lane_entry *entry;
    struct rip_channel *ch;
    uint8_t *marks;            /* [slots], enum rip_mark: what has happened out of turn */
    uint64_t ahead;            /* messages taken that lie at or after next */
    uint64_t search, scan_pos; /* a search that has been here, and how far it has come */
    uint64_t capacity;
    const struct rip_lane *lane;
    struct rip_mapping mapping;
    struct rip_claims *claims; /* where several hands are after a message, else NULL */
    struct rip_mapping claims_mapping;
    uint64_t requeued;         /* claims->returned when last looked */
    uint64_t ours;             /* with claims: messages that we have claimed and not ended or given back */
    uint64_t counted;          /* with claims: messages before it have been got, or missed */
    uint64_t gap, last_gap;    /* messages missed that have not been told; told with the last one claimed */
    uint64_t dropped, refused; /* what claims and lane said when we came */
    uint32_t drops;            /* its producer drops old messages */
    uint32_t counts;           /* and we are the only one to miss them */
    uint64_t id;
    int32_t pid;
    uint32_t index;
    uint32_t group;
    uint32_t state;    /* enum rip_lane_state when last looked */
    uint32_t reported; /* its producer's death has been told */
    uint32_t tried;    /* to retire it */
    uint32_t present;  /* in the table, when last looked */
};

struct rip_consumer {
    struct rip_channel ch;  /* first */
    struct rip_rx *current; /* the lane read last; NULL if members compete for it */
    struct rip_rx *claimed; /* that lane then */
    struct rip_rx *lanes[RIP_RX_LANES];
    uint32_t count;
    uint32_t scan; /* the lane looked at last */
    uint32_t group;
    uint32_t shared;  /* its members compete */
    uint32_t claims;  /* it keeps claims: its members compete, or what they hold is to outlive them */
    uint32_t leaving; /* closed for the program, but open for the messages that it still holds */
    uint32_t watches; /* waits under way: they look at mapped lanes, so none is unmapped meanwhile */
    uint32_t had_lanes;
    uint32_t joined;        /* lanes that we see from now on are new */
    int32_t died;           /* the producer of which -EOWNERDEAD spoke */
    uint64_t lanes_changed; /* of the table that we have */
    uint64_t lanes_seen;    /* and of the one that we have last seen, which we may not have been able to take over */
    uint32_t behind;        /* looks in a row that could not, because another member had the lock */
    int32_t refused;        /* why a lane could not be mapped, or 0: to be told */
    uint32_t silent;        /* nobody is to be told that */
    uint64_t again;         /* when to try that again, nanoseconds; 0: all are mapped */
    uint64_t taken;
    uint64_t bytes;
    uint64_t missed; /* in lanes that are gone */
    uint64_t searches;
    uint64_t waits, waited; /* for a message: how often, and nanoseconds in all */
    /* Where messages come by connections: what waits for them instead of rip_watch_wait, else NULL. */
    int (*pull)(struct rip_io_loop *loop, const struct rip_watch *watch, uint64_t deadline);
    struct rip_io_loop *io_loop;
    uint64_t
        reported[RIP_MAX_LANES]; /* by place in the table: 1 + the id of a lane that could not be mapped, if told */
};

/* Claims the next message of a lane that members compete for: 1, 0, or -EBADMSG. */
int rip_rx_claim(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message);
/* Looks at the tail, and at what has been given back, of such a lane: 1 if there may be something, 0, or -EBADMSG. */
int rip_rx_poll(struct rip_rx *rx);
/* Is there a message that nobody has claimed? The same. */
int rip_rx_has_free(const struct rip_rx *rx);
/* With claims: a taken message is done with, and looked at until rip_rx_release. */
void rip_rx_ack(struct rip_rx *rx, uint64_t seq);
/* With claims, in a lane that has ended: if its last message is done with, wakes those who wait for the end. */
void rip_rx_report_end(struct rip_rx *rx);
/* How many messages of the lane the group has missed since we came. */
uint64_t rip_rx_missed_of(const struct rip_rx *rx);
/* When a message was put, by its ticks: nanoseconds of the machine's time (base/clock.h). */
uint64_t rip_rx_time(const struct rip_rx *rx, uint64_t ticks);

static inline int rip_rx_describe(struct rip_rx *rx, uint64_t seq, uint64_t offset, uint64_t length,
                                  struct rip_message *message) {
    const volatile struct rip_desc *desc = &rx->desc[seq & (rx->slots - 1)];
    rx->guess = offset + rip_round_up(length, RIP_LINE);
    *message = (struct rip_message){.data = rx->payloads + offset,
                                    .length = length,
                                    .seq = seq,
                                    .ticks = desc->ticks,
                                    .lane = rx,
                                    .missed = desc->lost,
                                    .type = desc->type,
                                    .kind = desc->kind,
                                    .flags = desc->flags};
    return 1;
}

/* rip_rx_read of a message that does not lie in what is known to be allocated: looks whether it is. Reading what is
 * not, in a tmpfs, allocates it, or ends in SIGBUS. */
int rip_rx_read_far(struct rip_rx *rx, uint64_t seq, struct rip_message *message);

/* Message seq: 1 or -EBADMSG. */
static inline int rip_rx_read(struct rip_rx *rx, uint64_t seq, struct rip_message *message) {
    /* volatile: read once, so that what is checked is what is used */
    const volatile struct rip_desc *desc = &rx->desc[seq & (rx->slots - 1)];
    uint64_t offset = desc->offset, length = desc->length;
    if (RIP_UNLIKELY(offset > rx->readable || length > rx->readable - offset || offset % RIP_LINE)) {
        return rip_rx_read_far(rx, seq, message);
    }
    return rip_rx_describe(rx, seq, offset, length, message);
}

/* Passes over what has been taken out of its turn. */
static inline void rip_rx_skip(struct rip_rx *rx) {
    while (RIP_UNLIKELY(rx->ahead) && rx->next != rx->tail && rx->marks[rx->next & (rx->slots - 1)] & RIP_MARK_TAKEN) {
        rx->marks[rx->next & (rx->slots - 1)] &= (uint8_t)~RIP_MARK_TAKEN;
        rx->ahead--;
        rx->next++;
    }
}

/* Looks at a lane's tail: 1 if there is something to read, 0, or -EBADMSG. */
static inline int rip_rx_refresh(struct rip_rx *rx) {
    rip_rx_skip(rx);
    /* acquire: pairs with the release in rip_tx_publish; the tail, then descriptor and payload */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire);
    if (tail == rx->next) {
        return RIP_UNLIKELY(tail < rx->tail) ? -EBADMSG : 0;
    }
    if (RIP_UNLIKELY(tail < rx->tail || tail - rx->released > rx->slots)) {
        return -EBADMSG;
    }
    rx->tail = tail;
    /* The payload's line travels together with the descriptor's, which says where it is, and not after it. */
    __builtin_prefetch(&rx->desc[rx->next & (rx->slots - 1)]);
    __builtin_prefetch(rx->payloads + rx->guess);
    return 1;
}

static inline void rip_rx_take(struct rip_consumer *c, const struct rip_message *message) {
    if (RIP_LIKELY(!message->lane->claims)) {
        message->lane->next = message->seq + 1;
    }
    c->taken++;
    c->bytes += message->length;
}

/* Where claims are kept: message seq is not one that an exclusive group has missed, when its turn comes. */
static inline void rip_rx_mark_taken(struct rip_rx *rx, uint64_t seq) {
    uint8_t *mark = &rx->marks[seq & (rx->slots - 1)];
    rx->ahead += *mark & RIP_MARK_TAKEN ? 0 : 1;
    *mark |= RIP_MARK_TAKEN;
    for (; rx->marks[rx->counted & (rx->slots - 1)] & RIP_MARK_TAKEN && rx->ahead; rx->counted++, rx->ahead--) {
        rx->marks[rx->counted & (rx->slots - 1)] = 0;
    }
}

/* Moves rx->held over what has been released out of turn. */
static inline void rip_rx_release_marked(struct rip_rx *rx) {
    while (RIP_UNLIKELY(rx->released != rx->next && rx->marks[rx->released & (rx->slots - 1)] & RIP_MARK_RELEASED)) {
        rx->marks[rx->released & (rx->slots - 1)] &= (uint8_t)~RIP_MARK_RELEASED;
        rx->released++;
    }
}

/* After a claim has ended, or is done with. While the lane is live nobody waits for an end. seq_cst: our word, then the state;
 * who ends the lane sets its state, then wakes all (rip_lanes_changed), and they see our word. */
static inline void rip_rx_check_end(struct rip_rx *rx) {
    if (RIP_UNLIKELY(atomic_load_explicit(&rx->entry->state, memory_order_seq_cst) != RIP_LANE_LIVE)) {
        rip_rx_report_end(rx);
    }
}

/* Lets a taken message go; the lane's cursor moves up to the oldest one still held. */
static inline void rip_rx_release_only(struct rip_rx *rx, uint64_t seq) {
    if (RIP_UNLIKELY(rx->claims)) {
        rx->ours--;
        rip_claim_release(rx->claims, rx->slots, rx->cursor, rx->entry, seq, rx->drops);
        rip_rx_check_end(rx);
        return;
    }
    rip_rx_skip(rx);
    if (RIP_UNLIKELY(seq != rx->released || seq >= rx->next)) {
        rx->marks[seq & (rx->slots - 1)] |= RIP_MARK_RELEASED;
        return;
    }
    rx->released = seq + 1;
    rip_rx_release_marked(rx);
}

static inline void rip_rx_publish_cursor(struct rip_rx *rx) {
    if (RIP_LIKELY(!rx->claims)) {
        /* release: pairs with the acquire in rip_reclaim; our reads of the payload before its reuse */
        atomic_store_explicit(&rx->cursor->released, rx->released, memory_order_release);
    }
    atomic_signal_fence(memory_order_seq_cst); /* as in rip_tx_publish */
    if (RIP_UNLIKELY(atomic_load_explicit(&rx->entry->asleep, memory_order_relaxed))) {
        rip_wake_lane(rx->ch, rx->entry);
    }
}

static inline void rip_rx_release(struct rip_rx *rx, uint64_t seq) {
    rip_rx_release_only(rx, seq);
    rip_rx_publish_cursor(rx);
}

#endif
