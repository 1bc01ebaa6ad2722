/* A consumer: what it reads next, what it has missed, its opening and closing. Which lanes it has is in rx_lanes.c. */
#include "ring/lane.h"

#include <stdlib.h>
#include <string.h>

#define TURN 16u /* messages of one lane before the next is looked at */

/* Where an exclusive group loses messages: those before seq that have not been got, or counted. */
static uint64_t count_to(struct rip_rx *rx, uint64_t seq) {
    if (!rx->counts || seq < rx->counted) {
        return 0;
    }
    uint64_t gap = seq - rx->counted;
    uint64_t first = gap > rx->slots ? seq - rx->slots : rx->counted;
    for (; rx->ahead && first != seq; first++) {
        uint8_t *mark = &rx->marks[first & (rx->slots - 1)];
        gap -= *mark & RIP_MARK_TAKEN ? 1 : 0;
        rx->ahead -= *mark & RIP_MARK_TAKEN ? 1 : 0;
        *mark = 0;
    }
    rx->counted = seq;
    return gap;
}

/* Messages missed between the last one claimed in its turn and this one. */
static uint64_t gap_before(const struct rip_consumer *c, struct rip_rx *rx, uint64_t seq) {
    if (c->shared) { /* whoever comes next is told, for all of the group */
        return rip_claims_take_dropped(rx->claims);
    }
    uint64_t gap = count_to(rx, seq);
    rx->counted = seq < rx->counted ? rx->counted : seq + 1;
    return gap;
}

int rip_rx_poll(struct rip_rx *rx) {
    if (!rx->claims) {
        return rip_rx_refresh(rx);
    }
    /* acquire: pairs with the release of whoever gives a message back */
    uint64_t requeued = atomic_load_explicit(&rx->claims->requeued, memory_order_acquire);
    /* acquire: pairs with rip_tx_publish; before the cursor, so that they cannot lie more than the slots apart */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire);
    uint64_t released = atomic_load_explicit(&rx->cursor->released, memory_order_acquire); /* pairs with move_cursor */
    /* Its id changes before its cursors do. Relaxed: the load of the cursor comes before. */
    if (rip_lane_id(rx->entry) != rx->id) { /* all is read, and the place taken */
        rx->released = rx->next = rx->tail = tail;
        return 0;
    }
    if (rx->drops) {
        /* acquire: pairs with rip_drop_old_make_room; after the tail, which can be no more than the slots ahead of it */
        uint64_t head = atomic_load_explicit(&rx->lane->reclaimed, memory_order_acquire);
        if (head > tail && head > atomic_load_explicit(&rx->lane->tail, memory_order_acquire)) {
            return -EBADMSG;
        }
        rip_claims_pass(rx->claims, rx->slots, rx->cursor, rx->entry, released, head);
        released = released < head ? head : released;
    }
    if (released > tail) { /* it has moved on since */
        tail = released;
    }
    if (tail - released > rx->slots || tail < rx->tail) {
        return -EBADMSG;
    }
    if (requeued != rx->requeued || rx->next < released) {
        rx->scan_pos = requeued != rx->requeued ? 0 : rx->scan_pos; /* a search may want what has come back */
        rx->requeued = requeued;
        rx->next = released;
    }
    rx->gap += count_to(rx, released);
    rx->released = released;
    rx->tail = tail;
    return rx->next != tail;
}

int rip_rx_claim(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    int rc = 1;
    while (rc == 1) {
        int redelivered = 0;
        /* The tail travels to us at each look, so we look only when we have come to where it was. Relaxed: the look acquires. */
        if (rx->next == rx->tail || atomic_load_explicit(&rx->claims->requeued, memory_order_relaxed) != rx->requeued) {
            rc = rip_rx_poll(rx);
            if (rc != 1) {
                return rc;
            }
        }
        uint64_t seq = rx->next++;
        if (!rip_claim(rx->claims, rx->slots, seq, c->ch.handle.member, &redelivered)) {
            continue;
        }
        rx->ours++;
        rx->gap += gap_before(c, rx, seq);
        rc = rip_rx_read(rx, seq, message);
        if (rc == 1) {
            message->flags |= redelivered ? RIP_REDELIVERED : 0; /* or it was before it came over a connection */
            message->missed += rx->gap;
            rx->last_gap = rx->gap;
            rx->gap = 0;
            return 1;
        }
        rip_rx_release_only(rx, seq); /* nobody could read it */
    }
    return rc;
}

/* The next message of a lane whose turn it is. Where there are others it gives way after a few, or after a large one. */
static int read_turn(const struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    int rc = rip_rx_read(rx, rx->next, message);
    uint64_t most = rc == 1 && message->length >= RIP_LARGE ? 1 : TURN;
    if (c->count > 1 && !rx->ahead && rx->tail - rx->next > most) { /* what is ahead stays before the tail */
        rx->tail = rx->next + most;
    }
    return rc;
}

__attribute__((noinline)) int rip_advance(struct rip_consumer *c, struct rip_message *message) {
    int rc = rip_update_lanes_or_fail(c);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        c->scan = c->scan + 1 < c->count ? c->scan + 1 : 0;
        struct rip_rx *rx = c->lanes[c->scan];
        c->current = rx->claims ? NULL : rx;
        c->claimed = rx->claims ? rx : NULL;
        rc = rx->claims ? rip_rx_claim(c, rx, message) : rip_rx_refresh(rx);
        if (rc != 0) {
            return rc == 1 && !rx->claims ? read_turn(c, rx, message) : rc;
        }
        rc = rip_report_death(c, rx);
        if (rc != 0) {
            return rc;
        }
    }
    return rip_at_end(c);
}

/* The same where members compete: each message goes by us only if nobody has it. */
static int claim_newest(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    struct rip_message next;
    int rc, found = 0;
    while ((rc = rip_rx_claim(c, rx, &next)) == 1) {
        if (found) {
            rip_rx_release(rx, message->seq);
            next.missed += message->missed;
        }
        *message = next;
        found = 1;
    }
    return found ? 1 : rc;
}

/* Lets go all that can be read of a lane but its newest message, and takes that, uncounted: 1, or 0: there is none. */
static int take_newest(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    if (rx->claims) {
        return claim_newest(c, rx, message);
    }
    int rc = rip_rx_refresh(rx);
    if (rc != 1) {
        return rc;
    }
    uint64_t mask = rx->slots - 1, newest = rx->tail - 1, missed = 0;
    while (rx->marks[newest & mask] & RIP_MARK_TAKEN) { /* not all are: refresh has passed over those at next */
        newest--;
    }
    for (; rx->next != newest; rx->next++) {
        uint8_t *mark = &rx->marks[rx->next & mask];
        if (*mark & RIP_MARK_TAKEN) {
            *mark &= (uint8_t)~RIP_MARK_TAKEN;
            rx->ahead--;
        } else {
            *mark |= RIP_MARK_RELEASED;
            missed += rx->desc[rx->next & mask].lost;
        }
    }
    rip_rx_release_marked(rx);
    rip_rx_publish_cursor(rx);
    rc = rip_rx_read(rx, newest, message);
    if (rc == 1) {
        message->missed += missed;
        rx->next = newest + 1;
    }
    return rc;
}

uint64_t rip_rx_time(const struct rip_rx *rx, uint64_t ticks) {
    return rip_ticks_to_ns(rx->lane, ticks, rx->ch->time_offset);
}

/* Was it put after the other one, or at the same moment? Ticks of one clock compare; a lane that a connection fills has
 * another clock. */
static int is_newer(const struct rip_message *message, const struct rip_message *other) {
    if (message->lane->lane->clock == other->lane->lane->clock) {
        return message->ticks >= other->ticks;
    }
    return rip_rx_time(message->lane, message->ticks) >= rip_rx_time(other->lane, other->ticks);
}

int rip_rx_latest(struct rip_consumer *c, struct rip_message *message) {
    int rc = rip_update_lanes_or_fail(c);   /* the newest may be in a new one */
    rc = rc ? rc : rip_rx_peek(c, message); /* also looks for the end */
    if (rc != 1) {
        return rc;
    }
    if (!c->claimed) { /* else it is ours already: members compete for that lane */
        message->lane = NULL;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_message other = {.lane = NULL};
        rc = take_newest(c, c->lanes[i], &other);
        if (rc < 0) {
            if (message->lane) {
                rip_rx_release(message->lane, message->seq);
            }
            return rc;
        }
        if (!other.lane) {
            continue;
        }
        if (message->lane) { /* of several lanes, the one put last */
            int newer = other.lane == message->lane || is_newer(&other, message);
            struct rip_message *older = newer ? message : &other;
            other.missed += other.lane == message->lane ? message->missed : 0;
            rip_rx_release(older->lane, older->seq);
            *message = newer ? other : *message;
        } else {
            *message = other;
        }
    }
    if (!message->lane) { /* what was there is gone: a tail went back */
        return -EBADMSG;
    }
    rip_rx_take(c, message);
    return 1;
}

uint64_t rip_rx_backlog(struct rip_consumer *c) {
    uint64_t backlog = 0;
    rip_update_lanes(c);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct rip_rx *rx = c->lanes[i];
        /* relaxed: only a number to show */
        uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_relaxed), seq = rx->next;
        if (!rx->claims) {
            backlog += tail - seq;
            continue;
        }
        for (seq = tail - seq > rx->slots ? tail - rx->slots : seq; seq != tail; seq++) {
            backlog += (uint64_t)rip_claim_is_free(rx->claims, rx->slots, seq);
        }
    }
    return backlog;
}

void rip_message_watch(struct rip_consumer *c, const struct rip_filter *filter, struct rip_watch *watch) {
    unsigned n = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        watch->words[n] = &rx->lane->tail;
        watch->seen[n++] = filter || rx->claims ? rx->tail : rx->next; /* what is not for us may stay */
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
    watch->picky = filter || rip_rx_is_stale(c); /* what we are woken for may lie in a lane that we have not mapped */
    if (watch->picky) {
        /* relaxed: the announcement comes after it */
        atomic_store_explicit(&c->ch.control->groups[c->group].picky, 1, memory_order_relaxed);
    }
    watch->spin = &c->ch.spin;
}

void rip_rx_pass_wakeup(struct rip_consumer *c) {
    if (c->shared && rip_handle_check(&c->ch.handle) == 0) { /* who closes it wakes all */
        rip_wake_groups(&c->ch, 1);
    }
}

int rip_consumer_open(const char *channel, const char *group, uint32_t how, enum rip_wait wait, uint64_t deadline,
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
    c->shared = (how & RIP_SHARED) != 0;
    c->ch.claims_of = rip_rx_claims_of;
    c->ch.handle.give_up = deadline > RIP_TRY_ONLY ? deadline : RIP_TRY_ONLY;
    int rc = rip_channel_open(&c->ch, channel, 0, rip_private);
    if (rc != 0) {
        free(c);
        return rc;
    }
    rc = rip_group_join(c, group, how, holder);
    if (rc != 0 && !c->ch.handle.locked) {
        rip_channel_abandon(&c->ch); /* the tables are not ours to edit: the next member to look reaps us */
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
    rip_unlock(&c->ch.handle);
    c->ch.handle.give_up = 0;
    c->joined = 1;
    *out = c;
    return 0;
}

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
        rip_channel_abandon(&c->ch); /* others find us dead, and what we hold */
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

int32_t rip_message_pid(const struct rip_message *message) { return message->lane->pid; }

uint64_t rip_message_time(const struct rip_rx *lane, uint64_t ticks) {
    return rip_rx_time(lane, ticks) + lane->ch->time_offset;
}

/* ---- the same for C programs, where a wait may keep the handle to itself ---- */

typedef int look(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);

/* A look of one who does not wait. */
static int look_once(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message, look *look) {
    int rc = rip_handle_check(&c->ch.handle);
    if (rc != 0) {
        return rc;
    }
    while ((rc = look(c, filter, message)) == 0 && rip_may_sleep_briefly(c)) {
        rip_brief_sleep();
    }
    return rc == 0 ? -EAGAIN : rc;
}

static int peek(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    return rip_rx_peek(c, message);
}

int rip_peek(struct rip_consumer *c, struct rip_message *message) { return look_once(c, NULL, message, peek); }

int rip_select(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    return look_once(c, filter, message, rip_rx_select);
}

void rip_take(struct rip_consumer *c, const struct rip_message *message) { rip_rx_take(c, message); }

void rip_acknowledge(struct rip_consumer *c, const struct rip_message *message) {
    if (c->ch.handle.state == RIP_OPEN) {
        rip_rx_ack(message->lane, message->seq);
    }
}

void rip_release(struct rip_consumer *c, const struct rip_message *message) {
    if (c->ch.handle.state == RIP_OPEN) {
        rip_rx_release(message->lane, message->seq);
    }
}

/* A piece of a wait: as rip_watch_wait. */
static int wait_once(struct rip_consumer *c, const struct rip_filter *filter, uint64_t deadline) {
    struct rip_watch watch;
    rip_message_watch(c, filter, &watch);
    int rc = rip_watch_wait(&watch, deadline);
    rip_reap_if_due(&c->ch);
    return rc;
}

int rip_wait_message(struct rip_consumer *c, uint64_t deadline) {
    int rc = rip_handle_check(&c->ch.handle);
    while (rc >= 0 && !rip_rx_pending(c)) {
        rc = wait_once(c, NULL, deadline);
    }
    return rc < 0 ? rc : 0;
}

static int get(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message, uint64_t deadline,
               look *look) {
    int rc, waited = 0, waits = 0;
    while ((rc = look_once(c, filter, message, look)) == -EAGAIN && waited >= 0) {
        waited = wait_once(c, filter, deadline);
        waits = 1;
    }
    if (rc == -EAGAIN) {
        return waited;
    }
    if (waits && rc < 0) { /* it may have been woken for a message, and leaves with something else */
        rip_rx_pass_wakeup(c);
    }
    return rc;
}

static int take_next(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    int rc = rip_rx_peek(c, message);
    if (rc == 1) {
        rip_rx_take(c, message);
    }
    return rc;
}

static int take_latest(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    return rip_rx_latest(c, message);
}

int rip_get(struct rip_consumer *c, struct rip_message *message, uint64_t deadline) {
    return get(c, NULL, message, deadline, take_next);
}

int rip_get_latest(struct rip_consumer *c, struct rip_message *message, uint64_t deadline) {
    return get(c, NULL, message, deadline, take_latest);
}

int rip_get_selected(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message,
                     uint64_t deadline) {
    rip_select_begin(c, filter);
    return get(c, filter, message, deadline, rip_rx_select);
}
