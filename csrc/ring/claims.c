#include "ring/claims.h"
#include "store/files.h"

static struct rip_file_key which(uint64_t group, uint64_t lane) {
    return (struct rip_file_key){RIP_FILE_CLAIMS, {group, lane}};
}

static uint64_t size_of(uint64_t slots) {
    return rip_round_up(sizeof(struct rip_claims) + slots * sizeof(uint64_t), RIP_PAGE);
}

/* Where it is there; *slots is what it says, checked. */
static int find(struct rip_channel *ch, struct rip_file_key file, uint64_t *slots, struct rip_mapping *out) {
    int rc = rip_file_open(&ch->handle, file, 1, out);
    if (rc != 0) {
        return rc;
    }
    const volatile struct rip_claims *claims = out->at; /* volatile: read once */
    *slots = out->size < sizeof *claims ? 0 : claims->slots;
    if (*slots == 0 || *slots > RIP_MAX_SLOTS || (*slots & (*slots - 1)) || out->size != size_of(*slots)) {
        rip_mapping_close(out);
        return -EBADMSG;
    }
    return 0;
}

/* Does the lock stay ours while it gets its memory? */
static int is_quick(const struct rip_mapping *mapping) { return mapping->size <= RIP_CLAIMS_AT_ONCE; }

static int fill(struct rip_channel *ch, struct rip_mapping *mapping, int is_new) {
    int is_short = is_quick(mapping), locked = 0;
    if (!is_short) {
        rip_unlock(&ch->handle); /* our membership keeps the channel */
    }
    int rc = is_new ? rip_file_allocate(mapping, mapping->size) : rip_populate(mapping->at, mapping->size, 1);
    if (!is_short) {
        locked = rip_relock(&ch->handle);
    }
    return locked ? locked : rc;
}

/* Are this group and this lane in the tables? */
static int are_there(const struct rip_control *control, uint32_t group, uint32_t lane, struct rip_file_key file) {
    const struct rip_lane_entry *entry = &control->lanes[lane];
    /* relaxed: under the lock */
    return atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> group & 1 &&
           rip_group_id(control, group) == file.of[0] &&
           atomic_load_explicit(&entry->state, memory_order_relaxed) != RIP_LANE_FREE &&
           rip_lane_id(entry) == file.of[1];
}

/* -EEXIST: another has made it meanwhile. */
static int open_once(struct rip_channel *ch, uint32_t group, uint32_t lane, uint64_t slots, struct rip_mapping *out) {
    struct rip_file_key file = which(rip_group_id(ch->control, group), rip_lane_id(&ch->control->lanes[lane]));
    uint64_t has = slots;
    int rc = find(ch, file, &has, out), is_new = rc == -ENOENT;
    if (is_new) {
        rip_files_remove_all(&ch->handle, ch->handle.member); /* begun before, and not named for want of the lock */
        rc = rip_file_create(&ch->handle, size_of(slots), size_of(slots), out);
    }
    rc = rc ? rc : has != slots ? -EBADMSG : fill(ch, out, is_new);
    rc = rc ? rc : are_there(ch->control, group, lane, file) ? 0 : -ENOENT;
    if (rc == 0 && is_new) {
        struct rip_claims *claims = out->at; /* all zero: free */
        claims->slots = slots;
        rc = rip_file_name(&ch->handle, file, out);
    }
    if (rc != 0) {
        rip_mapping_close(out);
        if (is_new && ch->handle.locked) {
            rip_files_remove_all(&ch->handle, ch->handle.member);
        }
        return rc;
    }
    rip_mapping_close_fd(out); /* the mapping is enough */
    return 0;
}

int rip_claims_open(struct rip_channel *ch, uint32_t group, uint32_t lane, uint64_t slots, struct rip_mapping *out) {
    int rc = open_once(ch, group, lane, slots, out);
    return rc == -EEXIST ? open_once(ch, group, lane, slots, out) : rc;
}

void rip_claims_remove(struct rip_channel *ch, uint64_t group, uint64_t lane) {
    rip_file_remove(&ch->handle, which(group, lane)); /* not there: a group that does not compete */
}

static uint64_t seq_of(uint64_t word) { return word >> RIP_CLAIM_SEQ_SHIFT; }
static uint32_t member_of(uint64_t word) { return (uint32_t)(word >> RIP_CLAIM_MEMBER_SHIFT) & (RIP_MAX_MEMBERS - 1); }

/* Of message seq; a later one in its place means that everybody has done with it. */
static enum rip_claim state_of(uint64_t word, uint64_t seq) {
    if (seq_of(word) != seq) {
        return seq_of(word) < seq ? RIP_CLAIM_FREE : RIP_CLAIM_RELEASED;
    }
    return (enum rip_claim)(word & RIP_CLAIM_STATE);
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

enum rip_claim rip_claim_read(struct rip_channel *ch, uint64_t group, uint64_t lane, uint64_t slots, uint64_t seq,
                              uint32_t *member) {
    uint64_t word = 0;
    size_t at = offsetof(struct rip_claims, words) + (size_t)(seq & (slots - 1)) * sizeof word;
    int rc = rip_try_lock(&ch->handle); /* extents are found under it */
    if (rc == 0) {
        rc = rip_file_read(&ch->handle, which(group, lane), at, &word);
        rip_unlock(&ch->handle);
    }
    *member = member_of(word);
    return rc == 0 ? state_of(word, seq) : RIP_CLAIM_FREE;
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

uint64_t rip_claims_read_unacked(struct rip_channel *ch, uint64_t group, uint64_t lane, uint64_t slots,
                                 uint64_t released, uint64_t tail) {
    struct rip_mapping mapping;
    uint64_t has, done = released;
    if (released >= tail || rip_try_lock(&ch->handle) != 0) { /* as in rip_claim_read */
        return released;
    }
    int rc = find(ch, which(group, lane), &has, &mapping);
    rip_unlock(&ch->handle);
    if (rc == 0) {
        done = has == slots ? rip_claims_first_unacked(mapping.at, slots, released, tail) : released;
        rip_mapping_close(&mapping);
    }
    return done;
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

/* As find, with all of its memory. */
static int find_whole(struct rip_channel *ch, struct rip_file_key file, uint64_t *slots, struct rip_mapping *out) {
    int rc = find(ch, file, slots, out);
    if (rc == 0) {
        rc = rip_populate(out->at, out->size, 1);
        if (rc != 0) {
            rip_mapping_close(out);
        }
    }
    return rc;
}

int rip_claims_requeue(struct rip_channel *ch, uint32_t group, uint32_t member) {
    struct rip_control *control = ch->control;
    int result = 0;
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        struct rip_mapping mapping = {.fd = -1};
        uint64_t slots;
        if (atomic_load_explicit(&lane->state, memory_order_relaxed) == RIP_LANE_FREE) {
            continue;
        }
        struct rip_claims *claims = ch->claims_of ? ch->claims_of(ch, group, i, &slots) : NULL;
        int rc = claims ? 0 : find_whole(ch, which(rip_group_id(control, group), rip_lane_id(lane)), &slots, &mapping);
        if (rc != 0) { /* no member has come across this lane, nobody could read what is there, or we cannot look now */
            result = rip_is_resource_error(rc) ? rc : result;
            continue;
        }
        claims = claims ? claims : mapping.at;
        /* acquire: pairs with move_cursor */
        uint64_t released = atomic_load_explicit(&control->cursors[group][i].released, memory_order_acquire);
        if (return_lane(claims, slots, member, released)) {
            /* release: pairs with the acquire in rip_rx_poll */
            atomic_fetch_add_explicit(&claims->requeued, 1, memory_order_release);
        }
        move_cursor(claims, slots, &control->cursors[group][i], lane);
        rip_mapping_close(&mapping);
        rip_wake_lane(ch, lane);
    }
    rip_wake_group(ch, group);
    return result;
}
