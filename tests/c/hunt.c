/* Searches at random for lost wake-ups (awake.h), with 1, 2 and 8 processes that wait for messages, room, semaphores
 * and events. HAND_OVERS in the environment: how many wake-ups each test tries; the default is small. */
#include "awake.h"

#include "sync/sync.h"

#include <pthread.h>

#define LISTENERS 7u

struct talk {
    _Atomic uint64_t there, sent, received[LISTENERS];
    _Atomic int id[LISTENERS]; /* processes, or threads */
};

static struct talk *talk;
static uint64_t wakes;
static unsigned listeners;
/* How a handle is opened. RIP_WAIT_BLOCK: its peers execute a fence at each publish or release. RIP_WAIT_ADAPTIVE: it
 * executes the fence for both sides when it goes to sleep, with membarrier(2). In both cases it then never spins. */
static enum rip_wait opened_as;
static enum rip_sync_kind kind; /* 0: messages */

/* Waits, often about as long as the peer takes from its last step to its sleep; else up to ns nanoseconds. */
static void dawdle(struct random *r, uint64_t ns) {
    uint64_t end = rip_now() + random_below(r, random_below(r, 4) ? 600 : ns);
    while (rip_now() < end) {
    }
}

static struct rip_producer *open_sleepy_producer(uint64_t slots) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open("c", RIP_PAGE, slots, RIP_BLOCK, opened_as, NULL, &p), 0);
    p->ch.spin.mode = RIP_WAIT_BLOCK;
    return p;
}

static struct rip_consumer *open_sleepy_consumer(const char *group) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    CHECK_IS(rip_consumer_open("c", group, RIP_OLDEST, opened_as, RIP_FOREVER, &c, &holder), 0);
    c->ch.spin.mode = RIP_WAIT_BLOCK;
    return c;
}

static struct rip_sync *open_sync(void) {
    struct rip_sync *s = NULL;
    CHECK_IS(rip_sync_open("s", -1, kind, 0, 0, RIP_WAIT_BLOCK, &s), 0);
    return s;
}

/* ---- one process wakes the others ---- */

static int listens(void *argument) {
    unsigned i = (unsigned)(uintptr_t)argument;
    struct random r = {2 + i};
    char group[2] = {(char)('a' + i), 0};
    struct rip_consumer *c = kind ? NULL : open_sleepy_consumer(group);
    struct rip_sync *s = kind ? open_sync() : NULL;
    atomic_store(&talk->id[i], (int)syscall(SYS_gettid));
    count_up(&talk->there);
    for (uint64_t n = 0; n < wakes; n++) {
        if (!kind) {
            CHECK_IS(get_number(c, RIP_FOREVER), n);
        } else if (kind == RIP_SEMAPHORE) {
            CHECK_IS(rip_semaphore_acquire(s, 1, RIP_FOREVER), 0);
        } else {
            CHECK_IS(rip_event_wait(s, RIP_FOREVER), 0);
        }
        count_up(&talk->received[i]);
        if (kind == RIP_EVENT || (kind && listeners > 1)) {
            /* the event is cleared, and no process takes what is meant for another one */
            while (load(&talk->sent) != n + 1) {
                sched_yield();
            }
        }
        dawdle(&r, random_below(&r, 2) ? 1 : 4000);
    }
    if (c) {
        close_consumer(c);
    } else {
        CHECK_IS(rip_sync_close(s), 0);
        rip_sync_free(s);
    }
    return 0;
}

static void *listens_as_thread(void *argument) {
    listens(argument);
    return NULL;
}

static void speak(void) {
    struct random r = {1};
    struct rip_producer *p = kind ? NULL : open_sleepy_producer(4);
    struct rip_sync *s = kind ? open_sync() : NULL;
    while (load(&talk->there) != listeners) {
        sched_yield();
    }
    for (uint64_t n = 0; n < wakes; n++) {
        dawdle(&r, 8000); /* from before their check to after they sleep */
        if (!kind) {
            CHECK_IS(put_number(p, n, 0), 0);
        } else if (kind == RIP_SEMAPHORE) {
            CHECK_IS(rip_semaphore_release(s, listeners), 0);
        } else {
            CHECK_IS(rip_event_set(s), 0);
        }
        for (unsigned i = 0; i < listeners; i++) {
            expect_awake(atomic_load(&talk->id[i]), &talk->received[i], n + 1);
        }
        if (kind == RIP_EVENT) {
            CHECK_IS(rip_event_clear(s), 0);
        }
        atomic_store_explicit(&talk->sent, n + 1, memory_order_release);
    }
    if (p) {
        close_producer(p);
    } else {
        CHECK_IS(rip_sync_close(s), 0);
        rip_sync_free(s);
    }
}

static void among(unsigned processes) {
    pthread_t thread;
    pid_t pids[LISTENERS];
    memset(talk, 0, sizeof *talk);
    listeners = processes == 8 ? 7 : 1;
    struct rip_producer *first = kind ? NULL : open_sleepy_producer(4); /* otherwise a listener would find no channel */
    for (uintptr_t i = 0; i < listeners; i++) {
        if (processes == 1) {
            CHECK_IS(pthread_create(&thread, NULL, listens_as_thread, NULL), 0);
        } else {
            pids[i] = spawn(listens, (void *)i); /* NOLINT(performance-no-int-to-ptr) */
        }
    }
    speak();
    for (unsigned i = 0; i < listeners; i++) {
        if (processes == 1) {
            CHECK_IS(pthread_join(thread, NULL), 0);
        } else {
            expect_success(pids[i]);
        }
    }
    if (first) {
        close_producer(first);
    }
}

static void among_all(void) {
    uint64_t all = wakes;
    among(1);
    among(2);
    wakes = all / LISTENERS; /* each listener counts, and there may be only two cores */
    among(8);
    wakes = all;
}

/* ---- a producer that waits for room ---- */

static int sends(void *argument) {
    (void)argument;
    struct rip_producer *p = open_sleepy_producer(1);
    struct random r = {4};
    for (uint64_t n = 0; n < wakes; n++) {
        dawdle(&r, random_below(&r, 2) ? 1 : 4000);
        CHECK_IS(put_number(p, n, RIP_FOREVER), 0); /* there is one slot: waits for the release of the message before */
        count_up(&talk->sent);
    }
    close_producer(p);
    return 0;
}

static void wakes_producer(void) {
    struct random r = {3};
    memset(talk, 0, sizeof *talk);
    struct rip_producer *keeper = open_sleepy_producer(1);
    struct rip_consumer *c = open_sleepy_consumer("g");
    pid_t child = spawn(sends, NULL);
    for (uint64_t n = 0; n < wakes; n++) {
        expect_awake(child, &talk->sent, n + 1);
        dawdle(&r, 8000);
        CHECK_IS(get_number(c, RIP_FOREVER), n);
    }
    expect_success(child);
    close_producer(keeper);
    close_consumer(c);
}

/* ---- both sides sleep, one after the other ---- */

/* A lost wake-up of one side stops the other too. So it shows only in the time. */
static int answers(void *argument) {
    (void)argument;
    struct rip_consumer *c = open_consumer("there", "g", RIP_OLDEST);
    struct rip_producer *p = open_producer("back", RIP_PAGE, 4);
    count_up(&talk->there);
    for (uint64_t n = 0; n < wakes; n++) {
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
    CHECK(reaches(&talk->there, 1, 10000 * MS));
    struct rip_consumer *c = open_consumer("back", "g", RIP_OLDEST);
    unsigned late = 0;
    for (uint64_t n = 0; n < wakes; n++) {
        uint64_t start = rip_now();
        CHECK_IS(put_number(p, n, 0), 0);
        CHECK_IS(get_number(c, RIP_FOREVER), n);
        uint64_t took = rip_now() - start;
        late += took > 45 * MS && took < 60 * MS; /* how long a sleep to the end of its slice takes */
    }
    CHECK(late < 4 + wakes / 100000); /* a busy machine may be late too */
    expect_success(child);
    close_producer(p);
    close_consumer(c);
}

int main(void) {
    const char *wanted = getenv("HAND_OVERS");
    wakes = wanted ? strtoull(wanted, NULL, 10) : 20000;
    talk = shared(sizeof *talk);
    opened_as = RIP_WAIT_ADAPTIVE;
    run("a consumer that sleeps is woken by messages that are put without a fence", among_all);
    run("a producer that sleeps is woken by releases that are made without a fence", wakes_producer);
    opened_as = RIP_WAIT_BLOCK;
    run("a consumer that sleeps is woken by each message", among_all);
    run("a producer that sleeps is woken by each release", wakes_producer);
    run("two processes that wait for each other are woken, and do not wait for a timeout", ping_pong);
    kind = RIP_SEMAPHORE;
    run("a waiter for a unit is woken by each release", among_all);
    kind = RIP_EVENT;
    run("a waiter for an event is woken when it is set", among_all);
    no_wake_up_was_lost();
    return 0;
}
