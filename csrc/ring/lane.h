/* The hot path. A producer's and a consumer's side of a lane, inline: reserve, publish, peek, take, release. */
#ifndef RIP_LANE_H
#define RIP_LANE_H

#include "base/clock.h"
#include "channel/channel.h"
#include "ring/arena.h"
#include "ring/claims.h"

#include <errno.h>

#ifndef RIP_STEP
#define RIP_STEP UINT64_C(262144) /* bytes of memory that a lane gets at once, at least; whole pages of any machine's */
#endif

#define RIP_LIKELY(x) __builtin_expect(!!(x), 1)
#define RIP_UNLIKELY(x) __builtin_expect(!!(x), 0)

struct rip_producer {
    struct rip_channel ch; /* first: a fork finds its state here */
    struct rip_lane *lane;
    unsigned char *payloads; /* the arena, mapped */
    struct rip_lane_entry *entry;
    uint64_t slots;
    uint64_t tail;      /* the next seq to be written; lane->tail follows at rip_publish_all */
    uint64_t published; /* what lane->tail is */
    uint64_t
        free_below; /* the smallest cursor when last looked; where messages are dropped, what a group may still look at */
    uint64_t recheck_at; /* the tail at which to look again */
    uint64_t keep;       /* messages that may wait; fewer than the slots where messages are dropped */
    uint64_t bytes;      /* put so far */
    uint64_t wanted;     /* bytes for which there is to be room when the descriptor is readable */
    uint64_t ticks;      /* the time stamp of what is committed */
    struct rip_arena arena;
    struct rip_drop_old *drops; /* if the lane drops old messages */
    uint64_t dropped, refused;
    uint16_t lost;   /* messages refused since the last one that went in */
    uint32_t index;  /* of the lane */
    uint32_t undone; /* its stream does not count */
    enum rip_overflow overflow;
    enum rip_clock clock;
    struct rip_mapping mapping;
};

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
    uint64_t
        reported[RIP_MAX_LANES]; /* by place in the table: 1 + the id of a lane that could not be mapped, if told */
};

/* ---- producer ---- */

/* Looks at the cursors, and finds a place in the arena that is allocated: 0, -EAGAIN, -EMSGSIZE, -EBADMSG, -ENOSPC and
 * the like, -ENOBUFS where the lane drops what finds no place, or -ENOLCK where the table lock is needed, and rip_lock
 * has given up. */
int rip_make_room(struct rip_producer *p, uint64_t length);
/* The part that finds the place: 0, -EAGAIN, -ENOSPC and the like. *end: below it messages may lie, the capacity at
 * first; it becomes what is allocated when there is no memory for more. */
int rip_tx_find_room(struct rip_producer *p, uint64_t length, uint64_t *end);
static inline int rip_is_out_of_memory(int rc) { return rc == -ENOSPC || rc == -ENOMEM || rc == -EDQUOT; }
/* Counts a message that found no place and is not to wait. */
void rip_tx_refuse(struct rip_producer *p);
/* Moves p->limit up to the smallest cursor: 0 or -EBADMSG. */
int rip_reclaim(struct rip_producer *p);

/* A lane for what another process sends, where its memory cannot be shared (stream.h): pid is that one's, ticks are nanoseconds. */
int rip_lane_open(const char *channel, uint64_t capacity, uint64_t slots, int32_t pid, struct rip_producer **out);
/* Messages that every group has done with, in all, of which known are known; also once it is closed. */
uint64_t rip_lane_done(struct rip_producer *p, uint64_t known);
/* As if its process had been killed. */
void rip_lane_abandon(struct rip_producer *p);

/* ---- drop_old.c ---- */

int rip_drop_old_init(struct rip_producer *p);
void rip_drop_old_free(struct rip_producer *p);
/* rip_make_room where old messages are dropped. */
int rip_drop_old_make_room(struct rip_producer *p, uint64_t length);
uint64_t rip_drop_old_first_kept(const struct rip_producer *p); /* the first message not given up */

/* To be filled in before the look that finds no room; then that look and the wait cannot miss a release between them. */
void rip_room_watch(struct rip_producer *p, struct rip_watch *watch);

static inline int rip_tx_reserve(struct rip_producer *p, uint64_t length, unsigned char **payload) {
    if (RIP_UNLIKELY(p->tail >= p->recheck_at || length >= RIP_LARGE || length > p->arena.gap_end - p->arena.at)) {
        int rc = rip_make_room(p, length);
        if (RIP_UNLIKELY(rc != 0)) {
            return rc;
        }
    }
    *payload = p->payloads + p->arena.at;
    return 0;
}

/* Notes the moment for the messages that are committed from now on: once for a batch, as it costs as much as the rest. */
static inline void rip_tx_stamp(struct rip_producer *p) { p->ticks = rip_ticks(p->clock, p->ch.time_offset); }

/* The reserved message is complete, but nobody sees it before rip_tx_publish. */
static inline void rip_tx_commit(struct rip_producer *p, uint64_t length, uint32_t type, uint8_t kind) {
    struct rip_desc *desc = &p->lane->desc[p->tail & (p->slots - 1)];
    desc->offset = p->arena.at;
    desc->length = length;
    desc->ticks = p->ticks;
    desc->type = type;
    desc->kind = kind;
    desc->flags = 0;
    desc->lost = p->lost;
    p->lost = 0;
    p->arena.at += rip_round_up(length, RIP_LINE);
    p->bytes += length;
    p->tail++;
}

static inline void rip_tx_publish(struct rip_producer *p) {
    uint64_t messages = p->tail - p->published;
    p->published = p->tail;
    /* release: pairs with the acquire in rip_advance; payload and descriptor before the tail */
    atomic_store_explicit(&p->lane->tail, p->tail, memory_order_release);
    /* The compiler keeps the order; a sleeper's rip_fence_heavy makes the processor keep it. */
    atomic_signal_fence(memory_order_seq_cst);
    if (RIP_UNLIKELY(atomic_load_explicit(&p->ch.control->groups_asleep, memory_order_relaxed))) {
        rip_wake_groups(&p->ch, messages);
    }
}

/* ---- consumer ---- */

/* How many messages of all lanes are published and not taken. */
uint64_t rip_rx_backlog(struct rip_consumer *c);
/* The pid of a producer whose lane is full while we hold the oldest message in it, or 0. */
int32_t rip_rx_blocks(const struct rip_consumer *c);
/* How many the group has missed since we came. */
uint64_t rip_rx_missed(const struct rip_consumer *c);
/* The next message of the next lane that has one: 1, else 0, -ENODATA, -EOWNERDEAD, -EBADMSG. Where members compete it is ours. */
int rip_advance(struct rip_consumer *c, struct rip_message *message);
/* Claims the next message of a lane that members compete for: 1, 0, or -EBADMSG. */
int rip_rx_claim(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message);
/* Looks at the tail, and at what has been given back, of such a lane: 1 if there may be something, 0, or -EBADMSG. */
int rip_rx_poll(struct rip_rx *rx);
/* Has the next look something to tell, a message, an end, a death, or an error? */
int rip_rx_pending(struct rip_consumer *c);
/* Has the table of lanes changed since we took it over? There may be a lane that we do not know. */
int rip_rx_is_stale(const struct rip_consumer *c);
/* How long to wait at most until the next look: RIP_SLICE_NS, less while we are behind. */
uint64_t rip_rx_slice(const struct rip_consumer *c);
/* Closed without the table lock: others find that this member has gone. */
void rip_consumer_abandon(struct rip_consumer *c);
/* One that was woken for a message, and leaves without looking for it, wakes another. */
void rip_rx_pass_wakeup(struct rip_consumer *c);
/* filter: what the wait is for, or NULL for any message. */
void rip_message_watch(struct rip_consumer *c, const struct rip_filter *filter, struct rip_watch *watch);
/* Enters the group of this name; the lock must be held, and may be lost, as in rip_claims_open. how: as in
 * rip_consumer_open. */
int rip_group_join(struct rip_consumer *c, const char *name, uint32_t how, int32_t *holder);
void rip_rx_unmap(struct rip_rx *rx);
rip_claims_of rip_rx_claims_of; /* of a consumer's own lanes */
/* Takes the lane table over: new lanes, ended lanes, lanes that are gone; the lock must be held, and may be released
 * meanwhile, or be lost, as in rip_claims_open. */
int rip_rescan(struct rip_consumer *c);
/* Takes over the table of lanes if that has changed, as far as that can be done now. */
void rip_update_lanes(struct rip_consumer *c);
/* The same: 0, or a negative errno, once, why a lane of it could not be mapped.
 * While another member has its lock we stay behind. */
int rip_update_lanes_or_fail(struct rip_consumer *c);
/* Are we behind, but not for long yet? Then who does not wait naps and looks again: what has been put may lie in a lane
 * that we do not know, and the lock is held for a moment, unless its holder is stopped. */
int rip_may_sleep_briefly(const struct rip_consumer *c);
void rip_brief_sleep(void);
/* Of a lane with nothing to read: -EOWNERDEAD if its producer has died and that has not been told, else 0. */
int rip_report_death(struct rip_consumer *c, struct rip_rx *rx);
/* Nothing to read anywhere: is it the end? 0 or -ENODATA. */
int rip_at_end(struct rip_consumer *c);
/* Finds a message that the filter lets through, and leaves it there: 1, else as rip_advance. Where members compete, what is found
 * may go to another meanwhile, and be written over; then rip_rx_try fails. */
int rip_rx_find(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);
/* Takes what has been found: 1, or 0 if somebody else has it. */
int rip_rx_try(struct rip_consumer *c, struct rip_message *message);
int rip_rx_is_there(const struct rip_message *found);
/* Takes a message that the filter lets through: 1, else as rip_advance. */
int rip_rx_select(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);
void rip_rx_requeue(struct rip_consumer *c, const struct rip_message *message);
/* With claims: a taken message is done with, and looked at until rip_rx_release. */
void rip_rx_ack(struct rip_rx *rx, uint64_t seq);
/* With claims, in a lane that has ended: if its last message is done with, wakes those who wait for the end. */
void rip_rx_report_end(struct rip_rx *rx);

/* When a message was put, by its ticks: nanoseconds of the machine's time (clock.h). */
uint64_t rip_rx_time(const struct rip_rx *rx, uint64_t ticks);
/* Takes the newest message of all lanes and lets the older go: 1, else as rip_advance. */
int rip_rx_latest(struct rip_consumer *c, struct rip_message *message);

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
