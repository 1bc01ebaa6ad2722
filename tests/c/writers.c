/* One of the producers that write a shared lane is killed after every instruction that changes what others see. The
 * others go on: nothing that it published is lost or comes twice, and every group gets all messages in one order. */
#include "moments.h"

#include "ring/claim_files.h"
#include "ring/lane_lock.h"
#include "ring/put.h"

#define SLOTS 8u
#define VICTIM 100u   /* its messages are numbers from here on */
#define NEWCOMER 200u /* those of a producer that comes later */
#define MOST 64u

static struct rip_producer *stays, *owns;
static struct rip_consumer *reads, *shares;
static uint64_t sent, orders[2][MOST], counts[2];
static unsigned deaths, failures;

static struct rip_producer *open_writer(uint32_t flags) {
    struct rip_producer *p;
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, SLOTS, flags | RIP_SHARED_LANE, RIP_WAIT_BLOCK, NULL, &p), 0);
    return p;
}

static void prepare_channel(void) {
    if (strcmp(CHANNEL, MEMORY) == 0) {
        make_anonymous_channel();
    }
    sent = counts[0] = counts[1] = 0;
    deaths = failures = 0;
}

static void put_own(void) { CHECK_IS(put_number(stays, sent++, 0), 0); }

/* A writer, and two groups: in one the slots tell what is published, in the other the tail. */
static void others(void) {
    prepare_channel();
    stays = open_writer(0);
    reads = open_consumer(CHANNEL, "reads", RIP_OLDEST);
    shares = open_consumer(CHANNEL, "shares", RIP_OLDEST | RIP_SHARED);
    put_own();
    put_own();
}

static void read_all(struct rip_consumer *c, unsigned which) {
    struct rip_message message;
    int rc;
    while ((rc = rip_get(c, &message, 0)) == 1 || rc == -EOWNERDEAD || rc == -ECONNABORTED) {
        if (rc != 1) {
            deaths += which == 0 && rc == -EOWNERDEAD;
            failures += which == 0 && rc == -ECONNABORTED;
            continue;
        }
        CHECK(counts[which] < MOST);
        CHECK_IS(message.missed, 0);
        memcpy(&orders[which][counts[which]++], message.data, sizeof(uint64_t));
        rip_release(c, &message);
    }
    CHECK_IS(rc, -ETIMEDOUT); /* the stream has not ended: there is still a producer */
}

static void read_both(void) {
    read_all(reads, 0);
    read_all(shares, 1);
}

/* The messages of each producer come in order and once, and those of the survivor all. */
static void check_order(void) {
    uint64_t next[3] = {0};
    for (uint64_t i = 0; i < counts[0]; i++) {
        uint64_t number = orders[0][i], whose = number / VICTIM;
        CHECK(whose < 3);
        CHECK_IS(number, whose * VICTIM + next[whose]++);
    }
    CHECK_IS(next[0], sent);
    CHECK_IS(counts[1], counts[0]);
    CHECK_IS(memcmp(orders[0], orders[1], counts[0] * sizeof(uint64_t)), 0);
}

static void end(void) {
    close_producer(stays);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    CHECK_IS(get_nothing(shares, 0), -ENODATA);
    close_consumer(reads);
    close_consumer(shares);
    CHECK(is_over());
}

/* The survivor puts before anybody has reaped the victim. */
static void others_go_on(void) {
    uint64_t tail = atomic_load(&stays->lane->tail);
    put_own();
    CHECK_IS(atomic_load(&stays->lane->tail), tail + 1);
    read_both();
    check_order();
    close_consumer(open_consumer(CHANNEL, "another", RIP_OLDEST)); /* reaps */
    read_both();
    CHECK(deaths + failures <= 1);
    struct rip_producer *newcomer = open_writer(0);
    CHECK_IS(put_number(newcomer, NEWCOMER, 0), 0);
    for (unsigned i = 0; i < 20; i++) { /* more than the lane has slots and memory for, and by both */
        put_own();
        if (i % 3 == 0) {
            CHECK_IS(put_number(newcomer, NEWCOMER + 1 + i / 3, 0), 0);
        }
        read_both();
    }
    close_producer(newcomer);
    read_both();
    check_order();
    CHECK(deaths + failures <= 1);
    CHECK_IS(rip_producer_backlog(stays), 0);
    end();
}

/* The victim had come and did not close. */
static void others_go_on_after_death(void) {
    close_consumer(open_consumer(CHANNEL, "another", RIP_OLDEST)); /* reaps */
    read_both();
    CHECK_IS(deaths, 1);
    others_go_on();
    CHECK_IS(deaths, 1);
    CHECK_IS(failures, 0);
}

static int opens(void) {
    stop_here();
    open_writer(0);
    stop_here();
    return 0;
}

/* It has to catch up first, and comes around the ring. */
static int puts_three(void) {
    struct rip_producer *p = open_writer(0);
    CHECK_IS(put_number(p, VICTIM, 0), 0);
    stop_here();
    stop_here();
    for (uint64_t n = 1; n < 4; n++) {
        CHECK_IS(put_number(p, VICTIM + n, 0), 0);
    }
    stop_here();
    return 0;
}

static void others_put(void) {
    read_both();
    for (unsigned i = 0; i < SLOTS - 4; i++) {
        put_own();
    }
}

static int reserves(void) {
    struct rip_producer *p = open_writer(0);
    unsigned char *payload;
    stop_here();
    CHECK_IS(rip_reserve(p, sizeof(uint64_t), &payload), 0);
    memset(payload, 0xff, sizeof(uint64_t));
    rip_discard(p);
    CHECK_IS(rip_reserve(p, sizeof(uint64_t), &payload), 0);
    memset(payload, 0xff, sizeof(uint64_t));
    stop_here();
    return 0;
}

static int closes(void) {
    struct rip_producer *p = open_writer(0);
    CHECK_IS(put_number(p, VICTIM, 0), 0);
    stop_here();
    close_producer(p);
    stop_here();
    return 0;
}

static int fails(void) {
    struct rip_producer *p = open_writer(0);
    CHECK_IS(put_number(p, VICTIM, 0), 0);
    stop_here();
    rip_producer_fail(p);
    close_producer(p);
    stop_here();
    return 0;
}

static void killed_among_others(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others, opens, others_go_on, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, others, puts_three, others_go_on_after_death, others_put});
    kill_at_every_moment(&(struct play){CHANNEL, others, puts_three, others_go_on, others_put});
    kill_at_every_moment(&(struct play){CHANNEL, others, reserves, others_go_on, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, others, closes, others_go_on, NULL});
    kill_at_every_moment(&(struct play){CHANNEL, others, fails, others_go_on, NULL});
}

/* ---- nobody puts after the death ---- */

/* The readers find all that was published, although no other writer completes it, once the death is noticed. */
static void readers_find_all(void) {
    read_both();
    close_consumer(open_consumer(CHANNEL, "another", RIP_OLDEST)); /* reaps */
    read_both();
    check_order();
    CHECK_IS(counts[0], atomic_load(&stays->lane->tail));
    CHECK_IS(deaths, 1);
    end();
}

static void killed_as_the_last_that_puts(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others, puts_three, readers_find_all, others_put});
}

/* ---- a process that reaps ---- */

static int dies(void *argument) {
    (void)argument;
    CHECK_IS(put_number(open_writer(0), VICTIM, 0), 0);
    return 0; /* without closing */
}

static void others_and_dead(void) {
    others();
    expect_success(spawn(dies, NULL));
}

static int reaps(void) {
    stop_here();
    open_consumer(CHANNEL, "victim", RIP_OLDEST);
    stop_here();
    return 0;
}

static void one_death(void) {
    close_consumer(open_consumer(CHANNEL, "another", RIP_OLDEST)); /* reaps */
    read_both();
    CHECK_IS(deaths, 1);
    others_go_on();
}

static void killed_while_it_reaps(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others_and_dead, reaps, one_death, NULL});
}

/* Its own entry comes before that of the writer it reaps, so whoever reaps both begins with it. */
static int writes_and_reaps(void) {
    sigset_t child;
    open_writer(0);
    CHECK_IS(sigemptyset(&child) | sigaddset(&child, SIGCHLD) | sigprocmask(SIG_BLOCK, &child, NULL), 0);
    expect_success(spawn(dies, NULL));
    return reaps();
}

static void two_deaths(void) {
    close_consumer(open_consumer(CHANNEL, "another", RIP_OLDEST)); /* reaps */
    read_both();
    CHECK_IS(deaths, 2);
    end();
}

static void killed_while_it_reaps_as_a_writer(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others, writes_and_reaps, two_deaths, NULL});
}

/* ---- a failure ---- */

/* Is the victim still a member, and not closing yet? */
static int is_open(void) {
    const struct rip_control *control = stays->ch.control;
    for (uint32_t i = RIP_MAX_CONSUMERS; i < RIP_MAX_MEMBERS; i++) {
        const struct rip_member *member = &control->members[i];
        if (member->role == RIP_A_PRODUCER && member->pid != getpid()) {
            return (atomic_load(&member->writer) & RIP_WRITER_LOST) == RIP_NOT_CLOSED;
        }
    }
    return 0;
}

/* Once the writer has failed, that is what is reported, although it is killed. */
static void stays_a_failure(void) {
    unsigned died = (unsigned)is_open();
    close_consumer(open_consumer(CHANNEL, "another", RIP_OLDEST)); /* reaps */
    read_both();
    CHECK_IS(deaths, died);
    CHECK_IS(failures, 1 - died);
    end();
}

static void killed_after_a_failure(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others, fails, stays_a_failure, NULL});
}

/* ---- the first writer, and the last ---- */

static void another_lane(void) {
    prepare_channel();
    owns = open_producer(CHANNEL, RIP_PAGE, SLOTS);
    reads = open_consumer(CHANNEL, "reads", RIP_OLDEST);
    shares = open_consumer(CHANNEL, "shares", RIP_OLDEST | RIP_SHARED);
}

static int is_alone(void) {
    stop_here();
    struct rip_producer *p = open_writer(0);
    CHECK_IS(put_number(p, VICTIM, 0), 0);
    close_producer(p);
    stop_here();
    return 0;
}

/* The next writer writes the lane of the victim or a new one; the stream ends as usual. */
static void next_writer_comes(void) {
    stays = open_writer(0);
    for (unsigned i = 0; i < 20; i++) {
        put_own();
        read_both();
    }
    check_order();
    CHECK(deaths <= 1);
    rip_consumer_expect(reads, 2);
    close_producer(owns);
    end();
}

static void killed_alone(void) {
    kill_at_every_moment(&(struct play){CHANNEL, another_lane, is_alone, next_writer_comes, NULL});
}

/* ---- counting ---- */

static void count_waits(void) {
    close_consumer(open_consumer(CHANNEL, "another", RIP_OLDEST)); /* reaps */
    read_both();
    uint32_t come = reads->came;
    CHECK_IS(come, 1 + deaths);
    rip_consumer_expect(reads, come + 1);
    close_producer(stays);
    CHECK_IS(get_nothing(reads, 0), -ETIMEDOUT);
    close_producer(open_writer(0));
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    close_consumer(reads);
    close_consumer(shares);
    CHECK(is_over());
}

static void killed_while_it_comes(void) {
    kill_at_every_moment(&(struct play){CHANNEL, others, opens, count_waits, NULL});
}

/* ---- messages in use ---- */

#define LARGE 1000u /* bytes: four fit into a page */

static struct rip_message kept[2];
static unsigned char payloads[16][LARGE];
static uint32_t kinds[2];        /* flags of the two groups */
static enum rip_overflow policy; /* of the lane */
static unsigned keepers;         /* the groups that keep a message: 1, 2 or both */
static int keeps_on;             /* they keep it while the survivor puts */

/* Filled before the victim is stepped, because filling takes many more steps than putting. */
static void fill_payloads(void) {
    for (uint64_t n = 0; n < sizeof payloads / sizeof *payloads; n++) {
        fill(payloads[n], LARGE, 1, n);
    }
}

static int put_large(struct rip_producer *p) { return put(p, payloads[p->lane->tail], LARGE, 0); }

static void groups_and_full_lane(void) {
    prepare_channel();
    stays = open_writer(policy);
    reads = open_consumer(CHANNEL, "reads", kinds[0]);
    shares = open_consumer(CHANNEL, "shares", kinds[1]);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_IS(put_large(stays), 0);
    }
}

/* Gets the first four messages. Releases them, except the first one if keeps is set. */
static void get_four(struct rip_consumer *c, struct rip_message *first, int keeps) {
    struct rip_message message;
    for (uint64_t n = 0; n < 4; n++) {
        CHECK_IS(rip_get(c, n == 0 ? first : &message, 0), 1);
        if (n == 0 && keeps) {
            rip_acknowledge(c, first);
        } else {
            rip_release(c, n == 0 ? first : &message);
        }
    }
}

static void keep_first(void) {
    get_four(reads, &kept[0], keepers & 1);
    get_four(shares, &kept[1], keepers & 2);
}

static void release_kept(void) {
    if (keepers & 1) {
        rip_release(reads, &kept[0]);
    }
    if (keepers & 2) {
        rip_release(shares, &kept[1]);
    }
}

static int goes_around(void) {
    struct rip_producer *p = open_writer(policy);
    stop_here();
    stop_here();
    for (unsigned i = 0; i < 2; i++) { /* with the one that is in use, three fill the lane but for one */
        CHECK_IS(put_large(p), 0);
    }
    stop_here();
    return 0;
}

static void read_large(struct rip_consumer *c, uint64_t *next) {
    struct rip_message message;
    int rc;
    while ((rc = rip_get(c, &message, 0)) == 1 || rc == -EOWNERDEAD) {
        if (rc == 1) {
            CHECK_IS(message.seq - message.missed, *next);
            *next = message.seq + 1;
            CHECK(is_filled(message.data, LARGE, 1, message.seq));
            rip_release(c, &message);
        }
    }
    CHECK_IS(rc, -ETIMEDOUT);
    for (unsigned i = 0; keeps_on && i < 2; i++) {
        CHECK(!(keepers >> i & 1) || is_filled(kept[i].data, LARGE, 1, 0));
    }
}

static int is_in_table(struct rip_consumer *c) {
    const struct rip_rx *rx = c->lanes[0];
    uint64_t words = 0;
    for (unsigned k = 0; k < RIP_MAX_KEPT; k++) {
        words |= rx->claims ? rx->claims->kept[k] : k < RIP_CURSOR_KEPT ? rx->cursor->kept[k] : 0;
    }
    return words != 0;
}

/* The survivor puts: around what is in use, also where only the victim knew it. Then all memory is free again. */
static void survivor_goes_around(void) {
    static const unsigned char page[RIP_PAGE];
    struct rip_message message;
    uint64_t next[2] = {4, 4};
    if (!keeps_on) {
        release_kept();
    }
    for (unsigned i = 0; i < 6; i++) {
        CHECK_IS(put_large(stays), 0);
        read_large(reads, &next[0]);
        read_large(shares, &next[1]);
    }
    CHECK_IS(next[0], stays->published);
    CHECK_IS(next[1], stays->published);
    if (keeps_on) {
        release_kept();
    }
    CHECK_IS(put(stays, page, sizeof page, 0), 0);
    CHECK_IS(stays->arena.pinned, 0);
    for (unsigned i = 0; i < RIP_MAX_PINS; i++) {
        CHECK_IS(stays->lane->pins[i].message, 0);
    }
    CHECK(!is_in_table(reads) && !is_in_table(shares));
    CHECK_IS(rip_get(reads, &message, 0), 1);
    rip_release(reads, &message);
    CHECK_IS(rip_get(shares, &message, 0), 1);
    rip_release(shares, &message);
    close_consumer(open_consumer(CHANNEL, "another", RIP_OLDEST)); /* reaps */
    read_both();
    end();
}

static void killed_around_messages_in_use(void) {
    static const struct {
        uint32_t kinds[2];
        enum rip_overflow policy;
    } cases[] = {{{RIP_OLDEST, RIP_SHARED}, RIP_BLOCK},
                 {{RIP_LOSSY, RIP_SHARED | RIP_LOSSY}, RIP_BLOCK},
                 {{RIP_OLDEST, RIP_SHARED}, RIP_DROP_OLD}};
    for (unsigned i = 0; i < 6 * sizeof cases / sizeof *cases; i++) {
        memcpy(kinds, cases[i / 6].kinds, sizeof kinds);
        policy = cases[i / 6].policy;
        keepers = 1 + i % 3;
        keeps_on = i % 6 < 3;
        kill_at_every_moment(
            &(struct play){CHANNEL, groups_and_full_lane, goes_around, survivor_goes_around, keep_first});
    }
}

/* ---- nobody is killed ---- */

#define ARENA (16 * RIP_PAGE)
#define MANY 128u

static struct rip_producer *open_large(enum rip_overflow overflow) {
    struct rip_producer *p;
    uint32_t flags = overflow | RIP_SHARED_LANE;
    CHECK_IS(rip_producer_open(CHANNEL, ARENA, MANY, flags, RIP_WAIT_BLOCK, NULL, &p), 0);
    return p;
}

/* Each message is its number, repeated. */
static void put_or_discard(struct rip_producer *p, struct random *r, uint64_t *next, uint64_t most, uint64_t discards) {
    uint64_t length = sizeof(uint64_t) * (1 + random_below(r, random_below(r, 3) ? most : 25));
    unsigned char *payload;
    int rc = rip_reserve(p, length, &payload);
    if (rc != 0) {
        CHECK(rc == -EAGAIN || rc == -ENOBUFS);
        return;
    }
    int is_discarded = random_below(r, 10) < discards;
    for (uint64_t i = 0; i < length; i += sizeof(uint64_t)) {
        memcpy(payload + i, is_discarded ? &(uint64_t){UINT64_MAX} : next, sizeof(uint64_t));
    }
    if (is_discarded) {
        rip_discard(p);
    } else {
        CHECK_IS(rip_publish(p, length, 0, RIP_BYTES), 0);
        ++*next;
    }
}

static void check_message(const struct rip_message *message, uint64_t number) {
    for (uint64_t i = 0; i < message->length; i += sizeof(uint64_t)) {
        CHECK_IS(memcmp((const unsigned char *)message->data + i, &number, sizeof number), 0);
    }
}

static void discard_between_others(uint64_t seed, enum rip_overflow overflow) {
    struct random r = {seed};
    struct rip_message message;
    uint64_t next = 0, got = 0, most = random_below(&r, 2) ? 1125 : 2625, discards = random_below(&r, 6);
    prepare_channel();
    struct rip_producer *writers[] = {open_large(overflow), open_large(overflow)};
    struct rip_consumer *c = open_consumer(CHANNEL, "reads", RIP_OLDEST);
    for (unsigned i = 0; i < 3000; i++) {
        if (random_below(&r, 100) < 60) {
            put_or_discard(writers[random_below(&r, 2)], &r, &next, most, discards);
        } else if (rip_get(c, &message, 0) == 1) {
            got += message.missed;
            check_message(&message, got++);
            rip_release(c, &message);
        }
    }
    close_producer(writers[0]);
    close_producer(writers[1]);
    close_consumer(c);
    CHECK(is_over());
}

static void discarded_reservations(void) {
    for (uint64_t seed = 1; seed <= 100; seed++) {
        discard_between_others(seed, seed % 4 ? RIP_BLOCK : RIP_DROP_OLD);
    }
}

/* A descriptor is damaged, and then whole again. */
static void catches_up_after_an_error(void) {
    others();
    struct rip_producer *late = open_writer(0);
    CHECK_IS(put_number(late, VICTIM, 0), 0);
    put_own();
    put_own();
    struct rip_desc *desc = &stays->lane->desc[4 & (SLOTS - 1)];
    uint64_t place = desc->place;
    desc->place = rip_desc_place(UINT64_C(1) << 40, RIP_BYTES, 0);
    for (unsigned i = 0; i < RIP_MAX_RUNS + 2; i++) {
        CHECK_IS(put_number(late, VICTIM + 1, 0), -EBADMSG);
    }
    desc->place = place;
    for (uint64_t i = 0; i < 20; i++) {
        CHECK_IS(put_number(late, VICTIM + 1 + i, 0), 0);
        put_own();
        read_both();
    }
    check_order();
    close_producer(late);
    end();
}

/* Somebody writes into reserved memory after the producer has closed. */
static void closes_with_a_reservation(void) {
    static unsigned char zeros[LARGE];
    struct rip_message message;
    unsigned char *payload;
    prepare_channel();
    struct rip_producer *closes_first = open_writer(0);
    stays = open_writer(0);
    reads = open_consumer(CHANNEL, "reads", RIP_OLDEST);
    CHECK_IS(rip_reserve(closes_first, LARGE, &payload), 0);
    rip_tx_begin_fill(closes_first, RIP_FILL_RESERVED);
    memset(payload, 1, LARGE);
    CHECK_IS(rip_producer_close(closes_first), 0);
    CHECK_IS(put(stays, zeros, LARGE, 0), 0);
    memset(payload, 7, LARGE);
    CHECK_IS(rip_get(reads, &message, 0), 1);
    CHECK_IS(memcmp(message.data, zeros, LARGE), 0);
    rip_release(reads, &message);
    rip_producer_free(closes_first);
    close_producer(stays);
    CHECK_IS(get_nothing(reads, 0), -ENODATA);
    close_consumer(reads);
    CHECK(is_over());
}

/* The numbers of holders begin again after 2^28. */
static void has_the_number_of_an_earlier_one(void) {
    others();
    struct rip_producer *earlier = open_writer(0);
    uint32_t number = earlier->holder;
    CHECK_IS(put_number(earlier, VICTIM, 0), 0);
    close_producer(earlier);
    atomic_store(&stays->ch.control->holders, number - 1);
    struct rip_producer *newcomer = open_writer(0);
    CHECK_IS(newcomer->holder, number);
    uint64_t tail = atomic_load(&stays->lane->tail);
    CHECK_IS(put_number(newcomer, VICTIM + 1, 0), 0);
    CHECK_IS(atomic_load(&stays->lane->tail), tail + 1);
    read_both();
    check_order();
    close_producer(newcomer);
    end();
}

static void all_numbers_are_locked(void) {
    struct rip_producer *p;
    others();
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = RIP_HOLDER_BYTES + 1000};
    int fd = strcmp(CHANNEL, MEMORY) == 0 ? open("/proc/self/fd/200", O_RDWR | O_CLOEXEC)
                                          : open(path_of(CHANNEL, "control"), O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_IS(fcntl(fd, F_OFD_SETLK, &lock), 0);
    atomic_store(&stays->ch.control->holders, 1000);
    CHECK_IS(rip_producer_open(CHANNEL, RIP_PAGE, SLOTS, RIP_SHARED_LANE, RIP_WAIT_BLOCK, NULL, &p), -ENOLCK);
    close(fd);
    close_producer(open_writer(0));
    read_both();
    end();
}

int main(void) {
    fill_payloads();
    run("reservations that are discarded between the puts of another writer change nothing", discarded_reservations);
    run("a writer whose catching up has failed catches up once that is possible", catches_up_after_an_error);
    run("what is written into reserved memory after close reaches nobody", closes_with_a_reservation);
    run("a writer with the number of an earlier one catches up", has_the_number_of_an_earlier_one);
    run("a writer does not try for ever to get a number", all_numbers_are_locked);
    if (!can_step()) {
        printf("  left out: no process may be stepped here\n");
        return 0;
    }
    run("a writer of a shared lane is killed at any instruction, and the others go on", killed_among_others);
    run("what a writer has published before it was killed is read, although nobody puts after it",
        killed_as_the_last_that_puts);
    run("a process that is killed while it reaps a writer reports the death once", killed_while_it_reaps);
    run("a writer that is killed while it reaps another one leaves both deaths to be reported",
        killed_while_it_reaps_as_a_writer);
    run("a failure is not reported as a death, wherever the writer is killed while it closes", killed_after_a_failure);
    run("the only writer of a shared lane is killed, and the next one has a lane", killed_alone);
    run("a writer that is killed while it joins has come or has not", killed_while_it_comes);
    run("a writer that is killed while it goes around messages in use leaves them to the others",
        killed_around_messages_in_use);
    return 0;
}
