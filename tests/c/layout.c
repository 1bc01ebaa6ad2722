/* The files of a channel: their layout, and what happens if they are damaged. Their contents are input: they may be
 * refused, but must not crash a process. */
#include "check.h"

#define SLOTS 8u
#define CAPACITY (2 * RIP_PAGE)

static uint64_t lane_size(void) { return rip_lane_size(SLOTS, CAPACITY); }

/* ---- files as bytes ---- */

static void copy_file(const char *from, const char *to, const char *file) {
    char path[512];
    static char data[1 << 18];
    struct stat st;
    strcpy(path, path_of(from, file));
    int in = open(path, O_RDONLY | O_CLOEXEC);
    int out = open(path_of(to, file), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(in >= 0 && out >= 0);
    ssize_t size = read(in, data, sizeof data); /* behind it are lanes of the table that are not in use */
    CHECK(size > 0);
    CHECK_IS(write(out, data, (size_t)size), size);
    CHECK_IS(fstat(in, &st), 0);
    CHECK_IS(ftruncate(out, st.st_size), 0);
    close(in);
    close(out);
}

/* Makes "bad", a copy of channel "good". No process has its locks, so its members are dead. */
static void make_bad(void) {
    CHECK_IS(mkdir(path_of("bad", NULL), 0700), 0);
    copy_file("good", "bad", "control");
    copy_file("good", "bad", "lane-0");
}

static void remove_bad(void) {
    nftw(path_of("bad", NULL), remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    CHECK(!exists("bad", NULL));
}

static void patch(const char *file, uint64_t offset, const void *bytes, size_t size) {
    int fd = open(path_of("bad", file), O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_IS(pwrite(fd, bytes, size, (off_t)offset), size);
    close(fd);
}

static void patch64(const char *file, uint64_t offset, uint64_t value) { patch(file, offset, &value, sizeof value); }

static void patch32(const char *file, uint64_t offset, uint32_t value) { patch(file, offset, &value, sizeof value); }

static void resize(const char *file, uint64_t size) { CHECK_IS(truncate(path_of("bad", file), (off_t)size), 0); }

static int try_producer(void) {
    struct rip_producer *p = NULL;
    int rc = rip_producer_open("bad", RIP_PAGE, 4, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p);
    if (rc == 0) {
        close_producer(p);
    }
    return rc;
}

static int try_consumer_at(uint32_t start) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    int rc = rip_consumer_open("bad", "g", start, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder);
    if (rc == 0) {
        close_consumer(c);
    }
    return rc;
}

static int try_consumer(void) { return try_consumer_at(RIP_OLDEST); }

/* Reads a damaged lane. Returns the first error of rip_get, and counts the messages before it. */
static int read_bad(uint64_t *messages) {
    struct rip_consumer *c = open_consumer("bad", "g", RIP_OLDEST);
    struct rip_message message;
    int rc;
    *messages = 0;
    while ((rc = rip_get(c, &message, 0)) == 1) {
        CHECK(message.data >= message.lane->payloads);
        CHECK(message.length <= CAPACITY);
        CHECK((uint64_t)(message.data - message.lane->payloads) <= CAPACITY - message.length);
        rip_message_time(message.lane, message.ticks);
        rip_release(c, &message);
        ++*messages;
    }
    close_consumer(c);
    return rc;
}

static struct rip_producer *good;

static void begin(void) {
    good = open_producer("good", CAPACITY - 100, SLOTS - 1);
    for (uint64_t n = 0; n < 3; n++) {
        CHECK_IS(put_number(good, n, 0), 0);
    }
}

static void end(void) {
    close_producer(good);
    close_consumer(open_consumer("good", "g", RIP_OLDEST));
}

/* ---- layout ---- */

static uint64_t at64(const char *file, uint64_t offset) {
    uint64_t value;
    int fd = open(path_of("good", file), O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_IS(pread(fd, &value, sizeof value, (off_t)offset), sizeof value);
    close(fd);
    return value;
}

/* allocated: the bytes, from the start, that have memory. */
static void stat_of(const char *file, int64_t size, int64_t allocated, mode_t mode) {
    struct stat st;
    CHECK_IS(stat(path_of("good", file), &st), 0);
    CHECK_IS(st.st_mode & 07777, mode);
    CHECK(size == 0 || st.st_size == size);
    CHECK(st.st_blocks * 512 >= allocated);
}

static void layout(void) {
    mode_t before = umask(027); /* must have no effect */
    begin();
    umask(before);
    stat_of("..", 0, 0, 0700);
    stat_of(NULL, 0, 0, 0700);
    stat_of("control", 2277376, 49152 + 2176, 0600); /* the tables, with one lane */
    stat_of("lane-0", 4096 + 4096 + CAPACITY, 4096 + 4096 + CAPACITY, 0600);
    CHECK_IS(lane_size(), 4096 + 4096 + CAPACITY);
    for (unsigned i = 0; i < 2; i++) {
        const char *file = i ? "lane-0" : "control";
        CHECK_IS(at64(file, 0), RIP_MAGIC);
        CHECK_IS(at64(file, 8), (uint64_t)(i ? RIP_FILE_LANE : RIP_FILE_CONTROL) << 32 | RIP_ABI);
        CHECK_IS(at64(file, 16), i ? lane_size() : 2277376);
    }
    CHECK_IS(at64("lane-0", 40), SLOTS);
    CHECK_IS(at64("lane-0", 48), CAPACITY);
    CHECK_IS(at64("lane-0", 56), 8192);
    CHECK_IS(at64("lane-0", 128), 3); /* tail */
    CHECK_IS(at64("lane-0", 256), 0); /* reclaimed */
    for (uint64_t n = 0; n < 3; n++) {
        CHECK_IS(at64("lane-0", 4096 + 32 * n) & UINT32_MAX, n + 1);
        CHECK_IS(at64("lane-0", 4096 + 32 * n + 16), 64 * n | (uint64_t)RIP_BYTES << 48);
        CHECK_IS(at64("lane-0", 4096 + 32 * n + 24), 8);
        CHECK_IS(at64("lane-0", 8192 + 64 * n), n);
    }
    CHECK_IS(at64("control", 49152) & UINT32_MAX, RIP_LANE_LIVE);
    CHECK_IS(at64("control", 49160), 0); /* id of the lane */
    CHECK_IS(at64("control", 136), 1);   /* id of the next lane */
    end();
}

static void modes(void) {
    struct rip_access access = {.mode = 0640, .group = UINT32_MAX};
    CHECK_IS(rip_producer_open("good", CAPACITY, SLOTS, RIP_BLOCK, RIP_WAIT_BLOCK, &access, &good), -EINVAL);
    access.mode = 0660;
    CHECK_IS(rip_producer_open("good", CAPACITY, SLOTS, RIP_BLOCK, RIP_WAIT_BLOCK, &access, &good), 0);
    stat_of("control", 0, 0, 0660);
    stat_of("lane-0", 0, 0, 0660);
    end();
}

static void copies_can_be_read(void) { /* otherwise the tests below would pass for the wrong reason */
    uint64_t messages;
    begin();
    make_bad();
    CHECK_IS(read_bad(&messages), -EOWNERDEAD);
    CHECK_IS(messages, 3);
    CHECK(!exists("bad", NULL));
    end();
}

/* ---- damage ---- */

static void damaged_control(void) {
    static const struct {
        uint64_t offset, value;
        int rc;
    } damages[] = {
        {0, 0, -EBADMSG},
        {0, RIP_MAGIC ^ 1, -EBADMSG},
        {8, (uint64_t)RIP_FILE_CONTROL << 32 | (RIP_ABI + 1), -EPROTONOSUPPORT},
        {8, (uint64_t)RIP_FILE_CONTROL << 32, -EPROTONOSUPPORT},
        {8, (uint64_t)RIP_FILE_LANE << 32 | RIP_ABI, -EBADMSG},
        {16, 0, -EBADMSG},
        {16, 2277376 + RIP_PAGE, -EBADMSG},
        {16, UINT64_MAX, -EBADMSG},
    };
    static const uint64_t sizes[] = {0, 1, 39, 40, 4096, 155647, 155649};
    begin();
    make_bad();
    for (unsigned i = 0; i < sizeof damages / sizeof *damages; i++) {
        patch64("control", damages[i].offset, damages[i].value);
        CHECK_IS(try_producer(), damages[i].rc);
        CHECK_IS(try_consumer(), damages[i].rc);
        copy_file("good", "bad", "control");
    }
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        resize("control", sizes[i]);
        CHECK_IS(try_producer(), -EBADMSG);
        CHECK_IS(try_consumer(), -EBADMSG);
        if (sizes[i] >= 24) { /* the same with this size in its identity */
            patch64("control", 16, sizes[i]);
            CHECK_IS(try_producer(), -EBADMSG);
            CHECK_IS(try_consumer(), -EBADMSG);
        }
        copy_file("good", "bad", "control");
    }
    CHECK(exists("bad", "control") && exists("bad", "lane-0")); /* it must not be removed */
    remove_bad();
    end();
}

static void damaged_lane(void) {
    const uint64_t size = lane_size();
    const struct {
        uint64_t offset, value;
        int rc;
    } damages[] = {
        {0, RIP_MAGIC + 1, -EBADMSG},
        {8, (uint64_t)RIP_FILE_LANE << 32 | (RIP_ABI + 1), -EPROTONOSUPPORT},
        {8, (uint64_t)RIP_FILE_CONTROL << 32 | RIP_ABI, -EBADMSG},
        {24, 1, -EBADMSG}, /* the id of another lane */
        {16, size - 1, -EBADMSG},
        {16, size + RIP_PAGE, -EBADMSG},
        {16, UINT64_MAX, -EBADMSG},
        {40, 0, -EBADMSG},
        {40, 7, -EBADMSG},
        {40, 2 * SLOTS * 128, -EBADMSG},
        {40, 2 * RIP_MAX_SLOTS, -EBADMSG},
        {40, UINT64_C(1) << 63, -EBADMSG},
        {40, UINT64_MAX, -EBADMSG},
        {48, 0, -EBADMSG},
        {48, CAPACITY + 1, -EBADMSG},
        {48, CAPACITY + RIP_PAGE, -EBADMSG},
        {48, RIP_MAX_CAPACITY + RIP_PAGE, -EBADMSG},
        {48, UINT64_MAX - RIP_PAGE + 1, -EBADMSG},
        {56, 0, -EBADMSG},
        {56, 8192 + 64, -EBADMSG},
        {56, UINT64_MAX, -EBADMSG},
    };
    const uint64_t sizes[] = {0, 1, 39, 40, 100, 4095, 4096, 8192, size - RIP_PAGE, size - 1, size + 1};
    begin();
    for (unsigned i = 0; i < sizeof damages / sizeof *damages; i++) {
        make_bad();
        patch64("lane-0", damages[i].offset, damages[i].value);
        CHECK_IS(try_consumer(), damages[i].rc);
        remove_bad();
    }
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        /* A lane that is too short for a tail counts as empty. It is removed when its dead producer is reaped. */
        int rc = sizes[i] < offsetof(struct rip_lane, tail) + 8 ? 0 : -EBADMSG;
        make_bad();
        resize("lane-0", sizes[i]);
        CHECK_IS(try_consumer(), sizes[i] < size ? rc : 0); /* it may be longer, for messages beyond its capacity */
        remove_bad();
        make_bad(); /* the same with this size in its identity */
        resize("lane-0", sizes[i]);
        if (sizes[i] >= 24) {
            patch64("lane-0", 16, sizes[i]);
        }
        CHECK_IS(try_consumer(), rc);
        remove_bad();
    }
    end();
}

static void fails_to_attach(void) {
    uint64_t messages;
    begin();
    for (uint32_t start = RIP_OLDEST; start <= RIP_NEWEST; start++) {
        make_bad();
        patch64("lane-0", 40, 7);
        CHECK_IS(try_consumer_at(start), -EBADMSG);
        CHECK_IS(try_consumer_at(start), -EBADMSG); /* the failed consumer has left, so the group is free */
        patch64("lane-0", 40, SLOTS);
        CHECK_IS(read_bad(&messages), -EOWNERDEAD);
        CHECK_IS(messages, 3);
    }
    end();
}

static void damaged_numbers(void) {
    const struct {
        uint64_t offset, value;
        int rc;
        uint64_t messages;
    } damages[] = {
        {128, SLOTS + 1, -EBADMSG, 0}, /* tail */
        {128, UINT64_MAX, -EBADMSG, 0},
        {128, 2, -EOWNERDEAD, 2},
        {128, SLOTS, -EOWNERDEAD, SLOTS}, /* the other messages are empty: the file was zero */
        {256, UINT64_MAX, -EBADMSG, 0},   /* reclaimed: a new group starts there */
        {256, 2, -EOWNERDEAD, 1},
        {4096, 0, -EOWNERDEAD,
         3}, /* number of the first message in its slot: the producer is dead, so the tail counts */
        {4096, UINT64_MAX, -EOWNERDEAD, 3},
        {4112, 1, -EBADMSG, 0}, /* offset of the first message */
        {4112, 63, -EBADMSG, 0},
        {4112, CAPACITY, -EBADMSG, 0},
        {4112, CAPACITY + 64, -EBADMSG, 0},
        {4112, UINT64_MAX - 63, -EBADMSG, 0},
        {4112, CAPACITY - 64, -EOWNERDEAD, 3},
        {4120, CAPACITY, -EOWNERDEAD, 3}, /* length of the first message */
        {4120, CAPACITY + 1, -EBADMSG, 0},
        {4120, UINT64_MAX, -EBADMSG, 0},
        {4096 + 32 + 24, CAPACITY - 64, -EOWNERDEAD, 3}, /* length of the second message */
        {4096 + 32 + 24, CAPACITY - 63, -EBADMSG, 1},
        {4104, UINT64_MAX, -EOWNERDEAD, 3}, /* ticks */
        {4104, 0, -EOWNERDEAD, 3},
        {64, UINT64_MAX, -EOWNERDEAD, 3}, /* clock and pid */
        {64, 0, -EOWNERDEAD, 3},
        {72, UINT64_MAX, -EOWNERDEAD, 3}, /* the moment that was read on both clocks */
        {72, 0, -EOWNERDEAD, 3},
        {80, UINT64_MAX, -EOWNERDEAD, 3},
        {80, 0, -EOWNERDEAD, 3},
    };
    begin();
    for (unsigned i = 0; i < sizeof damages / sizeof *damages; i++) {
        uint64_t messages;
        make_bad();
        patch64("lane-0", damages[i].offset, damages[i].value);
        CHECK_IS(read_bad(&messages), damages[i].rc);
        CHECK_IS(messages, damages[i].messages);
        CHECK(!exists("bad", NULL));
    }
    end();
}

static void tail_goes_back(void) {
    for (uint64_t tail = 0; tail < 4; tail++) {
        for (int latest = 0; latest < 2; latest++) {
            struct rip_message message;
            begin();
            CHECK_IS(put_number(good, 3, 0), 0);
            struct rip_consumer *c = open_consumer("good", "g", RIP_OLDEST);
            CHECK_IS(get_number(c, 0), 0); /* the consumer has seen a tail of 4 */
            atomic_store_explicit(&good->lane->tail, tail, memory_order_relaxed);
            int rc = latest ? rip_get_latest(c, &message, 0) : rip_get(c, &message, 0);
            CHECK(rc == 1 || rc == -EBADMSG);
            if (rc == 1) {
                rip_release(c, &message);
            }
            atomic_store_explicit(&good->lane->tail, 4, memory_order_relaxed);
            close_producer(good);
            close_consumer(c);
        }
    }
}

static void lane_vanishes(void) {
    static const uint32_t hows[] = {RIP_OLDEST, RIP_SHARED, RIP_DURABLE};
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned ahead = 0; ahead < 2; ahead++) { /* taken in order, or selected */
            struct rip_message released, other;
            struct rip_filter filter = {.types = (const uint32_t[]){7}, .count = 1};
            uint64_t number = 7;
            int32_t holder;
            begin();
            CHECK_IS(rip_put(good, &number, sizeof number, 7, RIP_BYTES, 0), 0);
            struct rip_consumer *c = open_consumer("good", "g", hows[i]);
            CHECK_IS(ahead ? rip_get_selected(c, &filter, &released, 0) : rip_get(c, &released, 0), 1);
            atomic_store_explicit(&good->lane->closed, 1, memory_order_relaxed);
            atomic_store_explicit(&good->entry->state, RIP_LANE_FREE, memory_order_relaxed);
            atomic_fetch_add_explicit(&good->ch.control->lanes_changed, 1, memory_order_relaxed);
            for (int rc = 1; rc == 1;) { /* it reads the table of lanes */
                rc = rip_get(c, &other, 0);
                if (rc == 1) {
                    rip_release(c, &other);
                }
            }
            memcpy(&number, released.data, sizeof number);
            CHECK_IS(number, ahead ? 7 : 0);
            rip_release(c, &released);
            close_consumer(c);
            close_producer(good);
            if (hows[i] & RIP_DURABLE) {
                CHECK_IS(rip_remove_group("good", "g", &holder), 0);
            }
            rip_remove("good", &holder);
        }
    }
}

static void damaged_cursor(void) {
    unsigned char *payload;
    begin();
    struct rip_consumer *c = open_consumer("good", "g", RIP_OLDEST);
    _Atomic uint64_t *released = &good->entry->cursors[c->group].released;
    atomic_store_explicit(released, 4, memory_order_relaxed); /* there are three messages */
    CHECK_IS(rip_reserve(good, CAPACITY, &payload), -EBADMSG);
    atomic_store_explicit(released, UINT64_MAX, memory_order_relaxed);
    CHECK_IS(rip_reserve(good, CAPACITY, &payload), -EBADMSG);
    CHECK(rip_producer_backlog(good) <= SLOTS);
    atomic_store_explicit(released, 0, memory_order_relaxed);
    CHECK_IS(rip_reserve(good, CAPACITY, &payload), -EAGAIN);
    close_consumer(c);
    atomic_store_explicit(&good->entry->base_seq, UINT64_MAX, memory_order_relaxed);
    CHECK_IS(rip_reserve(good, CAPACITY, &payload), -EBADMSG);
    close_producer(good);
}

/* A producer that reclaims reads offsets back from its descriptors. */
static void damaged_offsets(void) {
    struct random r = {3};
    begin();
    struct rip_consumer *c = open_consumer("good", "g", RIP_OLDEST);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t length = random_below(&r, random_below(&r, 2) ? 200 : 3000);
        unsigned char *payload;
        int rc = rip_reserve(good, length, &payload);
        if (rc == 0) {
            CHECK(payload >= good->payloads && payload + length <= good->payloads + CAPACITY);
            CHECK_IS(rip_publish(good, length, 0, RIP_BYTES), 0);
        }
        struct rip_desc *desc = &good->lane->desc[random_below(&r, SLOTS)];
        uint64_t how = random_below(&r, 4);
        desc->place = how == 0   ? random_next(&r)
                      : how == 1 ? random_below(&r, 2 * CAPACITY)
                      : how == 2 ? desc->place
                                 : desc->place + random_below(&r, 64);
        if (rc != 0 || random_below(&r, 3) == 0) { /* moves the cursor as a consumer would */
            _Atomic uint64_t *released = &good->entry->cursors[c->group].released;
            uint64_t now = atomic_load_explicit(released, memory_order_relaxed);
            now += random_below(&r, good->tail - now + 1);
            atomic_store_explicit(released, now, memory_order_relaxed);
        }
    }
    close_consumer(c);
    close_producer(good);
}

/* A wrong number in the next slot of a live lane means that there is no message yet. */
static void damaged_publications(void) {
    static const uint32_t wrong[] = {0, 3, 5, 4 + SLOTS, 4 + UINT32_C(0x80000000), UINT32_MAX};
    struct rip_message messages[SLOTS];
    begin();
    struct rip_consumer *c = open_consumer("good", "g", RIP_OLDEST);
    for (uint64_t n = 0; n < 3; n++) {
        CHECK_IS(get_number(c, 0), n);
    }
    CHECK_IS(put_number(good, 3, 0), 0);
    _Atomic uint32_t *published = &good->lane->desc[3 % SLOTS].published;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        atomic_store_explicit(published, wrong[i], memory_order_relaxed);
        CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    }
    atomic_store_explicit(published, 4, memory_order_relaxed);
    CHECK_IS(get_number(c, 0), 3);
    for (uint64_t n = 4; n < 4 + SLOTS; n++) {
        CHECK_IS(put_number(good, n, 0), 0);
        CHECK_IS(rip_get(c, &messages[n % SLOTS], 0), 1);
    }
    /* all slots hold messages that are not released, so there cannot be another one */
    atomic_store_explicit(&good->lane->desc[4 % SLOTS].published, 5 + SLOTS, memory_order_relaxed);
    CHECK_IS(get_nothing(c, 0), -EBADMSG);
    for (uint64_t n = 4; n < 4 + SLOTS; n++) {
        rip_release(c, &messages[n % SLOTS]);
    }
    close_producer(good);
    close_consumer(c);
}

enum impostor { A_DIRECTORY, A_LINK, A_PIPE };

static void other_kinds_of_files(void) {
    begin();
    for (unsigned i = 0; i < 2; i++) {
        const char *file = i ? "lane-0" : "control";
        for (enum impostor what = A_DIRECTORY; what <= A_PIPE; what++) {
            char target[512];
            strcpy(target, path_of("good", file)); /* a valid file, but not in this directory */
            make_bad();
            const char *path = path_of("bad", file);
            CHECK_IS(unlink(path), 0);
            CHECK_IS(what == A_DIRECTORY ? mkdir(path, 0700)
                     : what == A_LINK    ? symlink(target, path)
                                         : mkfifo(path, 0600),
                     0);
            alarm(5); /* opening a pipe waits for its other end, unless O_NONBLOCK is set */
            int rc = try_consumer();
            alarm(0);
            CHECK(i ? rc == 0 : rc < 0); /* a lane of a dead producer that cannot be read counts as empty */
            CHECK(exists("good", file));
            remove_bad();
        }
    }
    end();
}

/* The producer is alive, so no process removes the lane first. */
static void pipe_instead_of_a_lane(void) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    begin();
    CHECK_IS(unlink(path_of("good", "lane-0")), 0);
    CHECK_IS(mkfifo(path_of("good", "lane-0"), 0600), 0);
    alarm(5);
    CHECK_IS(rip_consumer_open("good", "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -EBADMSG);
    close_producer(good); /* its messages are lost, which is not kept secret */
    CHECK_IS(rip_consumer_open("good", "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -EBADMSG);
    alarm(0);
    CHECK_IS(rip_remove("good", &holder), 0);
    CHECK(!exists("good", NULL));
}

/* The producer was killed before the file had a name; or the process that removed the file was killed before it changed
 * the table. */
static void lane_without_a_file(void) {
    static const uint32_t states[] = {RIP_LANE_LIVE, RIP_LANE_ENDED, RIP_LANE_DEAD};
    uint64_t messages;
    begin();
    for (unsigned i = 0; i < 3; i++) {
        make_bad();
        CHECK_IS(unlink(path_of("bad", "lane-0")), 0);
        patch32("control", offsetof(struct rip_control, lanes), states[i]);
        CHECK_IS(read_bad(&messages), -ENODATA);
        CHECK_IS(messages, 0);
        CHECK(!exists("bad", NULL));
    }
    make_bad(); /* now without a dead member to be reaped */
    CHECK_IS(unlink(path_of("bad", "lane-0")), 0);
    patch32("control", offsetof(struct rip_control, members) + RIP_MAX_CONSUMERS * sizeof(struct rip_member),
            RIP_NOBODY);
    patch32("control", offsetof(struct rip_control, lanes), RIP_LANE_ENDED);
    CHECK_IS(read_bad(&messages), -ENODATA);
    CHECK(!exists("bad", NULL));
    end();
}

static void random_damage(void) {
    begin();
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        struct random r = {seed};
        struct rip_consumer *c = NULL;
        struct rip_producer *p = NULL;
        struct rip_message message;
        int32_t holder;
        make_bad();
        for (uint64_t n = 1 + random_below(&r, 8); n > 0; n--) {
            static const uint64_t values[] = {0, 1, 2, 63, 64, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 63};
            uint64_t value = random_below(&r, 2) ? values[random_below(&r, 8)] : random_next(&r);
            size_t size = 1u << random_below(&r, 4);
            uint64_t what = random_below(&r, 8);
            /* first page and tables of control, header and descriptors of the lane; never the sizes, which decide what
             * is mapped */
            uint64_t offset = what == 0   ? 128 + random_below(&r, 400)
                              : what == 1 ? 4096 + random_below(&r, 4096)
                              : what == 2 ? 49152 + random_below(&r, 2 * 2176)
                              : what == 3 ? 12288 + random_below(&r, 1024)
                              : what == 4 ? 45056 + random_below(&r, 8192)
                              : what == 5 ? 24 + random_below(&r, 250)
                                          : 4096 + random_below(&r, 256);
            patch(what < 5 ? "control" : "lane-0", offset, &value, size);
        }
        alarm(5);
        if (rip_consumer_open("bad", "g", seed % 2 ? RIP_OLDEST : RIP_NEWEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c,
                              &holder) == 0) {
            for (unsigned i = 0; i < 10 && rip_get(c, &message, 0) == 1; i++) {
                CHECK((uint64_t)(message.data - message.lane->payloads) <= CAPACITY - message.length);
                rip_release(c, &message);
            }
        }
        if (rip_producer_open("bad", CAPACITY, SLOTS, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p) == 0) {
            struct rip_slowest slowest;
            for (uint64_t i = 0; i < 20; i++) {
                rip_put(p, &i, sizeof i, 0, RIP_BYTES, 0);
            }
            rip_producer_slowest(p, &slowest);
        }
        if (c && rip_get_latest(c, &message, 0) == 1) {
            rip_release(c, &message);
        }
        if (p) {
            rip_producer_close(p);
            rip_producer_free(p);
        }
        if (c) {
            rip_consumer_close(c);
            rip_consumer_free(c);
        }
        alarm(0);
        nftw(path_of("bad", NULL), remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    }
    end();
}

int main(void) {
    run("a channel is a directory with a file for the tables and one for each lane, as layout.h says", layout);
    run("the files have the requested mode", modes);
    run("the copy of a channel can be read, and its producer counts as dead", copies_can_be_read);
    run("a damaged control file is refused and not changed", damaged_control);
    run("a damaged lane file is refused", damaged_lane);
    run("a first consumer that fails to attach loses no message", fails_to_attach);
    run("damaged numbers in a lane lead to no byte outside of it", damaged_numbers);
    run("a tail that moves back is damage", tail_goes_back);
    run("a wrong number in a slot is no message", damaged_publications);
    run("messages that are taken stay readable when their lane vanishes", lane_vanishes);
    run("a cursor ahead of the tail is damage", damaged_cursor);
    run("a producer checks each offset that it reads back", damaged_offsets);
    run("directories, links and pipes are not accepted as files of a channel", other_kinds_of_files);
    run("a pipe instead of a lane keeps no process waiting", pipe_instead_of_a_lane);
    run("a lane whose file is gone counts as empty", lane_without_a_file);
    run("no damage crashes or hangs a process", random_damage);
    return 0;
}
