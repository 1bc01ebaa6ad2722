/* The table lock, if its holder does not go on. And the fences that members ask their peers for, until they leave. */
#include "check.h"

#include "base/byte_lock.h"
#include "store/table_lock.h"
#include "sync/sync.h"

#include "ring/put.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* ---- the lock ---- */

static int stalled_pipe[2], go_on_pipe[2], stalls; /* two pipes, to stop the next allocation and to let it go on */

int posix_fallocate(int fd, off_t offset, off_t length) {
    char byte = 0;
    if (stalls) {
        stalls = 0;
        CHECK_IS(write(stalled_pipe[1], &byte, 1), 1);
        CHECK_IS(read(go_on_pipe[0], &byte, 1), 1);
    }
    return syscall(SYS_fallocate, fd, 0, offset, length) == 0 ? 0 : errno;
}

static int asked, gives_up_after;

static int after_wait(struct rip_waiting *waiting) {
    CHECK(waiting->control >= 0);
    CHECK(rip_now() - waiting->since < 10000 * MS);
    return ++asked == gives_up_after ? -EINTR : 0;
}

static void waits_until_the_deadline(void) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    struct rip_handle *handle = &p->ch.handle;
    int fd = locked("c");
    CHECK_IS(rip_lock_holder(fd), getpid());
    rip_on_wait(NULL, after_wait);
    asked = 0;
    uint64_t start = rip_now();
    CHECK_IS(rip_consumer_open("c", "g", RIP_OLDEST, RIP_WAIT_BLOCK, start + 120 * MS, &c, &holder), -EAGAIN);
    CHECK(rip_now() - start >= 120 * MS);
    CHECK(asked >= 1 && asked <= 2);
    asked = 0;
    gives_up_after = 2;
    CHECK_IS(rip_consumer_open("c", "g", RIP_OLDEST, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), -EINTR);
    CHECK_IS(rip_await_lock(handle, rip_now() + MS), -EAGAIN);
    asked = 0;
    handle->give_up = RIP_TRY_ONLY;
    CHECK_IS(rip_declare(p, "g"), -EAGAIN);
    CHECK_IS(rip_producer_close(p), -EAGAIN);
    CHECK_IS(rip_handle_check(handle), -ESHUTDOWN);
    CHECK_IS(asked, 0);
    close(fd);
    CHECK_IS(rip_lock_holder(handle->mapping.fd), 0);
    CHECK_IS(rip_await_lock(handle, RIP_FOREVER), 0);
    rip_on_wait(NULL, NULL);
    gives_up_after = 0;
    close_producer(p);
}

static int opens_a_lane(void *argument) {
    (void)argument;
    struct rip_producer *p = NULL;
    gives_up_after = 1;
    rip_on_wait(NULL, after_wait);
    stalls = 1;
    CHECK_IS(rip_producer_open("c", RIP_PAGE, 4, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), -EINTR);
    return 0;
}

/* A lane is allocated without the table lock. If the lock cannot be taken again, the tables must not be changed. */
static void gives_up_while_opening(void) {
    char byte = 0;
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    struct rip_control *control = p->ch.control;
    const volatile struct rip_member *member = &control->members[RIP_MAX_CONSUMERS + 1];
    CHECK_IS(pipe(stalled_pipe), 0);
    CHECK_IS(pipe(go_on_pipe), 0);
    pid_t child = spawn(opens_a_lane, NULL);
    CHECK_IS(read(stalled_pipe[0], &byte, 1), 1);
    CHECK_IS(member->role, RIP_A_PRODUCER);
    int fd = locked("c");
    CHECK_IS(write(go_on_pipe[1], &byte, 1), 1);
    expect_success(child);
    CHECK_IS(member->index, RIP_NO_LANE);
    CHECK_IS(member->role, RIP_A_PRODUCER); /* the next process with the lock reaps it */
    close(fd);
    make_reaping_due(&p->ch.handle);
    rip_reap_if_due(&p->ch.handle);
    CHECK_IS(member->role, RIP_NOBODY);
    close_producer(p);
    for (unsigned i = 0; i < 2; i++) {
        close(stalled_pipe[i]);
        close(go_on_pipe[i]);
    }
}

static int closes_in_vain(void *argument) {
    (void)argument;
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    CHECK_IS(put_number(p, 7, 0), 0);
    p->ch.handle.give_up = RIP_TRY_ONLY;
    int fd = locked("c");
    CHECK_IS(rip_producer_close(p), -EAGAIN);
    close(fd);
    return 0; /* without closing: the process ends */
}

static void closing_producer_is_not_dead(void) {
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    expect_success(spawn(closes_in_vain, NULL));
    make_reaping_due(&c->ch.handle);
    rip_reap_if_due(&c->ch.handle);
    CHECK_IS(get_number(c, 1000 * MS), 7);
    close_producer(p);
    CHECK_IS(get_nothing(c, 1000 * MS), -ENODATA);
    close_consumer(c);
}

static int ends_with_another_error(struct rip_waiting *waiting) {
    (void)waiting;
    return -ECANCELED;
}

/* A hook that ends the wait for the lock is not an error of the lock, whatever it returns. */
static void a_hook_that_ends_a_close_destroys_nothing(void) {
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    struct rip_sync *s = NULL;
    CHECK_IS(rip_sync_open("s", -1, RIP_SEMAPHORE, 1, 0, RIP_WAIT_BLOCK, &s), 0);
    int channel = locked("c"), object = locked("s");
    rip_on_wait(NULL, ends_with_another_error);
    CHECK_IS(rip_producer_close(p), -EINTR);
    CHECK_IS(rip_consumer_close(c), -EINTR);
    CHECK_IS(rip_sync_close(s), -EINTR);
    rip_on_wait(NULL, NULL);
    CHECK_IS(p->ch.handle.state, RIP_LEAVING);
    CHECK_IS(c->ch.handle.state, RIP_LEAVING);
    CHECK_IS(s->handle.state, RIP_LEAVING);
    close(channel);
    close(object);
    close_producer(p);
    close_consumer(c);
    CHECK_IS(rip_sync_close(s), 0);
    rip_sync_free(s);
}

/* ---- the lock, for the claims of a new group ---- */

static struct rip_producer *open_dropping(uint64_t keep) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open("c", RIP_PAGE, keep, RIP_DROP_OLD, RIP_WAIT_BLOCK, NULL, &p), 0);
    return p;
}

static void on_alarm(int number) { (void)number; }

static void a_signal_ends_a_put(void) {
    struct itimerval often = {.it_interval.tv_usec = 5000, .it_value.tv_usec = 5000}, never = {.it_value = {0}};
    struct sigaction was, handler = {.sa_handler = on_alarm};
    unsigned char *payload;
    struct rip_producer *p = open_dropping(1);
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    CHECK_IS(put_number(p, 1, 0), 0);
    int fd = locked("c");
    CHECK_IS(sigaction(SIGALRM, &handler, &was), 0);
    CHECK_IS(setitimer(ITIMER_REAL, &often, NULL), 0);
    CHECK_IS(put_number(p, 2, RIP_FOREVER), -EINTR);
    CHECK_IS(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_IS(sigaction(SIGALRM, &was, NULL), 0);
    CHECK_IS(rip_reserve(p, 8, &payload), -ENOBUFS);
    CHECK_IS(put_number(p, 3, RIP_FOREVER), -ENOBUFS);
    CHECK_IS(p->refused, 2);
    close(fd);
    CHECK_IS(put_number(p, 4, 0), 0);
    CHECK_IS(get_number(c, 0), 4);
    close_producer(p);
    close_consumer(c);
}

/* A producer that goes around views needs the claims of their group, and so the lock, once. */
static void a_full_lane_does_not_wait_long_for_the_lock(void) {
    static const uint32_t hows[] = {RIP_BLOCK, RIP_DROP_NEW}, flags[] = {RIP_SHARED, RIP_DURABLE};
    for (unsigned h = 0; h < 2; h++) {
        int32_t holder;
        unsigned char *payload;
        struct rip_message kept;
        struct rip_producer *p = NULL;
        int full = hows[h] == RIP_BLOCK ? -EAGAIN : -ENOBUFS;
        CHECK_IS(rip_producer_open("c", RIP_PAGE, 2, hows[h], RIP_WAIT_BLOCK, NULL, &p), 0);
        CHECK(rip_producer_fd(p) >= 0);
        struct rip_consumer *c = open_consumer("c", "g", flags[h]);
        CHECK_IS(put_number(p, 0, 0), 0);
        CHECK_IS(rip_get(c, &kept, 0), 1);
        rip_acknowledge(c, &kept);
        CHECK_IS(put_number(p, 1, 0), 0);
        CHECK_IS(get_number(c, 0), 1);
        int fd = locked("c");
        uint64_t start = rip_now();
        CHECK_IS(rip_reserve(p, sizeof(uint64_t), &payload), full);
        rip_producer_update_fd(p);
        CHECK(rip_now() - start < 200 * MS);
        CHECK_IS(put_number(p, 2, 0), full == -EAGAIN ? -ETIMEDOUT : full);
        CHECK(rip_now() - start < 2000 * MS);
        close(fd);
        CHECK_IS(put_number(p, 2, 0), 0);
        CHECK_IS(get_number(c, 0), 2);
        rip_release(c, &kept);
        close_producer(p);
        close_consumer(c);
        CHECK(flags[h] != RIP_DURABLE || rip_remove_group("c", "g", &holder) == 0);
    }
}

/* A thread that fills for longer than a put waits for the lock. One thread of the two runs at a time. */
static struct {
    pthread_mutex_t turn;
    struct rip_producer *p;
    int lock;
} filling = {.turn = PTHREAD_MUTEX_INITIALIZER};

static void gives_its_turn(struct rip_waiting *waiting) {
    (void)waiting;
    CHECK_IS(pthread_mutex_unlock(&filling.turn), 0);
}

static int takes_its_turn(struct rip_waiting *waiting) {
    if (waiting->control < 0) {
        CHECK_IS(pthread_mutex_lock(&filling.turn), 0);
    }
    return 0;
}

static void *fills_for_long(void *unused) {
    CHECK_IS(pthread_mutex_lock(&filling.turn), 0); /* the other thread waits for the table lock */
    rip_tx_begin_fill(filling.p, RIP_FILL_RESERVED);
    CHECK_IS(pthread_mutex_unlock(&filling.turn), 0);
    close(filling.lock);
    nap(300 * MS);
    CHECK_IS(pthread_mutex_lock(&filling.turn), 0);
    rip_tx_end_fill(filling.p);
    CHECK_IS(pthread_mutex_unlock(&filling.turn), 0);
    return unused;
}

static void a_put_waits_for_as_long_as_another_thread_fills(void) {
    pthread_t thread;
    unsigned char *payload;
    struct rip_producer *p = filling.p = open_dropping(1);
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    CHECK_IS(put_number(p, 1, 0), 0);
    filling.lock = locked("c");
    rip_on_wait(gives_its_turn, takes_its_turn);
    CHECK_IS(pthread_mutex_lock(&filling.turn), 0);
    CHECK_IS(pthread_create(&thread, NULL, fills_for_long, NULL), 0);
    CHECK_IS(rip_tx_wait_reserve(p, 8, RIP_FOREVER, &payload), 0);
    CHECK_IS(pthread_mutex_unlock(&filling.turn), 0);
    CHECK_IS(pthread_join(thread, NULL), 0);
    rip_on_wait(NULL, NULL);
    close_producer(p);
    close_consumer(c);
}

/* ---- fences ---- */

static struct rip_producer *producer_that(enum rip_wait waits) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open("c", RIP_PAGE, 4, RIP_BLOCK, waits, NULL, &p), 0);
    return p;
}

static struct rip_consumer *consumer_that(enum rip_wait waits, const char *group) {
    struct rip_consumer *c = NULL;
    int32_t holder;
    CHECK_IS(rip_consumer_open("c", group, RIP_OLDEST, waits, RIP_FOREVER, &c, &holder), 0);
    return c;
}

static int publishers_fence(const struct rip_producer *p) { return p->ch.control->groups_asleep >> 63 & 1; }

static int releasers_fence(const struct rip_producer *p) { return (p->entry->asleep & RIP_FENCE_LANE) != 0; }

static int joins_and_is_killed(void *argument) {
    const char *group = argument;
    if (group) {
        consumer_that(RIP_WAIT_BLOCK, group);
    } else {
        producer_that(RIP_WAIT_BLOCK);
    }
    return 0; /* without closing */
}

static void fences_end_with_their_member(void) {
    struct rip_producer *p = producer_that(RIP_WAIT_ADAPTIVE);
    if (p->ch.fenced) { /* on one processor every member sleeps at once */
        close_producer(p);
        return;
    }
    struct rip_consumer *spins = consumer_that(RIP_WAIT_ADAPTIVE, "spins");
    CHECK(!publishers_fence(p) && !releasers_fence(p));
    struct rip_consumer *first = consumer_that(RIP_WAIT_BLOCK, "first");
    struct rip_consumer *second = consumer_that(RIP_WAIT_BLOCK, "second");
    CHECK(publishers_fence(p) && !releasers_fence(p));
    close_consumer(first);
    CHECK(publishers_fence(p));
    expect_success(spawn(joins_and_is_killed, "killed"));
    close_consumer(second); /* reaps */
    CHECK(!publishers_fence(p));
    struct rip_producer *blocks = producer_that(RIP_WAIT_BLOCK);
    CHECK(!publishers_fence(p) && !releasers_fence(p) && releasers_fence(blocks));
    close_producer(blocks);
    expect_success(spawn(joins_and_is_killed, NULL));
    blocks = producer_that(RIP_WAIT_ADAPTIVE); /* has the entry of the dead member, or of the one before */
    for (uint32_t i = 0; i < rip_lanes_used(p->ch.control); i++) {
        CHECK_IS(p->ch.control->lanes[i].asleep & RIP_FENCE_LANE, 0);
    }
    close_producer(blocks);
    close_producer(p);
    close_consumer(spins);
}

/* Makes membarrier(2) fail in this process. */
static void without_membarrier(void) {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
    CHECK_IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_IS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
    rip_fence_forget();
    CHECK_IS(rip_fence_setup(), 0);
}

static int comes_without_membarrier(void *argument) {
    (void)argument;
    without_membarrier();
    struct rip_consumer *c = consumer_that(RIP_WAIT_ADAPTIVE, "without");
    raise(SIGSTOP);
    close_consumer(c);
    return 0;
}

static void all_fence_for_one_without_membarrier(void) {
    struct rip_producer *p = producer_that(RIP_WAIT_ADAPTIVE);
    int status;
    if (p->ch.fenced || prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0) { /* an emulator has neither membarrier nor seccomp */
        printf(" (left out: no membarrier, or no seccomp here)");
        close_producer(p);
        return;
    }
    pid_t child = spawn(comes_without_membarrier, NULL);
    CHECK_IS(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status));
    struct rip_producer *later = producer_that(RIP_WAIT_ADAPTIVE);
    CHECK(publishers_fence(p) && releasers_fence(p) && releasers_fence(later));
    close_producer(later);
    CHECK(publishers_fence(p) && releasers_fence(p));
    CHECK_IS(kill(child, SIGCONT), 0);
    expect_success(child);
    CHECK(!publishers_fence(p) && !releasers_fence(p));
    close_producer(p);
}

int main(void) {
    run("a wait for the lock ends at its deadline, by the hook, or at once", waits_until_the_deadline);
    run("a handle that cannot take the lock again while it opens changes no table", gives_up_while_opening);
    run("a producer whose process ends while it is closing counts as closed, not dead", closing_producer_is_not_dead);
    run("a hook that ends the wait of a close leaves a handle that can be closed again",
        a_hook_that_ends_a_close_destroys_nothing);
    run("a put that waits for the lock ends with a signal, or refuses the message", a_signal_ends_a_put);
    run("a put into a full lane waits for the lock for a moment, and a call that does not wait not at all",
        a_full_lane_does_not_wait_long_for_the_lock);
    run("a put that drops waits for as long as another thread fills", a_put_waits_for_as_long_as_another_thread_fills);
    run("peers execute fences for a member that asks for it, and no longer", fences_end_with_their_member);
    run("all execute fences for a member without membarrier, and no longer", all_fence_for_one_without_membarrier);
    return 0;
}
