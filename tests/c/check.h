/* What the C tests share. A test program uses no framework: the first check that fails ends it. */
#ifndef CHECK_H
#define CHECK_H

#include "ring/rx.h"
#include "ring/tx.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define MS UINT64_C(1000000) /* nanoseconds */

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, 0, 0))
/* For numbers: a failure prints both. */
#define CHECK_IS(is, wanted)                                                                                           \
    do {                                                                                                               \
        long long is_ = (long long)(is), wanted_ = (long long)(wanted);                                                \
        if (is_ != wanted_) {                                                                                          \
            check_failed(__FILE__, __LINE__, #is " is " #wanted, is_, wanted_);                                        \
        }                                                                                                              \
    } while (0)

static char scratch[64];    /* RINGIPC_DIR while a test runs */
static pid_t scratch_owner; /* only this process removes it, not its children */

static inline int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

/* Has the directory removed once this process has ended, and with it the children that could write there. Calls only
 * what a signal handler may call. */
static inline void remove_scratch_later(void) {
    static const char *const script =
        "n=0; while kill -0 $0 && [ $n -lt 50 ]; do n=$((n+1)); sleep 0.1; done; rm -r $1";
    if (!scratch[0] || scratch_owner != getpid()) {
        return;
    }
    char pid[16], *end = pid + sizeof pid - 1;
    *end = '\0';
    for (pid_t rest = scratch_owner; rest; rest /= 10) {
        *--end = (char)('0' + rest % 10);
    }
    if (_Fork() == 0) {
        int null = open("/dev/null", O_RDWR);
        for (int fd = 0; fd < 3; fd++) {
            dup2(null, fd); /* whoever reads what the test prints does not wait for this process */
        }
        execl("/bin/sh", "sh", "-c", script, end, scratch, (char *)NULL);
        _exit(127);
    }
}

static inline void on_end(int sig) {
    remove_scratch_later();
    raise(sig); /* SA_RESETHAND: the default action, after this handler */
}

/* A test that is ended from outside, or that crashes, leaves no files either. */
static inline void clean_up_at_end(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = on_end, .sa_flags = (int)SA_RESETHAND}, before;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL) {
            sigaction(signals[i], &action, NULL);
        }
    }
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_set_death_callback(remove_scratch_later); /* it has handlers of its own */
#endif
}

static inline _Noreturn void check_failed(const char *file, int line, const char *condition, long long is,
                                          long long wanted) {
    fprintf(stderr, "\n%s:%d: check failed: %s", file, line, condition);
    if (is != wanted) {
        fprintf(stderr, " (%lld, not %lld)", is, wanted);
    }
    fprintf(stderr, "\n");
    remove_scratch_later();
    _exit(1); /* no atexit handlers: this may be a child */
}

#ifndef __SANITIZE_THREAD__ /* ThreadSanitizer tracks file descriptors, so it must see the calls of close */
/* Replaces close of libc, for the core too: it fails if a file descriptor is closed twice, because the second time the
 * number may belong to another thread. */
int close(int fd) {
    int rc = (int)syscall(SYS_close, fd);
    CHECK(rc == 0 || errno != EBADF);
    return rc;
}
#endif

/* ---- tests ---- */

static inline void scratch_begin(void) {
    strcpy(scratch, access("/dev/shm", W_OK) == 0 ? "/dev/shm/ringipc-test-XXXXXX" : "/tmp/ringipc-test-XXXXXX");
    CHECK(mkdtemp(scratch));
    scratch_owner = getpid();
    clean_up_at_end();
    CHECK_IS(setenv("RINGIPC_DIR", scratch, 1), 0);
}

/* Removes a channel of which only the end of a stream without a message is left, which no consumer has read. */
static inline void remove_ended(const char *channel) {
    struct rip_inspection inspection;
    int32_t holder;
    int rc = rip_inspect(channel, &inspection);
    if (rc == 0 && inspection.end_waits && inspection.lanes + inspection.groups + inspection.members == 0) {
        CHECK_IS(rip_remove(channel, &holder), 0);
    }
}

static inline void scratch_end(void) {
    remove_ended("c");
    CHECK_IS(rmdir(scratch) ? errno : 0, 0); /* ENOTEMPTY: a channel was left behind */
    scratch[0] = '\0';
}

/* ---- anonymous channels: a program that defines NAMELESS uses one where the others use the channel "c" ---- */

#define MEMORY "fd:200" /* the name of the channel; each test has a new one with this file descriptor */
#define MEMORY_FD 200

#ifdef NAMELESS
#define CHANNEL MEMORY
#else
#define CHANNEL "c"
#endif

static inline void make_anonymous_channel(void) {
    int fd = rip_channel_fd();
    CHECK(fd >= 0);
    CHECK_IS(dup2(fd, MEMORY_FD), MEMORY_FD);
    close(fd);
}

static inline uint64_t memory_end(void) {
    uint64_t end;
    return pread(MEMORY_FD, &end, sizeof end, offsetof(struct rip_control, used)) == sizeof end ? end : 0;
}

/* Returns the offset of the extent after the one at `at`, or of the first extent if `at` is 0; 0: there are no more. */
static inline uint64_t memory_next(uint64_t at, uint64_t end, struct rip_identity *identity) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    at = rip_round_up(at ? at + identity->size : sizeof(struct rip_control), page);
    if (at >= end) {
        return 0;
    }
    CHECK_IS(pread(MEMORY_FD, identity, sizeof *identity, (off_t)at), sizeof *identity);
    CHECK(identity->size > 0);
    return at;
}

static inline int memory_has(enum rip_file file, uint64_t a, uint64_t b) {
    struct rip_identity identity = {0};
    uint64_t end = memory_end(), at = memory_next(0, end, &identity);
    while (at && (identity.file != (uint32_t)file || identity.of[0] != a || identity.of[1] != b)) {
        at = memory_next(at, end, &identity);
    }
    return at != 0;
}

/* Returns 1 if the channel has no member, and nothing in it but one removed extent. */
static inline int memory_is_over(void) {
    struct rip_inspection inspection;
    struct rip_identity first = {0};
    CHECK_IS(rip_inspect(MEMORY, &inspection), 0);
    uint64_t end = memory_end(), at = memory_next(0, end, &first);
    return inspection.lanes + inspection.groups + inspection.members == 0 &&
           (at == 0 || (first.file == RIP_FILE_REMOVED && memory_next(at, end, &first) == 0));
}

/* Is this program run by the user mode of QEMU? It starts no thread in a process that was forked from one with threads,
 * its madvise frees no memory and reports none that is missing, and to fork takes long if there are threads.
 * `make aarch64` sets the variable. */
static inline int is_emulated(void) { return getenv("EMULATED") != NULL; }

/* Runs a test in a directory of its own, which must be empty afterwards. sentence: what is true if the test passes. */
static inline void run(const char *sentence, void (*test)(void)) {
    const char *only = getenv("ONLY"); /* a part of the sentence: runs only the tests that contain it */
    if (only && !strstr(sentence, only)) {
        return;
    }
    uint64_t start = rip_now();
    printf("  %s", sentence);
    fflush(stdout); /* otherwise each child would print it again */
    scratch_begin();
#ifdef NAMELESS
    make_anonymous_channel();
#endif
    test();
#ifdef NAMELESS
    CHECK(memory_is_over());
#endif
    scratch_end();
    printf(" (%.1f s)\n", (double)(rip_now() - start) * 1e-9);
}

/* Returns the path of a channel's directory, or of a file in it. */
static inline const char *path_of(const char *channel, const char *file) {
    static char path[512];
    snprintf(path, sizeof path, "%s/ringipc-%u/%s%s%s", scratch, (unsigned)geteuid(), channel, file ? "/" : "",
             file ? file : "");
    return path;
}

static inline int exists(const char *channel, const char *file) { return access(path_of(channel, file), F_OK) == 0; }

/* Returns 1 if nothing is left of CHANNEL. */
static inline int is_over(void) { return strcmp(CHANNEL, MEMORY) == 0 ? memory_is_over() : !exists(CHANNEL, NULL); }

static inline int has_lane(uint64_t id) {
    char name[32];
    snprintf(name, sizeof name, "lane-%llu", (unsigned long long)id);
    return strcmp(CHANNEL, MEMORY) == 0 ? memory_has(RIP_FILE_LANE, id, 0) : exists(CHANNEL, name);
}

static inline int has_claims(uint64_t group, uint64_t lane) {
    char name[64];
    snprintf(name, sizeof name, "claims-%llu-%llu", (unsigned long long)group, (unsigned long long)lane);
    return strcmp(CHANNEL, MEMORY) == 0 ? memory_has(RIP_FILE_CLAIMS, group, lane) : exists(CHANNEL, name);
}

/* ---- processes ---- */

static inline pid_t spawn(int (*child)(void *), void *argument) {
    pid_t parent = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no process behind */
        if (getppid() != parent) {
            _exit(1);
        }
        _exit(child(argument));
    }
    return pid;
}

static inline void expect_success(pid_t pid) {
    int status = -1;
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK_IS(status, 0);
}

static inline void kill_and_wait(pid_t pid) {
    int status = -1;
    CHECK_IS(kill(pid, SIGKILL), 0);
    CHECK_IS(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Limits how many more files this process can open; -1: removes the limit. */
static inline void allow_files(int more) {
    static struct rlimit before;
    struct rlimit limit = before;
    if (more >= 0) {
        CHECK_IS(getrlimit(RLIMIT_NOFILE, &before), 0);
        int lowest = dup(0);
        CHECK(lowest >= 0);
        close(lowest);
        limit = (struct rlimit){(rlim_t)(lowest + more), before.rlim_max};
    }
    CHECK_IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Returns zeroed memory that this process shares with its children. */
static inline void *shared(size_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static inline void nap(uint64_t ns) {
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&t, NULL);
}

/* Waits until *word has reached value. Returns 1, or 0 if that takes longer than limit nanoseconds. */
static inline int reaches(_Atomic uint64_t *word, uint64_t value, uint64_t limit) {
    uint64_t end = rip_now() + limit;
    while (atomic_load_explicit(word, memory_order_acquire) < value) {
        if (rip_now() > end) {
            return 0;
        }
        sched_yield();
    }
    return 1;
}

/* Returns the state as ps shows it: R is running or runnable, S sleeps. */
static inline char process_state(pid_t pid) {
    char path[32], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    const char *name_end = strrchr(text, ')');
    CHECK(name_end);
    return name_end[2];
}

/* ---- numbers ---- */

struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *r) { /* xorshift64*, Vigna 2016 */
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* Returns a number from 0 to below - 1. */
static inline uint64_t random_below(struct random *r, uint64_t below) { return (random_next(r) >> 16) % below; }

/* Fills message number n of a sender: every byte follows from (seed, n), so that a reader can check it. */
static inline void fill(unsigned char *payload, uint64_t length, uint64_t seed, uint64_t n) {
    struct random r = {(seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (n + 1)};
    for (uint64_t i = 0; i < length; i += 8) {
        uint64_t word = random_next(&r);
        memcpy(payload + i, &word, length - i < 8 ? length - i : 8);
    }
}

static inline int is_filled(const unsigned char *payload, uint64_t length, uint64_t seed, uint64_t n) {
    struct random r = {(seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (n + 1)};
    for (uint64_t i = 0; i < length; i += 8) {
        uint64_t word = random_next(&r);
        if (memcmp(payload + i, &word, length - i < 8 ? length - i : 8) != 0) {
            return 0;
        }
    }
    return 1;
}

/* ---- short forms of calls of the core ---- */

static inline struct rip_producer *open_producer(const char *channel, uint64_t capacity, uint64_t slots) {
    struct rip_producer *p = NULL;
    CHECK_IS(rip_producer_open(channel, capacity, slots, RIP_BLOCK, RIP_WAIT_BLOCK, NULL, &p), 0);
    return p;
}

static inline struct rip_consumer *open_consumer(const char *channel, const char *group, uint32_t start) {
    struct rip_consumer *c = NULL;
    int32_t holder = -1;
    CHECK_IS(rip_consumer_open(channel, group, start, RIP_WAIT_BLOCK, RIP_FOREVER, &c, &holder), 0);
    return c;
}

/* The next wait finds dead members, whoever has done so lately. */
static inline void make_reaping_due(struct rip_handle *handle) {
    handle->reaped_at = 0;
    if (handle->others) {
        atomic_store(handle->others, 0);
    }
}

static inline void close_producer(struct rip_producer *p) {
    CHECK_IS(rip_producer_close(p), 0);
    rip_producer_free(p);
}

static inline void close_consumer(struct rip_consumer *c) {
    CHECK_IS(rip_consumer_close(c), 0);
    rip_consumer_free(c);
}

static inline int put(struct rip_producer *p, const void *data, uint64_t length, uint64_t deadline) {
    return rip_put(p, data, length, 0, RIP_BYTES, deadline);
}

/* Puts a message that is only a number. */
static inline int put_number(struct rip_producer *p, uint64_t number, uint64_t deadline) {
    return put(p, &number, sizeof number, deadline);
}

/* Takes and releases the next message, which must be a number, and returns the number. */
static inline uint64_t get_number(struct rip_consumer *c, uint64_t deadline) {
    struct rip_message message;
    uint64_t number;
    CHECK_IS(rip_get(c, &message, deadline), 1);
    CHECK_IS(message.length, sizeof number);
    memcpy(&number, message.data, sizeof number);
    rip_release(c, &message);
    return number;
}

/* Returns what rip_get returns when there should be no message. */
static inline int get_nothing(struct rip_consumer *c, uint64_t deadline) {
    struct rip_message message;
    return rip_get(c, &message, deadline);
}

/* Takes the table lock with an open file description of its own, as another process would. Returns the file
 * descriptor. */
static inline int locked(const char *channel) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    int fd = open(path_of(channel, "control"), O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_IS(fcntl(fd, F_OFD_SETLKW, &lock), 0);
    return fd;
}

/* Returns how often a process or a thread has gone to sleep. */
static inline uint64_t sleeps_of(pid_t pid) {
    char path[32], text[4096] = "";
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    const char *line = strstr(text, "\nvoluntary_ctxt_switches:");
    CHECK(line);
    return strtoull(line + strlen("\nvoluntary_ctxt_switches:"), NULL, 10);
}

#endif
