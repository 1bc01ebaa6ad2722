#include "ring/claims.h"

#include <errno.h>

static_assert(RIP_MAX_CONSUMERS <= 1u << RIP_KEPT_SEQ_SHIFT, "a member's number fits");

/* The number of the lap around the slots in which message seq comes. */
static uint64_t lap_of(uint64_t seq, uint64_t slots) { return seq >> __builtin_ctzll(slots); }

static uint64_t lap_in(uint64_t word) { return word >> RIP_CLAIM_LAP_SHIFT; }

/* The state of message seq. A later lap in its slot means that message seq is released. */
static enum rip_claim state_of(uint64_t word, uint64_t slots, uint64_t seq) {
    uint64_t lap = lap_of(seq, slots);
    if (lap_in(word) != lap) {
        return lap_in(word) < lap ? RIP_CLAIM_FREE : RIP_CLAIM_RELEASED;
    }
    return (enum rip_claim)(word & RIP_CLAIM_STATE);
}

static uint32_t member_of(uint64_t word) {
    return (uint32_t)(word >> RIP_CLAIM_MEMBER_SHIFT) & (RIP_MAX_CONSUMERS - 1);
}

/* How often a message has been delivered, according to its word. */
static uint64_t deliveries_of(uint64_t word) { return (word & RIP_CLAIM_DELIVERIES) >> RIP_CLAIM_DELIVERIES_SHIFT; }

static uint64_t word_of(uint64_t seq, uint64_t slots, enum rip_claim state) {
    return lap_of(seq, slots) << RIP_CLAIM_LAP_SHIFT | state;
}

enum rip_claim rip_claim_state(uint64_t word, uint64_t slots, uint64_t seq, uint32_t *member) {
    *member = member_of(word);
    return state_of(word, slots, seq);
}

static int is_acked(uint64_t word, uint64_t slots, uint64_t seq) {
    return state_of(word, slots, seq) >= RIP_CLAIM_ACKED;
}

static int is_passable(uint64_t word, uint64_t slots, uint64_t seq) {
    return state_of(word, slots, seq) >= RIP_CLAIM_RELEASED;
}

int rip_claim_is_free(const struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    /* acquire: pairs with the compare-and-swap that ended the message one lap before */
    return state_of(atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_acquire), slots, seq) ==
           RIP_CLAIM_FREE;
}

int rip_claim_is_taken_by(const struct rip_claims *claims, uint64_t slots, uint64_t seq, uint32_t member) {
    uint64_t word =
        /* relaxed: only this member changes it if it is its claim */
        atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_relaxed);
    enum rip_claim state = state_of(word, slots, seq);
    return (state == RIP_CLAIM_TAKEN || state == RIP_CLAIM_ACKED) && member_of(word) == member;
}

int rip_claim(struct rip_claims *claims, uint64_t slots, uint64_t seq, uint32_t member, uint8_t *before) {
    _Atomic uint64_t *claim = &claims->words[seq & (slots - 1)];
    uint64_t word = atomic_load_explicit(claim, memory_order_relaxed); /* relaxed: the compare-and-swap decides */
    while (state_of(word, slots, seq) == RIP_CLAIM_FREE) {
        uint64_t earlier = lap_in(word) == lap_of(seq, slots) ? deliveries_of(word) : 0;
        uint64_t deliveries = earlier + (earlier < RIP_MAX_REDELIVERED);
        uint64_t ours = word_of(seq, slots, RIP_CLAIM_TAKEN) | (uint64_t)member << RIP_CLAIM_MEMBER_SHIFT |
                        deliveries << RIP_CLAIM_DELIVERIES_SHIFT;
        /* acq_rel: pairs with itself in other members. The message is not released, so the producer cannot have reused
         * its memory. */
        if (atomic_compare_exchange_weak_explicit(claim, &word, ours, memory_order_acq_rel, memory_order_relaxed)) {
            *before = (uint8_t)earlier;
            return 1;
        }
    }
    return 0;
}

/* Does the table entry still belong to the lane of these claims? A lane leaves the table when all its messages are
 * released. A new lane may then get its entry and its cursors while a member is between two instructions here. Call
 * this after a load of the cursor: the id of the entry changes before its cursors do. One case remains: a member that
 * is stopped between this check and its compare-and-swap. A new lane takes the free entry whose last lane is the oldest
 * (producer.c), so as many lanes as there are free entries would have to come and go meanwhile. */
static int is_same_lane(const struct rip_claims *claims, const struct rip_lane_entry *lane) {
    return rip_lane_id(lane) == claims->identity.of[1];
}

/* Two members may release neighbouring messages at the same time. Each stores its word and then loads the other's. Both
 * are seq_cst, so at least one member sees both words and moves the cursor over them. */
static void move_cursor(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                        const struct rip_lane_entry *lane) {
    uint64_t released = atomic_load_explicit(&cursor->released, memory_order_seq_cst);
    for (uint64_t steps = 0; steps < slots; steps++) { /* an intact file has no more words */
        uint64_t word = atomic_load_explicit(&claims->words[released & (slots - 1)], memory_order_seq_cst);
        if (!is_passable(word, slots, released) || !is_same_lane(claims, lane)) {
            return;
        }
        /* release: pairs with the acquire in rip_reclaim. On failure another member has moved the cursor; continue from
         * there. */
        if (atomic_compare_exchange_strong_explicit(&cursor->released, &released, released + 1, memory_order_seq_cst,
                                                    memory_order_seq_cst)) {
            released++;
        }
    }
}

void rip_claims_pass(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                     const struct rip_lane_entry *lane, uint64_t released, uint64_t seq) {
    /* one attempt is enough: a member that was quicker has seen at least as much */
    if (released < seq && is_same_lane(claims, lane)) {
        atomic_compare_exchange_strong_explicit(&cursor->released, &released, seq, memory_order_seq_cst,
                                                memory_order_relaxed);
    }
    move_cursor(claims, slots, cursor, lane);
}

/* A free entry of the table of kept messages, or RIP_MAX_KEPT. */
static uint32_t find_free(const struct rip_claims *claims) {
    uint32_t k = 0;
    /* acquire: pairs with the release in clear_kept, as in rip_is_kept */
    while (k < RIP_MAX_KEPT && atomic_load_explicit(&claims->kept[k], memory_order_acquire) != 0) {
        k++;
    }
    return k;
}

int rip_claim_is_acked(const struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    /* relaxed: rip_claim_give_up loads it with acquire */
    return is_acked(atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_relaxed), slots, seq);
}

int rip_claim_give_up(struct rip_claims *claims, uint64_t slots, uint64_t seq, enum rip_claim least, uint32_t *kept) {
    _Atomic uint64_t *claim = &claims->words[seq & (slots - 1)];
    /* acquire: pairs with rip_claim_release; the member has read before this producer overwrites */
    uint64_t word = atomic_load_explicit(claim, memory_order_acquire);
    for (;;) {
        enum rip_claim state = state_of(word, slots, seq);
        if (state >= RIP_CLAIM_RELEASED) {
            return (int)state;
        }
        uint32_t k = state != RIP_CLAIM_FREE && kept ? find_free(claims) : RIP_MAX_KEPT;
        if (state < least || (state != RIP_CLAIM_FREE && k == RIP_MAX_KEPT)) {
            return -EAGAIN;
        }
        if (state != RIP_CLAIM_FREE) { /* relaxed: the compare-and-swap publishes it */
            atomic_store_explicit(&claims->kept[k], rip_kept_word(seq, member_of(word)), memory_order_relaxed);
        }
        uint64_t next = state == RIP_CLAIM_FREE ? word_of(seq, slots, RIP_CLAIM_DROPPED)
                                                : word_of(seq, slots, RIP_CLAIM_RELEASED) | RIP_CLAIM_PASSED;
        /* acq_rel: pairs with rip_claim, change_ours and requeue_lane. Either the member changes the word or the
         * producer. */
        if (atomic_compare_exchange_strong_explicit(claim, &word, next, memory_order_acq_rel, memory_order_acquire)) {
            if (state == RIP_CLAIM_FREE) {
                atomic_fetch_add_explicit(&claims->dropped, 1, memory_order_relaxed); /* relaxed: for display only */
            } else {
                *kept = k;
            }
            return (int)state;
        }
        if (state != RIP_CLAIM_FREE) { /* relaxed: no member looks for it */
            atomic_store_explicit(&claims->kept[k], 0, memory_order_relaxed);
        }
    }
}

int rip_claim_is_kept(struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    /* acquire: pairs with rip_claim_release */
    uint64_t word = atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_acquire);
    int is_moved = lap_in(word) != lap_of(seq, slots) || (word & RIP_CLAIM_DELIVERIES) == RIP_CLAIM_PASSED;
    int is_kept = is_moved && state_of(word, slots, seq) >= RIP_CLAIM_RELEASED;
    for (uint32_t k = 0; k < RIP_MAX_KEPT; k++) {
        if (rip_is_kept(&claims->kept[k], seq)) {
            if (is_kept) {
                return 1;
            }
            atomic_store_explicit(&claims->kept[k], 0, memory_order_relaxed); /* relaxed: no member looks for it */
        }
    }
    return 0;
}

/* Clears the entry of a kept message, after which the producer may overwrite the message. */
static void clear_kept(struct rip_claims *claims, struct rip_cursor *cursor, uint32_t k) {
    /* release: pairs with the acquire in rip_is_kept */
    atomic_store_explicit(&claims->kept[k], 0, memory_order_release);
    /* release: pairs with the acquire in rip_room_watch */
    atomic_fetch_add_explicit(&cursor->freed, 1, memory_order_release);
}

/* Releases a message of this member that the producer has passed. */
static void release_kept(struct rip_claims *claims, struct rip_cursor *cursor, uint64_t seq) {
    for (uint32_t k = 0; k < RIP_MAX_KEPT; k++) {
        /* relaxed: the word of the message was loaded with acquire, and nobody else clears the entry */
        if (atomic_load_explicit(&claims->kept[k], memory_order_relaxed) >> RIP_KEPT_SEQ_SHIFT == 1 + seq) {
            clear_kept(claims, cursor, k);
        }
    }
}

/* Changes the word of a message that this member has taken. Returns 0 if the producer has passed the message. */
static int change_ours(_Atomic uint64_t *claim, uint64_t slots, uint64_t seq, uint64_t next) {
    /* acquire, also below: pairs with rip_claim_give_up; the entry in the table is visible */
    uint64_t word = atomic_load_explicit(claim, memory_order_acquire);
    while (state_of(word, slots, seq) == RIP_CLAIM_TAKEN || state_of(word, slots, seq) == RIP_CLAIM_ACKED) {
        /* seq_cst: pairs with rip_claims_first_unacked and move_cursor. If two members change the last messages at the
         * same time, one of them sees both words. */
        if (atomic_compare_exchange_weak_explicit(claim, &word, next, memory_order_seq_cst, memory_order_acquire)) {
            return 1;
        }
    }
    return 0;
}

int rip_claim_is_released(const struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    uint64_t word = atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_relaxed);
    return state_of(word, slots, seq) == RIP_CLAIM_RELEASED;
}

uint64_t rip_claims_take_dropped(struct rip_claims *claims) {
    /* relaxed: for display only */
    uint64_t dropped = atomic_load_explicit(&claims->dropped, memory_order_relaxed);
    uint64_t reported = atomic_load_explicit(&claims->reported, memory_order_relaxed);
    while (reported < dropped && !atomic_compare_exchange_weak_explicit(&claims->reported, &reported, dropped,
                                                                        memory_order_relaxed, memory_order_relaxed)) {
    }
    return reported < dropped ? dropped - reported : 0;
}

uint64_t rip_claims_first_unacked(const struct rip_claims *claims, uint64_t slots, uint64_t released, uint64_t tail) {
    for (uint64_t steps = 0; steps < slots && released < tail;
         steps++, released++) { /* an intact file has no more words */
        /* seq_cst: pairs with rip_claim_ack and rip_claim_release */
        if (!is_acked(atomic_load_explicit(&claims->words[released & (slots - 1)], memory_order_seq_cst), slots,
                      released)) {
            return released;
        }
    }
    return tail;
}

int rip_claim_is_passable(const struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    /* acquire: as in rip_claim_give_up */
    return is_passable(atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_acquire), slots, seq);
}

void rip_claim_ack(struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    _Atomic uint64_t *claim = &claims->words[seq & (slots - 1)];
    /* relaxed: it is a claim of this member */
    uint64_t word = atomic_load_explicit(claim, memory_order_relaxed);
    if (state_of(word, slots, seq) == RIP_CLAIM_TAKEN) { /* else the producer has passed it, or the file is damaged */
        change_ours(claim, slots, seq, (word & ~RIP_CLAIM_STATE) | RIP_CLAIM_ACKED);
    }
}

void rip_claim_release(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                       const struct rip_lane_entry *lane, uint64_t seq, uint32_t drops) {
    _Atomic uint64_t *claim = &claims->words[seq & (slots - 1)];
    /* relaxed: this member has acknowledged it, or a producer that passes the group may have changed it */
    int is_shared = drops || state_of(atomic_load_explicit(claim, memory_order_relaxed), slots, seq) != RIP_CLAIM_TAKEN;
    /* the claim keeps the lane in the table until the compare-and-swap succeeds or the word is stored */
    uint64_t oldest = seq;
    /* The oldest message is released by moving the cursor alone. Its word then lies behind the cursor and has no
     * effect. seq_cst: orders the cursor and the words behind it, as in move_cursor. */
    if (!is_shared && atomic_compare_exchange_strong_explicit(&cursor->released, &oldest, seq + 1, memory_order_seq_cst,
                                                              memory_order_relaxed)) {
        move_cursor(claims, slots, cursor, lane);
        return;
    }
    uint64_t word = word_of(seq, slots, RIP_CLAIM_RELEASED);
    if (!is_shared) {
        atomic_store_explicit(claim, word, memory_order_seq_cst);
    } else if (!change_ours(claim, slots, seq, word)) {
        release_kept(claims, cursor, seq);
    }
    move_cursor(claims, slots, cursor, lane);
}

int rip_claim_requeue(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor, uint64_t seq, int started) {
    _Atomic uint64_t *claim = &claims->words[seq & (slots - 1)];
    /* relaxed: it is a claim of this member */
    uint64_t deliveries = deliveries_of(atomic_load_explicit(claim, memory_order_relaxed));
    deliveries -= !started && deliveries > 0 && deliveries < RIP_MAX_REDELIVERED; /* at the most, some are uncounted */
    int requeued =
        change_ours(claim, slots, seq, word_of(seq, slots, RIP_CLAIM_FREE) | deliveries << RIP_CLAIM_DELIVERIES_SHIFT);
    if (!requeued) {
        atomic_fetch_add_explicit(&claims->dropped, 1, memory_order_relaxed); /* relaxed: for display only */
        release_kept(claims, cursor, seq);
    }
    /* release: pairs with the acquire in rip_rx_poll */
    atomic_fetch_add_explicit(&claims->requeued, 1, memory_order_release);
    return requeued;
}

/* Requeues what a member has taken in one lane, and releases what it has acknowledged. Returns how many were requeued.
 * Messages before the cursor are released already. */
static uint64_t requeue_lane(struct rip_claims *claims, uint64_t slots, uint32_t member, uint64_t released) {
    uint64_t requeued = 0;
    for (uint64_t i = 0; i < slots; i++) {
        /* acquire: pairs with the compare-and-swap in rip_claim of the dead member */
        uint64_t word = atomic_load_explicit(&claims->words[i], memory_order_acquire);
        uint64_t state = word & RIP_CLAIM_STATE, seq = lap_in(word) << __builtin_ctzll(slots) | i;
        if ((state == RIP_CLAIM_TAKEN || state == RIP_CLAIM_ACKED) && member_of(word) == member && seq >= released) {
            uint64_t next = state == RIP_CLAIM_TAKEN
                                ? word_of(seq, slots, RIP_CLAIM_FREE) | (word & RIP_CLAIM_DELIVERIES)
                                : word_of(seq, slots, RIP_CLAIM_RELEASED);
            /* seq_cst: pairs with the acquire in rip_claim, and with move_cursor, which follows. This fails if the
             * producer passes the message. acquire: pairs with rip_claim_give_up; the entry in the table is visible. */
            int changed = atomic_compare_exchange_strong_explicit(&claims->words[i], &word, next, memory_order_seq_cst,
                                                                  memory_order_acquire);
            requeued += changed && state == RIP_CLAIM_TAKEN;
        }
    }
    return requeued;
}

void rip_claims_requeue_member(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                               const struct rip_lane_entry *lane, uint32_t member) {
    /* acquire: pairs with move_cursor */
    uint64_t released = atomic_load_explicit(&cursor->released, memory_order_acquire);
    if (requeue_lane(claims, slots, member, released)) {
        /* release: pairs with the acquire in rip_rx_poll */
        atomic_fetch_add_explicit(&claims->requeued, 1, memory_order_release);
    }
    /* after the words: what the producer has passed before is in the table now, and it passes no more of this member */
    for (uint32_t k = 0; k < RIP_MAX_KEPT; k++) {
        /* relaxed: the words were loaded with acquire */
        uint64_t kept = atomic_load_explicit(&claims->kept[k], memory_order_relaxed);
        if (kept && (kept & (RIP_MAX_CONSUMERS - 1)) == member) {
            clear_kept(claims, cursor, k);
        }
    }
    move_cursor(claims, slots, cursor, lane);
}
