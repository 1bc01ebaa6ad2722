/* How long a wait spins before it sleeps. */
#include "check.h"
#include "ring/get.h"

#include <dlfcn.h>
#include <sys/time.h>

static long cores; /* number of processors that the core sees; 0: as many as there are */
static int pinned;

/* Replacements of libc functions, for the core. */
long sysconf(int what) {
    if (what == _SC_NPROCESSORS_ONLN && cores) {
        return cores;
    }
    long (*real)(int) = (long (*)(int))(uintptr_t)dlsym(RTLD_NEXT, "sysconf");
    return real(what);
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *cpus) {
    if (!cores) {
        return (int)syscall(SYS_sched_getaffinity, pid, size, cpus) < 0 ? -1 : 0;
    }
    CPU_ZERO(cpus);
    for (long i = 0; i < (pinned ? 1 : cores); i++) {
        CPU_SET((size_t)i, cpus);
    }
    return 0;
}

static enum rip_wait mode_of(enum rip_wait wanted) {
    struct rip_spin spin;
    rip_spin_init(&spin, wanted);
    return spin.mode;
}

static void one_core(void) {
    cores = 1;
    CHECK_IS(mode_of(RIP_WAIT_ADAPTIVE), RIP_WAIT_BLOCK);
    CHECK_IS(mode_of(RIP_WAIT_SPIN), RIP_WAIT_BLOCK);
    cores = 2;
    CHECK_IS(mode_of(RIP_WAIT_ADAPTIVE), RIP_WAIT_ADAPTIVE);
    pinned = 1; /* pinned to one core of several: the peer may run on another one */
    CHECK_IS(mode_of(RIP_WAIT_ADAPTIVE), RIP_WAIT_ADAPTIVE);
    pinned = 0;
    cores = 0;
}

static void spins_while_it_pays(void) {
    _Atomic uint64_t word = 0;
    _Atomic uint32_t futex = 0, asleep = 0;
    struct rip_spin spin;
    cores = 2;
    rip_spin_init(&spin, RIP_WAIT_ADAPTIVE);
    cores = 0;
    struct rip_watch watch = {.words = {&word},
                              .count = 1,
                              .futex = &futex,
                              .asleep32 = &asleep,
                              .bit = RIP_ASLEEP,
                              .slice = RIP_SLICE_NS,
                              .fenced = 1,
                              .spin = &spin};
    uint32_t before = atomic_load(&spin.budget);
    for (unsigned i = 0; i < 40; i++) {
        CHECK_IS(rip_watch_wait(&watch, rip_now() + MS / 2), -ETIMEDOUT);
        atomic_store(&spin.slept, 0); /* as if each wait had ended after its slice */
    }
    uint32_t in_vain = atomic_load(&spin.budget);
    CHECK(in_vain <= 2000 && in_vain < before / 10);
    watch.seen[0] = 1; /* the watch is ready */
    for (unsigned i = 0; i < 2000; i++) {
        CHECK_IS(rip_watch_wait(&watch, rip_now() + MS), 1);
    }
    CHECK(atomic_load(&spin.budget) <= 2000); /* a short spin is enough */
    CHECK_IS(atomic_load(&spin.probe), 16);   /* and soon it probes whether a longer one pays */
    watch.seen[0] = 0;
    CHECK_IS(rip_watch_wait(&watch, rip_now() + 10000 * MS), 0); /* a slice */
    CHECK_IS(atomic_load(&spin.slept), 1);
    uint32_t waits = atomic_load(&spin.waits);
    CHECK_IS(rip_watch_wait(&watch, rip_now() + 10000 * MS), 0);
    CHECK_IS(atomic_load(&spin.waits), waits); /* it has not spun again */
}

static int started, ended, ends_after;

static void before_wait(struct rip_waiting *waiting) {
    CHECK_IS(waiting->control, -1);
    CHECK(waiting->kept == NULL);
    waiting->kept = &started;
    started++;
}

static int after_wait(struct rip_waiting *waiting) {
    CHECK(waiting->kept == &started);
    CHECK_IS(++ended, started);
    return ended == ends_after;
}

static void on_alarm(int number) { (void)number; }

static void calls_its_hooks(void) {
    struct itimerval soon = {.it_value.tv_usec = 5000};
    struct sigaction was, handler = {.sa_handler = on_alarm};
    struct rip_producer *p = open_producer("c", RIP_PAGE, 1);
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    struct rip_message message;
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(sigaction(SIGALRM, &handler, &was), 0);
    rip_on_wait(before_wait, after_wait);
    CHECK_IS(setitimer(ITIMER_REAL, &soon, NULL), 0);
    /* the signal does not end the wait, because the hook returns 0 */
    CHECK_IS(rip_wait_room(p, 8, rip_now() + 120 * MS), -ETIMEDOUT);
    CHECK(started >= 4 && ended == started);
    ends_after = ended + 2;
    CHECK_IS(rip_wait_room(p, 8, RIP_FOREVER), -EINTR);
    CHECK_IS(ended, ends_after);
    CHECK_IS(get_number(c, 0), 1);
    ends_after = ended + 1;
    CHECK_IS(rip_get(c, &message, RIP_FOREVER), -EINTR);
    rip_on_wait(NULL, NULL);
    CHECK_IS(setitimer(ITIMER_REAL, &soon, NULL), 0);
    CHECK_IS(rip_get(c, &message, RIP_FOREVER), -EINTR);
    CHECK_IS(sigaction(SIGALRM, &was, NULL), 0);
    close_producer(p);
    close_consumer(c);
}

static struct rip_producer *cut_off_producer;

static int cuts_off(struct rip_waiting *waiting) {
    (void)waiting;
    cut_off_producer->cut_off = 1;
    return 0;
}

static void ends_when_cut_off(void) {
    struct rip_producer *p = cut_off_producer = open_producer("c", RIP_PAGE, 1);
    struct rip_consumer *c = open_consumer("c", "g", RIP_OLDEST);
    CHECK_IS(put_number(p, 1, 0), 0);
    rip_on_wait(NULL, cuts_off);
    CHECK_IS(put_number(p, 2, rip_now() + 10000 * MS), -EPIPE);
    CHECK(p->waits == 1 && p->waited > 0);
    p->cut_off = 0;
    CHECK_IS(rip_flush(p, rip_now() + 10000 * MS), -EPIPE);
    rip_on_wait(NULL, NULL);
    CHECK_IS(get_number(c, 0), 1);
    CHECK_IS(rip_flush(p, 0), 0); /* everything was released */
    close_producer(p);
    close_consumer(c);
}

/* The message that it was woken for may have come before it gave up. */
static void passes_its_wake_up_on(void) {
    struct rip_producer *p = open_producer("c", RIP_PAGE, 1);
    struct rip_consumer *c = open_consumer("c", "g", RIP_SHARED);
    const _Atomic uint64_t *asleep = &c->ch.control->groups_asleep;
    rip_on_wait(before_wait, after_wait);
    started = ended = 0;
    ends_after = 1;
    CHECK_IS(rip_wait_message(c, RIP_FOREVER), -EINTR);
    rip_on_wait(NULL, NULL);
    CHECK_IS(ended, 1);
    CHECK_IS(*asleep >> c->group & 1, 0); /* all others in the group are awake */
    close_producer(p);
    close_consumer(c);
}

static unsigned attempts;

static int finds_nothing(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message) {
    (void)c, (void)filter, (void)message;
    attempts++;
    return 0;
}

static int puts_and_dies(void *argument) {
    (void)argument;
    CHECK_IS(put_number(open_producer("c", RIP_PAGE, 1), 1, 0), 0);
    return 0; /* without closing */
}

static void tries_once(void) {
    struct rip_producer *p = open_producer("c", RIP_PAGE, 1);
    struct rip_consumer *c = open_consumer("c", "g", RIP_SHARED);
    const _Atomic uint32_t *picky = &c->ch.control->groups[c->group].picky;
    struct rip_filter filter = {.types = (const uint32_t[]){7}, .count = 1};
    struct rip_message message;
    c->ch.handle.reaped_at = rip_now();
    CHECK_IS(rip_rx_wait(c, finds_nothing, NULL, &message, 0), -ETIMEDOUT);
    CHECK_IS(attempts, 1);
    make_reaping_due(&c->ch.handle); /* what the dead have left may be what the attempt looks for */
    CHECK_IS(rip_rx_wait(c, finds_nothing, NULL, &message, 0), -ETIMEDOUT);
    CHECK_IS(attempts, 3);
    expect_success(spawn(puts_and_dies, NULL));
    CHECK_IS(get_number(c, 0), 1);
    make_reaping_due(&c->ch.handle);
    CHECK_IS(get_nothing(c, 0), -EOWNERDEAD);
    CHECK_IS(rip_get_selected(c, &filter, &message, 0), -ETIMEDOUT);
    CHECK_IS(*picky, 0); /* nobody sleeps for some messages only, so nobody has to be woken for them */
    CHECK_IS(rip_get_selected(c, &filter, &message, rip_now() + MS), -ETIMEDOUT);
    CHECK_IS(*picky, 1);
    CHECK_IS(put_number(p, 1, 0), 0);
    CHECK_IS(put_number(p, 2, 0), -ETIMEDOUT);
    CHECK(p->waits == 0 && p->waited == 0);
    CHECK_IS(get_number(c, 0), 1);
    close_producer(p);
    close_consumer(c);
}

int main(void) {
    run("on one core no wait spins", one_core);
    run("a wait spins while it pays, and not again between slices", spins_while_it_pays);
    run("a wait calls the program's hooks around each slice, and ends if a hook says so", calls_its_hooks);
    run("a call that does not wait makes one attempt unless something has changed, and announces no sleep", tries_once);
    run("a member of a shared group that gives up waiting wakes the others", passes_its_wake_up_on);
    run("a wait for room or for releases ends when no consumer can come any more, and is counted", ends_when_cut_off);
    return 0;
}
