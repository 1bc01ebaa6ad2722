#include "ring/tx_room.h"
#include "channel/tables.h"
#include "ring/drop_old.h"
#include "ring/lane_lock.h"
#include "ring/lane_memory.h"
#include "ring/large.h"
#include "ring/tx_backlog.h"
#include "store/table_lock.h"

#define LOOK_AFTER 16u /* messages */

static uint64_t kept_in(const struct rip_cursor *cursor, uint32_t k) {
    return atomic_load_explicit(&cursor->kept[k], memory_order_acquire); /* acquire: as in rip_is_kept */
}

/* Does the group of this cursor keep messages? Without a loop, because this is asked for every large message. */
static int keeps(const struct rip_cursor *cursor) {
    static_assert(RIP_CURSOR_KEPT == 4, "all entries");
    return (kept_in(cursor, 0) | kept_in(cursor, 1) | kept_in(cursor, 2) | kept_in(cursor, 3)) != 0;
}

/* The first message from `from` on that the group of this cursor keeps, if it is before `to`; else `to`. */
static uint64_t first_kept(const struct rip_cursor *cursor, uint64_t from, uint64_t to) {
    for (uint32_t k = 0; k < RIP_CURSOR_KEPT; k++) {
        uint64_t seq = (kept_in(cursor, k) >> RIP_KEPT_SEQ_SHIFT) - 1; /* no message: UINT64_MAX */
        to = from <= seq && seq < to ? seq : to;
    }
    return to;
}

int rip_reclaim(struct rip_producer *p) {
    struct rip_control *control = p->ch.control;
    for (;;) {
        /* acquire: pairs with rip_group_begin; whoever sees the count of a group sees its bit */
        uint64_t epoch = atomic_load_explicit(&control->group_epoch, memory_order_acquire);
        uint64_t active =
            /* acquire: pairs with rip_group_leave */
            atomic_load_explicit(&control->groups_active, memory_order_acquire);
        uint64_t limit = active ? p->published : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
        uint64_t kept = UINT64_MAX;
        for (uint64_t left = rip_groups_in(active); left; left &= left - 1) {
            const struct rip_cursor *cursor = &p->entry->cursors[rip_first_group(left)];
            /* acquire: pairs with the release in rip_rx_publish_cursor; the group has read before this producer
             * overwrites */
            uint64_t released = atomic_load_explicit(&cursor->released, memory_order_acquire);
            if (released > p->published) {
                return -EBADMSG;
            }
            limit = released < limit ? released : limit;
            if (RIP_UNLIKELY(keeps(cursor))) { /* after the cursor: what it has passed is in the table */
                kept = first_kept(cursor, p->free_below, kept);
            }
        }
        if (limit > p->published) {
            return -EBADMSG;
        }
        int is_kept = kept < limit;
        limit = is_kept ? kept : limit;
        if (limit <= p->free_below) { /* smaller only while a group is joining; that group moves its cursor up itself */
            return is_kept;
        }
        /* A new group sets its cursors, then its bit, increments group_epoch, and then reads dropped_below. This
         * producer stores dropped_below and then reads group_epoch. One of them sees the other's store. The fence
         * pairs with the fence in rip_group_begin. */
        atomic_store_explicit(&p->lane->dropped_below, limit, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&control->group_epoch, memory_order_relaxed) == epoch) {
            /* release: pairs with the acquire in rip_rx_poll, for a group that this producer begins to pass */
            atomic_store_explicit(&p->lane->reclaimed, limit, memory_order_release);
            p->free_below = limit;
            uint64_t offset = rip_desc_offset(&p->lane->desc[limit & (p->slots - 1)]);
            rip_arena_reclaim(&p->arena, limit, offset, p->tail);
            return is_kept;
        }
    }
}

/* As rip_make_room, if all groups are waited for; 1: as rip_reclaim. */
static int find_room(struct rip_producer *p, uint64_t length) {
    uint64_t end = p->arena.capacity;
    int rc = rip_reclaim(p);
    if (rc == 0) {
        /* also if no cursor has moved: while there was a group to pass, another bound may have been stored */
        p->recheck_at = p->free_below + p->slots;
        rc = p->tail >= p->recheck_at ? -EAGAIN : rip_tx_find_room(p, length, &end);
    }
    return rc;
}

static int is_full(int rc) { return rc == -EAGAIN || rip_is_out_of_memory(rc); }

/* While a large message has memory, the producer looks soon whether it has been released. The fast path must find no
 * room behind it. */
static void look_soon(struct rip_producer *p, int is_large) {
    uint64_t soon = p->recheck_at;
    if (p->arena.at > p->arena.gap_end) {
        soon = p->tail;
    } else if (rip_large_count(p)) {
        soon = p->tail + (is_large ? 1 : LOOK_AFTER);
    }
    p->recheck_at = soon < p->recheck_at ? soon : p->recheck_at;
}

__attribute__((noinline)) int rip_make_room(struct rip_producer *p, uint64_t length) {
    int is_large = length > p->arena.capacity, rc = 0;
    if (is_large) {
        /* one of them can be in use: so it is not asked for whether it is acknowledged, which takes longer */
        uint64_t done = rip_large_count(p) < RIP_LARGE_WAITING ? 0 : rip_tx_first_unacked(p);
        rc = rip_large_begin(p, length, done);
        if (rc != 0) {
            return rc;
        }
    }
    if (p->shared && !p->owner) {
        int entered = rip_lane_enter(p, 0);
        rip_tx_stamp(p); /* after the messages of others */
        if (entered != 0 || rip_tx_has_room(p, length)) {
            return entered;
        }
    }
    rc = rip_drop_old_is_needed(p) ? 1 : find_room(p, length);
    if (rc == 1 || (is_full(rc) && rip_drop_old_may_help(p))) {
        rc = rip_drop_old_make_room(p, length);
    }
    if (RIP_UNLIKELY(p->large != NULL)) {
        if (!is_large) {
            rip_large_release(p);
        }
        look_soon(p, is_large);
    }
    return is_full(rc) && p->overflow != RIP_BLOCK ? -ENOBUFS : rc;
}

__attribute__((noinline)) int rip_tx_reserve_far(struct rip_producer *p, uint64_t length, unsigned char **payload) {
    int rc = rip_make_room(p, length);
    if (rc == 0) {
        *payload = length > p->arena.capacity ? rip_large_payload(p) : p->payloads + p->arena.at;
    }
    return rc;
}

int rip_tx_release_large(struct rip_producer *p) {
    int rc = rip_large_count(p) ? rip_make_room(p, 0) : 0;
    return rc == -EBADMSG ? rc : 0; /* it does not matter whether there is room */
}

void rip_tx_refuse(struct rip_producer *p) {
    p->refused++;
    p->lost = (uint16_t)(p->lost + (p->lost < UINT16_MAX));
    atomic_fetch_add_explicit(&p->lane->refused, 1, memory_order_relaxed); /* relaxed: for display only */
    rip_reap_if_due(&p->ch.handle); /* a dead member may be what leaves no room */
}
