/* The hot path of a producer on its lane, inline: commit and publish. */
#ifndef RIP_TX_H
#define RIP_TX_H

#include "base/clock.h"
#include "base/errors.h"
#include "channel/wake.h"
#include "ring/arena.h"

#include <pthread.h>

/* What a thread fills while it lets other threads run: the copy of a message, or memory that the program has
 * reserved. */
enum rip_fill { RIP_FILL_NONE, RIP_FILL_COPY, RIP_FILL_RESERVED };

struct rip_producer {
    struct rip_channel ch; /* first: the fork handler finds the state of the handle here */
    struct rip_lane *lane;
    unsigned char *payloads; /* the mapped arena */
    struct rip_lane_entry *entry;
    uint64_t slots;
    uint64_t tail;       /* the next seq to write; rip_tx_publish stores it in lane->tail */
    uint64_t published;  /* the value of lane->tail */
    uint64_t free_below; /* the first seq that was not given up at the last check: the smallest cursor, if all wait */
    uint64_t recheck_at; /* the tail at which to check the cursors again */
    uint64_t keep;       /* messages that may wait; with drop-old, perhaps fewer than the slots */
    uint64_t bytes;      /* payload bytes put so far */
    uint64_t wanted;     /* bytes for which there must be room before the pollfd is readable */
    uint64_t ticks;      /* the time stamp of the messages being committed */
    struct rip_arena arena;
    struct rip_drop_old *drops; /* the groups that this producer passes */
    uint64_t dropped, refused;
    uint16_t lost;   /* messages refused since the last one that was put */
    uint16_t shared; /* 1: other producers write the lane too (lane_lock.h) */
    uint32_t index;  /* of the lane in the table */
    uint32_t undone; /* rip_producer_undo was called: the stream does not count */
    uint32_t failed; /* rip_producer_fail was called: the stream is not complete */
    enum rip_overflow overflow;
    enum rip_clock clock;
    struct rip_mapping mapping;
    uint32_t fill;         /* enum rip_fill; while it is set, no other thread reserves */
    uint32_t fill_waiters; /* threads that wait for the fill to end */
    pthread_t filler;
    _Atomic uint32_t filled; /* the futex word of these threads */
    uint32_t cut_off;        /* no consumer can come any more, so there will be no room */
    uint64_t waits, waited;  /* waits for room: their number, and their duration in nanoseconds */
    /* Of a shared lane. While this handle is not the owner, its state is that of the last time, and recheck_at is 0, so
     * that rip_tx_reserve finds no room without rip_make_room. */
    uint32_t owner;               /* 1: this handle has the lock of the lane */
    uint32_t holder;              /* its number as a holder of the lock */
    uint32_t waited_as_owner;     /* 1: for room, so there may be room for others too */
    uint64_t own_recheck;         /* what recheck_at was */
    uint64_t others;              /* messages of other producers before tail */
    uint64_t own_end;             /* every message of this producer is before it */
    struct rip_spin turn, asleep; /* how long to spin for the lock; for a waiter that does not spin */
    uint64_t longest;             /* bytes; a longer message is refused */
    struct rip_large *large;      /* messages that are longer than the capacity (large.h); NULL: there was none */
};

/* Reads the clock for the messages that are committed from now on. Once for a batch: it costs as much as the rest. A
 * consumer that reads by time relies on this: the time is that of a moment between the start of the call that puts (or
 * the end of what the program does in it) and the publication. */
static inline void rip_tx_stamp(struct rip_producer *p) {
    /* In the line of groups_asleep, which rip_tx_publish loads anyway. relaxed: as in rip_consumer_open */
    if (RIP_LIKELY(!atomic_load_explicit(&p->ch.control->by_time, memory_order_relaxed))) {
        p->ticks = rip_ticks(p->clock, p->ch.time_offset);
        return;
    }
    rip_counter_fence(); /* this process may have loaded, just before, what tells it of another message */
    p->ticks = rip_ticks(p->clock, p->ch.time_offset);
    /* What is put because of this message gets a later time, also if the counter is slow (24 MHz on some processors). */
    while (rip_ticks(p->clock, p->ch.time_offset) == p->ticks) {
    }
}

/* Fills in the descriptor of the reserved message. Consumers see the message after rip_tx_publish. redelivered: how
 * often it was delivered before it came over a connection. */
static inline void rip_tx_commit_redelivered(struct rip_producer *p, uint64_t length, uint32_t type, uint8_t kind,
                                             uint8_t redelivered) {
    struct rip_desc *desc = &p->lane->desc[p->tail & (p->slots - 1)];
    desc->type = type;
    desc->ticks = p->ticks;
    desc->place = rip_desc_place(p->arena.at, kind, redelivered);
    desc->size = rip_desc_size(length, p->lost);
    p->lost = 0;
    p->arena.at += rip_round_up(length, RIP_LINE);
    p->bytes += length;
    p->tail++;
}

static inline void rip_tx_commit(struct rip_producer *p, uint64_t length, uint32_t type, uint8_t kind) {
    rip_tx_commit_redelivered(p, length, type, kind, 0);
}

/* The slow part of rip_tx_leave (lane_lock.c): the owner has waited for room. */
void rip_lane_leave_awaited(struct rip_producer *p);

/* If this handle is the owner of a shared lane: lets others write. A reservation is discarded. */
static inline void rip_tx_leave(struct rip_producer *p) {
    if (p->owner && RIP_LIKELY(p->ch.handle.state != RIP_FORKED)) { /* in a forked child the parent is the owner */
        p->owner = 0;
        p->own_recheck = p->recheck_at;
        p->recheck_at = 0;
        if (RIP_UNLIKELY(p->waited_as_owner)) {
            rip_lane_leave_awaited(p);
        } else if (rip_word_free(&p->lane->lock, RIP_WORD_WAITERS)) {
            rip_wake_lane(&p->ch, p->entry); /* the pollfds of others */
        }
    }
}

/* Publishes what has been committed: first all of it by the tail, in one store, so that a batch is published as a whole
 * wherever the producer is killed; then each message in its slot, where consumers that get in order find it. */
static inline void rip_tx_publish(struct rip_producer *p) {
    uint64_t messages = p->tail - p->published;
    /* release: pairs with the acquire in rip_rx_refresh_all; payload and descriptor become visible before the tail */
    atomic_store_explicit(&p->lane->tail, p->tail, memory_order_release);
    while (p->published != p->tail) {
        struct rip_desc *desc = &p->lane->desc[p->published++ & (p->slots - 1)];
        /* release: pairs with the acquire in rip_desc_is_of; payload, descriptor and tail become visible before it */
        atomic_store_explicit(&desc->published, (uint32_t)p->published, memory_order_release);
    }
    /* The compiler keeps the order of store and load; a sleeper's rip_fence_heavy makes the processor keep it. */
    atomic_signal_fence(memory_order_seq_cst);
    uint64_t asleep = atomic_load_explicit(&p->ch.control->groups_asleep, memory_order_relaxed);
    if (RIP_UNLIKELY(asleep | p->shared)) {
        if (p->shared) {
            p->own_end = p->published;
            rip_tx_leave(p);
        }
        if (asleep) {
            rip_wake_groups(&p->ch, messages);
        }
    }
}

#endif
