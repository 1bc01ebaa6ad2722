/* Shared memory and the lock words in it, between processes, also if a process is killed. */
#include "moments.h"

#include "store/table_lock.h"
#include "sync/memory.h"

#include <pthread.h>

#define WORDS 64u /* numbers in the data of most tests */
#define SIZE (WORDS * sizeof(uint64_t))

static struct rip_sync *open_as(const char *name, int fd, const struct rip_memory_wish *wish, enum rip_wait wait) {
    struct rip_sync *s = NULL;
    CHECK_IS(rip_memory_open(name, fd, fd < 0 ? (int64_t)SIZE : RIP_MUST_BE, wish, wait, &s), 0);
    return s;
}

static struct rip_sync *open_memory(const char *name) { return open_as(name, -1, NULL, RIP_WAIT_ADAPTIVE); }

static void close_memory(struct rip_sync *s) {
    CHECK_IS(rip_sync_close(s), 0);
    rip_sync_free(s);
}

static uint64_t in(uint64_t ms) { return rip_now() + ms * MS; }

static _Atomic uint64_t *numbers(const struct rip_sync *s) {
    uint64_t size;
    _Atomic uint64_t *data = rip_memory_data(s, &size);
    CHECK(size >= SIZE);
    return data;
}

/* The lock words of a test lie in the data. */
static union rip_word *lock_at(const struct rip_sync *s, unsigned i) {
    return (union rip_word *)(void *)&numbers(s)[i];
}

static void acquire(struct rip_sync *s, union rip_word *word) {
    CHECK_IS(rip_word_enter(s, word, RIP_RECURSIVE, in(20000)), 0);
}

static void release(struct rip_sync *s, union rip_word *word) { CHECK_IS(rip_word_release(s, word), 0); }

/* ---- lock words ---- */

static void one_thread_of_one_handle_owns_a_lock(void) {
    struct rip_sync *s = open_memory("m"), *other = open_memory("m");
    for (unsigned i = 0; i < WORDS; i++) {
        acquire(s, lock_at(s, i));
    }
    for (unsigned i = 0; i < WORDS; i++) {
        union rip_word *mine = lock_at(s, i), *its = lock_at(other, i);
        CHECK(rip_word_is_mine(s, mine) && !rip_word_is_mine(other, its) && rip_word_is_held(its));
        CHECK_IS(rip_word_enter(other, its, RIP_RECURSIVE, 0), -ETIMEDOUT);
        CHECK_IS(rip_word_enter(other, its, RIP_RECURSIVE, rip_now() + MS / 100), -ETIMEDOUT);
        CHECK_IS(rip_word_release(other, its), -EPERM);
        acquire(s, mine);
        release(s, mine);
        CHECK_IS(rip_word_enter(other, its, RIP_RECURSIVE, 0), -ETIMEDOUT);
        release(s, mine);
        CHECK_IS(rip_word_release(s, mine), -EPERM);
        CHECK_IS(rip_word_enter(other, its, RIP_RECURSIVE, 0), 0);
        release(other, its);
        CHECK_IS(atomic_load(&numbers(s)[i]) & ~RIP_WORD_WAITERS, 0);
    }
    close_memory(other);
    close_memory(s);
}

static void a_lock_is_acquired_4095_times_at_most(void) {
    struct rip_sync *s = open_memory("m");
    union rip_word *word = lock_at(s, 0);
    for (unsigned i = 0; i < 4095; i++) {
        acquire(s, word);
    }
    CHECK_IS(rip_word_enter(s, word, RIP_RECURSIVE, 0), -EOVERFLOW);
    for (unsigned i = 0; i < 4095; i++) {
        release(s, word);
    }
    CHECK(!rip_word_is_held(word));
    CHECK_IS(rip_word_release(s, word), -EPERM);
    close_memory(s);
}

static void *tries(void *argument) {
    struct rip_sync *s = argument;
    CHECK_IS(rip_word_release(s, lock_at(s, 0)), -EPERM);
    CHECK_IS(rip_word_enter(s, lock_at(s, 0), RIP_RECURSIVE, rip_now() + 5 * MS), -ETIMEDOUT);
    CHECK_IS(rip_word_enter(s, lock_at(s, 1), RIP_RECURSIVE, 0), 0);
    return NULL; /* a thread that ends with a lock keeps it as long as its process lives */
}

static void threads_of_a_handle_exclude_each_other(void) {
    struct rip_sync *s = open_memory("m"), *other = open_memory("m");
    pthread_t thread;
    acquire(s, lock_at(s, 0));
    CHECK_IS(pthread_create(&thread, NULL, tries, s), 0);
    CHECK_IS(pthread_join(thread, NULL), 0);
    CHECK_IS(rip_word_enter(s, lock_at(s, 1), RIP_RECURSIVE, 0), -ETIMEDOUT);
    release(s, lock_at(s, 0));
    close_memory(s);
    CHECK_IS(rip_word_enter(other, lock_at(other, 1), RIP_RECURSIVE, 0), 1); /* its handle is closed */
    close_memory(other);
}

static int owns_nothing_of_its_parent(void *argument) {
    struct rip_sync *s = argument;
    CHECK(!rip_word_is_mine(s, lock_at(s, 0)));
    CHECK_IS(rip_word_release(s, lock_at(s, 0)), -EPERM);
    CHECK_IS(rip_word_enter(s, lock_at(s, 0), RIP_RECURSIVE, 0), -ETIMEDOUT);
    CHECK_IS(rip_word_enter(s, lock_at(s, 1), RIP_RECURSIVE, 0), 0);
    atomic_store(&numbers(s)[2], 77);
    return 0; /* dies with a lock of its own */
}

static void a_forked_child_is_a_holder_of_its_own(void) {
    struct rip_sync *s = open_memory(NULL);
    acquire(s, lock_at(s, 0));
    expect_success(spawn(owns_nothing_of_its_parent, s));
    CHECK_IS(atomic_load(&numbers(s)[2]), 77);
    CHECK(rip_word_is_mine(s, lock_at(s, 0)));
    CHECK_IS(rip_word_enter(s, lock_at(s, 1), RIP_RECURSIVE, 0), 1);
    release(s, lock_at(s, 1));
    release(s, lock_at(s, 0));
    close_memory(s);
}

struct crowd {
    _Atomic uint64_t inside, done, stop, ready;
};
static struct crowd *crowd;

static void count_one(struct rip_sync *s) {
    union rip_word *word = lock_at(s, 0);
    int rc = rip_word_enter(s, word, RIP_RECURSIVE, in(20000));
    CHECK(rc == 0 || rc == 1);
    if (rc == 1) { /* the dead owner was inside, or it was killed before or after that */
        atomic_store(&crowd->inside, 0);
    }
    CHECK_IS(atomic_fetch_add(&crowd->inside, 1), 0);
    uint64_t seen = atomic_load_explicit(&numbers(s)[1], memory_order_relaxed);
    for (volatile int i = 0; i < 50; i = i + 1) {
    }
    atomic_store_explicit(&numbers(s)[1], seen + 1, memory_order_relaxed);
    atomic_fetch_sub(&crowd->inside, 1);
    release(s, word);
    atomic_fetch_add(&crowd->done, 1);
}

static int counts(void *argument) {
    struct rip_sync *s = open_as("m", -1, NULL, argument ? RIP_WAIT_BLOCK : RIP_WAIT_ADAPTIVE);
    for (unsigned i = 0; i < 20000; i++) {
        count_one(s);
    }
    close_memory(s);
    return 0;
}

static void one_owner_at_a_time(void) {
    struct rip_sync *s = open_memory("m");
    pid_t children[4];
    crowd = shared(sizeof *crowd);
    for (unsigned i = 0; i < 4; i++) {
        children[i] = spawn(counts, i % 2 ? crowd : NULL);
    }
    for (unsigned i = 0; i < 4; i++) {
        expect_success(children[i]);
    }
    CHECK_IS(atomic_load(&numbers(s)[1]), 80000);
    close_memory(s);
}

static _Noreturn int counts_for_ever(void *argument) {
    struct rip_sync *s = open_memory("m");
    (void)argument;
    for (;;) {
        count_one(s);
    }
}

#define KILLS 200u

static void killed_at_random_no_lock_is_lost(void) {
    struct rip_sync *s = open_memory("m");
    struct random r = {5};
    pid_t children[3];
    crowd = shared(sizeof *crowd);
    for (unsigned i = 0; i < 3; i++) {
        children[i] = spawn(counts_for_ever, NULL);
    }
    for (unsigned i = 0; i < KILLS; i++) {
        unsigned which = (unsigned)random_below(&r, 3);
        uint64_t before = atomic_load(&crowd->done);
        nap(random_below(&r, 3 * MS));
        kill_and_wait(children[which]);
        children[which] = spawn(counts_for_ever, NULL);
        CHECK(reaches(&crowd->done, before + 3, 20000 * MS));
    }
    for (unsigned i = 0; i < 3; i++) {
        kill_and_wait(children[i]);
    }
    count_one(s);
    /* a number is lost only with a process that was killed between its two stores */
    uint64_t done = atomic_load(&crowd->done), counted = atomic_load(&numbers(s)[1]);
    CHECK(counted >= done && counted <= done + KILLS + 3);
    close_memory(s);
}

static int takes_and_waits_to_be_killed(void *argument) {
    struct rip_sync *s = open_memory("m");
    acquire(s, lock_at(s, (unsigned)(uintptr_t)argument));
    acquire(s, lock_at(s, (unsigned)(uintptr_t)argument));
    atomic_store(&crowd->ready, 1);
    pause();
    return 0;
}

static void the_next_owner_sees_the_death(void) {
    struct rip_sync *s = open_memory("m");
    crowd = shared(sizeof *crowd);
    for (uintptr_t waits = 0; waits < 2; waits++) {
        union rip_word *word = lock_at(s, (unsigned)waits);
        atomic_store(&crowd->ready, 0);
        pid_t child = spawn(takes_and_waits_to_be_killed, (void *)waits); /* NOLINT(performance-no-int-to-ptr) */
        CHECK(reaches(&crowd->ready, 1, 20000 * MS));
        CHECK_IS(rip_word_enter(s, word, RIP_RECURSIVE, waits ? in(120) : 0), -ETIMEDOUT);
        kill_and_wait(child);
        CHECK_IS(rip_word_enter(s, word, RIP_RECURSIVE, waits ? in(20000) : 0), 1);
        CHECK(rip_word_owner_died(word));
        CHECK_IS(rip_word_enter(s, word, RIP_RECURSIVE, 0), 1); /* as long as nobody has released it */
        release(s, word);
        release(s, word);
        CHECK_IS(rip_word_enter(s, word, RIP_RECURSIVE, 0), 0);
        CHECK(!rip_word_owner_died(word));
        release(s, word);
    }
    close_memory(s);
}

static int waits_long(void *argument) {
    struct rip_sync *s = open_as("m", -1, NULL, argument ? RIP_WAIT_BLOCK : RIP_WAIT_ADAPTIVE);
    struct rusage used;
    CHECK_IS(rip_word_enter(s, lock_at(s, 0), RIP_RECURSIVE, in(400)), -ETIMEDOUT);
    CHECK_IS(getrusage(RUSAGE_SELF, &used), 0);
    CHECK(used.ru_utime.tv_sec + used.ru_stime.tv_sec == 0);
    CHECK(used.ru_utime.tv_usec + used.ru_stime.tv_usec < 40000);
    close_memory(s);
    return 0;
}

static void a_waiter_sleeps(void) {
    struct rip_sync *s = open_memory("m");
    acquire(s, lock_at(s, 0));
    expect_success(spawn(waits_long, NULL));
    expect_success(spawn(waits_long, s));
    release(s, lock_at(s, 0));
    CHECK_IS(atomic_load(&numbers(s)[0]), 0); /* the announcement of those who left is cleared */
    close_memory(s);
}

static int answers(void *argument) {
    struct rip_sync *s = open_as("m", -1, NULL, argument ? RIP_WAIT_BLOCK : RIP_WAIT_ADAPTIVE);
    acquire(s, lock_at(s, 1));
    atomic_store(&crowd->ready, 1);
    for (uint64_t n = 0; n < 3000; n++) { /* each has one of the two locks while it waits for the other one */
        unsigned take = n % 2 ? 1 : 0;
        acquire(s, lock_at(s, take));
        release(s, lock_at(s, 1 - take));
        atomic_fetch_add(&crowd->done, 1);
        while (n + 1 < 3000 && atomic_load(&crowd->inside) <= n) {
            sched_yield();
        }
    }
    close_memory(s);
    return 0;
}

/* If a wake-up were lost, it would cost the rest of a slice. */
static void a_release_wakes_the_waiter(void) {
    crowd = shared(sizeof *crowd);
    for (uintptr_t block = 0; block < 2; block++) {
        struct rip_sync *s = open_memory("m");
        memset(crowd, 0, sizeof *crowd);
        acquire(s, lock_at(s, 0));
        pid_t child = spawn(answers, (void *)block); /* NOLINT(performance-no-int-to-ptr) */
        CHECK(reaches(&crowd->ready, 1, 20000 * MS));
        uint64_t waited = 0;
        for (uint64_t n = 0; n < 3000; n++) {
            nap(n % 100 ? 0 : MS / 2); /* now and then the child sleeps for certain */
            uint64_t start = rip_now();
            unsigned has = n % 2 ? 1 : 0;
            release(s, lock_at(s, has));
            CHECK(reaches(&crowd->done, n + 1, 20000 * MS));
            waited += rip_now() - start;
            if (n + 1 < 3000) {
                acquire(s, lock_at(s, 1 - has));
            }
            atomic_store(&crowd->inside, n + 1);
        }
        CHECK(waited < 3000 * 2 * MS);
        expect_success(child);
        close_memory(s);
    }
}

#define ROUNDS 20u

static int sleeps_for_the_lock(void *argument) {
    struct rip_sync *s = open_as("m", -1, NULL, RIP_WAIT_BLOCK);
    (void)argument;
    for (unsigned i = 0; i < ROUNDS; i++) {
        CHECK(reaches(&crowd->inside, i + 1, 20000 * MS));
        acquire(s, lock_at(s, 0));
        atomic_fetch_add(&crowd->done, 1);
        release(s, lock_at(s, 0));
    }
    close_memory(s);
    return 0;
}

/* Each waiter that is woken wakes the next one. If one were left asleep, each round would cost the rest of a slice. */
static void all_waiters_are_woken_one_by_one(void) {
    struct rip_sync *s = open_memory("m");
    pid_t children[4];
    uint64_t waited = 0;
    crowd = shared(sizeof *crowd);
    for (unsigned i = 0; i < 4; i++) {
        children[i] = spawn(sleeps_for_the_lock, NULL);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        acquire(s, lock_at(s, 0));
        atomic_store(&crowd->inside, i + 1);
        for (unsigned k = 0; k < 4; k++) {
            while (process_state(children[k]) != 'S') {
                sched_yield();
            }
        }
        uint64_t start = rip_now();
        release(s, lock_at(s, 0));
        CHECK(reaches(&crowd->done, 4 * ((uint64_t)i + 1), 20000 * MS));
        waited += rip_now() - start;
    }
    for (unsigned i = 0; i < 4; i++) {
        expect_success(children[i]);
    }
    CHECK(waited < ROUNDS * 20 * MS);
    close_memory(s);
}

static void on_alarm(int number) { (void)number; }

static void a_signal_ends_a_wait(void) {
    struct rip_sync *s = open_memory("m"), *other = open_memory("m");
    struct sigaction action = {.sa_handler = on_alarm};
    CHECK_IS(sigaction(SIGALRM, &action, NULL), 0);
    acquire(other, lock_at(other, 0));
    ualarm(20000, 0);
    CHECK_IS(rip_word_enter(s, lock_at(s, 0), RIP_RECURSIVE, in(20000)), -EINTR);
    release(other, lock_at(other, 0));
    close_memory(other);
    close_memory(s);
}

/* ---- the data ---- */

static void fill_with(uint64_t number, uint64_t values[WORDS]) {
    for (unsigned i = 0; i < WORDS; i++) {
        values[i] = number + i;
    }
}

static int write_now(struct rip_sync *s, uint64_t number, uint64_t deadline) {
    uint64_t values[WORDS];
    fill_with(number, values);
    int rc = rip_memory_acquire(s, deadline);
    if (rc >= 0) {
        CHECK_IS(rip_memory_write(s, values), 0);
        CHECK_IS(rip_memory_release(s), 0);
    }
    return rc;
}

static void write_number(struct rip_sync *s, uint64_t number) { CHECK_IS(write_now(s, number, in(20000)), 0); }

static uint64_t number_in(const uint64_t values[WORDS]) {
    for (unsigned i = 1; i < WORDS; i++) {
        CHECK_IS(values[i], values[0] + i);
    }
    return values[0];
}

static uint64_t read_number(struct rip_sync *s) {
    uint64_t values[WORDS];
    int rc;
    do {
        rc = rip_memory_read(s, values);
    } while (rc == -EAGAIN);
    CHECK_IS(rc, 0);
    return number_in(values);
}

/* Reads the data in place, under the lock. */
static uint64_t number_in_place(struct rip_sync *s) {
    uint64_t values[WORDS];
    CHECK(rip_memory_acquire(s, in(20000)) >= 0);
    for (unsigned i = 0; i < WORDS; i++) {
        values[i] = atomic_load(&numbers(s)[i]);
    }
    CHECK_IS(rip_memory_release(s), 0);
    return number_in(values);
}

static void all_see_what_one_writes(void) {
    struct rip_sync *s = open_memory("m"), *other = open_memory("m");
    CHECK_IS(rip_memory_write(s, numbers(s)), -EPERM); /* without the lock */
    for (uint64_t n = 1; n < 10; n++) {
        write_number(n % 2 ? s : other, 1000 * n);
        CHECK_IS(read_number(s), 1000 * n);
        CHECK_IS(read_number(other), 1000 * n);
        CHECK_IS(number_in_place(other), 1000 * n);
    }
    atomic_store(&numbers(s)[0], 5);
    uint64_t values[WORDS];
    CHECK_IS(rip_memory_read(other, values), 0);
    CHECK_IS(values[0], 5);
    close_memory(other);
    close_memory(s);
}

static void the_description_must_be_the_same(void) {
    struct rip_memory_wish wish = {.description = "two", .description_length = 3}, another = wish;
    struct rip_sync *s = open_as("m", -1, &wish, RIP_WAIT_BLOCK), *other;
    uint32_t length;
    CHECK(memcmp(rip_memory_description(s, &length), "two", 3) == 0);
    CHECK_IS(length, 3);
    another.description = "too";
    CHECK_IS(rip_memory_open("m", -1, SIZE, &another, RIP_WAIT_BLOCK, &other), -EEXIST);
    CHECK_IS(rip_memory_open("m", -1, SIZE + 1, &wish, RIP_WAIT_BLOCK, &other), -EEXIST);
    CHECK_IS(rip_memory_open("m", -1, SIZE, NULL, RIP_WAIT_BLOCK, &other), -EEXIST);
    CHECK_IS(rip_memory_open("n", -1, RIP_MUST_BE, NULL, RIP_WAIT_BLOCK, &other), -ENOENT);
    CHECK_IS(rip_sync_open("m", -1, RIP_LOCK, -1, 1, RIP_WAIT_BLOCK, &other), -EPROTOTYPE);
    CHECK_IS(rip_memory_open("m", -1, RIP_MUST_BE, NULL, RIP_WAIT_BLOCK, &other), 0);
    CHECK(memcmp(rip_memory_description(other, &length), "two", 3) == 0);
    close_memory(other);
    close_memory(s);
    CHECK(!exists("m", NULL));
}

static int opens_by_descriptor(void *argument) {
    struct rip_sync *s = open_as(NULL, *(int *)argument, NULL, RIP_WAIT_BLOCK);
    CHECK_IS(read_number(s), 3);
    write_number(s, 4);
    close_memory(s);
    return 0;
}

static void a_descriptor_is_enough(void) {
    struct rip_sync *s = open_memory(NULL);
    write_number(s, 3);
    int fd = dup(rip_sync_fd(s));
    CHECK(fd >= 0);
    close_memory(s);
    expect_success(spawn(opens_by_descriptor, &fd));
    s = open_as(NULL, fd, NULL, RIP_WAIT_BLOCK);
    CHECK_IS(read_number(s), 4);
    close_memory(s);
    close(fd);
}

static void a_file_with_a_path_stays(void) {
    char path[128];
    struct rip_memory_wish wish = {.path = path};
    struct rip_sync *s;
    snprintf(path, sizeof path, "%s/table", scratch);
    CHECK_IS(rip_memory_open(NULL, -1, RIP_MUST_BE, &wish, RIP_WAIT_BLOCK, &s), -ENOENT);
    s = open_as(NULL, -1, &wish, RIP_WAIT_BLOCK);
    write_number(s, 8);
    CHECK_IS(rip_memory_flush(s), 0);
    atomic_store(&s->file->word, atomic_load(&s->file->word) - 2); /* as if killed while it copied the draft */
    atomic_store(&numbers(s)[7], 0);
    close_memory(s);
    CHECK_IS(rip_memory_open(NULL, -1, RIP_MUST_BE, &wish, RIP_WAIT_BLOCK, &s), 0);
    CHECK_IS(atomic_load(&numbers(s)[7]), 8 + 7);
    CHECK_IS(number_in_place(s), 8);
    CHECK_IS(read_number(s), 8);
    close_memory(s);
    CHECK_IS(truncate(path, 100), 0);
    CHECK_IS(rip_memory_open(NULL, -1, RIP_MUST_BE, &wish, RIP_WAIT_BLOCK, &s), -EBADMSG);
    CHECK_IS(unlink(path), 0);
}

static void memory_of_the_draft_follows_use(void) {
    struct rip_sync *s = open_memory("m");
    struct stat before, after;
    CHECK_IS(fstat(s->handle.mapping.fd, &before), 0);
    write_number(s, 1);
    CHECK_IS(fstat(s->handle.mapping.fd, &after), 0);
    CHECK_IS(after.st_blocks - before.st_blocks, RIP_PAGE / 512);
    close_memory(s);
}

static int writes_all_the_time(void *argument) {
    struct rip_sync *s = open_memory("m");
    uint64_t n = (uint64_t)(uintptr_t)argument;
    atomic_fetch_add(&crowd->ready, 1);
    while (!atomic_load(&crowd->stop)) {
        CHECK(write_now(s, n += 1000, in(20000)) >= 0);
        atomic_fetch_add(&crowd->done, 1);
    }
    close_memory(s);
    return 0;
}

static int reads_all_the_time(void *argument) {
    struct rip_sync *s = open_memory("m");
    uint64_t reads = 0;
    (void)argument;
    atomic_fetch_add(&crowd->ready, 1);
    for (; !atomic_load(&crowd->stop); reads++) {
        read_number(s);
    }
    CHECK(reads > 100);
    close_memory(s);
    return 0;
}

static void no_reader_sees_half_of_a_write(void) {
    crowd = shared(sizeof *crowd);
    for (uintptr_t writers = 1; writers <= 3; writers += 2) {
        struct rip_sync *s = open_memory("m");
        pid_t children[5];
        unsigned count = 0;
        memset(crowd, 0, sizeof *crowd);
        write_number(s, 1);
        for (uintptr_t i = 0; i < writers; i++) {
            children[count++] = spawn(writes_all_the_time, (void *)i); /* NOLINT(performance-no-int-to-ptr) */
        }
        for (unsigned i = 0; i < 2; i++) {
            children[count++] = spawn(reads_all_the_time, NULL);
        }
        CHECK(reaches(&crowd->ready, count, 20000 * MS));
        nap(500 * MS);
        atomic_store(&crowd->stop, 1);
        for (unsigned i = 0; i < count; i++) {
            expect_success(children[i]);
        }
        CHECK(atomic_load(&crowd->done) > 100);
        close_memory(s);
    }
}

/* ---- numbers ---- */

static int adds(void *argument) {
    struct rip_sync *s = open_memory("m");
    char *data = (char *)numbers(s);
    float quarter = 0.25f;
    double half = 0.5;
    uint64_t bits = 0, wide;
    (void)argument;
    memcpy(&bits, &quarter, sizeof quarter);
    memcpy(&wide, &half, sizeof half);
    for (unsigned i = 0; i < 20000; i++) {
        rip_number_add(data, RIP_INT8, 1);
        rip_number_add(data + 8, RIP_INT16, 1);
        rip_number_add(data + 16, RIP_INT32, UINT64_MAX);
        rip_number_add(data + 24, RIP_INT64, UINT64_MAX);
        rip_number_add(data + 32, RIP_FLOAT32, bits);
        rip_number_add(data + 40, RIP_FLOAT64, wide);
    }
    close_memory(s);
    return 0;
}

static void no_addition_is_lost(void) {
    struct rip_sync *s = open_memory("m");
    char *data = (char *)numbers(s);
    pid_t children[3];
    float single;
    double real;
    for (unsigned i = 0; i < 3; i++) {
        children[i] = spawn(adds, NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        expect_success(children[i]);
    }
    CHECK_IS(rip_number_load(data, RIP_INT8), 60000 % 256);
    CHECK_IS(rip_number_load(data + 8, RIP_INT16), 60000);
    CHECK_IS((int32_t)rip_number_load(data + 16, RIP_INT32), -60000);
    CHECK_IS((int64_t)rip_number_load(data + 24, RIP_INT64), -60000);
    memcpy(&single, data + 32, sizeof single);
    memcpy(&real, data + 40, sizeof real);
    CHECK(single == 15000.0f && real == 30000.0);
    CHECK_IS(atomic_load(&numbers(s)[0]), 60000 % 256); /* nothing beside them was written */
    CHECK_IS(atomic_load(&numbers(s)[1]), 60000);
    CHECK_IS(rip_number_size((enum rip_number)9), -EINVAL);
    close_memory(s);
}

static void a_number_is_exchanged_if_it_is_as_expected(void) {
    struct rip_sync *s = open_memory("m");
    for (int kind = RIP_INT8; kind <= RIP_FLOAT64; kind++) {
        void *at = (void *)&numbers(s)[kind];
        uint64_t expected = 1;
        CHECK_IS(rip_number_exchange(at, (enum rip_number)kind, 7), 0);
        CHECK_IS(rip_number_compare_exchange(at, (enum rip_number)kind, &expected, 9), 0);
        CHECK_IS(expected, 7);
        CHECK_IS(rip_number_compare_exchange(at, (enum rip_number)kind, &expected, 9), 1);
        CHECK_IS(rip_number_load(at, (enum rip_number)kind), 9);
        rip_number_store(at, (enum rip_number)kind, 11);
        CHECK_IS(rip_number_exchange(at, (enum rip_number)kind, 0), 11);
    }
    close_memory(s);
}

/* ---- killed at every instruction ---- */

static struct rip_sync *stays;

static void others(void) {
    stays = open_memory("c");
    write_number(stays, 1000);
    write_number(stays, 2000);
}

/* The data is what it was, or what the victim wrote, and everybody goes on. */
static void others_go_on(void) {
    struct rip_sync *newcomer = open_memory("c");
    uint64_t seen = read_number(stays);
    CHECK(seen == 2000 || seen == 3000 || seen == 4000);
    CHECK_IS(read_number(newcomer), seen);
    CHECK_IS(number_in_place(newcomer), seen);
    CHECK_IS(read_number(stays), seen);
    for (uint64_t n = 1; n <= 3; n++) {
        CHECK_IS(write_now(n % 2 ? stays : newcomer, 5000 * n, in(20000)), 0);
        CHECK_IS(read_number(newcomer), 5000 * n);
    }
    CHECK_IS(atomic_load(&rip_memory_lock(stays)->whole), 0);
    close_memory(newcomer);
    close_memory(stays);
    CHECK(!exists("c", NULL));
}

static int writes_two(void) {
    struct rip_sync *s = open_memory("c");
    stop_here();
    write_now(s, 3000, in(20000));
    write_now(s, 4000, in(20000));
    stop_here();
    return 0;
}

static int opens_and_closes(void) {
    stop_here();
    close_memory(open_memory("c"));
    stop_here();
    return 0;
}

static int dies_with_the_lock(void *argument) {
    struct rip_sync *s = open_memory("c");
    (void)argument;
    CHECK_IS(rip_memory_acquire(s, 0), 0);
    return 0;
}

static void others_and_a_dead_owner(void) {
    others();
    expect_success(spawn(dies_with_the_lock, NULL));
}

static int dies_while_it_copies(void *argument) {
    struct rip_sync *s = open_memory("c");
    (void)argument;
    write_number(s, 3000);
    CHECK_IS(rip_memory_acquire(s, 0), 0);
    atomic_store(&s->file->word, atomic_load(&s->file->word) - 2);
    memset((void *)numbers(s), 0xff, SIZE / 2);
    return 0;
}

static void others_and_a_dead_writer(void) {
    others();
    expect_success(spawn(dies_while_it_copies, NULL));
}

static void opening_leaves_the_death_to_the_next_owner(void) {
    others_and_a_dead_writer();
    close_memory(open_memory("c"));
    CHECK_IS(rip_memory_acquire(stays, 0), 1);
    CHECK_IS(rip_memory_release(stays), 0);
    CHECK_IS(rip_memory_acquire(stays, 0), 0);
    CHECK_IS(rip_memory_release(stays), 0);
    CHECK_IS(number_in_place(stays), 3000);
    close_memory(stays);
}

static int cannot_read_the_draft(void *argument) {
    struct rip_sync *s = open_memory("c");
    (void)argument;
    expect_success(spawn(dies_while_it_copies, NULL));
    CHECK_IS(munmap(s->memory.draft, RIP_PAGE), 0);
    CHECK_IS(rip_memory_acquire(s, 0), -ENOMEM);
    CHECK(!rip_word_is_held(rip_memory_lock(s)));
    return 0;
}

static void an_owner_that_cannot_mend_leaves_it_to_the_next(void) {
    if (is_emulated()) {
        return;
    }
    others();
    expect_success(spawn(cannot_read_the_draft, NULL));
    CHECK_IS(rip_memory_acquire(stays, 0), 1);
    CHECK_IS(rip_memory_release(stays), 0);
    CHECK_IS(number_in_place(stays), 3000);
    close_memory(stays);
}

static void killed_while_it_writes(void) {
    static const struct play plays[] = {
        {"c", others, writes_two, others_go_on, NULL},
        {"c", others, opens_and_closes, others_go_on, NULL},
        {"c", others_and_a_dead_owner, writes_two, others_go_on, NULL},
        {"c", others_and_a_dead_writer, writes_two, others_go_on, NULL},
        {"c", others_and_a_dead_writer, opens_and_closes, others_go_on, NULL},
    };
    for (size_t i = 0; i < sizeof plays / sizeof *plays; i++) {
        kill_at_every_moment(&plays[i]);
    }
}

static int takes_and_gives(void) {
    struct rip_sync *s = open_memory("c");
    stop_here();
    for (unsigned i = 0; i < 2; i++) {
        CHECK(rip_word_enter(s, lock_at(s, 3), RIP_RECURSIVE, in(20000)) >= 0);
        acquire(s, lock_at(s, 4));
        atomic_fetch_add(&numbers(s)[5], 1); /* the search for moments needs a change that stays */
    }
    for (unsigned i = 0; i < 2; i++) {
        release(s, lock_at(s, 4));
        release(s, lock_at(s, 3));
    }
    stop_here();
    return 0;
}

static int dies_with_a_word(void *argument) {
    struct rip_sync *s = open_memory("c");
    (void)argument;
    acquire(s, lock_at(s, 3));
    return 0;
}

static void all_locks_are_free(void) { stays = open_memory("c"); }

static void one_lock_has_a_dead_owner(void) {
    all_locks_are_free();
    expect_success(spawn(dies_with_a_word, NULL));
}

static void both_locks_can_be_acquired(void) {
    for (unsigned i = 3; i <= 4; i++) {
        int rc = rip_word_enter(stays, lock_at(stays, i), RIP_RECURSIVE, 0);
        CHECK(rc == 0 || rc == 1);
        CHECK_IS(rip_word_owner_died(lock_at(stays, i)), rc);
        release(stays, lock_at(stays, i));
        CHECK_IS(atomic_load(&numbers(stays)[i]), 0);
    }
    close_memory(stays);
    CHECK(!exists("c", NULL));
}

static void killed_with_a_lock(void) {
    static const struct play plays[] = {
        {"c", all_locks_are_free, takes_and_gives, both_locks_can_be_acquired, NULL},
        {"c", one_lock_has_a_dead_owner, takes_and_gives, both_locks_can_be_acquired, NULL},
    };
    for (size_t i = 0; i < sizeof plays / sizeof *plays; i++) {
        kill_at_every_moment(&plays[i]);
    }
}

static void prepare_nothing(void) {}

static int is_alone(void) {
    stop_here();
    struct rip_sync *s = open_memory("c");
    write_number(s, 9);
    close_memory(s);
    stop_here();
    return 0;
}

static void it_starts_again(void) {
    struct rip_sync *s = open_memory("c");
    for (unsigned i = 0; i < WORDS; i++) {
        CHECK_IS(atomic_load(&numbers(s)[i]), 0);
    }
    write_number(s, 1);
    CHECK_IS(read_number(s), 1);
    close_memory(s);
    CHECK(!exists("c", NULL));
}

static void killed_alone(void) {
    static const struct play alone = {"c", prepare_nothing, is_alone, it_starts_again, NULL};
    kill_at_every_moment(&alone);
}

/* ---- at every instruction of one process, another one acts ---- */

static int writes_once(void) {
    struct rip_sync *s = open_memory("c");
    write_now(s, 2500, in(20000)); /* it has made sure of the draft afterwards */
    uint64_t values[WORDS];
    fill_with(3000, values);
    stop_here();
    int rc = rip_memory_acquire(s, in(20000));
    rc = rc ? rc : rip_memory_write(s, values);
    rc = rc ? rc : rip_memory_release(s);
    stop_here();
    CHECK_IS(rc, 0);
    close_memory(s);
    return 0;
}

static struct play one;

static void a_writer_dies(void) { expect_success(spawn(dies_while_it_copies, NULL)); }

static int reads_once(void) {
    struct rip_sync *s = open_memory("c");
    uint64_t values[WORDS];
    CHECK_IS(rip_memory_read(s, values), 0);
    stop_here();
    if (one.meanwhile) {
        CHECK_IS(rip_memory_read(s, values), 0); /* it has found that the draft can be read */
        stop_here();
    }
    int rc = rip_memory_read(s, values);
    stop_here();
    CHECK(rc == 0);
    CHECK(number_in(values) >= 2000);
    close_memory(s);
    return 0;
}

/* Stops a process after each of its instructions in turn, and acts there: reads, and writes if the lock is free. */
static void act_at_every_instruction(int (*call)(void), void (*meanwhile)(void), unsigned writes) {
    one = (struct play){"c", others, call, NULL, meanwhile};
    play = &one;
    for (unsigned steps = 0, ended = 0; !ended; steps++) {
        int more = 1;
        pid_t child = start_victim();
        for (unsigned i = 0; i < steps && more; i++) {
            more = step(child);
        }
        ended = !more;
        CHECK(read_number(stays) >= 2000);
        for (uint64_t n = 1; n <= writes; n++) {
            if (write_now(stays, 10000 * n, 0) >= 0) {
                CHECK_IS(read_number(stays), 10000 * n);
            }
        }
        CHECK(!more || run_on(child)); /* to the end of its call */
        CHECK(read_number(stays) >= 2000);
        CHECK_IS(number_in_place(stays), read_number(stays));
        CHECK_IS(run_on(child), 0);
        close_memory(stays);
    }
}

static void others_act_at_every_instruction(void) {
    act_at_every_instruction(writes_once, NULL, 1);
    act_at_every_instruction(reads_once, NULL, 1);
    act_at_every_instruction(reads_once, NULL, 2);
    act_at_every_instruction(reads_once, a_writer_dies, 1);
}

/* ---- damage ---- */

static void no_damage_hangs_or_crashes(void) {
    struct random r = {7};
    static uint64_t values[RIP_PAGE]; /* as much as the damaged sizes can say in this file */
    for (unsigned i = 0; i < 1000; i++) {
        struct rip_sync *s = open_memory("d"), *other = NULL;
        unsigned char *file = (unsigned char *)s->file;
        size_t begins[] = {offsetof(struct rip_sync_file, word), offsetof(struct rip_sync_file, memory),
                           offsetof(struct rip_sync_file, memory) + offsetof(struct rip_memory_table, holders)};
        if (i % 2) {
            write_number(s, 1);
        }
        for (unsigned k = 0; k < 20; k++) {
            file[begins[random_below(&r, 3)] + random_below(&r, 16)] = (unsigned char)random_below(&r, 256);
        }
        int rc = rip_memory_open("d", -1, RIP_MUST_BE, NULL, RIP_WAIT_BLOCK, &other);
        CHECK(rc == 0 || rc == -EBADMSG);
        for (struct rip_sync *each = s; each; each = each == s ? other : NULL) {
            rc = rip_memory_read(each, values);
            CHECK(rc == 0 || rc == -EBADMSG || rc == -EAGAIN);
            rc = rip_memory_acquire(each, rip_now() + MS / 10);
            CHECK(rc == 0 || rc == 1 || rc == -ETIMEDOUT || rc == -EOVERFLOW);
            if (rc >= 0) {
                rc = rip_memory_write(each, values);
                CHECK(rc == 0 || rc == -EBADMSG);
                CHECK_IS(rip_memory_release(each), 0);
            }
        }
        close_memory(s);
        if (other) {
            close_memory(other);
        }
        CHECK(!exists("d", NULL));
    }
}

int main(void) {
    run("one thread of one handle owns a lock, and acquires it again", one_thread_of_one_handle_owns_a_lock);
    run("a lock is acquired 4095 times at most", a_lock_is_acquired_4095_times_at_most);
    run("the threads of a handle exclude each other", threads_of_a_handle_exclude_each_other);
    run("a forked child is a holder of its own", a_forked_child_is_a_holder_of_its_own);
    run("a lock has one owner at a time", one_owner_at_a_time);
    run("members killed at random leave no lock behind", killed_at_random_no_lock_is_lost);
    run("the next owner sees that the one before died", the_next_owner_sees_the_death);
    run("a waiter sleeps", a_waiter_sleeps);
    run("a release wakes the waiter, which does not wait for a timeout", a_release_wakes_the_waiter);
    run("all waiters are woken, one by one", all_waiters_are_woken_one_by_one);
    run("a signal ends a wait for a lock", a_signal_ends_a_wait);
    run("all handles see what one writes", all_see_what_one_writes);
    run("size and description of existing memory must be the same", the_description_must_be_the_same);
    run("a file descriptor is enough to open anonymous memory", a_descriptor_is_enough);
    run("a file with a path stays, and an unfinished write in it is completed", a_file_with_a_path_stays);
    run("the draft has memory only once it was needed", memory_of_the_draft_follows_use);
    run("no reader sees half of a write", no_reader_sees_half_of_a_write);
    run("no atomic addition is lost", no_addition_is_lost);
    run("a number is exchanged if it is as expected", a_number_is_exchanged_if_it_is_as_expected);
    run("opening completes the write of a dead owner, and leaves its death to the next one",
        opening_leaves_the_death_to_the_next_owner);
    run("an owner that cannot complete the write of a dead one leaves that to the next",
        an_owner_that_cannot_mend_leaves_it_to_the_next);
    run("no damage of shared memory crashes or hangs a process", no_damage_hangs_or_crashes);
    if (!can_step()) {
        printf("  left out: no process may be stepped here\n");
        return 0;
    }
    run("a lock is free or tells of the death, wherever its owner is killed", killed_with_a_lock);
    run("all of a write is done or nothing, wherever the writer is killed", killed_while_it_writes);
    run("memory of which the only handle is killed starts again, all zero", killed_alone);
    run("no reader sees half of a write, wherever another process acts in between", others_act_at_every_instruction);
    return 0;
}
