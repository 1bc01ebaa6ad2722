#include "ring/consumer.h"
#include "base/names.h"
#include "channel/enter.h"
#include "channel/groups.h"
#include "ring/join.h"
#include "ring/reap.h"
#include "ring/rx_lanes.h"
#include "ring/rx_next.h"
#include "ring/rx_state.h"
#include "ring/select.h"
#include "ring/watch.h"
#include "store/control_file.h"
#include "store/table_lock.h"

#include <stdlib.h>
#include <string.h>

int rip_consumer_open(const char *channel, const char *group, uint32_t flags, enum rip_wait wait, uint64_t deadline,
                      struct rip_consumer **out, int32_t *holder) {
    *holder = 0;
    if (!rip_is_group_name(group)) {
        return -EINVAL;
    }
    struct rip_consumer *c = NULL;
    if (posix_memalign((void **)&c, 128, sizeof *c) != 0) {
        return -ENOMEM;
    }
    memset(c, 0, sizeof *c);
    rip_spin_init(&c->ch.spin, wait);
    c->shared = (flags & RIP_SHARED) != 0;
    c->lossy = (flags & RIP_LOSSY) != 0;
    c->by_time = (flags & RIP_BY_TIME) != 0;
    c->expects = 1;
    c->ch.claims_of = rip_rx_claims_of;
    c->ch.handle.reap = rip_channel_reap;
    c->ch.handle.give_up = deadline > RIP_TRY_ONLY ? deadline : RIP_TRY_ONLY;
    int rc = rip_channel_open(&c->ch, channel, 0, rip_private);
    if (rc != 0) {
        free(c);
        return rc;
    }
    rc = rip_group_join(c, group, flags, holder);
    if (rc != 0 && !c->ch.handle.locked) {
        /* without the lock this process must not change the tables: another member reaps this one */
        rip_channel_abandon(&c->ch);
    } else if (rc != 0) {
        if (c->ch.handle.member != RIP_NO_MEMBER) {
            rip_member_leave(&c->ch, c->ch.handle.member);
        }
        rip_channel_close(&c->ch);
    }
    if (rc != 0) {
        rip_consumer_free(c);
        return rc;
    }
    if (c->by_time) { /* relaxed: whoever puts a message after this call has returned sees it */
        atomic_store_explicit(&c->ch.control->by_time, 1, memory_order_relaxed);
    }
    rip_unlock(&c->ch.handle);
    c->ch.handle.give_up = 0;
    c->joined = 1;
    *out = c;
    return 0;
}

void rip_consumer_expect(struct rip_consumer *c, uint32_t producers) { c->expects = producers; }

void rip_consumer_skip_deaths(struct rip_consumer *c) { c->skips_deaths = 1; }

int rip_consumer_close(struct rip_consumer *c) {
    if (c->ch.handle.state == RIP_CLOSED) {
        return 0;
    }
    int rc = rip_handle_begin_close(&c->ch.handle);
    rc = rc ? rc : rip_lock(&c->ch.handle);
    if (rc == -ECHILD || rip_is_locked_out(rc)) {
        return rc;
    }
    c->ch.handle.state = RIP_CLOSED;
    if (rc != 0) { /* as in rip_producer_close */
        rip_channel_abandon(&c->ch);
        return rc;
    }
    if (rip_member_leave(&c->ch, c->ch.handle.member) != 0) {
        rip_channel_abandon(&c->ch); /* others find this member dead and requeue its messages */
        return 0;
    }
    rip_channel_close(&c->ch);
    return 0;
}

void rip_consumer_abandon(struct rip_consumer *c) {
    c->ch.handle.state = RIP_CLOSED;
    rip_channel_abandon(&c->ch);
}

void rip_consumer_free(struct rip_consumer *c) {
    for (uint32_t i = 0; i < c->count; i++) {
        rip_rx_unmap(c->lanes[i]);
    }
    rip_channel_unmap(&c->ch);
    free(c);
}

int32_t rip_message_pid(const struct rip_message *message) { return message->lane->shared ? 0 : message->lane->pid; }

void rip_message_label(const struct rip_rx *lane, char label[RIP_MAX_LABEL + 1]) {
    /* a label that its producer changes meanwhile is of no use, but it is a text: the last byte is not copied */
    memcpy(label, lane->lane->label, RIP_MAX_LABEL);
    label[RIP_MAX_LABEL] = 0;
}

uint64_t rip_message_time(const struct rip_rx *lane, uint64_t ticks) {
    return rip_rx_time(lane, ticks) + lane->ch->time_offset;
}
