#include "ring/claims.h"

static uint64_t seq_of(uint64_t word) { return word >> RIP_CLAIM_SEQ_SHIFT; }

/* Of message seq; a later one in its place means that everybody has done with it. */
static enum rip_claim state_of(uint64_t word, uint64_t seq) {
    if (seq_of(word) != seq) {
        return seq_of(word) < seq ? RIP_CLAIM_FREE : RIP_CLAIM_RELEASED;
    }
    return (enum rip_claim)(word & RIP_CLAIM_STATE);
}

static uint32_t member_of(uint64_t word) { return (uint32_t)(word >> RIP_CLAIM_MEMBER_SHIFT) & (RIP_MAX_MEMBERS - 1); }

enum rip_claim rip_claim_state(uint64_t word, uint64_t seq, uint32_t *member) {
    *member = member_of(word);
    return state_of(word, seq);
}

static int is_done(uint64_t word, uint64_t seq) { return state_of(word, seq) >= RIP_CLAIM_ACKED; }
static int is_over(uint64_t word, uint64_t seq) { return state_of(word, seq) >= RIP_CLAIM_RELEASED; }

int rip_claim_is_free(const struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    /* acquire: pairs with the compare-and-swap of whoever ended the message of the lap before */
    return state_of(atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_acquire), seq) ==
           RIP_CLAIM_FREE;
}

int rip_claim_is_held(const struct rip_claims *claims, uint64_t slots, uint64_t seq, uint32_t member) {
    uint64_t word =
        atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_relaxed); /* relaxed: if ours */
    enum rip_claim state = state_of(word, seq);
    return (state == RIP_CLAIM_TAKEN || state == RIP_CLAIM_ACKED) && member_of(word) == member;
}

int rip_claim(struct rip_claims *claims, uint64_t slots, uint64_t seq, uint32_t member, int *redelivered) {
    _Atomic uint64_t *handle = &claims->words[seq & (slots - 1)];
    uint64_t word = atomic_load_explicit(handle, memory_order_relaxed); /* relaxed: the compare-and-swap decides */
    while (state_of(word, seq) == RIP_CLAIM_FREE) {
        uint64_t again = seq_of(word) == seq ? word & RIP_CLAIM_REDELIVERED : 0;
        uint64_t ours =
            seq << RIP_CLAIM_SEQ_SHIFT | (uint64_t)member << RIP_CLAIM_MEMBER_SHIFT | again | RIP_CLAIM_TAKEN;
        /* acq_rel: pairs with itself in other members; nobody has ended the message, so the producer cannot have reused it */
        if (atomic_compare_exchange_weak_explicit(handle, &word, ours, memory_order_acq_rel, memory_order_relaxed)) {
            *redelivered = again != 0;
            return 1;
        }
    }
    return 0;
}

/* Is the place in the table still that of the lane of these claims? When all messages of a lane are over it leaves the
 * table, and a new one may take its place, and its cursors, while a member is between two instructions here. To be
 * asked after a load of the cursor: the place's id changes before its cursors do. What remains is a member that stops
 * between this and its compare-and-swap: a new lane takes the free place whose last lane is the oldest (producer.c), so
 * as many lanes would have to come and go meanwhile as there are free places. */
static int is_its_place(const struct rip_claims *claims, const struct rip_lane_entry *lane) {
    return rip_lane_id(lane) == claims->identity.of[1];
}

/* Two members that end neighbouring messages at once: each stores its word, then looks at the other's. seq_cst, so that one of
 * them at least sees both and moves on. */
static void move_cursor(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                        const struct rip_lane_entry *lane) {
    uint64_t released = atomic_load_explicit(&cursor->released, memory_order_seq_cst);
    for (uint64_t steps = 0; steps < slots; steps++) { /* no more are there, if nothing is damaged */
        uint64_t word = atomic_load_explicit(&claims->words[released & (slots - 1)], memory_order_seq_cst);
        if (!is_over(word, released) || !is_its_place(claims, lane)) {
            return;
        }
        /* release: pairs with the acquire in rip_reclaim; on failure another has moved it, and we go on from there */
        if (atomic_compare_exchange_strong_explicit(&cursor->released, &released, released + 1, memory_order_seq_cst,
                                                    memory_order_seq_cst)) {
            released++;
        }
    }
}

void rip_claims_pass(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                     const struct rip_lane_entry *lane, uint64_t released, uint64_t seq) {
    if (released < seq && is_its_place(claims, lane)) { /* once: if another was quicker, it has seen no less */
        atomic_compare_exchange_strong_explicit(&cursor->released, &released, seq, memory_order_seq_cst,
                                                memory_order_relaxed);
    }
    move_cursor(claims, slots, cursor, lane);
}

enum rip_claim rip_claim_drop(struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    _Atomic uint64_t *handle = &claims->words[seq & (slots - 1)];
    /* acquire: pairs with rip_claim_release; the reads of whoever has done with it before our writes */
    uint64_t word = atomic_load_explicit(handle, memory_order_acquire);
    enum rip_claim state;
    while ((state = state_of(word, seq)) == RIP_CLAIM_FREE) {
        /* acq_rel: pairs with rip_claim; one of us gets it */
        if (atomic_compare_exchange_weak_explicit(handle, &word, seq << RIP_CLAIM_SEQ_SHIFT | RIP_CLAIM_DROPPED,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            /* relaxed: a number to show, of which we are the only writer */
            uint64_t dropped = atomic_load_explicit(&claims->dropped, memory_order_relaxed);
            atomic_store_explicit(&claims->dropped, dropped + 1, memory_order_relaxed);
            break;
        }
    }
    return state;
}

int rip_claim_is_acked(const struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    uint64_t word = atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_relaxed);
    return state_of(word, seq) == RIP_CLAIM_RELEASED;
}

uint64_t rip_claims_take_dropped(struct rip_claims *claims) {
    /* relaxed: a number to show */
    uint64_t dropped = atomic_load_explicit(&claims->dropped, memory_order_relaxed);
    uint64_t reported = atomic_load_explicit(&claims->reported, memory_order_relaxed);
    while (reported < dropped && !atomic_compare_exchange_weak_explicit(&claims->reported, &reported, dropped,
                                                                        memory_order_relaxed, memory_order_relaxed)) {
    }
    return reported < dropped ? dropped - reported : 0;
}

uint64_t rip_claims_first_unacked(const struct rip_claims *claims, uint64_t slots, uint64_t released, uint64_t tail) {
    for (uint64_t steps = 0; steps < slots && released < tail;
         steps++, released++) { /* no more are there, if nothing is damaged */
        /* seq_cst: pairs with rip_claim_ack and rip_claim_release */
        if (!is_done(atomic_load_explicit(&claims->words[released & (slots - 1)], memory_order_seq_cst), released)) {
            return released;
        }
    }
    return tail;
}

int rip_claim_is_released(const struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    /* acquire: as in rip_claim_drop */
    return is_over(atomic_load_explicit(&claims->words[seq & (slots - 1)], memory_order_acquire), seq);
}

void rip_claim_ack(struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    _Atomic uint64_t *handle = &claims->words[seq & (slots - 1)];
    uint64_t word = atomic_load_explicit(handle, memory_order_relaxed);       /* relaxed: it is ours */
    if (seq_of(word) == seq && (word & RIP_CLAIM_STATE) == RIP_CLAIM_TAKEN) { /* else something is damaged */
        /* seq_cst: pairs with rip_claims_first_unacked; of two members that are done with the last ones at once, one sees both */
        atomic_store_explicit(handle, (word & ~RIP_CLAIM_STATE) | RIP_CLAIM_ACKED, memory_order_seq_cst);
    }
}

void rip_claim_release(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                       const struct rip_lane_entry *lane, uint64_t seq, uint32_t drops) {
    uint64_t oldest = seq; /* our claim keeps the lane in the table until this succeeds, or the word is stored */
    /* The oldest one ends by the cursor's moving on. What stays in its word claims a message that is behind the cursor: nothing.
     * seq_cst: as in move_cursor, between the cursor and the words of those that follow. */
    if (!drops && atomic_compare_exchange_strong_explicit(&cursor->released, &oldest, seq + 1, memory_order_seq_cst,
                                                          memory_order_relaxed)) {
        move_cursor(claims, slots, cursor, lane);
        return;
    }
    atomic_store_explicit(&claims->words[seq & (slots - 1)], seq << RIP_CLAIM_SEQ_SHIFT | RIP_CLAIM_RELEASED,
                          memory_order_seq_cst);
    move_cursor(claims, slots, cursor, lane);
}

void rip_claim_requeue(struct rip_claims *claims, uint64_t slots, uint64_t seq) {
    _Atomic uint64_t *handle = &claims->words[seq & (slots - 1)];
    uint64_t again = atomic_load_explicit(handle, memory_order_relaxed) & RIP_CLAIM_REDELIVERED; /* relaxed: ours */
    atomic_store_explicit(handle, seq << RIP_CLAIM_SEQ_SHIFT | again | RIP_CLAIM_FREE, memory_order_release);
    atomic_fetch_add_explicit(&claims->requeued, 1, memory_order_release); /* pairs with the acquire in rip_rx_poll */
}

/* Frees a member's claims in one lane: how many. What it kept is done, and ends. What lies before the cursor has ended. */
static uint64_t return_lane(struct rip_claims *claims, uint64_t slots, uint32_t member, uint64_t released) {
    uint64_t requeued = 0;
    for (uint64_t i = 0; i < slots; i++) {
        /* acquire: pairs with the compare-and-swap in rip_claim of the member that is dead */
        uint64_t word = atomic_load_explicit(&claims->words[i], memory_order_acquire);
        uint64_t state = word & RIP_CLAIM_STATE, seq = seq_of(word);
        if ((state == RIP_CLAIM_TAKEN || state == RIP_CLAIM_ACKED) && member_of(word) == member && seq >= released) {
            uint64_t becomes = state == RIP_CLAIM_TAKEN ? RIP_CLAIM_REDELIVERED | RIP_CLAIM_FREE : RIP_CLAIM_RELEASED;
            /* seq_cst: pairs with the acquire in rip_claim, and as in move_cursor, which follows. It fails only where damage
             * makes another change a dead member's claim. */
            int changed =
                atomic_compare_exchange_strong_explicit(&claims->words[i], &word, seq << RIP_CLAIM_SEQ_SHIFT | becomes,
                                                        memory_order_seq_cst, memory_order_relaxed);
            requeued += changed && state == RIP_CLAIM_TAKEN;
        }
    }
    return requeued;
}

void rip_claims_return_all(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                           const struct rip_lane_entry *lane, uint32_t member) {
    uint64_t released = atomic_load_explicit(&cursor->released, memory_order_acquire); /* pairs with move_cursor */
    if (return_lane(claims, slots, member, released)) {
        /* release: pairs with the acquire in rip_rx_poll */
        atomic_fetch_add_explicit(&claims->requeued, 1, memory_order_release);
    }
    move_cursor(claims, slots, cursor, lane);
}
