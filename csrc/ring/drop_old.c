#include "ring/drop_old.h"
#include "ring/claim_files.h"
#include "ring/lane_memory.h"
#include "store/table_lock.h"

#include <stdlib.h>

struct group {
    uint64_t id; /* 0: none */
    struct rip_claims *claims;
    struct rip_mapping mapping;
};

struct rip_drop_old {
    uint64_t dropped_below;
    struct group groups[RIP_MAX_GROUPS];
};

int rip_drop_old_init(struct rip_producer *p) {
    p->drops = calloc(1, sizeof *p->drops);
    for (uint32_t g = 0; p->drops && g < RIP_MAX_GROUPS; g++) {
        p->drops->groups[g].mapping.fd = -1;
    }
    return p->drops ? 0 : -ENOMEM;
}

void rip_drop_old_free(struct rip_producer *p) {
    for (uint32_t g = 0; p->drops && g < RIP_MAX_GROUPS; g++) {
        rip_mapping_close(&p->drops->groups[g].mapping);
    }
    free(p->drops);
    p->drops = NULL;
}

uint64_t rip_drop_old_first_kept(const struct rip_producer *p) { return p->drops->dropped_below; }

/* Is it pinned already? */
static int is_pinned(const struct rip_arena *arena, uint64_t seq) {
    for (unsigned i = 0; i < arena->pinned; i++) {
        if (arena->pins[i].seq == seq) {
            return 1;
        }
    }
    return 0;
}

/* Has a group begun behind message seq, or moved its cursor over it? */
static int is_behind(const struct rip_producer *p, uint32_t g, uint64_t seq) {
    /* acquire: pairs with move_cursor; the group's reads before our writes */
    return seq < atomic_load_explicit(&p->ch.control->cursors[g][p->index].released, memory_order_acquire);
}

/* Where message seq lies, read back from shared memory: believed only where it can be true, else nowhere. */
static struct rip_run place_of(const struct rip_producer *p, uint64_t seq) {
    const volatile struct rip_desc *desc = &p->lane->desc[seq & (p->slots - 1)]; /* volatile: read once */
    uint64_t offset = desc->offset, length = desc->length, end = p->arena.allocated;
    struct rip_run run = {.seq = seq};
    if (offset % RIP_LINE == 0 && offset <= end && length <= end - offset) {
        run.lo = offset;
        run.hi = offset + rip_round_up(length, RIP_LINE);
    }
    return run;
}

/* Gives message seq up for group g: 0, or -EAGAIN if somebody looks at it and no pin is left. */
static int give_up_for(struct rip_producer *p, const struct group *group, uint32_t g, uint64_t seq) {
    if (is_behind(p, g, seq)) {
        return 0;
    }
    enum rip_claim state = rip_claim_drop(group->claims, p->slots, seq);
    if (state == RIP_CLAIM_FREE) {
        p->dropped++;
        return 0;
    }
    if (state >= RIP_CLAIM_RELEASED || is_pinned(&p->arena, seq)) {
        return 0;
    }
    if (p->arena.pinned == RIP_MAX_PINS) {
        return -EAGAIN;
    }
    p->arena.pins[p->arena.pinned++] = place_of(p, seq);
    return 0;
}

static int give_up(struct rip_producer *p, uint64_t seq, uint64_t active) {
    if (!active && seq >= atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed)) {
        p->dropped++; /* nobody will ever read it */
    }
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (active >> g & 1) {
            int rc = give_up_for(p, &p->drops->groups[g], g, seq);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

/* Opens the claims of a group, if that is still there. Where no member has made them yet, we do. */
static int open_claims(struct rip_producer *p, uint32_t g, uint64_t id, struct rip_mapping *out) {
    struct rip_control *control = p->ch.control;
    int rc = rip_lock(&p->ch.handle);
    if (rc != 0) {
        return rip_is_locked_out(rc) ? -ENOLCK : rc; /* what bring_up means by -EAGAIN is something else */
    }
    int there = atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> g & 1;
    rc = there && rip_group_id(control, g) == id ? rip_claims_open(&p->ch, g, p->index, p->slots, out) : -ENOENT;
    rip_unlock(&p->ch.handle);
    return rip_is_locked_out(rc) ? -ENOLCK : rc;
}

/* A group that we meet for the first time may have been given a cursor before what we have given up since. */
static int bring_up(struct rip_producer *p, const struct group *group, uint32_t g) {
    int rc = 0;
    for (uint64_t seq = p->free_below; rc == 0 && seq < p->drops->dropped_below; seq++) {
        rc = give_up_for(p, group, g, seq);
    }
    return rc;
}

/* Makes sure that we have the claims of all groups that are there: their bits, or a negative errno. */
static int meet(struct rip_producer *p, uint64_t *active) {
    struct rip_control *control = p->ch.control;
    /* acquire: pairs with rip_group_begin: its id; and with rip_group_leave */
    *active = atomic_load_explicit(&control->groups_active, memory_order_acquire);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        struct group *group = &p->drops->groups[g];
        uint64_t id = rip_group_id(control, g);
        if (!(*active >> g & 1) || (group->claims && group->id == id)) {
            continue;
        }
        struct group met = {.id = id};
        int rc = open_claims(p, g, id, &met.mapping);
        if (rc == -ENOENT) { /* it has left meanwhile */
            *active &= ~(UINT64_C(1) << g);
            continue;
        }
        if (rc == 0) {
            met.claims = met.mapping.at;
            rc = bring_up(p, &met, g);
            if (rc != 0) {
                rip_mapping_close(&met.mapping);
            }
        }
        if (rc != 0) {
            return rc;
        }
        rip_mapping_close(&group->mapping);
        *group = met;
    }
    return 0;
}

/* Is nobody to read message seq any more? */
static int is_done(const struct rip_producer *p, uint64_t seq, uint64_t active) {
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (active >> g & 1 && !is_behind(p, g, seq) &&
            !rip_claim_is_released(p->drops->groups[g].claims, p->slots, seq)) {
            return 0;
        }
    }
    return active != 0;
}

/* Takes note of what has been let go. */
static void settle(struct rip_producer *p, uint64_t active) {
    struct rip_arena *arena = &p->arena;
    unsigned kept = 0;
    for (unsigned i = 0; i < arena->pinned; i++) {
        /* a group that has left looks at nothing */
        if (active && !is_done(p, arena->pins[i].seq, active)) {
            arena->pins[kept++] = arena->pins[i];
        }
    }
    arena->pinned = kept;
    while (p->drops->dropped_below != p->published && is_done(p, p->drops->dropped_below, active)) {
        p->drops->dropped_below++;
    }
}

/* What was looked at and then given back is pinned too; where no other room is left it is dropped like the rest. */
static int drop_pins(struct rip_producer *p, uint64_t active) {
    unsigned before = p->arena.pinned;
    for (unsigned i = 0; i < before; i++) {
        give_up(p, p->arena.pins[i].seq, active); /* pins nothing anew, as it is pinned */
    }
    settle(p, active);
    return p->arena.pinned < before;
}

static uint64_t limit_of(const struct rip_producer *p) {
    uint64_t limit = p->drops->dropped_below;
    for (unsigned i = 0; i < p->arena.pinned; i++) {
        limit = p->arena.pins[i].seq < limit ? p->arena.pins[i].seq : limit;
    }
    return limit;
}

/* Gives up as many messages as must be for one of length bytes: 0, -ENOBUFS where what is looked at leaves no room, or
 * why memory could not be allocated. That there is none is no error here: then room is made in what is allocated. */
static int find_room(struct rip_producer *p, uint64_t length, uint64_t active) {
    struct rip_drop_old *drops = p->drops;
    uint64_t end = p->arena.capacity;
    for (;;) {
        uint64_t offset = p->lane->desc[drops->dropped_below & (p->slots - 1)].offset, limit = limit_of(p);
        rip_arena_reclaim(&p->arena, drops->dropped_below, offset, p->tail);
        if (limit < drops->dropped_below && p->tail - limit >= p->slots) { /* a pin is the oldest */
            if (drop_pins(p, active)) {
                continue;
            }
            return -ENOBUFS;
        }
        if (p->tail - drops->dropped_below < p->keep) {
            int rc = rip_tx_find_room(p, length, &end);
            if (rc != -EAGAIN && !rip_is_out_of_memory(rc)) {
                return rc;
            }
        }
        if (drops->dropped_below == p->published || give_up(p, drops->dropped_below, active) != 0) {
            if (drop_pins(p, active)) {
                continue;
            }
            return -ENOBUFS;
        }
        drops->dropped_below++;
    }
}

int rip_drop_old_make_room(struct rip_producer *p, uint64_t length) {
    struct rip_control *control = p->ch.control;
    for (;;) {
        uint64_t active;
        /* acquire: pairs with rip_group_begin; who sees its count sees its bit */
        uint64_t epoch = atomic_load_explicit(&control->group_epoch, memory_order_acquire);
        int rc = meet(p, &active);
        if (rc == 0) {
            settle(p, active);
            rc = find_room(p, length, active);
        } else if (rc == -EAGAIN) {
            rc = -ENOBUFS;
        }
        /* As in rip_reclaim: a new group begins behind what we have given up, or we see it and go round again. Release: pairs with the
         * acquire in rip_rx_poll. */
        atomic_store_explicit(&p->lane->dropped_below, p->drops->dropped_below, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&control->group_epoch, memory_order_relaxed) == epoch) {
            uint64_t from = p->drops->dropped_below;
            p->free_below = limit_of(p);
            p->recheck_at = p->free_below + p->slots < from + p->keep ? p->free_below + p->slots : from + p->keep;
            p->recheck_at = rc == 0 ? p->recheck_at : p->tail; /* we come here again */
            atomic_store_explicit(&p->lane->reclaimed, p->free_below, memory_order_release);
            return rc;
        }
    }
}
