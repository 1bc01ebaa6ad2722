#include "base/wait.h"
#include "base/clock.h"
#include "base/wait_hook.h"

#include <errno.h>
#include <sched.h>

/* Spinning still pays for messages that come 5000 times a second. For rarer ones a sleep and a wake-up cost less. */
#define SPIN_MAX_NS 200000u
#define SPIN_MIN_NS 1000u
#define YIELD_AFTER_NS 4000u
#define YIELD_EVERY_NS 8000u
#define PROBE_FIRST 16u /* after this many waits spin for long again: the peer may have become faster */
#define PROBE_LAST 1024u

void rip_spin_init(struct rip_spin *spin, enum rip_wait mode) {
    *spin = (struct rip_spin){
        .mode = rip_has_one_processor() ? RIP_WAIT_BLOCK : mode, .budget = SPIN_MAX_NS, .probe = PROBE_FIRST};
}

int rip_watch_is_ready(const struct rip_watch *watch) {
    for (unsigned i = 0; i < watch->count; i++) {
        /* relaxed: the caller loads the word again with acquire before it acts on it */
        if (atomic_load_explicit(watch->words[i], memory_order_relaxed) != watch->seen[i]) {
            return 1;
        }
    }
    return 0;
}

/* Spins for at most ns nanoseconds. Returns 1 if the watch became ready, else 0. */
static int spin_for(const struct rip_watch *watch, uint64_t ns) {
    uint64_t end = 0, yield = 0;
    for (unsigned i = 0;; i++) {
        if (rip_watch_is_ready(watch)) {
            return 1;
        }
        rip_pause();
        if (i % 16 == 15) { /* reading the clock costs more than a check */
            uint64_t now = rip_now();
            end = end ? end : now + ns;
            yield = yield ? yield : now + YIELD_AFTER_NS;
            if (now >= end) {
                return 0;
            }
            if (now >= yield && watch->spin->mode != RIP_WAIT_SPIN) {
                /* The peer may need this core. While another thread runs here, nothing is checked, so yield only now
                 * and then. */
                sched_yield();
                yield = now + YIELD_EVERY_NS;
            }
        }
    }
}

static int spin_adaptive(const struct rip_watch *watch, uint64_t start, uint64_t left) {
    struct rip_spin *spin = watch->spin;
    /* relaxed: each is a hint, and none depends on another */
    uint32_t waits = atomic_fetch_add_explicit(&spin->waits, 1, memory_order_relaxed);
    uint32_t budget = atomic_load_explicit(&spin->budget, memory_order_relaxed);
    uint32_t probe = atomic_load_explicit(&spin->probe, memory_order_relaxed);
    int is_probe = waits >= probe;
    uint64_t ns = is_probe ? SPIN_MAX_NS : budget;
    int ready = spin_for(watch, ns < left ? ns : left);
    if (is_probe) { /* each long spin without success doubles the time to the next one */
        probe = ready ? PROBE_FIRST : probe < PROBE_LAST ? 2 * probe : PROBE_LAST;
        atomic_store_explicit(&spin->probe, probe, memory_order_relaxed);
        atomic_store_explicit(&spin->waits, 0, memory_order_relaxed);
    }
    uint64_t goal = ready ? 4 * (rip_now() - start) : 0; /* enough for a peer that needs a few times longer next time */
    goal = goal < SPIN_MIN_NS ? SPIN_MIN_NS : goal > SPIN_MAX_NS ? SPIN_MAX_NS : goal;
    int64_t step = ((int64_t)goal - (int64_t)budget) / (ready && goal > budget ? 2 : 4);
    atomic_store_explicit(&spin->budget, (uint32_t)((int64_t)budget + step), memory_order_relaxed);
    return ready;
}

static int spin_and_sleep(const struct rip_watch *watch, uint64_t start, uint64_t deadline) {
    uint64_t slice = deadline - start < watch->slice ? deadline : start + watch->slice;
    int ready = 0;
    if (watch->spin->mode == RIP_WAIT_SPIN) {
        ready = spin_for(watch, slice - start);
        return ready ? 1 : slice == deadline ? -ETIMEDOUT : 0;
    }
    /* relaxed: hints. A member that has slept for a whole slice waits for something rare: it does not spin between
     * slices. */
    if (watch->spin->mode == RIP_WAIT_ADAPTIVE && !atomic_load_explicit(&watch->spin->slept, memory_order_relaxed) &&
        spin_adaptive(watch, start, slice - start)) {
        return 1;
    }
    uint32_t word = atomic_load_explicit(watch->futex, memory_order_acquire); /* pairs with the release in rip_wake */
    rip_watch_announce(watch);
    if (rip_watch_is_ready(watch)) {
        /* The bit stays set: another thread of this member may rely on it, and it costs one wake-up at most. */
        return 1;
    }
    int rc = rip_sleep_as(watch->futex, word, slice, watch->picky ? RIP_WAITS_FOR_SOME : RIP_WAITS_FOR_ANY);
    int ready_now = rip_watch_is_ready(watch);
    atomic_store_explicit(&watch->spin->slept, (uint32_t)(rc == -ETIMEDOUT && !ready_now), memory_order_relaxed);
    if (ready_now) {
        return 1;
    }
    return rc == -ETIMEDOUT && slice != deadline ? 0 : rc;
}

int rip_watch_wait(const struct rip_watch *watch, uint64_t deadline) {
    struct rip_waiting waiting = {.since = rip_now(), .control = -1};
    /* Even if the watch is ready: damaged memory may keep it ready for ever. The caller checks once more. */
    if (deadline <= waiting.since) {
        return -ETIMEDOUT;
    }
    rip_wait_begin(&waiting);
    return rip_wait_end(&waiting, spin_and_sleep(watch, waiting.since, deadline));
}

void rip_watch_announce(const struct rip_watch *watch) {
    if (watch->picky) {
        atomic_store_explicit(watch->picky, 1, memory_order_relaxed); /* relaxed: the fetch_or comes after it */
    }
    /* seq_cst: sets the bit before the fence below; pairs with the fetch_and of the waker, which clears the bit */
    if (watch->asleep64) {
        atomic_fetch_or_explicit(watch->asleep64, watch->bit, memory_order_seq_cst);
    } else {
        atomic_fetch_or_explicit(watch->asleep32, (uint32_t)watch->bit, memory_order_seq_cst);
    }
    /* A member relies on the fences of others only if it has asked for them itself. If only another member has asked,
     * its request may not have reached all publishers yet, or may have been cleared. */
    if (watch->fenced) {
        /* pairs with the fence in rip_wake_groups, rip_wake_lane or rip_sync_wake */
        atomic_thread_fence(memory_order_seq_cst);
    } else {
        rip_fence_heavy(); /* either a publisher sees the bit, or this member sees what it has published */
    }
}
