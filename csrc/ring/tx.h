/* A producer's side of its lane: committing and publishing, inline. */
#ifndef RIP_TX_H
#define RIP_TX_H

#include "base/clock.h"
#include "channel/wake.h"
#include "ring/arena.h"

#include <errno.h>
#include <pthread.h>

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
    uint32_t fill;         /* enum rip_fill; nobody else reserves meanwhile */
    uint32_t fill_waiters; /* threads that wait for the end of that */
    pthread_t filler;
    _Atomic uint32_t filled; /* what they sleep on */
    uint32_t cut_off;        /* no consumer can come any more, so no room either */
    uint64_t waits, waited;  /* for room: how often, and nanoseconds in all */
};

static inline int rip_is_out_of_memory(int rc) { return rc == -ENOSPC || rc == -ENOMEM || rc == -EDQUOT; }

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

#endif
