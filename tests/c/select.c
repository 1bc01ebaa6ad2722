/* Messages that are selected and requeued, checked against a model that remembers the state of each. */
#include "check.h"

#include "ring/rx_state.h"

#define SLOTS 32u
#define MANY 40000u

enum fate { WAITS, TAKEN, RELEASED };

struct model {
    struct rip_producer *p;
    struct rip_consumer *c;
    uint64_t tail, oldest; /* of the messages that are not released */
    uint8_t fate[MANY];
    uint32_t type[MANY];
    struct rip_message message[SLOTS];
};

static struct model m;

static void model_put(struct random *r) {
    unsigned char data[200];
    uint64_t length = random_below(r, sizeof data);
    uint32_t type = (uint32_t)random_below(r, 5);
    fill(data, length, 0, m.tail);
    int rc = rip_put(m.p, data, length, type, RIP_BYTES, 0);
    CHECK_IS(rc, m.tail - m.oldest < SLOTS ? 0 : -ETIMEDOUT);
    if (rc == 0) {
        m.type[m.tail] = type;
        m.fate[m.tail++] = WAITS;
    }
}

static void took(const struct rip_message *message, uint64_t seq) {
    CHECK_IS(message->seq, seq);
    CHECK_IS(message->type, m.type[seq]);
    CHECK(is_filled(message->data, message->length, 0, seq));
    m.fate[seq] = TAKEN;
    m.message[seq % SLOTS] = *message;
}

/* Returns the seq that a search from seq on finds, or the tail. */
static uint64_t wanted(const struct rip_filter *filter, uint64_t seq) {
    uint64_t found = m.tail;
    for (; seq < m.tail; seq++) {
        int wants = filter->count == 0;
        for (uint32_t i = 0; i < filter->count; i++) {
            wants |= filter->types[i] == m.type[seq];
        }
        if (wants && m.fate[seq] == WAITS && (found == m.tail || (filter->lowest && m.type[seq] < m.type[found]))) {
            found = seq;
        }
    }
    return found;
}

static void model_get(struct random *r) {
    uint32_t types[3];
    struct rip_filter filter = {.types = types, .count = (uint32_t)random_below(r, 4)};
    filter.lowest = random_below(r, 2) == 0;
    for (unsigned i = 0; i < 3; i++) {
        types[i] = (uint32_t)random_below(r, 6); /* one of these types is never sent */
    }
    uint64_t seq = wanted(&filter, m.oldest);
    struct rip_message message;
    int rc =
        filter.count == 0 && !filter.lowest ? rip_get(m.c, &message, 0) : rip_get_selected(m.c, &filter, &message, 0);
    CHECK_IS(rc, seq == m.tail ? -ETIMEDOUT : 1);
    if (rc == 1) {
        took(&message, seq);
    }
}

static void released(uint64_t seq) {
    m.fate[seq] = RELEASED;
    while (m.oldest < m.tail && m.fate[m.oldest] == RELEASED) {
        m.oldest++;
    }
}

static void model_latest(void) {
    struct rip_message message;
    uint64_t newest = m.tail;
    for (uint64_t seq = m.oldest; seq < m.tail; seq++) {
        newest = m.fate[seq] == WAITS ? seq : newest;
    }
    int rc = rip_get_latest(m.c, &message, 0);
    CHECK_IS(rc, newest == m.tail ? -ETIMEDOUT : 1);
    for (uint64_t seq = m.oldest; rc == 1 && seq < newest; seq++) {
        if (m.fate[seq] == WAITS) {
            released(seq);
        }
    }
    if (rc == 1) {
        took(&message, newest);
    }
}

/* Returns the seq of a message that is taken, or the tail. */
static uint64_t any_taken(struct random *r) {
    for (unsigned tries = 0; tries < 8 && m.oldest < m.tail; tries++) {
        uint64_t seq = m.oldest + random_below(r, m.tail - m.oldest);
        if (m.fate[seq] == TAKEN) {
            return seq;
        }
    }
    return m.tail;
}

/* Selects with a condition: tests the messages one after the other, and takes one or none. Each is offered once. */
static void model_browse(struct random *r) {
    struct rip_filter filter = {.count = 0};
    struct rip_message message;
    int rc;
    rip_select_begin(m.c, &filter);
    for (uint64_t seq = wanted(&filter, m.oldest); seq < m.tail; seq = wanted(&filter, seq + 1)) {
        CHECK_IS(rip_select(m.c, &filter, &message), 1);
        took(&message, seq);
        if (random_below(r, 8) == 0) {
            return;
        }
        rip_requeue(m.c, &message, 0);
        m.fate[seq] = WAITS;
    }
    rc = rip_select(m.c, &filter, &message);
    CHECK_IS(rc, -EAGAIN);
}

static void against_a_model(void) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct random r = {seed};
        memset(&m, 0, sizeof m);
        m.p = open_producer("c", 2 * RIP_PAGE, SLOTS);
        m.c = open_consumer("c", "g", RIP_OLDEST);
        for (unsigned step = 0; step < MANY - 1; step++) {
            uint64_t what = random_below(&r, 1000), seq = any_taken(&r);
            if (what < 350) {
                model_put(&r);
            } else if (what < 600) {
                model_get(&r);
            } else if (what < 900) {
                if (seq < m.tail) {
                    CHECK(is_filled(m.message[seq % SLOTS].data, m.message[seq % SLOTS].length, 0, seq));
                    rip_release(m.c, &m.message[seq % SLOTS]);
                    released(seq);
                }
            } else if (what < 970) {
                if (seq < m.tail) {
                    rip_requeue(m.c, &m.message[seq % SLOTS], 0);
                    m.fate[seq] = WAITS;
                }
            } else if (what < 990) {
                model_browse(&r);
            } else if (what < 993) {
                model_latest();
            }
            CHECK_IS(rip_producer_backlog(m.p), m.tail - m.oldest);
        }
        CHECK(m.tail > 1000);
        close_producer(m.p);
        close_consumer(m.c);
    }
}

/* In a shared group the id of the lane is damaged too: then its tail is not used any more. */
static void tail_goes_back(uint32_t how, int with_the_id) {
    for (uint64_t tail = 0; tail < 4; tail++) {
        static const uint32_t never = 9;
        struct rip_filter filter = {.types = &never, .count = 1};
        struct rip_message message;
        struct rip_producer *p = open_producer("c", RIP_PAGE, 8);
        struct rip_consumer *c = open_consumer("c", "g", how);
        uint64_t id = rip_lane_id(p->entry);
        for (uint64_t n = 0; n < 4; n++) {
            CHECK_IS(put_number(p, n, 0), 0);
        }
        CHECK_IS(get_number(c, 0), 0);
        rip_select_begin(c, &filter);
        CHECK_IS(rip_select(c, &filter, &message), -EAGAIN);
        atomic_store_explicit(&p->lane->tail, tail, memory_order_relaxed);
        atomic_store_explicit(&p->entry->id, id + (with_the_id ? 1 : 0), memory_order_relaxed);
        alarm(5);
        CHECK(rip_select(c, &filter, &message) < 0);
        alarm(0);
        atomic_store_explicit(&p->lane->tail, 4, memory_order_relaxed);
        atomic_store_explicit(&p->entry->id, id, memory_order_relaxed);
        close_producer(p);
        close_consumer(c);
    }
}

static void get_in_order(struct rip_consumer *c, struct rip_message *message, uint64_t seq, uint64_t missed) {
    CHECK_IS(rip_get(c, message, 0), 1);
    CHECK_IS(message->seq, seq);
    CHECK_IS(message->missed, missed);
}

/* A delivery counts if work on the message had started. */
static void deliveries_are_counted(void) {
    struct rip_producer *p;
    struct rip_message message;
    CHECK_IS(rip_producer_open("c", RIP_PAGE, 2, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), 0);
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST | RIP_SHARED);
    for (unsigned lap = 0; lap < 2; lap++) { /* the second message comes into the same slot, and counts from 0 */
        CHECK_IS(put_number(p, 0, 0), 0);
        CHECK_IS(put_number(p, 1, 0), 0);
        unsigned deliveries = 0;
        for (unsigned time = 0; deliveries < RIP_MAX_REDELIVERED + 3; time++) {
            int started = time > 9 || time % 2;
            CHECK_IS(rip_get(c, &message, 0), 1);
            CHECK_IS(message.seq, 2 * lap);
            CHECK_IS(message.redelivered, deliveries < RIP_MAX_REDELIVERED ? deliveries : RIP_MAX_REDELIVERED);
            rip_requeue(c, &message, started);
            deliveries += (unsigned)started;
        }
        CHECK_IS(rip_get(c, &message, 0), 1);
        rip_release(c, &message);
        CHECK_IS(get_number(c, 0), 1);
    }
    close_producer(p);
    close_consumer(c);
}

/* Two messages may wait: a third one drops the oldest one that no member has. */
static void requeued_and_dropped(void) {
    struct rip_producer *p;
    struct rip_message first, second, next;
    CHECK_IS(rip_producer_open("c", RIP_PAGE, 2, RIP_DROP_OLD, RIP_WAIT_BLOCK, NULL, &p), 0);
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    for (uint64_t n = 0; n < 2; n++) {
        CHECK_IS(put_number(p, n, 0), 0);
    }
    get_in_order(c, &first, 0, 0);
    rip_requeue(c, &first, 0);
    for (uint64_t n = 2; n < 4; n++) {
        CHECK_IS(put_number(p, n, 0), 0);
    }
    get_in_order(c, &first, 2, 2);
    get_in_order(c, &second, 3, 0);
    rip_requeue(c, &first, 0); /* a later message has already been taken */
    rip_requeue(c, &second, 0);
    get_in_order(c, &first, 2, 0);
    get_in_order(c, &second, 3, 0);
    rip_requeue(c, &first, 0);
    rip_release(c, &second);
    for (uint64_t n = 4; n < 7; n++) {
        CHECK_IS(put_number(p, n, 0), 0);
    }
    get_in_order(c, &next, 5, 2);
    rip_release(c, &next);
    get_in_order(c, &next, 6, 0);
    rip_release(c, &next);
    CHECK_IS(rip_rx_missed(c), 4);
    close_producer(p);
    close_consumer(c);
}

static void searched_tail_goes_back(void) {
    tail_goes_back(RIP_OLDEST, 0);
    tail_goes_back(RIP_SHARED, 0);
    tail_goes_back(RIP_SHARED, 1);
}

int main(void) {
    run("selecting, requeueing and releasing behave as a model", against_a_model);
    run("a message that is requeued and then dropped is reported as missed", requeued_and_dropped);
    run("a message that is requeued as redelivered is delivered as such", deliveries_are_counted);
    run("a search ends when a tail moves back", searched_tail_goes_back);
    return 0;
}
