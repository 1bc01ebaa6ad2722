#include "ring/writers.h"
#include "channel/lane_table.h"
#include "channel/tables.h"
#include "ring/lane_memory.h"
#include "store/files.h"

#define COUNT_MASK (UINT32_MAX >> RIP_WRITER_SHIFT)

static int is_live(const struct rip_lane_entry *entry) {
    /* relaxed: under the table lock */
    return entry->shared && atomic_load_explicit(&entry->state, memory_order_relaxed) == RIP_LANE_LIVE;
}

uint32_t rip_writers_find(const struct rip_control *control) {
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        if (is_live(&control->lanes[i])) {
            return i;
        }
    }
    return RIP_NO_LANE;
}

/* Takes over what the header of the lane says. */
static int open_lane(struct rip_producer *p, uint64_t id, int preallocated) {
    struct rip_lane_shape shape;
    int rc = rip_file_open(&p->ch.handle, rip_lane_file(id), 1, &p->mapping);
    rc = rc ? rc : rip_lane_read_shape(&p->mapping, &shape);
    if (rc != 0) {
        return rc == -ENOENT ? -EBADMSG : rc;
    }
    p->lane = p->mapping.at;
    uint64_t allocated = atomic_load_explicit(&p->lane->allocated, memory_order_relaxed); /* grows only */
    if (shape.slots != p->slots || shape.capacity != p->arena.capacity || shape.keep != p->keep ||
        shape.overflow != (uint32_t)p->overflow || (preallocated && allocated < shape.capacity)) {
        return -EEXIST;
    }
    p->clock = (enum rip_clock)shape.clock;
    p->payloads = (unsigned char *)p->mapping.at + rip_arena_offset(p->slots);
    return 0;
}

/* The producer has come once it is counted. If the process is killed between the last two steps, rip_writer_end makes
 * the last one: the entry of the member says which count it is. */
int rip_writer_join(struct rip_producer *p, uint32_t index, int preallocated) {
    struct rip_control *control = p->ch.control;
    struct rip_lane_entry *entry = &control->lanes[index];
    struct rip_member *member = &control->members[p->ch.handle.member];
    int rc = open_lane(p, rip_lane_id(entry), preallocated);
    if (rc != 0) {
        return rc;
    }
    uint32_t last = p->holder; /* if the last owner had it too, before 2^28 others, this handle has to catch up */
    /* relaxed: the lock orders it; no handle that is open has this number */
    atomic_compare_exchange_strong_explicit(&p->lane->last, &last, 0, memory_order_relaxed, memory_order_relaxed);
    p->entry = entry;
    p->index = index;
    p->ch.lane = (uint32_t)rip_lane_id(entry);
    if (p->ch.fenced) {
        atomic_fetch_or_explicit(&entry->asleep, RIP_FENCE_LANE, memory_order_seq_cst);
        rip_fence_heavy(); /* every later release of a message sees it */
    }
    uint32_t count = (uint32_t)(control->joined + 1) & COUNT_MASK;
    atomic_store_explicit(&member->writer, count << RIP_WRITER_SHIFT, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    member->index = index;
    atomic_signal_fence(memory_order_seq_cst);
    control->joined++;
    rip_lanes_changed(&p->ch, 0); /* consumers read how many producers have come */
    return 0;
}

int rip_writer_is_last(const struct rip_control *control, uint32_t member) {
    for (uint32_t i = RIP_MAX_CONSUMERS; i < rip_members_used(control); i++) {
        const struct rip_member *other = &control->members[i];
        if (i != member && other->role == RIP_A_PRODUCER && other->index == control->members[member].index) {
            return 0;
        }
    }
    return 1;
}

/* Is this member a writer of the lane, and does its entry say that it is this loss? */
static int is_loss(const struct rip_member *member, uint32_t index, uint32_t writer) {
    return member->role == RIP_A_PRODUCER && member->index == index &&
           atomic_load_explicit(&member->writer, memory_order_relaxed) == writer;
}

/* Counts a writer that died or failed, in three steps: what is reported of it; its entry says which loss it is, so that
 * nobody counts it again; the number of losses. A process that is killed before the last step leaves that to the next
 * one that counts a loss of this lane, whichever writer that is for. */
static void count_loss(const struct rip_control *control, struct rip_lane *lane, struct rip_member *member,
                       uint32_t closed) {
    /* relaxed, also below: under the table lock */
    uint32_t lost = atomic_load_explicit(&lane->lost, memory_order_relaxed);
    uint32_t next = (lost + 1) << RIP_WRITER_SHIFT | RIP_WRITER_LOST, is_marked = 0;
    for (uint32_t i = RIP_MAX_CONSUMERS; !is_marked && i < rip_members_used(control); i++) {
        is_marked = is_loss(&control->members[i], member->index, next) != 0;
    }
    if (is_marked) {
        /* release: pairs with the acquire in rip_rx_has_loss */
        atomic_store_explicit(&lane->lost, ++lost, memory_order_release);
    }
    if ((atomic_load_explicit(&member->writer, memory_order_relaxed) & RIP_WRITER_LOST) == RIP_WRITER_LOST) {
        return;
    }
    lane->losses[lost % RIP_MAX_LOSSES] =
        (struct rip_loss){/* relaxed: the writer is dead, or is this process */
                          .tail = atomic_load_explicit(&lane->tail, memory_order_relaxed),
                          .pid = closed == RIP_CLOSED_AS_FAILED ? -member->pid : member->pid};
    atomic_signal_fence(memory_order_seq_cst);
    next = (lost + 1) << RIP_WRITER_SHIFT | RIP_WRITER_LOST;
    atomic_store_explicit(&member->writer, next, memory_order_relaxed);
    /* release: as above, and the mark comes before it */
    atomic_store_explicit(&lane->lost, lost + 1, memory_order_release);
}

/* Ends the lane. lane: NULL if it cannot be read. */
static void end_lane(struct rip_control *control, struct rip_lane_entry *entry, struct rip_lane *lane, int is_stale,
                     uint32_t closed) {
    uint32_t lost = closed != RIP_CLOSED_IN_ORDER;
    entry->tail = is_stale ? UINT64_MAX : 0;
    entry->joined_to = control->joined;
    if (lane) {
        entry->tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);
        lost = atomic_load_explicit(&lane->lost, memory_order_relaxed);
        /* release: as in rip_producer_close. What consumers report of writers that died is in `lost`. */
        atomic_store_explicit(&lane->closed, RIP_CLOSED_IN_ORDER, memory_order_release);
    }
    /* release: pairs with the acquire in rip_rescan */
    atomic_store_explicit(&entry->state, lost && (lane || is_stale) ? RIP_LANE_DEAD : RIP_LANE_ENDED,
                          memory_order_release);
}

int rip_writer_end(struct rip_channel *ch, uint32_t member) {
    struct rip_control *control = ch->control;
    struct rip_member *its = &control->members[member];
    uint32_t index = *(volatile uint32_t *)&its->index; /* volatile: read once */
    if (index >= rip_lanes_used(control)) {
        return 0; /* damaged, or it has no lane yet */
    }
    struct rip_lane_entry *entry = &control->lanes[index];
    /* relaxed: the member is dead, or is this handle */
    uint32_t writer = atomic_load_explicit(&its->writer, memory_order_relaxed), closed = writer & RIP_WRITER_LOST;
    uint32_t count = writer >> RIP_WRITER_SHIFT;
    if (closed != RIP_WRITER_LOST && count && count == ((uint32_t)(control->joined + 1) & COUNT_MASK)) {
        control->joined++; /* the last step of joining */
    }
    int last = rip_writer_is_last(control, member);
    if (!is_live(entry) || (!last && closed == RIP_CLOSED_IN_ORDER)) {
        return 0;
    }
    struct rip_mapping mapping;
    struct rip_lane_shape shape;
    int rc = rip_file_open(&ch->handle, rip_lane_file(rip_lane_id(entry)), 1, &mapping);
    if (rip_is_resource_error(rc) && rc != -ESTALE) {
        return rc;
    }
    struct rip_lane *lane = rc == 0 && rip_lane_read_shape(&mapping, &shape) == 0 ? mapping.at : NULL;
    if (lane && closed != RIP_CLOSED_IN_ORDER) {
        count_loss(control, lane, its, closed);
    }
    if (last) {
        end_lane(control, entry, lane, rc == -ESTALE, closed);
    }
    if (rc == 0) {
        rip_mapping_close(&mapping);
    }
    return 0;
}
