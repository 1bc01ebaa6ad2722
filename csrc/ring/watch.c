#include "ring/watch.h"
#include "channel/tables.h"
#include "ring/rx_lanes.h"

/* of each lane the next slot, or the tail and the counter of requeued messages; and the version of the lane table */
static_assert(2 * RIP_RX_LANES + 1 <= RIP_WATCHED, "the words of a wait for a message fit");
/* the active groups, their cursors and their kept messages, and where a first group starts */
static_assert(2 + 2 * RIP_MAX_GROUPS <= RIP_WATCHED, "the words of a wait for room fit");

void rip_room_watch(struct rip_producer *p, struct rip_watch *watch) {
    struct rip_control *control = p->ch.control;
    unsigned n = 0;
    watch->words[n++] = &control->groups_active;
    watch->words[n++] = &p->entry->base_seq;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed);
    for (uint64_t left = rip_groups_in(active); left; left &= left - 1) {
        uint32_t g = rip_first_group(left);
        watch->words[n++] = &p->entry->cursors[g].released;
        watch->words[n++] = &p->entry->cursors[g].freed;
    }
    for (unsigned i = 0; i < n; i++) {
        /* acquire: pairs with rip_rx_publish_cursor, clear_kept and rip_group_leave; the check that follows sees at
         * least this value */
        watch->seen[i] = atomic_load_explicit(watch->words[i], memory_order_acquire);
    }
    watch->count = n;
    watch->futex = &p->entry->futex;
    watch->asleep32 = &p->entry->asleep;
    watch->asleep64 = NULL;
    watch->picky = NULL;
    watch->bit = RIP_ASLEEP;
    watch->slice = RIP_SLICE_NS;
    watch->fenced = p->ch.fenced;
    watch->spin = &p->ch.spin;
}

void rip_message_watch(struct rip_consumer *c, const struct rip_filter *filter, struct rip_watch *watch) {
    unsigned n = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        if (filter || rx->claims) { /* messages that this member does not want may stay unread */
            watch->words[n] = &rx->lane->tail;
            watch->seen[n++] = rx->tail;
        } else {
            const struct rip_desc *desc = rip_rx_desc(rx, rx->next);
            watch->words[n] = &desc->head;
            /* acquire: loaded before the check, so a message that the check misses changes the word */
            uint64_t head = atomic_load_explicit(&desc->head, memory_order_acquire);
            watch->seen[n++] = rip_desc_is_of(desc, rx->next) ? ~head : head; /* ~: it is ready already */
        }
        if (rx->claims) {
            watch->words[n] = &rx->claims->requeued;
            watch->seen[n++] = rx->requeued;
        }
    }
    watch->words[n] = &c->ch.control->lanes_changed;
    watch->seen[n++] = c->lanes_seen;
    watch->count = n;
    watch->futex = &c->ch.control->groups[c->group].futex;
    watch->asleep32 = NULL;
    watch->asleep64 = &c->ch.control->groups_asleep;
    watch->bit = UINT64_C(1) << c->group;
    watch->slice = rip_rx_slice(c);
    watch->fenced = c->ch.fenced;
    /* the message that this member is woken for may be in a lane that it has not mapped */
    watch->picky = filter || rip_rx_is_stale(c) ? &c->ch.control->groups[c->group].picky : NULL;
    watch->spin = &c->ch.spin;
}
