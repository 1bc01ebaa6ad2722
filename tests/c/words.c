/* Semaphores, events and conditions that are words in shared memory, between processes, also if a process is killed. */
#include "moments.h"

#include "sync/count_word.h"
#include "sync/flag_word.h"
#include "sync/lock_word.h"
#include "sync/memory.h"

#define SIZE 256u

enum place { LOCK, COUNT, FLAG, RESULT, CONDITION = 16 }; /* words of the memory of a test */

static struct rip_sync *open_memory(const char *name) {
    struct rip_sync *s = NULL;
    CHECK_IS(rip_memory_open(name, -1, (int64_t)SIZE, NULL, RIP_WAIT_ADAPTIVE, &s), 0);
    return s;
}

static void close_memory(struct rip_sync *s) {
    CHECK_IS(rip_sync_close(s), 0);
    rip_sync_free(s);
}

static uint64_t in(uint64_t ms) { return rip_now() + ms * MS; }

static union rip_word *word_at(const struct rip_sync *s, enum place place) {
    uint64_t size;
    union rip_word *words = rip_memory_data(s, &size);
    CHECK_IS(size, SIZE);
    return &words[place];
}

static struct rip_condition *condition_of(const struct rip_sync *s) {
    return (struct rip_condition *)(void *)word_at(s, CONDITION);
}

static uint64_t result(const struct rip_sync *s) { return atomic_load(&word_at(s, RESULT)->whole); }

static void acquire(struct rip_sync *s) {
    CHECK(rip_word_enter(s, word_at(s, LOCK), RIP_NOT_RECURSIVE, in(20000)) >= 0);
}

static void release(struct rip_sync *s) { CHECK_IS(rip_word_release_any(s, word_at(s, LOCK)), 0); }

static uint64_t one_more(struct rip_sync *s) { return atomic_fetch_add(&word_at(s, RESULT)->whole, 1) + 1; }

/* ---- locks that are not recursive ---- */

static void anybody_releases_a_lock(void) {
    struct rip_sync *s = open_memory("m"), *other = open_memory("m");
    union rip_word *word = word_at(s, LOCK);
    CHECK_IS(rip_word_release_any(s, word), -EPERM);
    acquire(s);
    CHECK_IS(rip_word_enter(s, word, RIP_NOT_RECURSIVE, 0), -ETIMEDOUT);
    CHECK_IS(rip_word_enter(s, word, RIP_NOT_RECURSIVE, in(5)), -ETIMEDOUT);
    CHECK(rip_word_count(s, word) == 1 && rip_word_count(other, word_at(other, LOCK)) == 0);
    release(other);
    CHECK(!rip_word_is_held(word));
    CHECK_IS(rip_word_release_any(s, word), -EPERM);
    close_memory(other);
    close_memory(s);
}

/* ---- semaphores ---- */

static void units_are_counted(void) {
    struct rip_sync *s = open_memory("m");
    union rip_word *word = word_at(s, COUNT);
    rip_count_start(word, 2);
    CHECK_IS(rip_count_acquire(s, word, 0), 0);
    CHECK_IS(rip_count_acquire(s, word, RIP_FOREVER), 0);
    CHECK_IS(rip_count_acquire(s, word, 0), -ETIMEDOUT);
    uint64_t start = rip_now();
    CHECK_IS(rip_count_acquire(s, word, in(20)), -ETIMEDOUT);
    CHECK(rip_now() - start >= 20 * MS);
    CHECK_IS(rip_count_release(s, word, 1), 0);
    CHECK_IS(rip_count_release(s, word, 1), -EOVERFLOW);
    CHECK_IS(rip_count_units(word), 1);
    rip_count_start(word, RIP_MAX_UNITS);
    CHECK_IS(rip_count_release(s, word, RIP_MAX_UNITS), -EOVERFLOW);
    close_memory(s);
}

#define HAND_OVERS 3000u

static int acquires_units(void *argument) {
    struct rip_sync *s = open_memory("m");
    (void)argument;
    for (unsigned i = 0; i < HAND_OVERS; i++) {
        CHECK_IS(rip_count_acquire(s, word_at(s, COUNT), in(20000)), 0);
        one_more(s);
    }
    close_memory(s);
    return 0;
}

/* If a wake-up were lost, it would cost the rest of a slice. */
static void each_release_wakes_a_waiter(void) {
    struct rip_sync *s = open_memory("m");
    pid_t children[2] = {spawn(acquires_units, NULL), spawn(acquires_units, NULL)};
    struct random r = {3};
    uint64_t start = rip_now();
    for (unsigned i = 0; i < 2 * HAND_OVERS; i++) {
        if (random_below(&r, 100) == 0) {
            CHECK(reaches(&word_at(s, RESULT)->whole, i, 20000 * MS));
            nap(MS / 2); /* now and then both sleep for certain */
        }
        CHECK_IS(rip_count_release(s, word_at(s, COUNT), RIP_MAX_UNITS), 0);
    }
    expect_success(children[0]);
    expect_success(children[1]);
    CHECK(rip_now() - start < HAND_OVERS * 2 * MS);
    CHECK_IS(rip_count_units(word_at(s, COUNT)), 0);
    close_memory(s);
}

/* ---- events ---- */

static int waits_for_the_flag(void *argument) {
    struct rip_sync *s = open_memory("m");
    (void)argument;
    uint64_t turn = rip_flag_turn(word_at(s, FLAG));
    one_more(s);
    CHECK_IS(rip_flag_wait(s, word_at(s, FLAG), turn, in(20000)), 0);
    close_memory(s);
    return 0;
}

static void a_flag_ends_every_wait(void) {
    struct rip_sync *s = open_memory("m");
    union rip_word *word = word_at(s, FLAG);
    CHECK_IS(rip_flag_wait(s, word, rip_flag_turn(word), 0), -ETIMEDOUT);
    CHECK_IS(rip_flag_wait(s, word, rip_flag_turn(word), in(5)), -ETIMEDOUT);
    for (unsigned round = 0; round < 10; round++) {
        pid_t children[3];
        atomic_store(&word_at(s, RESULT)->whole, 0);
        for (unsigned i = 0; i < 3; i++) {
            children[i] = spawn(waits_for_the_flag, NULL);
        }
        CHECK(reaches(&word_at(s, RESULT)->whole, 3, 20000 * MS));
        uint64_t turn = rip_flag_turn(word);
        CHECK_IS(rip_flag_set(s, word), 0);
        CHECK(rip_flag_is_set(word));
        CHECK_IS(rip_flag_set(s, word), 0);
        CHECK_IS(rip_flag_clear(s, word), 0); /* at once: those who slept are woken all the same */
        CHECK(!rip_flag_is_set(word));
        CHECK_IS(rip_flag_turn(word), turn + 1);
        CHECK_IS(rip_flag_wait(s, word, turn, 0), 0);
        for (unsigned i = 0; i < 3; i++) {
            expect_success(children[i]);
        }
    }
    close_memory(s);
}

/* ---- conditions ---- */

/* With the lock: waits for a notification, and has the lock again. Returns 1 if there was one. */
static int wait_for_notice(struct rip_sync *s, uint64_t deadline) {
    struct rip_condition *condition = condition_of(s);
    uint64_t arrived = rip_condition_arrive(condition);
    for (uint64_t turn = arrived;; turn = rip_condition_turn(condition)) {
        release(s);
        int rc = rip_flag_wait(s, rip_condition_word(condition), turn, deadline);
        CHECK(rc == 0 || rc == -ETIMEDOUT);
        acquire(s);
        if (rip_condition_collect(condition, arrived)) {
            return 1;
        }
        if (rc == -ETIMEDOUT) {
            rip_condition_leave(condition);
            return 0;
        }
    }
}

static int waits_for_notice(void *argument) {
    struct rip_sync *s = open_memory("m");
    acquire(s);
    int notified = wait_for_notice(s, in(argument ? 1 : 20000));
    if (notified) {
        one_more(s);
    }
    release(s);
    close_memory(s);
    return argument ? 0 : !notified;
}

static void as_many_are_notified_as_was_said(void) {
    struct rip_sync *s = open_memory("m");
    struct rip_condition *condition = condition_of(s);
    pid_t children[5];
    for (unsigned i = 0; i < 5; i++) {
        children[i] = spawn(waits_for_notice, NULL);
    }
    for (int waiting = 0; !waiting; release(s)) {
        acquire(s);
        waiting = rip_condition_waiting(condition) == 5;
    }
    for (unsigned sent = 0; sent < 5; sent += 2) {
        acquire(s);
        rip_condition_notify(condition, 2);
        CHECK_IS(rip_condition_waiting(condition), sent == 4 ? 0 : 3 - sent);
        release(s);
        CHECK(reaches(&word_at(s, RESULT)->whole, sent == 4 ? 5 : sent + 2, 20000 * MS));
        nap(2 * MS);
        CHECK_IS(result(s), sent == 4 ? 5 : sent + 2);
    }
    for (unsigned i = 0; i < 5; i++) {
        expect_success(children[i]);
    }
    acquire(s);
    rip_condition_notify(condition, 3); /* to nobody: it is not kept */
    CHECK_IS(wait_for_notice(s, in(2)), 0);
    release(s);
    CHECK_IS(rip_condition_waiting(condition) + rip_condition_notified(condition), 0);
    close_memory(s);
}

/* A notification that came before a thread is not for it, though the thread it was for has not collected it yet. */
static void a_later_thread_takes_no_notification(void) {
    struct rip_sync *s = open_memory("m");
    struct rip_condition *condition = condition_of(s);
    acquire(s);
    uint64_t first = rip_condition_arrive(condition);
    rip_condition_notify(condition, 1);
    CHECK_IS(wait_for_notice(s, in(2)), 0);
    CHECK_IS(rip_condition_collect(condition, first), 1);
    CHECK_IS(rip_condition_collect(condition, first), 0);
    release(s);
    close_memory(s);
}

static void a_killed_thread_keeps_no_notification(void) {
    struct rip_sync *s = open_memory("m");
    struct rip_condition *condition = condition_of(s);
    for (unsigned i = 0; i < 10; i++) {
        atomic_store(&word_at(s, RESULT)->whole, 0);
        pid_t killed = spawn(waits_for_notice, NULL), lives = spawn(waits_for_notice, NULL);
        for (int waiting = 0; !waiting; release(s)) {
            acquire(s);
            waiting = rip_condition_waiting(condition) + rip_condition_notified(condition) >= 2;
        }
        kill_and_wait(killed);
        acquire(s);
        rip_condition_notify(condition, 1);
        release(s);
        expect_success(lives);
        acquire(s);
        rip_condition_leave(condition); /* for the one that was killed, so that the next round counts from 0 */
        release(s);
    }
    close_memory(s);
}

/* ---- killed anywhere ---- */

static struct rip_sync *stays;
static uint64_t stays_since; /* the turn in which it arrived at the condition */

static void one_waits(void) {
    stays = open_memory("c");
    rip_count_start(word_at(stays, COUNT), 1);
    acquire(stays);
    stays_since = rip_condition_arrive(condition_of(stays));
    release(stays);
}

static int uses_all(void) {
    struct rip_sync *s = open_memory("c");
    stop_here();
    CHECK_IS(rip_count_acquire(s, word_at(s, COUNT), 0), 0);
    CHECK_IS(rip_count_acquire(s, word_at(s, COUNT), 0), -ETIMEDOUT);
    CHECK_IS(rip_count_release(s, word_at(s, COUNT), 9), 0);
    CHECK_IS(rip_flag_set(s, word_at(s, FLAG)), 0);
    CHECK_IS(rip_flag_clear(s, word_at(s, FLAG)), 0);
    acquire(s);
    rip_condition_notify(condition_of(s), 1);
    release(s);
    stop_here();
    return 0;
}

static int notifies(void *argument) {
    (void)argument;
    struct rip_sync *s = open_memory("c");
    for (int done = 0; !done; release(s)) {
        acquire(s);
        rip_condition_notify(condition_of(s), 1);
        done = result(s) == 1;
    }
    close_memory(s);
    return 0;
}

static void all_go_on(void) {
    struct rip_sync *s = stays;
    uint32_t units = rip_count_units(word_at(s, COUNT));
    CHECK(units <= 1); /* the unit of a killed process is lost, and no other one */
    CHECK_IS(rip_count_release(s, word_at(s, COUNT), 9), 0);
    CHECK_IS(rip_count_acquire(s, word_at(s, COUNT), 0), 0);
    CHECK_IS(rip_flag_clear(s, word_at(s, FLAG)), 0);
    CHECK_IS(rip_flag_set(s, word_at(s, FLAG)), 0);
    CHECK_IS(rip_flag_wait(s, word_at(s, FLAG), rip_flag_turn(word_at(s, FLAG)), 0), 0);
    acquire(s);
    rip_condition_notify(condition_of(s), 1); /* the killed process may not have come so far */
    CHECK_IS(rip_condition_collect(condition_of(s), stays_since), 1);
    pid_t child = spawn(notifies, NULL);
    CHECK_IS(wait_for_notice(s, in(20000)), 1);
    one_more(s);
    release(s);
    expect_success(child);
    close_memory(s);
    CHECK(!exists("c", NULL));
}

static void killed_anywhere(void) {
    static const struct play play = {"c", one_waits, uses_all, all_go_on, NULL};
    kill_at_every_moment(&play);
}

int main(void) {
    run("anybody releases a lock that is not recursive", anybody_releases_a_lock);
    run("the units of a semaphore are counted", units_are_counted);
    run("each release wakes a waiter", each_release_wakes_a_waiter);
    run("an event ends every wait, even if it is cleared at once", a_flag_ends_every_wait);
    run("as many threads are notified as was said", as_many_are_notified_as_was_said);
    run("a thread takes no notification from before it waited", a_later_thread_takes_no_notification);
    run("a killed thread keeps no notification for itself", a_killed_thread_keeps_no_notification);
    if (!can_step()) {
        printf("  left out: no process may be stepped here\n");
        return 0;
    }
    run("semaphores, events and conditions work on, wherever a process is killed", killed_anywhere);
    return 0;
}
