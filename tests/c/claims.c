/* Files of claims: how large ones are allocated (the table lock is free meanwhile, and others use it), and how their
 * words are read by a handle that has not mapped them. */
#include "steps.h"

#include "ring/claim_files.h"
#include "ring/producer.h"
#include "ring/tx_backlog.h"
#include "store/table_lock.h"

#define MANY (UINT64_C(1) << 17) /* so many slots that their claims take more than RIP_CLAIMS_AT_ONCE */

static_assert(MANY * sizeof(uint64_t) + sizeof(struct rip_claims) > RIP_CLAIMS_AT_ONCE, "they are large");

/* ---- replacements of libc functions, for the core too ---- */

static void (*meanwhile)(void); /* called once, during the next large allocation */
static int no_memory, no_pages; /* 1: the allocation fails; mapping its pages fails */

static void large_one(void) {
    void (*what)(void) = meanwhile;
    meanwhile = NULL;
    if (what) {
        what();
    }
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    if ((uint64_t)length > RIP_CLAIMS_AT_ONCE) {
        large_one();
        if (no_memory) {
            return ENOSPC;
        }
    }
    return syscall(SYS_fallocate, fd, 0, offset, length) == 0 ? 0 : errno;
}

int madvise(void *at, size_t length, int advice) {
    if (length > RIP_CLAIMS_AT_ONCE) {
        large_one();
        if (no_pages) {
            errno = EFAULT;
            return -1;
        }
    }
    return (int)syscall(SYS_madvise, at, length, advice);
}

static unsigned mapped; /* number of calls of mmap */

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    mapped++;
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}

/* ---- members ---- */

static struct rip_producer *known, *many;
static struct rip_consumer *other;

static struct rip_producer *open_many(enum rip_overflow overflow) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, MANY, overflow, RIP_WAIT_BLOCK, NULL, &p), 0);
    return p;
}

static void begin(enum rip_overflow overflow) {
    if (strcmp(CHANNEL, MEMORY) == 0) {
        make_anonymous_channel();
    }
    known = open_producer(CHANNEL, RIP_PAGE, 8);
    many = open_many(overflow);
}

static int try_consumer(const char *group, uint32_t how, uint64_t deadline) {
    int32_t holder;
    struct rip_consumer *c = NULL;
    int rc = rip_consumer_open(CHANNEL, group, how, RIP_WAIT_BLOCK, deadline, &c, &holder);
    if (rc == 0) {
        close_consumer(c);
    }
    return rc;
}

static void check_groups(uint32_t groups) {
    struct rip_inspection inspection;
    CHECK_IS(rip_inspect(CHANNEL, &inspection), 0);
    CHECK_IS(inspection.groups, groups);
}

static void lock_is_free(void) { /* otherwise the calls that follow would wait for ever */
    CHECK_IS(rip_try_lock(&known->ch.handle), 0);
    rip_unlock(&known->ch.handle);
}

static void others_come_and_go(void) {
    lock_is_free();
    close_producer(open_producer(CHANNEL, RIP_PAGE, 8));
    close_consumer(open_consumer(CHANNEL, "passes", RIP_NEWEST));
}

/* ---- tests ---- */

static void no_process_waits(void) {
    begin(RIP_BLOCK);
    meanwhile = others_come_and_go;
    struct rip_consumer *first = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK(!meanwhile);
    meanwhile = others_come_and_go; /* the second one finds that they exist */
    struct rip_consumer *second = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK(!meanwhile);
    struct rip_producer *late = open_many(RIP_BLOCK);
    CHECK_IS(put_number(late, 7, 0), 0);
    meanwhile = others_come_and_go; /* and a member that has joined finds a new lane */
    CHECK_IS(get_number(first, RIP_FOREVER), 7);
    CHECK(!meanwhile);
    close_producer(late);
    close_producer(many);
    close_producer(known);
    CHECK_IS(get_nothing(first, RIP_FOREVER), -ENODATA);
    CHECK_IS(get_nothing(second, RIP_FOREVER), -ENODATA);
    close_consumer(first);
    close_consumer(second);
    CHECK(is_over());
}

static void no_process_waits_for_one_that_drops(void) {
    static const unsigned char data[RIP_PAGE];
    begin(RIP_DROP_OLD);
    CHECK_IS(rip_declare(many, "declared"), 0); /* the producer makes its claims */
    meanwhile = others_come_and_go;
    for (unsigned i = 0; i < 3; i++) {
        CHECK_IS(put(many, data, sizeof data, 0), 0);
    }
    CHECK(!meanwhile);
    CHECK_IS(many->dropped, 2);
    meanwhile = others_come_and_go;
    struct rip_consumer *c = open_consumer(CHANNEL, "declared", RIP_OLDEST);
    CHECK(!meanwhile);
    struct rip_message message;
    CHECK_IS(rip_get(c, &message, 0), 1);
    CHECK_IS(message.seq, 2);
    CHECK_IS(message.missed, 2);
    rip_release(c, &message);
    close_producer(many);
    close_producer(known);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
}

static void another_joins(void) {
    lock_is_free();
    other = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
}

static void another_is_quicker(void) {
    begin(RIP_BLOCK);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_IS(put_number(many, i, 0), 0);
    }
    meanwhile = another_joins;
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK(!memory_has(RIP_FILE_INCOMPLETE + c->ch.handle.member, 0, 0));
    for (uint64_t i = 0; i < 4; i += 2) { /* both use the same claims, so each message comes once */
        CHECK_IS(get_number(other, 0), i);
        CHECK_IS(get_number(c, 0), i + 1);
    }
    close_producer(many);
    close_producer(known);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    close_consumer(other);
    CHECK(is_over());
}

static void producer_goes(void) {
    lock_is_free();
    close_producer(many);
}

static void the_lane_goes(void) {
    begin(RIP_BLOCK);
    close_producer(many);
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    many = open_many(RIP_BLOCK);
    uint64_t id = rip_lane_id(many->entry), group = rip_group_id(c->ch.control, c->group);
    meanwhile = producer_goes;
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    CHECK(!meanwhile);
    CHECK(!has_claims(group, id) && !has_lane(id));
    CHECK_IS(put_number(known, 1, 0), 0);
    CHECK_IS(get_number(c, 0), 1);
    close_producer(known);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
}

static void another_kind_is_refused(void) {
    lock_is_free();
    CHECK_IS(try_consumer("declared", RIP_OLDEST, RIP_FOREVER), -EEXIST);
}

static void a_group_is_what_its_first_member_says(void) {
    begin(RIP_BLOCK);
    CHECK_IS(rip_declare(many, "declared"), 0);
    meanwhile = another_kind_is_refused;
    struct rip_consumer *c = open_consumer(CHANNEL, "declared", RIP_SHARED);
    CHECK(!meanwhile);
    close_producer(many);
    close_producer(known);
    close_consumer(c);
    CHECK(is_over());
}

static void without_memory(void) {
    begin(RIP_BLOCK);
    CHECK_IS(put_number(many, 1, 0), 0);
    no_memory = 1;
    CHECK_IS(try_consumer("work", RIP_OLDEST | RIP_SHARED, RIP_FOREVER), -ENOSPC);
    check_groups(0);
    no_memory = 0;
    no_pages = 1;
    CHECK_IS(try_consumer("work", RIP_OLDEST | RIP_SHARED, RIP_FOREVER), -ENOSPC);
    check_groups(0);
    no_pages = 0;
    close_producer(many);
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED); /* the message still waits */
    CHECK_IS(get_number(c, 0), 1);
    struct rip_producer *late[2] = {open_many(RIP_BLOCK), open_many(RIP_BLOCK)};
    no_memory = 1;
    CHECK_IS(get_nothing(c, 0), -ENOSPC); /* reported once for each lane */
    CHECK_IS(get_nothing(c, rip_now() + 300 * MS), -ENOSPC);
    CHECK_IS(get_nothing(c, rip_now() + 300 * MS), -ETIMEDOUT);
    CHECK_IS(put_number(known, 2, 0), 0);
    CHECK_IS(get_number(c, 0), 2);
    no_memory = 0;
    CHECK_IS(put_number(late[0], 3, 0), 0);
    CHECK_IS(get_number(c, RIP_FOREVER), 3);
    close_producer(late[0]);
    close_producer(late[1]);
    close_producer(known);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
}

static void another_takes_the_last(void) {
    another_joins();
    no_memory = 1;
}

/* The member that created the group fails, but another one has joined meanwhile, so the group stays. */
static void without_memory_among_others(void) {
    begin(RIP_BLOCK);
    CHECK_IS(put_number(many, 1, 0), 0);
    meanwhile = another_takes_the_last;
    CHECK_IS(try_consumer("work", RIP_OLDEST | RIP_SHARED, RIP_FOREVER), -ENOSPC);
    no_memory = 0;
    CHECK_IS(get_number(other, 0), 1);
    CHECK_IS(put_number(many, 2, 0), 0);
    CHECK_IS(get_number(other, 0), 2);
    close_producer(many);
    close_producer(known);
    CHECK_IS(get_nothing(other, RIP_FOREVER), -ENODATA);
    close_consumer(other);
    CHECK(is_over());
}

static void takes_the_lock(void) { CHECK_IS(rip_try_lock(&known->ch.handle), 0); }

/* As a process that is stopped while it has the lock. */
static void the_lock_does_not_come_back(void) {
    begin(RIP_BLOCK);
    CHECK_IS(put_number(many, 1, 0), 0);
    meanwhile = takes_the_lock;
    CHECK_IS(try_consumer("work", RIP_OLDEST | RIP_SHARED, rip_now() + 50 * MS), -EAGAIN);
    rip_unlock(&known->ch.handle);
    close_consumer(open_consumer(CHANNEL, "passes", RIP_NEWEST)); /* finds that the lane has ended */
    check_groups(0);
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    struct rip_producer *late = open_many(RIP_BLOCK);
    CHECK_IS(put_number(late, 3, 0), 0);
    CHECK_IS(put_number(known, 2, 0), 0);
    meanwhile = takes_the_lock;
    CHECK_IS(get_number(c, 0), 2); /* continues with the lanes that it has */
    CHECK(!meanwhile);
    CHECK_IS(get_nothing(c, rip_now() + 200 * MS), -ETIMEDOUT);
    rip_unlock(&known->ch.handle);
    CHECK_IS(get_number(c, RIP_FOREVER), 3);
    close_producer(late);
    close_producer(many);
    close_producer(known);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
}

/* Words of claims beyond the first page of their file. */
static void far_words_are_read_where_they_are(void) {
    enum { FAR = 1500 };
    if (strcmp(CHANNEL, MEMORY) == 0) {
        make_anonymous_channel();
    }
    struct rip_message released, message;
    struct rip_slowest slowest;
    struct rip_producer *p = NULL;
    CHECK_IS(rip_lane_open(CHANNEL, RIP_PAGE, 2048, (int32_t)getpid(), &p), 0); /* as for a link */
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    for (uint64_t i = 0; i < FAR; i++) {
        CHECK_IS(put_number(p, i, 0), 0);
        CHECK_IS(get_number(c, 0), i);
    }
    for (uint64_t i = FAR; i < FAR + 3; i++) {
        CHECK_IS(put_number(p, i, 0), 0);
    }
    CHECK_IS(rip_get(c, &released, 0), 1);
    CHECK_IS(released.seq, FAR);
    rip_producer_slowest(p, &slowest);
    CHECK_IS(slowest.messages, 3);
    CHECK_IS(slowest.pid, getpid());
    CHECK_IS(rip_lane_acked(p, 0), FAR);
    rip_acknowledge(c, &released); /* a view on it is still alive */
    CHECK_IS(rip_lane_acked(p, FAR), FAR + 1);
    rip_producer_slowest(p, &slowest);
    CHECK_IS(slowest.messages, 3); /* it is not released */
    rip_producer_unacked(p, &slowest);
    CHECK_IS(slowest.messages, 2);
    CHECK_IS(slowest.pid, 0); /* no member has taken the oldest of them */
    CHECK_IS(rip_flush(p, 0), -ETIMEDOUT);
    CHECK_IS(rip_get(c, &message, 0), 1);
    CHECK_IS(rip_lane_acked(p, FAR), FAR + 1);
    rip_release(c, &message);
    CHECK_IS(rip_lane_acked(p, FAR), FAR + 2);
    CHECK_IS(get_number(c, 0), FAR + 2);
    CHECK_IS(rip_flush(p, 0), 0);
    CHECK_IS(rip_producer_backlog(p), 3);
    rip_release(c, &released);
    CHECK_IS(rip_lane_acked(p, FAR), FAR + 3);
    close_producer(p);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
}

static void counting_many_maps_once(void) {
    enum { MESSAGES = 200 };
    struct rip_message messages[MESSAGES];
    struct rip_producer *p = NULL;
    if (strcmp(CHANNEL, MEMORY) == 0) {
        make_anonymous_channel();
    }
    CHECK_IS(rip_lane_open(CHANNEL, RIP_PAGE * 4, 256, (int32_t)getpid(), &p), 0);
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    for (uint64_t i = 0; i < MESSAGES; i++) {
        CHECK_IS(put_number(p, i, 0), 0);
        CHECK_IS(rip_get(c, &messages[i], 0), 1);
        rip_acknowledge(c, &messages[i]);
    }
    mapped = 0;
    CHECK_IS(rip_lane_acked(p, 0), MESSAGES);
    CHECK_IS(mapped, 1);
    CHECK_IS(rip_lane_acked(p, MESSAGES), MESSAGES); /* nothing is left to count */
    CHECK_IS(mapped, 1);
    for (uint64_t i = 0; i < MESSAGES; i++) {
        rip_release(c, &messages[i]);
    }
    close_producer(p);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
}

/* ---- deleted files ---- */

static int holds_one(void *counter) {
    struct rip_message message;
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK_IS(rip_get(c, &message, RIP_FOREVER), 1);
    atomic_fetch_add((_Atomic uint64_t *)counter, 1);
    pause();
    return 0;
}

static void a_dead_members_message_comes_back_without_files(void) {
    _Atomic uint64_t *released = shared(sizeof *released);
    struct rip_message message;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK_IS(put_number(p, 0, 0), 0);
    pid_t child = spawn(holds_one, (void *)released);
    CHECK(reaches(released, 1, 10000 * MS));
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(get_number(c, 0), 1);
    CHECK_IS(nftw(path_of(CHANNEL, NULL), remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    kill_and_wait(child);
    make_reaping_due(&p->ch.handle);
    rip_reap_if_due(&p->ch.handle); /* cannot reap it, and leaves it */
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    make_reaping_due(&c->ch.handle);
    rip_reap_if_due(&c->ch.handle);
    CHECK_IS(rip_get(c, &message, 0), 1);
    CHECK_IS(message.seq, 0);
    CHECK_IS(message.redelivered, 1);
    rip_release(c, &message);
    CHECK(!rip_has_members(&c->ch, c->group, c->ch.handle.member));
    close_producer(p);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
    munmap((void *)released, sizeof *released);
}

static int closes_late(void *reported) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 0, 0), 0);
    atomic_fetch_add((_Atomic uint64_t *)reported, 1);
    CHECK(reaches(reported, 2, 10000 * MS)); /* the lock is taken */
    rip_producer_close(p);
    return 1;
}

static void without_files(void) { CHECK_IS(nftw(path_of(CHANNEL, NULL), remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0); }
static void without_descriptors(void) { allow_files(0); }

/* A producer is killed while it waits for the lock, and the process that finds it dead cannot read the file of its
 * lane. */
static void killed_while_it_closes(void (*what)(void)) {
    _Atomic uint64_t *reported = shared(sizeof *reported);
    struct rip_message message;
    pid_t child = spawn(closes_late, (void *)reported);
    CHECK(reaches(reported, 1, 10000 * MS));
    struct rip_consumer *c = open_consumer(CHANNEL, "reads", RIP_OLDEST);
    CHECK_IS(rip_get(c, &message, 0), 1);
    CHECK_IS(rip_try_lock(&c->ch.handle), 0);
    atomic_fetch_add(reported, 1);
    while (!atomic_load(&message.lane->lane->closed)) {
        sched_yield();
    }
    kill_and_wait(child);
    what();
    rip_reap(&c->ch.handle);
    rip_unlock(&c->ch.handle);
    rip_release(c, &message);
    int rc = get_nothing(c, 0);
    CHECK(rc == -ENODATA || rc == -ETIMEDOUT);
    allow_files(-1);
    make_reaping_due(&c->ch.handle);
    rip_reap_if_due(&c->ch.handle);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
    munmap((void *)reported, sizeof *reported);
}

static void a_closing_producer_is_not_dead(void) {
    killed_while_it_closes(without_descriptors);
    killed_while_it_closes(without_files);
}

/* ---- an entry of the table of lanes that is used for another lane ---- */

static _Atomic uint64_t *cursor_of(const struct rip_producer *p, const struct rip_consumer *c) {
    return &p->entry->cursors[c->group].released;
}

static struct rip_producer *open_short(enum rip_overflow overflow, unsigned messages) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 8, overflow, RIP_WAIT_BLOCK, NULL, &p), 0);
    for (unsigned i = 0; i < messages; i++) {
        CHECK_IS(put_number(p, i, 0), 0);
    }
    return p;
}

/* A member has not read the table since its lane left it. It goes on while another lane has the entry. */
static void late_for_its_lane(enum rip_overflow overflow) {
    struct rip_producer *others[RIP_SPARE_LANES];
    struct rip_message message;
    if (strcmp(CHANNEL, MEMORY) == 0) {
        make_anonymous_channel();
    }
    struct rip_producer *p = open_short(overflow, 2);
    struct rip_consumer *late = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK_IS(rip_get(late, &message, 0), 1);
    rip_release(late, &message);
    CHECK_IS(rip_get(late, &message, 0), 1);
    rip_release(late, &message);
    struct rip_rx *rx = message.lane;
    uint32_t handle = p->index;
    for (unsigned i = 0; i < RIP_SPARE_LANES; i++) {
        others[i] = open_producer(CHANNEL, RIP_PAGE, 1);
        CHECK(others[i]->index != handle);
    }
    for (unsigned i = 0; i < RIP_SPARE_LANES; i++) {
        close_producer(others[i]);
    }
    close_producer(p); /* of the free entries, it has the one whose last lane is the oldest */
    p = open_short(overflow, 5);
    CHECK_IS(p->index, handle);
    rip_claims_pass(rx->claims, rx->slots, rx->cursor, rx->entry, 0, 0);
    CHECK_IS(atomic_load(cursor_of(p, late)), 0);
    rip_claims_pass(rx->claims, rx->slots, rx->cursor, rx->entry, 0, 2);
    CHECK_IS(atomic_load(cursor_of(p, late)), 0);
    for (uint64_t i = 0; i < 5; i++) {
        CHECK_IS(get_number(late, 0), i);
    }
    close_producer(p);
    close_consumer(late);
    CHECK(is_over());
}

static void late_members_move_no_cursor_of_another_lane(void) {
    late_for_its_lane(RIP_BLOCK);
    late_for_its_lane(RIP_DROP_OLD);
}

static int releases_last(void *argument) {
    (void)argument;
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    traceable();
    for (;;) {
        struct rip_message message;
        stop_here(); /* the other member has the first message */
        CHECK_IS(rip_get(c, &message, RIP_FOREVER), 1);
        CHECK_IS(message.seq, 1);
        stop_here();
        rip_release(c, &message);
        stop_here();
    }
}

/* A member releases the last message of a lane, one instruction at a time. In between the lane leaves the table, and
 * another lane gets its entry. */
static void release_before_another_lane(enum rip_overflow overflow) {
    struct rip_message first;
    if (strcmp(CHANNEL, MEMORY) == 0) {
        make_anonymous_channel();
    }
    struct rip_producer *keeper = open_producer(CHANNEL, RIP_PAGE, 1);
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    pid_t child = spawn(releases_last, NULL);
    CHECK(await_stop(child));
    unsigned steps = 0;
    for (int more = 1; more; steps++) {
        struct rip_producer *p = open_short(overflow, 2);
        CHECK_IS(rip_get(c, &first, 0), 1);
        CHECK_IS(first.seq, 0);
        CHECK(run_on(child));
        close_producer(p);
        for (unsigned i = 0; i < steps && more; i++) {
            more = step(child);
        }
        rip_release(c, &first);
        CHECK_IS(get_nothing(c, 0), -ETIMEDOUT); /* the lane is removed if all is released */
        p = open_short(overflow, 5);
        if (more) {
            CHECK(run_on(child));
        }
        for (uint64_t i = 0; i < 5; i++) {
            CHECK_IS(get_number(c, 0), i);
        }
        close_producer(p);
        CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
        CHECK(run_on(child)); /* to its next stop, before it takes the next message */
    }
    CHECK(steps > 20);
    kill_and_wait(child);
    close_producer(keeper);
    CHECK_IS(get_nothing(c, RIP_FOREVER), -ENODATA);
    close_consumer(c);
    CHECK(is_over());
}

static void releases_move_no_cursor_of_another_lane(void) {
    release_before_another_lane(RIP_BLOCK);
    release_before_another_lane(RIP_DROP_OLD);
}

#define STRIDE 16u /* instructions: each run takes as long as a process and a channel */

/* A producer passes a lossy group. At some instruction a group joins for which it waits: that group gets every message
 * from where it starts. */
static uint64_t *were_put;

static int passes_lossy_group(void *argument) {
    (void)argument;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 2);
    for (; *were_put < 3; ++*were_put) { /* it has the claims afterwards */
        CHECK_IS(put_number(p, *were_put, 0), 0);
    }
    traceable();
    stop_here();
    for (unsigned i = 0; i < 5; i++) { /* the first one with steps, the others at once */
        int rc = put_number(p, *were_put, 0);
        CHECK(rc == 0 || rc == -ETIMEDOUT);
        *were_put += rc == 0;
        if (i == 0) {
            stop_here();
        }
    }
    stop_here();
    close_producer(p);
    return 0;
}

static void groups_that_join_lose_nothing(void) {
    were_put = shared(sizeof *were_put);
    unsigned steps = 0;
    for (int more = 1; more; steps += STRIDE) {
        if (strcmp(CHANNEL, MEMORY) == 0) {
            make_anonymous_channel();
        }
        struct rip_producer *keeper = open_producer(CHANNEL, RIP_PAGE, 2);
        struct rip_consumer *lossy = open_consumer(CHANNEL, "lossy", RIP_OLDEST | RIP_LOSSY);
        *were_put = 0;
        pid_t child = spawn(passes_lossy_group, NULL);
        CHECK(await_stop(child));
        for (unsigned i = 0; i < steps && more; i++) {
            more = step(child);
        }
        struct rip_consumer *plain = open_consumer(CHANNEL, "plain", RIP_OLDEST);
        if (more) {
            CHECK(run_on(child));
        }
        CHECK(run_on(child));
        uint64_t next = 0;
        struct rip_message message;
        int rc;
        while ((rc = rip_get(plain, &message, 0)) == 1) {
            uint64_t number;
            memcpy(&number, message.data, sizeof number);
            CHECK_IS(number, message.seq);
            CHECK(next == 0 || message.seq == next);
            next = message.seq + 1;
            rip_release(plain, &message);
        }
        CHECK_IS(rc, -ETIMEDOUT);
        CHECK_IS(next, *were_put);
        CHECK(!run_on(child));
        close_consumer(lossy);
        close_consumer(plain);
        close_producer(keeper);
        CHECK(is_over());
    }
    CHECK(steps > 20 * STRIDE);
    munmap(were_put, sizeof *were_put);
}

int main(void) {
    run("no process waits while a large file of claims is allocated", no_process_waits);
    run("no process waits while a producer that drops makes large claims", no_process_waits_for_one_that_drops);
    run("two members that make the same claims at once share one file", another_is_quicker);
    run("claims of a lane that ends meanwhile are removed", the_lane_goes);
    run("the first member of a declared group decides its kind, even while its claims are allocated",
        a_group_is_what_its_first_member_says);
    run("without memory for claims no group is made, and a lane is reported once and tried again", without_memory);
    run("without memory for claims the group stays for members that joined meanwhile", without_memory_among_others);
    run("a consumer that does not get the lock back goes on, and maps the lane later", the_lock_does_not_come_back);
    run("the owner of a message is read from a word anywhere in the file of claims", far_words_are_read_where_they_are);
    run("released messages are counted with one mapping", counting_many_maps_once);
    if (strcmp(CHANNEL, MEMORY) != 0) {
        run("the message of a dead member is redelivered even if the files are deleted",
            a_dead_members_message_comes_back_without_files);
        run("a producer that was killed while closing counts as closed, even if its lane cannot be read",
            a_closing_producer_is_not_dead);
    }
    run("a late member moves no cursor of the lane that has the entry now",
        late_members_move_no_cursor_of_another_lane);
    if (can_step()) {
        run("a member that releases a last message moves no cursor of another lane, at any instruction",
            releases_move_no_cursor_of_another_lane);
        run("a group that joins while a producer passes another one loses no message", groups_that_join_lose_nothing);
    } else {
        printf("  left out: no process may be stepped here\n");
    }
    return 0;
}
