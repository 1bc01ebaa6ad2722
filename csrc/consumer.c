#include "lane.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN 16u /* messages of one lane before the next is looked at */

static void unmap_lane(struct rip_rx *rx) {
    rip_segment_close(&rx->segment);
    rip_segment_close(&rx->claims_segment);
    free(rx->marks);
    free(rx);
}

/* How many messages the group has missed since we came. */
static uint64_t missed_of(const struct rip_rx *rx) {
    /* relaxed: numbers to show */
    uint64_t missed = atomic_load_explicit(&rx->lane->refused, memory_order_relaxed) - rx->refused;
    return rx->claims ? missed + atomic_load_explicit(&rx->claims->dropped, memory_order_relaxed) - rx->dropped
                      : missed;
}

/* What a member before us has let go out of turn is not missed. */
static void start_counting(struct rip_consumer *c, struct rip_rx *rx) {
    rx->counted = rx->next;
    rx->dropped = c->joined ? 0 : atomic_load_explicit(&rx->claims->dropped, memory_order_relaxed); /* to be shown */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire); /* pairs with rip_tx_publish */
    rx->counts = rx->drops && !c->shared;
    for (uint64_t seq = rx->next; rx->counts && seq != tail && tail - rx->next <= rx->slots; seq++) {
        if (rip_claim_is_got(rx->claims, rx->slots, seq)) {
            rip_rx_note(rx, seq);
        }
    }
}

/* Where an exclusive group loses messages: those before seq that have not been got, or counted. */
static uint64_t count_to(struct rip_rx *rx, uint64_t seq) {
    if (!rx->counts || seq < rx->counted) { /* or it had been given back */
        return 0;
    }
    uint64_t gap = seq - rx->counted;
    uint64_t first = gap > rx->slots ? seq - rx->slots : rx->counted;
    for (; rx->ahead && first != seq; first++) {
        uint8_t *mark = &rx->marks[first & (rx->slots - 1)];
        gap -= *mark & RIP_TAKEN ? 1 : 0;
        rx->ahead -= *mark & RIP_TAKEN ? 1 : 0;
        *mark = 0;
    }
    rx->counted = seq;
    return gap;
}

/* Messages missed between the last one claimed in its turn and this one. */
static uint64_t gap_before(const struct rip_consumer *c, struct rip_rx *rx, uint64_t seq) {
    if (c->shared) { /* whoever comes next is told, for all of the group */
        return rip_claims_tell(rx->claims);
    }
    uint64_t gap = count_to(rx, seq);
    rx->counted = seq < rx->counted ? rx->counted : seq + 1;
    return gap;
}

/* A lane's header is anybody's writing: every number in it is checked before it is used. */
static int map_lane(struct rip_consumer *c, uint32_t index, struct rip_rx **out) {
    struct rip_lane_entry *entry = &c->ch.control->lanes[index];
    char name[32];
    rip_lane_name(entry->id, name);
    struct rip_rx *rx = NULL;
    if (posix_memalign((void **)&rx, 128, sizeof *rx) != 0) {
        return -ENOMEM;
    }
    memset(rx, 0, sizeof *rx);
    rx->claims_segment.fd = -1;
    int rc = rip_segment_open(c->ch.dir, name, RIP_FILE_LANE, 0, &rx->segment);
    if (rc != 0) {
        free(rx);
        return rc;
    }
    rip_segment_close_fd(&rx->segment);
    const volatile struct rip_lane *lane = rx->segment.at; /* volatile: read once */
    uint64_t slots = lane->slots, capacity = lane->capacity;
    uint32_t overflow = lane->overflow;
    if (rx->segment.size < sizeof *lane || slots == 0 || slots > RIP_MAX_SLOTS || (slots & (slots - 1)) ||
        overflow > RIP_DROP_OLD || capacity == 0 || capacity > RIP_MAX_CAPACITY || capacity % RIP_PAGE ||
        lane->arena != rip_arena_offset(slots) || rx->segment.size != rip_lane_size(slots, capacity)) {
        rc = -EBADMSG;
    } else {
        rx->marks = calloc(slots, 1);
        rc = rx->marks ? 0 : -ENOMEM;
    }
    if (rc != 0) {
        rip_segment_close(&rx->segment);
        free(rx);
        return rc;
    }
    rx->lane = rx->segment.at;
    rx->slots = slots;
    rx->capacity = capacity;
    rx->desc = rx->lane->desc;
    rx->payloads = (const unsigned char *)rx->segment.at + rip_arena_offset(slots);
    rx->cursor = &c->ch.control->cursors[c->group][index];
    rx->entry = entry;
    rx->ch = &c->ch;
    rx->id = atomic_load_explicit(&entry->id, memory_order_relaxed); /* under the lock */
    rx->pid = entry->pid;
    rx->index = index;
    rx->next = rx->held = rx->tail = atomic_load_explicit(&rx->cursor->held, memory_order_relaxed); /* our group's */
    rx->drops = overflow == RIP_DROP_OLD;
    rx->refused = c->joined ? 0 : atomic_load_explicit(&rx->lane->refused, memory_order_relaxed); /* to be shown */
    if (c->claims || rx->drops) {
        rc = rip_claims_open(&c->ch, rip_group_id(c->ch.control, c->group), entry->id, slots, &rx->claims_segment);
        if (rc != 0) {
            unmap_lane(rx);
            return rc;
        }
        rx->claims = rx->claims_segment.at;
        start_counting(c, rx);
    }
    *out = rx;
    return 0;
}

static struct rip_rx *find(struct rip_consumer *c, uint64_t id) {
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->lanes[i]->id == id) {
            return c->lanes[i];
        }
    }
    return NULL;
}

/* Brings in the lanes of the table that are new: 1, or 0 where there was no place for one. */
static int map_new_lanes(struct rip_consumer *c) {
    struct rip_control *control = c->ch.control;
    for (uint32_t i = 0; i < RIP_MAX_LANES; i++) {
        /* acquire: pairs with the release where a lane is ended; the tail that we load afterwards is its last */
        uint32_t state = atomic_load_explicit(&control->lanes[i].state, memory_order_acquire);
        if (state == RIP_LANE_FREE) {
            continue;
        }
        struct rip_rx *rx = find(c, control->lanes[i].id);
        if (!rx) {
            if (c->count == RIP_RX_LANES) {
                return 0;
            }
            int rc = map_lane(c, i, &rx);
            if (rc == -ENOENT) { /* a kill came before its file had a name, or after it had lost it */
                continue;
            }
            if (rc != 0) {
                return rc;
            }
            c->lanes[c->count++] = rx;
        }
        rx->state = state;
        rx->present = 1;
    }
    return 1;
}

int rip_rescan(struct rip_consumer *c) {
    struct rip_control *control = c->ch.control;
    uint64_t changed =
        atomic_load_explicit(&control->lanes_changed, memory_order_acquire); /* pairs with rip_lanes_changed */
    c->had_lanes |= control->lanes_ever > 0;
    for (uint32_t k = 0; k < c->count; k++) {
        c->lanes[k]->present = 0;
    }
    int rc = map_new_lanes(c);
    if (rc < 0) {
        return rc;
    }
    uint32_t kept = 0;
    for (uint32_t k = 0; k < c->count; k++) {
        struct rip_rx *rx = c->lanes[k];
        if (!rx->present && rx->state == RIP_LANE_LIVE) { /* gone since we last looked */
            /* acquire: pairs with the release in rip_producer_close */
            int closed = atomic_load_explicit(&rx->lane->closed, memory_order_acquire) != 0;
            rx->state = closed ? RIP_LANE_ENDED : RIP_LANE_DEAD;
        }
        if (rx->present || c->watches || (rx->state == RIP_LANE_DEAD && !rx->told)) {
            c->lanes[kept++] = rx;
        } else { /* a lane leaves the table when every group has let all of it go */
            c->current = c->current == rx ? NULL : c->current;
            c->claimed = c->claimed == rx ? NULL : c->claimed;
            c->missed += missed_of(rx);
            unmap_lane(rx);
        }
    }
    c->count = kept;
    c->lanes_changed = rc == 1 ? changed : changed - 1; /* no place: once more next time */
    return 0;
}

static void try_retire(struct rip_consumer *c, struct rip_rx *rx) {
    if (!rx->tried && rx->held == rx->tail && rip_try_lock(&c->ch) == 0) {
        rx->tried = 1;
        rip_lanes_retire(&c->ch);
        rip_unlock(&c->ch);
    }
}

/* Have we the table as it is? Else it is too early to speak of an end. */
static int is_up_to_date(const struct rip_consumer *c) {
    return atomic_load_explicit(&c->ch.control->lanes_changed, memory_order_relaxed) == c->lanes_changed;
}

int rip_at_end(struct rip_consumer *c) {
    int more = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        if (rx->state == RIP_LANE_LIVE ||
            (c->shared && rx->held != rx->tail)) { /* what others hold may come back to us */
            more = 1;
        }
        if (rx->state != RIP_LANE_LIVE) {
            try_retire(c, rx);
        }
    }
    return !more && c->had_lanes && is_up_to_date(c) ? -ENODATA : 0;
}

/* Where members compete: is there one that nobody has? */
static int has_free(const struct rip_rx *rx) {
    for (uint64_t seq = rx->next; seq != rx->tail; seq++) {
        if (rip_claim_is_free(rx->claims, rx->slots, seq)) {
            return 1;
        }
    }
    return 0;
}

int rip_rx_pending(struct rip_consumer *c) {
    int more = 0;
    if (rip_look_at_lanes(c) != 0 || !is_up_to_date(c)) {
        return 1;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        int rc = rip_rx_look(rx);
        if (rc < 0 || (rc == 1 && (!rx->claims || has_free(rx))) || (rx->state == RIP_LANE_DEAD && !rx->told)) {
            return 1;
        }
        more |= rx->state == RIP_LANE_LIVE || (c->shared && rx->held != rx->tail);
    }
    return !more && c->had_lanes;
}

int rip_look_at_lanes(struct rip_consumer *c) {
    if (RIP_UNLIKELY(!is_up_to_date(c)) && rip_try_lock(&c->ch) == 0) {
        int rc = rip_rescan(c);
        rip_unlock(&c->ch);
        return rc;
    }
    return 0;
}

int rip_tell_death(struct rip_consumer *c, struct rip_rx *rx) {
    if (RIP_LIKELY(rx->state != RIP_LANE_DEAD || rx->told)) {
        return 0;
    }
    rx->told = 1;
    c->died = rx->pid;
    return -EOWNERDEAD;
}

int rip_rx_look(struct rip_rx *rx) {
    if (!rx->claims) {
        return rip_rx_refresh(rx);
    }
    /* acquire: pairs with the release of whoever gives a message back */
    uint64_t returned = atomic_load_explicit(&rx->claims->returned, memory_order_acquire);
    /* acquire: pairs with rip_tx_publish; before the cursor, so that they cannot lie more than the slots apart */
    uint64_t tail = atomic_load_explicit(&rx->lane->tail, memory_order_acquire);
    uint64_t held = atomic_load_explicit(&rx->cursor->held, memory_order_acquire); /* pairs with move_cursor */
    /* Its id changes before its cursors do. Relaxed: the load of the cursor comes before. */
    if (atomic_load_explicit(&rx->entry->id, memory_order_relaxed) != rx->id) { /* all is read, and the place taken */
        rx->held = rx->next = rx->tail = tail;
        return 0;
    }
    if (rx->drops) {
        /* acquire: pairs with rip_drops_make_room; after the tail, which can be no more than the slots ahead of it */
        uint64_t head = atomic_load_explicit(&rx->lane->head, memory_order_acquire);
        if (head > tail && head > atomic_load_explicit(&rx->lane->tail, memory_order_acquire)) {
            return -EBADMSG;
        }
        rip_claims_pass(rx->claims, rx->slots, rx->cursor, held, head);
        held = held < head ? head : held;
    }
    if (held > tail) { /* it has moved on since */
        tail = held;
    }
    if (tail - held > rx->slots || tail < rx->tail) {
        return -EBADMSG;
    }
    if (returned != rx->returned || rx->next < held) {
        rx->sought = returned != rx->returned ? 0 : rx->sought; /* a search may want what has come back */
        rx->returned = returned;
        rx->next = held;
    }
    rx->gap += count_to(rx, held);
    rx->held = held;
    rx->tail = tail;
    return rx->next != tail;
}

int rip_rx_claim(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    int rc = 1;
    while (rc == 1) {
        int redelivered = 0;
        /* The tail travels to us at each look, so we look only when we have come to where it was. Relaxed: the look acquires. */
        if (rx->next == rx->tail || atomic_load_explicit(&rx->claims->returned, memory_order_relaxed) != rx->returned) {
            rc = rip_rx_look(rx);
            if (rc != 1) {
                return rc;
            }
        }
        uint64_t seq = rx->next++;
        if (!rip_claim(rx->claims, rx->slots, seq, c->ch.member, &redelivered)) {
            continue;
        }
        rx->gap += gap_before(c, rx, seq);
        rc = rip_rx_read(rx, seq, message);
        if (rc == 1) {
            message->flags = redelivered ? RIP_REDELIVERED : 0;
            message->missed += rx->gap;
            rx->last_gap = rx->gap;
            rx->gap = 0;
            return 1;
        }
        rip_rx_drop(rx, seq); /* nobody could read it */
    }
    return rc;
}

/* The next message of a lane whose turn it is. Where there are others it gives way after a few, or after a large one. */
static int read_turn(const struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    int rc = rip_rx_read(rx, rx->next, message);
    uint64_t most = rc == 1 && message->length >= RIP_LARGE ? 1 : TURN;
    if (c->count > 1 && rx->tail - rx->next > most) {
        rx->tail = rx->next + most;
    }
    return rc;
}

__attribute__((noinline)) int rip_advance(struct rip_consumer *c, struct rip_message *message) {
    int rc = rip_look_at_lanes(c);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        c->turn = c->turn + 1 < c->count ? c->turn + 1 : 0;
        struct rip_rx *rx = c->lanes[c->turn];
        c->current = rx->claims ? NULL : rx;
        c->claimed = rx->claims ? rx : NULL;
        rc = rx->claims ? rip_rx_claim(c, rx, message) : rip_rx_refresh(rx);
        if (rc != 0) {
            return rc == 1 && !rx->claims ? read_turn(c, rx, message) : rc;
        }
        rc = rip_tell_death(c, rx);
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
    if (found) {
        rip_rx_take(c, message);
    }
    return found ? 1 : rc;
}

/* Lets go all that can be read of a lane but its newest message, and takes that: 1, or 0 if there is none. */
static int take_newest(struct rip_consumer *c, struct rip_rx *rx, struct rip_message *message) {
    if (rx->claims) {
        return claim_newest(c, rx, message);
    }
    int rc = rip_rx_refresh(rx);
    if (rc != 1) {
        return rc;
    }
    uint64_t mask = rx->slots - 1, newest = rx->tail - 1, missed = 0;
    while (rx->marks[newest & mask] & RIP_TAKEN) { /* not all are: refresh has passed over those at next */
        newest--;
    }
    for (; rx->next != newest; rx->next++) {
        uint8_t *mark = &rx->marks[rx->next & mask];
        if (*mark & RIP_TAKEN) {
            *mark &= (uint8_t)~RIP_TAKEN;
            rx->ahead--;
        } else {
            *mark |= RIP_RELEASED;
            missed += rx->desc[rx->next & mask].lost;
        }
    }
    rip_rx_drop_marked(rx);
    rip_rx_tell(rx);
    rc = rip_rx_read(rx, newest, message);
    if (rc == 1) {
        message->missed += missed;
        rip_rx_take(c, message);
    }
    return rc;
}

int rip_rx_latest(struct rip_consumer *c, struct rip_message *message) {
    int rc = rip_rx_peek(c, message); /* also looks for new lanes, and for the end */
    if (rc != 1) {
        return rc;
    }
    if (c->claimed) { /* members compete for that lane: it is ours already */
        rip_rx_take(c, message);
    } else {
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
        if (rc == 0) {
            continue;
        }
        if (message->lane) { /* of several lanes, the one put last */
            /* Raw ticks compare: every lane of a machine has the same clock. */
            int newer = other.lane == message->lane || other.ticks >= message->ticks;
            struct rip_message *older = newer ? message : &other;
            other.missed += other.lane == message->lane ? message->missed : 0;
            rip_rx_release(older->lane, older->seq);
            *message = newer ? other : *message;
        } else {
            *message = other;
        }
    }
    return message->lane ? 1 : -EBADMSG; /* what was there is gone: a tail went back */
}

uint64_t rip_rx_backlog(const struct rip_consumer *c) {
    uint64_t backlog = 0;
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

uint64_t rip_rx_missed(const struct rip_consumer *c) {
    uint64_t missed = c->missed;
    for (uint32_t i = 0; i < c->count; i++) {
        missed += missed_of(c->lanes[i]);
    }
    return missed;
}

void rip_message_watch(struct rip_consumer *c, const struct rip_filter *filter, struct rip_watch *watch) {
    unsigned n = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct rip_rx *rx = c->lanes[i];
        watch->words[n] = &rx->lane->tail;
        watch->seen[n++] = filter || rx->claims ? rx->tail : rx->next; /* what is not for us may stay */
        if (rx->claims) {
            watch->words[n] = &rx->claims->returned;
            watch->seen[n++] = rx->returned;
        }
    }
    watch->words[n] = &c->ch.control->lanes_changed;
    watch->seen[n++] = c->lanes_changed;
    watch->count = n;
    watch->bell = &c->ch.control->groups[c->group].bell;
    watch->asleep32 = NULL;
    watch->asleep64 = &c->ch.control->groups_asleep;
    watch->bit = UINT64_C(1) << c->group;
    watch->spin = &c->ch.spin;
}

int rip_consumer_open(const char *channel, const char *group, uint32_t how, enum rip_wait wait,
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
    int rc = rip_channel_enter(&c->ch, channel, 0, 0);
    if (rc != 0) {
        free(c);
        return rc;
    }
    rc = rip_group_join(c, group, how, holder);
    if (rc != 0) {
        if (c->ch.member != RIP_NO_MEMBER) {
            rip_member_leave(&c->ch, c->ch.member);
        }
        rip_channel_leave(&c->ch);
        rip_consumer_free(c);
        return rc;
    }
    rip_unlock(&c->ch);
    c->joined = 1;
    *out = c;
    return 0;
}

int rip_consumer_close(struct rip_consumer *c) {
    int rc = rip_check(&c->ch);
    if (rc != 0) {
        return rc == -ESHUTDOWN ? 0 : rc;
    }
    c->ch.state = RIP_CLOSED;
    rc = rip_lock(&c->ch);
    if (rc != 0) { /* as in rip_producer_close */
        rip_channel_abandon(&c->ch);
        return rc;
    }
    if (rip_member_leave(&c->ch, c->ch.member) != 0) {
        rip_channel_abandon(&c->ch); /* others find us dead, and what we hold */
        return 0;
    }
    rip_channel_leave(&c->ch);
    return 0;
}

void rip_consumer_free(struct rip_consumer *c) {
    for (uint32_t i = 0; i < c->count; i++) {
        unmap_lane(c->lanes[i]);
    }
    rip_channel_unmap(&c->ch);
    free(c);
}

int32_t rip_message_pid(const struct rip_message *message) { return message->lane->pid; }

uint64_t rip_message_time(const struct rip_rx *lane, uint64_t ticks) { return rip_ticks_to_ns(lane->lane, ticks); }

/* ---- the same for C programs, where a wait may keep the handle to itself ---- */

int rip_peek(struct rip_consumer *c, struct rip_message *message) {
    int rc = rip_check(&c->ch);
    rc = rc ? rc : rip_rx_peek(c, message);
    return rc == 0 ? -EAGAIN : rc;
}

void rip_take(struct rip_consumer *c, const struct rip_message *message) { rip_rx_take(c, message); }

void rip_release(struct rip_consumer *c, const struct rip_message *message) {
    if (c->ch.state == RIP_OPEN) {
        rip_rx_release(message->lane, message->seq);
    }
}

static int wait_message(struct rip_consumer *c, const struct rip_filter *filter, uint64_t deadline) {
    int rc = rip_check(&c->ch);
    if (rc != 0) {
        return rc;
    }
    struct rip_watch watch;
    rip_message_watch(c, filter, &watch);
    rc = rip_watch_wait(&watch, deadline);
    rip_look_around(&c->ch);
    return rc < 0 ? rc : 0;
}

int rip_wait_message(struct rip_consumer *c, uint64_t deadline) { return wait_message(c, NULL, deadline); }

typedef int look(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);

static int get(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message, uint64_t deadline,
               look *look) {
    int rc;
    while ((rc = look(c, filter, message)) == -EAGAIN) {
        int waited = wait_message(c, filter, deadline);
        if (waited < 0) {
            rc = look(c, filter, message);
            return rc == -EAGAIN ? waited : rc;
        }
    }
    return rc;
}

static int take_next(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    int rc = rip_peek(c, message);
    if (rc == 1) {
        rip_take(c, message);
    }
    return rc;
}

static int take_latest(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)filter;
    int rc = rip_check(&c->ch);
    rc = rc ? rc : rip_rx_latest(c, message);
    return rc == 0 ? -EAGAIN : rc;
}

int rip_get(struct rip_consumer *c, struct rip_message *message, uint64_t deadline) {
    return get(c, NULL, message, deadline, take_next);
}

int rip_get_latest(struct rip_consumer *c, struct rip_message *message, uint64_t deadline) {
    return get(c, NULL, message, deadline, take_latest);
}

int rip_get_match(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message, uint64_t deadline) {
    rip_search(c, filter);
    return get(c, filter, message, deadline, rip_match);
}
