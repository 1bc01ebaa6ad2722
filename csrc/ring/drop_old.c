#include "ring/drop_old.h"
#include "ring/claim_files.h"
#include "ring/lane_memory.h"
#include "store/table_lock.h"

#include <stdlib.h>

struct group {
    uint64_t id; /* 0: no group */
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

/* Is message seq pinned already? */
static int is_pinned(const struct rip_arena *arena, uint64_t seq) {
    for (unsigned i = 0; i < arena->pinned; i++) {
        if (arena->pins[i].seq == seq) {
            return 1;
        }
    }
    return 0;
}

/* Is the cursor of group g beyond message seq? */
static int is_passed(const struct rip_producer *p, uint32_t g, uint64_t seq) {
    /* acquire: pairs with move_cursor; the group has read before this producer overwrites */
    return seq < atomic_load_explicit(&p->entry->cursors[g].released, memory_order_acquire);
}

/* Where message seq lies. This is read back from shared memory: used only if it is plausible, else an empty range. */
static struct rip_run range_of(const struct rip_producer *p, uint64_t seq) {
    const struct rip_desc *desc = &p->lane->desc[seq & (p->slots - 1)];
    uint64_t offset = rip_desc_offset(desc), length = rip_desc_length(desc), end = p->arena.allocated;
    struct rip_run run = {.seq = seq};
    if (offset % RIP_LINE == 0 && offset <= end && length <= end - offset) {
        run.lo = offset;
        run.hi = offset + rip_round_up(length, RIP_LINE);
    }
    return run;
}

/* Gives message seq up for group g: 0, or -EAGAIN if a member uses it and no pin is left. */
static int give_up_for(struct rip_producer *p, const struct group *group, uint32_t g, uint64_t seq) {
    if (is_passed(p, g, seq)) {
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
    p->arena.pins[p->arena.pinned++] = range_of(p, seq);
    return 0;
}

static int give_up(struct rip_producer *p, uint64_t seq, uint64_t active) {
    if (!active && seq >= atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed)) {
        p->dropped++; /* no group will ever read it */
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

/* Opens the claims of a group if the group still exists. Creates them if no member has done so. */
static int open_claims(struct rip_producer *p, uint32_t g, uint64_t id, struct rip_mapping *out) {
    struct rip_control *control = p->ch.control;
    int rc = rip_lock(&p->ch.handle);
    if (rc != 0) {
        return rc == -EAGAIN ? -ENOLCK : rc; /* -EAGAIN means that no pin is left */
    }
    int there = atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> g & 1;
    rc = there && rip_group_id(control, g) == id ? rip_claims_open(&p->ch, g, p->index, p->slots, out) : -ENOENT;
    rip_unlock(&p->ch.handle);
    return rc == -EAGAIN ? -ENOLCK : rc;
}

/* A group whose claims were not open may have got its cursor before messages were given up. Gives them up for this
 * group too. */
static int catch_up(struct rip_producer *p, const struct group *group, uint32_t g) {
    int rc = 0;
    for (uint64_t seq = p->free_below; rc == 0 && seq < p->drops->dropped_below; seq++) {
        rc = give_up_for(p, group, g, seq);
    }
    return rc;
}

/* Makes sure that the claims of all active groups are open. *active: the bits of these groups. Returns 0 or a negative
 * errno. */
static int open_all_claims(struct rip_producer *p, uint64_t *active) {
    struct rip_control *control = p->ch.control;
    /* acquire: pairs with rip_group_begin, which stores the id before, and with rip_group_leave */
    *active = atomic_load_explicit(&control->groups_active, memory_order_acquire);
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        struct group *group = &p->drops->groups[g];
        uint64_t id = rip_group_id(control, g);
        if (!(*active >> g & 1) || (group->claims && group->id == id)) {
            continue;
        }
        struct group opened = {.id = id};
        int rc = open_claims(p, g, id, &opened.mapping);
        if (rc == -ENOENT) { /* the group has left meanwhile */
            *active &= ~(UINT64_C(1) << g);
            continue;
        }
        if (rc == 0) {
            opened.claims = opened.mapping.at;
            rc = catch_up(p, &opened, g);
            if (rc != 0) {
                rip_mapping_close(&opened.mapping);
            }
        }
        if (rc != 0) {
            return rc;
        }
        rip_mapping_close(&group->mapping);
        *group = opened;
    }
    return 0;
}

/* Has every group released or lost message seq? */
static int is_released_by_all(const struct rip_producer *p, uint64_t seq, uint64_t active) {
    for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
        if (active >> g & 1 && !is_passed(p, g, seq) &&
            !rip_claim_is_passable(p->drops->groups[g].claims, p->slots, seq)) {
            return 0;
        }
    }
    return active != 0;
}

/* Removes pins that are released, and advances dropped_below over released messages. */
static void update_released(struct rip_producer *p, uint64_t active) {
    struct rip_arena *arena = &p->arena;
    unsigned kept = 0;
    for (unsigned i = 0; i < arena->pinned; i++) {
        /* a group that has left uses no message */
        if (active && !is_released_by_all(p, arena->pins[i].seq, active)) {
            arena->pins[kept++] = arena->pins[i];
        }
    }
    arena->pinned = kept;
    while (p->drops->dropped_below != p->published && is_released_by_all(p, p->drops->dropped_below, active)) {
        p->drops->dropped_below++;
    }
}

/* Drops pinned messages that no member uses any more because they were requeued. Used when there is no other room. */
static int drop_pins(struct rip_producer *p, uint64_t active) {
    unsigned before = p->arena.pinned;
    for (unsigned i = 0; i < before; i++) {
        give_up(p, p->arena.pins[i].seq, active); /* adds no pin: the message is pinned already */
    }
    update_released(p, active);
    return p->arena.pinned < before;
}

static uint64_t limit_of(const struct rip_producer *p) {
    uint64_t limit = p->drops->dropped_below;
    for (unsigned i = 0; i < p->arena.pinned; i++) {
        limit = p->arena.pins[i].seq < limit ? p->arena.pins[i].seq : limit;
    }
    return limit;
}

/* Gives up as many messages as a message of length bytes needs. Returns 0, -ENOBUFS if messages in use leave no room,
 * or the error of allocating memory. A lack of memory is not an error here: then room is made in the allocated part. */
static int find_room(struct rip_producer *p, uint64_t length, uint64_t active) {
    struct rip_drop_old *drops = p->drops;
    uint64_t end = p->arena.capacity;
    for (;;) {
        uint64_t offset = rip_desc_offset(&p->lane->desc[drops->dropped_below & (p->slots - 1)]), limit = limit_of(p);
        rip_arena_reclaim(&p->arena, drops->dropped_below, offset, p->tail);
        if (limit < drops->dropped_below && p->tail - limit >= p->slots) { /* a pin is the oldest message */
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
        /* acquire: pairs with rip_group_begin; whoever sees the count of a group sees its bit */
        uint64_t epoch = atomic_load_explicit(&control->group_epoch, memory_order_acquire);
        int rc = open_all_claims(p, &active);
        if (rc == 0) {
            update_released(p, active);
            rc = find_room(p, length, active);
        } else if (rc == -EAGAIN) {
            rc = -ENOBUFS;
        }
        /* As in rip_reclaim: either a new group starts behind what is given up here, or this loop sees the group and
         * runs again. Below, release pairs with the acquire in rip_rx_poll. */
        atomic_store_explicit(&p->lane->dropped_below, p->drops->dropped_below, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&control->group_epoch, memory_order_relaxed) == epoch) {
            uint64_t from = p->drops->dropped_below;
            p->free_below = limit_of(p);
            p->recheck_at = p->free_below + p->slots < from + p->keep ? p->free_below + p->slots : from + p->keep;
            /* so that the next reservation calls this function again */
            p->recheck_at = rc == 0 ? p->recheck_at : p->tail;
            atomic_store_explicit(&p->lane->reclaimed, p->free_below, memory_order_release);
            return rc;
        }
    }
}
