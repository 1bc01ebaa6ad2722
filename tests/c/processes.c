/* Several processes, some of which are killed. Each child attaches for itself and checks what it sees; the parent
 * checks that each child has ended without an error. */
#include "check.h"

#include "store/table_lock.h"

#include <pthread.h>

#define WHILE_ABSENT UINT64_C(10000000000) /* nanoseconds to wait for a channel that another process makes */

static struct rip_consumer *attach(const char *channel, const char *group, enum rip_wait wait) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    uint64_t end = rip_now() + WHILE_ABSENT;
    int rc;
    while ((rc = rip_consumer_open(channel, group, RIP_OLDEST, wait, RIP_FOREVER, &c, &holder)) == -ENOENT &&
           rip_now() < end) {
        nap(MS);
    }
    CHECK_IS(rc, 0);
    return c;
}

/* ---- streams ---- */

struct stream {
    enum rip_wait wait;
    uint64_t messages, longest, slots, capacity;
    uint64_t late; /* after how many nanoseconds the second side opens: the producer, or the consumer */
    unsigned producers, groups;
};

static uint64_t length_of(const struct stream *s, uint64_t n) { return 1 + n * 7919 % s->longest; }

static unsigned which; /* producer or group, in a child */

static int send_all(void *argument) {
    const struct stream *s = argument;
    struct rip_producer *p = NULL;
    nap(s->producers == 1 ? s->late : 0);
    CHECK_IS(rip_producer_open(CHANNEL, s->capacity, s->slots, RIP_BLOCK, s->wait, NULL, &p), 0);
    for (uint64_t n = 0; n < s->messages; n++) {
        unsigned char *payload;
        uint64_t length = length_of(s, n);
        int rc;
        while ((rc = rip_reserve(p, length, &payload)) == -EAGAIN) {
            rip_wait_room(p, length, RIP_FOREVER);
        }
        CHECK_IS(rc, 0);
        fill(payload, length, which, n);
        CHECK_IS(rip_publish(p, length, which, RIP_BYTES), 0);
    }
    close_producer(p);
    return 0;
}

static int receive_all(void *argument) {
    const struct stream *s = argument;
    uint64_t next[4] = {0};
    char name[16];
    snprintf(name, sizeof name, "%u", which);
    struct rip_consumer *c = attach(CHANNEL, name, s->wait);
    struct rip_message message;
    int rc;
    while ((rc = rip_get(c, &message, RIP_FOREVER)) == 1) {
        CHECK(message.type < s->producers);
        CHECK_IS(message.seq, next[message.type]);
        CHECK_IS(message.length, length_of(s, message.seq));
        CHECK(is_filled(message.data, message.length, message.type, message.seq));
        next[message.type]++;
        rip_release(c, &message);
    }
    CHECK_IS(rc, -ENODATA);
    for (unsigned i = 0; i < s->producers; i++) {
        CHECK_IS(next[i], s->messages);
    }
    close_consumer(c);
    return 0;
}

static void run_stream(struct stream s) {
    pid_t children[8];
    unsigned count = 0;
    /* With several processes on a side, another member keeps the channel open until all have joined, groups first. */
    struct rip_producer *keeper = s.producers > 1 || s.groups > 1 ? open_producer(CHANNEL, RIP_PAGE, 4) : NULL;
    if (keeper) {
        for (which = 0; which < s.groups; which++) {
            children[count++] = spawn(receive_all, &s);
        }
        uint64_t bits = 0;
        while (bits != (UINT64_C(1) << s.groups) - 1) {
            bits = atomic_load_explicit(&keeper->ch.control->groups_active, memory_order_relaxed);
            nap(MS / 10);
        }
        for (which = 0; which < s.producers; which++) {
            children[count++] = spawn(send_all, &s);
        }
        while (keeper->ch.control->lanes_ever != keeper->ch.lane + s.producers + 1) {
            nap(MS / 10);
        }
        close_producer(keeper);
    } else {
        which = 0;
        children[count++] = spawn(send_all, &s);
        children[count++] = spawn(receive_all, &s);
    }
    while (count > 0) {
        expect_success(children[--count]);
    }
}

static void small_messages(void) {
    for (enum rip_wait wait = RIP_WAIT_SPIN; wait <= RIP_WAIT_BLOCK; wait++) {
        run_stream((struct stream){wait, 500000, 40, 1024, 1 << 20, 0, 1, 1});
    }
}

static void large_messages(void) {
    for (enum rip_wait wait = RIP_WAIT_SPIN; wait <= RIP_WAIT_BLOCK; wait++) {
        run_stream((struct stream){wait, 300, 1 << 20, 64, 4 << 20, 0, 1, 1});
    }
}

static void tight_lane(void) {
    for (enum rip_wait wait = RIP_WAIT_ADAPTIVE; wait <= RIP_WAIT_BLOCK; wait++) {
        run_stream((struct stream){wait, 20000, 200, 2, RIP_PAGE, 0, 1, 1});   /* slots run out */
        run_stream((struct stream){wait, 20000, 4096, 64, RIP_PAGE, 0, 1, 1}); /* bytes run out */
    }
}

static void start_orders(void) {
    run_stream((struct stream){RIP_WAIT_BLOCK, 100, 40, 1024, 1 << 20, 50 * MS, 1,
                               1}); /* the consumer waits for the channel */
    struct stream s = {RIP_WAIT_BLOCK, 1000, 40, 1024, 1 << 20, 0, 1, 1};
    which = 0;
    expect_success(spawn(send_all, &s)); /* the producer has left when the consumer opens */
    expect_success(spawn(receive_all, &s));
}

static void many_to_many(void) {
    for (enum rip_wait wait = RIP_WAIT_ADAPTIVE; wait <= RIP_WAIT_BLOCK; wait++) {
        run_stream((struct stream){wait, 50000, 100, 256, 1 << 20, 0, 3, 2});
    }
}

/* ---- waiting ---- */

struct script {
    _Atomic uint64_t step; /* how far the processes of a test have come */
    _Atomic uint64_t result;
};

static struct script *script;

static void reached(uint64_t step) { atomic_store_explicit(&script->step, step, memory_order_release); }

static void await(uint64_t step) { CHECK(reaches(&script->step, step, WHILE_ABSENT)); }

static int puts_when_asked(void *argument) {
    (void)argument;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 1);
    reached(1);
    for (uint64_t n = 0; n < 3; n++) {
        await(2 + n);
        CHECK_IS(put_number(p, n, RIP_FOREVER), 0);
    }
    close_producer(p);
    return 0;
}

static void waits_across_processes(void) {
    for (enum rip_wait wait = RIP_WAIT_SPIN; wait <= RIP_WAIT_BLOCK; wait++) {
        reached(0);
        pid_t child = spawn(puts_when_asked, NULL);
        await(1);
        struct rip_consumer *c = attach(CHANNEL, "g", wait);
        for (uint64_t n = 0; n < 3; n++) {
            uint64_t end = rip_now() + 30 * MS;
            CHECK_IS(get_nothing(c, end), -ETIMEDOUT);
            CHECK(rip_now() >= end);
            reached(2 + n);
            CHECK_IS(get_number(c, rip_now() + WHILE_ABSENT), n);
        }
        CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
        close_consumer(c);
        expect_success(child);
    }
}

/* ---- killed ---- */

/* A member reaps every half second. This makes it reap at once, so that the tests need not wait. */
static void reap_soon(struct rip_channel *ch) { make_reaping_due(&ch->handle); }

static _Noreturn void hang(void) {
    for (;;) {
        pause();
    }
}

static int puts_and_hangs(void *count) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 16);
    unsigned char *payload;
    for (uint64_t n = 0; n < *(uint64_t *)count; n++) {
        CHECK_IS(put_number(p, n, 0), 0);
    }
    CHECK_IS(rip_reserve(p, 100, &payload), 0);
    memset(payload, 0xee, 100); /* half a message */
    reached(1);
    hang();
}

static void killed_producer(void) {
    for (uint64_t count = 0; count < 4; count += 3) {
        for (int read_before = 0; read_before <= (count > 0); read_before++) {
            reached(0);
            pid_t child = spawn(puts_and_hangs, &count);
            await(1);
            struct rip_consumer *c = attach(CHANNEL, "g", RIP_WAIT_BLOCK);
            uint64_t n = 0;
            for (; n < count && read_before; n++) {
                CHECK_IS(get_number(c, 0), n);
            }
            kill_and_wait(child);
            if (count > 0) {
                reap_soon(&c->ch);
            }
            uint64_t start = rip_now();
            for (; n < count; n++) {
                CHECK_IS(get_number(c, RIP_FOREVER), n);
            }
            CHECK_IS(get_nothing(c, RIP_FOREVER), -EOWNERDEAD);
            CHECK_IS(c->died, child);
            CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
            CHECK(rip_now() < start + 1000 * MS);
            close_consumer(c);
        }
    }
}

static void killed_producer_is_reported_to_each_group(void) {
    uint64_t count = 1;
    reached(0);
    pid_t child = spawn(puts_and_hangs, &count);
    await(1);
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 16);
    struct rip_consumer *quick = attach(CHANNEL, "quick", RIP_WAIT_BLOCK),
                        *slow = attach(CHANNEL, "slow", RIP_WAIT_BLOCK);
    CHECK_IS(get_number(quick, 0), 0);
    kill_and_wait(child);
    reap_soon(&quick->ch);
    CHECK_IS(get_nothing(quick, RIP_FOREVER), -EOWNERDEAD);
    CHECK_IS(get_nothing(quick, 0), -ETIMEDOUT);
    CHECK_IS(get_number(slow, 0), 0);
    CHECK_IS(get_nothing(quick, 0), -ETIMEDOUT);
    CHECK_IS(get_nothing(slow, 0), -EOWNERDEAD);
    CHECK_IS(get_nothing(slow, 0), -ETIMEDOUT);
    CHECK_IS(put_number(p, 5, 0), 0); /* the other producer is not affected */
    CHECK_IS(get_number(quick, 0), 5);
    CHECK_IS(get_number(slow, 0), 5);
    close_producer(p);
    CHECK_IS(get_nothing(quick, 0), -ENODATA);
    CHECK_IS(get_nothing(slow, 0), -ENODATA);
    close_consumer(quick);
    close_consumer(slow);
}

static int takes_and_hangs(void *argument) {
    (void)argument;
    struct rip_message message;
    struct rip_consumer *c = attach(CHANNEL, "g", RIP_WAIT_BLOCK);
    CHECK_IS(rip_get(c, &message, RIP_FOREVER), 1);
    reached(1);
    hang();
}

static void killed_consumer(void) {
    for (enum rip_wait wait = RIP_WAIT_ADAPTIVE; wait <= RIP_WAIT_BLOCK; wait++) {
        struct rip_producer *p = NULL;
        CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 4, RIP_BLOCK, wait, NULL, &p), 0);
        struct rip_consumer *other = attach(CHANNEL, "other", RIP_WAIT_BLOCK);
        reached(0);
        pid_t child = spawn(takes_and_hangs, NULL);
        while (atomic_load_explicit(&p->ch.control->groups_active, memory_order_relaxed) != 3) {
            nap(MS / 10);
        }
        for (uint64_t n = 0; n < 4; n++) {
            CHECK_IS(put_number(p, n, 0), 0);
            CHECK_IS(get_number(other, 0), n);
        }
        await(1);
        CHECK_IS(put_number(p, 4, 0), -ETIMEDOUT);
        kill_and_wait(child);
        if (wait == RIP_WAIT_ADAPTIVE) {
            reap_soon(&p->ch);
        }
        uint64_t start = rip_now();
        CHECK_IS(put_number(p, 4, RIP_FOREVER), 0);
        CHECK(rip_now() < start + 1000 * MS);
        CHECK_IS(get_number(other, 0), 4);
        close_consumer(attach(CHANNEL, "g", RIP_WAIT_BLOCK)); /* the group is free */
        close_producer(p);
        close_consumer(other);
    }
}

static void knows_live_members(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(rip_has_consumer(p, "g"), 0);
    CHECK_IS(put_number(p, 0, 0), 0);
    reached(0);
    pid_t child = spawn(takes_and_hangs, NULL);
    await(1);
    CHECK_IS(rip_has_consumer(p, "g"), 1);
    CHECK_IS(rip_has_consumer(p, "other"), 0);
    kill_and_wait(child);
    CHECK_IS(rip_has_consumer(p, "g"), 0);

    struct rip_consumer *c = attach(CHANNEL, "g", RIP_WAIT_BLOCK);
    CHECK_IS(rip_has_consumer(p, "g"), 1);
    CHECK_IS(rip_try_lock(&c->ch.handle), 0);
    CHECK_IS(rip_has_consumer(p, "g"), -EAGAIN);
    rip_unlock(&c->ch.handle);
    close_consumer(c);
    CHECK_IS(rip_has_consumer(p, "g"), 0);
    CHECK_IS(rip_producer_close(p), 0);
    CHECK_IS(rip_has_consumer(p, "g"), -ESHUTDOWN);
    rip_producer_free(p);
}

static void killed_last(void) {
    uint64_t count = 1;
    reached(0);
    pid_t child = spawn(puts_and_hangs, &count); /* the only member */
    await(1);
    kill_and_wait(child);
    CHECK(!is_over());
    struct rip_consumer *c = attach(CHANNEL, "g", RIP_WAIT_BLOCK); /* its messages wait for a first group */
    CHECK_IS(get_number(c, 0), 0);
    CHECK_IS(get_nothing(c, 0), -EOWNERDEAD);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
    CHECK(is_over());

    /* they put nothing: one lane stays, so that a death is reported */
    for (unsigned i = 0; i < 3 * RIP_SPARE_LANES; i++) {
        count = 0;
        reached(0);
        child = spawn(puts_and_hangs, &count);
        await(1);
        kill_and_wait(child);
    }
    CHECK(!is_over());
    c = attach(CHANNEL, "g", RIP_WAIT_BLOCK);
    CHECK_IS(get_nothing(c, 0), -EOWNERDEAD);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
    CHECK(is_over());

    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    reached(0);
    child = spawn(takes_and_hangs, NULL);
    CHECK_IS(put_number(p, 1, 0), 0);
    await(1);
    close_producer(p);
    kill_and_wait(child);
    CHECK(!is_over());
    p = open_producer(CHANNEL, RIP_PAGE, 4);
    close_producer(p);
    CHECK(is_over());
}

static int competes_and_hangs(void *argument) {
    (void)argument;
    struct rip_message message;
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK_IS(rip_get(c, &message, RIP_FOREVER), 1);
    reached(1);
    hang();
}

static void survivor_without_file_descriptors(void) {
    struct rip_message message;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK_IS(put_number(p, 0, 0), 0);
    reached(0);
    pid_t child = spawn(competes_and_hangs, NULL);
    await(1);
    kill_and_wait(child);
    allow_files(0);
    c->ch.handle.reaped_at = rip_now();
    reap_soon(&p->ch);
    rip_reap_if_due(&p->ch.handle); /* the producer finds the dead member, but cannot read its claims */
    CHECK_IS(rip_get(c, &message, rip_now() + 100 * MS), -ETIMEDOUT);
    reap_soon(&c->ch); /* a member of the group has that mapped */
    CHECK_IS(rip_get(c, &message, rip_now() + 1000 * MS), 1);
    CHECK_IS(message.redelivered, 1);
    allow_files(-1);
    rip_release(c, &message);
    CHECK_IS(rip_producer_backlog(p), 0);
    close_producer(p);
    close_consumer(c);
}

/* ---- forked ---- */

static struct rip_producer *inherited_producer;
static struct rip_consumer *inherited_consumer;

static int uses_inherited(void *argument) {
    struct rip_producer *p = inherited_producer;
    struct rip_consumer *c = inherited_consumer;
    struct rip_message message = *(struct rip_message *)argument;
    unsigned char *payload;
    uint64_t head = atomic_load_explicit(&p->lane->reclaimed, memory_order_relaxed);
    CHECK_IS(put_number(p, 1, RIP_FOREVER), -ECHILD);
    CHECK_IS(rip_reserve(p, 1, &payload), -ECHILD);
    CHECK_IS(rip_publish(p, 1, 0, RIP_BYTES), -ECHILD);
    CHECK_IS(rip_wait_room(p, 1, RIP_FOREVER), -ECHILD);
    rip_release(c, &message);
    CHECK_IS(rip_peek(c, &message), -ECHILD);
    CHECK_IS(rip_get(c, &message, RIP_FOREVER), -ECHILD);
    CHECK_IS(rip_get_latest(c, &message, RIP_FOREVER), -ECHILD);
    CHECK_IS(rip_wait_message(c, RIP_FOREVER), -ECHILD);
    CHECK_IS(rip_producer_close(p), -ECHILD);
    CHECK_IS(rip_consumer_close(c), -ECHILD);
    CHECK_IS(atomic_load_explicit(&p->lane->reclaimed, memory_order_relaxed), head);
    rip_producer_free(p);
    rip_consumer_free(c);
    p = open_producer(CHANNEL, RIP_PAGE, 4); /* a producer of the child */
    CHECK_IS(put_number(p, 77, 0), 0);
    close_producer(p);
    return 0;
}

static void inherited_handles(void) {
    struct rip_message message;
    struct rip_producer *p = inherited_producer = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = inherited_consumer = open_consumer(CHANNEL, "g", RIP_OLDEST);
    CHECK_IS(put_number(p, 0, 0), 0);
    CHECK_IS(rip_get(c, &message, 0), 1);
    expect_success(spawn(uses_inherited, &message));
    CHECK_IS(rip_producer_backlog(p), 1);
    rip_release(c, &message);
    CHECK_IS(rip_producer_backlog(p), 0);
    CHECK_IS(get_number(c, 0), 77);
    CHECK_IS(put_number(p, 1, 0), 0); /* the handles of the parent work as before */
    CHECK_IS(get_number(c, 0), 1);
    close_producer(p);
    close_consumer(c);
}

static int forks_and_hangs(void *argument) {
    pid_t *grandchild = argument;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    CHECK_IS(put_number(p, 0, 0), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, 0);
        alarm(30); /* ends this process if the test has failed and its parent is gone */
        hang();
    }
    *grandchild = child;
    reached(1);
    hang();
}

static void child_outlives_parent(void) {
    pid_t *grandchild = shared(sizeof *grandchild);
    reached(0);
    pid_t child = spawn(forks_and_hangs, grandchild);
    await(1);
    struct rip_consumer *c = attach(CHANNEL, "g", RIP_WAIT_BLOCK);
    CHECK_IS(get_number(c, 0), 0);
    kill_and_wait(child);
    reap_soon(&c->ch);
    CHECK_IS(get_nothing(c, rip_now() + 5000 * MS), -EOWNERDEAD);
    close_consumer(c);
    CHECK(*grandchild > 0);
    CHECK_IS(kill(*grandchild, SIGKILL), 0);
    munmap(grandchild, sizeof *grandchild);
}

/* ---- coming and going ---- */

static void *attaches_for_ever(void *stop) {
    while (!atomic_load_explicit((_Atomic int *)stop, memory_order_relaxed)) {
        struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
        struct rip_consumer *c = open_consumer(CHANNEL, "g", RIP_OLDEST);
        close_producer(p);
        close_consumer(c);
    }
    return NULL;
}

/* Returns 0 if this process has no file descriptor of a control file: it would keep the locks of its parent. */
static int has_none(void *argument) {
    (void)argument;
    for (int fd = 0; fd < 64; fd++) { /* no opendir: another thread of the parent may have had the lock of malloc */
        char link[32], target[512] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        CHECK(readlink(link, target, sizeof target - 1) < 0 || !strstr(target, "/control"));
    }
    return 0;
}

static void forks_while_attaching(void) {
    _Atomic int stop = 0;
    pthread_t thread;
    CHECK_IS(pthread_create(&thread, NULL, attaches_for_ever, &stop), 0);
    unsigned forks = is_emulated() ? 20 : 150; /* half a second each in QEMU */
    for (unsigned i = 0; i < forks; i++) {
        expect_success(spawn(has_none, NULL));
    }
    atomic_store_explicit(&stop, 1, memory_order_relaxed);
    CHECK_IS(pthread_join(thread, NULL), 0);
}

static int opens_and_reads_the_tables(void *argument) {
    (void)argument;
    for (unsigned i = 0; i < 500; i++) {
        struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE << (i % 8), 4);
        struct stat file, ours;
        CHECK_IS(stat(path_of("c", "control"), &file) ? errno : 0, 0);
        CHECK_IS(fstat(p->ch.handle.mapping.fd, &ours), 0);
        CHECK_IS(file.st_ino, ours.st_ino); /* otherwise no other process would find this channel */
        close_producer(p);
        int32_t holder;
        int rc = rip_remove(CHANNEL, &holder); /* otherwise the end of the stream would wait for a consumer */
        CHECK(rc == 0 || rc == -EBUSY || rc == -ENOENT);
    }
    return 0;
}

static void opened_can_be_found(void) {
    pid_t children[3];
    for (unsigned i = 0; i < 3; i++) {
        children[i] = spawn(opens_and_reads_the_tables, NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        expect_success(children[i]);
    }
}

static int joins_the_same(void *argument) {
    _Atomic uint64_t *members = argument;
    unsigned joined = 0;
    while (joined < 300) {
        struct rip_consumer *c = NULL;
        int32_t holder;
        int rc = rip_consumer_open(CHANNEL, "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder);
        if (rc == -EBUSY) {
            sched_yield();
            continue;
        }
        CHECK_IS(rc, 0);
        CHECK_IS(atomic_fetch_add_explicit(members, 1, memory_order_acq_rel), 0);
        sched_yield();
        CHECK_IS(atomic_fetch_sub_explicit(members, 1, memory_order_acq_rel), 1);
        close_consumer(c);
        joined++;
    }
    return 0;
}

static void one_member_at_a_time(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 4);
    pid_t children[3];
    _Atomic uint64_t *members = shared(sizeof *members);
    for (unsigned i = 0; i < 3; i++) {
        children[i] = spawn(joins_the_same, members);
    }
    for (unsigned i = 0; i < 3; i++) {
        expect_success(children[i]);
    }
    munmap(members, sizeof *members);
    close_producer(p);
}

/* ---- many random kills ---- */

static int puts_numbers_until_killed(void *argument) {
    (void)argument;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    for (uint64_t n = 0;; n++) {
        CHECK_IS(put_number(p, n, RIP_FOREVER), 0);
    }
}

static int gets_until_killed(void *name) {
    struct rip_consumer *c = attach(CHANNEL, name, RIP_WAIT_ADAPTIVE);
    struct rip_message released, message;
    for (int rc = 1; rc != -ENODATA;) {
        rc = rip_get(c, &released, RIP_FOREVER); /* two at a time; the second one is released first */
        if (rc == 1) {
            if (rip_get(c, &message, rip_now() + MS) == 1) {
                rip_release(c, &message);
            }
            rip_release(c, &released);
        }
        CHECK(rc == 1 || rc == -EOWNERDEAD);
    }
    return 0;
}

static void survives_kills(void) {
    struct random r = {17};
    pid_t producers[3], consumer;
    unsigned killed = 0, reported = 0;
    uint64_t next[400] = {0}; /* by lane id */
    struct rip_producer *keeper = open_producer(CHANNEL, RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer(CHANNEL, "stays", RIP_OLDEST);
    for (unsigned i = 0; i < 3; i++) {
        producers[i] = spawn(puts_numbers_until_killed, NULL);
    }
    consumer = spawn(gets_until_killed, "goes");
    for (unsigned round = 0; round < 100; round++) {
        uint64_t end = rip_now() + random_below(&r, 10 * MS);
        struct rip_message message;
        int rc;
        while ((rc = rip_get(c, &message, end)) == 1 || rc == -EOWNERDEAD) {
            if (rc == -EOWNERDEAD) {
                reported++;
                continue;
            }
            uint64_t number, id = message.lane->id;
            memcpy(&number, message.data, sizeof number);
            CHECK(id < 400);
            CHECK_IS(number, next[id]);
            next[id]++;
            rip_release(c, &message);
        }
        CHECK_IS(rc, -ETIMEDOUT);
        uint64_t victim = random_below(&r, 4);
        if (victim < 3) {
            kill_and_wait(producers[victim]);
            killed++;
            producers[victim] = spawn(puts_numbers_until_killed, NULL);
        } else {
            kill_and_wait(consumer);
            consumer = spawn(gets_until_killed, "goes");
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        kill_and_wait(producers[i]);
        killed++;
    }
    kill_and_wait(consumer);
    close_producer(keeper);
    struct rip_message message;
    int rc;
    while ((rc = rip_get(c, &message, RIP_FOREVER)) != -ENODATA) {
        CHECK(rc == 1 || rc == -EOWNERDEAD);
        if (rc == 1) {
            rip_release(c, &message);
        } else {
            reported++;
        }
    }
    /* a producer that was killed before it had a lane is not reported */
    CHECK(reported <= killed && reported > killed / 2);
    close_consumer(c);
}

int main(void) {
    script = shared(sizeof *script);
    run("small messages arrive whole and in order", small_messages);
    run("large messages arrive whole and in order", large_messages);
    run("a lane of few slots, or few bytes, carries as many messages", tight_lane);
    run("producer and consumer start in either order", start_orders);
    run("three producers, two groups: each group gets all", many_to_many);
    run("a wait ends at its deadline, or with the message of another process", waits_across_processes);
    run("all that a killed producer published is read, then its death is reported once, within a second",
        killed_producer);
    run("the death of a producer is reported to each group that has read all of its messages",
        killed_producer_is_reported_to_each_group);
    run("a producer that waits for a killed consumer goes on within a second", killed_consumer);
    run("a producer can find out at once whether a group has a live member", knows_live_members);
    run("the next member cleans up after a last member that was killed", killed_last);
    run("what a killed member had taken is not lost if another one has no free file descriptors",
        survivor_without_file_descriptors);
    run("a handle that is inherited through fork refuses calls, and cannot harm the parent's", inherited_handles);
    run("a forked child does not keep its killed parent alive", child_outlives_parent);
    run("a child forked while another thread attaches inherits none of its locks", forks_while_attaching);
    if (strcmp(CHANNEL, MEMORY) != 0) {
        run("a channel that a producer has opened can be found while an earlier one is removed", opened_can_be_found);
    }
    run("an exclusive group has one member at a time, however many try to join", one_member_at_a_time);
    run("a consumer reads every stream without a gap while others are killed", survives_kills);
    return 0;
}
