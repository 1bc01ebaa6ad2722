/* A process is killed after every instruction that changes what others see: the contents of a channel's files, or which
 * files exist. The others go on as if it had died a little earlier or later. */
#include "moments.h"

#include "ring/claim_files.h"
#include "ring/tx_room.h"

static void prepare_channel(void) {
    if (strcmp(CHANNEL, MEMORY) == 0) {
        make_anonymous_channel();
    }
}

/* ---- a channel with other members ---- */

static struct rip_producer *stays;
static struct rip_consumer *reads;
static uint64_t sent, got;
static unsigned dead_before; /* number of producers that died before, without the victim */

static void others(void) {
    prepare_channel();
    sent = got = dead_before = 0;
    stays = open_producer(CHANNEL, RIP_PAGE, 8);
    reads = open_consumer(CHANNEL, "reads", RIP_OLDEST);
    for (; sent < 2; sent++) {
        CHECK_IS(put_number(stays, sent, 0), 0);
    }
}

/* Reads all messages. Nothing of the other producer is missing. Of the victim the last messages may be missing. */
static void read_all(unsigned *deaths) {
    uint64_t next[8] = {0};
    struct rip_message message;
    int rc;
    while ((rc = rip_get(reads, &message, 0)) == 1 || rc == -EOWNERDEAD || rc == -ECONNABORTED) {
        if (rc != 1) {
            ++*deaths;
            continue;
        }
        uint64_t number;
        memcpy(&number, message.data, sizeof number);
        if (message.lane->id == 0) {
            CHECK_IS(number, got++);
        } else {
            CHECK(message.lane->id < 8);
            CHECK_IS(number, 100 + next[message.lane->id]++);
        }
        rip_release(reads, &message);
    }
    CHECK_IS(rc, -ETIMEDOUT); /* the stream has not ended: there is still a producer */
    CHECK_IS(got, sent);
}

static void others_read(void) {
    unsigned deaths = 0;
    read_all(&deaths);
    CHECK_IS(deaths, 0);
}

static void others_go_on(void) {
    unsigned deaths = 0;
    struct rip_consumer *newcomer = open_consumer(CHANNEL, "victim", RIP_OLDEST); /* reaps: the group is free */
    close_consumer(newcomer);
    read_all(&deaths);
    CHECK(deaths <= dead_before + 1);
    CHECK_IS(put_number(stays, sent++, 0), 0);
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 100, 0), 0);
    close_producer(p);
    read_all(&deaths);
    CHECK(deaths >= dead_before && deaths <= dead_before + 1);
    for (unsigned i = 0; i < 20; i++) { /* no dead group holds the producer back */
        CHECK_IS(put_number(stays, sent++, 0), 0);
        read_all(&deaths);
    }
    close_producer(stays);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    close_consumer(reads);
    CHECK(is_over());
}

static int opens_producer(void) {
    stop_here();
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    (void)p;
    stop_here();
    return 0;
}

static int puts_two(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    stop_here();
    CHECK_IS(put_number(p, 100, 0), 0);
    CHECK_IS(put_number(p, 101, 0), 0);
    stop_here();
    return 0;
}

/* A message for which the lane has to get more memory. */
static int grows(void) {
    struct rip_producer *p = open_producer(CHANNEL, 4 * RIP_STEP, 8);
    unsigned char *payload;
    stop_here();
    CHECK_IS(rip_reserve(p, 2 * RIP_STEP, &payload), 0);
    memcpy(payload, &(uint64_t){100}, sizeof(uint64_t));
    CHECK_IS(rip_publish(p, sizeof(uint64_t), 0, RIP_BYTES), 0);
    CHECK_IS(put_number(p, 101, 0), 0);
    stop_here();
    return 0;
}

/* Messages that are longer than the lane; the memory of the first one is freed, or used again. */
static int puts_large(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    unsigned char *payload;
    stop_here();
    for (uint64_t number = 100; number < 103; number++) {
        CHECK_IS(rip_reserve(p, number == 102 ? 8 : (number - 98) * RIP_PAGE, &payload), 0);
        memcpy(payload, &number, sizeof number);
        CHECK_IS(rip_publish(p, number == 102 ? 8 : 2 * RIP_PAGE, 0, RIP_BYTES), 0);
        stop_here(); /* the others read it */
    }
    close_producer(p);
    stop_here();
    return 0;
}

static int closes_producer(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 100, 0), 0);
    stop_here();
    close_producer(p);
    stop_here();
    return 0;
}

static int closes_empty_producer(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    stop_here();
    close_producer(p);
    stop_here();
    return 0;
}

static int opens_consumer(void) {
    stop_here();
    struct rip_consumer *c = open_consumer(CHANNEL, "victim", RIP_OLDEST);
    (void)c;
    stop_here();
    return 0;
}

static int gets(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "victim", RIP_OLDEST);
    struct rip_message message;
    stop_here();
    CHECK_IS(rip_get(c, &message, 0), 1);
    rip_release(c, &message);
    CHECK_IS(rip_get(c, &message, 0), 1);
    rip_release(c, &message);
    stop_here();
    return 0;
}

static int closes_consumer(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "victim", RIP_OLDEST);
    CHECK_IS(get_number(c, 0), 0);
    stop_here();
    close_consumer(c);
    stop_here();
    return 0;
}

/* ---- members that have died before ---- */

static int dies_as_producer(void *argument) {
    (void)argument;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 100, 0), 0);
    return 0; /* without closing */
}

static int dies_as_consumer(void *argument) {
    (void)argument;
    open_consumer(CHANNEL, "victim", RIP_OLDEST);
    return 0;
}

static void others_and_dead(void) {
    others();
    expect_success(spawn(dies_as_producer, NULL));
    expect_success(spawn(dies_as_consumer, NULL));
    dead_before = 1;
}

static int reaps_producer(void) {
    stop_here();
    open_producer(CHANNEL, RIP_PAGE, 8);
    stop_here();
    return 0;
}

static int reaps_consumer(void) {
    stop_here();
    open_consumer(CHANNEL, "another", RIP_OLDEST);
    stop_here();
    return 0;
}

/* The last consumer that reads an ended lane removes it. */
static int removes_lane(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "victim", RIP_OLDEST);
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 100, 0), 0);
    close_producer(p);
    stop_here(); /* the others read it */
    for (unsigned i = 0; i < 3; i++) {
        get_number(c, 0);
    }
    stop_here();
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    stop_here();
    return 0;
}

static void killed_while_reaping(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others_and_dead, reaps_producer, others_go_on, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, others_and_dead, reaps_consumer, others_go_on, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, others, removes_lane, others_go_on, others_read});
}

static void killed_among_others(void) {
    static int (*const victims[])(void) = {opens_producer, puts_two, grows,          closes_producer,
                                           opens_consumer, gets,     closes_consumer};
    for (unsigned i = 0; i < sizeof victims / sizeof *victims; i++) {
        kill_at_every_moment(&(struct play){CHANNEL, others, victims[i], others_go_on, NULL});
    }
    kill_at_every_moment(&(struct play){CHANNEL, others, puts_large, others_go_on, others_read});
}

/* ---- a batch of messages ---- */

#define BATCH 3u

static struct rip_consumer *shares;

static void others_in_two_groups(void) {
    others();
    shares = open_consumer(CHANNEL, "shares", RIP_OLDEST | RIP_SHARED);
}

static int puts_batch(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    unsigned char *payload;
    stop_here();
    for (uint64_t number = 100; number < 100 + BATCH; number++) {
        CHECK_IS(rip_tx_reserve(p, sizeof number, &payload), 0);
        memcpy(payload, &number, sizeof number);
        rip_tx_commit(p, sizeof number, 0, RIP_BYTES);
    }
    rip_tx_publish(p);
    stop_here();
    return 0;
}

/* Reads what there is. Adds the victim's messages to *count. Returns how many deaths were reported. */
static unsigned read_batch(struct rip_consumer *c, uint64_t *count) {
    struct rip_message message;
    unsigned deaths = 0;
    int rc;
    while ((rc = rip_get(c, &message, 0)) == 1 || rc == -EOWNERDEAD) {
        if (rc == -EOWNERDEAD) {
            deaths++;
            continue;
        }
        uint64_t number;
        memcpy(&number, message.data, sizeof number);
        if (message.lane->id != 0) {
            CHECK_IS(number, 100 + (*count)++);
        }
        rip_release(c, &message);
    }
    CHECK_IS(rc, -ETIMEDOUT);
    return deaths;
}

/* One reader of each kind gets the whole batch, or none of it. The first one may find a part of it before the death is
 * noticed. */
static void get_batch(void) {
    uint64_t counts[3] = {0};
    unsigned deaths = read_batch(reads, &counts[0]);
    struct rip_consumer *newcomer = open_consumer(CHANNEL, "newcomer", RIP_OLDEST); /* reaps */
    deaths += read_batch(reads, &counts[0]);
    CHECK_IS(deaths, 1);
    /* if nothing was put, the lane may have been removed before this group saw it */
    deaths = read_batch(shares, &counts[1]);
    CHECK(deaths == 1 || (deaths == 0 && counts[0] == 0));
    read_batch(newcomer, &counts[2]);
    CHECK(counts[0] == 0 || counts[0] == BATCH);
    CHECK_IS(counts[1], counts[0]);
    CHECK(counts[2] <= counts[0]); /* what all other groups had released before it joined is not there any more */
    close_consumer(newcomer);
    close_producer(stays);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    CHECK_IS(get_nothing(shares, 0), -ENODATA);
    close_consumer(reads);
    close_consumer(shares);
    CHECK(is_over());
}

static void killed_while_publishing(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others_in_two_groups, puts_batch, get_batch, NULL});
}

/* ---- a member for which the others execute fences ---- */

static void others_that_may_spin(void) {
    int32_t holder;
    prepare_channel();
    sent = got = dead_before = 0;
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 8, RIP_BLOCK, RIP_WAIT_ADAPTIVE, NULL, &stays), 0);
    CHECK_IS(rip_consumer_open(CHANNEL, "reads", RIP_OLDEST, RIP_WAIT_ADAPTIVE, RIP_FOREVER, &reads, &holder), 0);
    for (; sent < 2; sent++) {
        CHECK_IS(put_number(stays, sent, 0), 0);
    }
}

static void no_fences_for_the_dead(void) {
    const struct rip_control *control = stays->ch.control;
    unsigned deaths = 0;
    struct rip_producer *newcomer; /* reaps */
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 8, RIP_BLOCK, RIP_WAIT_ADAPTIVE, NULL, &newcomer), 0);
    /* on one processor every member sleeps at once */
    CHECK(stays->ch.fenced || !(control->groups_asleep & RIP_FENCE_GROUPS));
    for (uint32_t i = 0; i < rip_lanes_used(control); i++) {
        CHECK(stays->ch.fenced || !(control->lanes[i].asleep & RIP_FENCE_LANE));
    }
    close_producer(newcomer);
    read_all(&deaths);
    close_producer(stays);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    close_consumer(reads);
    CHECK(is_over());
}

static void killed_with_others_that_fence(void) {
    static int (*const victims[])(void) = {opens_consumer, closes_consumer};
    for (unsigned i = 0; i < sizeof victims / sizeof *victims; i++) {
        kill_at_every_moment(&(struct play){CHANNEL, others_that_may_spin, victims[i], no_fences_for_the_dead, NULL});
    }
}

/* ---- a group whose members compete ---- */

static struct rip_consumer *survivor;

static void others_and_survivor(void) {
    others();
    survivor = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK(has_claims(2, 0)); /* otherwise the changes in it would not be seen */
    for (; sent < 6; sent++) {
        CHECK_IS(put_number(stays, sent, 0), 0);
    }
}

static int joins(void) {
    stop_here();
    open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    stop_here();
    return 0;
}

static int works(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    struct rip_message messages[2];
    stop_here();
    CHECK_IS(rip_get(c, &messages[0], 0), 1);
    CHECK_IS(rip_get(c, &messages[1], 0), 1);
    rip_release(c, &messages[0]);
    stop_here();
    return 0;
}

static int leaves(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    struct rip_message messages[2];
    CHECK_IS(rip_get(c, &messages[0], 0), 1);
    CHECK_IS(rip_get(c, &messages[1], 0), 1);
    rip_release(c, &messages[0]);
    stop_here();
    close_consumer(c);
    stop_here();
    return 0;
}

static int keeps(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    struct rip_message messages[2];
    CHECK_IS(rip_get(c, &messages[0], 0), 1);
    CHECK_IS(rip_get(c, &messages[1], 0), 1);
    stop_here();
    rip_acknowledge(c, &messages[0]);
    rip_release(c, &messages[0]);
    stop_here();
    return 0;
}

/* Each message comes once, except the first one if the victim has released it. The victim has never released the second
 * one. */
static void get_the_rest(void) {
    struct rip_message message;
    uint64_t seen = 0;
    unsigned deaths = 0;
    int rc;
    struct rip_consumer *newcomer = open_consumer(CHANNEL, "another", RIP_OLDEST);
    close_consumer(newcomer);
    while ((rc = rip_get(survivor, &message, 0)) == 1) {
        uint64_t number;
        memcpy(&number, message.data, sizeof number);
        CHECK(number < 6);
        CHECK(!(seen >> number & 1));
        CHECK(message.redelivered <= (number < 2)); /* the victim takes each of the first two once at most */
        seen |= UINT64_C(1) << number;
        rip_release(survivor, &message);
    }
    CHECK_IS(rc, -ETIMEDOUT);
    CHECK_IS(seen | 1, 0x3f);
    read_all(&deaths);
    CHECK_IS(deaths, 0);
    CHECK_IS(rip_producer_backlog(stays), 0);
    for (unsigned i = 0; i < 20; i++) { /* every slot is free again */
        CHECK_IS(put_number(stays, sent, 0), 0);
        CHECK_IS(get_number(survivor, 0), sent++);
        read_all(&deaths);
    }
    close_producer(stays);
    CHECK_IS(get_nothing(survivor, 0), -ENODATA);
    close_consumer(survivor);
    close_consumer(reads);
}

static void survivor_gets_the_rest(void) {
    get_the_rest();
    CHECK(is_over());
}

static void killed_while_competing(void) {
    static int (*const victims[])(void) = {joins, works, leaves, keeps};
    for (unsigned i = 0; i < sizeof victims / sizeof *victims; i++) {
        kill_at_every_moment(&(struct play){CHANNEL, others_and_survivor, victims[i], survivor_gets_the_rest, NULL});
    }
}

/* Acknowledges the first message and has a view on it, has taken the second one, and dies. */
static int dies_at_work(void *argument) {
    (void)argument;
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    struct rip_message messages[2];
    CHECK_IS(rip_get(c, &messages[0], 0), 1);
    CHECK_IS(rip_get(c, &messages[1], 0), 1);
    rip_acknowledge(c, &messages[0]);
    return 0;
}

static void others_and_dead_worker(void) {
    others_and_survivor();
    expect_success(spawn(dies_at_work, NULL));
}

static void survivor_gets_all_but_the_first(void) {
    struct rip_message message;
    close_consumer(open_consumer(CHANNEL, "another", RIP_OLDEST));
    CHECK_IS(rip_get(survivor, &message, 0), 1);
    CHECK_IS(message.seq, 1);
    CHECK_IS(message.redelivered, 1);
    rip_requeue(survivor, &message, 0);
    survivor_gets_the_rest();
}

static void killed_while_it_reaps_a_worker(void) {
    kill_at_every_moment(
        &(struct play){CHANNEL, others_and_dead_worker, reaps_consumer, survivor_gets_all_but_the_first, NULL});
}

/* ---- durable and declared groups ---- */

static void others_put_six(void) {
    others();
    for (; sent < 6; sent++) {
        CHECK_IS(put_number(stays, sent, 0), 0);
    }
}

static int leaves_durable_group(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_DURABLE);
    struct rip_message messages[2];
    CHECK_IS(rip_get(c, &messages[0], 0), 1);
    CHECK_IS(rip_get(c, &messages[1], 0), 1);
    stop_here();
    rip_release(c, &messages[0]);
    close_consumer(c);
    stop_here();
    return 0;
}

static void successor_gets_the_rest(void) {
    int32_t holder;
    survivor = open_consumer(CHANNEL, "work", RIP_NEWEST); /* the group exists: RIP_NEWEST has no effect */
    get_the_rest();
    CHECK(!is_over());
    CHECK_IS(rip_remove(CHANNEL, &holder), 0);
    CHECK(is_over());
}

static int declares(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    stop_here();
    CHECK_IS(rip_declare(p, "work"), 0);
    stop_here();
    return 0;
}

/* Whether or not the group was declared: a member can join. Without one, a declared group stays until it is removed; then
 * no cursor holds the producer back. */
static void declared_or_not(void) {
    struct rip_message message;
    uint64_t next = 0;
    int rc;
    survivor = open_consumer(CHANNEL, "work", RIP_OLDEST);
    while ((rc = rip_get(survivor, &message, 0)) == 1 || rc == -EOWNERDEAD) {
        if (rc == 1) {
            uint64_t number;
            memcpy(&number, message.data, sizeof number);
            CHECK_IS(number, next++);
            rip_release(survivor, &message);
        }
    }
    CHECK_IS(next, sent);
    close_consumer(survivor);
    int32_t holder;
    rc = rip_remove_group(CHANNEL, "work", &holder);
    CHECK(rc == 0 || rc == -ENOENT);
    others_go_on();
}

static void declared_group(void) {
    prepare_channel();
    stays = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(rip_declare(stays, "work"), 0);
    for (uint64_t n = 0; n < 8; n++) {
        CHECK_IS(put_number(stays, n, 0), 0);
    }
}

static int joins_as_lossy(void) {
    stop_here();
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_LOSSY);
    (void)c;
    stop_here();
    return 0;
}

/* Whether or not the group is lossy now: if it is, the producer does not wait for it. */
static void lossy_or_not(void) {
    int32_t holder;
    int is_lossy = 0,
        rc = rip_consumer_open(CHANNEL, "work", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &survivor, &holder);
    if (rc == -EEXIST) {
        CHECK_IS(holder, RIP_LOSSY);
        is_lossy = 1;
        survivor = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_LOSSY);
    } else {
        CHECK_IS(rc, 0);
    }
    CHECK_IS(put_number(stays, 8, 0), is_lossy ? 0 : -ETIMEDOUT);
    for (uint64_t n = (uint64_t)is_lossy; n < 8 + (uint64_t)is_lossy; n++) {
        CHECK_IS(get_number(survivor, 0), n);
    }
    close_producer(stays);
    CHECK_IS(get_nothing(survivor, 0), -ENODATA);
    close_consumer(survivor);
    CHECK(is_over());
}

static void killed_around_a_group(void) {
    kill_at_every_moment(&(struct play){CHANNEL, declared_group, joins_as_lossy, lossy_or_not, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, others_put_six, leaves_durable_group, successor_gets_the_rest, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, others, declares, declared_or_not, NULL});
}

/* ---- a lane that drops ---- */

#define LARGE 1000u /* bytes: four fit into a page */

static struct rip_message looked_at;

static void others_and_slow_one(void) {
    others();
    survivor = open_consumer(CHANNEL, "slow", RIP_NEWEST);
}

static unsigned char payloads[9][LARGE];

/* Filled before the victim is stepped, because filling takes many more steps than putting. */
static void fill_payloads(void) {
    for (uint64_t n = 0; n < sizeof payloads / sizeof *payloads; n++) {
        fill(payloads[n], LARGE, 1, n);
    }
}

static void put_large(struct rip_producer *p, uint64_t n) { CHECK_IS(put(p, payloads[n], LARGE, 0), 0); }

static int passes_with(enum rip_overflow overflow, uint64_t count) {
    struct rip_producer *p;
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, 8, overflow, RIP_WAIT_BLOCK, NULL, &p), 0);
    for (uint64_t n = 0; n < 4; n++) {
        put_large(p, n);
    }
    stop_here();
    stop_here();
    for (uint64_t n = 4; n < 4 + count; n++) {
        put_large(p, n);
    }
    stop_here();
    return 0;
}

static int drops(void) { return passes_with(RIP_DROP_OLD, 5); }
static int passes(void) { return passes_with(RIP_BLOCK, 5); }

static void others_and_lossy_groups(void) {
    prepare_channel();
    sent = got = dead_before = 0;
    stays = open_producer(CHANNEL, RIP_PAGE, 8);
    reads = open_consumer(CHANNEL, "reads", RIP_OLDEST | RIP_LOSSY);
    survivor = open_consumer(CHANNEL, "slow", RIP_NEWEST | RIP_LOSSY);
}

static void slow_one_checks(void) {
    CHECK_IS(rip_get(survivor, &looked_at, 0), 1);
    CHECK_IS(looked_at.seq, 0);
}

/* The message with a view on it is unchanged. The others are whole and in order, and missing ones are counted. */
static void slow_one_goes_on(void) {
    struct rip_message message;
    uint64_t next = 1;
    int rc;
    CHECK(is_filled(looked_at.data, LARGE, 1, 0));
    struct rip_producer *newcomer = open_producer(CHANNEL, RIP_PAGE, 8); /* reaps */
    close_producer(newcomer);
    while ((rc = rip_get(survivor, &message, 0)) == 1) {
        CHECK_IS(message.missed, message.seq - next);
        next = message.seq + 1;
        CHECK_IS(message.length, LARGE);
        CHECK(is_filled(message.data, LARGE, 1, message.seq));
        rip_release(survivor, &message);
    }
    CHECK_IS(rc, -EOWNERDEAD);
    CHECK(next >= 4 && next <= 9);
    CHECK(is_filled(looked_at.data, LARGE, 1, 0));
    rip_release(survivor, &looked_at);
    CHECK_IS(get_nothing(survivor, 0), -ETIMEDOUT);
    while ((rc = rip_get(reads, &message, 0)) == 1) {
        CHECK(message.lane->id == 0 ? message.seq == got++ : is_filled(message.data, LARGE, 1, message.seq));
        rip_release(reads, &message);
    }
    CHECK_IS(rc, -EOWNERDEAD);
    CHECK_IS(got, sent);
    close_producer(stays);
    CHECK_IS(get_nothing(survivor, 0), -ENODATA);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    close_consumer(survivor);
    close_consumer(reads);
    CHECK(is_over());
}

static void killed_while_dropping(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others_and_slow_one, drops, slow_one_goes_on, slow_one_checks});
}

static void killed_while_passing(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others_and_lossy_groups, passes, slow_one_goes_on, slow_one_checks});
}

static void lossy_group(void) {
    prepare_channel();
    stays = open_producer(CHANNEL, RIP_PAGE, 8);
    survivor = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED | RIP_LOSSY);
    CHECK(has_claims(1, 0)); /* otherwise the changes in it would not be seen */
    for (uint64_t n = 0; n < 4; n++) {
        put_large(stays, n);
    }
}

static int has_passed_messages(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED | RIP_LOSSY);
    struct rip_message messages[3];
    for (unsigned i = 0; i < 3; i++) {
        CHECK_IS(rip_get(c, &messages[i], 0), 1);
        CHECK_IS(messages[i].seq, i);
    }
    stop_here();
    stop_here();
    for (unsigned i = 0; i < 3; i++) {
        CHECK(is_filled(messages[i].data, LARGE, 1, i));
    }
    rip_acknowledge(c, &messages[0]);
    rip_release(c, &messages[0]);
    rip_requeue(c, &messages[1], 1);
    rip_release(c, &messages[2]);
    stop_here();
    return 0;
}

static void the_producer_passes_them(void) {
    for (uint64_t n = 4; n < 9; n++) {
        put_large(stays, n);
    }
    CHECK_IS(stays->arena.pinned, 3);
}

/* What the victim had keeps no memory occupied. The others are whole, and missing ones are counted. */
static void their_memory_is_free(void) {
    static const unsigned char page[RIP_PAGE];
    struct rip_message message;
    struct rip_producer *newcomer = open_producer(CHANNEL, RIP_PAGE, 8); /* reaps */
    close_producer(newcomer);
    CHECK_IS(rip_get(survivor, &message, 0), 1);
    CHECK_IS(message.seq, 8);
    CHECK(message.missed == 5 || message.missed == 6); /* perhaps the one that the victim gave back */
    CHECK(is_filled(message.data, LARGE, 1, 8));
    rip_release(survivor, &message);
    CHECK_IS(put(stays, page, sizeof page, 0), 0);
    CHECK_IS(stays->arena.pinned, 0);
    CHECK_IS(rip_get(survivor, &message, 0), 1);
    CHECK_IS(message.missed, 0);
    rip_release(survivor, &message);
    close_producer(stays);
    CHECK_IS(get_nothing(survivor, 0), -ENODATA);
    close_consumer(survivor);
    CHECK(is_over());
}

static void killed_with_passed_messages(void) {
    kill_at_every_moment(
        &(struct play){CHANNEL, lossy_group, has_passed_messages, their_memory_is_free, the_producer_passes_them});
}

/* ---- messages that are done and in use, in groups that a producer waits for ---- */

static int goes_around(void) { return passes_with(RIP_BLOCK, 3); }

static void others_and_groups_that_wait(void) {
    prepare_channel();
    stays = open_producer(CHANNEL, RIP_PAGE, 8);
    reads = open_consumer(CHANNEL, "reads", RIP_OLDEST);
    survivor = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
}

static struct rip_message kept[2];

/* Gets the victim's messages up to number 3. Keeps the first one, and releases the others. */
static void keep_first(struct rip_consumer *c, struct rip_message *first) {
    struct rip_message message;
    for (uint64_t n = 0; n < 4; n++) {
        CHECK_IS(rip_get(c, &message, 0), 1);
        CHECK_IS(message.seq, n);
        rip_acknowledge(c, &message);
        if (n == 0) {
            *first = message;
        } else {
            rip_release(c, &message);
        }
    }
}

static void both_keep_one(void) {
    keep_first(reads, &kept[0]);
    keep_first(survivor, &kept[1]);
}

/* The others are whole and in order, and none is missing. */
static void read_what_came(struct rip_consumer *c, const struct rip_message *first) {
    struct rip_message message;
    uint64_t next = 4;
    int rc;
    while ((rc = rip_get(c, &message, 0)) == 1) {
        CHECK_IS(message.seq, next++);
        CHECK_IS(message.missed, 0);
        CHECK(is_filled(message.data, LARGE, 1, message.seq));
        rip_release(c, &message);
    }
    CHECK_IS(rc, -EOWNERDEAD);
    CHECK(next <= 7);
    CHECK(is_filled(first->data, LARGE, 1, 0));
    rip_release(c, first);
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
}

static void both_go_on(void) {
    close_producer(open_producer(CHANNEL, RIP_PAGE, 8)); /* reaps */
    read_what_came(reads, &kept[0]);
    read_what_came(survivor, &kept[1]);
    close_producer(stays);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    CHECK_IS(get_nothing(survivor, 0), -ENODATA);
    close_consumer(reads);
    close_consumer(survivor);
    CHECK(is_over());
}

static uint32_t flags_of_work;

/* Of a shared group there is another member. */
static void group_that_waits(void) {
    prepare_channel();
    stays = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(rip_declare(stays, "other"), 0);
    survivor = flags_of_work & RIP_SHARED ? open_consumer(CHANNEL, "work", flags_of_work) : NULL;
    reads = open_consumer(CHANNEL, "other", RIP_OLDEST | RIP_SHARED);
    for (uint64_t n = 0; n < 4; n++) {
        put_large(stays, n);
    }
}

static int keeps_views(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "work", flags_of_work);
    struct rip_message messages[4];
    for (unsigned i = 0; i < 4; i++) {
        CHECK_IS(rip_get(c, &messages[i], 0), 1);
        CHECK_IS(messages[i].seq, i);
    }
    rip_acknowledge(c, &messages[0]);
    rip_release(c, &messages[1]);
    stop_here();
    stop_here();
    rip_acknowledge(c, &messages[2]);
    rip_release(c, &messages[3]); /* the third one is kept too */
    rip_release(c, &messages[0]);
    rip_release(c, &messages[2]);
    stop_here();
    return 0;
}

static void the_producer_goes_around(void) {
    struct rip_message message;
    while (rip_get(reads, &message, 0) == 1) {
        rip_release(reads, &message);
    }
    put_large(stays, 4); /* in the place of the second one */
    CHECK_IS(stays->arena.pinned, 1);
    CHECK_IS(rip_get(reads, &message, 0), 1);
    CHECK(is_filled(message.data, LARGE, 1, 4));
    rip_release(reads, &message);
}

/* What the victim kept keeps no memory occupied. What it had not done is redelivered in a shared group. */
static void nothing_is_kept(void) {
    static const unsigned char page[RIP_PAGE];
    struct rip_message message;
    uint64_t next = 2;
    close_producer(open_producer(CHANNEL, RIP_PAGE, 8)); /* reaps */
    survivor = survivor ? survivor : open_consumer(CHANNEL, "work", flags_of_work);
    while (rip_get(survivor, &message, 0) == 1) {
        CHECK(message.seq >= next && message.seq <= 4);
        CHECK(is_filled(message.data, LARGE, 1, message.seq));
        next = message.seq + 1;
        rip_release(survivor, &message);
    }
    CHECK(next == 5 || !(flags_of_work & RIP_SHARED));
    CHECK_IS(put(stays, page, sizeof page, 0), 0);
    CHECK_IS(stays->arena.pinned, 0);
    CHECK_IS(rip_get(survivor, &message, 0), 1);
    CHECK_IS(message.seq, 5);
    rip_release(survivor, &message);
    CHECK_IS(rip_get(reads, &message, 0), 1);
    rip_release(reads, &message);
    close_producer(stays);
    CHECK_IS(get_nothing(survivor, 0), -ENODATA);
    close_consumer(survivor);
    close_consumer(reads);
    CHECK(is_over());
}

static void killed_with_kept_messages(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others_and_groups_that_wait, goes_around, both_go_on, both_keep_one});
    for (flags_of_work = 0; flags_of_work <= RIP_SHARED; flags_of_work += RIP_SHARED) {
        kill_at_every_moment(
            &(struct play){CHANNEL, group_that_waits, keeps_views, nothing_is_kept, the_producer_goes_around});
    }
}

/* ---- claims that are allocated without the lock ---- */

#define MANY (UINT64_C(1) << 17) /* slots */
static_assert(MANY * sizeof(uint64_t) + sizeof(struct rip_claims) > RIP_CLAIMS_AT_ONCE, "the claims must be large");

static struct rip_producer *late;

static void others_with_many_slots(void) {
    prepare_channel();
    sent = got = dead_before = 0;
    stays = open_producer(CHANNEL, RIP_PAGE, MANY);
    reads = open_consumer(CHANNEL, "reads", RIP_OLDEST);
    for (; sent < 6; sent++) {
        CHECK_IS(put_number(stays, sent, 0), 0);
    }
}

static void many_slots_and_survivor(void) {
    others_with_many_slots();
    survivor = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
}

static void newcomer_gets_all(void) {
    survivor = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK(has_claims(rip_group_id(survivor->ch.control, survivor->group), 0));
    survivor_gets_the_rest();
}

static int meets_lane(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    stop_here(); /* a new lane is made */
    stop_here();
    CHECK_IS(get_number(c, 0), 0);
    stop_here();
    return 0;
}

static void lane_comes(void) { late = open_producer(CHANNEL, RIP_PAGE, MANY); }

static void newcomer_meets_it_too(void) {
    survivor = open_consumer(CHANNEL, "work", RIP_OLDEST | RIP_SHARED);
    CHECK(has_claims(rip_group_id(survivor->ch.control, survivor->group), 1));
    close_producer(late);
    survivor_gets_the_rest();
}

static int drops_before_a_group_joins(void) {
    struct rip_producer *p;
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, MANY, RIP_DROP_OLD, RIP_WAIT_BLOCK, NULL, &p), 0);
    CHECK_IS(p->slots, MANY);
    CHECK_IS(rip_declare(p, "slow"), 0);
    stop_here();
    for (uint64_t n = 0; n < 7; n++) {
        put_large(p, n);
    }
    stop_here();
    return 0;
}

/* The messages of the killed producer are whole, and missing ones are counted. Of the other lane nothing is missing. */
static void reads_what_is_left(struct rip_consumer *c, uint64_t count) {
    struct rip_message message;
    uint64_t next[2] = {0};
    unsigned deaths = 0;
    int rc;
    while ((rc = rip_get(c, &message, 0)) == 1 || rc == -EOWNERDEAD) {
        deaths += rc == -EOWNERDEAD;
        if (rc == 1) {
            CHECK(message.lane->id < 2);
            CHECK_IS(message.missed, message.seq - next[message.lane->id]);
            next[message.lane->id] = message.seq + 1;
            CHECK(message.lane->id == 0 || is_filled(message.data, LARGE, 1, message.seq));
            rip_release(c, &message);
        }
    }
    CHECK_IS(rc, -ETIMEDOUT);
    CHECK_IS(next[0], count);
    CHECK(next[1] <= 7);
    CHECK_IS(deaths, 1);
}

static void all_read_what_is_left(void) {
    survivor = open_consumer(CHANNEL, "slow", RIP_OLDEST); /* reaps */
    reads_what_is_left(survivor, sent);
    reads_what_is_left(reads, sent);
    close_producer(stays);
    CHECK_IS(get_nothing(survivor, 0), -ENODATA);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    close_consumer(survivor);
    close_consumer(reads);
    CHECK(is_over());
}

static void killed_while_large_claims_are_made(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others_with_many_slots, joins, newcomer_gets_all, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, many_slots_and_survivor, joins, survivor_gets_the_rest, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, others_put_six, meets_lane, newcomer_meets_it_too, lane_comes});
    kill_at_every_moment(&(struct play){CHANNEL, others, drops_before_a_group_joins, all_read_what_is_left, NULL});
}

/* ---- a channel of its own ---- */

static void messages_wait(void) {
    prepare_channel();
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 100, 0), 0);
    close_producer(p);
}

/* Two newcomers can use the channel, and once they have left, nothing remains. */
static void newcomers_meet(void) {
    uint64_t next[8] = {0}, seen = 0;
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    struct rip_consumer *c = open_consumer(CHANNEL, "victim", RIP_OLDEST);
    struct rip_message message;
    int rc;
    CHECK_IS(put_number(p, 100, 0), 0);
    CHECK_IS(put_number(p, 101, 0), 0);
    uint64_t id = p->ch.control->lanes[p->index].id;
    close_producer(p);
    while ((rc = rip_get(c, &message, 0)) == 1 || rc == -EOWNERDEAD) {
        if (rc == 1) {
            uint64_t number;
            memcpy(&number, message.data, sizeof number);
            CHECK(message.lane->id < 8);
            seen += message.lane->id == id;
            CHECK_IS(number, 100 + next[message.lane->id]++);
            rip_release(c, &message);
        }
    }
    CHECK_IS(rc, -ENODATA);
    CHECK_IS(seen, 2);
    close_consumer(c);
    CHECK(is_over());
}

static int makes_channel(void) {
    stop_here();
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 100, 0), 0);
    stop_here();
    return 0;
}

static int removes_empty_channel(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    stop_here();
    close_producer(p);
    stop_here();
    return 0;
}

static int reads_and_removes_channel(void) {
    struct rip_consumer *c = open_consumer(CHANNEL, "victim", RIP_OLDEST);
    CHECK_IS(get_number(c, 0), 100);
    CHECK_IS(get_nothing(c, 0), -ENODATA);
    stop_here();
    close_consumer(c);
    stop_here();
    return 0;
}

/* Leaves a lane and claims of a channel whose control file has been deleted. In the claims two messages are
 * released. */
static void control_is_deleted(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    struct rip_consumer *c = open_consumer(CHANNEL, "victim", RIP_SHARED);
    CHECK_IS(put_number(p, 7, 0), 0);
    CHECK_IS(put_number(p, 8, 0), 0);
    CHECK_IS(get_number(c, 0), 7);
    CHECK_IS(get_number(c, 0), 8);
    CHECK_IS(unlink(path_of(CHANNEL, "control")), 0);
    close_consumer(c);
    close_producer(p);
    CHECK(has_lane(0) && has_claims(1, 0));
}

static void competitors_meet(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    struct rip_consumer *c = open_consumer(CHANNEL, "victim", RIP_SHARED);
    struct rip_message message;
    unsigned seen = 0;
    int rc;
    CHECK_IS(put_number(p, 200, 0), 0);
    close_producer(p);
    while ((rc = rip_get(c, &message, 0)) == 1 || rc == -EOWNERDEAD) {
        if (rc == 1) {
            uint64_t number;
            memcpy(&number, message.data, sizeof number);
            CHECK(number == 100 || number == 200); /* nothing of the earlier channel */
            seen += number == 200;
            rip_release(c, &message);
        }
    }
    CHECK_IS(rc, -ENODATA);
    CHECK_IS(seen, 1);
    close_consumer(c);
    CHECK(is_over());
}

static void killed_alone(void) {
    if (strcmp(CHANNEL, MEMORY) != 0) {
        kill_at_every_moment(&(struct play){CHANNEL, control_is_deleted, makes_channel, competitors_meet, NULL});
    }
    kill_at_every_moment(&(struct play){CHANNEL, prepare_channel, makes_channel, newcomers_meet, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, prepare_channel, removes_empty_channel, newcomers_meet, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, messages_wait, reads_and_removes_channel, newcomers_meet, NULL});
}

/* A consumer that waits for the next producer, in a channel that only its group keeps. */
static void waits_for_a_producer(void) {
    prepare_channel();
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    reads = open_consumer(CHANNEL, "reads", RIP_DURABLE);
    close_producer(p);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    close_consumer(reads);
    reads = open_consumer(CHANNEL, "reads", RIP_DURABLE);
    CHECK_IS(get_nothing(reads, 0), -ETIMEDOUT);
}

/* The killed producer has come, and its death is reported; or it has not, and the consumer still waits. */
static void no_end_without_a_death(void) {
    struct rip_message message;
    int32_t holder;
    close_consumer(open_consumer(CHANNEL, "victim", RIP_OLDEST)); /* reaps */
    int rc = rip_get(reads, &message, 0);
    CHECK_IS(rc, rc == -ETIMEDOUT ? -ETIMEDOUT : -EOWNERDEAD);
    CHECK_IS(get_nothing(reads, 0), rc == -ETIMEDOUT ? -ETIMEDOUT : -ENODATA);
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 7, 0), 0);
    close_producer(p);
    CHECK_IS(get_number(reads, 0), 7);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    close_consumer(reads);
    CHECK_IS(rip_remove_group(CHANNEL, "reads", &holder), 0);
    CHECK(is_over());
}

static int fails(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    CHECK_IS(put_number(p, 100, 0), 0);
    stop_here();
    rip_producer_fail(p);
    close_producer(p);
    stop_here();
    return 0;
}

/* It has failed or died, and this is reported once. */
static void no_end_without_a_report(void) {
    struct rip_message message;
    int32_t holder;
    close_consumer(open_consumer(CHANNEL, "victim", RIP_OLDEST)); /* reaps */
    CHECK_IS(get_number(reads, 0), 100);
    int rc = rip_get(reads, &message, 0);
    CHECK(rc == -ECONNABORTED || rc == -EOWNERDEAD);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    close_consumer(reads);
    CHECK_IS(rip_remove_group(CHANNEL, "reads", &holder), 0);
    CHECK(is_over());
}

static int opens_producer_and_undoes_it(void) {
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    stop_here();
    rip_producer_undo(p);
    close_producer(p);
    stop_here();
    return 0;
}

/* The consumer waits, or it gets an end: of a process that was killed while it closed. */
static void nothing_was_put(void) {
    struct rip_message message;
    int32_t holder;
    close_consumer(open_consumer(CHANNEL, "victim", RIP_OLDEST)); /* reaps */
    int rc = rip_get(reads, &message, 0);
    CHECK(rc == -ETIMEDOUT || rc == -ENODATA || rc == -EOWNERDEAD);
    close_consumer(reads);
    CHECK_IS(rip_remove_group(CHANNEL, "reads", &holder), 0);
    CHECK(is_over());
}

static void killed_while_it_comes(void) {
    kill_at_every_moment(&(struct play){CHANNEL, waits_for_a_producer, opens_producer, no_end_without_a_death, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, waits_for_a_producer, fails, no_end_without_a_report, NULL});
    kill_at_every_moment(
        &(struct play){CHANNEL, waits_for_a_producer, opens_producer_and_undoes_it, nothing_was_put, NULL});
}

/* A message that was published before is still there, whenever the consumer that attaches is killed. */
static void message_is_there(void) {
    unsigned deaths = 0;
    sent = 101;
    got = 100;
    stays = open_producer(CHANNEL, RIP_PAGE, 8);
    reads = open_consumer(CHANNEL, "reads", RIP_OLDEST);
    read_all(&deaths);
    CHECK_IS(deaths, 0);
    close_producer(stays);
    close_consumer(reads);
}

static void killed_while_attaching(void) {
    kill_at_every_moment(&(struct play){CHANNEL, messages_wait, opens_consumer, message_is_there, NULL});
}

/* ---- two processes at once ---- */

static int opens_second(void) {
    stop_here();
    struct rip_producer *p = open_producer(CHANNEL, RIP_PAGE, 8);
    stop_here();
    CHECK_IS(put_number(p, 100, 0), 0);
    stop_here();
    return 0;
}

static void nothing(void) {}

/* The member entry of a killed process is taken by another one before any process has reaped it. */
static void member_entry_is_reused(void) {
    const struct play first = {CHANNEL, others, closes_empty_producer, NULL, NULL},
                      second = {CHANNEL, nothing, opens_second, NULL, NULL};
    struct moment moments[MAX_MOMENTS];
    play = &(struct play){CHANNEL, others, closes_empty_producer, others_go_on, NULL};
    unsigned count = find_moments(moments);
    for (unsigned i = 0; i < count; i++) {
        unsigned deaths = 0;
        play = &first;
        pid_t closing = start_victim();
        play = &second;
        pid_t opening = start_victim();
        /* it is the third producer, and makes its lane without the lock */
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
        while (stays->ch.control->members[RIP_MAX_CONSUMERS + 2].role == RIP_NOBODY || lock.l_type != F_UNLCK) {
            CHECK(resume(opening, PTRACE_SYSCALL));
            lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
            CHECK_IS(fcntl(stays->ch.handle.mapping.fd, F_OFD_GETLK, &lock), 0);
        }
        run_to(closing, moments[i]);
        kill_and_wait(closing);
        CHECK(run_on(opening));                                       /* until it has opened */
        close_consumer(open_consumer(CHANNEL, "victim", RIP_OLDEST)); /* reaps */
        CHECK(run_on(opening));                                       /* until it has put */
        uint64_t before = reads->taken;
        read_all(&deaths);
        CHECK_IS(reads->taken - before, sent + 1);
        CHECK(deaths <= 1); /* that of the producer that was killed in its close */
        deaths = 0;
        kill_and_wait(opening);
        close_consumer(open_consumer(CHANNEL, "victim", RIP_OLDEST));
        read_all(&deaths);
        CHECK_IS(deaths, 1); /* only now the newcomer is dead */
        close_producer(stays);
        close_consumer(reads);
    }
}

/* No process is killed here: a newcomer makes a new channel while the last member of the old one is still removing
 * it. */
static void made_while_an_earlier_one_is_removed(void) {
    play = &(struct play){CHANNEL, messages_wait, reads_and_removes_channel, newcomers_meet, NULL};
    struct moment moments[MAX_MOMENTS];
    unsigned count = find_moments(moments);
    for (unsigned i = 0; i < count; i++) {
        pid_t child = start_victim();
        int more = run_to(child, moments[i]);
        /* while it has the lock, this process would wait for it */
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
        int fd = open(path_of(CHANNEL, "control"), O_RDWR | O_CLOEXEC);
        int is_locked = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
        if (fd >= 0) {
            close(fd);
        }
        struct rip_producer *p = is_locked ? NULL : open_producer(CHANNEL, RIP_PAGE, 8);
        CHECK(!more || run_on(child)); /* it removes the rest */
        if (p) {
            struct rip_consumer *c = open_consumer(CHANNEL, "victim", RIP_OLDEST);
            CHECK_IS(put_number(p, 5, 0), 0);
            CHECK_IS(get_number(c, 0), 5);
            close_producer(p);
            close_consumer(c);
        }
        kill_and_wait(child);
    }
}

int main(void) {
    if (!can_step()) {
        printf("  left out: no process may be stepped here\n");
        return 0;
    }
    fill_payloads();
    run("a member is killed at any instruction, and the others of its channel go on", killed_among_others);
    run("a batch is whole for every group, wherever its producer is killed", killed_while_publishing);
    run("a member is killed while it reaps, and the others go on", killed_while_reaping);
    run("no process executes fences for a member that was killed", killed_with_others_that_fence);
    run("what a killed member of a group has not released is redelivered once", killed_while_competing);
    run("what a killed member had acknowledged is not redelivered, and its memory is free",
        killed_while_it_reaps_a_worker);
    run("durable and declared groups stay whole when a process is killed", killed_around_a_group);
    run("a producer that is killed while it drops leaves whole messages and those in use", killed_while_dropping);
    run("a producer that is killed while it passes lossy groups leaves whole messages and those in use",
        killed_while_passing);
    run("what a killed member had when the producer passed it keeps no memory occupied", killed_with_passed_messages);
    run("a process that is killed while a group that is waited for keeps messages leaves the others whole, and their "
        "memory free",
        killed_with_kept_messages);
    run("a process is killed while it makes large claims, and the others make them",
        killed_while_large_claims_are_made);
    run("the only member of a channel is killed, and the next ones use it and leave nothing behind", killed_alone);
    run("a stream does not end because its only producer is killed or fails", killed_while_it_comes);
    run("no message is lost with a first consumer that is killed while it attaches", killed_while_attaching);
    run("a newcomer with the entry of a killed member is not taken for dead", member_entry_is_reused);
    if (strcmp(CHANNEL, MEMORY) != 0) {
        run("a channel that is made while an earlier one is being removed stays", made_while_an_earlier_one_is_removed);
    }
    return 0;
}
