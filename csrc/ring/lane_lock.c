#include "ring/lane_lock.h"
#include "base/clock.h"
#include "ring/drop_old.h"

#define TRIES 50u                   /* before a wait: an owner that puts a small message needs no longer */
#define BRIEF_NS UINT64_C(20000000) /* a call that does not wait for room waits so long for the lock */
#define IN_LOOP_NS UINT64_C(100000) /* the same, if the handle has a pollfd: other tasks of an event loop wait too */

/* ---- catching up ---- */

/* Reads the published messages from `from` on. Returns 0 or -EBADMSG. *completed: their slots did not all say so. */
static int follow(struct rip_producer *p, uint64_t from, uint64_t tail, int *completed) {
    for (uint64_t seq = from; seq != tail; seq++) {
        struct rip_desc *desc = &p->lane->desc[seq & (p->slots - 1)];
        uint64_t offset = rip_desc_offset(desc), length = rip_desc_length(desc); /* each reads once */
        int rc = rip_arena_follow(&p->arena, seq, offset, rip_round_up(length, RIP_LINE));
        if (rc != 0) {
            return rc;
        }
        if (RIP_UNLIKELY(!rip_desc_is_of(desc, seq))) {
            /* release: as in rip_tx_publish */
            atomic_store_explicit(&desc->published, (uint32_t)(seq + 1), memory_order_release);
            *completed = 1;
        }
    }
    return 0;
}

/* Makes the state of this handle that of the lane. died: an owner was killed. Every number is checked, because any
 * process may have written it. The last step makes this handle the last owner; if it is killed before, the next one
 * does the same again. */
static int catch_up(struct rip_producer *p, int died) {
    struct rip_lane *lane = p->lane;
    /* relaxed, also below: the lock orders all that owners read and write */
    uint64_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed), known = p->published;
    uint64_t reclaimed = atomic_load_explicit(&lane->reclaimed, memory_order_relaxed);
    uint64_t allocated = atomic_load_explicit(&lane->allocated, memory_order_relaxed);
    if (tail < known || reclaimed < p->free_below || reclaimed > tail || tail - reclaimed > p->slots ||
        allocated < p->arena.allocated || allocated > p->arena.capacity) {
        return -EBADMSG;
    }
    int completed = 0;
    p->arena.allocated = allocated;
    p->mapping.allocated = rip_arena_offset(p->slots) + allocated;
    /* nothing that this handle knows is live, or it knows nothing */
    int begins_anew = reclaimed >= known || p->arena.count == 0;
    if (begins_anew) {
        p->arena.count = 1;
        p->arena.at = 0;
        p->arena.runs[0] = (struct rip_run){.seq = reclaimed};
    } else {
        rip_arena_reclaim(&p->arena, reclaimed, rip_desc_offset(&lane->desc[reclaimed & (p->slots - 1)]), known);
    }
    int rc = follow(p, begins_anew ? reclaimed : known, tail, &completed);
    rc = rc ? rc : rip_drop_old_adopt(p);
    if (died || completed) { /* the one that was killed may not have woken them */
        rip_wake_groups(&p->ch, 0);
    }
    if (rc != 0) {
        p->arena.count = 0; /* half changed: the next time it begins anew */
        return rc;
    }
    rip_arena_allocated(&p->arena, allocated);
    p->others += tail - known;
    p->tail = p->published = tail;
    p->free_below = reclaimed;
    p->recheck_at = reclaimed + p->keep;
    atomic_store_explicit(&lane->waiting, 0, memory_order_relaxed);
    atomic_store_explicit(&lane->last, p->holder, memory_order_relaxed);
    return 0;
}

/* ---- the lock ---- */

static uint64_t me(const struct rip_producer *p) { return (uint64_t)p->holder << RIP_WORD_HOLDER_AT; }

int rip_lane_enter(struct rip_producer *p, int look) {
    int rc = rip_word_try(&p->lane->lock, me(p), RIP_NOT_RECURSIVE, p->ch.handle.mapping.fd, look);
    if (rc < 0) {
        return rc == -EAGAIN ? -EINPROGRESS : -EBADMSG;
    }
    p->owner = 1;
    p->recheck_at = p->own_recheck;
    /* relaxed: the lock orders it */
    if (RIP_LIKELY(atomic_load_explicit(&p->lane->last, memory_order_relaxed) == p->holder)) {
        return 0;
    }
    rc = catch_up(p, rc);
    if (rc != 0) { /* whoever comes next finds the same */
        rip_tx_leave(p);
    }
    return rc;
}

int rip_lane_enter_or_announce(struct rip_producer *p) {
    int rc = rip_lane_enter(p, 0);
    if (rc == -EINPROGRESS) {
        /* release: pairs with the fence in rip_wake_lane; the pollfd is armed before. The owner sees this when it
         * releases the lock, or has released it already. */
        atomic_fetch_or_explicit(&p->lane->lock.whole, RIP_WORD_WAITERS, memory_order_release);
        rc = rip_lane_enter(p, 1);
    }
    return rc;
}

/* One wait for the lock. Returns as rip_watch_wait. */
static int wait_once(struct rip_producer *p, uint64_t deadline) {
    struct rip_watch watch;
    for (unsigned i = 0; i < TRIES && p->ch.spin.mode != RIP_WAIT_BLOCK; i++) {
        if (!rip_word_is_held(&p->lane->lock)) {
            return 1;
        }
        rip_pause();
    }
    uint64_t seen = rip_word_load(&p->lane->lock);
    rip_watch_word(&p->lane->lock, seen, RIP_WORD_WAITERS, &p->turn, &p->asleep, &watch);
    return seen >> RIP_WORD_HOLDER_AT ? rip_watch_wait(&watch, deadline) : 1;
}

int rip_lane_acquire(struct rip_producer *p, uint64_t deadline) {
    uint64_t until = deadline;
    /* looks for a dead owner at first, and then once in a slice */
    for (int waited = 0; !p->owner;) { /* another thread with this handle may become the owner during a wait */
        int rc = rip_lane_enter(p, waited != 1);
        if (rc != -EINPROGRESS) {
            return rc;
        }
        if (waited == -ETIMEDOUT || (!deadline && rip_lane_is_awaited(p))) {
            rip_word_give_up(&p->lane->lock);
            return -ETIMEDOUT;
        }
        until = until ? until : rip_now() + (p->ch.pollfd ? IN_LOOP_NS : BRIEF_NS);
        waited = wait_once(p, until);
        rc = rip_handle_check(&p->ch.handle);
        if (rc != 0 || (waited < 0 && waited != -ETIMEDOUT)) {
            rip_word_give_up(&p->lane->lock);
            return rc ? rc : waited;
        }
    }
    return 0;
}

void rip_lane_set_waiting(struct rip_producer *p, uint32_t waiting) {
    if (p->owner) {
        p->waited_as_owner |= waiting;
        atomic_store_explicit(&p->lane->waiting, waiting, memory_order_relaxed); /* relaxed: a hint */
    }
}

__attribute__((cold, noinline)) void rip_lane_leave_awaited(struct rip_producer *p) {
    p->waited_as_owner = 0;
    atomic_store_explicit(&p->lane->waiting, 0, memory_order_relaxed); /* relaxed: a hint */
    rip_word_free(&p->lane->lock, RIP_WORD_WAITERS);
    rip_wake_lane(&p->ch, p->entry); /* the pollfds of others */
}
