#include "ring/drop_old.h"
#include "channel/tables.h"
#include "ring/claim_files.h"
#include "ring/lane_memory.h"
#include "store/table_lock.h"

#include <stdlib.h>

struct group {   /* a group whose claims this producer has opened */
    uint64_t id; /* 0: no group */
    struct rip_claims *claims;
    struct rip_mapping mapping;
};

struct rip_drop_old {
    uint64_t active, lossy; /* the groups, and those of them that this producer passes: a bit for each */
    uint64_t done;          /* of the others, those that have done and not released the message that was checked last */
    uint64_t epoch;         /* control->group_epoch when the groups were found */
    uint64_t dropped_below; /* every message before it is given up; p->free_below when rip_drop_old_make_room ends */
    struct group groups[RIP_MAX_GROUPS];
    struct { /* of each pin of the arena: the group whose member uses it, and its entry in a table of kept messages */
        uint64_t id;
        uint32_t group, kept;
        const struct rip_claims *claims; /* that have the table; NULL: it is beside the cursor */
    } users[RIP_MAX_PINS];
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

int rip_drop_old_is_needed(const struct rip_producer *p) {
    return p->overflow == RIP_DROP_OLD || p->arena.pinned ||
           /* acquire: pairs with rip_group_set_lossy */
           atomic_load_explicit(&p->ch.control->groups_lossy, memory_order_acquire);
}

/* Does this group keep claims although it is waited for? */
static int has_claims(const struct rip_producer *p, uint32_t g) {
    return (p->ch.control->groups[g].flags & (RIP_SHARED | RIP_DURABLE)) != 0;
}

int rip_drop_old_may_help(const struct rip_producer *p) {
    /* acquire: pairs with rip_group_begin and rip_group_leave */
    uint64_t active = atomic_load_explicit(&p->ch.control->groups_active, memory_order_acquire);
    for (uint64_t left = rip_groups_in(active); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        if (has_claims(p, g) &&
            /* relaxed: rip_drop_old_make_room loads it again */
            atomic_load_explicit(&p->entry->cursors[g].released, memory_order_relaxed) <= p->free_below) {
            return 1;
        }
    }
    return 0;
}

uint32_t rip_drop_old_user(const struct rip_producer *p) {
    return p->arena.pinned ? p->drops->users[0].group : RIP_MAX_GROUPS;
}

static int has(uint64_t groups, uint32_t g) { return groups >> g & 1; }

/* Is the cursor of group g beyond message seq? Then the group has released or kept it. */
static int is_passed(const struct rip_producer *p, uint32_t g, uint64_t seq) {
    /* acquire: pairs with move_cursor and rip_rx_publish_cursor; the group has read before this producer overwrites */
    return seq < atomic_load_explicit(&p->entry->cursors[g].released, memory_order_acquire);
}

/* Where message seq lies. This is read back from shared memory: used only if it is plausible, else an empty range. */
static struct rip_run range_of(const struct rip_producer *p, uint64_t seq) {
    const struct rip_desc *desc = &p->lane->desc[seq & (p->slots - 1)];
    uint64_t offset = rip_desc_offset(desc), length = rip_desc_length(desc);
    struct rip_run run = {.seq = seq};
    if (offset % RIP_LINE == 0 && rip_lane_has(p, offset, length)) {
        run.lo = offset;
        run.hi = offset + rip_round_up(length, RIP_LINE);
    }
    return run;
}

/* Opens the claims of a group if the group still exists. Creates them if no member has done so. Does not wait for the
 * table lock: whoever can wait does so (put.c). */
static int open_claims(struct rip_producer *p, uint32_t g, uint64_t id, struct rip_mapping *out) {
    struct rip_control *control = p->ch.control;
    struct rip_handle *handle = &p->ch.handle;
    int rc = rip_try_lock(handle);
    if (rc == 0) {
        uint64_t give_up = handle->give_up;
        handle->give_up = RIP_TRY_ONLY; /* for rip_relock */
        int there = has(atomic_load_explicit(&control->groups_active, memory_order_relaxed), g);
        rc = there && rip_group_id(control, g) == id ? rip_claims_open(&p->ch, g, p->index, p->slots, out) : -ENOENT;
        handle->give_up = give_up;
        rip_unlock(handle);
    }
    return rc == -EAGAIN ? -ENOLCK : rc; /* -EAGAIN means that a message in use cannot be pinned */
}

/* Makes sure that the claims of group g are open. Returns 0; -ENOENT: the group has left; or another negative errno. */
static int open_group(struct rip_producer *p, uint32_t g) {
    struct group *group = &p->drops->groups[g];
    struct group opened = {.id = rip_group_id(p->ch.control, g)};
    if (group->claims && group->id == opened.id) {
        return 0;
    }
    int rc = open_claims(p, g, opened.id, &opened.mapping);
    if (rc != 0) {
        return rc;
    }
    opened.claims = opened.mapping.at;
    rip_mapping_close(&group->mapping);
    *group = opened;
    return 0;
}

/* How many entries of the pins in the header of a shared lane may be in use. Only the owner reads and writes them. */
static uint32_t noted_pins(const struct rip_lane *lane) {
    uint32_t pinned = atomic_load_explicit(&lane->pinned, memory_order_relaxed);
    return pinned < RIP_MAX_PINS ? pinned : RIP_MAX_PINS;
}

/* The pin of message seq in the header of a shared lane; a free one if there is none; NULL if none is free. */
static struct rip_pin *noted_pin(struct rip_lane *lane, uint64_t seq) {
    struct rip_pin *found = NULL;
    for (unsigned i = 0; i < RIP_MAX_PINS; i++) {
        /* relaxed: only the owner of the lane reads and writes pins */
        uint64_t message = atomic_load_explicit(&lane->pins[i].message, memory_order_relaxed);
        if (message == 1 + seq) {
            return &lane->pins[i];
        }
        found = message == 0 && !found ? &lane->pins[i] : found;
    }
    return found;
}

/* In a shared lane: notes where message seq lies, so that the next owner goes around it if this one is killed. To be
 * called before its slot can be used again. Returns 0 or -EAGAIN. */
static int note_pin(struct rip_producer *p, uint64_t seq) {
    if (!p->shared) {
        return 0;
    }
    struct rip_pin *noted = noted_pin(p->lane, seq);
    if (!noted) {
        return -EAGAIN;
    }
    if (atomic_load_explicit(&noted->message, memory_order_relaxed) == 0) {
        struct rip_run range = range_of(p, seq);
        uint32_t end = 1 + (uint32_t)(noted - p->lane->pins);
        if (end > noted_pins(p->lane)) {
            atomic_store_explicit(&p->lane->pinned, end, memory_order_release); /* before the pin, as below */
        }
        noted->lo = range.lo;
        noted->hi = range.hi;
        /* release: the pin is complete if this process is killed after it */
        atomic_store_explicit(&noted->message, 1 + seq, memory_order_release);
    }
    return 0;
}

/* Removes pins of messages that are not in the arena's from the header. */
static void forget_pins(struct rip_producer *p) {
    uint32_t end = 0, pinned = p->shared ? noted_pins(p->lane) : 0;
    for (uint32_t i = 0; i < pinned; i++) {
        uint64_t message = atomic_load_explicit(&p->lane->pins[i].message, memory_order_relaxed);
        unsigned k = 0;
        while (message && k < p->arena.pinned && p->arena.pins[k].seq != message - 1) {
            k++;
        }
        if (message && k == p->arena.pinned) {
            atomic_store_explicit(&p->lane->pins[i].message, 0, memory_order_release);
        } else if (message) {
            end = i + 1;
        }
    }
    if (end != pinned) {
        atomic_store_explicit(&p->lane->pinned, end, memory_order_release); /* after the pins */
    }
}

int rip_drop_old_adopt(struct rip_producer *p) {
    struct rip_arena *arena = &p->arena;
    uint32_t pinned = noted_pins(p->lane);
    arena->pinned = 0;
    for (uint32_t i = 0; i < pinned; i++) {
        const volatile struct rip_pin *noted = &p->lane->pins[i]; /* volatile: each is read once */
        uint64_t message = noted->message;
        struct rip_run run = {.seq = message - 1, .lo = noted->lo, .hi = noted->hi};
        if (message == 0) {
            continue;
        }
        if (run.lo > run.hi || run.hi > arena->allocated || run.lo % RIP_LINE || run.hi % RIP_LINE) {
            return -EBADMSG;
        }
        p->drops->users[arena->pinned].group = RIP_MAX_GROUPS; /* not known; is_used finds out */
        arena->pins[arena->pinned++] = run;
    }
    return 0;
}

/* Pins message seq, which a member of group g uses, and which is in entry `kept` of a table. Returns 0 or -EAGAIN. */
static int pin(struct rip_producer *p, uint32_t g, uint64_t id, uint64_t seq, const struct rip_claims *claims,
               uint32_t kept) {
    unsigned i = p->arena.pinned;
    if (i >= RIP_MAX_PINS || note_pin(p, seq) != 0) {
        return -EAGAIN;
    }
    p->arena.pins[i] = range_of(p, seq);
    p->drops->users[i].id = id;
    p->drops->users[i].group = g;
    p->drops->users[i].kept = kept;
    p->drops->users[i].claims = claims;
    p->arena.pinned++;
    return 0;
}

/* Pins message seq for each group without claims that keeps it: 0, or -EAGAIN if there are too many pins. The
 * cursors of these groups have passed it. */
static int pin_kept(struct rip_producer *p, uint64_t seq) {
    const struct rip_drop_old *drops = p->drops;
    unsigned before = p->arena.pinned;
    for (uint64_t left = rip_groups_in(drops->active & ~drops->lossy); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        for (uint32_t k = 0; k < RIP_CURSOR_KEPT; k++) {
            if (rip_is_kept(&p->entry->cursors[g].kept[k], seq) &&
                pin(p, g, rip_group_id(p->ch.control, g), seq, NULL, k) != 0) {
                p->arena.pinned = before;
                return -EAGAIN;
            }
        }
    }
    return 0;
}

/* Gives message seq up for a group whose claims are open: 0, or -EAGAIN if a member uses it and it cannot be pinned, or
 * if this producer waits for the group and the message is not done. */
static int give_up_for(struct rip_producer *p, uint32_t g, uint64_t seq) {
    const struct group *group = &p->drops->groups[g];
    uint32_t kept = RIP_MAX_KEPT;
    if (is_passed(p, g, seq)) {
        return 0;
    }
    enum rip_claim least = has(p->drops->lossy, g) ? RIP_CLAIM_FREE : RIP_CLAIM_ACKED;
    int can_pin = p->arena.pinned < RIP_MAX_PINS;
    int state = rip_claim_give_up(group->claims, p->slots, seq, least, can_pin && !p->shared ? &kept : NULL);
    if (p->shared && state == -EAGAIN && can_pin && note_pin(p, seq) == 0) { /* before the claim changes */
        state = rip_claim_give_up(group->claims, p->slots, seq, least, &kept);
    }
    if (state == RIP_CLAIM_FREE) {
        p->dropped++;
    } else if (kept != RIP_MAX_KEPT) {
        return pin(p, g, group->id, seq, group->claims, kept);
    }
    return state < 0 ? state : 0;
}

/* Must message seq stay, because a group that this producer waits for, or the first group, has not done it? Returns
 * 1, 0, or -ENOLCK if the claims of a group cannot be opened now. */
static int must_stay(struct rip_producer *p, uint64_t seq) {
    struct rip_drop_old *drops = p->drops;
    drops->done = 0;
    if (!drops->active) {
        return p->overflow != RIP_DROP_OLD && seq >= atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
    }
    for (uint64_t left = rip_groups_in(drops->active & ~drops->lossy); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        if (is_passed(p, g, seq)) {
            continue;
        }
        int rc = has_claims(p, g) ? open_group(p, g) : -ENOENT;
        if (rc != 0 || !rip_claim_is_acked(drops->groups[g].claims, p->slots, seq)) {
            return rc == -ENOLCK ? rc : 1;
        }
        drops->done |= UINT64_C(1) << g;
    }
    return 0;
}

/* Gives message seq up for all groups, after must_stay: 0, or as give_up_for. A group that is passed may lose it, so it
 * comes after those that keep it. */
static int give_up(struct rip_producer *p, uint64_t seq) {
    const struct rip_drop_old *drops = p->drops;
    if (!drops->active && seq >= atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed)) {
        p->dropped++; /* no group will ever read it */
    }
    int rc = 0;
    for (uint64_t left = drops->done; rc == 0 && left; left &= left - 1) {
        rc = give_up_for(p, rip_first_group(left), seq);
    }
    for (uint64_t left = rip_groups_in(drops->lossy); rc == 0 && left; left &= left - 1) {
        rc = give_up_for(p, rip_first_group(left), seq);
    }
    return rc ? rc : pin_kept(p, seq);
}

/* Announces that the messages before seq are being given up, so that a group that begins from now on starts behind
 * them. Returns 1; 0: there is a new group since find_groups, and it may start before seq. */
static int announce(struct rip_producer *p, uint64_t seq) {
    /* As in rip_reclaim: a new group reads this or increments the epoch before. relaxed: the fence orders them. */
    atomic_store_explicit(&p->lane->dropped_below, seq, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&p->ch.control->group_epoch, memory_order_relaxed) == p->drops->epoch;
}

/* Finds the groups, and makes sure that the claims of those that this producer passes are open. Returns 0 or a negative
 * errno. A lane that is not drop-old waits meanwhile for a group whose claims cannot be opened. */
static int find_groups(struct rip_producer *p) {
    struct rip_drop_old *drops = p->drops;
    /* acquire: pairs with rip_group_begin; whoever sees the count of a group sees its bit */
    drops->epoch = atomic_load_explicit(&p->ch.control->group_epoch, memory_order_acquire);
    /* acquire: pairs with rip_group_begin, which stores the id before, and with rip_group_leave */
    drops->active = atomic_load_explicit(&p->ch.control->groups_active, memory_order_acquire);
    /* acquire: pairs with rip_group_set_lossy */
    uint64_t lossy = atomic_load_explicit(&p->ch.control->groups_lossy, memory_order_acquire);
    drops->lossy = p->overflow == RIP_DROP_OLD ? drops->active : drops->active & lossy;
    int result = 0;
    for (uint64_t left = rip_groups_in(drops->lossy); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        int rc = open_group(p, g);
        if (rc != 0) {
            drops->lossy &= ~(UINT64_C(1) << g);
        }
        if (rc == -ENOENT) { /* the group has left meanwhile */
            drops->active &= ~(UINT64_C(1) << g);
        } else if (rc != 0) {
            result = rc;
        }
    }
    return result;
}

/* Has every group released or lost message seq? */
static int is_released_by_all(const struct rip_producer *p, uint64_t seq) {
    const struct rip_drop_old *drops = p->drops;
    for (uint64_t left = rip_groups_in(drops->active); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        if (!is_passed(p, g, seq) &&
            !(has(drops->lossy, g) && rip_claim_is_passable(drops->groups[g].claims, p->slots, seq))) {
            return 0;
        }
    }
    return drops->active != 0;
}

/* In a shared lane: is message seq, which an owner has given up, in use? If the claims of a group cannot be opened now,
 * it counts as in use. */
static int is_used(struct rip_producer *p, uint64_t seq) {
    struct rip_drop_old *drops = p->drops;
    const struct rip_group_entry *groups = p->ch.control->groups;
    for (uint64_t left = rip_groups_in(drops->active); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        for (uint32_t k = 0; k < RIP_CURSOR_KEPT; k++) {
            if (rip_is_kept(&p->entry->cursors[g].kept[k], seq)) {
                return 1;
            }
        }
        /* which lanes of a group have claims: as in rx_lanes.c */
        int claims = p->overflow == RIP_DROP_OLD || groups[g].flags & (RIP_SHARED | RIP_DURABLE | RIP_LOSSY);
        int rc = claims ? open_group(p, g) : -ENOENT;
        if (rc == 0 && rip_claim_is_kept(drops->groups[g].claims, p->slots, seq)) {
            return 1;
        }
        if (rc != 0 && rc != -ENOENT) {
            return 1;
        }
    }
    return 0;
}

/* Is the message of pin i still in use? */
static int is_pinned(struct rip_producer *p, unsigned i) {
    if (p->shared) {
        return is_used(p, p->arena.pins[i].seq);
    }
    const struct rip_drop_old *drops = p->drops;
    const struct rip_claims *claims = drops->users[i].claims;
    uint32_t g = drops->users[i].group, kept = drops->users[i].kept;
    /* a group that has left uses no message, and other claims may be open in its place */
    if (!has(drops->active, g) || rip_group_id(p->ch.control, g) != drops->users[i].id ||
        (claims && claims != drops->groups[g].claims)) {
        return 0;
    }
    return rip_is_kept(claims ? &claims->kept[kept] : &p->entry->cursors[g].kept[kept], p->arena.pins[i].seq);
}

/* Removes pins that are released. */
static void update_pins(struct rip_producer *p) {
    struct rip_drop_old *drops = p->drops;
    struct rip_arena *arena = &p->arena;
    unsigned still = 0;
    for (unsigned i = 0; i < arena->pinned; i++) {
        if (is_pinned(p, i)) {
            drops->users[still] = drops->users[i];
            arena->pins[still++] = arena->pins[i];
        }
    }
    arena->pinned = still;
    forget_pins(p);
}

/* Advances dropped_below over released messages, and pins those that are kept. Returns as announce. */
static int pass_released(struct rip_producer *p) {
    struct rip_drop_old *drops = p->drops;
    uint64_t seq = drops->dropped_below;
    while (seq != p->published && is_released_by_all(p, seq)) {
        seq++;
    }
    if (seq != drops->dropped_below && !announce(p, seq)) {
        return 0;
    }
    while (drops->dropped_below != seq && pin_kept(p, drops->dropped_below) == 0) {
        drops->dropped_below++;
    }
    return 1;
}

/* Gives up as many messages as a message of length bytes needs. Returns 0; 1: there is a new group, and find_groups
 * must be called again; -EAGAIN if messages that cannot be given up leave no room; -ENOLCK as must_stay; or the
 * error of allocating memory. A lack of memory is not an error here: then room is made in the allocated part, unless the
 * message is longer than the capacity. */
static int find_room(struct rip_producer *p, uint64_t length) {
    struct rip_drop_old *drops = p->drops;
    uint64_t end = p->arena.capacity;
    if (!pass_released(p)) {
        return 1;
    }
    for (;; drops->dropped_below++) {
        uint64_t offset = rip_desc_offset(&p->lane->desc[drops->dropped_below & (p->slots - 1)]);
        rip_arena_reclaim(&p->arena, drops->dropped_below, offset, p->tail);
        if (p->tail - drops->dropped_below < p->keep) {
            int rc = rip_tx_find_room(p, length, &end);
            if (rc != -EAGAIN && (!rip_is_out_of_memory(rc) || length > p->arena.capacity)) {
                return rc;
            }
        }
        int stays = drops->dropped_below == p->published ? 1 : must_stay(p, drops->dropped_below);
        if (stays != 0) {
            return stays < 0 ? stays : -EAGAIN;
        }
        if (!announce(p, drops->dropped_below + 1)) {
            return 1;
        }
        if (give_up(p, drops->dropped_below) != 0) {
            return -EAGAIN;
        }
    }
}

int rip_drop_old_make_room(struct rip_producer *p, uint64_t length) {
    struct rip_drop_old *drops = p->drops;
    int opened, rc;
    drops->dropped_below = p->free_below;
    do {
        rc = opened = find_groups(p);
        if (opened == 0 || p->overflow != RIP_DROP_OLD) {
            update_pins(p);
            rc = find_room(p, length);
        }
    } while (rc == 1);
    rc = rc == -EAGAIN && opened != 0 ? opened : rc;
    p->free_below = drops->dropped_below;
    /* if there is no room, the next reservation calls this function again */
    p->recheck_at = rc == 0 ? p->free_below + p->keep : p->tail;
    /* perhaps one less than was announced; a group that is new since may miss that message. relaxed: as above */
    atomic_store_explicit(&p->lane->dropped_below, p->free_below, memory_order_relaxed);
    /* release: pairs with the acquire in rip_rx_poll */
    atomic_store_explicit(&p->lane->reclaimed, p->free_below, memory_order_release);
    return rc;
}
