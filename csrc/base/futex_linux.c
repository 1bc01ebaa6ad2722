#include "base/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic int can_fence; /* 0 not tried, 1 yes, -1 no */

void rip_fence_forget(void) { atomic_store_explicit(&can_fence, 0, memory_order_relaxed); }

int rip_fence_setup(void) {
    int can = atomic_load_explicit(&can_fence, memory_order_relaxed); /* relaxed: registering twice does no harm */
    if (can == 0) {
        can = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0 ? 1 : -1;
        atomic_store_explicit(&can_fence, can, memory_order_relaxed);
    }
    return can == 1;
}

void rip_fence_heavy(void) {
    /* This processor's fence. If membarrier(2) is missing it pairs with the fence that a publisher executes when it
     * sees RIP_FENCE_GROUPS or RIP_FENCE_LANE. */
    atomic_thread_fence(memory_order_seq_cst);
    if (rip_fence_setup()) {
        syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
    }
}

static int sleep_as(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline, uint32_t kind) {
    struct timespec t = {(time_t)(deadline / 1000000000u), (long)(deadline % 1000000000u)};
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &t, NULL, kind);
    if (rc != 0 && (errno == ETIMEDOUT || errno == EINTR)) {
        return -errno;
    }
    return 0; /* woken, or the word had changed */
}

int rip_sleep(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline) {
    return sleep_as(word, expected, deadline, FUTEX_BITSET_MATCH_ANY);
}

int rip_sleep_as(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline, enum rip_sleeper kind) {
    return sleep_as(word, expected, deadline, (uint32_t)kind);
}

static int wake_sleepers(_Atomic uint32_t *word, uint32_t kind, int most) {
    return (int)syscall(SYS_futex, word, FUTEX_WAKE_BITSET, most, NULL, NULL, kind);
}

static int wake(_Atomic uint32_t *word, uint32_t kind, int most) {
    atomic_fetch_add_explicit(word, 1, memory_order_release); /* pairs with the acquire load in spin_and_sleep */
    return wake_sleepers(word, kind, most);
}

void rip_wake(_Atomic uint32_t *word) { wake(word, FUTEX_BITSET_MATCH_ANY, INT32_MAX); }

int rip_wake_many(_Atomic uint32_t *word, int most) { return wake_sleepers(word, FUTEX_BITSET_MATCH_ANY, most); }

int rip_wake_some(_Atomic uint32_t *word, enum rip_sleeper kind, int most) { return wake(word, (uint32_t)kind, most); }

int rip_has_one_processor(void) {
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) == 1 && sysconf(_SC_NPROCESSORS_ONLN) == 1;
}
