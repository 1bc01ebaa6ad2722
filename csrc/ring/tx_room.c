#include "ring/tx_room.h"
#include "channel/tables.h"
#include "ring/drop_old.h"
#include "ring/lane_memory.h"
#include "store/table_lock.h"

int rip_reclaim(struct rip_producer *p) {
    struct rip_control *control = p->ch.control;
    for (;;) {
        /* acquire: pairs with rip_group_begin; whoever sees the count of a group sees its bit */
        uint64_t epoch = atomic_load_explicit(&control->group_epoch, memory_order_acquire);
        uint64_t active =
            /* acquire: pairs with rip_group_leave */
            atomic_load_explicit(&control->groups_active, memory_order_acquire);
        uint64_t limit = active ? p->published : atomic_load_explicit(&p->entry->base_seq, memory_order_relaxed);
        for (uint64_t left = rip_groups_in(active); left; left &= left - 1) {
            const struct rip_cursor *cursor = &p->entry->cursors[rip_first_group(left)];
            /* acquire: pairs with the release in rip_rx_publish_cursor; the group has read before this producer
             * overwrites */
            uint64_t released = atomic_load_explicit(&cursor->released, memory_order_acquire);
            if (released > p->published) {
                return -EBADMSG;
            }
            limit = released < limit ? released : limit;
        }
        if (limit > p->published) {
            return -EBADMSG;
        }
        if (limit <= p->free_below) { /* smaller only while a group is joining; that group moves its cursor up itself */
            return 0;
        }
        /* A new group sets its cursors, then its bit, increments group_epoch, and then reads dropped_below. This producer
         * stores dropped_below and then reads group_epoch. One of them sees the other's store. The fence pairs with the
         * fence in rip_group_begin. */
        atomic_store_explicit(&p->lane->dropped_below, limit, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&control->group_epoch, memory_order_relaxed) == epoch) {
            /* release: pairs with the acquire in rip_rx_poll, for a group that this producer begins to pass */
            atomic_store_explicit(&p->lane->reclaimed, limit, memory_order_release);
            p->free_below = limit;
            uint64_t offset = rip_desc_offset(&p->lane->desc[limit & (p->slots - 1)]);
            rip_arena_reclaim(&p->arena, limit, offset, p->tail);
            return 0;
        }
    }
}

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

__attribute__((noinline)) int rip_make_room(struct rip_producer *p, uint64_t length) {
    if (length > p->arena.capacity) {
        return -EMSGSIZE;
    }
    int rc = rip_drop_old_is_needed(p) ? rip_drop_old_make_room(p, length) : find_room(p, length);
    int is_full = rc == -EAGAIN || rip_is_out_of_memory(rc);
    return is_full && p->overflow != RIP_BLOCK ? -ENOBUFS : rc;
}

void rip_tx_refuse(struct rip_producer *p) {
    p->refused++;
    p->lost = (uint16_t)(p->lost + (p->lost < UINT16_MAX));
    /* relaxed: for display only, and this producer is the only writer */
    atomic_store_explicit(&p->lane->refused, p->refused, memory_order_relaxed);
    rip_reap_if_due(&p->ch.handle); /* a dead member may be what leaves no room */
}
