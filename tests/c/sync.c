/* Semaphores, locks, events and barriers between processes, also if a process is killed. */
#include "moments.h"

#include "store/table_lock.h"
#include "sync/semaphore.h"

#include <pthread.h>
#include <sys/time.h>

static struct rip_sync *open_sync(const char *name, enum rip_sync_kind kind, int64_t value, int undo) {
    struct rip_sync *s = NULL;
    CHECK_IS(rip_sync_open(name, -1, kind, value, undo, RIP_WAIT_ADAPTIVE, &s), 0);
    return s;
}

static void close_sync(struct rip_sync *s) {
    CHECK_IS(rip_sync_close(s), 0);
    rip_sync_free(s);
}

static void reap_soon(struct rip_sync *s) { s->handle.reaped_at = 0; }

static uint64_t in(uint64_t ms) { return rip_now() + ms * MS; }

/* ---- units ---- */

static void units_are_counted(void) {
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 5, 0), *other = open_sync("s", RIP_SEMAPHORE, -1, 0);
    CHECK_IS(rip_semaphore_acquire(s, 3, 0), 0);
    CHECK_IS(rip_semaphore_value(other), 2);
    CHECK_IS(rip_semaphore_acquire(other, 3, 0), -ETIMEDOUT);
    uint64_t start = rip_now();
    CHECK_IS(rip_semaphore_acquire(other, 3, in(20)), -ETIMEDOUT);
    CHECK(rip_now() - start >= 20 * MS && rip_now() - start < 1000 * MS);
    CHECK_IS(rip_semaphore_release(other, 1), 0); /* a handle may release units that another one has acquired */
    CHECK_IS(rip_semaphore_acquire(other, 3, 0), 0);
    CHECK_IS(rip_semaphore_value(s), 0);
    CHECK_IS(rip_semaphore_release(s, RIP_MAX_UNITS), 0);
    CHECK_IS(rip_semaphore_release(s, 1), -EOVERFLOW);
    CHECK_IS(rip_semaphore_value(s), RIP_MAX_UNITS);
    CHECK_IS(rip_semaphore_acquire(s, 0, 0), -EINVAL);
    CHECK_IS(rip_semaphore_acquire(s, RIP_MAX_UNITS, 0), 0);
    close_sync(s);
    CHECK_IS(rip_semaphore_value(other), 0);
    close_sync(other);
    CHECK(!exists("s", NULL));
}

static void names_are_kept_apart(void) {
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 5, 0), *other = NULL;
    struct rip_producer *p = NULL;
    struct rip_consumer *c = NULL;
    int32_t holder;
    CHECK_IS(rip_sync_open("s", -1, RIP_LOCK, -1, 0, RIP_WAIT_BLOCK, &other), -EPROTOTYPE);
    CHECK_IS(rip_sync_open("s", -1, RIP_SEMAPHORE, 4, 0, RIP_WAIT_BLOCK, &other), -EEXIST);
    CHECK_IS(rip_producer_open("s", 4096, 8, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), -EPROTOTYPE);
    CHECK_IS(rip_consumer_open("s", "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -EPROTOTYPE);
    close_sync(s);
    s = open_sync("s", RIP_BARRIER, 4, 0); /* it ended with its last handle, so the name is free */
    close_sync(s);
}

struct crowd {
    _Atomic uint64_t inside, most, done, stop, rounds[8];
};
static struct crowd *crowd;

static void go_in_and_out(struct rip_sync *s, uint32_t units, uint64_t limit) {
    CHECK_IS(rip_semaphore_acquire(s, units, in(20000)), 0);
    uint64_t inside = atomic_fetch_add(&crowd->inside, units) + units;
    CHECK(inside <= limit);
    for (volatile int i = 0; i < 200; i = i + 1) {
    }
    atomic_fetch_sub(&crowd->inside, units);
    CHECK_IS(rip_semaphore_release(s, units), 0);
}

static int comes_and_goes(void *undo) {
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 4, undo != NULL);
    struct random r = {(uint64_t)getpid()};
    for (unsigned i = 0; i < 20000; i++) {
        go_in_and_out(s, 1 + (uint32_t)random_below(&r, 4), 4);
    }
    atomic_fetch_add(&crowd->done, 1);
    close_sync(s);
    return 0;
}

static void no_more_units_than_there_are(void) {
    crowd = shared(sizeof *crowd);
    for (int undo = 0; undo < 2; undo++) {
        struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 4, 0);
        pid_t children[4];
        for (unsigned i = 0; i < 4; i++) {
            /* some handles count their units, some do not */
            children[i] = spawn(comes_and_goes, i % 2 == 0 || undo ? crowd : NULL);
        }
        for (unsigned i = 0; i < 4; i++) {
            expect_success(children[i]);
        }
        CHECK_IS(rip_semaphore_value(s), 4);
        close_sync(s);
    }
    CHECK_IS(atomic_load(&crowd->done), 8);
}

static int comes_and_goes_for_ever(void *argument) {
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, -1, 1);
    struct random r = {(uint64_t)(uintptr_t)argument};
    for (;;) {
        uint32_t units = 1 + (uint32_t)random_below(&r, 4);
        if (rip_semaphore_acquire(s, units, random_below(&r, 4) ? in(20000) : in(1)) == 0) {
            atomic_fetch_add(&crowd->done, 1);
            for (uint32_t n = units; n > 0;) {
                uint32_t part = 1 + (uint32_t)random_below(&r, n);
                CHECK_IS(rip_semaphore_release(s, part), 0);
                n -= part;
            }
        }
    }
}

#define KILLS 300u

static void killed_at_random_nothing_is_lost(void) {
    crowd = shared(sizeof *crowd);
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 4, 0);
    struct random r = {11};
    pid_t children[3];
    for (uintptr_t i = 0; i < 3; i++) {
        children[i] = spawn(comes_and_goes_for_ever, (void *)(i + 1)); /* NOLINT(performance-no-int-to-ptr) */
    }
    for (uintptr_t i = 0; i < KILLS; i++) {
        unsigned which = (unsigned)random_below(&r, 3);
        uint64_t before = atomic_load(&crowd->done);
        nap(random_below(&r, 3 * MS));
        kill_and_wait(children[which]);
        reap_soon(s);
        rip_reap_if_due(&s->handle);
        children[which] = spawn(comes_and_goes_for_ever, (void *)(i + 10)); /* NOLINT(performance-no-int-to-ptr) */
        for (unsigned k = 0; i % 10 == 0 && atomic_load(&crowd->done) == before; k++) { /* the others go on */
            CHECK(k < 5000);
            nap(MS);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        kill_and_wait(children[i]);
    }
    reap_soon(s);
    rip_reap_if_due(&s->handle);
    CHECK_IS(rip_semaphore_value(s), 4);
    close_sync(s);
}

static int nibbles(void *argument) {
    (void)argument;
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 4, 0);
    while (!atomic_load(&crowd->stop)) {
        go_in_and_out(s, 1, 4);
    }
    close_sync(s);
    return 0;
}

static void waiters_for_many_are_not_starved(void) {
    crowd = shared(sizeof *crowd);
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 4, 0);
    pid_t children[6];
    for (unsigned i = 0; i < 6; i++) {
        children[i] = spawn(nibbles, NULL);
    }
    nap(20 * MS);
    uint64_t start = rip_now();
    for (unsigned i = 0; i < 200; i++) {
        go_in_and_out(s, 4, 4);
    }
    /* the queue is strict as soon as the waiter is the oldest, not when it checks again */
    CHECK(rip_now() - start < 200 * 20 * MS);
    atomic_store(&crowd->stop, 1);
    for (unsigned i = 0; i < 6; i++) {
        expect_success(children[i]);
    }
    close_sync(s);
}

static int joins_the_queue(void *argument) {
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, -1, 0);
    CHECK_IS(rip_semaphore_acquire(s, 2, in(20000)), 0);
    atomic_store(&crowd->rounds[(uintptr_t)argument], 1 + atomic_fetch_add(&crowd->done, 1));
    close_sync(s);
    return 0;
}

static unsigned waiters(const struct rip_sync *s) {
    unsigned count = 0;
    for (unsigned i = 0; i < RIP_MAX_WAITERS; i++) {
        count += atomic_load(&s->file->waiters[i].ticket) != 0;
    }
    return count;
}

static void await_waiters(const struct rip_sync *s, unsigned count) {
    for (unsigned i = 0; waiters(s) != count; i++) {
        CHECK(i < 5000);
        nap(MS);
    }
}

static void waiters_are_served_in_order(void) {
    crowd = shared(sizeof *crowd);
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 0, 0);
    pid_t children[5];
    for (uintptr_t i = 0; i < 5; i++) {
        children[i] = spawn(joins_the_queue, (void *)i);
        await_waiters(s, (unsigned)i + 1);
    }
    CHECK_IS(rip_semaphore_release(s, 1), 0);
    CHECK_IS(rip_semaphore_acquire(s, 1, 0), -ETIMEDOUT); /* the unit is reserved for the waiters */
    for (uintptr_t i = 0; i < 5; i++) {
        CHECK_IS(rip_semaphore_release(s, i == 0 ? 1 : 2), 0);
        expect_success(children[i]);
        CHECK_IS(atomic_load(&crowd->rounds[i]), i + 1);
    }
    CHECK_IS(rip_semaphore_value(s), 0);
    close_sync(s);
}

static int waits_for_two(void *argument) {
    (void)argument;
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, -1, 1);
    rip_semaphore_acquire(s, 2, RIP_FOREVER);
    return 1;
}

static void a_killed_waiter_does_not_block_the_queue(void) {
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 1, 0);
    pid_t child = spawn(waits_for_two, NULL);
    await_waiters(s, 1);
    CHECK_IS(rip_semaphore_acquire(s, 1, 0), -ETIMEDOUT); /* a waiter that wants two is before this one */
    kill_and_wait(child);
    uint64_t start = rip_now();
    CHECK_IS(rip_semaphore_acquire(s, 1, in(20000)), 0);
    CHECK(rip_now() - start < 1000 * MS);
    CHECK_IS(waiters(s), 0);
    close_sync(s);
}

static void *queues_for_two(void *argument) {
    CHECK_IS(rip_semaphore_acquire(argument, 2, RIP_FOREVER), -ESHUTDOWN);
    return NULL;
}

/* The lock that closing needs is not free. So the handle is neither open nor closed when its other thread stops
 * waiting. */
static void a_closing_handle_leaves_the_queue(void) {
    struct rip_sync *closes = open_sync("s", RIP_SEMAPHORE, 0, 0), *other = open_sync("s", RIP_SEMAPHORE, 0, 0);
    const uint64_t strict = UINT64_C(1) << 32;
    pthread_t thread;
    CHECK_IS(rip_lock(&other->handle), 0);
    CHECK_IS(pthread_create(&thread, NULL, queues_for_two, closes), 0);
    for (uint64_t end = in(10000); !(atomic_load(&closes->file->word) & strict);) { /* it is first in the queue */
        CHECK(rip_now() < end);
        sched_yield();
    }
    closes->handle.give_up = RIP_TRY_ONLY;
    CHECK_IS(rip_sync_close(closes), -EAGAIN);
    CHECK_IS(pthread_join(thread, NULL), 0);
    rip_unlock(&other->handle);
    CHECK_IS(rip_semaphore_release(other, 1), 0);
    CHECK_IS(rip_semaphore_acquire(other, 1, 0), 0);
    close_sync(closes);
    close_sync(other);
}

static int takes_and_waits(void *kind) {
    struct rip_sync *s = kind ? open_sync("s", RIP_LOCK, -1, 0) : open_sync("s", RIP_SEMAPHORE, -1, 1);
    CHECK_IS(rip_semaphore_acquire(s, kind ? 1 : 3, 0), 0);
    atomic_store(&crowd->done, 1);
    pause();
    return 1;
}

static void units_of_the_killed_come_back(void) {
    crowd = shared(sizeof *crowd);
    for (uintptr_t is_lock = 0; is_lock < 2; is_lock++) {
        struct rip_sync *s = is_lock ? open_sync("s", RIP_LOCK, -1, 0) : open_sync("s", RIP_SEMAPHORE, 3, 1);
        atomic_store(&crowd->done, 0);
        pid_t child = spawn(takes_and_waits, (void *)is_lock); /* NOLINT(performance-no-int-to-ptr) */
        for (unsigned i = 0; !atomic_load(&crowd->done); i++) {
            CHECK(i < 5000);
            nap(MS);
        }
        CHECK_IS(rip_semaphore_value(s), 0);
        CHECK_IS(rip_semaphore_acquire(s, 1, in(30)), -ETIMEDOUT);
        kill_and_wait(child);
        uint64_t start = rip_now();
        CHECK_IS(rip_semaphore_acquire(s, is_lock ? 1 : 3, in(20000)), is_lock ? 1 : 0);
        CHECK(rip_now() - start < 1000 * MS);
        CHECK_IS(rip_semaphore_release(s, is_lock ? 1 : 3), 0);
        CHECK_IS(rip_semaphore_acquire(s, 1, 0), 0); /* reported once */
        close_sync(s);
    }
}

static void a_lock_has_one_owner(void) {
    struct rip_sync *s = open_sync("s", RIP_LOCK, -1, 0), *other = open_sync("s", RIP_LOCK, -1, 0);
    CHECK_IS(rip_semaphore_release(s, 1), -EPERM);
    CHECK_IS(rip_semaphore_acquire(s, 1, 0), 0);
    CHECK_IS(rip_semaphore_acquire(s, 1, 0), -ETIMEDOUT);
    CHECK_IS(rip_semaphore_acquire(other, 1, 0), -ETIMEDOUT);
    CHECK_IS(rip_semaphore_release(other, 1), -EPERM);
    close_sync(s); /* releases the unit */
    CHECK_IS(rip_semaphore_acquire(other, 1, 0), 0);
    close_sync(other);
}

/* ---- anonymous objects; fork ---- */

static struct rip_sync *inherited;

static int uses_inherited(void *argument) {
    (void)argument;
    CHECK_IS(inherited->held, 0);
    CHECK_IS(rip_semaphore_release(inherited, 1), 0);
    CHECK_IS(rip_semaphore_acquire(inherited, 2, 0), 0);
    pause(); /* until it is killed */
    return 1;
}

static void a_forked_child_has_no_units_of_its_parent(void) {
    for (unsigned named = 0; named < 2; named++) {
        inherited = open_sync(named ? "s" : NULL, RIP_SEMAPHORE, 4, 1);
        CHECK_IS(rip_semaphore_acquire(inherited, 3, 0), 0);
        pid_t child = spawn(uses_inherited, NULL);
        for (unsigned i = 0; rip_semaphore_value(inherited) != 0; i++) {
            CHECK(i < 5000);
            nap(MS);
        }
        kill_and_wait(child);
        reap_soon(inherited);
        rip_reap_if_due(&inherited->handle);
        CHECK_IS(rip_semaphore_value(inherited), 2); /* 4 - 3 + 1 - 2, and the 2 come back */
        CHECK_IS(inherited->held, 3);
        close_sync(inherited);
    }
}

static void a_descriptor_is_enough(void) {
    struct rip_sync *s = open_sync(NULL, RIP_SEMAPHORE, 2, 1), *other = NULL, *third = NULL;
    CHECK_IS(rip_semaphore_acquire(s, 2, 0), 0);
    CHECK_IS(rip_sync_open(NULL, rip_sync_fd(s), RIP_SEMAPHORE, 2, 1, RIP_WAIT_BLOCK, &other), 0);
    CHECK_IS(rip_sync_open(NULL, rip_sync_fd(s), RIP_EVENT, 0, 1, RIP_WAIT_BLOCK, &third), -EPROTOTYPE);
    CHECK_IS(rip_sync_open(NULL, 0, RIP_SEMAPHORE, -1, 1, RIP_WAIT_BLOCK, &third), -EBADMSG);
    CHECK_IS(rip_semaphore_acquire(other, 1, 0), -ETIMEDOUT);
    close_sync(s);
    CHECK_IS(rip_semaphore_acquire(other, 2, 0), 0);
    close_sync(other);
}

/* ---- events, barriers ---- */

static int waits_for_event(void *argument) {
    (void)argument;
    struct rip_sync *s = open_sync("e", RIP_EVENT, 0, 0);
    atomic_fetch_add(&crowd->inside, 1);
    CHECK_IS(rip_event_wait(s, in(20000)), 0);
    close_sync(s);
    return 0;
}

static void an_event_wakes_all(void) {
    crowd = shared(sizeof *crowd);
    struct rip_sync *s = open_sync("e", RIP_EVENT, 0, 0);
    pid_t children[4];
    CHECK_IS(rip_event_is_set(s), 0);
    CHECK_IS(rip_event_wait(s, in(10)), -ETIMEDOUT);
    for (unsigned i = 0; i < 4; i++) {
        children[i] = spawn(waits_for_event, NULL);
    }
    for (unsigned i = 0; atomic_load(&crowd->inside) != 4; i++) {
        CHECK(i < 5000);
        nap(MS);
    }
    nap(20 * MS);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_IS(kill(children[i], SIGSTOP), 0);
    }
    CHECK_IS(rip_event_set(s), 0);
    CHECK_IS(rip_event_clear(s), 0); /* before the waiters can check: they are woken all the same */
    for (unsigned i = 0; i < 4; i++) {
        CHECK_IS(kill(children[i], SIGCONT), 0);
        expect_success(children[i]);
    }
    CHECK_IS(rip_event_wait(s, 0), -ETIMEDOUT);
    CHECK_IS(rip_event_set(s), 0);
    CHECK_IS(rip_event_set(s), 0);
    CHECK_IS(rip_event_wait(s, RIP_FOREVER), 0);
    close_sync(s);
}

#define ROUNDS 3000u

static int meets(void *argument) {
    (void)argument;
    struct rip_sync *s = open_sync("b", RIP_BARRIER, 3, 0);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&crowd->rounds[i % 8], 1);
        int handle = rip_barrier_wait(s, in(20000));
        CHECK(handle >= 0 && handle < 3);
        CHECK(atomic_load(&crowd->rounds[i % 8]) >= 3 * (i / 8 + 1)); /* all have arrived */
        atomic_fetch_add(&crowd->done, handle == 0);
    }
    CHECK_IS(rip_barrier_wait(s, in(20000)) >= 0, 1); /* no process leaves before all have checked */
    close_sync(s);
    return 0;
}

static void all_meet_in_each_round(void) {
    crowd = shared(sizeof *crowd);
    pid_t children[3];
    for (unsigned i = 0; i < 3; i++) {
        children[i] = spawn(meets, NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        expect_success(children[i]);
    }
    CHECK_IS(atomic_load(&crowd->done), ROUNDS); /* one process was the first in each round */
}

static int comes_to_wait(void *argument) {
    (void)argument;
    struct rip_sync *s = open_sync("b", RIP_BARRIER, -1, 0);
    int rc = rip_barrier_wait(s, in(20000));
    close_sync(s);
    return rc == -EPIPE ? 0 : rc == 0 ? 3 : 4;
}

static void await_arrival(struct rip_sync *s) {
    for (unsigned i = 0; rip_barrier_waiting(s) != 1; i++) {
        CHECK(i < 5000);
        nap(MS);
    }
}

static void a_barrier_breaks(void) {
    struct rip_sync *s = open_sync("b", RIP_BARRIER, 2, 0);
    CHECK_IS(rip_barrier_wait(s, in(10)), -ETIMEDOUT);
    CHECK_IS(rip_barrier_is_broken(s), 1);
    CHECK_IS(rip_barrier_wait(s, RIP_FOREVER), -EPIPE);
    CHECK_IS(rip_barrier_reset(s), 0);
    pid_t child = spawn(comes_to_wait, NULL);
    await_arrival(s);
    CHECK_IS(rip_barrier_abort(s), 0);
    expect_success(child);
    CHECK_IS(rip_barrier_reset(s), 0);
    child = spawn(comes_to_wait, NULL);
    await_arrival(s);
    CHECK_IS(rip_barrier_reset(s), 0); /* ends the wait of the other one; the barrier is like new */
    expect_success(child);
    CHECK_IS(rip_barrier_is_broken(s), 0);
    child = spawn(comes_to_wait, NULL);
    await_arrival(s);
    kill_and_wait(child);
    reap_soon(s);
    rip_reap_if_due(&s->handle);
    CHECK_IS(rip_barrier_wait(s, in(20000)), -EPIPE); /* one of the parties will never come */
    close_sync(s);
}

static int dies_at_barrier(void *argument) {
    (void)argument;
    struct rip_sync *s = open_sync("b", RIP_BARRIER, -1, 0);
    (void)s;
    return 0;
}

static int uses_barrier(void *argument) {
    (void)argument;
    CHECK_IS(rip_barrier_is_broken(inherited), 1); /* it reaps the dead member when it joins */
    close_sync(inherited);
    return 0;
}

/* Any process may find the dead member, with any call. */
static void the_dead_break_the_barrier(void) {
    struct rip_sync *s = open_sync("b", RIP_BARRIER, 2, 0), *leaves = open_sync("b", RIP_BARRIER, 2, 0);
    expect_success(spawn(dies_at_barrier, NULL));
    close_sync(leaves);
    CHECK_IS(rip_barrier_is_broken(s), 1);
    CHECK_IS(rip_barrier_reset(s), 0);
    expect_success(spawn(dies_at_barrier, NULL));
    inherited = s;
    expect_success(spawn(uses_barrier, NULL));
    CHECK_IS(rip_barrier_is_broken(s), 1);
    close_sync(s);
}

static _Atomic int *stage;

static int grandchild(void *argument) {
    (void)argument;
    atomic_store(stage, 3); /* its fork handler has run: it has no locks of its parent */
    while (atomic_load(stage) != 1) {
        sched_yield();
    }
    /* the inherited object has ended, and another one has started */
    CHECK_IS(rip_semaphore_release(inherited, 1), -ENOENT);
    return 0;
}

static int forks_and_dies(void *argument) {
    inherited = open_sync("s", RIP_SEMAPHORE, 3, 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        grandchild(argument);
        atomic_store(stage, 2);
        _exit(0);
    }
    while (atomic_load(stage) != 3) {
        sched_yield();
    }
    return 0;
}

static void a_new_object_is_not_the_inherited_one(void) {
    stage = shared(sizeof *stage);
    expect_success(spawn(forks_and_dies, NULL));
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 3, 0);
    atomic_store(stage, 1);
    for (unsigned i = 0; atomic_load(stage) != 2; i++) {
        CHECK(i < 5000);
        nap(MS);
    }
    CHECK_IS(rip_semaphore_value(s), 3);
    close_sync(s);
}

/* ---- woken at once ----
 *
 * A wait checks again after each slice (RIP_SLICE_NS), so a missing wake-up shows as a delay. */

#define TRIES 2000u
#define LATE (20 * MS)

struct pair {
    enum rip_sync_kind kind;
    struct rip_sync *there, *back;
};

static struct pair pair_of(enum rip_sync_kind kind) {
    struct pair pair = {.kind = kind};
    CHECK_IS(rip_sync_open("there", -1, kind, kind == RIP_BARRIER ? 2 : 0, 0, RIP_WAIT_BLOCK, &pair.there), 0);
    CHECK_IS(rip_sync_open("back", -1, kind, kind == RIP_BARRIER ? 2 : 0, 0, RIP_WAIT_BLOCK, &pair.back), 0);
    return pair;
}

static void wake_peer(const struct pair *pair, struct rip_sync *s) {
    CHECK(pair->kind == RIP_SEMAPHORE ? rip_semaphore_release(s, 1) == 0
          : pair->kind == RIP_EVENT   ? rip_event_set(s) == 0
                                      : rip_barrier_wait(s, in(20000)) >= 0);
}

static void await(const struct pair *pair, struct rip_sync *s) {
    CHECK(pair->kind == RIP_SEMAPHORE ? rip_semaphore_acquire(s, 1, in(20000)) == 0
          : pair->kind == RIP_EVENT   ? rip_event_wait(s, in(20000)) == 0 && rip_event_clear(s) == 0
                                      : rip_barrier_wait(s, in(20000)) >= 0);
}

static int answers(void *kind) {
    struct pair pair = pair_of(*(enum rip_sync_kind *)kind);
    for (unsigned i = 0; i < TRIES; i++) {
        await(&pair, pair.there);
        wake_peer(&pair, pair.back);
    }
    close_sync(pair.there);
    close_sync(pair.back);
    return 0;
}

static void two_wait_for_each_other(void) {
    static const enum rip_sync_kind kinds[] = {RIP_SEMAPHORE, RIP_EVENT, RIP_BARRIER};
    for (unsigned k = 0; k < 3; k++) {
        enum rip_sync_kind kind = kinds[k];
        struct pair pair = pair_of(kind);
        pid_t child = spawn(answers, &kind);
        unsigned late = 0;
        for (unsigned i = 0; i < TRIES; i++) {
            uint64_t start = rip_now();
            wake_peer(&pair, pair.there);
            await(&pair, pair.back);
            late += rip_now() - start > LATE;
        }
        CHECK(late < TRIES / 20); /* some may be late on a busy machine */
        expect_success(child);
        close_sync(pair.there);
        close_sync(pair.back);
    }
}

static int takes_one(void *argument) {
    (void)argument;
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, -1, 0);
    CHECK_IS(rip_semaphore_acquire(s, 1, in(20000)), 0);
    close_sync(s);
    return 0;
}

static void a_waiter_that_gives_up_wakes_the_next(void) {
    unsigned late = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 1, 0);
        struct rip_ticket ticket;
        CHECK_IS(rip_ticket_take(s, 2, &ticket), 0);
        CHECK_IS(rip_ticket_try(s, &ticket), -EAGAIN);
        pid_t child = spawn(takes_one, NULL);
        await_waiters(s, 2); /* it is behind this waiter, though there is a unit for it */
        nap(2 * MS);
        uint64_t start = rip_now();
        rip_ticket_cancel(s, &ticket);
        expect_success(child);
        late += rip_now() - start > LATE;
        close_sync(s);
    }
    CHECK(late < 10);
}

/* A waiter that wants many units becomes the oldest when another one has got its units. From then on newcomers wait,
 * even if the oldest has not checked again. */
static void the_oldest_is_not_overtaken(void) {
    struct rip_sync *s = open_sync("s", RIP_SEMAPHORE, 0, 0);
    struct rip_ticket first, second;
    CHECK_IS(rip_ticket_take(s, 1, &first), 0);
    CHECK_IS(rip_ticket_take(s, 3, &second), 0);
    CHECK_IS(rip_semaphore_release(s, 2), 0);
    CHECK_IS(rip_ticket_try(s, &first), 0);
    CHECK_IS(rip_units_try(s, 1), -EAGAIN);
    rip_ticket_cancel(s, &second);
    CHECK_IS(rip_units_try(s, 1), 0);
    close_sync(s);
}

/* ---- killed at every instruction ---- */

static struct rip_sync *stays;
static enum rip_sync_kind stays_as;

static void semaphore_before(void) {
    stays_as = RIP_SEMAPHORE;
    stays = open_sync("c", RIP_SEMAPHORE, 5, 1);
    CHECK_IS(rip_semaphore_acquire(stays, 1, 0), 0);
}

static void lock_before(void) {
    stays_as = RIP_LOCK;
    stays = open_sync("c", RIP_LOCK, -1, 0);
}

/* All units of the victim are back, and the next process can acquire them. */
static void all_units_are_there(void) {
    uint32_t all = stays_as == RIP_LOCK ? 1 : 5;
    reap_soon(stays);
    rip_reap_if_due(&stays->handle);
    CHECK_IS(rip_semaphore_value(stays) + stays->held, all);
    for (uint32_t i = stays->held; i > 0; i--) {
        CHECK_IS(rip_semaphore_release(stays, 1), 0);
    }
    struct rip_sync *newcomer = open_sync("c", stays_as, -1, 1);
    CHECK(rip_semaphore_acquire(newcomer, all, 0) >= 0);
    CHECK_IS(rip_semaphore_release(newcomer, all), 0);
    CHECK_IS(waiters(stays), 0);
    close_sync(newcomer);
    CHECK_IS(rip_semaphore_value(stays), all);
    CHECK_IS(rip_sync_load(stays) >> 31 & 3, 0); /* no waiter, and no strict queue */
    close_sync(stays);
    CHECK(!exists("c", NULL));
}

static struct rip_sync *open_victim(void) { return open_sync("c", stays_as, -1, 1); }

static int opens(void) {
    stop_here();
    open_victim();
    stop_here();
    return 0;
}

static int takes_and_gives(void) {
    struct rip_sync *s = open_victim();
    stop_here();
    rip_semaphore_acquire(s, stays_as == RIP_LOCK ? 1 : 2, 0); /* fails if another one was first */
    if (stays_as == RIP_SEMAPHORE) {
        CHECK_IS(rip_semaphore_acquire(s, 1, 0), 0);
        CHECK_IS(rip_semaphore_release(s, 2), 0);
    }
    CHECK_IS(rip_semaphore_release(s, 1), 0);
    stop_here();
    return 0;
}

static int gives_up_its_ticket(void) {
    struct rip_sync *s = open_victim();
    struct rip_ticket ticket;
    stop_here();
    CHECK_IS(rip_ticket_take(s, 5, &ticket), 0);
    CHECK_IS(rip_ticket_try(s, &ticket), -EAGAIN); /* the handle that stays has one unit */
    rip_ticket_cancel(s, &ticket);
    CHECK_IS(rip_ticket_take(s, 4, &ticket), 0);
    CHECK_IS(rip_ticket_try(s, &ticket), 0);
    CHECK_IS(rip_semaphore_release(s, 4), 0);
    stop_here();
    return 0;
}

static int closes_with_units(void) {
    struct rip_sync *s = open_victim();
    CHECK_IS(rip_semaphore_acquire(s, 1, 0), 0);
    stop_here();
    close_sync(s);
    stop_here();
    return 0;
}

static int dies_with_units(void *argument) {
    (void)argument;
    struct rip_sync *s = open_victim();
    CHECK_IS(rip_semaphore_acquire(s, stays_as == RIP_LOCK ? 1 : 3, 0), 0);
    return 0;
}

static void semaphore_and_dead(void) {
    semaphore_before();
    expect_success(spawn(dies_with_units, NULL));
}

static void lock_and_dead(void) {
    lock_before();
    expect_success(spawn(dies_with_units, NULL));
}

static void killed_with_units(void) {
    static const struct play plays[] = {
        {"c", semaphore_before, opens, all_units_are_there, NULL},
        {"c", semaphore_before, takes_and_gives, all_units_are_there, NULL},
        {"c", semaphore_before, gives_up_its_ticket, all_units_are_there, NULL},
        {"c", semaphore_before, closes_with_units, all_units_are_there, NULL},
        {"c", semaphore_and_dead, opens, all_units_are_there, NULL}, /* releases the units of the dead member */
        {"c", lock_before, takes_and_gives, all_units_are_there, NULL},
        {"c", lock_before, closes_with_units, all_units_are_there, NULL},
        {"c", lock_and_dead, opens, all_units_are_there, NULL},
    };
    for (size_t i = 0; i < sizeof plays / sizeof *plays; i++) {
        kill_at_every_moment(&plays[i]);
    }
}

/* Between any two instructions of a handle that counts its units, another one changes the word, and must complete the
 * change of the first. */
static void helped_at_every_moment(void) {
    static const struct play alone = {"c", semaphore_before, takes_and_gives, all_units_are_there, NULL};
    struct moment moments[MAX_MOMENTS];
    play = &alone;
    unsigned count = find_moments(moments);
    for (unsigned goes_on = 0; goes_on < 2; goes_on++) {
        for (unsigned i = 0; i < count; i++) {
            pid_t child = start_victim();
            int more = run_to(child, moments[i]);
            int rc = rip_semaphore_acquire(stays, 1, 0);
            CHECK(rc == 0 || rc == -ETIMEDOUT);
            if (goes_on && more) {
                CHECK(run_on(child));
            }
            kill_and_wait(child);
            all_units_are_there();
        }
    }
}

static void prepare_nothing(void) { stays_as = RIP_SEMAPHORE; }

static int is_alone(void) {
    stop_here();
    struct rip_sync *s = open_sync("c", RIP_SEMAPHORE, 5, 0); /* without undo */
    CHECK_IS(rip_semaphore_acquire(s, 2, 0), 0);
    close_sync(s);
    stop_here();
    return 0;
}

static void another_kind_starts(void) {
    struct rip_sync *s = open_sync("c", RIP_BARRIER, 7, 0); /* as another kind of object, too */
    CHECK_IS(rip_sync_value(s), 7);
    CHECK_IS(rip_barrier_waiting(s), 0);
    CHECK_IS(rip_barrier_is_broken(s), 0);
    close_sync(s);
    CHECK(!exists("c", NULL));
}

static void killed_alone(void) {
    static const struct play alone = {"c", prepare_nothing, is_alone, another_kind_starts, NULL};
    kill_at_every_moment(&alone);
}

/* ---- signals ---- */

static void on_alarm(int number) { (void)number; }

/* A wait at a barrier continues: the thread has arrived, and cannot arrive again. */
static void signals_end_waits(void) {
    static const enum rip_sync_kind kinds[] = {RIP_EVENT, RIP_SEMAPHORE, RIP_LOCK, RIP_BARRIER};
    struct sigaction was, handle = {.sa_handler = on_alarm};
    CHECK_IS(sigaction(SIGALRM, &handle, &was), 0);
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int is_barrier = kinds[i] == RIP_BARRIER, units = kinds[i] == RIP_SEMAPHORE || kinds[i] == RIP_LOCK;
        struct rip_sync *s = open_sync("s", kinds[i], is_barrier ? 2 : -1, 0), *other = open_sync("s", kinds[i], -1, 0);
        CHECK_IS(units ? rip_semaphore_acquire(other, 1, 0) : 0, 0);
        struct itimerval alarm = {.it_value.tv_usec = 20000};
        uint64_t start = rip_now(), end = start + (is_barrier ? 120 : 10000) * MS;
        CHECK_IS(setitimer(ITIMER_REAL, &alarm, NULL), 0);
        int rc = units        ? rip_semaphore_acquire(s, 1, end)
                 : is_barrier ? rip_barrier_wait(s, end)
                              : rip_event_wait(s, end);
        CHECK_IS(rc, is_barrier ? -ETIMEDOUT : -EINTR);
        CHECK(rip_now() - start >= (is_barrier ? 120 : 20) * MS);
        CHECK(is_barrier || rip_now() < end);
        if (units) { /* the waiter has left the queue, and its next call joins the queue again */
            CHECK_IS(rip_semaphore_release(other, 1), 0);
            CHECK_IS(rip_semaphore_acquire(other, 1, 0), 0);
            CHECK_IS(rip_semaphore_release(other, 1), 0);
            CHECK_IS(rip_semaphore_acquire(s, 1, in(10000)), 0);
        }
        close_sync(s);
        close_sync(other);
    }
    CHECK_IS(sigaction(SIGALRM, &was, NULL), 0);
}

/* ---- damage ---- */

static void no_damage_hangs_or_crashes(void) {
    struct random r = {7};
    for (unsigned i = 0; i < 2000; i++) {
        enum rip_sync_kind kind = (enum rip_sync_kind)(1 + i % 4);
        struct rip_sync *s = open_sync("d", kind, -1, (int)random_below(&r, 2)), *other = NULL;
        unsigned char *file = (unsigned char *)s->file;
        size_t begin =
            random_below(&r, 2) ? offsetof(struct rip_sync_file, word) : offsetof(struct rip_sync_file, members);
        for (unsigned k = 0; k < 200; k++) {
            size_t at = begin + random_below(&r, random_below(&r, 2) ? 64 : sizeof *s->file - begin);
            file[at] = (unsigned char)random_below(&r, 256);
        }
        int rc = rip_sync_open("d", -1, kind, -1, 1, RIP_WAIT_BLOCK, &other);
        CHECK(rc == 0 || rc == -EUSERS);
        for (struct rip_sync *each = s; each; each = each == s ? other : NULL) {
            reap_soon(each);
            if (kind == RIP_SEMAPHORE || kind == RIP_LOCK) {
                rip_semaphore_acquire(each, 1, rip_now() + MS / 10);
                rip_semaphore_release(each, 1);
            } else if (kind == RIP_EVENT) {
                rip_event_wait(each, rip_now() + MS / 10);
                rip_event_set(each);
                rip_event_clear(each);
            } else {
                rip_barrier_wait(each, rip_now() + MS / 10);
                rip_barrier_reset(each);
            }
            rip_reap_if_due(&each->handle);
        }
        close_sync(s);
        if (other) {
            close_sync(other);
        }
        if (exists("d", NULL)) { /* because of the damage there seem to be other members */
            CHECK_IS(unlink(path_of("d", "control")), 0);
            CHECK_IS(rmdir(path_of("d", NULL)), 0);
            rmdir(path_of("", NULL));
        }
    }
}

int main(void) {
    run("units are counted, whichever handles acquire and release them", units_are_counted);
    run("a name belongs to one kind of object at a time", names_are_kept_apart);
    run("no more units are acquired than there are", no_more_units_than_there_are);
    run("members killed at random leave all units behind", killed_at_random_nothing_is_lost);
    run("a waiter for many units is not starved by waiters for few", waiters_for_many_are_not_starved);
    run("waiters are served in order", waiters_are_served_in_order);
    run("a killed waiter does not block the queue", a_killed_waiter_does_not_block_the_queue);
    run("a waiter whose handle is being closed does not block the queue", a_closing_handle_leaves_the_queue);
    run("the units of a killed process come back, and a lock reports the death once", units_of_the_killed_come_back);
    run("a lock has one owner", a_lock_has_one_owner);
    run("a forked child has no units of its parent", a_forked_child_has_no_units_of_its_parent);
    run("a file descriptor is enough to open an anonymous object", a_descriptor_is_enough);
    run("an event wakes all waiters, even if it is cleared at once", an_event_wakes_all);
    run("all arrive at a barrier in each round", all_meet_in_each_round);
    run("a barrier breaks for all when one waiter gives up or is killed", a_barrier_breaks);
    run("a dead member breaks a barrier, whichever process finds it", the_dead_break_the_barrier);
    run("a forked child cannot use an object that has ended and started again", a_new_object_is_not_the_inherited_one);
    run("two processes that wait for each other are woken, and do not wait for a timeout", two_wait_for_each_other);
    run("a waiter that gives up wakes the next one", a_waiter_that_gives_up_wakes_the_next);
    run("the oldest waiter in the queue is not overtaken", the_oldest_is_not_overtaken);
    run("a wait ends when a signal is handled, except at a barrier", signals_end_waits);
    run("no damage crashes or hangs a process", no_damage_hangs_or_crashes);
    if (!can_step()) {
        printf("  left out: no process may be stepped here\n");
        return 0;
    }
    run("no unit is lost or gained, wherever a process is killed", killed_with_units);
    run("no unit is lost or gained, wherever another process acts in between", helped_at_every_moment);
    run("what the only member leaves when it is killed starts again", killed_alone);
    return 0;
}
