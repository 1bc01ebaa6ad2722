/* Common parts of these programs: arguments, the clock, pinning to a CPU, memory for two processes. */
#ifndef LIMITS_H
#define LIMITS_H

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define APART 128 /* bytes between words that two cores write: x86 prefetches pairs of lines */

static inline _Noreturn void fail(const char *what) {
    perror(what);
    exit(EXIT_FAILURE);
}

static inline uint64_t number(const char *text, uint64_t least, uint64_t most) {
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || n < least || n > most) {
        fprintf(stderr, "%s is not a number from %llu to %llu\n", text, (unsigned long long)least,
                (unsigned long long)most);
        exit(EXIT_FAILURE);
    }
    return n;
}

/* A number of messages, limited so that no sum below can overflow. */
static inline uint64_t count_of(const char *text) { return number(text, 1, UINT64_C(1) << 30); }

static inline uint64_t size_of(const char *text) { return number(text, 64, UINT64_C(1) << 30); }

static inline uint64_t cpu_of(const char *text) { return number(text, 0, CPU_SETSIZE - 1); }

static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline void pin(uint64_t cpu) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
        fail("sched_setaffinity");
    }
}

/* Returns zeroed memory, fully mapped, and shared with forked children. */
static inline void *shared_memory(size_t bytes) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) {
        fail("mmap");
    }
    return at;
}

/* Forks; each process is pinned to its CPU. True in the child, which is killed when its parent ends. */
static inline int in_second_process(uint64_t cpu, uint64_t child_cpu, pid_t *child) {
    pin(child_cpu); /* checks the number here: the child could not report a failure */
    pin(cpu);
    fflush(NULL);
    *child = fork();
    if (*child < 0) {
        fail("fork");
    }
    if (*child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(child_cpu);
    }
    return *child == 0;
}

static inline void join(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "the second process failed\n");
        exit(EXIT_FAILURE);
    }
}

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Makes the compiler assume that the memory at this address is read. */
static inline void keep(const void *at) { __asm__ volatile("" : : "r"(at) : "memory"); }

#endif
