/* An anonymous channel: how its memfd is sealed, how much memory it takes, and what happens if it is damaged. */
#define NAMELESS
#include "check.h"

#include "channel/pollfd.h"
#include "sync/sync.h"

#include <poll.h>
#include <sys/socket.h>

static unsigned reads; /* calls of pread */

/* Replaces pread of libc, for the core too. */
ssize_t pread(int fd, void *buffer, size_t size, off_t offset) {
    reads++;
    return syscall(SYS_pread64, fd, buffer, size, offset);
}

static int try_consumer(const char *channel) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    int rc = rip_consumer_open(channel, "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder);
    if (rc == 0) {
        close_consumer(c);
    }
    return rc;
}

static int try_producer(const char *channel, uint64_t capacity) {
    struct rip_producer *p = NULL;
    int rc = rip_producer_open(channel, capacity, 4, RIP_BLOCK | RIP_PREALLOCATE, RIP_WAIT_BLOCK, NULL, &p);
    if (rc == 0) {
        close_producer(p);
    }
    return rc;
}

static uint64_t memory_of(int fd) {
    struct stat st;
    CHECK_IS(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static unsigned extents(void) {
    struct rip_identity identity = {0};
    unsigned count = 0;
    uint64_t end = memory_end();
    for (uint64_t at = memory_next(0, end, &identity); at; at = memory_next(at, end, &identity)) {
        count++;
    }
    return count;
}

/* ---- the file ---- */

static void sealed(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct stat st;
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(fstat(MEMORY_FD, &st), 0);
    const off_t sizes[] = {0, RIP_PAGE, (off_t)sizeof(struct rip_control), st.st_size - 1};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        errno = 0;
        CHECK_IS(ftruncate(MEMORY_FD, sizes[i]), -1);
        CHECK_IS(errno, EPERM);
    }
    errno = 0;
    /* no process can exclude others by sealing it against writing */
    CHECK_IS(fcntl(MEMORY_FD, F_ADD_SEALS, F_SEAL_WRITE), -1);
    CHECK_IS(errno, EPERM);
    CHECK_IS(fcntl(MEMORY_FD, F_GETFD), 0);
    int made = rip_channel_fd();
    CHECK_IS(fcntl(made, F_GETFD), FD_CLOEXEC);
    close(made);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(get_number(c, 0), 1);
    close_producer(p);
    close_consumer(c);
}

/* Each extent starts behind the one before, with its identity. */
static void layout(void) {
    struct rip_producer *p = open_producer(CHANNEL, 2 * RIP_PAGE, 8);
    struct rip_consumer *c = NULL;
    struct rip_identity identity = {0};
    int32_t holder;
    CHECK_IS(rip_consumer_open(CHANNEL, "g", RIP_SHARED, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), 0);
    uint64_t end = memory_end(), at = memory_next(0, end, &identity);
    CHECK_IS(at, 2277376);
    CHECK_IS(identity.file, RIP_FILE_LANE);
    CHECK_IS(identity.size, rip_lane_size(8, 2 * RIP_PAGE));
    CHECK(identity.of[0] == 0 && identity.of[1] == 0);
    at = memory_next(at, end, &identity);
    CHECK_IS(at, 2277376 + rip_lane_size(8, 2 * RIP_PAGE));
    CHECK_IS(identity.file, RIP_FILE_CLAIMS);
    CHECK(identity.of[0] == 1 && identity.of[1] == 0);
    CHECK_IS(memory_next(at, end, &identity), 0);
    uint64_t tables = rip_round_up(RIP_CONTROL_FIXED + sizeof(struct rip_lane_entry), RIP_PAGE); /* with one lane */
    CHECK_IS(memory_of(MEMORY_FD), tables + end - sizeof(struct rip_control)); /* all that is in use is allocated */
    close_producer(p);
    close_consumer(c);
}

static void no_channels(void) {
    static const char *const names[] = {"fd:", "fd:x", "fd:-1", "fd: 1", "fd:200x", "fd:99999999999"};
    char name[32];
    struct rip_sync *s = NULL;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK_IS(try_consumer(names[i]), -EINVAL);
        CHECK_IS(try_producer(names[i], RIP_PAGE), -EINVAL);
    }
    CHECK_IS(try_consumer("fd:201"), -EBADF);
    CHECK_IS(rip_sync_open(NULL, -1, RIP_EVENT, -1, 0, RIP_WAIT_BLOCK, &s), 0);
    snprintf(name, sizeof name, "fd:%d", rip_sync_fd(s));
    CHECK_IS(try_consumer(name), -EPROTOTYPE);
    rip_sync_close(s);
    rip_sync_free(s);
    /* a file with valid contents that can be made shorter */
    int loose = memfd_create("loose", MFD_CLOEXEC);
    static unsigned char control[sizeof(struct rip_control)];
    CHECK_IS(pread(MEMORY_FD, control, sizeof control, 0), sizeof control);
    CHECK_IS(write(loose, control, sizeof control), sizeof control);
    snprintf(name, sizeof name, "fd:%d", loose);
    CHECK_IS(try_consumer(name), -EBADMSG);
    CHECK_IS(try_producer(name, RIP_PAGE), -EBADMSG);
    close(loose);
    struct rip_producer *p = open_producer("named", RIP_PAGE, 4);
    snprintf(name, sizeof name, "fd:%d", p->ch.handle.mapping.fd);
    CHECK_IS(try_consumer(name), -EBADMSG);
    close_producer(p);
    close_consumer(open_consumer("named", "g", RIP_OLDEST));
    CHECK_IS(fcntl(MEMORY_FD, F_GETFD), 0); /* it is still open: it remains the caller's */
}

/* ---- memory ---- */

#define LIVES 500u

/* A page of each removed extent stays, and the chain stays short. */
static void come_and_go(void) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    struct rip_producer *stays = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(rip_consumer_open(CHANNEL, "work", RIP_SHARED, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), 0);
    uint64_t before = memory_of(MEMORY_FD), lane = 0;
    for (uint64_t n = 0; n < LIVES; n++) {
        struct rip_producer *p = NULL;
        CHECK_IS(rip_producer_open(CHANNEL, 64 * RIP_PAGE, 4, RIP_DROP_OLD, RIP_WAIT_BLOCK, NULL, &p), 0);
        lane = p->mapping.size;
        CHECK_IS(put_number(p, n, 0), 0);
        close_producer(p);
        CHECK_IS(get_number(c, 0), n);
        CHECK(extents() <= 8);
    }
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    CHECK(memory_of(MEMORY_FD) <= before + 2 * LIVES * RIP_PAGE + 2 * lane);
    before = memory_of(MEMORY_FD);
    for (unsigned n = 0; n < LIVES; n++) { /* groups come and go while a lane stays */
        struct rip_consumer *other = NULL;
        CHECK_IS(rip_consumer_open(CHANNEL, "other", RIP_SHARED, RIP_WAIT_BLOCK, RIP_FOREVER, &other, &holder), 0);
        close_consumer(other);
        CHECK(extents() <= 8);
    }
    CHECK(memory_of(MEMORY_FD) <= before + LIVES * RIP_PAGE);
    close_producer(stays);
    close_consumer(c);
}

/* Opens and closes a member of a shared group, and a producer, in a channel with this many lanes. Returns how often
 * something was read from the memfd. */
static unsigned reads_with(unsigned lanes) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    make_anonymous_channel();
    for (uint64_t n = 0; n < lanes; n++) {
        struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
        CHECK_IS(put_number(p, n, 0), 0);
        close_producer(p);
    }
    reads = 0;
    CHECK_IS(rip_consumer_open(CHANNEL, "g", RIP_SHARED, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), 0);
    for (uint64_t n = 0; n < lanes; n++) {
        CHECK(get_number(c, 0) < lanes);
    }
    close_producer(open_producer(CHANNEL, RIP_PAGE, 4));
    CHECK_IS(get_nothing(c, 0), -ENODATA); /* all lanes leave the table */
    close_consumer(c);
    unsigned result = reads;
    CHECK(extents() <= 4);
    make_anonymous_channel();
    return result;
}

static void many_lanes(void) {
    unsigned few = reads_with(50), many = reads_with(200);
    CHECK(many >= 200 && many <= 5 * few);
}

static void no_memory(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rlimit unlimited, limit;
    uint64_t before = memory_of(MEMORY_FD);
    CHECK_IS(try_producer(CHANNEL, RIP_MAX_CAPACITY), -ENOSPC);
    CHECK_IS(memory_of(MEMORY_FD), before);
    CHECK_IS(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (uint64_t more = 0; more < 4; more++) { /* the allocation fails at the first page, and after it */
        limit = (struct rlimit){memory_end() + more * RIP_PAGE, unlimited.rlim_max};
        CHECK_IS(setrlimit(RLIMIT_FSIZE, &limit), 0);
        int rc = try_producer(CHANNEL, 64 * RIP_PAGE);
        CHECK_IS(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
        CHECK_IS(rc, -EFBIG);
        CHECK(extents() <= 2); /* the incomplete extent has been removed */
        CHECK(memory_of(MEMORY_FD) <= before + more * RIP_PAGE);
    }
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(try_producer(CHANNEL, RIP_PAGE), 0);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(get_number(c, 0), 1);
    close_producer(p);
    close_consumer(c);
}

/* ---- its end ---- */

static void is_like_new(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    int32_t holder;
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(rip_remove(CHANNEL, &holder), -EBUSY);
    CHECK_IS(holder, getpid());
    close_producer(p);
    close_consumer(c); /* it has not read all messages */
    CHECK(is_over());
    c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT); /* this stream has not started; it has not ended */
    p = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(put_number(p, 2, 0), 0);
    CHECK_IS(get_number(c, 0), 2);
    close_consumer(c);
    close_producer(p);
    c = NULL;
    p = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(rip_consumer_open(CHANNEL, "g", RIP_DURABLE, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), 0);
    close_consumer(c);
    CHECK_IS(put_number(p, 3, 0), 0);
    close_producer(p);
    CHECK(!is_over());
    CHECK_IS(rip_clean_up(CHANNEL), 0);
    CHECK(!is_over());
    CHECK_IS(rip_remove(CHANNEL, &holder), 0); /* with the group, and the message that waits for it */
    CHECK(is_over());
    CHECK_IS(try_consumer(CHANNEL), 0);
}

/* ---- the pollfd ---- */

static int puts_later(void *argument) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    nap(*(uint64_t *)argument);
    CHECK_IS(put_number(p, 1, 0), 0);
    close_producer(p);
    return 0;
}

static int is_readable(int fd, int ms) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, ms) == 1;
}

static void pollfd_becomes_readable(void) {
    uint64_t late = 100 * MS;
    struct rip_producer *keeper = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    int fd = rip_consumer_fd(c);
    CHECK(fd >= 0);
    CHECK(!is_readable(fd, 0));
    pid_t child = spawn(puts_later, &late);
    struct rip_message message;
    CHECK(is_readable(fd, 10000));
    CHECK_IS(rip_peek(c, &message), 1); /* and not for the producer that has come */
    CHECK_IS(get_number(c, 0), 1);
    expect_success(child);
    close_producer(keeper);
    close_consumer(c);
}

/* The number in the entry is another file descriptor now, as if another process had the pid. */
static void writes_only_into_the_pipe(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 64);
    struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK(rip_consumer_fd(c) >= 0);
    _Atomic uint32_t *futex = &c->ch.control->members[c->ch.handle.member].pollfd;
    int number = (int)(atomic_load_explicit(futex, memory_order_relaxed) >> RIP_POLLFD_SHIFT), ends[2], pair[2];
    CHECK_IS(pipe2(ends, O_CLOEXEC), 0);
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int kept = dup(number), file = memfd_create("other", MFD_CLOEXEC);
    const int others[] = {ends[1], pair[1], file};
    for (unsigned i = 0; i < 3; i++) {
        CHECK_IS(dup2(others[i], number), number);
        atomic_fetch_or_explicit(futex, RIP_POLLFD_ARMED, memory_order_relaxed);
        rip_pollfd_wake(&p->ch, c->ch.handle.member, RIP_POLLFD_ARMED);
        /* the waker has cleared the bit */
        CHECK(!(atomic_load_explicit(futex, memory_order_relaxed) & RIP_POLLFD_ARMED));
    }
    CHECK(!is_readable(ends[0], 0) && !is_readable(pair[0], 0));
    CHECK_IS(lseek(file, 0, SEEK_END), 0);
    CHECK_IS(dup2(kept, number), number);
    atomic_fetch_or_explicit(futex, RIP_POLLFD_ARMED, memory_order_relaxed);
    rip_pollfd_wake(&p->ch, c->ch.handle.member, RIP_POLLFD_ARMED);
    CHECK(is_readable(number, 0)); /* now the number is the pipe again */
    const int all[] = {ends[0], ends[1], pair[0], pair[1], kept, file};
    for (unsigned i = 0; i < 6; i++) {
        close(all[i]);
    }
    close_producer(p);
    close_consumer(c);
}

/* ---- damage ---- */

#define SLOTS 8u
#define CAPACITY (2 * RIP_PAGE)

static unsigned char copied[3 << 20];
static size_t size_of_copy;

/* Makes a channel whose members are all dead: a lane with three messages, and the claims of a group. */
static void make_copied(void) {
    struct rip_producer *p = open_producer(CHANNEL, CAPACITY, SLOTS);
    struct rip_consumer *c = NULL;
    int32_t holder;
    CHECK_IS(rip_consumer_open(CHANNEL, "g", RIP_SHARED | RIP_DURABLE, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), 0);
    for (uint64_t n = 0; n < 3; n++) {
        CHECK_IS(put_number(p, n, 0), 0);
    }
    size_of_copy = (size_t)memory_end();
    CHECK(size_of_copy <= sizeof copied);
    CHECK_IS(pread(MEMORY_FD, copied, size_of_copy, 0), size_of_copy);
    close_producer(p);
    CHECK_IS(rip_consumer_close(c), 0);
    rip_consumer_free(c);
    CHECK_IS(rip_remove(CHANNEL, &holder), 0);
}

static void restore_copy(void) {
    const size_t used = 1 << 16, extents = sizeof(struct rip_control); /* between them: lanes that are not in use */
    make_anonymous_channel();
    CHECK_IS(pwrite(MEMORY_FD, copied, used, 0), used);
    CHECK_IS(pwrite(MEMORY_FD, copied + extents, size_of_copy - extents, (off_t)extents), size_of_copy - extents);
}

static void patch(uint64_t offset, uint64_t value, size_t size) {
    CHECK_IS(pwrite(MEMORY_FD, &value, size, (off_t)offset), size);
}

static int read_all(uint64_t *messages) {
    struct rip_consumer *c = NULL;
    struct rip_message message;
    int32_t holder;
    *messages = 0;
    int rc = rip_consumer_open(CHANNEL, "g", RIP_SHARED, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder);
    if (rc != 0) {
        return rc;
    }
    while ((rc = rip_get(c, &message, 0)) == 1) {
        rip_release(c, &message);
        ++*messages;
    }
    close_consumer(c);
    return rc;
}

static void damaged_chain(void) {
    const uint64_t lane = sizeof(struct rip_control), size = rip_lane_size(SLOTS, CAPACITY), claims = lane + size;
    const uint64_t used = offsetof(struct rip_control, used), end = claims + RIP_PAGE;
    const struct {
        uint64_t offset, value;
        int rc;
        uint64_t messages;
    } damages[] = {
        {used, end, -EOWNERDEAD, 3}, /* unchanged */
        {used, 0, -EBADMSG, 0},
        {used, lane - RIP_PAGE, -EBADMSG, 0},
        {used, end + 1, -EBADMSG, 0},
        {used, end + RIP_PAGE, -EBADMSG, 0},
        {used, UINT64_C(1) << 62, -EBADMSG, 0},
        {used, UINT64_MAX - RIP_PAGE + 1, -EBADMSG, 0},
        /* the chain ends before the claims: new ones are made */
        {used, claims, -EOWNERDEAD, 3},
        {used, lane + RIP_PAGE, -EBADMSG, 0},                   /* in the middle of the lane */
        {lane, 0, -EBADMSG, 0},                                 /* magic */
        {lane + 8, (uint64_t)RIP_FILE_LANE << 32, -EBADMSG, 0}, /* ABI */
        {lane + 16, 0, -EBADMSG, 0},                            /* size */
        {lane + 16, 1, -EBADMSG, 0},
        {lane + 16, size - 1, -EBADMSG, 0},
        {lane + 16, size - RIP_PAGE, -EBADMSG, 0},
        {lane + 16, size + RIP_PAGE, -EBADMSG, 0}, /* it covers the claims */
        {lane + 16, size + 2 * RIP_PAGE, -EBADMSG, 0},
        {lane + 16, UINT64_MAX - RIP_PAGE + 1, -EBADMSG, 0},
        {lane + 16, 0 - lane, -EBADMSG, 0},  /* leads back to the start */
        {lane + 40, 2 * SLOTS, -EBADMSG, 0}, /* more slots than fit */
        {claims, 0, -EBADMSG, 0},
        {claims + 16, 0, -EBADMSG, 0},
        {claims + 40, 2 * SLOTS, -EBADMSG, 0},
        {claims + 24, 7, -EOWNERDEAD, 3}, /* the id of another group */
    };
    make_copied();
    for (unsigned i = 0; i < sizeof damages / sizeof *damages; i++) {
        uint64_t messages;
        restore_copy();
        patch(damages[i].offset, damages[i].value, 8);
        alarm(5);
        CHECK_IS(read_all(&messages), damages[i].rc);
        CHECK_IS(messages, damages[i].messages);
        int rc = try_producer(CHANNEL, RIP_PAGE);
        CHECK(rc == 0 || rc == -EBADMSG);
        alarm(0);
    }
    make_anonymous_channel();
}

/* An extent that is longer in its identity than in the file is not mapped: an access would be a SIGBUS. */
static void beyond_the_file(void) {
    const uint64_t lane = sizeof(struct rip_control);
    uint64_t messages;
    make_copied();
    make_anonymous_channel();
    CHECK_IS(pwrite(MEMORY_FD, copied, lane + RIP_PAGE, 0), lane + RIP_PAGE);
    patch(offsetof(struct rip_control, used), lane + rip_lane_size(SLOTS, CAPACITY), 8);
    CHECK_IS(read_all(&messages), -EBADMSG);
    make_anonymous_channel();
}

static void random_damage(void) {
    make_copied();
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        static const uint64_t values[] = {0, 1, 5, 8, RIP_PAGE, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 63};
        struct random r = {seed};
        struct rip_consumer *c = NULL;
        struct rip_producer *p = NULL;
        struct rip_message message;
        int32_t holder;
        restore_copy();
        for (uint64_t n = 1 + random_below(&r, 6); n > 0; n--) {
            uint64_t what = random_below(&r, 5), value = random_next(&r);
            uint64_t lane = sizeof(struct rip_control), claims = lane + rip_lane_size(SLOTS, CAPACITY);
            uint64_t offset = what == 0   ? 128 + random_below(&r, 64)
                              : what == 1 ? lane + random_below(&r, 96)
                              : what == 2 ? claims + random_below(&r, 400)
                              : what == 3 ? 4096 + random_below(&r, 128)
                                          : 49152 + random_below(&r, 256);
            value = random_below(&r, 2) ? values[random_below(&r, 8)] : value;
            value = random_below(&r, 3) == 0 ? random_below(&r, 80) * RIP_PAGE : value;
            patch(offset, value, 1u << random_below(&r, 4));
        }
        alarm(5);
        if (rip_consumer_open(CHANNEL, "g", seed % 2 ? RIP_SHARED : RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c,
                              &holder) == 0) {
            for (unsigned i = 0; i < 10 && rip_get(c, &message, 0) == 1; i++) {
                CHECK((uint64_t)(message.data - message.lane->payloads) <= message.lane->capacity - message.length);
                rip_release(c, &message);
            }
        }
        enum rip_overflow overflow = seed % 3 ? RIP_BLOCK : RIP_DROP_OLD;
        if (rip_producer_open(CHANNEL, CAPACITY, SLOTS, overflow, RIP_WAIT_BLOCK, NULL, &p) == 0) {
            for (uint64_t i = 0; i < 20; i++) {
                rip_put(p, &i, sizeof i, 0, RIP_BYTES, 0);
            }
            rip_producer_close(p);
            rip_producer_free(p);
        }
        if (c) {
            rip_consumer_close(c);
            rip_consumer_free(c);
        }
        rip_remove(CHANNEL, &holder);
        alarm(0);
    }
    make_anonymous_channel();
}

int main(void) {
    run("no process can make it shorter, or seal it against writing", sealed);
    run("it holds control, and an extent for each lane and each group's claims", layout);
    run("a file descriptor of something else is refused", no_channels);
    run("producers and groups that come and go leave a page each, and a chain that stays short", come_and_go);
    run("a member joins and leaves with a number of reads proportional to that of the lanes", many_lanes);
    run("more memory than is available is refused at once, and the incomplete extent is removed", no_memory);
    run("when its last member has left it is like new", is_like_new);
    run("another process makes a pollfd readable", pollfd_becomes_readable);
    run("nothing is written into another file that has the number of a pollfd's pipe", writes_only_into_the_pipe);
    run("a damaged chain is refused", damaged_chain);
    run("an extent beyond the end of the file is not mapped", beyond_the_file);
    run("no damage crashes or hangs a process", random_damage);
    return 0;
}
