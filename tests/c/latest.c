/* Latest values between processes, also if a process is killed. */
#include "moments.h"

#include "store/table_lock.h"
#include "sync/latest.h"

#include <poll.h>

#define SLOTS RIP_LATEST_SLOTS
#define LONGEST UINT64_C(3000)

static struct rip_sync *open_latest(const char *name, int64_t capacity) {
    struct rip_sync *s = NULL;
    CHECK_IS(rip_sync_open(name, -1, RIP_LATEST, capacity, 0, RIP_WAIT_ADAPTIVE, &s), 0);
    return s;
}

static void close_latest(struct rip_sync *s) {
    CHECK_IS(rip_sync_close(s), 0);
    rip_sync_free(s);
}

static void reap_now(struct rip_sync *s) {
    s->handle.reaped_at = 0;
    rip_reap_if_due(&s->handle);
}

static uint64_t in(uint64_t ms) { return rip_now() + ms * MS; }

/* A value is a number, and then bytes that follow from it, so that a reader can check that it is whole. */
static uint64_t length_of(uint64_t number) { return 16 + 8 * (number % ((LONGEST - 16) / 8)); }

static void make(unsigned char *value, uint64_t number) {
    memcpy(value, &number, sizeof number);
    fill(value + 8, length_of(number) - 8, 1, number);
}

static void set(struct rip_sync *s, uint64_t number) {
    unsigned char value[LONGEST];
    make(value, number);
    CHECK_IS(rip_latest_set(s, value, length_of(number), RIP_BYTES), 0);
}

/* Checks that this is a whole value, and returns its number. */
static uint64_t number_in(const unsigned char *value, uint64_t length) {
    uint64_t number;
    CHECK(length >= 16);
    memcpy(&number, value, sizeof number);
    CHECK_IS(length, length_of(number));
    CHECK(is_filled(value + 8, length - 8, 1, number));
    return number;
}

/* Returns the number of the newest value, and stores its seq. 0: there is none. */
static uint64_t get(struct rip_sync *s, uint64_t *seq) {
    unsigned char copy[LONGEST];
    struct rip_value value;
    int rc = rip_latest_get(s, 0, 0, copy, sizeof copy, &value);
    *seq = value.seq;
    if (rc == -ETIMEDOUT) {
        return 0;
    }
    CHECK_IS(rc, 1);
    return number_in(copy, value.length);
}

/* ---- one process ---- */

static void all_read_the_newest(void) {
    struct rip_sync *writer = open_latest("v", LONGEST), *reader = open_latest("v", -1);
    uint64_t seq;
    CHECK_IS(get(reader, &seq), 0);
    CHECK_IS(seq, 0);
    for (uint64_t n = 1; n <= 100; n++) {
        set(n % 3 ? writer : reader, 1000 + n);
        for (unsigned twice = 0; twice < 2; twice++) {
            CHECK_IS(get(reader, &seq), 1000 + n);
            CHECK_IS(seq, n);
            CHECK_IS(get(writer, &seq), 1000 + n);
        }
    }
    struct rip_sync *late = open_latest("v", -1);
    CHECK_IS(get(late, &seq), 1100);
    close_latest(writer);
    CHECK_IS(get(late, &seq), 1100);
    close_latest(reader);
    close_latest(late);
    CHECK(!exists("v", NULL));
    reader = open_latest("v", -1); /* it has ended with its last handle */
    CHECK_IS(get(reader, &seq), 0);
    close_latest(reader);
}

static void capacity_is_the_limit(void) {
    static unsigned char data[2 * RIP_PAGE + 1], copy[2 * RIP_PAGE];
    struct rip_sync *s = open_latest("v", RIP_PAGE + 1), *other = NULL;
    struct rip_value value;
    CHECK_IS(rip_latest_capacity(s), 2 * RIP_PAGE);
    CHECK_IS(rip_latest_set(s, data, 2 * RIP_PAGE + 1, RIP_BYTES), -EMSGSIZE);
    CHECK_IS(rip_latest_get(s, 0, 0, copy, sizeof copy, &value), -ETIMEDOUT);
    CHECK_IS(rip_latest_set(s, data, 2 * RIP_PAGE, RIP_ARRAY), 0);
    CHECK_IS(rip_latest_get(s, 0, 0, copy, 2 * RIP_PAGE - 1, &value), -EMSGSIZE);
    CHECK_IS(value.length, 2 * RIP_PAGE);
    CHECK_IS(rip_latest_get(s, 0, 0, copy, sizeof copy, &value), 1);
    CHECK_IS(value.kind, RIP_ARRAY);
    CHECK_IS(rip_sync_open("v", -1, RIP_LATEST, 2 * RIP_PAGE + 1, 0, RIP_WAIT_BLOCK, &other), -EEXIST);
    CHECK_IS(rip_sync_open("v", -1, RIP_EVENT, -1, 0, RIP_WAIT_BLOCK, &other), -EPROTOTYPE);
    CHECK_IS(rip_sync_open("v", -1, RIP_LATEST, 0, 0, RIP_WAIT_BLOCK, &other), -EINVAL);
    other = open_latest("v", 2 * RIP_PAGE);
    close_latest(other);
    close_latest(s);
    s = open_latest("v", 8 * RIP_PAGE);
    CHECK_IS(rip_latest_capacity(s), 8 * RIP_PAGE);
    close_latest(s);
}

static void memory_follows_use(void) {
    static unsigned char data[40 * RIP_PAGE];
    struct rip_sync *s = open_latest("v", 1 << 30);
    struct stat st;
    for (unsigned i = 0; i < 3 * SLOTS; i++) {
        set(s, i + 1);
    }
    CHECK_IS(fstat(s->handle.mapping.fd, &st), 0);
    CHECK_IS(st.st_blocks * 512, sizeof(struct rip_sync_file) + SLOTS * RIP_PAGE);
    for (unsigned i = 0; i < 3 * SLOTS; i++) { /* large values use half of the slots */
        CHECK_IS(rip_latest_set(s, data, sizeof data, RIP_BYTES), 0);
    }
    CHECK_IS(fstat(s->handle.mapping.fd, &st), 0);
    CHECK_IS(st.st_blocks * 512, sizeof(struct rip_sync_file) + SLOTS / 2 * (sizeof data + RIP_PAGE));
    close_latest(s);
}

#define MANY 600

static void more_readers_than_members(void) {
    static struct rip_sync *readers[MANY];
    struct rip_sync *writer = open_latest("v", LONGEST), *one_more = NULL;
    struct rlimit before, more;
    uint64_t seq;
    unsigned char byte = 1;
    CHECK_IS(getrlimit(RLIMIT_NOFILE, &before), 0);
    more = (struct rlimit){before.rlim_max < 4 * MANY ? before.rlim_max : 4 * MANY, before.rlim_max};
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &more), 0);
    set(writer, 7);
    for (unsigned i = 0; i < MANY; i++) {
        readers[i] = open_latest("v", -1);
    }
    for (unsigned i = 0; i < MANY; i++) {
        CHECK_IS(get(readers[i], &seq), 7);
    }
    for (unsigned i = 1; i < RIP_MAX_HANDLES; i++) { /* those that set a value have an entry */
        CHECK_IS(rip_latest_set(readers[i], &byte, 1, RIP_BYTES), 0);
    }
    CHECK_IS(rip_latest_set(readers[0], &byte, 1, RIP_BYTES), -EUSERS);
    close_latest(readers[1]);
    CHECK_IS(rip_latest_set(readers[0], &byte, 1, RIP_BYTES), 0);
    for (unsigned i = 0; i < MANY; i++) {
        if (i != 1) {
            close_latest(readers[i]);
        }
    }
    one_more = open_latest("v", -1);
    close_latest(writer);
    CHECK(exists("v", "control"));
    close_latest(one_more);
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void a_wait_ends_with_a_newer_value(void) {
    struct rip_sync *s = open_latest("v", LONGEST);
    struct rip_value value;
    uint64_t start = rip_now();
    CHECK_IS(rip_latest_wait(s, 0, in(20), &value), -ETIMEDOUT);
    CHECK(rip_now() - start >= 20 * MS);
    set(s, 1);
    CHECK_IS(rip_latest_wait(s, 0, in(20000), &value), 1);
    CHECK_IS(rip_latest_wait(s, 1, 0, &value), -ETIMEDOUT);
    CHECK_IS(rip_latest_wait(s, 1, in(20), &value), -ETIMEDOUT);
    CHECK_IS(value.seq, 1);
    CHECK_IS(rip_latest_wait(s, UINT64_MAX, in(20), &value), -ETIMEDOUT);
    set(s, 2);
    CHECK_IS(rip_latest_wait(s, 1, in(20000), &value), 1);
    CHECK_IS(value.seq, 2);
    uint64_t at = rip_latest_time(s, value.ticks), now = rip_now();
    CHECK(at <= now + MS && at + 60000 * MS > now);
    close_latest(s);
}

static int is_readable(int fd, int ms) {
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, ms) == 1;
}

static void the_fd_is_readable_when_there_is_a_newer_value(void) {
    struct rip_sync *reader = open_latest("v", LONGEST), *writer = open_latest("v", -1);
    struct rip_value value;
    int fd = rip_latest_fd(reader, 0);
    CHECK(fd >= 0);
    CHECK_IS(is_readable(fd, 20), 0);
    for (uint64_t n = 1; n <= 50; n++) {
        set(writer, n);
        CHECK_IS(is_readable(fd, 20000), 1);
        CHECK_IS(rip_latest_peek(reader, &value), 1);
        CHECK_IS(value.seq, n);
        CHECK_IS(rip_latest_update_fd(reader, value.word), 1);
        while (is_readable(fd, 1)) { /* the thread may have been about to write */
            rip_latest_update_fd(reader, value.word);
        }
    }
    set(writer, 51);
    close_latest(reader);
    reader = open_latest("v", -1);
    CHECK_IS(is_readable(rip_latest_fd(reader, 0), 20000), 1); /* this handle has seen none of the values */
    close_latest(reader);
    close_latest(writer);
}

/* ---- several processes ---- */

struct crowd {
    _Atomic uint64_t set, ready, stop, read;
};
static struct crowd *crowd;

static int reads_all_the_time(void *argument) {
    struct rip_sync *s = open_latest("v", -1);
    uint64_t last = 0, seq, reads = 0;
    (void)argument;
    atomic_fetch_add(&crowd->ready, 1);
    while (!atomic_load(&crowd->stop)) {
        get(s, &seq);
        CHECK(seq >= last);
        last = seq;
        reads++;
    }
    atomic_fetch_add(&crowd->read, reads);
    close_latest(s);
    return 0;
}

static int sets_all_the_time(void *argument) {
    struct rip_sync *s = open_latest("v", -1);
    struct random r = {(uint64_t)(uintptr_t)argument + 1};
    atomic_fetch_add(&crowd->ready, 1);
    while (!atomic_load(&crowd->stop)) {
        set(s, 1 + random_below(&r, 1000000));
        atomic_fetch_add(&crowd->set, 1);
    }
    close_latest(s);
    return 0;
}

static void no_value_is_torn(void) {
    crowd = shared(sizeof *crowd);
    for (uintptr_t writers = 1; writers <= 3; writers += 2) {
        struct rip_sync *s = open_latest("v", LONGEST);
        pid_t children[6];
        uint64_t seq;
        unsigned count = 0;
        memset(crowd, 0, sizeof *crowd);
        set(s, 1);
        for (uintptr_t i = 0; i < writers; i++) {
            children[count++] = spawn(sets_all_the_time, (void *)i); /* NOLINT(performance-no-int-to-ptr) */
        }
        for (unsigned i = 0; i < 3; i++) {
            children[count++] = spawn(reads_all_the_time, NULL);
        }
        CHECK(reaches(&crowd->ready, count, 20000 * MS));
        nap(500 * MS);
        atomic_store(&crowd->stop, 1);
        for (unsigned i = 0; i < count; i++) {
            expect_success(children[i]);
        }
        CHECK(get(s, &seq) > 0);
        CHECK_IS(seq, 1 + atomic_load(&crowd->set)); /* each value had a number of its own */
        CHECK(atomic_load(&crowd->read) > 1000);
        close_latest(s);
    }
}

static int answers(void *argument) {
    struct rip_sync *ask = open_latest("ask", -1), *answer = open_latest("answer", -1);
    struct rip_value value;
    uint64_t rounds = (uint64_t)(uintptr_t)argument;
    for (uint64_t n = 1; n <= rounds; n++) {
        CHECK_IS(rip_latest_wait(ask, n - 1, in(20000), &value), 1);
        set(answer, n);
    }
    close_latest(ask);
    close_latest(answer);
    return 0;
}

#define ROUNDS 3000

/* If a wake-up were lost, each would cost the rest of a slice. */
static void setting_wakes_those_who_wait(void) {
    struct rip_sync *ask = open_latest("ask", LONGEST), *answer = open_latest("answer", LONGEST);
    struct rip_value value;
    pid_t child = spawn(answers, (void *)ROUNDS); /* NOLINT(performance-no-int-to-ptr) */
    uint64_t start = 0;
    for (uint64_t n = 1; n <= ROUNDS; n++) {
        set(ask, n);
        CHECK_IS(rip_latest_wait(answer, n - 1, in(20000), &value), 1);
        start = start ? start : rip_now();
    }
    CHECK(rip_now() - start < ROUNDS * 10 * MS);
    expect_success(child);
    close_latest(ask);
    close_latest(answer);
}

static int dies_while_setting(void *name) {
    struct rip_sync *s = open_latest(name, -1);
    unsigned char *payload;
    CHECK(rip_latest_begin(s, 100, 0, &payload) >= 0);
    memset(payload, 0xff, 100);
    return 0; /* without publishing or closing */
}

static unsigned claims(const struct rip_sync *s) {
    unsigned count = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        count += s->file->slots[i].claim != 0;
    }
    return count;
}

static void dead_writers_leave_their_slots(void) {
    struct rip_sync *s = open_latest("v", LONGEST);
    uint64_t seq;
    set(s, 5);
    for (unsigned i = 1; i < SLOTS; i++) {
        expect_success(spawn(dies_while_setting, "v"));
        CHECK_IS(get(s, &seq), 5);
    }
    CHECK(claims(s) > 0);
    set(s, 6); /* at once, or as soon as it may reap */
    CHECK_IS(get(s, &seq), 6);
    CHECK_IS(seq, 2);
    reap_now(s);
    CHECK_IS(claims(s), 0);
    for (uint64_t n = 7; n < 30; n++) {
        set(s, n);
        CHECK_IS(get(s, &seq), n);
    }
    close_latest(s);
}

static void writers_wait_for_a_slot(void) {
    struct rip_sync *s = open_latest("v", LONGEST), *other = open_latest("v", -1);
    unsigned char *payload;
    int slots[SLOTS], late;
    uint64_t seq;
    set(s, 1);
    for (unsigned i = 1; i < SLOTS; i++) {
        slots[i] = rip_latest_begin(s, 16, 0, &payload);
        CHECK(slots[i] >= 0);
        make(payload, 0);
    }
    CHECK_IS(rip_latest_begin(other, 16, 0, &payload), -ETIMEDOUT);
    CHECK_IS(rip_latest_begin(other, 16, in(20), &payload), -ETIMEDOUT);
    CHECK_IS(get(other, &seq), 1);
    rip_latest_cancel(s, slots[1]);
    late = rip_latest_begin(other, 16, 0, &payload);
    CHECK_IS(late, slots[1]);
    make(payload, 0);
    for (unsigned i = SLOTS - 1; i > 1; i--) {
        CHECK_IS(rip_latest_publish(s, slots[i], 16, RIP_BYTES), SLOTS + 1 - i);
    }
    CHECK_IS(rip_latest_publish(other, late, 16, RIP_BYTES), SLOTS);
    CHECK_IS(get(s, &seq), 0);
    CHECK_IS(seq, SLOTS);
    close_latest(s);
    close_latest(other);
}

static void a_slot_that_is_being_written_is_not_whole(void) {
    struct rip_sync *s = open_latest("v", LONGEST);
    struct rip_value value;
    unsigned char *payload;
    int slot;
    set(s, 1);
    CHECK_IS(rip_latest_peek(s, &value), 1);
    for (uint64_t n = 2; n <= SLOTS; n++) {
        CHECK_IS(rip_latest_is_whole(s, &value), 1);
        set(s, n);
    }
    CHECK_IS(rip_latest_is_whole(s, &value), 1); /* seven values later */
    slot = rip_latest_begin(s, 16, 0, &payload);
    CHECK(slot >= 0 && payload == value.data);
    CHECK_IS(rip_latest_is_whole(s, &value), 0);
    rip_latest_cancel(s, slot);
    close_latest(s);
}

static int uses_what_it_inherits(void *argument) {
    struct rip_sync *s = argument;
    uint64_t seq;
    CHECK_IS(get(s, &seq), 1);
    set(s, 2);
    if (!is_emulated()) {
        CHECK_IS(is_readable(rip_latest_fd(s, 0), 20000), 1);
    }
    close_latest(s);
    return 0;
}

static void a_forked_child_is_a_handle_of_its_own(void) {
    struct rip_sync *s = open_latest("v", LONGEST);
    struct rip_value value;
    uint64_t seq;
    set(s, 1);
    int fd = rip_latest_fd(s, 0);
    CHECK_IS(is_readable(fd, 20000), 1);
    CHECK_IS(rip_latest_peek(s, &value), 1);
    rip_latest_update_fd(s, value.word);
    expect_success(spawn(uses_what_it_inherits, s));
    CHECK_IS(get(s, &seq), 2);
    CHECK_IS(is_readable(fd, 20000), 1); /* the child has not closed the pollfd of its parent */
    close_latest(s);
    CHECK(!exists("v", NULL));
}

static int opens_by_descriptor(void *argument) {
    struct rip_sync *s = NULL;
    uint64_t seq;
    CHECK_IS(rip_sync_open(NULL, *(int *)argument, RIP_LATEST, RIP_MUST_BE, 0, RIP_WAIT_BLOCK, &s), 0);
    CHECK_IS(get(s, &seq), 3);
    set(s, 4);
    close_latest(s);
    return 0;
}

static void a_descriptor_is_enough(void) {
    struct rip_sync *s = NULL;
    uint64_t seq;
    CHECK_IS(rip_sync_open(NULL, -1, RIP_LATEST, LONGEST, 0, RIP_WAIT_BLOCK, &s), 0);
    set(s, 3);
    int fd = dup(rip_sync_fd(s));
    CHECK(fd >= 0);
    close_latest(s);
    expect_success(spawn(opens_by_descriptor, &fd));
    CHECK_IS(rip_sync_open(NULL, fd, RIP_LATEST, RIP_MUST_BE, 0, RIP_WAIT_BLOCK, &s), 0);
    CHECK_IS(get(s, &seq), 4);
    CHECK_IS(seq, 2);
    close_latest(s);
    close(fd);
}

/* ---- killed at every instruction ---- */

static struct rip_sync *stays;

static void others(void) {
    stays = open_latest("c", RIP_PAGE);
    set(stays, 1);
    set(stays, 2);
}

/* Everybody sees the value from before or the one of the victim, and the next writer goes on. */
static void others_go_on(void) {
    struct rip_sync *newcomer = open_latest("c", -1); /* reaps */
    uint64_t seq, newest = get(stays, &seq), other;
    CHECK_IS(claims(stays), 0);
    CHECK(seq >= 2 && seq <= 4);
    CHECK_IS(newest, seq);
    CHECK_IS(get(newcomer, &other), newest);
    for (uint64_t n = 1; n <= 2 * SLOTS; n++) {
        set(n % 2 ? stays : newcomer, 100 + n);
        CHECK_IS(get(newcomer, &other), 100 + n);
        CHECK_IS(other, seq + n);
    }
    close_latest(newcomer);
    close_latest(stays);
    CHECK(!exists("c", NULL));
}

static int sets_two(void) {
    struct rip_sync *s = open_latest("c", -1);
    stop_here();
    set(s, 3); /* the handle becomes a member */
    set(s, 4);
    stop_here();
    return 0;
}

static int closes_after_setting(void) {
    struct rip_sync *s = open_latest("c", -1);
    set(s, 3);
    stop_here();
    close_latest(s);
    stop_here();
    return 0;
}

static void others_and_dead_writer(void) {
    others();
    expect_success(spawn(dies_while_setting, "c"));
}

static void killed_among_others(void) {
    static const struct play plays[] = {
        {"c", others, sets_two, others_go_on, NULL},
        {"c", others, closes_after_setting, others_go_on, NULL},
        {"c", others_and_dead_writer, sets_two, others_go_on, NULL},
    };
    for (size_t i = 0; i < sizeof plays / sizeof *plays; i++) {
        kill_at_every_moment(&plays[i]);
    }
}

static void prepare_nothing(void) {}

static int is_alone(void) {
    stop_here();
    struct rip_sync *s = open_latest("c", RIP_PAGE);
    set(s, 9);
    close_latest(s);
    stop_here();
    return 0;
}

static void it_starts_again(void) {
    struct rip_sync *s = open_latest("c", 5 * RIP_PAGE);
    uint64_t seq;
    CHECK_IS(rip_latest_capacity(s), 5 * RIP_PAGE);
    CHECK_IS(get(s, &seq), 0);
    CHECK_IS(seq, 0);
    set(s, 1);
    CHECK_IS(get(s, &seq), 1);
    close_latest(s);
    CHECK(!exists("c", NULL));
}

static void killed_alone(void) {
    static const struct play alone = {"c", prepare_nothing, is_alone, it_starts_again, NULL};
    kill_at_every_moment(&alone);
}

/* ---- at every instruction of one process, another one acts ---- */

#define SHORT UINT64_C(747) /* number of a value of few bytes, so that there are few instructions */

static int sets_once(void) {
    struct rip_sync *s = open_latest("c", -1);
    unsigned char value[LONGEST];
    set(s, 3); /* the handle is a member afterwards */
    make(value, SHORT);
    stop_here();
    int rc = rip_latest_set(s, value, length_of(SHORT), RIP_BYTES);
    stop_here();
    CHECK_IS(rc, 0);
    close_latest(s);
    return 0;
}

static int gets_once(void) {
    struct rip_sync *s = open_latest("c", -1);
    unsigned char copy[LONGEST];
    struct rip_value value;
    set(s, SHORT);
    stop_here();
    int rc = rip_latest_get(s, 0, 0, copy, sizeof copy, &value);
    stop_here();
    CHECK_IS(rc, 1);
    CHECK(value.seq >= 3 && number_in(copy, value.length) >= 3);
    close_latest(s);
    return 0;
}

/* Stops a process after each instruction of its call in turn, and sets `often` values there; then it goes on. If that is
 * one value, the newest is read after each of its further instructions too. */
static void act_at_every_instruction(int (*call)(void), unsigned often) {
    static struct play one;
    one = (struct play){"c", others, call, NULL, NULL};
    play = &one;
    for (unsigned steps = 0, ended = 0; !ended; steps++) {
        uint64_t before, seq;
        int more = 1;
        pid_t child = start_victim();
        for (unsigned i = 0; i < steps && more; i++) {
            more = step(child);
        }
        ended = !more;
        get(stays, &before);
        for (uint64_t n = 1; n <= often; n++) {
            set(stays, 100 + n);
            CHECK_IS(get(stays, &seq), 100 + n);
        }
        while (more && often == 1) {
            more = step(child);
            CHECK(get(stays, &seq) > 0);
        }
        CHECK(!more || run_on(child)); /* to the end of its call */
        uint64_t newest = get(stays, &seq);
        CHECK(newest == 100 + often || (newest == SHORT && call == sets_once));
        CHECK_IS(seq, 3 + often + (call == sets_once));
        CHECK(seq == before + often || seq == before + often + 1);
        CHECK_IS(run_on(child), 0);
        close_latest(stays);
    }
}

static void others_set_at_every_instruction(void) {
    act_at_every_instruction(sets_once, 1);
    act_at_every_instruction(gets_once, SLOTS + 1);
}

/* ---- damage ---- */

static void no_damage_hangs_or_crashes(void) {
    struct random r = {7};
    static unsigned char data[RIP_PAGE], copy[RIP_PAGE];
    for (unsigned i = 0; i < 1000; i++) {
        struct rip_sync *s = open_latest("d", RIP_PAGE), *other = NULL;
        struct rip_value value;
        unsigned char *file = (unsigned char *)s->file;
        size_t begin =
            random_below(&r, 2) ? offsetof(struct rip_sync_file, word) : offsetof(struct rip_sync_file, slots);
        set(s, 1);
        for (unsigned k = 0; k < 100; k++) {
            size_t at = begin + random_below(&r, random_below(&r, 2) ? 64 : SLOTS * sizeof(struct rip_latest_slot));
            file[at] = (unsigned char)random_below(&r, 256);
        }
        int rc = rip_sync_open("d", -1, RIP_LATEST, -1, 1, RIP_WAIT_BLOCK, &other);
        CHECK(rc == 0 || rc == -EBADMSG);
        for (struct rip_sync *each = s; each; each = each == s ? other : NULL) {
            unsigned char *payload;
            reap_now(each);
            rc = rip_latest_get(each, 0, rip_now() + MS / 10, copy, sizeof copy, &value);
            CHECK(rc == 1 || rc == -EBADMSG || rc == -ETIMEDOUT || rc == -EMSGSIZE);
            int slot = rip_latest_begin(each, random_below(&r, RIP_PAGE), rip_now() + MS / 10, &payload);
            CHECK((slot >= 0 && slot < (int)SLOTS) || slot == -ETIMEDOUT || slot == -EUSERS);
            if (slot >= 0) {
                memcpy(payload, data, RIP_PAGE);
                rip_latest_publish(each, slot, RIP_PAGE, RIP_BYTES);
            }
        }
        close_latest(s);
        if (other) {
            close_latest(other);
        }
        CHECK(!exists("d", NULL)); /* the locks say who has it open, whatever the file contains */
    }
}

static int sets_and_gets(void *count) {
    struct rip_sync *s = open_latest("c", LONGEST);
    uint64_t seq;
    traceable();
    for (uint64_t n = 1; n <= 100 + *(uint64_t *)count; n++) {
        if (n == 100) { /* all slots have been used, so their memory is allocated */
            stop_here();
        }
        set(s, n);
        CHECK_IS(get(s, &seq), n);
    }
    stop_here();
    close_latest(s);
    return 0;
}

/* Returns how many system calls it takes to set and get this many values. Two of stop_here are included. */
static unsigned calls_for(uint64_t count) {
    unsigned calls = 0;
    pid_t child = spawn(sets_and_gets, &count);
    CHECK(await_stop(child));
    while (run_past_call(child)) {
        calls++;
    }
    CHECK(!run_on(child));
    return calls;
}

static void no_system_calls(void) { CHECK_IS(calls_for(1000), calls_for(0)); }

int main(void) {
    run("all handles read the newest value, also those that are opened later", all_read_the_newest);
    run("a value is as long as the capacity at most", capacity_is_the_limit);
    run("a latest value has as much memory as its values have needed", memory_follows_use);
    run("any number of handles can read, and as many as there are entries can set", more_readers_than_members);
    run("a wait ends when there is a newer value", a_wait_ends_with_a_newer_value);
    run("the pollfd is readable when there is a newer value", the_fd_is_readable_when_there_is_a_newer_value);
    run("no value is torn, from one writer or several", no_value_is_torn);
    run("a new value wakes those who wait, and they do not wait for a timeout", setting_wakes_those_who_wait);
    run("dead writers leave their slots", dead_writers_leave_their_slots);
    run("a writer waits if others use all slots", writers_wait_for_a_slot);
    run("a slot that is being written is not whole", a_slot_that_is_being_written_is_not_whole);
    run("a forked child is a handle of its own", a_forked_child_is_a_handle_of_its_own);
    run("a file descriptor is enough to open an anonymous latest value", a_descriptor_is_enough);
    run("no damage crashes or hangs a process", no_damage_hangs_or_crashes);
    if (!can_step()) {
        printf("  left out: no process may be stepped here\n");
        return 0;
    }
    run("setting and reading take no system call while nobody waits", no_system_calls);
    run("readers see the old or the new value, and writers go on, wherever a writer is killed", killed_among_others);
    run("what the only handle leaves when it is killed starts again", killed_alone);
    run("no value is torn or lost, wherever another process sets one in between", others_set_at_every_instruction);
    return 0;
}
