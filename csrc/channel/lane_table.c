#include "channel/lane_table.h"
#include "channel/tables.h"
#include "channel/wake.h"
#include "store/files.h"

void rip_lanes_changed(struct rip_channel *ch) {
    /* release: pairs with the acquire in rip_rescan, which reads the table after it */
    atomic_fetch_add_explicit(&ch->control->lanes_changed, 1, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with rip_fence_heavy of a consumer that goes to sleep */
    if (atomic_load_explicit(&ch->control->groups_asleep, memory_order_relaxed)) {
        rip_wake_groups(ch, 0);
    }
}

int rip_lane_read_word(struct rip_channel *ch, uint64_t id, size_t offset, uint64_t *word) {
    int rc = rip_file_read(&ch->handle, rip_lane_file(id), offset, word);
    *word = rc ? 0 : *word;
    return rip_is_resource_error(rc) ? rc : 0;
}

/* Has no member of this group mapped the lane, which is not live? Then no member has reported its death. */
static int is_unseen(const struct rip_channel *ch, uint32_t group, uint32_t lane) {
    const struct rip_control *control = ch->control;
    return control->cursors[group][lane].seen != rip_lane_id(&control->lanes[lane]) + 1 &&
           rip_has_members(ch, group, RIP_NO_MEMBER);
}

void rip_lanes_retire(struct rip_channel *ch) {
    struct rip_control *control = ch->control;
    uint64_t active = atomic_load_explicit(&control->groups_active, memory_order_relaxed); /* under the lock */
    int retired = 0, report_death = rip_kept_for(control) & RIP_AWAITED;
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_lane_entry *lane = &control->lanes[i];
        /* acquire: pairs with the release in rip_producer_close and rip_channel_reap: the tail that is read below is
         * the last one. The loads of the cursors pair with rip_rx_publish_cursor: the group has read the lane before
         * its file is removed. */
        uint32_t state = atomic_load_explicit(&lane->state, memory_order_acquire);
        if (state != RIP_LANE_ENDED && !rip_lane_is_reported(state)) {
            continue;
        }
        uint64_t tail;
        int rc = rip_file_read(&ch->handle, rip_lane_file(rip_lane_id(lane)), offsetof(struct rip_lane, tail), &tail);
        tail = rc ? 0 : tail; /* a lane that cannot be read counts as empty */
        int needed = rip_is_resource_error(rc) ||
                     (!active && atomic_load_explicit(&lane->base_seq, memory_order_relaxed) < tail);
        for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
            needed |= (active >> g & 1) &&
                      (atomic_load_explicit(&control->cursors[g][i].released, memory_order_acquire) < tail ||
                       (rip_lane_is_reported(state) && rc == 0 && is_unseen(ch, g, i)));
        }
        /* One lane whose producer died or failed stays for a group that has not come yet, even without a message, so
         * that this is reported to it. */
        if (rip_lane_is_reported(state) && rc == 0 && report_death) {
            report_death = 0;
            needed = 1;
        }
        if (!needed) {
            rip_file_remove(&ch->handle, rip_lane_file(rip_lane_id(lane)));
            for (uint32_t g = 0; g < RIP_MAX_GROUPS; g++) {
                if (active >> g & 1) {
                    rip_file_remove(&ch->handle, rip_claims_file(rip_group_id(control, g), rip_lane_id(lane)));
                }
            }
            atomic_store_explicit(&lane->state, RIP_LANE_FREE, memory_order_relaxed);
            retired = 1;
        }
    }
    if (retired) {
        rip_lanes_changed(ch);
    }
}
