/* When the memory of a lane is allocated, and what happens if there is none. */
#include "check.h"
#include "stream/receiver.h"

#include <sys/mount.h>
#include <sys/socket.h>

#define CAPACITY (UINT64_C(64) << 20)
#define SLOTS 1024u

/* ---- replacements of libc functions, for the core too ---- */

static uint64_t allowed = UINT64_MAX; /* bytes that may still be allocated */
static unsigned allocations;

int posix_fallocate(int fd, off_t offset, off_t length) {
    allocations++;
    if ((uint64_t)length > allowed) {
        return ENOSPC;
    }
    allowed -= allowed == UINT64_MAX ? 0 : (uint64_t)length;
    return syscall(SYS_fallocate, fd, 0, offset, length) == 0 ? 0 : errno;
}

/* ---- what is allocated ---- */

static uint64_t memory_of(const char *file) {
    struct stat st;
    if (strcmp(CHANNEL, MEMORY) == 0) {
        CHECK_IS(fstat(MEMORY_FD, &st), 0);
    } else {
        CHECK_IS(stat(path_of(CHANNEL, file), &st), 0);
    }
    return (uint64_t)st.st_blocks * 512;
}

/* Returns the bytes that are allocated for the first lane. In an anonymous channel the size of all other parts of the
 * file is known. */
static uint64_t lane_memory(void) {
    uint64_t tables = rip_round_up(RIP_CONTROL_FIXED + sizeof(struct rip_lane_entry), RIP_PAGE); /* with one lane */
    return strcmp(CHANNEL, MEMORY) == 0 ? memory_of(NULL) - tables : memory_of("lane-0");
}

/* Checks that neither producer nor consumer has accessed memory beyond what is allocated: an access would have
 * allocated it. */
static void check_memory(const struct rip_producer *p) {
    CHECK_IS(lane_memory(), p->mapping.allocated);
    CHECK_IS(p->arena.allocated, p->mapping.allocated - rip_arena_offset(p->slots));
}

static struct rip_producer *open_with(uint64_t capacity, uint32_t how) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open(CHANNEL, capacity, SLOTS, how, RIP_WAIT_BLOCK, NULL, &p), 0);
    return p;
}

/* In an anonymous channel a page of each removed lane stays. */
static void start_with_a_new_channel(void) {
    if (strcmp(CHANNEL, MEMORY) == 0) {
        make_anonymous_channel();
    }
}

static unsigned char data[4 << 20];

static int put_filled(struct rip_producer *p, uint64_t length, uint64_t number) {
    fill(data, length, 1, number);
    return put(p, data, length, RIP_FOREVER);
}

static void get_filled(struct rip_consumer *c, uint64_t number) {
    struct rip_message message;
    CHECK_IS(rip_get(c, &message, 0), 1);
    CHECK(is_filled(message.data, message.length, 1, number));
    rip_release(c, &message);
}

/* ---- tests ---- */

static void allocates_what_messages_need(void) {
    struct rip_producer *p = open_with(CAPACITY, RIP_BLOCK);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(p->mapping.allocated, RIP_STEP);
    for (uint64_t i = 0; i < 20000; i++) { /* small messages, and at most as many waiting as there are slots */
        CHECK_IS(put_filled(p, 100, i), 0);
        get_filled(c, i);
    }
    CHECK_IS(p->mapping.allocated, RIP_STEP);
    for (uint64_t i = 0; i < 100; i++) {
        CHECK_IS(put_filled(p, 1 << 20, i), 0);
        get_filled(c, i);
    }
    CHECK(p->mapping.allocated <= 3u << 20);
    check_memory(p);
    uint64_t sent = 0, capacity = p->arena.capacity; /* no consumer reads: all of the capacity is used, and no more */
    while (rip_put(p, data, 1 << 20, 0, RIP_BYTES, 0) == 0) {
        sent++;
    }
    CHECK(sent >= 62 && p->arena.allocated >= sent << 20 && p->arena.allocated <= capacity);
    check_memory(p);
    close_producer(p);
    close_consumer(c);
}

/* Its header and its slots stay, and the arena up to the last message. */
static void shrinks_at_its_end(void) {
    const uint64_t length = 2 * RIP_PAGE;
    start_with_a_new_channel();
    struct rip_producer *p = open_with(CAPACITY, RIP_BLOCK);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_IS(put_filled(p, 1 << 20, i), 0);
        get_filled(c, i);
    }
    while (p->tail % p->slots != p->slots - 1) { /* the slots in use are the last one and the first ones */
        CHECK_IS(put_filled(p, length, p->tail), 0);
        get_filled(c, p->tail - 1);
    }
    uint64_t first = p->tail;
    CHECK_IS(put_filled(p, length, first), 0);
    CHECK_IS(put_filled(p, length, first + 1), 0);
    CHECK(lane_memory() >= 1 << 20);
    close_producer(p);
    CHECK(lane_memory() <= rip_arena_offset(SLOTS) + 3 * length || is_emulated());
    uint64_t before = lane_memory();
    get_filled(c, first);
    CHECK_IS(lane_memory(), before); /* the consumer touches nothing else */
    get_filled(c, first + 1);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);

    start_with_a_new_channel();
    p = open_with(4 << 20, RIP_PREALLOCATE); /* the messages wait for a first consumer */
    CHECK_IS(put_filled(p, 100, 0), 0);
    close_producer(p);
    CHECK(lane_memory() <= rip_arena_offset(SLOTS) + RIP_PAGE || is_emulated());
    c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    get_filled(c, 0);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);

    start_with_a_new_channel();
    p = open_with(RIP_STEP, RIP_DROP_OLD);
    for (uint64_t i = 0; i < 100; i++) {
        CHECK_IS(put_filled(p, RIP_STEP / 4, i), 0);
    }
    close_producer(p);
    c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (uint64_t i = 96; i < 100; i++) {
        get_filled(c, i);
    }
    close_consumer(c);
}

static void all_at_once(void) {
    struct rip_producer *p = NULL;
    allowed = 4 << 20;
    CHECK_IS(rip_producer_open(CHANNEL, 4 << 20, SLOTS, RIP_PREALLOCATE, RIP_WAIT_BLOCK, NULL, &p), -ENOSPC);
    CHECK(is_over());
    allowed = UINT64_MAX;
    start_with_a_new_channel();
    p = open_with(4 << 20, RIP_DROP_NEW | RIP_PREALLOCATE);
    CHECK_IS(p->mapping.allocated, p->mapping.size);
    CHECK_IS(p->mapping.fd, -1);
    check_memory(p);
    unsigned before = allocations;
    while (rip_put(p, data, 4096, 0, RIP_BYTES, 0) == 0) {
    }
    CHECK_IS(allocations, before);
    close_producer(p);
    CHECK_IS(rip_remove(CHANNEL, &(int32_t){0}), 0);
}

/* With memory for this many steps. */
static void without_more(uint64_t steps, unsigned most_held) {
    struct random r = {1 + steps};
    struct rip_producer *p = open_with(CAPACITY, RIP_BLOCK);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    uint64_t sent = 0, got = 0, refused = 0;
    allowed = steps * RIP_STEP;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t start = rip_now(), length = random_below(&r, random_below(&r, 2) ? 3000 : 900000);
        int rc = put_filled(p, length, sent); /* if it waited, it would wait for ever */
        CHECK(rc == 0 || (rc == -ENOSPC && rip_now() - start < 1000 * MS));
        sent += rc == 0;
        refused += rc != 0;
        check_memory(p);
        while (sent - got > most_held || (rc != 0 && got < sent)) {
            get_filled(c, got++);
        }
    }
    CHECK(refused > 0);
    unsigned char *payload;
    CHECK_IS(rip_reserve(p, CAPACITY / 2, &payload), -ENOSPC); /* a small message still finds memory */
    CHECK_IS(rip_wait_room(p, CAPACITY / 2, RIP_FOREVER), -ENOSPC);
    CHECK_IS(put_filled(p, 100, sent++), 0);
    allowed = UINT64_MAX;
    CHECK_IS(rip_reserve(p, CAPACITY / 2, &payload), 0);
    CHECK_IS(put_filled(p, sizeof data, sent++), 0);
    while (got < sent) {
        get_filled(c, got++);
    }
    check_memory(p);
    close_producer(p);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
}

static void refuses_and_goes_on(void) {
    for (uint64_t steps = 0; steps < 8; steps += 2) {
        without_more(steps, (unsigned)steps * 3);
        start_with_a_new_channel();
    }
}

/* A message without memory is refused and counted; or, with drop-old, it drops messages in the allocated memory. */
static void drops_without_more(void) {
    static const uint32_t hows[] = {RIP_DROP_NEW, RIP_DROP_OLD};
    for (unsigned h = 0; h < 2; h++) {
        struct random r = {3 + h};
        struct rip_producer *p = open_with(CAPACITY, hows[h]);
        struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
        struct rip_message released, message;
        CHECK_IS(put_filled(p, 1000, 0), 0);
        CHECK_IS(rip_get(c, &released, 0), 1);   /* not released: with drop-old it is pinned */
        CHECK_IS(get_nothing(c, 0), -ETIMEDOUT); /* now the claims have been made */
        allowed = 3 * RIP_STEP;
        uint64_t in = 1;
        for (unsigned i = 0; i < 3000; i++) {
            uint64_t length = random_below(&r, 100000);
            int rc = put_filled(p, length, in);
            CHECK(rc == 0 || rc == -ENOBUFS);
            in += rc == 0;
            CHECK(p->mapping.allocated <= 4 * RIP_STEP);
        }
        CHECK_IS(put_filled(p, 2 << 20, in), -ENOBUFS); /* longer than the allocated memory */
        CHECK(hows[h] == RIP_DROP_OLD ? p->dropped > 1000 : p->refused > 1000);
        CHECK(is_filled(released.data, released.length, 1, 0));
        uint64_t got = 1;
        for (; rip_get(c, &message, 0) == 1; got++) {
            CHECK(is_filled(message.data, message.length, 1, message.seq));
            rip_release(c, &message);
        }
        CHECK_IS(got + p->dropped, in);
        rip_release(c, &released);
        allowed = UINT64_MAX;
        CHECK_IS(put_filled(p, 2 << 20, in), 0);
        get_filled(c, in);
        close_producer(p);
        close_consumer(c);
        start_with_a_new_channel();
    }
}

/* Each allocation of an opening producer fails in turn. */
static void opens_without_memory(void) {
    struct rip_producer *p = NULL;
    struct rip_consumer *c = NULL;
    int32_t holder;
    unsigned refused = 0;
    struct rip_inspection inspection;
    struct rip_producer *other = open_with(RIP_PAGE, RIP_BLOCK);
    for (uint64_t steps = 0; steps < 3; steps++) {
        for (unsigned page = 0; page < 3; page++) {
            allowed = steps * RIP_STEP + page * RIP_PAGE;
            int rc = rip_producer_open(CHANNEL, CAPACITY, SLOTS, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p);
            CHECK(rc == 0 || rc == -ENOSPC);
            refused += rc != 0;
            if (rc == 0) {
                CHECK(steps > 0);
                close_producer(p);
            }
            CHECK_IS(rip_inspect(CHANNEL, &inspection), 0);
            CHECK_IS(inspection.lanes, 1);
            CHECK_IS(inspection.members, 1);
        }
    }
    CHECK(refused >= 3 && refused < 9);
    allowed = 0;
    /* it needs no memory */
    CHECK_IS(rip_consumer_open(CHANNEL, "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), 0);
    CHECK_IS(put_number(other, 1, 0), 0);
    CHECK_IS(get_number(c, 0), 1);
    allowed = UINT64_MAX;
    close_producer(other);
    close_consumer(c);
}

/* A stream over a link stops, as when the lane is full, until there is memory. */
static void a_stream_waits(void) {
    int ends[2];
    struct rip_receiver *r;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    CHECK_IS(rip_receiver_open(CHANNEL, CAPACITY, SLOTS, getpid(), 1, 1, &r), 0);
    CHECK_IS(rip_receiver_connect(r, ends[0]), 0);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    struct rip_frame frame = {
        .magic = RIP_FRAME_MAGIC, .frame_type = RIP_FRAME_MESSAGE, .kind = RIP_BYTES, .length = RIP_STEP};
    fill(data, RIP_STEP, 1, 0);
    CHECK_IS(write(ends[1], &frame, sizeof frame), sizeof frame);
    allowed = 0;
    for (unsigned i = 0; i < 5; i++) {
        CHECK_IS(rip_receiver_step(r), RIP_STEP_ROOM);
    }
    allowed = UINT64_MAX;
    for (uint64_t at = 0; at < RIP_STEP;) {
        ssize_t n = write(ends[1], data + at, RIP_STEP - at);
        at += n > 0 ? (uint64_t)n : 0;
        CHECK_IS(rip_receiver_step(r), RIP_STEP_IDLE);
    }
    get_filled(c, 0);
    close_consumer(c);
    rip_receiver_free(r);
    close(ends[0]);
    close(ends[1]);
    c = open_consumer(CHANNEL, "g", RIP_OLDEST); /* reaps the producer; the channel ends */
    while (get_nothing(c, 0) == -EOWNERDEAD) {
    }
    close_consumer(c);
}

/* A descriptor that points to memory that is not allocated is an error, and checking it allocates nothing. */
static void damaged_descriptor(void) {
    struct rip_producer *p = open_with(CAPACITY, RIP_BLOCK);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    const struct {
        uint64_t offset, length;
    } said[] = {{p->arena.allocated, 1},
                {p->arena.allocated - 64, 65},
                {0, p->arena.allocated + 1},
                {CAPACITY - 64, 64},
                {0, CAPACITY},
                {CAPACITY, UINT64_MAX},
                {63, 1},
                {UINT64_MAX, 64}};
    for (uint64_t i = 0; i < sizeof said / sizeof *said; i++) {
        CHECK_IS(put_number(p, i, 0), 0);
        struct rip_desc *desc = &p->lane->desc[i], was = *desc;
        desc->place = said[i].offset;
        desc->size = said[i].length;
        CHECK_IS(get_nothing(c, 0), -EBADMSG);
        *desc = was;
        CHECK_IS(get_number(c, 0), i);
    }
    check_memory(p);
    atomic_store(&p->lane->allocated, CAPACITY + 64);
    CHECK_IS(put_number(p, 9, 0), 0);
    p->lane->desc[sizeof said / sizeof *said].place = CAPACITY;
    CHECK_IS(get_nothing(c, 0), -EBADMSG);
    close_producer(p);
    close_consumer(c);
}

/* A producer that drops reads the offsets of pinned messages back from the descriptors, to write around them. */
static void damaged_pin(void) {
    static const uint64_t offsets[] = {36, 100, 64 * 40 + 1, 64 * 62 + 63, 4095, UINT64_MAX - 63, UINT64_MAX};
    static const uint64_t lengths[] = {0, 1, 64, 4096, UINT64_MAX};
    for (unsigned i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        for (unsigned k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            struct rip_producer *p = NULL;
            struct rip_message released;
            unsigned char *payload;
            CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 16, RIP_DROP_OLD, RIP_WAIT_BLOCK, NULL, &p), 0);
            struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
            CHECK_IS(put_number(p, 0, 0), 0);
            CHECK_IS(rip_get(c, &released, 0), 1);
            p->lane->desc[0].place = offsets[i];
            p->lane->desc[0].size = lengths[k];
            for (uint64_t n = 1; n < 600; n++) {
                uint64_t length = 1 + n % 150;
                int rc = rip_reserve(p, length, &payload);
                CHECK(rc == 0 || rc == -ENOBUFS);
                if (rc == 0) {
                    CHECK(payload >= p->payloads && (payload - p->payloads) % RIP_LINE == 0);
                    CHECK(payload + length <= p->payloads + p->arena.allocated);
                    CHECK_IS(rip_publish(p, length, 0, RIP_BYTES), 0);
                }
            }
            rip_release(c, &released);
            close_producer(p);
            close_consumer(c);
            start_with_a_new_channel();
        }
    }
}

/* ---- in a tmpfs of this process ---- */

#ifndef NAMELESS
static void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = write(fd, text, strlen(text)); /* without permission this fails, and then mount fails too */
        (void)n;
        close(fd);
    }
}

/* Returns 0 if this process may not mount a tmpfs. */
static int mount_tmpfs(const char *options) {
    char map[64];
    unsigned user = geteuid(), group = getegid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0) {
            return 0;
        }
        write_file("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "%u %u 1", user, user);
        write_file("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "%u %u 1", group, group);
        write_file("/proc/self/gid_map", map);
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("none", scratch, "tmpfs", 0, options) == 0;
}

static void hog(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    while (write(fd, data, RIP_PAGE) > 0) {
    }
    CHECK_IS(errno, ENOSPC);
    close(fd);
}

/* The limit of the kernel: an access beyond it is a SIGBUS. */
static int in_a_small_tmpfs(void *unused) {
    char path[80];
    (void)unused;
    if (!mount_tmpfs("size=16m")) {
        printf(" (skipped: this process may not mount a tmpfs)");
        fflush(stdout);
        return 0;
    }
    struct rip_producer *p = open_with(CAPACITY, RIP_BLOCK); /* four times the size of the tmpfs */
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    uint64_t sent = 0, got = 0;
    int rc;
    while ((rc = put_filled(p, 100000, sent)) == 0) {
        sent++;
    }
    CHECK_IS(rc, -ENOSPC);
    CHECK(sent > 140 && sent < 168);
    snprintf(path, sizeof path, "%s/hog", scratch);
    hog(path);
    while (got < sent - 1) {
        get_filled(c, got++);
    }
    for (unsigned i = 0; i < 1000; i++) { /* in the memory that it has */
        CHECK_IS(put_filled(p, 100000, sent++), 0);
        get_filled(c, got++);
    }
    /* the message lies in a hole of the file, and `allocated` is damaged */
    CHECK_IS(put_number(p, 5, 0), 0);
    uint64_t allocated = p->arena.allocated;
    struct rip_desc *desc = &p->lane->desc[(p->tail - 1) % SLOTS];
    get_filled(c, got++);
    atomic_store(&p->lane->allocated, CAPACITY);
    desc->place = rip_round_up(allocated, RIP_STEP) + RIP_STEP;
    if (madvise(p->payloads + desc->place, RIP_PAGE, 22) != 0) { /* MADV_POPULATE_READ; an emulator ignores it */
        CHECK_IS(get_nothing(c, 0), -EBADMSG);
    }
    CHECK_IS(remove(path), 0); /* there is space again */
    CHECK_IS(put_filled(p, 200000, sent), 0);
    close_producer(p);
    close_consumer(c);
    return 0;
}

static void small_tmpfs(void) { expect_success(spawn(in_a_small_tmpfs, NULL)); }
#endif

/* Of a message that the producer has passed, no cursor shows that it is in use. */
static void keeps_what_is_in_use(void) {
    static unsigned char page[RIP_PAGE];
    struct rip_message kept, message;
    struct rip_producer *keeper = open_producer(CHANNEL, RIP_PAGE, 8), *p;
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 8, RIP_DROP_OLD, RIP_WAIT_BLOCK, NULL, &p), 0);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    for (uint64_t n = 0; n < 9; n++) {
        fill(page, 1000, 1, n);
        CHECK_IS(put(p, page, 1000, 0), 0);
        CHECK(n != 0 || rip_get(c, &kept, 0) == 1);
    }
    CHECK_IS(p->arena.pinned, 1);
    close_producer(p);
    while (rip_get(c, &message, 0) == 1) {
        rip_release(c, &message);
    }
    CHECK(is_filled(kept.data, 1000, 1, 0));
    rip_release(c, &kept);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    CHECK(!has_lane(1)); /* now it has left the table */
    close_producer(keeper);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
}

int main(void) {
    run("a lane takes as much memory as its messages have needed", allocates_what_messages_need);
    run("a lane that has ended keeps only the memory of what is unread", shrinks_at_its_end);
    run("a message in use stays as it is, even if its lane has ended and its producer has passed it",
        keeps_what_is_in_use);
    run("a lane that is preallocated gets all of its memory when it opens, or is not made", all_at_once);
    run("a message for which there is no memory is refused at once, and later ones are not affected",
        refuses_and_goes_on);
    run("a lane that drops works in the memory that it has", drops_without_more);
    run("a producer that finds no memory when it opens leaves nothing behind; a consumer needs none",
        opens_without_memory);
    run("a stream over a link waits for memory", a_stream_waits);
    run("a descriptor that points to unallocated memory is not followed", damaged_descriptor);
    run("nothing is written to unallocated memory, even if the offset of a pinned message is damaged", damaged_pin);
#ifndef NAMELESS
    run("in a full tmpfs no process is killed", small_tmpfs);
#endif
    return 0;
}
