/* Messages that are done and still in use: in groups that a producer waits for, it goes around them. */
#include "check.h"

#include "ring/tx_room.h"

#define LARGE 960u /* bytes: with the rest of their line, four fit into a page */
#define LANE RIP_PAGE

struct kind {
    uint32_t flags;
    unsigned most; /* so many messages can be kept */
};

static const struct kind kinds[] = {{0, RIP_CURSOR_KEPT},
                                    {RIP_SHARED, RIP_MAX_KEPT},
                                    {RIP_DURABLE, RIP_MAX_KEPT},
                                    {RIP_SHARED | RIP_DURABLE, RIP_MAX_KEPT}};

static void put_filled(struct rip_producer *p, uint64_t deadline) {
    static unsigned char data[LARGE];
    fill(data, LARGE, 1, p->tail);
    CHECK_IS(put(p, data, LARGE, deadline), 0);
}

static void get_filled(struct rip_consumer *c, struct rip_message *message) {
    CHECK_IS(rip_get(c, message, 0), 1);
    CHECK_IS(message->length, LARGE);
    CHECK(is_filled(message->data, LARGE, 1, message->seq));
}

static void get_and_keep(struct rip_consumer *c, struct rip_message *message) {
    get_filled(c, message);
    rip_acknowledge(c, message);
}

static void put_and_get(struct rip_producer *p, struct rip_consumer *c, unsigned count) {
    struct rip_message message;
    for (unsigned i = 0; i < count; i++) {
        put_filled(p, 0);
        get_filled(c, &message);
        rip_release(c, &message);
    }
}

/* All of the lane is free: a message as long as the lane finds room. */
static void check_free(struct rip_producer *p, struct rip_consumer *c) {
    static const unsigned char whole[LANE];
    struct rip_message message;
    CHECK_IS(put(p, whole, sizeof whole, 0), 0);
    CHECK_IS(p->arena.pinned, 0);
    CHECK_IS(rip_get(c, &message, 0), 1);
    rip_release(c, &message);
    CHECK_IS(rip_producer_backlog(p), 0);
}

static void end(struct rip_producer *p, struct rip_consumer *c) {
    int32_t holder;
    close_producer(p);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
    CHECK(is_over() || rip_remove_group(CHANNEL, "g", &holder) == 0);
    CHECK(is_over());
}

static void costs_its_own_room(void) {
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct rip_message first, other;
        struct rip_producer *p = open_producer(CHANNEL, LANE, 64);
        struct rip_consumer *c = open_consumer(CHANNEL, "g", kinds[i].flags);
        put_filled(p, 0);
        get_and_keep(c, &first);
        put_and_get(p, c, 1000);
        CHECK_IS(rip_flush(p, 0), 0);
        put_filled(p, 0);
        get_and_keep(c, &other);
        put_and_get(p, c, 1000);
        CHECK(is_filled(first.data, LARGE, 1, 0) && is_filled(other.data, LARGE, 1, 1001));
        CHECK(p->arena.pinned <= 2);
        rip_release(c, &first);
        put_and_get(p, c, 1000);
        CHECK(is_filled(other.data, LARGE, 1, 1001));
        rip_release(c, &other);
        check_free(p, c);
        end(p, c);
    }
}

/* Beyond that, the oldest one holds the cursor, as it does while no later message is released. */
static void so_many_are_kept(void) {
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        unsigned most = kinds[i].most;
        struct rip_message kept[RIP_MAX_KEPT + 1], message;
        struct rip_producer *p = open_producer(CHANNEL, 32 * RIP_PAGE, 128);
        struct rip_consumer *c = open_consumer(CHANNEL, "g", kinds[i].flags);
        for (unsigned k = 0; k < most; k++) {
            put_filled(p, 0);
            get_and_keep(c, &kept[k]);
        }
        put_and_get(p, c, 1000);
        put_filled(p, 0);
        get_and_keep(c, &kept[most]);
        unsigned more = 0;
        unsigned char data[LARGE];
        for (; fill(data, LARGE, 1, p->tail), put(p, data, LARGE, 0) == 0; more++) {
            get_filled(c, &message);
            rip_release(c, &message);
        }
        CHECK(more > 0 && more < 128);
        rip_release(c, &kept[0]);
        put_filled(p, 0);
        get_filled(c, &message);
        rip_release(c, &message);
        put_and_get(p, c, 1000);
        for (unsigned k = 1; k <= most; k++) {
            CHECK(is_filled(kept[k].data, LARGE, 1, kept[k].seq));
            rip_release(c, &kept[k]);
        }
        put_and_get(p, c, 200);
        CHECK_IS(p->arena.pinned, 0);
        end(p, c);
    }
}

/* What is not acknowledged may be given back, so it stays where it is, and the lane becomes full. */
static void what_is_not_done_stays(void) {
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct rip_message first;
        unsigned char data[LARGE] = {0};
        struct rip_producer *p = open_producer(CHANNEL, LANE, 64);
        struct rip_consumer *c = open_consumer(CHANNEL, "g", kinds[i].flags);
        put_filled(p, 0);
        get_filled(c, &first);
        put_and_get(p, c, 3);
        CHECK_IS(put(p, data, LARGE, 0), -ETIMEDOUT);
        rip_requeue(c, &first, 1);
        get_and_keep(c, &first); /* now it is done */
        CHECK_IS(first.seq, 0);
        put_and_get(p, c, 100);
        CHECK(is_filled(first.data, LARGE, 1, 0));
        rip_release(c, &first);
        check_free(p, c);
        end(p, c);
    }
}

/* The message that holds the cursor is released in order, or given back and taken again: the older of those behind it,
 * which are acknowledged and in use, are kept, so nobody waits for them. */
static void what_held_the_cursor_is_released(void) {
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (unsigned requeues = 0; requeues < 2; requeues++) {
            struct rip_message first, kept;
            unsigned char data[LARGE] = {0};
            struct rip_producer *p = open_producer(CHANNEL, LANE, 64);
            struct rip_consumer *c = open_consumer(CHANNEL, "g", kinds[i].flags);
            CHECK_IS(put_number(p, 7, 0), 0);
            CHECK_IS(rip_get(c, &first, 0), 1);
            put_filled(p, 0);
            get_and_keep(c, &kept);
            while (put(p, data, LARGE / 2, 0) == 0) {
                struct rip_message message;
                CHECK_IS(rip_get(c, &message, 0), 1);
                rip_release(c, &message);
            }
            if (requeues) {
                rip_requeue(c, &first, 1);
                CHECK_IS(rip_get(c, &first, 0), 1);
                CHECK_IS(first.seq, 0);
            }
            rip_release(c, &first);
            put_and_get(p, c, 100);
            CHECK(is_filled(kept.data, LARGE, 1, 1));
            rip_release(c, &kept);
            check_free(p, c);
            end(p, c);
        }
    }
}

/* Groups of all kinds on one lane keep messages of their own, and the same one. */
static void several_groups(void) {
    static const uint32_t flags[] = {0, 0, RIP_SHARED, RIP_DURABLE, RIP_LOSSY};
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    enum { GROUPS = sizeof flags / sizeof *flags };
    struct rip_message same[GROUPS], own[GROUPS], message;
    struct rip_consumer *c[GROUPS];
    int32_t holder;
    struct rip_producer *p = open_producer(CHANNEL, 4 * LANE, 64);
    for (unsigned g = 0; g < GROUPS; g++) {
        c[g] = open_consumer(CHANNEL, names[g], flags[g]);
    }
    for (unsigned n = 0; n < 1000; n++) {
        put_filled(p, 0);
        for (unsigned g = 0; g < GROUPS; g++) {
            struct rip_message *to = n == 0 ? &same[g] : n == 10 + g ? &own[g] : &message;
            get_and_keep(c[g], to);
            if (to == &message) {
                rip_release(c[g], to);
            }
        }
    }
    for (unsigned g = 0; g < GROUPS; g++) {
        CHECK(is_filled(same[g].data, LARGE, 1, 0) && is_filled(own[g].data, LARGE, 1, 10 + g));
        rip_release(c[g], &same[g]);
    }
    CHECK_IS(rip_make_room(p, LARGE), 0);
    CHECK_IS(p->arena.pinned, GROUPS);
    for (unsigned g = 0; g < GROUPS; g++) {
        rip_release(c[g], &own[g]);
    }
    CHECK_IS(rip_make_room(p, LARGE), 0);
    CHECK_IS(p->arena.pinned, 0);
    close_producer(p);
    for (unsigned g = 0; g < GROUPS; g++) {
        close_consumer(c[g]);
    }
    CHECK_IS(rip_remove_group(CHANNEL, "d", &holder), 0);
    CHECK(is_over());
}

struct kill {
    _Atomic uint64_t ready;
    uint32_t flags;
};

static int keeps_one(void *argument) {
    struct kill *with = argument;
    struct rip_message kept;
    struct rip_consumer *c = open_consumer(CHANNEL, "g", with->flags);
    struct rip_producer *p = open_producer(CHANNEL, LANE, 8); /* a lane of its own: it only keeps the channel busy */
    CHECK_IS(rip_get(c, &kept, RIP_FOREVER), 1);
    rip_acknowledge(c, &kept);
    CHECK_IS(get_number(c, RIP_FOREVER), 1);
    (void)p;
    atomic_fetch_add(&with->ready, 1);
    pause();
    return 0;
}

/* It is killed, or its group ends: its memory is free, and a group that comes in its place keeps nothing. */
static void the_member_goes(void) {
    struct kill *with = shared(sizeof *with);
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        static const unsigned char whole[LANE];
        struct rip_message message;
        *with = (struct kill){.flags = kinds[i].flags};
        struct rip_producer *p = open_producer(CHANNEL, LANE, 64);
        pid_t child = spawn(keeps_one, with);
        CHECK_IS(put_number(p, 0, 0), 0);
        CHECK_IS(put_number(p, 1, 0), 0);
        CHECK(reaches(&with->ready, 1, 10000 * MS));
        CHECK_IS(put(p, whole, sizeof whole, 0), -ETIMEDOUT);
        kill_and_wait(child);
        make_reaping_due(&p->ch.handle);
        CHECK_IS(put(p, whole, sizeof whole, 0), 0);
        CHECK_IS(p->arena.pinned, 0);
        struct rip_consumer *c = open_consumer(CHANNEL, "g", kinds[i].flags);
        while (rip_get(c, &message, 0) != 1) { /* the death of the other producer */
        }
        CHECK_IS(message.length, sizeof whole);
        rip_release(c, &message);
        for (uint32_t k = 0; k < RIP_CURSOR_KEPT; k++) {
            CHECK_IS(p->entry->cursors[c->group].kept[k], 0);
        }
        put_and_get(p, c, 100);
        struct rip_message first;
        put_filled(p, 0);
        get_and_keep(c, &first);
        put_and_get(p, c, 100);
        close_consumer(c); /* with a message in use */
        check_free(p, c = open_consumer(CHANNEL, "g", kinds[i].flags));
        end(p, c);
    }
    munmap(with, sizeof *with);
}

/* Its lane stays in the table until it is released: a new lane would clear the table beside the cursor. */
static void the_lane_ends(void) {
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct rip_message first, second;
        struct rip_producer *p = open_producer(CHANNEL, LANE, 64), *other = open_producer(CHANNEL, LANE, 64);
        struct rip_consumer *c = open_consumer(CHANNEL, "g", kinds[i].flags);
        put_filled(p, 0);
        get_and_keep(c, &first);
        put_and_get(p, c, 100);
        close_producer(p);
        CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
        CHECK(kinds[i].flags || has_lane(0));
        for (unsigned n = 0; n < 3 * RIP_SPARE_LANES; n++) { /* other lanes come and go */
            p = open_producer(CHANNEL, LANE, 64);
            put_filled(p, 0);
            get_and_keep(c, &second);
            put_and_get(p, c, 10);
            CHECK(is_filled(first.data, LARGE, 1, 0) && is_filled(second.data, LARGE, 1, 0));
            rip_release(c, &second);
            close_producer(p);
            CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
        }
        rip_release(c, &first);
        CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
        CHECK(!has_lane(0) || strcmp(CHANNEL, MEMORY) == 0);
        end(other, c);
    }
}

/* Messages that are selected, skipped by rip_get_latest, or released in any order. */
static void in_any_order(void) {
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct rip_message kept, newest, last = {.lane = NULL};
        struct rip_producer *p = open_producer(CHANNEL, LANE, 64);
        struct rip_consumer *c = open_consumer(CHANNEL, "g", kinds[i].flags);
        put_filled(p, 0);
        get_and_keep(c, &kept);
        for (unsigned n = 0; n < 100; n++) { /* the newest is in use until the next one is there */
            put_filled(p, 0);
            CHECK(n % 2 || put_number(p, n, 0) == 0);
            CHECK_IS(rip_get_latest(c, &newest, 0), 1);
            rip_acknowledge(c, &newest);
            if (last.lane) {
                rip_release(c, &last);
            }
            last = newest;
        }
        rip_release(c, &last);
        CHECK(is_filled(kept.data, LARGE, 1, 0));
        rip_release(c, &kept);
        check_free(p, c);

        struct rip_filter filter = {.types = (const uint32_t[]){7}, .count = 1};
        CHECK_IS(put_number(p, 0, 0), 0);
        for (uint64_t n = 0; n < 60; n++) {
            CHECK_IS(rip_put(p, &n, sizeof n, 7, RIP_BYTES, 0), 0);
            CHECK_IS(rip_get_selected(c, &filter, &newest, 0), 1);
            rip_acknowledge(c, &newest);
            rip_release(c, &newest);
        }
        CHECK_IS(rip_get(c, &kept, 0), 1); /* the oldest comes last, and all others are released */
        rip_acknowledge(c, &kept);
        put_and_get(p, c, 100);
        rip_release(c, &kept);
        check_free(p, c);
        end(p, c);
    }
}

/* Random takes, acknowledgements and releases in three groups: nothing in use changes, and nothing is lost. */
static void at_random(void) {
    enum { HELD = 12 };
    static const uint32_t flags[] = {0, RIP_SHARED, 0};
    static const char *const names[] = {"a", "b", "c"};
    struct random r = {11};
    struct rip_message held[3][HELD];
    unsigned count[3] = {0};
    uint64_t next[3] = {0};
    struct rip_consumer *c[3];
    struct rip_producer *p = open_producer(CHANNEL, 8 * RIP_PAGE, 32);
    for (unsigned g = 0; g < 3; g++) {
        c[g] = open_consumer(CHANNEL, names[g], flags[g]);
    }
    static unsigned char data[RIP_PAGE];
    uint64_t refused = 0;
    for (unsigned i = 0; i < 200000; i++) {
        unsigned g = (unsigned)random_below(&r, 4);
        if (g == 3) {
            uint64_t length = random_below(&r, 4) ? random_below(&r, 300) : random_below(&r, RIP_PAGE);
            fill(data, length, 2, p->tail);
            refused += put(p, data, length, 0) != 0;
            continue;
        }
        struct rip_message *message = &held[g][count[g]];
        if (count[g] < HELD && random_below(&r, 2) && rip_get(c[g], message, 0) == 1) {
            CHECK_IS(message->seq, next[g]++);
            if (random_below(&r, 4)) {
                rip_acknowledge(c[g], message);
            }
            count[g]++;
        } else if (count[g]) {
            unsigned k = (unsigned)random_below(&r, random_below(&r, 20) ? count[g] : 1);
            CHECK(is_filled(held[g][k].data, held[g][k].length, 2, held[g][k].seq));
            rip_release(c[g], &held[g][k]);
            held[g][k] = held[g][--count[g]];
        }
    }
    CHECK(p->tail > 10000 && refused > 1000);
    for (unsigned g = 0; g < 3; g++) {
        while (count[g]) {
            rip_release(c[g], &held[g][--count[g]]);
        }
        while (rip_get(c[g], &held[g][0], 0) == 1) {
            CHECK_IS(held[g][0].seq, next[g]++);
            rip_release(c[g], &held[g][0]);
        }
        CHECK_IS(next[g], p->tail);
    }
    CHECK_IS(rip_producer_backlog(p), 0);
    CHECK_IS(rip_make_room(p, RIP_PAGE), 0);
    CHECK_IS(p->arena.pinned, 0);
    close_producer(p);
    for (unsigned g = 0; g < 3; g++) {
        close_consumer(c[g]);
    }
    CHECK(is_over());
}

int main(void) {
    run("a message that is done and in use costs its own room and stops nobody", costs_its_own_room);
    run("so many messages are kept as the tables have room for", so_many_are_kept);
    run("a message that is not done stays in the lane, and can be given back", what_is_not_done_stays);
    run("what is kept behind a message that is not done stops nobody once that one is released",
        what_held_the_cursor_is_released);
    run("each group of a lane keeps its own messages", several_groups);
    run("what a member keeps is free when it is gone", the_member_goes);
    run("a message that is kept stays as it is when its lane ends", the_lane_ends);
    run("messages are kept whatever the order in which they are taken and released", in_any_order);
    run("nothing in use changes, and nothing is lost", at_random);
    return 0;
}
