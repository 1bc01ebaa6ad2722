/* Messages that are longer than the capacity of their lane. */
#include "ring/large.h"
#include "check.h"
#include "ring/tx_room.h"

#define CAPACITY (UINT64_C(16) * RIP_PAGE)
#define LARGE (UINT64_C(1) << 20)
#define SLOTS 64u

static unsigned char data[4 * LARGE];

static int put_filled(struct rip_producer *p, uint64_t length, uint64_t number, uint64_t deadline) {
    fill(data, length, 1, number);
    return put(p, data, length, deadline);
}

static void get_filled(struct rip_consumer *c, uint64_t length, uint64_t number, struct rip_message *message) {
    CHECK_IS(rip_get(c, message, 0), 1);
    CHECK_IS(message->length, length);
    CHECK_IS((uintptr_t)message->data % RIP_LINE, 0);
    CHECK(is_filled(message->data, length, 1, number));
}

static void get_and_release(struct rip_consumer *c, uint64_t length, uint64_t number) {
    struct rip_message message;
    get_filled(c, length, number, &message);
    rip_release(c, &message);
}

/* The bytes that are allocated for the first lane, or for the whole of an anonymous channel. */
static uint64_t memory(void) {
    struct stat st;
    CHECK_IS(strcmp(CHANNEL, MEMORY) == 0 ? fstat(MEMORY_FD, &st) : stat(path_of(CHANNEL, "lane-0"), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* ---- tests ---- */

static void passes(void) {
    struct rip_producer *p = open_producer(CHANNEL, CAPACITY, SLOTS);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_filled(p, 100, 0, 0), 0);
    get_and_release(c, 100, 0);
    uint64_t before = memory();
    static const uint64_t lengths[] = {CAPACITY + 1, LARGE, 100, CAPACITY, 3 * LARGE + 5, 2 * LARGE, 4096, 4 * LARGE};
    for (unsigned i = 0; i < 45; i++) {
        uint64_t length = lengths[i % (sizeof lengths / sizeof *lengths)];
        CHECK_IS(put_filled(p, length, i, 0), 0);
        CHECK(p->arena.gap_end >= p->arena.at || p->recheck_at <= p->tail);
        get_and_release(c, length, i);
    }
    CHECK(memory() > before + LARGE);
    CHECK_IS(rip_flush(p, 0), 0); /* the last one was large: its memory is given back here, */
    CHECK_IS(rip_large_count(p), 0);
    if (!is_emulated()) {
        CHECK(memory() < before + 64 * RIP_PAGE); /* except a page for each extent */
    }
    CHECK_IS(put_filled(p, LARGE, 200, 0), 0);
    get_and_release(c, LARGE, 200);
    CHECK_IS(put_filled(p, 8, 201, 0), 0); /* or here */
    CHECK_IS(rip_large_count(p), 0);
    get_and_release(c, 8, 201);
    close_producer(p);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
}

/* Two can wait, whatever else is in the lane; and so the consumer of one can wait for the next. */
static void waits(void) {
    struct rip_message first, second, message;
    struct rip_producer *p = open_producer(CHANNEL, CAPACITY, SLOTS);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (uint64_t n = 0; n < 8; n++) { /* the lane is half full */
        CHECK_IS(put_filled(p, RIP_PAGE, n, 0), 0);
    }
    CHECK_IS(put_filled(p, LARGE, 8, 0), 0);
    CHECK_IS(put_filled(p, LARGE + 1, 9, 0), 0);
    CHECK_IS(put_filled(p, LARGE, 10, 0), -ETIMEDOUT);
    CHECK_IS(rip_reserve(p, LARGE, &(unsigned char *){NULL}), -EAGAIN);
    CHECK_IS(put_filled(p, 64, 10, 0), 0); /* there is room for others */
    for (uint64_t n = 0; n < 8; n++) {
        get_and_release(c, RIP_PAGE, n);
    }
    get_filled(c, LARGE, 8, &first);
    CHECK_IS(put_filled(p, LARGE, 11, 0), -ETIMEDOUT);
    get_filled(c, LARGE + 1, 9, &second);
    get_filled(c, 64, 10, &message);
    rip_acknowledge(c, &first); /* the three views stay, but their work is done */
    rip_acknowledge(c, &second);
    rip_acknowledge(c, &message);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    CHECK_IS(put_filled(p, LARGE, 11, 0), 0);
    CHECK_IS(put_filled(p, 8, 12, 0), 0);
    CHECK(is_filled(first.data, LARGE, 1, 8) && is_filled(second.data, LARGE + 1, 1, 9));
    rip_release(c, &second);
    get_filled(c, LARGE, 11, &second);
    rip_release(c, &message);
    rip_release(c, &second);
    CHECK_IS(rip_large_count(p), 3);
    rip_release(c, &first);
    get_and_release(c, 8, 12);
    CHECK_IS(rip_flush(p, 0), 0);
    CHECK_IS(rip_large_count(p), 0);
    close_producer(p);
    close_consumer(c);
}

/* Views cost their own memory, and stop nobody. */
static void views(uint32_t flags, enum rip_overflow overflow) {
    enum { VIEWS = 12 };
    struct rip_message views[VIEWS];
    struct rip_producer *p;
    CHECK_IS(rip_producer_open(CHANNEL, CAPACITY, SLOTS, overflow, RIP_WAIT_BLOCK, NULL, &p), 0);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST | flags);
    uint64_t before = memory(), number = 0;
    for (unsigned i = 0; i < VIEWS; i++) {
        uint64_t length = CAPACITY + (i + 1) * 50000;
        CHECK_IS(put_filled(p, length, number, 0), 0);
        get_filled(c, length, number++, &views[i]);
        rip_acknowledge(c, &views[i]);
        CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
        CHECK_IS(put_filled(p, 5000, number, 0), 0);
        get_and_release(c, 5000, number++);
        if (!(flags & (RIP_SHARED | RIP_LOSSY)) && overflow != RIP_DROP_OLD && i == 3) {
            break; /* the producer passes four views of such a group at most */
        }
    }
    uint64_t count = number / 2;
    CHECK_IS(rip_large_count(p), count);
    for (unsigned i = 0; i < count; i++) {
        CHECK(is_filled(views[i].data, views[i].length, 1, 2 * i));
    }
    for (unsigned i = 0; i < count; i += 2) {
        rip_release(c, &views[i]);
    }
    CHECK_IS(put_filled(p, 5000, number, 0), 0);
    get_and_release(c, 5000, number++);
    CHECK(rip_large_count(p) < count); /* perhaps not all yet: an older view can hold the cursor */
    for (unsigned i = 1; i < count; i += 2) {
        CHECK(is_filled(views[i].data, views[i].length, 1, 2 * i));
        rip_release(c, &views[i]);
    }
    CHECK_IS(rip_flush(p, 0), 0);
    CHECK_IS(rip_large_count(p), 0);
    CHECK(is_emulated() || memory() < before + 64 * RIP_PAGE);
    close_producer(p);
    close_consumer(c);
}

static void views_stay(void) {
    static const uint32_t flags[] = {0, RIP_SHARED, RIP_LOSSY};
    for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
        for (enum rip_overflow overflow = RIP_BLOCK; overflow <= RIP_DROP_OLD; overflow++) {
#ifdef NAMELESS
            make_anonymous_channel(); /* pages of removed extents stay */
#endif
            views(flags[i], overflow);
        }
    }
}

static void drops_old(void) {
    struct rip_message held, message;
    struct rip_producer *p;
    CHECK_IS(rip_producer_open(CHANNEL, CAPACITY, SLOTS, RIP_DROP_OLD, RIP_WAIT_BLOCK, NULL, &p), 0);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_filled(p, LARGE, 0, 0), 0);
    get_filled(c, LARGE, 0, &held);
    for (uint64_t n = 1; n < 40; n++) {
        CHECK_IS(put_filled(p, LARGE + n, n, 0), 0);
    }
    CHECK(rip_large_count(p) <= 3);
    CHECK(rip_large_bytes(p) < 4 * LARGE);
    CHECK(is_filled(held.data, LARGE, 1, 0));
    CHECK_IS(rip_get(c, &message, 0), 1);
    CHECK(message.seq >= 38 && message.missed == message.seq - 1);
    CHECK(is_filled(message.data, message.length, 1, message.seq));
    rip_release(c, &message);
    rip_release(c, &held);
    close_producer(p);
    while (rip_get(c, &message, 0) == 1) {
        CHECK(is_filled(message.data, message.length, 1, message.seq));
        rip_release(c, &message);
    }
    close_consumer(c);
}

static void drops_new(void) {
    struct rip_producer *p;
    CHECK_IS(rip_producer_open(CHANNEL, CAPACITY, SLOTS, RIP_DROP_NEW, RIP_WAIT_BLOCK, NULL, &p), 0);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_filled(p, LARGE, 0, 0), 0);
    CHECK_IS(put_filled(p, LARGE, 1, 0), 0);
    CHECK_IS(put_filled(p, LARGE, 2, 0), -ENOBUFS);
    CHECK_IS(put_filled(p, 5, 3, 0), 0);
    get_and_release(c, LARGE, 0);
    get_and_release(c, LARGE, 1);
    get_and_release(c, 5, 3);
    close_producer(p);
    close_consumer(c);
}

/* The end of a producer leaves what is unread, and only that. */
static void is_left_behind(void) {
    struct rip_producer *p = open_producer(CHANNEL, CAPACITY, SLOTS);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_filled(p, 4 * LARGE, 0, 0), 0);
    CHECK_IS(put_filled(p, LARGE, 1, 0), 0);
    get_and_release(c, 4 * LARGE, 0);
    uint64_t before = memory();
    close_producer(p);
    CHECK(is_emulated() || memory() <= before - 4 * LARGE);
    struct rip_consumer *late = open_consumer(CHANNEL, "late", RIP_OLDEST);
    get_and_release(c, LARGE, 1);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    get_and_release(late, LARGE, 1);
    CHECK_IS(get_nothing(late, 0), -ENODATA);
    close_consumer(c);
    close_consumer(late);
}

/* A reservation of which less is used, or nothing; and a batch. */
static void reserves(void) {
    unsigned char *payload;
    struct rip_message message;
    struct rip_producer *p = open_producer(CHANNEL, CAPACITY, SLOTS);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    uint64_t number = 0;
    for (unsigned i = 0; i < 30; i++) {
        CHECK_IS(rip_reserve(p, LARGE, &payload), 0);
        memset(payload, 1, LARGE);
        uint64_t length = i % 3 == 0 ? 50 : LARGE - i;
        CHECK_IS(rip_reserve(p, LARGE + i * 9999, &payload), 0); /* instead */
        fill(payload, length, 1, number);
        if (i % 4) {
            CHECK_IS(rip_publish(p, length, 0, RIP_BYTES), 0);
        }
        number += i % 4 ? 1 : 0;
        CHECK_IS(put_filled(p, 700, number++, 0), 0);
        for (uint64_t n = number - (i % 4 ? 2 : 1); n != number; n++) {
            CHECK_IS(rip_get(c, &message, 0), 1);
            CHECK_IS(message.length, n == number - 1 ? 700 : length);
            CHECK(is_filled(message.data, message.length, 1, n));
            rip_release(c, &message);
        }
    }
    for (unsigned i = 0; i < 20; i++) { /* published together */
        for (unsigned k = 0; k < 4; k++) {
            uint64_t length = k == 1 || k == 2 ? LARGE + k : 100;
            CHECK_IS(rip_tx_reserve(p, length, &payload), 0);
            fill(payload, length, 1, number + k);
            rip_tx_commit(p, length, 0, RIP_BYTES);
        }
        rip_tx_publish(p);
        for (unsigned k = 0; k < 4; k++) {
            get_and_release(c, k == 1 || k == 2 ? LARGE + k : 100, number++);
        }
    }
    close_producer(p);
    close_consumer(c);
}

#ifndef __SANITIZE_ADDRESS__
static uint64_t mapped(void) {
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;
    CHECK(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void address_space(void) {
    struct rip_message message;
    struct rip_producer *p = open_producer(CHANNEL, CAPACITY, SLOTS);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    uint64_t before_any = mapped();
    CHECK_IS(put_filled(p, 1000, 0, 0), 0);
    get_and_release(c, 1000, 0);
    CHECK(mapped() < before_any + LARGE || is_emulated());
    CHECK_IS(put_filled(p, LARGE, 0, 0), 0);
    struct rlimit before, limit;
    CHECK_IS(getrlimit(RLIMIT_AS, &before), 0);
    limit = (struct rlimit){mapped() + LARGE, before.rlim_max};
    CHECK_IS(setrlimit(RLIMIT_AS, &limit), 0);
    int rc = rip_get(c, &message, 0);
    CHECK(is_emulated() || rc == -ENOMEM);
    CHECK(is_emulated() || put_filled(p, 4 * LARGE + 1, 1, 0) == -ENOMEM);
    CHECK_IS(setrlimit(RLIMIT_AS, &before), 0);
    if (rc == 1) {
        rip_release(c, &message);
    } else {
        get_and_release(c, LARGE, 0); /* nothing is lost */
    }
    close_producer(p);
    close_consumer(c);
}
#endif

static void limits(void) {
    unsigned char *payload;
    struct rip_producer *p = open_producer(CHANNEL, CAPACITY, SLOTS);
    uint64_t before = memory();
    CHECK_IS(rip_reserve(p, RIP_MAX_CAPACITY + 1, &payload), -EMSGSIZE);
    CHECK_IS(rip_reserve(p, UINT64_MAX, &payload), -EMSGSIZE);
    int rc = rip_reserve(p, RIP_MAX_CAPACITY, &payload); /* no machine has so much memory */
    CHECK(rc == -ENOMEM || rc == -ENOSPC);
    struct rip_shortage shortage = rip_last_shortage();
    CHECK(shortage.bytes == RIP_MAX_CAPACITY && shortage.free > 0 && shortage.free < RIP_MAX_CAPACITY);
    CHECK_IS(memory(), before);
    CHECK_IS(rip_set_longest(p, CAPACITY - 1), -EINVAL);
    CHECK_IS(rip_set_longest(p, LARGE), 0);
    CHECK_IS(rip_reserve(p, LARGE + 1, &payload), -EMSGSIZE);
    CHECK_IS(rip_reserve(p, LARGE, &payload), 0);
    rip_producer_undo(p);
    close_producer(p);
}

/* ---- no memory ---- */

static uint64_t allowed = UINT64_MAX; /* bytes that may still be allocated */

int posix_fallocate(int fd, off_t offset, off_t length) { /* replaces that of libc, for the core too */
    if ((uint64_t)length > allowed) {
        return ENOSPC;
    }
    return syscall(SYS_fallocate, fd, 0, offset, length) == 0 ? 0 : errno;
}

static void has_no_memory(void) {
    struct rip_producer *p = open_producer(CHANNEL, CAPACITY, SLOTS), *dropper;
    CHECK_IS(rip_producer_open(CHANNEL, CAPACITY, SLOTS, RIP_DROP_OLD, RIP_WAIT_BLOCK, NULL, &dropper), 0);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_filled(p, LARGE, 0, 0), 0);
    CHECK_IS(put_filled(dropper, 10, 0, 0), 0);
    allowed = LARGE - 1;
    for (unsigned i = 0; i < 100; i++) { /* it leaves nothing behind that would be in the way */
        CHECK_IS(put_filled(p, LARGE, 1, RIP_FOREVER), -ENOSPC);
        CHECK_IS(put_filled(dropper, LARGE, 1, RIP_FOREVER), -ENOBUFS);
    }
    CHECK_IS(put_filled(p, 64, 1, 0), 0);
    allowed = UINT64_MAX;
    CHECK_IS(put_filled(p, LARGE, 2, 0), 0);
    CHECK_IS(put_filled(dropper, LARGE, 1, 0), 0);
    for (uint64_t n = 0; n < 5; n++) {
        struct rip_message message;
        CHECK_IS(rip_get(c, &message, 0), 1);
        CHECK(is_filled(message.data, message.length, 1, message.seq));
        CHECK(message.lane->id == 0 || message.missed == (message.seq == 0 ? 0 : 100));
        rip_release(c, &message);
    }
    close_producer(p);
    close_producer(dropper);
    close_consumer(c);
}

/* ---- damage ---- */

static int get_damaged(const char *group) {
    struct rip_message message;
    struct rip_consumer *c = open_consumer(CHANNEL, group, RIP_OLDEST);
    int rc = rip_get(c, &message, 0);
    if (rc == 1) { /* a message somewhere in its region: it can be read */
        volatile unsigned sum = 0;
        for (uint64_t i = 0; i < message.length; i += RIP_PAGE) {
            sum += message.data[i];
        }
    }
    close_consumer(c);
    return rc;
}

static void damaged(void) {
    struct rip_producer *p = open_producer(CHANNEL, CAPACITY, SLOTS), *keeper = open_producer(CHANNEL, CAPACITY, SLOTS);
    CHECK_IS(put_filled(p, LARGE, 0, 0), 0);
    struct rip_desc *desc = &p->lane->desc[0];
    struct rip_region *region = &p->lane->regions[0];
    const struct rip_region good = *region;
    const uint64_t place = desc->place, size = desc->size, offset = place & RIP_PLACE_MASK;
    static const uint64_t numbers[] = {0,
                                       1,
                                       64,
                                       4096,
                                       65536,
                                       CAPACITY,
                                       1u << 20,
                                       4 * LARGE,
                                       UINT64_C(1) << 40,
                                       UINT64_C(1) << 46,
                                       RIP_PLACE_MASK,
                                       RIP_PLACE_MASK - 63,
                                       UINT64_C(1) << 63,
                                       UINT64_MAX,
                                       UINT64_MAX - 4095};
    CHECK_IS(offset, good.lo);
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        for (unsigned k = 0; k < 2; k++) { /* instead of the number, or added to it */
            struct rip_region bad[] = {{numbers[i] + k * good.lo, good.size},
                                       {good.lo, numbers[i] + k * good.size},
                                       {numbers[i] + k * good.lo, UINT64_C(1) << 46}};
            for (unsigned n = 0; n < 3; n++) {
                *region = bad[n];
                int rc = get_damaged("a");
                int is_same = bad[n].lo == good.lo && bad[n].size == good.size;
                /* the region can be shorter than it was and still have the message */
                CHECK(rc < 0 || is_same || (bad[n].lo <= good.lo && bad[n].size >= LARGE));
            }
            *region = good;
            uint64_t elsewhere = (numbers[i] + k * offset) & RIP_PLACE_MASK;
            desc->place = (place & ~RIP_PLACE_MASK) | elsewhere;
            int rc = get_damaged("a");
            CHECK(rc == -EBADMSG || (elsewhere >= good.lo && elsewhere <= good.lo + good.size - LARGE));
            desc->place = place;
            desc->size = (numbers[i] + k * size) & RIP_PLACE_MASK;
            rc = get_damaged("a");
            CHECK(rc == -EBADMSG || (desc->size <= good.size));
            desc->size = size;
        }
    }
    for (uint32_t k = 0; k < RIP_MAX_REGIONS; k++) { /* all the same, and none is right */
        p->lane->regions[k] = (struct rip_region){good.lo + 65536, good.size};
    }
    CHECK_IS(get_damaged("a"), -EBADMSG);
    p->lane->regions[0] = good;
    CHECK_IS(get_damaged("a"), 1);
    if (strcmp(CHANNEL, MEMORY) != 0) { /* somebody makes the file shorter, which no seal prevents */
        CHECK_IS(truncate(path_of(CHANNEL, "lane-0"), (off_t)(rip_lane_size(SLOTS, CAPACITY))), 0);
        CHECK_IS(get_damaged("b"), -EBADMSG);
    }
    close_producer(p);
    close_producer(keeper);
    CHECK(is_over());
}

/* ---- at random ---- */

#define KEPT 12u

struct reader {
    struct rip_consumer *consumer;
    struct rip_message kept[KEPT];
    unsigned count;
};

static void release_any(struct reader *reader, struct random *random) {
    uint64_t i = random_below(random, reader->count);
    struct rip_message *message = &reader->kept[i];
    CHECK(is_filled(message->data, message->length, 1, message->seq));
    rip_release(reader->consumer, message);
    *message = reader->kept[--reader->count];
}

static void read_some(struct reader *reader, struct random *random) {
    struct rip_message *message = &reader->kept[reader->count];
    if (reader->count < KEPT && rip_get(reader->consumer, message, 0) == 1) {
        CHECK(is_filled(message->data, message->length, 1, message->seq));
        reader->count++;
        if (random_below(random, 2)) {
            rip_acknowledge(reader->consumer, message);
        }
    }
    while (reader->count && random_below(random, 2)) {
        release_any(reader, random);
    }
}

static void at_random(void) {
    static const uint32_t flags[] = {RIP_OLDEST, RIP_SHARED, RIP_LOSSY};
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct random random = {seed};
        struct reader readers[3] = {{0}};
        struct rip_producer *p;
        enum rip_overflow overflow = (enum rip_overflow)(seed % 3);
        CHECK_IS(rip_producer_open(CHANNEL, CAPACITY, SLOTS, overflow, RIP_WAIT_BLOCK, NULL, &p), 0);
        for (unsigned i = 0; i < 3; i++) {
            const char name[] = {(char)('a' + i), 0};
            readers[i].consumer = open_consumer(CHANNEL, name, flags[i]);
        }
        for (unsigned i = 0; i < 250; i++) {
            uint64_t length =
                random_below(&random, 3) ? random_below(&random, 2 * RIP_PAGE) : random_below(&random, 4 * CAPACITY);
            int rc = put_filled(p, length, p->tail, 0);
            CHECK(rc == 0 || rc == -ETIMEDOUT || rc == -ENOBUFS);
            CHECK(rip_large_bytes(p) <= (3 * KEPT + 3) * 4 * CAPACITY);
            for (unsigned k = 0; k < 3; k++) {
                read_some(&readers[k], &random);
            }
        }
        for (unsigned i = 0; i < 3; i++) {
            while (readers[i].count || rip_get(readers[i].consumer, &readers[i].kept[0], 0) == 1) {
                readers[i].count += readers[i].count ? 0 : 1;
                release_any(&readers[i], &random);
            }
        }
        CHECK_IS(put_filled(p, RIP_LARGE, p->tail, 0), 0);
        CHECK_IS(rip_large_count(p), 0);
        close_producer(p);
        for (unsigned i = 0; i < 3; i++) {
            close_consumer(readers[i].consumer);
        }
#ifdef NAMELESS
        make_anonymous_channel();
#endif
    }
}

int main(void) {
    run("a message longer than the lane passes, and its memory is given back", passes);
    run("two such messages can wait, and those in use do not count", waits);
    run("views on such messages stay valid and stop nobody", views_stay);
    run("a lane that drops the oldest messages drops long ones too", drops_old);
    run("a lane that refuses the newest messages refuses the third one that waits", drops_new);
    run("a producer that closes leaves such messages, and frees what is read", is_left_behind);
    run("reservations and batches can be longer than the lane", reserves);
#ifndef __SANITIZE_ADDRESS__ /* it reserves terabytes of address space */
    run("such messages are mapped when they are met, and what cannot be mapped is not lost", address_space);
#endif
    run("a message is as long as memory allows, or as the program", limits);
    run("without memory for such a message nothing is lost", has_no_memory);
    run("messages of all lengths, got and released at random, stay whole", at_random);
    run("damaged numbers do not lead outside of the file", damaged);
    return 0;
}
