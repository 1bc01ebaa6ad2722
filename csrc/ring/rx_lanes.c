#include "ring/rx_lanes.h"
#include "base/clock.h"
#include "channel/lane_table.h"
#include "ring/claim_files.h"
#include "ring/rx_large.h"
#include "store/files.h"
#include "store/table_lock.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIRST_PAUSE_NS UINT64_C(64000) /* pause after an update failed because of the table lock; doubled each time */
#define BRIEF_SLEEPS 100u
#define RETRY_NS UINT64_C(100000000) /* interval of attempts to map a lane that could not be mapped */

void rip_rx_unmap(struct rip_rx *rx) {
    rip_mapping_close(&rx->mapping);
    rip_mapping_close(&rx->claims_mapping);
    rip_rx_large_free(rx->large);
    free(rx->marks);
    free(rx);
}

/* Messages that an earlier member has released out of order are not missed. */
static void start_counting(struct rip_consumer *c, struct rip_rx *rx) {
    rx->counted = rx->next;
    /* relaxed: for display only */
    rx->dropped = c->joined ? 0 : atomic_load_explicit(&rx->claims->dropped, memory_order_relaxed);
    /* acquire: pairs with rip_tx_publish */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire);
    rx->counts = rx->drops && !c->shared;
    for (uint64_t seq = rx->next; rx->counts && seq != tail && tail - rx->next <= rx->slots; seq++) {
        if (rip_claim_is_released(rx->claims, rx->slots, seq)) {
            rip_rx_mark_taken(rx, seq);
        }
    }
}

/* How many losses of a shared lane are not to be reported to this consumer: those of writers whose messages the group
 * has read. The group may be the first one, or have joined before the lane was made: then all are reported. */
static uint32_t known_losses(const struct rip_consumer *c, const struct rip_rx *rx) {
    /* acquire: pairs with the release in rip_writer_end */
    uint32_t lost = atomic_load_explicit(&rx->lane->lost, memory_order_acquire);
    uint32_t first = lost > RIP_MAX_LOSSES ? lost - RIP_MAX_LOSSES : 0;
    /* relaxed: written by this group, under the lock */
    uint64_t released = atomic_load_explicit(&rx->cursor->released, memory_order_relaxed);
    while (!c->joined && c->ch.control->groups_ever && first != lost &&
           rx->lane->losses[first % RIP_MAX_LOSSES].tail <= released) {
        first++;
    }
    return first;
}

static int map_lane(struct rip_consumer *c, uint32_t index, struct rip_rx **out) {
    struct rip_lane_entry *entry = &c->ch.control->lanes[index];
    struct rip_rx *rx = NULL;
    if (posix_memalign((void **)&rx, 128, sizeof *rx) != 0) {
        return -ENOMEM;
    }
    memset(rx, 0, sizeof *rx);
    rx->claims_mapping.fd = -1;
    int rc = rip_file_open(&c->ch.handle, rip_lane_file(rip_lane_id(entry)), 0, &rx->mapping);
    if (rc != 0) {
        free(rx);
        return rc;
    }
    rip_mapping_close_fd(&rx->mapping);
    struct rip_lane_shape shape;
    rc = rip_lane_read_shape(&rx->mapping, &shape);
    if (rc == 0) {
        rx->marks = calloc(shape.slots, 1);
        rc = rx->marks ? 0 : -ENOMEM;
    }
    if (rc != 0) {
        rip_mapping_close(&rx->mapping);
        free(rx);
        return rc;
    }
    rx->lane = rx->mapping.at;
    rx->slots = shape.slots;
    rx->capacity = shape.capacity;
    rx->clock = rx->lane->clock == RIP_CLOCK_COUNTER ? RIP_CLOCK_COUNTER : RIP_CLOCK_NS;
    rx->timed = UINT64_MAX; /* nothing */
    rx->desc = rx->lane->desc;
    rx->payloads = (const unsigned char *)rx->mapping.at + rip_arena_offset(shape.slots);
    rx->cursor = &entry->cursors[c->group];
    rx->entry = entry;
    rx->ch = &c->ch;
    rx->id = rip_lane_id(entry); /* relaxed: under the lock */
    rx->pid = entry->pid;
    rx->index = index;
    rx->group = c->group;
    rx->drops = shape.overflow == RIP_DROP_OLD || c->lossy;
    rx->shared = entry->shared != 0;
    rx->lost = rx->shared ? known_losses(c, rx) : 0;
    /* relaxed: for display only */
    rx->refused = c->joined ? 0 : atomic_load_explicit(&rx->lane->refused, memory_order_relaxed);
    if (c->claims || rx->drops) { /* this may release the lock: whatever can change meanwhile is read afterwards */
        rc = rip_claims_open(&c->ch, c->group, index, shape.slots, &rx->claims_mapping);
        if (rc != 0) {
            rip_rx_unmap(rx);
            return rc;
        }
        rx->claims = rx->claims_mapping.at;
    }
    rx->next = rx->released = rx->tail =
        /* relaxed: written by this group, under the lock */
        atomic_load_explicit(&rx->cursor->released, memory_order_relaxed);
    if (rx->claims) {
        start_counting(c, rx);
    }
    *out = rx;
    return 0;
}

/* Returns the lane at this index of the table if it is mapped. */
static struct rip_rx *find(const struct rip_consumer *c, uint32_t index) {
    struct rip_rx *rx = c->mapped[index];
    return rx && rx->id == rip_lane_id(&c->ch.control->lanes[index]) ? rx : NULL;
}

struct rip_claims *rip_rx_claims_of(struct rip_channel *ch, uint32_t group, uint32_t lane, uint64_t *slots) {
    struct rip_consumer *c = (struct rip_consumer *)(void *)ch; /* the channel is its first member */
    struct rip_rx *rx = group == c->group ? find(c, lane) : NULL;
    *slots = rx ? rx->slots : 0;
    return rx ? rx->claims : NULL;
}

/* Handles the error of mapping a lane. It is reported once, unless such errors are not reported; the other lanes are
 * used. Returns 1 if the lane is abandoned, 0 if mapping is tried again. */
static int report_map_error(struct rip_consumer *c, uint32_t index, uint32_t state, int rc) {
    uint64_t reported = rip_lane_id(&c->ch.control->lanes[index]) + 1;
    int is_reported = c->hides_errors || c->reported[index] == reported;
    if (!is_reported && c->map_error == 0) {
        c->map_error = rc;
        c->reported[index] = reported;
        is_reported = 1;
    }
    return is_reported && state != RIP_LANE_LIVE && !rip_is_shortage(rc);
}

/* The state of a lane that has this state in the table. A producer that was killed while it closed has not died; only
 * the mark in its lane shows that. */
static uint32_t state_in(const struct rip_rx *rx, uint32_t state) {
    /* acquire: pairs with the release in rip_producer_close */
    return state == RIP_LANE_DEAD ? rip_lane_end_state(atomic_load_explicit(&rx->lane->closed, memory_order_acquire))
                                  : state;
}

/* Maps the new lanes of the table. Returns 1, 0 if it must be called again, or a negative errno: an error while
 * opening, or the loss of the lock (rip_claims_open). */
static int map_new_lanes(struct rip_consumer *c) {
    struct rip_control *control = c->ch.control;
    int all = 1;
    c->retry_at = 0;
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        /* acquire: pairs with the release store that ends a lane; the tail loaded afterwards is the last one */
        uint32_t state = atomic_load_explicit(&control->lanes[i].state, memory_order_acquire);
        if (state == RIP_LANE_FREE) {
            continue;
        }
        uint64_t id = rip_lane_id(&control->lanes[i]);
        struct rip_rx *rx = find(c, i);
        if (!rx) {
            if (c->count == RIP_RX_LANES) {
                all = 0;
                continue;
            }
            int rc = map_lane(c, i, &rx);
            if (!c->ch.handle.locked) {
                c->retry_at = rip_now() + RETRY_NS;
                return rc;
            }
            /* acquire, as above; loaded again because the lock may have been released */
            state = atomic_load_explicit(&control->lanes[i].state, memory_order_acquire);
            if (rc == -ENOENT && (state != RIP_LANE_LIVE || rip_lane_id(&control->lanes[i]) != id)) {
                /* the lane has left meanwhile, or its producer was killed before the file had a name or after it lost
                 * its name */
                continue;
            }
            rc = rc == -ENOENT ? -EBADMSG : rc; /* the file of a live lane has been removed */
            if (rc != 0 && !c->joined) {
                return rc;
            }
            if (rc != 0) {
                if (!report_map_error(c, i, state, rc)) {
                    all = 0;
                    c->retry_at = rip_now() + RETRY_NS;
                }
                continue;
            }
            c->lanes[c->count++] = c->mapped[i] = rx;
        }
        rx->state = state_in(rx, state);
        if (rx->shared && !rx->claims) {
            /* A writer that was killed may have stored the tail and not what is in the slots. If it is damaged, the
             * next poll finds that too. */
            (void)rip_rx_refresh_all(rx);
        }
        rx->present = 1;
        rx->cursor->seen = id + 1;
    }
    return all;
}

/* Has this consumer messages of the lane? A lane with such messages leaves the table only if that is damaged; the
 * messages must stay readable then. */
static int has_our_messages(const struct rip_rx *rx) {
    return rx->claims ? rx->ours > 0 : rx->released != rx->next || rx->ahead || rx->kept;
}

int rip_rescan(struct rip_consumer *c) {
    struct rip_control *control = c->ch.control;
    uint64_t changed =
        atomic_load_explicit(&control->lanes_changed, memory_order_acquire); /* acquire: pairs with rip_lanes_changed */
    c->came = (uint32_t)rip_producers_ever(control) -
              (c->counts_all ? (uint32_t)control->epoch_start : control->groups[c->group].first);
    for (uint32_t k = 0; k < c->count; k++) {
        c->lanes[k]->present = 0;
    }
    int rc = map_new_lanes(c);
    c->lanes_seen = changed;
    if (rc < 0) {
        return rc;
    }
    uint32_t kept = 0;
    for (uint32_t k = 0; k < c->count; k++) {
        struct rip_rx *rx = c->lanes[k];
        if (!rx->present && rx->state == RIP_LANE_LIVE) { /* it left the table since the last check */
            rx->state = state_in(rx, RIP_LANE_DEAD);
        }
        if (rx->present || c->watches || has_our_messages(rx) || rip_rx_has_loss(rx)) {
            c->lanes[kept++] = rx;
        } else { /* a lane leaves the table when every group has released all of it */
            c->current = c->current == rx ? NULL : c->current;
            c->claimed = c->claimed == rx ? NULL : c->claimed;
            c->mapped[rx->index] = c->mapped[rx->index] == rx ? NULL : c->mapped[rx->index];
            c->missed += rip_rx_missed_of(rx);
            rip_rx_unmap(rx);
        }
    }
    c->count = kept;
    c->queued = 0;
    c->lanes_changed = rc == 1 ? changed : changed - 1;
    return 0;
}

int rip_rx_is_stale(const struct rip_consumer *c) {
    /* relaxed: rip_rescan loads it with acquire */
    return atomic_load_explicit(&c->ch.control->lanes_changed, memory_order_relaxed) != c->lanes_changed;
}

void rip_update_lanes(struct rip_consumer *c) {
    if (RIP_LIKELY(!rip_rx_is_stale(c))) {
        return;
    }
    /* relaxed: rip_rescan loads it again with acquire */
    uint64_t changed = atomic_load_explicit(&c->ch.control->lanes_changed, memory_order_relaxed);
    if (c->retry_at && changed == c->lanes_seen && rip_now() < c->retry_at) {
        return;
    }
    c->failed_updates += c->failed_updates < UINT32_MAX;
    if (rip_try_lock(&c->ch.handle) != 0) {
        c->lanes_seen = changed;
        c->retry_at = 0;
        return;
    }
    uint64_t give_up = c->ch.handle.give_up;
    c->ch.handle.give_up = RIP_TRY_ONLY;
    /* A consumer that has joined continues with the lanes that it has, unless it reads by time: then it may have to
     * wait until it has the lock again. */
    int has_read = rip_rescan(c) == 0 || !c->by_time;
    c->ch.handle.give_up = give_up;
    rip_unlock(&c->ch.handle);
    if (has_read && (!rip_rx_is_stale(c) || c->retry_at)) {
        c->failed_updates = 0;
    }
}

int rip_update_lanes_or_fail(struct rip_consumer *c) {
    rip_update_lanes(c);
    int rc = c->map_error;
    c->map_error = 0;
    return rc;
}

int rip_rx_awaits_lock(const struct rip_consumer *c) { return c->by_time && c->failed_updates && rip_rx_is_stale(c); }

uint64_t rip_rx_slice(const struct rip_consumer *c) {
    uint64_t pause = FIRST_PAUSE_NS << (c->failed_updates < 10 ? c->failed_updates : 10);
    return c->failed_updates && pause < RIP_SLICE_NS ? pause : RIP_SLICE_NS;
}

int rip_may_sleep_briefly(const struct rip_consumer *c) {
    return RIP_UNLIKELY(c->failed_updates != 0) && c->failed_updates <= BRIEF_SLEEPS;
}

void rip_sleep_for(uint64_t ns) {
    struct timespec duration = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&duration, NULL);
}
