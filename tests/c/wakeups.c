/* No wake-up is lost (awake.h): neither those by something else than messages and room, nor any at any instruction of
 * the waker. */
#include "awake.h"
#include "steps.h"

#include "store/table_lock.h"

#include <poll.h>

struct talk {
    _Atomic uint64_t sent, received[2], go[2];
    _Atomic uint64_t gone;       /* number of processes that take part */
    _Atomic uint64_t entered[2]; /* how often a process has started to wait for a message */
};

static struct talk *talk;

/* ---- wake-ups without a message ---- */

#define ROUNDS 100u

/* Waits until the process sleeps or has counted up to value. */
static void await_sleep(pid_t pid, _Atomic uint64_t *word, uint64_t value) {
    for (unsigned still = 0; still < 3 && load(word) < value;) {
        still = process_state(pid) == 'S' ? still + 1 : 0;
        sched_yield();
    }
}

static int sends_on(void *argument) {
    (void)argument;
    struct rip_producer *p = open_producer("c", RIP_PAGE, 1);
    for (uint64_t n = 0; n < 2 * ROUNDS; n++) {
        CHECK_IS(put_number(p, n, RIP_FOREVER), 0);
        count_up(&talk->sent);
    }
    close_producer(p);
    return 0;
}

static void leaving_group_wakes_producer(void) {
    memset(talk, 0, sizeof *talk);
    struct rip_producer *keeper = open_producer("c", RIP_PAGE, 1);
    struct rip_consumer *quick = open_consumer("c", "quick", RIP_OLDEST);
    pid_t child = spawn(sends_on, NULL);
    for (uint64_t n = 0; n < 2 * ROUNDS; n += 2) {
        expect_awake(child, &talk->sent, n + 1);
        struct rip_consumer *slow = open_consumer("c", "slow", RIP_OLDEST);
        CHECK_IS(get_number(quick, RIP_FOREVER), n); /* now only the slow consumer holds the producer back */
        await_sleep(child, &talk->sent, n + 2);
        CHECK(load(&talk->sent) == n + 1);
        close_consumer(slow);
        expect_awake(child, &talk->sent, n + 2);
        CHECK_IS(get_number(quick, RIP_FOREVER), n + 1);
    }
    expect_success(child);
    close_producer(keeper);
    close_consumer(quick);
    CHECK_IS(lost, 0);
}

static int reads_streams(void *argument) {
    (void)argument;
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    for (uint64_t n = 0; n < ROUNDS; n++) {
        CHECK(reaches(&talk->go[0], n + 1, 10000 * MS)); /* there is a producer */
        CHECK_IS(get_number(c, RIP_FOREVER), n);
        count_up(&talk->received[0]);
        CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
        count_up(&talk->received[0]);
    }
    close_consumer(c);
    return 0;
}

static void end_wakes_consumer(void) {
    memset(talk, 0, sizeof *talk);
    pid_t child = 0;
    for (uint64_t n = 0; n < ROUNDS; n++) {
        struct rip_producer *p = open_producer("c", RIP_PAGE, 1);
        child = n ? child : spawn(reads_streams, NULL);
        count_up(&talk->go[0]);
        await_sleep(child, &talk->received[0], 2 * n + 1);
        CHECK_IS(put_number(p, n, 0), 0);
        expect_awake(child, &talk->received[0], 2 * n + 1);
        await_sleep(child, &talk->received[0], 2 * n + 2);
        close_producer(p);
        expect_awake(child, &talk->received[0], 2 * n + 2);
    }
    expect_success(child);
    CHECK_IS(lost, 0);
}

/* In a shared group the end comes when the last message is acknowledged, even if there is still a view on it. */
static int waits_for_ends(void *argument) {
    (void)argument;
    for (uint64_t n = 0; n < ROUNDS; n++) {
        CHECK(reaches(&talk->go[0], n + 1, 10000 * MS));
        struct rip_consumer *c = open_consumer("c", "g", RIP_SHARED);
        count_up(&talk->gone);
        CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
        count_up(&talk->received[0]);
        close_consumer(c);
    }
    return 0;
}

static void last_one_done_wakes_consumer(void) {
    memset(talk, 0, sizeof *talk);
    pid_t child = spawn(waits_for_ends, NULL);
    for (uint64_t n = 0; n < ROUNDS; n++) {
        struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
        struct rip_consumer *c = open_consumer("c", "g", RIP_SHARED);
        struct rip_message messages[2];
        for (unsigned i = 0; i < 2; i++) {
            CHECK_IS(put_number(p, n, 0), 0);
            CHECK_IS(rip_get(c, &messages[i], 0), 1);
        }
        close_producer(p);
        count_up(&talk->go[0]);
        CHECK(reaches(&talk->gone, n + 1, 10000 * MS));
        await_sleep(child, &talk->received[0], n + 1);
        rip_acknowledge(c, &messages[n & 1]); /* in either order */
        await_sleep(child, &talk->received[0], n + 1);
        CHECK(load(&talk->received[0]) == n);
        rip_acknowledge(c, &messages[~n & 1]);
        expect_awake(child, &talk->received[0], n + 1);
        rip_release(c, &messages[0]);
        rip_release(c, &messages[1]);
        close_consumer(c);
    }
    expect_success(child);
    CHECK_IS(lost, 0);
}

/* ---- at every instruction ---- */

static int publishes(void *argument) {
    struct rip_producer *p = open_producer("c", RIP_PAGE, 64);
    (void)argument;
    traceable();
    for (uint64_t n = 0;; n++) {
        unsigned char *payload;
        CHECK_IS(rip_reserve(p, sizeof n, &payload), 0);
        memcpy(payload, &n, sizeof n);
        stop_here();
        CHECK_IS(rip_publish(p, sizeof n, 0, RIP_BYTES), 0);
    }
}

static int receives_when_asked(void *argument) {
    unsigned i = *(unsigned *)argument;
    struct rip_consumer *c = open_consumer("c", i ? "b" : "a", RIP_OLDEST);
    count_up(&talk->gone);
    for (uint64_t n = 0;; n++) {
        while (load(&talk->go[i]) <= n) {
            nap(MS / 50); /* there are more processes than processors */
        }
        count_up(&talk->entered[i]);
        CHECK_IS(get_number(c, RIP_FOREVER), n);
        count_up(&talk->received[i]);
    }
}

/* Group a sleeps. A message is published, one instruction at a time. After each instruction, in a round of its own,
 * group b takes what is there and goes to sleep too. The next message must wake both. */
static void at_every_instruction(void) {
    pid_t receivers[2], producer;
    struct rip_producer *keeper = open_producer("c", RIP_PAGE, 4);
    memset(talk, 0, sizeof *talk);
    for (unsigned i = 0; i < 2; i++) {
        receivers[i] = spawn(receives_when_asked, &i);
        CHECK(reaches(&talk->gone, i + 1, 10000 * MS));
    }
    producer = spawn(publishes, NULL);
    CHECK(await_stop(producer));
    uint64_t published = 0;
    int steps = 0;
    for (int more = 1; more; steps += steps < 120 ? 1 : 7) { /* the last part is a loop over all groups */
        atomic_store_explicit(&talk->go[0], published + 1, memory_order_release);
        CHECK(reaches(&talk->entered[0], published + 1, 10000 * MS));
        await_sleep(receivers[0], &talk->received[0], published + 1);
        for (int i = 0; i < steps && more; i++) {
            more = step(producer);
        }
        /* b takes the message if it is published already, and waits for the next one, which may be this one */
        atomic_store_explicit(&talk->go[1], published + 2, memory_order_release);
        atomic_store_explicit(&talk->go[0], published + 2, memory_order_release);
        CHECK(reaches(&talk->entered[1], published + 1, 10000 * MS));
        await_sleep(receivers[1], &talk->received[1], published + 2);
        if (more) {
            CHECK(run_on(producer));
        }
        published++;
        expect_awake(receivers[0], &talk->received[0], published);
        expect_awake(receivers[1], &talk->received[1], published);
        CHECK(run_on(producer));
        published++;
        expect_awake(receivers[0], &talk->received[0], published);
        expect_awake(receivers[1], &talk->received[1], published);
    }
    CHECK(steps > 50);
    CHECK_IS(lost, 0);
    kill_and_wait(producer);
    kill_and_wait(receivers[0]);
    kill_and_wait(receivers[1]);
    close_producer(keeper);
}

/* ---- members that compete ---- */

#define WORKERS 6u

/* Takes one message each time the test asks for it. So each message needs a worker of its own. */
static int works_when_asked(void *argument) {
    unsigned i = *(unsigned *)argument;
    struct rip_consumer *c = open_consumer("c", "work", RIP_SHARED);
    count_up(&talk->gone);
    for (uint64_t n = 0;; n++) {
        struct rip_message message;
        while (load(&talk->go[i]) <= n) {
            nap(MS / 50);
        }
        count_up(&talk->entered[i]);
        CHECK_IS(rip_get(c, &message, RIP_FOREVER), 1);
        rip_release(c, &message);
        count_up(&talk->received[i]);
    }
}

/* Two members sleep. A message is published, one instruction at a time; in between another producer publishes one
 * too. */
static void each_message_wakes_one(void) {
    pid_t workers[2], producer;
    struct rip_producer *other = open_producer("c", RIP_PAGE, 4);
    memset(talk, 0, sizeof *talk);
    for (unsigned i = 0; i < 2; i++) {
        workers[i] = spawn(works_when_asked, &i);
        CHECK(reaches(&talk->gone, i + 1, 10000 * MS));
    }
    producer = spawn(publishes, NULL);
    CHECK(await_stop(producer));
    uint64_t n = 0;
    int steps = 0;
    for (int more = 1; more; steps += steps < 120 ? 1 : 7) {
        n++;
        for (unsigned i = 0; i < 2; i++) {
            atomic_store_explicit(&talk->go[i], n, memory_order_release);
            CHECK(reaches(&talk->entered[i], n, 10000 * MS));
            await_sleep(workers[i], &talk->received[i], n);
        }
        for (int i = 0; i < steps && more; i++) {
            more = step(producer);
        }
        CHECK_IS(put_number(other, n, 0), 0);
        if (more) {
            CHECK(run_on(producer));
        }
        expect_awake(workers[0], &talk->received[0], n);
        expect_awake(workers[1], &talk->received[1], n);
        CHECK(run_on(producer)); /* to its next message */
        n++;
        for (unsigned i = 0; i < 2; i++) { /* that message, and one more */
            atomic_store_explicit(&talk->go[i], n, memory_order_release);
        }
        CHECK_IS(put_number(other, n, 0), 0);
        expect_awake(workers[0], &talk->received[0], n);
        expect_awake(workers[1], &talk->received[1], n);
    }
    CHECK(steps > 50);
    CHECK_IS(lost, 0);
    kill_and_wait(producer);
    kill_and_wait(workers[0]);
    kill_and_wait(workers[1]);
    close_producer(other);
}

static int takes_what_comes(void *argument) {
    struct rip_consumer *c = open_consumer("c", "work", RIP_SHARED);
    struct rip_filter filter = {.types = (const uint32_t[]){7}, .count = *(unsigned *)argument};
    struct rip_message message;
    count_up(&talk->gone);
    for (;;) {
        CHECK_IS(filter.count ? rip_get_selected(c, &filter, &message, RIP_FOREVER) : rip_get(c, &message, RIP_FOREVER),
                 1);
        rip_release(c, &message);
        count_up(&talk->received[filter.count]);
    }
}

static void message_wakes_one_member(void) {
    pid_t workers[WORKERS];
    uint64_t before = 0, after = 0, start;
    unsigned any = 0;
    memset(talk, 0, sizeof *talk);
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = spawn(takes_what_comes, &any);
        CHECK(reaches(&talk->gone, i + 1, 10000 * MS));
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        await_sleep(workers[i], &talk->sent, 1);
        before += sleeps_of(workers[i]);
    }
    start = rip_now();
    for (uint64_t n = 0; n < ROUNDS; n++) {
        CHECK_IS(put_number(p, n, 0), 0);
        CHECK(reaches(&talk->received[0], n + 1, 10000 * MS));
        for (unsigned i = 0; i < WORKERS; i++) {
            await_sleep(workers[i], &talk->sent, 1);
        }
    }
    uint64_t slices = WORKERS * ((rip_now() - start) / RIP_SLICE_NS + 1);
    for (unsigned i = 0; i < WORKERS; i++) {
        after += sleeps_of(workers[i]);
        kill_and_wait(workers[i]);
    }
    CHECK(after - before < 2 * ROUNDS + 2 * slices);
    close_producer(p);
}

/* A member that waits for other messages sleeps too, and for longer. It must not be woken instead of a member that
 * takes any message. */
static void selecting_member_keeps_no_other_asleep(void) {
    unsigned any = 0, some = 1;
    memset(talk, 0, sizeof *talk);
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    pid_t picky = spawn(takes_what_comes, &some), worker = spawn(takes_what_comes, &any);
    CHECK(reaches(&talk->gone, 2, 10000 * MS));
    for (uint64_t n = 0; n < ROUNDS; n++) {
        await_sleep(picky, &talk->received[1], n + 1);
        await_sleep(worker, &talk->received[0], n + 1);
        CHECK_IS(put_number(p, n, 0), 0);
        expect_awake(worker, &talk->received[0], n + 1);
        await_sleep(worker, &talk->sent, 1);
        kill(worker, SIGSTOP);
        while (process_state(worker) != 'T') {
            sched_yield();
        }
        CHECK_IS(rip_put(p, &n, sizeof n, 7, RIP_BYTES, 0), 0);
        expect_awake(picky, &talk->received[1], n + 1);
        kill(worker, SIGCONT);
    }
    kill_and_wait(picky);
    kill_and_wait(worker);
    close_producer(p);
    CHECK_IS(lost, 0);
}

/* A member that cannot map a new lane takes no message of that lane. */
static int cannot_see(void *argument) {
    (void)argument;
    struct rip_consumer *c = open_consumer("c", "work", RIP_SHARED);
    struct rip_message message;
    allow_files(0);
    count_up(&talk->gone);
    for (;;) {
        CHECK_IS(rip_get(c, &message, RIP_FOREVER), -EMFILE);
        count_up(&talk->received[1]);
    }
}

static void member_without_the_lane_keeps_no_other_asleep(void) {
    unsigned any = 0;
    memset(talk, 0, sizeof *talk);
    struct rip_producer *first = open_producer("c", RIP_PAGE, 4);
    pid_t blind = spawn(cannot_see, NULL), worker = spawn(takes_what_comes, &any);
    CHECK(reaches(&talk->gone, 2, 10000 * MS));
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    CHECK(reaches(&talk->received[1], 1, 10000 * MS));
    for (uint64_t n = 0; n < ROUNDS; n++) {
        await_sleep(blind, &talk->received[1], 2);
        await_sleep(worker, &talk->received[0], n + 1);
        CHECK_IS(put_number(p, n, 0), 0);
        expect_awake(worker, &talk->received[0], n + 1);
    }
    kill_and_wait(blind);
    kill_and_wait(worker);
    close_producer(p);
    close_producer(first);
    CHECK_IS(lost, 0);
}

/* The other direction: a consumer releases a message, one instruction at a time, and in between the producer that waits
 * for room goes to sleep. */
static int releases(void *argument) {
    (void)argument;
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    count_up(&talk->gone);
    traceable();
    for (;;) {
        struct rip_message message;
        CHECK_IS(rip_get(c, &message, RIP_FOREVER), 1);
        stop_here();
        rip_release(c, &message);
        stop_here();
    }
}

static int puts_when_asked(void *argument) {
    struct rip_producer *p = open_producer("c", RIP_PAGE, 1);
    (void)argument;
    count_up(&talk->gone);
    for (uint64_t n = 0;; n++) {
        while (load(&talk->go[0]) <= n) {
            sched_yield();
        }
        CHECK_IS(put_number(p, n, RIP_FOREVER), 0);
        count_up(&talk->sent);
    }
}

static void release_at_every_instruction(void) {
    struct rip_producer *keeper = open_producer("c", RIP_PAGE, 4);
    memset(talk, 0, sizeof *talk);
    pid_t producer = spawn(puts_when_asked, NULL);
    CHECK(reaches(&talk->gone, 1, 10000 * MS));
    pid_t consumer = spawn(releases, NULL);
    uint64_t sent = 1;
    atomic_store_explicit(&talk->go[0], sent, memory_order_release);
    CHECK(await_stop(consumer)); /* it has the first message */
    int steps = 0;
    for (int more = 1; more; steps++) {
        for (int i = 0; i < steps && more; i++) {
            more = step(consumer);
        }
        sent++;
        atomic_store_explicit(&talk->go[0], sent, memory_order_release);
        await_sleep(producer, &talk->sent, sent);
        if (more) {
            CHECK(run_on(consumer));
        }
        expect_awake(producer, &talk->sent, sent);
        CHECK(run_on(consumer)); /* until it has taken the next one */
    }
    CHECK(steps > 20);
    CHECK_IS(lost, 0);
    kill_and_wait(consumer);
    kill_and_wait(producer);
    close_producer(keeper);
}

/* ---- the byte that makes a pollfd readable ---- */

#define LATE (2 * MS)

static int is_readable(int fd) {
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, 0) == 1;
}

/* Publishes, and is then slow to write into the pipe of the first consumer, or (*dies) is killed before it writes. */
static int writes_late(void *dies) {
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    _Atomic uint32_t *word = &p->ch.control->members[0].pollfd;
    atomic_fetch_and(word, ~RIP_POLLFD_ARMED);
    atomic_fetch_or(word, RIP_POLLFD_WRITES);
    CHECK_IS(put_number(p, 7, 0), 0);
    count_up(&talk->sent);
    if (*(int *)dies) {
        raise(SIGKILL);
    }
    nap(LATE);
    int fd = open(path_of("c", "pollfd-0"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    CHECK_IS(write(fd, "", 1), 1);
    close(fd);
    atomic_fetch_and(word, ~RIP_POLLFD_WRITES);
    close_producer(p);
    return 0;
}

static void a_late_byte_is_discarded(void) {
    int dies = 0, status;
    struct rip_producer *keeper = open_producer("c", RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    CHECK_IS(c->ch.handle.member, 0);
    int fd = rip_consumer_fd(c);
    for (unsigned k = 0; k < 4; k++) {
        memset(talk, 0, sizeof *talk);
        dies = k == 2;
        CHECK(!is_readable(fd));
        pid_t child = spawn(writes_late, &dies);
        CHECK(reaches(&talk->sent, 1, 10000 * MS));
        CHECK_IS(get_number(c, 0), 7);
        rip_consumer_update_fd(c); /* waits for the byte */
        CHECK(!is_readable(fd));
        CHECK_IS(waitpid(child, &status, 0), child);
        CHECK(WIFSIGNALED(status) == dies);
        if (dies) {
            make_reaping_due(&c->ch.handle);
            rip_reap_if_due(&c->ch.handle);
            CHECK_IS(get_nothing(c, 0), -EOWNERDEAD);
            rip_consumer_update_fd(c);
        }
        CHECK(!is_readable(fd));
        CHECK_IS(put_number(keeper, 8, 0), 0);
        CHECK(is_readable(fd));
        CHECK_IS(get_number(c, 0), 8);
        rip_consumer_update_fd(c);
    }
    close_producer(keeper);
    close_consumer(c);
}

int main(void) {
    talk = shared(sizeof *talk);
    run("a producer that waits for a group is woken when the group leaves", leaving_group_wakes_producer);
    run("a consumer that waits for a message is woken by the end of the stream", end_wakes_consumer);
    run("a member that waits for the end is woken when another one acknowledges the last message",
        last_one_done_wakes_consumer);
    run("in a shared group a message wakes one member, not all", message_wakes_one_member);
    run("a member that selects messages keeps no other one asleep, and gets its own",
        selecting_member_keeps_no_other_asleep);
    run("a member that cannot map a lane keeps no other one asleep", member_without_the_lane_keeps_no_other_asleep);
    run("a pollfd is not readable because of a byte that comes late", a_late_byte_is_discarded);
    if (can_step()) {
        run("a group that goes to sleep while another is being woken is woken by the next message",
            at_every_instruction);
        run("in a shared group each message wakes one member, at any instruction", each_message_wakes_one);
        run("a producer that goes to sleep while room is being made is woken", release_at_every_instruction);
    } else {
        printf("  left out: no process may be stepped here\n");
    }
    no_wake_up_was_lost();
    return 0;
}
