/* Events.
 *
 *   word   | how often it has been set 63 | it is set now 1 |
 *
 * The count shows a waiter that the event has been set since, even if it has been cleared again. */
#include "sync/sync.h"

#define SET UINT64_C(1)

int rip_event_set(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    uint64_t word = rc ? SET : rip_sync_load(s);
    while (!(word & SET)) {
        /* release: what this thread did before; pairs with the acquire in rip_sync_load */
        if (atomic_compare_exchange_weak_explicit(&s->file->word, &word, (word + 2) | SET, memory_order_acq_rel,
                                                  memory_order_acquire)) {
            rip_sync_wake(s);
            break;
        }
    }
    return rc;
}

int rip_event_clear(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    if (rc == 0) {
        atomic_fetch_and_explicit(&s->file->word, ~SET, memory_order_acq_rel); /* as in rip_event_set */
    }
    return rc;
}

int rip_event_is_set(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    return rc ? rc : (int)(rip_sync_load(s) & SET);
}

/* Returns 1 if the event is set, or has been set since the word was `seen`. */
static int is_over(const struct rip_sync *s, uint64_t seen) {
    uint64_t word = rip_sync_load(s);
    return word & SET || word >> 1 != seen >> 1;
}

int rip_event_wait(struct rip_sync *s, uint64_t deadline) {
    struct rip_watch watch;
    int rc = rip_sync_check(s);
    if (rc != 0) {
        return rc;
    }
    for (uint64_t seen = rip_sync_load(s);;) {
        rip_sync_watch(s, seen, &watch);
        if (is_over(s, seen)) {
            return 0;
        }
        if (rc == -ETIMEDOUT) {
            return rc;
        }
        rc = rip_sync_wait(s, &watch, deadline);
        if (rc < 0 && rc != -ETIMEDOUT) {
            return rc;
        }
    }
}
