/* Consumers that read by time: what was put before, by whomever, comes before, wherever the scan of the consumer is. */
#include "steps.h"

#include "base/clock.h"
#include "ring/producer.h"
#include "ring/rx_lanes.h"
#include "store/table_lock.h"

#define INSTRUCTIONS 500u /* more than a get of such a consumer that finds nothing */
#define STRIDE 4u         /* scanning a lane takes more instructions */

static struct rip_consumer *open_by_time(const char *group, uint32_t flags) {
    struct rip_consumer *c = open_consumer("c", group, flags | RIP_BY_TIME);
    rip_consumer_expect(c, RIP_NO_END);
    return c;
}

/* ---- at every instruction of a consumer ---- */

static int gets_pairs(void *flags) {
    struct rip_consumer *c = open_by_time("g", *(uint32_t *)flags);
    struct rip_message message;
    traceable();
    for (uint64_t pair = 0;; pair++) {
        stop_here();
        for (uint64_t k = 0; k < 2; k++) {
            uint64_t number;
            int rc;
            while ((rc = rip_get(c, &message, 0)) == -ETIMEDOUT) {
            }
            CHECK_IS(rc, 1);
            memcpy(&number, message.data, sizeof number);
            CHECK_IS(number, 2 * pair + k);
            rip_release(c, &message);
        }
    }
}

/* Lets a child scan its lanes for some instructions, and on until it does not have the table lock. */
static void let_scan(pid_t child, unsigned steps, struct rip_producer *p) {
    for (unsigned i = 0; i < steps; i++) {
        CHECK(step(child));
    }
    while (rip_try_lock(&p->ch.handle) != 0) {
        CHECK(step(child));
    }
    rip_unlock(&p->ch.handle);
}

/* first: the lane of the cause among the two that the consumer knows, in which the effect is put into the other one. 2:
 * the cause is in a new lane. */
static void the_cause_comes_first(unsigned first, uint32_t flags) {
    struct rip_producer *lanes[2] = {open_producer("c", RIP_PAGE, 8), open_producer("c", RIP_PAGE, 8)};
    pid_t child = spawn(gets_pairs, &flags);
    CHECK(await_stop(child));
    uint64_t number = 0;
    for (unsigned steps = 0; steps < INSTRUCTIONS; steps += STRIDE) {
        struct rip_producer *new = NULL;
        let_scan(child, steps, lanes[0]);
        if (first == 2) {
            new = open_producer("c", RIP_PAGE, 8);
        }
        CHECK_IS(put_number(new ? new : lanes[first], number++, 0), 0);
        CHECK_IS(put_number(lanes[first == 0], number++, 0), 0);
        if (new) {
            close_producer(new);
        }
        CHECK(run_on(child));
    }
    kill_and_wait(child);
    close_producer(lanes[0]);
    close_producer(lanes[1]);
}

static void in_a_lane_that_is_scanned_first(void) { the_cause_comes_first(0, 0); }
static void in_a_lane_that_is_scanned_last(void) { the_cause_comes_first(1, 0); }
static void in_a_new_lane(void) { the_cause_comes_first(2, 0); }

static void in_shared_and_lossy_groups(void) {
    the_cause_comes_first(0, RIP_SHARED);
    the_cause_comes_first(1, RIP_SHARED | RIP_LOSSY);
}

/* ---- backlogs ---- */

static struct rip_producer *open_lane(uint32_t flags) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open("c", RIP_PAGE, 64, RIP_BLOCK | flags, RIP_WAIT_BLOCK, NULL, &p), 0);
    return p;
}

/* Puts a message and takes its slot word back, as if the producer were between the stores of its tail and of the
 * slot. Returns where to store the word later. */
static _Atomic uint32_t *put_by_tail_only(struct rip_producer *p, uint64_t number) {
    _Atomic uint32_t *word = &p->lane->desc[p->tail & (p->slots - 1)].published;
    CHECK_IS(put_number(p, number, 0), 0);
    atomic_store(word, 0);
    return word;
}

/* For each number of messages that wait in front of the cause, and of these that are taken before the cause and the
 * effect are put: the scans of the consumer come at different messages. */
static void the_cause_comes_first_behind(int has_word, uint32_t flags) {
    struct rip_producer *lanes[3] = {open_lane(0), open_lane(0), open_lane(0)};
    struct rip_consumer *c = open_by_time("g", flags);
    uint64_t number = 0, got = 0;
    for (unsigned waiting = 0; waiting < 40; waiting++) {
        for (unsigned taken = 0; taken <= waiting; taken++) {
            for (unsigned k = 0; k < waiting; k++) {
                CHECK_IS(put_number(lanes[k % 16 == 15 ? 2 : 0], number++, 0), 0);
            }
            for (unsigned k = 0; k < taken; k++) {
                CHECK_IS(get_number(c, 0), got++);
            }
            uint32_t seen = (uint32_t)lanes[0]->tail + 1;
            _Atomic uint32_t *word = has_word ? NULL : put_by_tail_only(lanes[0], number++);
            if (has_word) {
                CHECK_IS(put_number(lanes[0], number++, 0), 0);
            }
            CHECK_IS(put_number(lanes[1], number++, 0), 0);
            while (got < number) {
                CHECK_IS(get_number(c, 0), got++);
            }
            if (word) {
                atomic_store(word, seen);
            }
        }
    }
    close_consumer(c);
    for (unsigned i = 0; i < 3; i++) {
        close_producer(lanes[i]);
    }
}

static void behind_backlogs(void) {
    the_cause_comes_first_behind(1, 0);
    the_cause_comes_first_behind(1, RIP_SHARED);
    the_cause_comes_first_behind(1, RIP_LOSSY);
}

static void published_by_the_tail_only(void) {
    the_cause_comes_first_behind(0, 0);
    the_cause_comes_first_behind(0, RIP_SHARED);
    the_cause_comes_first_behind(0, RIP_LOSSY);
}

/* ---- lanes that lose messages as fast as they are scanned ---- */

static int gets_none(void *selects) {
    struct rip_consumer *c = open_by_time("g", RIP_LOSSY);
    struct rip_filter filter = {.count = 0};
    struct rip_message message;
    traceable();
    stop_here();
    CHECK_IS(*(int *)selects ? rip_get_selected(c, &filter, &message, 0) : rip_get(c, &message, 0), -ETIMEDOUT);
    return 0;
}

/* Before each instruction of the child: is it the first one of a scan? */
static int begins_scan(pid_t child) {
#if defined(__x86_64__)
    struct user_regs_struct registers;
    CHECK_IS(ptrace(PTRACE_GETREGS, child, NULL, &registers), 0);
    return registers.rip == (uintptr_t)rip_update_lanes_or_fail;
#else
    (void)child; /* never called: can_step returns 0 */
    return 0;
#endif
}

/* Whenever a scan begins, all messages that the one before has found are lost, and there are new ones. */
static void a_call_ends(int selects) {
    struct rip_producer *lanes[2] = {open_producer("c", RIP_PAGE, 8), open_producer("c", RIP_PAGE, 8)};
    pid_t child = spawn(gets_none, &selects);
    CHECK(await_stop(child));
    unsigned scans = 0;
    for (int status = 0, more = 1; more;) {
        int is_scan = begins_scan(child);
        for (uint64_t k = 0; k < 16 && is_scan; k++) {
            CHECK_IS(put_number(lanes[k & 1], k, 0), 0);
        }
        scans += is_scan != 0;
        CHECK(scans < 20);
        CHECK_IS(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        CHECK_IS(waitpid(child, &status, 0), child);
        more = WIFSTOPPED(status);
        CHECK(more || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    }
    CHECK(scans > 2);
    close_producer(lanes[0]);
    close_producer(lanes[1]);
}

static void calls_end(void) {
    a_call_ends(0);
    a_call_ends(1);
}

/* ---- members that compete ---- */

static int takes_one(void *argument) {
    struct rip_consumer *c = open_by_time("g", RIP_SHARED);
    (void)argument;
    traceable();
    for (;;) {
        struct rip_message message;
        stop_here();
        CHECK_IS(rip_get(c, &message, 0), 1);
        uint64_t number;
        memcpy(&number, message.data, sizeof number);
        CHECK(number == 0 || number == 1); /* of 0 and 2 in one lane and 1 in the other, the parent takes one */
        rip_release(c, &message);
        stop_here();
    }
}

/* A member takes the oldest message while another one is about to: that one must not take the next one of the same
 * lane, which is younger than the first one of the other lane. */
static void the_next_one_of_the_lane_is_not_taken_instead(void) {
    struct rip_producer *lanes[2] = {open_producer("c", RIP_PAGE, 8), open_producer("c", RIP_PAGE, 8)};
    struct rip_consumer *c = open_by_time("g", RIP_SHARED);
    pid_t child = spawn(takes_one, NULL);
    CHECK(await_stop(child));
    unsigned steps = 0;
    for (int more = 1; more; steps += 2 * STRIDE) {
        struct rip_message message;
        for (uint64_t k = 0; k < 3; k++) {
            CHECK_IS(put_number(lanes[k & 1], k, 0), 0);
        }
        for (unsigned i = 0; i < steps && more; i++) {
            more = step(child);
        }
        uint64_t number = get_number(c, 0);
        CHECK(number < 2);
        if (more) {
            CHECK(run_on(child));
        }
        while (rip_get(c, &message, 0) == 1) {
            rip_release(c, &message);
        }
        CHECK(run_on(child));
    }
    CHECK(steps > 300);
    kill_and_wait(child);
    close_consumer(c);
    close_producer(lanes[0]);
    close_producer(lanes[1]);
}

/* ---- clocks, deaths, damage ---- */

static void put_at(struct rip_producer *p, uint64_t number, uint64_t ticks) {
    unsigned char *payload;
    CHECK_IS(rip_reserve(p, sizeof number, &payload), 0);
    memcpy(payload, &number, sizeof number);
    p->ticks = ticks;
    rip_tx_commit(p, sizeof number, 0, RIP_BYTES);
    rip_tx_publish(p);
}

static void lanes_with_two_clocks(void) {
    struct rip_producer *here = open_producer("c", RIP_PAGE, 8), *there = NULL;
    CHECK_IS(rip_lane_open("c", RIP_PAGE, 8, 1, &there), 0);
    CHECK_IS(there->clock, RIP_CLOCK_NS);
    struct rip_consumer *c = open_by_time("g", 0);
    for (uint64_t k = 0; k < 8; k++) {
        struct rip_producer *p = k & 1 ? there : here;
        put_at(p, k, rip_ticks(p->clock, p->ch.time_offset));
        nap(20000);
    }
    for (uint64_t k = 0; k < 8; k++) {
        CHECK_IS(get_number(c, 0), k);
    }
    close_consumer(c);
    close_producer(there);
    close_producer(here);
}

static void equal_times(void) {
    struct rip_producer *first = open_producer("c", RIP_PAGE, 8), *second = open_producer("c", RIP_PAGE, 8);
    struct rip_consumer *c = open_by_time("g", 0), *other = open_by_time("h", RIP_SHARED);
    for (uint64_t k = 0; k < 4; k++) {
        put_at(second, 2 * k + 1, 1000 + k);
        put_at(first, 2 * k, 1000 + k);
    }
    for (uint64_t k = 0; k < 8; k++) {
        CHECK_IS(get_number(c, 0), k);
        CHECK_IS(get_number(other, 0), k);
    }
    close_consumer(c);
    close_consumer(other);
    close_producer(first);
    close_producer(second);
}

static int puts_and_waits(void *flags) {
    struct rip_producer *p = open_lane(*(uint32_t *)flags);
    CHECK_IS(put_number(p, 0, 0), 0);
    raise(SIGSTOP);
    return 0;
}

/* flags: of the lanes. selects: by a search. */
static void a_death_comes_in_its_turn(uint32_t flags, int selects) {
    struct rip_filter filter = {.count = 0};
    struct rip_message message;
    struct rip_producer *p = open_lane(flags);
    pid_t child = spawn(puts_and_waits, &flags);
    int status;
    CHECK_IS(waitpid(child, &status, WUNTRACED), child);
    struct rip_consumer *c = open_by_time("g", 0);
    for (uint64_t k = 1; k < 40; k++) {
        CHECK_IS(put_number(p, k, 0), 0);
    }
    CHECK_IS(get_number(c, 0), 0);
    kill_and_wait(child);
    make_reaping_due(&c->ch.handle);
    CHECK(rip_reap_if_due(&c->ch.handle));
    for (uint64_t k = 1; k < 40; k++) { /* they are older than the death was noticed */
        CHECK_IS(get_number(c, 0), k);
    }
    CHECK_IS(put_number(p, 41, 0), 0); /* known at the same time as the death, or later */
    int rc = selects ? rip_get_selected(c, &filter, &message, 0) : rip_get(c, &message, 0);
    if (rc == 1) {
        rip_release(c, &message);
        rc = get_nothing(c, 0);
        CHECK_IS(rc, -EOWNERDEAD);
    } else {
        CHECK_IS(rc, -EOWNERDEAD);
        CHECK_IS(get_number(c, 0), 41);
    }
    CHECK_IS(get_nothing(c, 0), -ETIMEDOUT);
    close_producer(p);
    close_consumer(c);
}

static void deaths_in_turn(void) {
    a_death_comes_in_its_turn(0, 0);
    a_death_comes_in_its_turn(0, 1);
    a_death_comes_in_its_turn(RIP_SHARED_LANE, 0);
    a_death_comes_in_its_turn(RIP_SHARED_LANE, 1);
}

static void a_damaged_lane_does_not_block_others(void) {
    struct rip_producer *good = open_producer("c", RIP_PAGE, 8), *bad = open_producer("c", RIP_PAGE, 8);
    struct rip_consumer *c = open_by_time("g", 0);
    CHECK_IS(put_number(bad, 0, 0), 0);
    CHECK_IS(put_number(good, 1, 0), 0);
    CHECK_IS(put_number(good, 2, 0), 0);
    bad->lane->desc[0].place = RIP_PLACE_MASK; /* far outside of the lane */
    unsigned errors = 0;
    for (uint64_t k = 1; k < 3;) {
        struct rip_message message;
        int rc = rip_get(c, &message, 0);
        CHECK(rc == 1 || rc == -EBADMSG);
        if (rc == 1) {
            CHECK_IS(message.data[0], k);
            rip_release(c, &message);
            k++;
        }
        errors += rc != 1;
        CHECK(errors < 10);
    }
    CHECK(errors > 0);
    close_consumer(c);
    close_producer(good);
    close_producer(bad);
}

int main(void) {
    run("messages of lanes with different clocks come in the order of time", lanes_with_two_clocks);
    run("messages of the same time come in the same order for all", equal_times);
    run("a death is reported after what was put before it was noticed, and before what comes later", deaths_in_turn);
    run("a message that cannot be read does not block other lanes", a_damaged_lane_does_not_block_others);
    run("a cause comes first behind backlogs of every length, wherever the scans are", behind_backlogs);
    run("a cause comes first if only its tail is stored yet", published_by_the_tail_only);
    if (can_step()) {
        run("a cause comes first if its lane was scanned before, at any instruction", in_a_lane_that_is_scanned_first);
        run("a cause comes first if its lane is scanned later, at any instruction", in_a_lane_that_is_scanned_last);
        run("a cause comes first if its lane is new, at any instruction", in_a_new_lane);
        run("a cause comes first in shared and lossy groups too, at any instruction", in_shared_and_lossy_groups);
        run("a member whose message is taken by another one takes the oldest of all, at any instruction",
            the_next_one_of_the_lane_is_not_taken_instead);
        run("a call ends if lanes lose their messages faster than it scans them", calls_end);
    } else {
        printf("  left out: no process may be stepped here\n");
    }
    return 0;
}
