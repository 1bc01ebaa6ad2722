/* Hunts for lost wake-ups: a process that sleeps although what it waits for is there. The core's waits end every RIP_SLICE_NS anyway,
 * so that a lost one costs 50 ms and no more; here it counts as a failure. */
#include "steps.h"

#define HAND_OVERS 40000u  /* each way, and with each kind of fence */
#define PATIENCE (20 * MS) /* a sleep that is to be noticed lasts up to RIP_SLICE_NS */

struct talk {
    _Atomic uint64_t sent, received[2], go[2];
    _Atomic uint64_t gone;       /* receivers that are there */
    _Atomic uint64_t entered[2]; /* how often one has begun to wait for a message */
};

static struct talk *talk;
static unsigned lost, slow, hand_overs;

static uint64_t load(_Atomic uint64_t *word) { return atomic_load_explicit(word, memory_order_acquire); }

static void count_up(_Atomic uint64_t *word) { atomic_fetch_add_explicit(word, 1, memory_order_release); }

/* Waits until the peer has counted up to value. It has been given what it waits for: if it still sleeps, its wake-up is lost; if it
 * is ready to run but does not, the machine is busy. */
static void expect_awake(pid_t peer, _Atomic uint64_t *word, uint64_t value) {
    hand_overs++;
    if (reaches(word, value, PATIENCE)) {
        return;
    }
    unsigned asleep = 0;
    for (unsigned i = 0; i < 5; i++) {
        asleep += process_state(peer) == 'S';
        nap(MS);
    }
    lost += asleep == 5 && load(word) < value;
    slow++;
    CHECK(reaches(word, value, 10000 * MS));
}

/* Often about as long as the other one takes from its last step to its sleep; else up to ns nanoseconds. */
static void dawdle(struct random *r, uint64_t ns) {
    uint64_t end = rip_now() + random_below(r, random_below(r, 4) ? 600 : ns);
    while (rip_now() < end) {
    }
}

/* ---- at random ---- */

/* One who blocks makes its peers fence with each publish or release. One who may spin first does not, and fences for both when it goes to
 * sleep, with membarrier(2): these open as such a one, and then block. */
static enum rip_wait opened_as;

static struct rip_producer *open_sleepy_producer(uint64_t slots) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open("c", RIP_PAGE, slots, RIP_BLOCK, opened_as, 0600, &p), 0);
    p->ch.spin.mode = RIP_WAIT_BLOCK;
    return p;
}

static struct rip_consumer *open_sleepy_consumer(void) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    CHECK_IS(rip_consumer_open("c", "g", RIP_OLDEST, opened_as, &c, &holder), 0);
    c->ch.spin.mode = RIP_WAIT_BLOCK;
    return c;
}

static int receives(void *argument) {
    (void)argument;
    struct rip_consumer *c = open_sleepy_consumer();
    struct random r = {2};
    count_up(&talk->gone);
    for (uint64_t n = 0; n < HAND_OVERS; n++) {
        CHECK_IS(get_number(c, RIP_FOREVER), n);
        count_up(&talk->received[0]);
        dawdle(&r, random_below(&r, 2) ? 1 : 4000);
    }
    close_consumer(c);
    return 0;
}

static void wakes_consumer(void) {
    struct random r = {1};
    memset(talk, 0, sizeof *talk);
    struct rip_producer *p = open_sleepy_producer(4);
    pid_t child = spawn(receives, NULL);
    CHECK(reaches(&talk->gone, 1, 10000 * MS));
    for (uint64_t n = 0; n < HAND_OVERS; n++) {
        dawdle(&r, 8000); /* from before it looks to after it sleeps */
        CHECK_IS(put_number(p, n, 0), 0);
        expect_awake(child, &talk->received[0], n + 1);
    }
    expect_success(child);
    close_producer(p);
}

static int sends(void *argument) {
    (void)argument;
    struct rip_producer *p = open_sleepy_producer(1);
    struct random r = {4};
    for (uint64_t n = 0; n < HAND_OVERS; n++) {
        dawdle(&r, random_below(&r, 2) ? 1 : 4000);
        CHECK_IS(put_number(p, n, RIP_FOREVER), 0); /* there is one slot: it waits for the release of the one before */
        count_up(&talk->sent);
    }
    close_producer(p);
    return 0;
}

static void wakes_producer(void) {
    struct random r = {3};
    memset(talk, 0, sizeof *talk);
    struct rip_producer *keeper = open_sleepy_producer(1);
    struct rip_consumer *c = open_sleepy_consumer();
    pid_t child = spawn(sends, NULL);
    for (uint64_t n = 0; n < HAND_OVERS; n++) {
        expect_awake(child, &talk->sent, n + 1);
        dawdle(&r, 8000);
        CHECK_IS(get_number(c, RIP_FOREVER), n);
    }
    expect_success(child);
    close_producer(keeper);
    close_consumer(c);
}

/* Both sides sleep in turn, and a lost wake-up of either stops the other: only the time tells. */
static int answers(void *argument) {
    (void)argument;
    struct rip_consumer *c = open_consumer("there", "g", RIP_OLDEST);
    struct rip_producer *p = open_producer("back", RIP_PAGE, 4);
    count_up(&talk->gone);
    for (uint64_t n = 0; n < HAND_OVERS; n++) {
        CHECK_IS(put_number(p, get_number(c, RIP_FOREVER), 0), 0);
    }
    close_consumer(c);
    close_producer(p);
    return 0;
}

static void ping_pong(void) {
    memset(talk, 0, sizeof *talk);
    struct rip_producer *p = open_producer("there", RIP_PAGE, 4);
    pid_t child = spawn(answers, NULL);
    CHECK(reaches(&talk->gone, 1, 10000 * MS));
    struct rip_consumer *c = open_consumer("back", "g", RIP_OLDEST);
    unsigned late = 0;
    for (uint64_t n = 0; n < HAND_OVERS; n++) {
        uint64_t start = rip_now();
        CHECK_IS(put_number(p, n, 0), 0);
        CHECK_IS(get_number(c, RIP_FOREVER), n);
        uint64_t took = rip_now() - start;
        late += took > 45 * MS && took < 60 * MS; /* what a sleep to the end of its slice takes */
    }
    CHECK(late < 4); /* a busy machine may be late too */
    expect_success(child);
    close_producer(p);
    close_consumer(c);
}

/* ---- by what is no message ---- */

#define ROUNDS 100u

/* Waits until the process sleeps, or has counted up to value. */
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
        CHECK_IS(get_number(quick, RIP_FOREVER), n); /* now only the slow one keeps the producer from going on */
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
        CHECK(reaches(&talk->go[0], n + 1, 10000 * MS)); /* a producer is there */
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

static int receives_when_told(void *argument) {
    unsigned i = *(unsigned *)argument;
    struct rip_consumer *c = open_consumer("c", i ? "b" : "a", RIP_OLDEST);
    count_up(&talk->gone);
    for (uint64_t n = 0;; n++) {
        while (load(&talk->go[i]) <= n) {
            nap(MS / 50); /* there are more of us than processors */
        }
        count_up(&talk->entered[i]);
        CHECK_IS(get_number(c, RIP_FOREVER), n);
        count_up(&talk->received[i]);
    }
}

/* Group a sleeps. A message is published, one instruction at a time; after each, in its own round, group b takes what is there and goes
 * to sleep too. The next message must wake both. */
static void at_every_instruction(void) {
    pid_t receivers[2], producer;
    struct rip_producer *keeper = open_producer("c", RIP_PAGE, 4);
    memset(talk, 0, sizeof *talk);
    for (unsigned i = 0; i < 2; i++) {
        receivers[i] = spawn(receives_when_told, &i);
        CHECK(reaches(&talk->gone, i + 1, 10000 * MS));
    }
    producer = spawn(publishes, NULL);
    CHECK(await_stop(producer));
    uint64_t published = 0;
    int steps = 0;
    for (int more = 1; more; steps += steps < 120 ? 1 : 7) { /* what comes late is a loop over all groups */
        atomic_store_explicit(&talk->go[0], published + 1, memory_order_release);
        CHECK(reaches(&talk->entered[0], published + 1, 10000 * MS));
        await_sleep(receivers[0], &talk->received[0], published + 1);
        for (int i = 0; i < steps && more; i++) {
            more = step(producer);
        }
        /* b: takes the message if it is there already, and waits for the next one, which may be this one */
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

/* The same the other way round: a consumer lets a message go, one instruction at a time, and the producer that waits for room goes to
 * sleep in between. */
static int releases(void *argument) {
    (void)argument;
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    count_up(&talk->gone);
    traceable();
    for (;;) {
        struct rip_message message;
        CHECK_IS(get(c, &message, RIP_FOREVER), 1);
        stop_here();
        rip_release(c, &message);
        stop_here();
    }
}

static int puts_when_told(void *argument) {
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
    pid_t producer = spawn(puts_when_told, NULL);
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
        CHECK(run_on(consumer)); /* takes the next one */
    }
    CHECK(steps > 20);
    CHECK_IS(lost, 0);
    kill_and_wait(consumer);
    kill_and_wait(producer);
    close_producer(keeper);
}

int main(void) {
    talk = shared(sizeof *talk);
    opened_as = RIP_WAIT_BLOCK;
    run("a consumer that sleeps is woken by each message", wakes_consumer);
    run("a producer that sleeps is woken by each release", wakes_producer);
    opened_as = RIP_WAIT_ADAPTIVE;
    run("a consumer that sleeps is woken by messages that are put without a fence", wakes_consumer);
    run("a producer that sleeps is woken by releases that are made without a fence", wakes_producer);
    run("two that wait for each other in turn do not wait for a clock", ping_pong);
    CHECK_IS(lost, 0);
    run("a producer that waits for a group is woken when that leaves", leaving_group_wakes_producer);
    run("a consumer that waits for a message is woken by the end of the stream", end_wakes_consumer);
    if (can_step()) {
        run("a group that goes to sleep while another is being woken is woken by the next message",
            at_every_instruction);
        run("a producer that goes to sleep while room is being made is woken", release_at_every_instruction);
    }
    printf("  %u of %u hand-overs were slow\n", slow, hand_overs);
    CHECK_IS(lost, 0);
    return 0;
}
