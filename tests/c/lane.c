/* A producer and a consumer in one process: what each call does with a lane, and a comparison with a model. */
#include "check.h"

#include <sys/time.h>

/* ---- lengths, slots, order ---- */

static void every_length(void) {
    const uint64_t capacity = 2 * RIP_PAGE;
    static unsigned char data[2 * RIP_PAGE];
    struct rip_producer *p = open_producer(CHANNEL, capacity, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    struct rip_message message;
    for (uint64_t length = 0; length <= capacity; length++) {
        fill(data, length, 0, length);
        CHECK_IS(rip_put(p, data, length, (uint32_t)length, (uint8_t)(length % 256), 0), 0);
        CHECK_IS(rip_get(c, &message, 0), 1);
        CHECK_IS(message.length, length);
        CHECK_IS(message.seq, length);
        CHECK_IS(message.type, length);
        CHECK_IS(message.kind, length % 256);
        CHECK_IS(rip_message_pid(&message), getpid());
        CHECK_IS((uintptr_t)message.data % RIP_LINE, 0);
        CHECK(is_filled(message.data, length, 0, length));
        rip_release(c, &message);
    }
    close_producer(p);
    close_consumer(c);
}

static void too_long(void) {
    static unsigned char data[RIP_PAGE + 1];
    unsigned char *payload;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE - 5, 4); /* the capacity is rounded up to a page */
    CHECK_IS(rip_set_longest(p, RIP_PAGE), 0);
    CHECK_IS(rip_put(p, data, RIP_PAGE + 1, 0, RIP_BYTES, RIP_FOREVER), -EMSGSIZE);
    CHECK_IS(rip_reserve(p, RIP_PAGE + 1, &payload), -EMSGSIZE);
    CHECK_IS(rip_reserve(p, UINT64_MAX, &payload), -EMSGSIZE);
    CHECK_IS(rip_reserve(p, UINT64_MAX - 62, &payload), -EMSGSIZE);
    CHECK_IS(rip_reserve(p, RIP_PAGE, &payload), 0);
    close_producer(p);
}

static void slots_limit(void) {
    unsigned char *payload;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 5); /* rounded up to 8 */
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (uint64_t n = 0; n < 1000; n++) {
        while (rip_put(p, &n, sizeof n, 0, RIP_BYTES, 0) == -ETIMEDOUT) {
            CHECK_IS(rip_producer_backlog(p), 8);
            CHECK_IS(rip_reserve(p, 0, &payload), -EAGAIN);
            CHECK_IS(get_number(c, 0), n - 8);
        }
        CHECK(n < 8 || rip_producer_backlog(p) == 8);
    }
    close_producer(p);
    for (uint64_t n = 992; n < 1000; n++) {
        CHECK_IS(get_number(c, 0), n);
    }
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
}

static void labels(void) {
    char label[RIP_MAX_LABEL + 1], longest[RIP_MAX_LABEL + 2];
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4), *other = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    struct rip_message message;
    memset(longest, 'x', sizeof longest);
    longest[RIP_MAX_LABEL + 1] = 0;
    CHECK_IS(rip_set_label(p, longest), -EINVAL);
    longest[RIP_MAX_LABEL] = 0;
    CHECK_IS(rip_set_label(p, longest), 0);
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(rip_set_label(p, "late"), -EINVAL);
    CHECK_IS(put_number(other, 2, 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_IS(rip_get(c, &message, 0), 1);
        rip_message_label(message.lane, label);
        CHECK(strcmp(label, message.data[0] == 1 ? longest : "") == 0);
        rip_release(c, &message);
    }
    CHECK_IS(rip_producer_close(p), 0);
    CHECK_IS(rip_set_label(p, ""), -ESHUTDOWN);
    rip_producer_free(p);
    close_producer(other);
    close_consumer(c);
}

static void producer_order(void) {
    struct rip_producer *p[3];
    struct rip_consumer *c[2];
    for (unsigned i = 0; i < 3; i++) {
        p[i] = open_producer(CHANNEL, RIP_PAGE, 16);
    }
    c[0] = open_consumer(CHANNEL, "a", RIP_OLDEST);
    c[1] = open_consumer(CHANNEL, "b", RIP_OLDEST);
    struct random r = {3};
    uint64_t sent[3] = {0}, got[2][3] = {{0}};
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t which = random_below(&r, 5);
        if (which < 3) {
            uint64_t number = which << 32 | sent[which];
            sent[which] += rip_put(p[which], &number, sizeof number, 0, RIP_BYTES, 0) == 0;
            continue;
        }
        struct rip_message message;
        uint64_t *seen = got[which - 3], number;
        int rc = rip_peek(c[which - 3], &message);
        if (rc != 1) {
            CHECK_IS(rc, -EAGAIN);
            CHECK(seen[0] == sent[0] && seen[1] == sent[1] && seen[2] == sent[2]);
            continue;
        }
        memcpy(&number, message.data, sizeof number);
        CHECK_IS(number & UINT32_MAX, seen[number >> 32]);
        seen[number >> 32]++;
        rip_take(c[which - 3], &message);
        rip_release(c[which - 3], &message);
    }
    CHECK(sent[0] > 1000 && sent[1] > 1000 && sent[2] > 1000);
    for (unsigned i = 0; i < 3; i++) {
        close_producer(p[i]);
    }
    close_consumer(c[0]);
    close_consumer(c[1]);
}

static void serves_each_producer(void) {
    struct rip_producer *busy = open_producer(CHANNEL, RIP_PAGE, 4), *rare = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (unsigned round = 0; round < 100; round++) {
        int seen = 0;
        CHECK_IS(put_number(rare, 1, 0), 0);
        for (unsigned i = 0; i < 5 && !seen; i++) { /* the lane of the busy producer is never empty */
            while (put_number(busy, 0, 0) == 0) {
            }
            seen = get_number(c, 0) == 1;
        }
        CHECK(seen);
    }
    close_producer(busy);
    close_producer(rare);
    close_consumer(c);
}

/* ---- reserve, publish ---- */

static void reserve_again(void) {
    unsigned char *payload;
    struct rip_message message;
    struct rip_producer *p = open_producer(CHANNEL, 16 * RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    struct random r = {7};
    for (uint64_t n = 0; n < 1000; n++) {
        for (uint64_t dropped = random_below(&r, 3); dropped > 0; dropped--) {
            uint64_t length = random_below(&r, 16 * RIP_PAGE + 1);
            CHECK_IS(rip_reserve(p, length, &payload), 0);
            memset(payload, 0xee, length);
        }
        CHECK_IS(rip_peek(c, &message), -EAGAIN);
        uint64_t room = random_below(&r, 16 * RIP_PAGE + 1), length = random_below(&r, room + 1);
        CHECK_IS(rip_reserve(p, room, &payload), 0);
        fill(payload, length, 1, n);
        CHECK_IS(rip_publish(p, length, 0, RIP_BYTES), 0);
        CHECK_IS(rip_get(c, &message, 0), 1);
        CHECK_IS(message.length, length);
        CHECK(is_filled(message.data, length, 1, n));
        rip_release(c, &message);
    }
    close_producer(p);
    close_consumer(c);
}

static void backlog_moves_no_reservation(void) {
    unsigned char *payload;
    struct rip_message message;
    struct rip_slowest slowest;
    struct rip_producer *p = open_producer(CHANNEL, 16 * RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (uint64_t n = 0; n < 10; n++) {
        CHECK_IS(put_number(p, n, 0), 0); /* so that the next message does not lie at offset 0 */
        CHECK_IS(rip_reserve(p, 100, &payload), 0);
        CHECK_IS(get_number(c, 0), n); /* now no message is live */
        fill(payload, 100, 0, n);
        CHECK_IS(rip_producer_backlog(p), 0);
        rip_producer_slowest(p, &slowest);
        CHECK_IS(rip_publish(p, 100, 0, RIP_BYTES), 0);
        CHECK_IS(rip_get(c, &message, 0), 1);
        CHECK(is_filled(message.data, 100, 0, n));
        rip_release(c, &message);
    }
    close_producer(p);
    close_consumer(c);
}

/* ---- peek, take, release ---- */

static void peek_takes_nothing(void) {
    struct rip_message message, again;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(put_number(p, 2, 0), 0);
    CHECK_IS(rip_peek(c, &message), 1);
    CHECK_IS(rip_peek(c, &again), 1);
    CHECK(again.seq == 0 && again.data == message.data);
    CHECK_IS(rip_producer_backlog(p), 2);
    rip_take(c, &message);
    CHECK_IS(rip_producer_backlog(p), 2); /* taken, not released */
    CHECK_IS(get_number(c, 0), 2);
    CHECK_IS(rip_producer_backlog(p), 2); /* the older one is not released yet */
    rip_release(c, &message);
    CHECK_IS(rip_producer_backlog(p), 0);
    close_producer(p);
    close_consumer(c);
}

/* ---- the model: a queue for each lane and group ---- */

#define LANES 3u
#define GROUPS 4u
#define SLOTS 32u

struct seen { /* what a group has seen of a lane */
    uint64_t next;
    uint64_t oldest; /* the oldest seq that is not released */
    struct rip_message released[SLOTS];
    uint8_t is_held[SLOTS];
};

struct model {
    struct rip_producer *producers[LANES];
    uint64_t tail[LANES];
    uint64_t base_seq[LANES]; /* the cursor of the last group that left */
    struct rip_consumer *groups[GROUPS];
    struct seen seen[GROUPS][LANES];
};

static uint64_t oldest_of(const struct model *m, unsigned lane) {
    uint64_t oldest = UINT64_MAX;
    for (unsigned g = 0; g < GROUPS; g++) {
        if (m->groups[g] && m->seen[g][lane].oldest < oldest) {
            oldest = m->seen[g][lane].oldest;
        }
    }
    return oldest == UINT64_MAX ? m->base_seq[lane] : oldest;
}

static void model_join(struct model *m, unsigned g, uint32_t start) {
    char name[8];
    snprintf(name, sizeof name, "g%u", g);
    for (unsigned lane = 0; lane < LANES; lane++) {
        struct seen *s = &m->seen[g][lane];
        s->next = s->oldest = start == RIP_NEWEST ? m->tail[lane] : oldest_of(m, lane);
    }
    m->groups[g] = open_consumer(CHANNEL, name, start);
}

static void model_leave(struct model *m, unsigned g) {
    int last = 1;
    for (unsigned other = 0; other < GROUPS; other++) {
        last = last && (other == g || !m->groups[other]);
    }
    for (unsigned lane = 0; lane < LANES; lane++) {
        m->base_seq[lane] = last ? m->seen[g][lane].oldest : m->base_seq[lane];
        memset(m->seen[g][lane].is_held, 0, SLOTS);
    }
    close_consumer(m->groups[g]);
    m->groups[g] = NULL;
}

static void model_put(struct model *m, unsigned lane, struct random *r) {
    static unsigned char data[4 * RIP_PAGE];
    uint64_t length = random_below(r, 3) ? random_below(r, 200) : random_below(r, sizeof data + 1);
    fill(data, length, lane, m->tail[lane]);
    int rc = rip_put(m->producers[lane], data, length, (uint32_t)m->tail[lane], RIP_BYTES, 0);
    uint64_t backlog = m->tail[lane] - oldest_of(m, lane);
    CHECK(rc == 0 || rc == -ETIMEDOUT);
    CHECK(rc == 0 ? backlog < SLOTS : backlog > 0);
    m->tail[lane] += rc == 0;
}

static unsigned lane_of(const struct model *m, const struct rip_message *message) {
    for (unsigned lane = 0; lane < LANES; lane++) {
        if (m->producers[lane]->index == message->lane->index) {
            return lane;
        }
    }
    CHECK(!"an unknown lane");
    return 0;
}

static void model_took(struct model *m, unsigned g, const struct rip_message *message) {
    unsigned lane = lane_of(m, message);
    struct seen *s = &m->seen[g][lane];
    CHECK_IS(message->seq, s->next);
    CHECK_IS(message->type, (uint32_t)s->next);
    CHECK(is_filled(message->data, message->length, lane, message->seq));
    s->released[s->next % SLOTS] = *message;
    s->is_held[s->next % SLOTS] = 1;
    s->next++;
}

static void model_release(struct model *m, unsigned g, unsigned lane, uint64_t seq) {
    struct seen *s = &m->seen[g][lane];
    struct rip_message *message = &s->released[seq % SLOTS];
    CHECK(is_filled(message->data, message->length, lane, seq)); /* it has not been overwritten */
    rip_release(m->groups[g], message);
    s->is_held[seq % SLOTS] = 0;
    while (s->oldest != s->next && !s->is_held[s->oldest % SLOTS]) {
        s->oldest++;
    }
}

static void model_get(struct model *m, unsigned g) {
    struct rip_message message;
    int rc = rip_get(m->groups[g], &message, 0);
    if (rc == 1) {
        model_took(m, g, &message);
        return;
    }
    CHECK_IS(rc, -ETIMEDOUT);
    for (unsigned lane = 0; lane < LANES; lane++) {
        CHECK_IS(m->seen[g][lane].next, m->tail[lane]);
    }
}

static void model_get_latest(struct model *m, unsigned g) {
    struct rip_message message;
    int rc = rip_get_latest(m->groups[g], &message, 0), left = 0;
    for (unsigned lane = 0; lane < LANES; lane++) {
        struct seen *s = &m->seen[g][lane];
        left |= s->next != m->tail[lane];
        if (rc == 1 && lane_of(m, &message) == lane) {
            CHECK_IS(message.seq, m->tail[lane] - 1);
            s->next = message.seq;
            while (s->oldest != s->next && !s->is_held[s->oldest % SLOTS]) {
                s->oldest++;
            }
            model_took(m, g, &message);
        } else {
            s->next = m->tail[lane];
            while (s->oldest != s->next && !s->is_held[s->oldest % SLOTS]) {
                s->oldest++;
            }
        }
    }
    CHECK_IS(rc, left ? 1 : -ETIMEDOUT);
}

static void against_a_model(void) {
    static struct model m;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct random r = {seed};
        memset(&m, 0, sizeof m);
        for (unsigned lane = 0; lane < LANES; lane++) {
            m.producers[lane] = open_producer(CHANNEL, 4 * RIP_PAGE << lane, SLOTS);
        }
        for (unsigned step = 0; step < 20000; step++) {
            unsigned lane = (unsigned)random_below(&r, LANES), g = (unsigned)random_below(&r, GROUPS);
            uint64_t what = random_below(&r, 1000);
            if (what < 400) {
                model_put(&m, lane, &r);
            } else if (!m.groups[g]) {
                if (what > 960) {
                    model_join(&m, g, what % 2 ? RIP_OLDEST : RIP_NEWEST);
                }
            } else if (what < 700) {
                model_get(&m, g);
            } else if (what < 985) {
                struct seen *s = &m.seen[g][lane];
                for (unsigned tries = 0; tries < 8 && s->oldest != s->next; tries++) {
                    uint64_t seq = s->oldest + (tries < 2 ? random_below(&r, s->next - s->oldest) : 0);
                    if (s->is_held[seq % SLOTS]) {
                        model_release(&m, g, lane, seq);
                    }
                }
            } else if (what < 990) {
                model_get_latest(&m, g);
            } else if (what < 992) {
                model_leave(&m, g);
            }
            CHECK_IS(rip_producer_backlog(m.producers[lane]), m.tail[lane] - oldest_of(&m, lane));
        }
        CHECK(m.tail[0] > 100 && m.tail[1] > 100 && m.tail[2] > 100);
        for (unsigned lane = 0; lane < LANES; lane++) {
            close_producer(m.producers[lane]);
        }
        for (unsigned g = 0; g < GROUPS; g++) {
            if (m.groups[g]) {
                model_leave(&m, g);
            }
        }
    }
}

/* ---- latest ---- */

static void latest(void) {
    struct rip_message message, released;
    struct rip_producer *a = open_producer(CHANNEL, RIP_PAGE, 8), *b = open_producer(CHANNEL, RIP_PAGE, 8);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(rip_get_latest(c, &message, 0), -ETIMEDOUT);
    CHECK_IS(put_number(a, 0, 0), 0);
    CHECK_IS(rip_get(c, &released, 0), 1);
    for (uint64_t n = 1; n < 4; n++) {
        CHECK_IS(put_number(b, n, 0), 0);
    }
    nap(MS); /* so that the time stamps differ: they show which message is the latest */
    for (uint64_t n = 4; n < 7; n++) {
        CHECK_IS(put_number(a, n, 0), 0);
    }
    CHECK_IS(rip_get_latest(c, &message, 0), 1);
    CHECK_IS(*(const uint64_t *)(const void *)message.data, 6);
    CHECK_IS(rip_producer_backlog(b), 0);
    CHECK_IS(rip_producer_backlog(a), 4); /* the one that is not released, and all after it */
    rip_release(c, &released);
    CHECK_IS(rip_producer_backlog(a), 1);
    rip_release(c, &message);
    CHECK_IS(rip_producer_backlog(a), 0);
    CHECK_IS(rip_get_latest(c, &message, 0), -ETIMEDOUT);
    close_producer(a);
    close_producer(b);
    CHECK_IS(rip_get_latest(c, &message, 0), -ENODATA);
    close_consumer(c);
}

/* ---- seqs beyond 2^32 ---- */

/* A slot holds the lower half of a seq. The lane is moved to the laps before 2^32, as if so much had been put. */
static void seqs_beyond_32_bits(void) {
    enum { IN_LAP = 8 };
    uint64_t first = (UINT64_C(1) << 32) - 3 * IN_LAP;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, IN_LAP);
    p->tail = p->published = p->free_below = first;
    p->recheck_at = first + IN_LAP;
    p->arena.runs[0].seq = first;
    atomic_store(&p->lane->tail, first);
    atomic_store(&p->lane->reclaimed, first);
    atomic_store(&p->entry->base_seq, first);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (uint64_t n = 0; n < 6 * IN_LAP; n++) {
        CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
        CHECK_IS(put_number(p, n, 0), 0);
        CHECK_IS(get_number(c, 0), n);
    }
    close_producer(p);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
}

/* ---- the backlog ---- */

/* Returns the bytes of the arena that the messages from seq on take. */
static uint64_t bytes_from(const struct rip_producer *p, uint64_t seq) {
    uint64_t bytes = 0;
    for (; seq != p->published; seq++) {
        bytes += rip_round_up(rip_desc_length(&p->lane->desc[seq & (p->slots - 1)]), RIP_LINE);
    }
    return bytes;
}

static void counts_the_bytes_of_the_backlog(void) {
    static const unsigned char data[3000];
    struct random r = {9};
    struct rip_message released[16], message;
    unsigned count = 0;
    struct rip_producer *p = open_producer(CHANNEL, 4 * RIP_PAGE, 16);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t what = random_below(&r, 5);
        unsigned char *payload;
        if (what < 2) {
            rip_put(p, data, random_below(&r, random_below(&r, 3) ? 300 : sizeof data), 0, RIP_BYTES, 0);
        } else if (what == 2) {
            rip_reserve(p, random_below(&r, 5000), &payload); /* may start a run */
        } else if (what == 3 && count < 16) {
            if (rip_get(c, &message, 0) == 1) {
                released[count++] = message;
            }
        } else if (count) {
            unsigned k = (unsigned)random_below(&r, count);
            rip_release(c, &released[k]);
            released[k] = released[--count];
        }
        uint64_t oldest = p->published - rip_producer_backlog(p);
        CHECK_IS(rip_producer_bytes(p), bytes_from(p, oldest));
    }
    close_producer(p);
    close_consumer(c);
}

/* Returns how long the call takes, in nanoseconds: the shortest of several tries. */
static uint64_t time_of_backlog(struct rip_producer *p) {
    uint64_t best = UINT64_MAX;
    for (unsigned i = 0; i < 50; i++) {
        uint64_t start = rip_now();
        for (unsigned k = 0; k < 20; k++) {
            CHECK(rip_producer_backlog(p) > 0 && rip_producer_bytes(p) > 0);
        }
        uint64_t took = (rip_now() - start) / 20;
        best = took < best ? took : best;
    }
    return best;
}

static void backlog_takes_constant_time(void) {
    struct rip_producer *p = open_producer(CHANNEL, 4096 * RIP_PAGE, 1u << 17);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_number(p, 0, 0), 0);
    uint64_t one = time_of_backlog(p);
    for (uint64_t n = 1; n < 1u << 17; n++) {
        CHECK_IS(put_number(p, n, 0), 0);
    }
    uint64_t many = time_of_backlog(p);
    CHECK(many < 20 * one + 1000);
    close_producer(p);
    close_consumer(c);
}

/* ---- groups ---- */

static void waits_for_a_first_group(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_slowest slowest;
    for (uint64_t n = 0; n < 4; n++) {
        CHECK_IS(put_number(p, n, 0), 0);
    }
    CHECK_IS(put_number(p, 4, 0), -ETIMEDOUT);
    rip_producer_slowest(p, &slowest);
    CHECK(slowest.pid == 0 && slowest.group[0] == '\0' && slowest.messages == 4 && slowest.bytes == 4 * RIP_LINE);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (uint64_t n = 0; n < 4; n++) {
        CHECK_IS(get_number(c, 0), n);
    }
    CHECK_IS(put_number(p, 4, 0), 0);
    close_consumer(c);
    c = open_consumer(CHANNEL, "another", RIP_OLDEST); /* gets what the last group that left had not released */
    CHECK_IS(get_number(c, 0), 4);
    close_producer(p);
    close_consumer(c);
}

static void outlives_its_producer(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(put_number(p, 7, 0), 0);
    close_producer(p);
    CHECK(!is_over() && has_lane(0));
    p = open_producer(CHANNEL, RIP_PAGE, 4); /* another producer continues the stream */
    CHECK_IS(put_number(p, 8, 0), 0);
    close_producer(p);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    uint64_t first = get_number(c, 0), second = get_number(c, 0);
    CHECK(first + second == 15);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
}

/* An anonymous channel stays as long as its file descriptor. */
static int is_kept(void) { return strcmp(CHANNEL, MEMORY) == 0 || exists(CHANNEL, NULL); }

/* The end of a stream without a message waits for a consumer, as a message would. Its lane is removed. */
static void an_end_outlives_its_producer(void) {
    close_producer(open_producer(CHANNEL, RIP_PAGE, 4));
    CHECK(is_kept() && !has_lane(0));
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4); /* the next producer continues the stream */
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    CHECK_IS(put_number(p, 7, 0), 0);
    close_producer(p);
    CHECK_IS(get_number(c, 0), 7);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
    CHECK(is_over());

    close_producer(open_producer(CHANNEL, RIP_PAGE, 4));
    c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    CHECK(is_over()); /* the end was reported */

    p = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(rip_declare(p, "a"), 0);
    CHECK_IS(rip_declare(p, "b"), 0);
    close_producer(p);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(is_kept());
        c = open_consumer(CHANNEL, i == 0 ? "a" : "b", RIP_OLDEST);
        CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
        close_consumer(c);
    }
    CHECK(is_over());
}

static void joins_at_oldest_or_newest(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 0, 0), 0);
    CHECK_IS(put_number(p, 1, 0), 0);
    struct rip_consumer *newest = open_consumer(CHANNEL, "newest", RIP_NEWEST);
    /* the first group started behind those two messages */
    struct rip_consumer *oldest = open_consumer(CHANNEL, "oldest", RIP_OLDEST);
    CHECK_IS(get_nothing(newest, 0), -ETIMEDOUT);
    CHECK_IS(get_nothing(oldest, 0), -ETIMEDOUT);
    CHECK_IS(put_number(p, 2, 0), 0);
    CHECK_IS(put_number(p, 3, 0), 0);
    CHECK_IS(get_number(newest, 0), 2);
    CHECK_IS(get_number(oldest, 0), 2);
    CHECK_IS(get_number(oldest, 0), 3);
    struct rip_consumer *late = open_consumer(CHANNEL, "late", RIP_OLDEST),
                        *now = open_consumer(CHANNEL, "now", RIP_NEWEST);
    CHECK_IS(put_number(p, 4, 0), 0);
    CHECK_IS(get_number(late, 0), 3); /* the oldest message that some group has not released */
    CHECK_IS(get_number(late, 0), 4);
    CHECK_IS(get_number(now, 0), 4);
    close_producer(p);
    CHECK_IS(get_nothing(late, 0), -ENODATA);
    CHECK_IS(get_number(newest, 0), 3);
    close_consumer(late);
    close_consumer(now);
    close_consumer(oldest);
    CHECK_IS(get_number(newest, 0), 4);
    CHECK_IS(get_nothing(newest, 0), -ENODATA);
    close_consumer(newest);
}

static void group_has_one_member(void) {
    int32_t holder = -1;
    struct rip_consumer *other = NULL;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(rip_consumer_open(CHANNEL, "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &other, &holder), -EBUSY);
    CHECK_IS(holder, getpid());
    CHECK(!other);
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(get_number(c, 0), 1); /* the first consumer is not disturbed */
    close_consumer(c);
    c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    close_consumer(c);
    close_producer(p);
}

static void names_the_slowest_group(void) {
    struct rip_slowest slowest;
    struct rip_message released;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *quick = open_consumer(CHANNEL, "quick", RIP_OLDEST);
    char name[RIP_MAX_GROUP_NAME + 1];
    memset(name, 's', RIP_MAX_GROUP_NAME);
    name[RIP_MAX_GROUP_NAME] = '\0';
    struct rip_consumer *slow = open_consumer(CHANNEL, name, RIP_OLDEST);
    for (uint64_t n = 0; n < 4; n++) {
        CHECK_IS(put(p, "0123456789012345678901234567890123456789012345678901234567890123456789", 70, 0), 0);
        CHECK_IS(rip_get(quick, &released, 0), 1);
        rip_release(quick, &released);
    }
    CHECK_IS(rip_get(slow, &released, 0), 1);
    CHECK_IS(put_number(p, 4, 0), -ETIMEDOUT);
    rip_producer_slowest(p, &slowest);
    CHECK(strcmp(slowest.group, name) == 0);
    CHECK_IS(slowest.pid, getpid());
    CHECK_IS(slowest.messages, 4);
    CHECK_IS(slowest.bytes, 4 * 128);
    rip_release(slow, &released);
    CHECK_IS(put_number(p, 4, 0), 0);
    close_consumer(slow);
    close_consumer(quick);
    close_producer(p);
}

/* ---- ends ---- */

static void ends(void) {
    struct rip_producer *a = open_producer(CHANNEL, RIP_PAGE, 4), *b = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_number(a, 1, 0), 0);
    close_producer(a);
    CHECK_IS(get_number(c, 0), 1);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT); /* producer b may still put */
    close_producer(b);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    a = open_producer(CHANNEL, RIP_PAGE, 4); /* the stream goes on */
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    CHECK_IS(put_number(a, 2, 0), 0);
    CHECK_IS(get_number(c, 0), 2);
    close_producer(a);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
}

/* A producer comes, puts this number, and closes. */
static void comes_and_goes(uint64_t number) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(put_number(p, number, 0), 0);
    close_producer(p);
}

static void waits_for_so_many_producers(void) {
    comes_and_goes(1);
    struct rip_consumer *three = open_consumer(CHANNEL, "three", RIP_OLDEST),
                        *endless = open_consumer(CHANNEL, "endless", RIP_OLDEST);
    rip_consumer_expect(three, 3);
    rip_consumer_expect(endless, RIP_NO_END);
    for (uint64_t number = 1; number <= 3; number++) {
        CHECK_IS(get_number(three, 0), number);
        CHECK_IS(get_number(endless, 0), number);
        CHECK_IS(get_nothing(endless, 0), -ETIMEDOUT);
        CHECK_IS(get_nothing(three, 0), number < 3 ? -ETIMEDOUT : -ENODATA);
        comes_and_goes(number + 1);
    }
    CHECK_IS(get_number(three, 0), 4); /* more may come */
    CHECK_IS(get_nothing(three, 0), -ENODATA);
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(get_nothing(three, 0), -ETIMEDOUT);
    rip_producer_undo(p); /* this one does not count */
    close_producer(p);
    rip_consumer_expect(three, 5);
    CHECK_IS(get_nothing(three, 0), -ETIMEDOUT);
    close_consumer(three);
    close_consumer(endless);
}

/* A group without a member begins to count anew, whether it is new or durable. */
static void waits_as_if_the_channel_were_new(void) {
    int32_t holder;
    comes_and_goes(0);
    struct rip_consumer *c = open_consumer(CHANNEL, "durable", RIP_DURABLE);
    CHECK_IS(get_number(c, 0), 0);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
    c = open_consumer(CHANNEL, "durable", RIP_DURABLE);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    struct rip_consumer *keeper = open_consumer(CHANNEL, "keeper", RIP_OLDEST);
    comes_and_goes(1);
    CHECK_IS(get_number(c, 0), 1);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
    c = open_consumer(CHANNEL, "durable", RIP_DURABLE); /* the lane is in the table, because keeper has not read it */
    CHECK(has_lane(1));
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    close_consumer(c);
    c = open_consumer(CHANNEL, "newest", RIP_NEWEST);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    close_consumer(c);
    CHECK_IS(get_number(keeper, 0), 1);
    CHECK_IS(get_nothing(keeper, 0), -ENODATA);
    close_consumer(keeper);
    CHECK_IS(rip_remove_group(CHANNEL, "durable", &holder), 0);
}

/* The count belongs to the group: a member that joins late gets the end. */
static void late_member_gets_the_end(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *first = open_consumer(CHANNEL, "work", RIP_SHARED);
    CHECK_IS(put_number(p, 1, 0), 0);
    close_producer(p);
    CHECK_IS(get_number(first, 0), 1);
    CHECK_IS(get_nothing(first, 0), -ENODATA);
    CHECK(!has_lane(0));
    struct rip_consumer *late = open_consumer(CHANNEL, "work", RIP_SHARED);
    CHECK_IS(get_nothing(late, 0), -ENODATA);
    close_consumer(first);
    first = open_consumer(CHANNEL, "work", RIP_SHARED);
    CHECK_IS(get_nothing(first, 0), -ENODATA);
    close_consumer(first);
    close_consumer(late);
    CHECK(is_over());
}

static void removes_what_is_read(void) {
    struct rip_message released;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4), *stays = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *a = open_consumer(CHANNEL, "a", RIP_OLDEST), *b = open_consumer(CHANNEL, "b", RIP_OLDEST);
    CHECK_IS(put_number(p, 1, 0), 0);
    close_producer(p);
    CHECK_IS(get_number(a, 0), 1);
    CHECK_IS(get_nothing(a, 0), -ETIMEDOUT);
    CHECK(has_lane(0));
    CHECK_IS(rip_get(b, &released, 0), 1);
    CHECK_IS(get_nothing(b, 0), -ETIMEDOUT);
    CHECK(has_lane(0));
    CHECK_IS(*(const uint64_t *)(const void *)released.data, 1);
    rip_release(b, &released);
    CHECK_IS(get_nothing(b, 0), -ETIMEDOUT);
    CHECK(!has_lane(0) && has_lane(1));
    close_producer(stays);
    close_consumer(a);
    close_consumer(b);
}

static void many_producers_in_turn(void) {
    struct rip_producer *keeps = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (uint64_t n = 0; n < 500; n++) {
        struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
        CHECK_IS(put_number(p, n, 0), 0);
        close_producer(p);
        CHECK_IS(get_number(c, 0), n);
    }
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    CHECK_IS(c->count, 1);
    close_producer(keeps);
    close_consumer(c);
}

static void closed_handles(void) {
    struct rip_message message;
    unsigned char *payload;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(rip_get(c, &message, 0), 1);
    CHECK_IS(rip_consumer_close(c), 0);
    CHECK_IS(rip_consumer_close(c), 0);
    CHECK_IS(*(const uint64_t *)(const void *)message.data, 1); /* mapped until rip_consumer_free */
    rip_release(c, &message);
    CHECK_IS(rip_peek(c, &message), -ESHUTDOWN);
    CHECK_IS(rip_get(c, &message, RIP_FOREVER), -ESHUTDOWN);
    CHECK_IS(rip_get_latest(c, &message, RIP_FOREVER), -ESHUTDOWN);
    CHECK_IS(rip_wait_message(c, RIP_FOREVER), -ESHUTDOWN);
    rip_consumer_free(c);
    CHECK_IS(rip_producer_close(p), 0);
    CHECK_IS(rip_producer_close(p), 0);
    CHECK_IS(put_number(p, 1, RIP_FOREVER), -ESHUTDOWN);
    CHECK_IS(rip_reserve(p, 1, &payload), -ESHUTDOWN);
    CHECK_IS(rip_publish(p, 1, 0, RIP_BYTES), -ESHUTDOWN);
    CHECK_IS(rip_wait_room(p, 0, rip_now() + 100 * MS), -ESHUTDOWN);
    rip_producer_free(p);
}

static void closed_producer_has_no_backlog(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4), *stays = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_number(p, 0, 0), 0);
    CHECK_IS(get_number(c, 0), 0);
    CHECK_IS(rip_producer_close(p), 0);
    struct rip_producer *next = open_producer(CHANNEL, RIP_PAGE, 4);
    for (unsigned i = 0; i < RIP_MAX_LANES && next->index != p->index; i++) {
        close_producer(next);
        next = open_producer(CHANNEL, RIP_PAGE, 4);
    }
    CHECK_IS(next->index, p->index); /* it has the entry of the closed producer in the table */
    for (uint64_t n = 0; n < 10; n++) {
        CHECK_IS(put_number(next, n, 0), 0);
        CHECK_IS(get_number(c, 0), n);
    }
    CHECK_IS(rip_producer_backlog(p), 0);
    close_consumer(c);
    CHECK_IS(rip_producer_backlog(p), 0);
    rip_producer_free(p);
    close_producer(next);
    close_producer(stays);
}

/* ---- time ---- */

static void time_stamps(void) {
    struct rip_message message;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 64);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    uint64_t last_ticks = 0;
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t before = rip_now();
        CHECK_IS(put_number(p, i, 0), 0);
        uint64_t after = rip_now();
        nap(i % 20 == 0 ? MS : 0);
        CHECK_IS(rip_get(c, &message, 0), 1);
        CHECK(message.ticks >= last_ticks);
        last_ticks = message.ticks;
        /* The moment is read on two clocks. If the process is preempted between the two readings, they differ. So the
         * best of some tries counts. */
        uint64_t off = UINT64_MAX;
        for (unsigned tries = 0; tries < 20 && off > 50000; tries++) {
            uint64_t time = rip_message_time(message.lane, message.ticks);
            uint64_t this_off = time < before ? before - time : time > after ? time - after : 0;
            off = this_off < off ? this_off : off;
        }
        CHECK(off <= 50000);
        rip_release(c, &message);
    }
    close_producer(p);
    close_consumer(c);
}

static void timeouts(void) {
    static const enum rip_wait modes[] = {RIP_WAIT_SPIN, RIP_WAIT_ADAPTIVE, RIP_WAIT_BLOCK};
    static const uint64_t timeouts[] = {0, 1, 20, 50, 75};
    struct rip_message message;
    unsigned late = 0;
    for (unsigned m = 0; m < 3; m++) {
        struct rip_producer *p = NULL;
        struct rip_consumer *c = NULL;
        int32_t holder;
        CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 1, RIP_BLOCK, modes[m], NULL, &p), 0);
        CHECK_IS(rip_consumer_open(CHANNEL, "g", RIP_OLDEST, modes[m], RIP_FOREVER, &c, &holder), 0);
        for (unsigned t = 0; t < sizeof timeouts / sizeof *timeouts; t++) {
            uint64_t start = rip_now(), end = start + timeouts[t] * MS;
            CHECK_IS(rip_get(c, &message, timeouts[t] ? end : 0), -ETIMEDOUT);
            CHECK(rip_now() >= end);
            late += rip_now() > end + 10 * MS;
            CHECK_IS(put_number(p, 0, 0), 0);
            start = rip_now(), end = start + timeouts[t] * MS;
            CHECK_IS(put_number(p, 1, timeouts[t] ? end : 0), -ETIMEDOUT);
            CHECK(rip_now() >= end);
            late += rip_now() > end + 10 * MS;
            CHECK_IS(get_number(c, 0), 0);
        }
        close_producer(p);
        close_consumer(c);
    }
    CHECK(late < 10); /* of 30: some may be late on a busy machine */
}

static void on_alarm(int number) { (void)number; }

/* Calls each wait once, with an alarm after ms milliseconds (0: none). Checks what each returns, and how long it
 * lasted. */
static void check_waits(struct rip_producer *p, struct rip_consumer *c, uint64_t ms, uint64_t wait_ms, int due) {
    for (int which = 0; which < 5; which++) {
        struct rip_message message;
        struct rip_filter filter = {.count = 0};
        struct itimerval alarm = {.it_value.tv_usec = (suseconds_t)ms * 1000};
        uint64_t start = rip_now(), end = start + wait_ms * MS;
        CHECK_IS(setitimer(ITIMER_REAL, &alarm, NULL), 0);
        int rc = which == 0   ? put_number(p, 1, end)
                 : which == 1 ? rip_wait_room(p, RIP_PAGE, end)
                 : which == 2 ? rip_get(c, &message, end)
                 : which == 3 ? rip_get_selected(c, &filter, &message, end)
                              : rip_wait_message(c, end);
        CHECK_IS(rc, due);
        CHECK(rip_now() - start >= (ms ? ms : wait_ms) * MS);
        CHECK(rip_now() < end || !ms);
    }
}

/* A wait continues from slice to slice. Only a signal ends it before its deadline. */
static void waits_in_slices(void) {
    struct sigaction was, handle = {.sa_handler = on_alarm};
    struct rip_producer *full = open_producer(CHANNEL, RIP_PAGE, 1);
    struct rip_consumer *slowest = open_consumer(CHANNEL, "gate", RIP_OLDEST),
                        *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_number(full, 1, 0), 0);
    CHECK_IS(get_number(c, 0), 1);
    CHECK_IS(sigaction(SIGALRM, &handle, &was), 0);
    check_waits(full, c, 0, 120, -ETIMEDOUT);
    check_waits(full, c, 20, 10000, -EINTR);
    CHECK_IS(get_number(slowest, 0), 1);
    CHECK_IS(rip_wait_room(full, RIP_PAGE, 0), 0);
    CHECK_IS(put_number(full, 2, 0), 0); /* no message was put before */
    CHECK_IS(rip_wait_message(c, 0), 0);
    CHECK_IS(get_number(c, 0), 2);
    CHECK_IS(get_number(slowest, 0), 2);
    CHECK_IS(sigaction(SIGALRM, &was, NULL), 0);
    close_producer(full);
    close_consumer(slowest);
    close_consumer(c);
}

static void waits_for_bytes(void) {
    unsigned char *payload;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 64);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(rip_reserve(p, RIP_PAGE, &payload), 0);
    CHECK_IS(rip_publish(p, RIP_PAGE, 0, RIP_BYTES), 0);
    uint64_t end = rip_now() + 30 * MS;
    unsigned waits = 0;
    while (rip_reserve(p, RIP_PAGE, &payload) == -EAGAIN && rip_now() < end) {
        rip_wait_room(p, RIP_PAGE, end);
        waits++;
    }
    CHECK(rip_now() >= end);
    CHECK(waits < 10); /* it sleeps and does not spin: there are slots, but no bytes */
    close_producer(p);
    close_consumer(c);
}

static void fits_after_a_refusal(void) {
    static const unsigned char page[RIP_PAGE];
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    struct rip_consumer *lossy = open_consumer(CHANNEL, "lossy", RIP_OLDEST | RIP_LOSSY);
    CHECK_IS(put_number(p, 0, 0), 0);
    CHECK_IS(put(p, page, sizeof page, 0), -ETIMEDOUT);
    close_consumer(lossy);
    CHECK_IS(put_number(p, 1, 0), 0); /* and the group that the producer waits for has read nothing */
    CHECK_IS(get_number(c, 0), 0);
    CHECK_IS(get_number(c, 0), 1);
    close_producer(p);
    close_consumer(c);
}

/* ---- refusals ---- */

static void bad_names(void) {
    static char long_name[RIP_MAX_CHANNEL_NAME + 2];
    static const char *const names[] = {"", ".", "..", ".hidden", "a/b", "/a", "a/"};
    struct rip_producer *p = NULL;
    struct rip_consumer *c = NULL;
    int32_t holder;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK_IS(rip_producer_open(names[i], RIP_PAGE, 4, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), -EINVAL);
        CHECK_IS(rip_consumer_open(names[i], "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -EINVAL);
    }
    memset(long_name, 'n', RIP_MAX_CHANNEL_NAME + 1);
    CHECK_IS(rip_producer_open(long_name, RIP_PAGE, 4, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), -ENAMETOOLONG);
    CHECK_IS(rip_consumer_open(long_name, "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -ENAMETOOLONG);
    long_name[RIP_MAX_CHANNEL_NAME] = '\0';
    CHECK_IS(rip_consumer_open(long_name, "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -ENOENT);
    p = open_producer(long_name, RIP_PAGE, 4);
    CHECK_IS(rip_consumer_open(long_name, "", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -EINVAL);
    close_producer(p);
    close_consumer(open_consumer(long_name, "g", RIP_OLDEST));
    long_name[RIP_MAX_GROUP_NAME + 1] = '\0';
    CHECK_IS(rip_consumer_open("x", long_name, RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -EINVAL);
    CHECK_IS(rip_consumer_open("x", "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -ENOENT);
}

static void bad_sizes(void) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open(CHANNEL, 0, 4, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), -EINVAL);
    CHECK_IS(rip_producer_open(CHANNEL, UINT64_MAX, 4, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), -EINVAL);
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 0, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), -EINVAL);
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, RIP_MAX_SLOTS + 1, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), -EINVAL);
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 4, RIP_DROP_OLD + 1, RIP_WAIT_BLOCK, NULL, &p), -EINVAL);
    int rc = rip_producer_open(CHANNEL, RIP_MAX_CAPACITY, 4, RIP_BLOCK | RIP_PREALLOCATE, RIP_WAIT_BLOCK, NULL, &p);
    CHECK(rc == -ENOSPC || rc == -EFBIG || rc == -ENOMEM);
    CHECK(is_over());
}

/* Ended lanes stay in the table until a member retires them. */
static void lanes_that_are_read_make_room(void) {
    static struct rip_message messages[RIP_MAX_LANES - 1];
    struct rip_producer *stays = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (unsigned i = 0; i < RIP_MAX_LANES - 1; i++) {
        struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
        CHECK_IS(put_number(p, i, 0), 0);
        close_producer(p);
        CHECK_IS(rip_get(c, &messages[i], 0), 1);
    }
    for (unsigned i = 0; i < RIP_MAX_LANES - 1; i++) {
        rip_release(c, &messages[i]);
    }
    close_producer(open_producer(CHANNEL, RIP_PAGE, 4));
    close_producer(stays);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
}

/* Some producers are there; the other lanes have ended and are not read. */
static void full_lane_table(void) {
    struct rip_producer *p[8];
    struct rip_producer *more = NULL;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < RIP_MAX_LANES; i++) {
        struct rip_producer *made = open_producer(CHANNEL, RIP_PAGE, 4);
        CHECK_IS(put_number(made, i, 0), 0);
        if (i < 8) {
            p[i] = made;
        } else {
            close_producer(made);
        }
    }
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 4, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &more), -EXFULL);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (unsigned i = 0; i < RIP_MAX_LANES; i++) {
        sum += get_number(c, 0);
    }
    CHECK_IS(sum, RIP_MAX_LANES * (RIP_MAX_LANES - 1) / 2);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    close_producer(open_producer(CHANNEL, RIP_PAGE, 4));
    for (unsigned i = 0; i < 8; i++) {
        close_producer(p[i]);
    }
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
}

static void full_tables(void) {
    struct rip_consumer *c[RIP_MAX_GROUPS + 1] = {NULL};
    static struct rip_consumer *members[RIP_MAX_CONSUMERS];
    int32_t holder;
    char name[8];
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    for (unsigned g = 0; g < RIP_MAX_GROUPS; g++) {
        snprintf(name, sizeof name, "%u", g);
        c[g] = open_consumer(CHANNEL, name, g ? RIP_OLDEST : RIP_SHARED);
    }
    CHECK_IS(rip_consumer_open(CHANNEL, "more", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c[RIP_MAX_GROUPS], &holder),
             -ENOSR);
    for (unsigned i = RIP_MAX_GROUPS; i < RIP_MAX_CONSUMERS; i++) {
        members[i] = open_consumer(CHANNEL, "0", RIP_SHARED);
    }
    CHECK_IS(rip_consumer_open(CHANNEL, "0", RIP_SHARED, RIP_WAIT_BLOCK, RIP_FOREVER, &c[RIP_MAX_GROUPS], &holder),
             -EUSERS);
    close_producer(open_producer(CHANNEL, RIP_PAGE, 4)); /* there is still room for producers */
    for (unsigned i = RIP_MAX_GROUPS; i < RIP_MAX_CONSUMERS; i++) {
        close_consumer(members[i]);
    }
    CHECK_IS(put_number(p, 7, 0), 0);
    close_producer(p);
    for (unsigned g = 0; g < RIP_MAX_GROUPS; g++) {
        CHECK_IS(get_number(c[g], 0), 7);
        CHECK_IS(get_nothing(c[g], 0), -ENODATA);
        close_consumer(c[g]);
    }
}

static void closes_without_descriptors(void) {
    struct rip_message message;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4), *stays = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(put_number(p, 2, 0), 0);
    CHECK_IS(rip_get(c, &message, 0), 1);
    allow_files(0);
    close_producer(p);
    CHECK_IS(get_number(c, 0), 2);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT); /* reads the table again */
    allow_files(-1);
    CHECK_IS(*(const uint64_t *)(const void *)message.data, 1);
    rip_release(c, &message);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    close_producer(stays);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);

    p = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(put_number(p, 3, 0), 0);
    allow_files(0);
    close_producer(p);
    allow_files(-1);
    c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(get_number(c, 0), 3);
    close_consumer(c);
}

static void fails_to_attach_without_descriptors(void) {
    struct rip_consumer *c = NULL;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    int32_t holder;
    CHECK_IS(put_number(p, 1, 0), 0);
    close_producer(p);
    int needs = strcmp(CHANNEL, MEMORY) == 0 ? 2 : 3; /* directory, control, lane */
    for (int files = 0; files < needs; files++) {
        for (uint32_t start = RIP_OLDEST; start <= RIP_NEWEST; start++) {
            allow_files(files);
            int rc = rip_consumer_open(CHANNEL, "g", start, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder);
            allow_files(-1);
            CHECK_IS(rc, -EMFILE);
        }
    }
    c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(get_number(c, 0), 1);
    close_consumer(c);
}

int main(void) {
    run("seqs go on beyond 2^32", seqs_beyond_32_bits);
    run("messages of every length up to the capacity arrive as they were put", every_length);
    run("a message longer than the limit of its producer is refused at once", too_long);
    run("a lane holds as many messages as it has slots", slots_limit);
    run("each message comes with the label of its lane", labels);
    run("each group gets every message of each producer in order", producer_order);
    run("a busy producer does not starve another", serves_each_producer);
    run("a reservation that is not published is not visible", reserve_again);
    run("reading the backlog does not move a reservation", backlog_moves_no_reservation);
    run("peek takes nothing, and a taken message stays until it is released", peek_takes_nothing);
    run("lanes and groups behave as a model of queues, and no taken message is overwritten", against_a_model);
    run("getting the latest message releases the older ones, except those that are taken", latest);
    run("the bytes of the backlog are those of its descriptors", counts_the_bytes_of_the_backlog);
    run("reading the backlog takes constant time", backlog_takes_constant_time);
    run("messages wait for a first group", waits_for_a_first_group);
    run("a channel with messages for a first group outlives its producer", outlives_its_producer);
    run("the end of a stream without a message outlives its producer too", an_end_outlives_its_producer);
    run("a group starts at the oldest message still there, or behind the newest", joins_at_oldest_or_newest);
    run("a group has one member", group_has_one_member);
    run("a producer without room can name the group that holds it back", names_the_slowest_group);
    run("the stream ends when every producer has closed and all is read, and goes on with the next producer", ends);
    run("the stream ends when as many producers have come as a consumer expects", waits_for_so_many_producers);
    run("a group without unread messages waits for the next producer", waits_as_if_the_channel_were_new);
    run("a member of a shared group that joins late gets the end", late_member_gets_the_end);
    run("a lane is removed when every group has released all of it", removes_what_is_read);
    run("producers that come and go leave nothing behind", many_producers_in_turn);
    run("a closed handle refuses calls, and its messages stay readable until it is freed", closed_handles);
    run("a closed producer has no backlog, even if another one has its entry now", closed_producer_has_no_backlog);
    run("time stamps rise, and lie between the moments before and after the put", time_stamps);
    run("a wait ends at its deadline", timeouts);
    run("a wait goes on between slices, and ends when a signal is handled", waits_in_slices);
    run("waiting for room sleeps when slots are free but bytes are not", waits_for_bytes);
    run("a message that fits is put after one that does not, also if a lossy group has left meanwhile",
        fits_after_a_refusal);
    run("a name is one component of a path", bad_names);
    run("invalid sizes are refused, and leave nothing behind", bad_sizes);
    run("lanes that have ended and are read make room for others", lanes_that_are_read_make_room);
    run("a full table of lanes refuses more, and keeps those that it has", full_lane_table);
    run("full tables of groups and of consumers refuse more entries, and keep those that they have", full_tables);
    run("a producer without free file descriptors closes and loses no message", closes_without_descriptors);
    run("a consumer that cannot attach without file descriptors loses no message", fails_to_attach_without_descriptors);
    return 0;
}
