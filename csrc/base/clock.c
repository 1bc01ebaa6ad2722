#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define ASK_EVERY_NS UINT64_C(1000000000)

/* The inode of the initial time namespace (include/linux/proc_ns.h, PROC_TIME_INIT_INO). */
#define INITIAL_TIME_NAMESPACE 0xEFFFFFFAu

#if defined(__x86_64__)

/* Invariant TSC, AMD64 manual vol. 3, CPUID Fn8000_0007. In a virtual machine this instruction takes microseconds. */
static int is_invariant(void) {
    unsigned a, b, c, d = 0;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d >> 8 & 1u);
}

/* The kernel checks the counter, and changes to another clock source if the counter jumps, be it between processors or
 * when a virtual machine is migrated. */
static int is_trusted(void) {
    char source[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (!file) {
        return 0;
    }
    int is = fgets(source, sizeof source, file) && strcmp(source, "tsc\n") == 0;
    fclose(file);
    return is;
}

static _Atomic uint64_t known; /* when it asked, and in the lowest bit the answer; 0: never */

void rip_clock_forget(void) { atomic_store_explicit(&known, 0, memory_order_relaxed); }

/* Asks at most once in a second, because that takes longer than all else that a new handle does with clocks. */
int rip_counter_is_steady(void) {
    /* relaxed, also below: it is one word, and any thread may ask again */
    uint64_t before = atomic_load_explicit(&known, memory_order_relaxed), now = rip_now() | 1;
    if (before == 0 || now - before > ASK_EVERY_NS) {
        before = now - !(is_invariant() && is_trusted());
        atomic_store_explicit(&known, before, memory_order_relaxed);
    }
    return before & 1;
}

#elif defined(__aarch64__)

void rip_clock_forget(void) {}

int rip_counter_is_steady(void) { return 1; } /* the architecture guarantees it */

#else

void rip_clock_forget(void) {}

int rip_counter_is_steady(void) { return 0; }

#endif

uint64_t rip_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Parses a line of /proc/self/timens_offsets: the clock's name, seconds, nanoseconds. Returns 1 if it is
 * CLOCK_MONOTONIC's. */
static int parse_offset(const char *line, uint64_t *offset) {
    static const char clock[] = "monotonic";
    if (strncmp(line, clock, sizeof clock - 1) != 0) {
        return 0;
    }
    char *end;
    long long seconds = strtoll(line + sizeof clock - 1, &end, 10);
    *offset = (uint64_t)seconds * 1000000000u + (uint64_t)strtoll(end, NULL, 10);
    return 1;
}

/* /proc/self/timens_offsets describes the time namespace of this process's children. That is the namespace of the
 * process too, unless the process is in a time namespace of its own and has called unshare(2) again. */
int rip_clock_offset(uint64_t *offset) {
    struct stat st;
    char line[128];
    *offset = 0;
    if (stat("/proc/self/ns/time", &st) != 0) { /* Linux before 5.6 */
        return errno == ENOENT ? 0 : -errno;
    }
    if (st.st_ino == INITIAL_TIME_NAMESPACE) {
        return 0;
    }
    FILE *file = fopen("/proc/self/timens_offsets", "re");
    if (!file) { /* ENOENT: time namespaces without offsets, as with an emulated kernel */
        return errno == ENOENT ? 0 : -errno;
    }
    int found = 0;
    while (!found && fgets(line, sizeof line, file)) {
        found = parse_offset(line, offset);
    }
    fclose(file);
    return found ? 0 : -EIO;
}

struct rip_moment rip_moment_now(uint64_t offset) {
    struct rip_moment best = {0};
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < 3; i++) {
        uint64_t before = rip_counter(), ns = rip_now(), took = rip_counter() - before;
        if (took < least) {
            least = took;
            best = (struct rip_moment){.ticks = before + took / 2, .ns = ns - offset};
        }
    }
    return best;
}

/* Converts a reading of one clock, from, to the other one, to: both clocks were read at two moments. The moments come
 * from shared memory, which may be damaged. */
static uint64_t convert(uint64_t from0, uint64_t to0, uint64_t from1, uint64_t to1, uint64_t from) {
    double span = (double)(from1 - from0);
    double rate = span > 0 ? (double)(to1 - to0) / span : 0;
    double age = (double)(int64_t)(from1 - from) * rate;
    if (!(age > -9e18 && age < 9e18)) {
        return to1;
    }
    return to1 - (uint64_t)(int64_t)age;
}

uint64_t rip_ticks_to_ns(struct rip_moment since, struct rip_moment now, uint64_t ticks) {
    return convert(since.ticks, since.ns, now.ticks, now.ns, ticks);
}

uint64_t rip_ns_to_ticks(struct rip_moment since, struct rip_moment now, uint64_t ns) {
    return convert(since.ns, since.ticks, now.ns, now.ticks, ns);
}
