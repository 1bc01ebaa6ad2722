#include "channel/lane_table.h"
#include "base/file.h"
#include "base/shortage.h"
#include "channel/tables.h"
#include "channel/wake.h"

void rip_cursor_set(struct rip_lane_entry *lane, uint32_t group, uint64_t seq) {
    /* relaxed: no process reads this before the lane is live and the group is active */
    atomic_store_explicit(&lane->cursors[group].acked, 0, memory_order_relaxed);
    for (uint32_t k = 0; k < RIP_CURSOR_KEPT; k++) {
        if (atomic_load_explicit(&lane->cursors[group].kept[k], memory_order_relaxed) != 0) { /* rare */
            atomic_store_explicit(&lane->cursors[group].kept[k], 0, memory_order_relaxed);
        }
    }
    /* release: pairs with rip_rx_poll */
    atomic_store_explicit(&lane->cursors[group].released, seq, memory_order_release);
}

void rip_lanes_changed(struct rip_channel *ch, uint32_t reasons) {
    /* release: pairs with the acquire in rip_rescan, which reads the table after it */
    atomic_fetch_add_explicit(&ch->control->lanes_changed, 1, memory_order_release);
    rip_wake_for(ch, reasons); /* its fence pairs with rip_fence_heavy of a consumer that goes to sleep */
}

static uint64_t size_of(uint32_t lanes) { return (uint64_t)lanes * sizeof(struct rip_lane_entry); }

int rip_lanes_add(struct rip_channel *ch) {
    struct rip_control *control = ch->control;
    uint32_t i = rip_lanes_used(control);
    if (i == RIP_MAX_LANES) {
        return -EXFULL;
    }
    int rc = rip_allocate(ch->handle.mapping.fd, RIP_CONTROL_FIXED + size_of(i), size_of(1));
    rc = rc ? rc : rip_populate(&control->lanes[i], size_of(1), 1);
    if (rc != 0) {
        rip_note_shortage_of_tables();
        return rc;
    }
    atomic_store_explicit(&control->lanes_used, i + 1, memory_order_relaxed); /* relaxed: under the lock */
    return (int)i;
}

int rip_lanes_load(struct rip_channel *ch) {
    return rip_populate(ch->control->lanes, size_of(rip_lanes_used(ch->control)), 1);
}

int rip_lane_read(struct rip_channel *ch, uint64_t id, struct rip_file_word *words, unsigned count) {
    int rc = rip_file_read(&ch->handle, rip_lane_file(id), words, count);
    return rip_is_resource_error(rc) ? rc : 0;
}

int rip_lane_read_shape(const struct rip_mapping *mapping, struct rip_lane_shape *shape) {
    const volatile struct rip_lane *lane = mapping->at; /* volatile: read once */
    if (mapping->size < sizeof *lane) {
        return -EBADMSG;
    }
    *shape = (struct rip_lane_shape){.slots = lane->slots,
                                     .capacity = lane->capacity,
                                     .overflow = lane->overflow,
                                     .clock = lane->clock,
                                     .keep = lane->keep};
    uint64_t slots = shape->slots, capacity = shape->capacity;
    int is_sound = slots > 0 && slots <= RIP_MAX_SLOTS && !(slots & (slots - 1)) && shape->overflow <= RIP_DROP_OLD &&
                   capacity > 0 && capacity <= RIP_MAX_CAPACITY && capacity % RIP_PAGE == 0 &&
                   lane->arena == rip_arena_offset(slots) && mapping->size == rip_lane_size(slots, capacity);
    return is_sound ? 0 : -EBADMSG;
}

/* Has no member of this group mapped the lane, which is not live? Then no member has reported its death. */
static int is_unseen(const struct rip_channel *ch, uint32_t group, uint32_t lane) {
    const struct rip_control *control = ch->control;
    return control->lanes[lane].cursors[group].seen != rip_lane_id(&control->lanes[lane]) + 1 &&
           rip_has_members(ch, group, RIP_NO_MEMBER);
}

/* Is a message of the lane in the table beside the cursor of this group? Then the member that uses it needs the entry
 * of the lane. */
static int has_kept_at_cursor(const struct rip_lane_entry *lane, uint32_t group) {
    uint64_t words = 0;
    for (uint32_t k = 0; k < RIP_CURSOR_KEPT; k++) {
        /* acquire: pairs with the release in rip_rx_release_late; the member has read before the file is removed */
        words |= atomic_load_explicit(&lane->cursors[group].kept[k], memory_order_acquire);
    }
    return words != 0;
}

/* Is a message of the lane in the table in the claims of this group? It matters without a directory only: there the
 * memory of a removed lane is freed. A file that has lost its name keeps it. */
static int has_kept(struct rip_channel *ch, uint32_t group, uint64_t lane) {
    struct rip_mapping mapping;
    if (ch->handle.dir >= 0) {
        return 0;
    }
    int rc = rip_file_open(&ch->handle, rip_claims_file(rip_group_id(ch->control, group), lane), 0, &mapping), has = 0;
    if (rc != 0) { /* with -ENOENT the group has no claims */
        return rip_is_resource_error(rc);
    }
    const struct rip_claims *claims = mapping.at;
    for (uint32_t k = 0; k < RIP_MAX_KEPT && mapping.size >= sizeof *claims; k++) {
        /* acquire: pairs with the release in clear_kept; the member has read before the memory is freed */
        has |= atomic_load_explicit(&claims->kept[k], memory_order_acquire) != 0;
    }
    rip_mapping_close(&mapping);
    return has;
}

void rip_lanes_retire(struct rip_channel *ch) {
    struct rip_control *control = ch->control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    int retired = 0, report_death = rip_kept_for(control) & RIP_AWAITED;
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        uint32_t state = atomic_load_explicit(&lane->state, memory_order_relaxed); /* relaxed: under the lock */
        if (state != RIP_LANE_ENDED && !rip_lane_is_reported(state)) {
            continue;
        }
        int needed = !active && atomic_load_explicit(&lane->base_seq, memory_order_relaxed) < lane->tail;
        for (uint64_t left = rip_groups_in(active); left; left &= left - 1) {
            uint32_t g = rip_first_group(left);
            /* acquire: pairs with rip_rx_publish_cursor; the group has read the lane before its file is removed */
            needed |= atomic_load_explicit(&lane->cursors[g].released, memory_order_acquire) < lane->tail ||
                      has_kept_at_cursor(lane, g) || (rip_lane_is_reported(state) && is_unseen(ch, g, i));
        }
        /* One lane whose producer died or failed stays for a group that has not come yet, even without a message, so
         * that this is reported to it. */
        if (rip_lane_is_reported(state) && report_death) {
            report_death = 0;
            needed = 1;
        }
        for (uint64_t left = rip_groups_in(active); left && !needed; left &= left - 1) {
            needed = has_kept(ch, rip_first_group(left), rip_lane_id(lane));
        }
        if (!needed) {
            rip_file_remove(&ch->handle, rip_lane_file(rip_lane_id(lane)));
            for (uint64_t left = rip_groups_in(active); left; left &= left - 1) {
                uint32_t group = rip_group_id(control, rip_first_group(left));
                rip_file_remove(&ch->handle, rip_claims_file(group, rip_lane_id(lane)));
            }
            atomic_store_explicit(&lane->state, RIP_LANE_FREE, memory_order_relaxed);
            retired = 1;
        }
    }
    if (retired) {
        rip_lanes_changed(ch, 0);
    }
}
