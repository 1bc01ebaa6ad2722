/* The put calls and their waits: for room, for another thread that fills reserved memory, and for all groups to
 * acknowledge. */
#include "ring/put.h"
#include "base/futex.h"
#include "base/wait.h"
#include "base/wait_hook.h"
#include "ring/lane_lock.h"
#include "ring/tx_backlog.h"
#include "ring/watch.h"
#include "store/table_lock.h"

#include <string.h>

/* longest wait for the table lock, which is needed to open the claims of a group */
#define CLAIMS_WAIT_NS UINT64_C(250000000)

/* ---- threads that share a producer ---- */

void rip_tx_begin_fill(struct rip_producer *p, enum rip_fill fill) {
    p->filler = pthread_self();
    p->fill = fill;
}

void rip_tx_end_fill(struct rip_producer *p) {
    p->fill = RIP_FILL_NONE;
    if (p->fill_waiters) {
        rip_wake(&p->filled);
    }
}

int rip_tx_wait_filled(struct rip_producer *p, uint64_t deadline) {
    while (p->fill != RIP_FILL_NONE) {
        struct rip_waiting waiting = {.since = rip_now(), .control = -1};
        if (p->ch.handle.state == RIP_FORKED) { /* the filling thread exists in the parent only and never ends here */
            p->fill = RIP_FILL_NONE;
            return 0;
        }
        if (pthread_equal(p->filler, pthread_self())) {
            return -EDEADLK;
        }
        if (waiting.since >= deadline) {
            return -ETIMEDOUT;
        }
        /* relaxed: threads exclude each other except while they sleep, so the filling thread cannot end before the
         * sleep below */
        uint32_t word = atomic_load_explicit(&p->filled, memory_order_relaxed);
        uint64_t slice = waiting.since + RIP_SLICE_NS;
        p->fill_waiters++;
        rip_wait_begin(&waiting);
        int rc = rip_sleep(&p->filled, word, slice < deadline ? slice : deadline);
        rc = rip_wait_end(&waiting, rc == -ETIMEDOUT ? 0 : rc);
        p->fill_waiters--;
        if (rc < 0) {
            return rc;
        }
        rip_reap_if_due(&p->ch.handle);
    }
    return 0;
}

/* ---- room ---- */

/* A lane that drops is not waited for, but its owner may be about to let others write. */
static int await_turn(struct rip_producer *p, uint64_t deadline) {
    if (!p->shared || p->owner) {
        return 0;
    }
    int drops = p->overflow != RIP_BLOCK && deadline;
    int rc = rip_lane_acquire(p, drops ? rip_now() + CLAIMS_WAIT_NS : deadline);
    return rc == -ETIMEDOUT && p->overflow != RIP_BLOCK ? -ENOBUFS : rc;
}

/* Lets others write, unless another thread with this handle fills what it has reserved. */
static void leave(struct rip_producer *p) {
    if (p->fill == RIP_FILL_NONE) {
        rip_tx_leave(p);
    }
}

/* Waits for the table lock, which is needed to open the claims of a group. Calls the hooks as for any other
 * wait. */
static int await_lock(struct rip_producer *p, uint64_t deadline) {
    struct rip_waiting waiting = {.since = rip_now(), .control = -1};
    rip_wait_begin(&waiting);
    int rc = rip_await_lock(&p->ch.handle, deadline);
    int end = rip_wait_end(&waiting, 0);
    return end ? end : rc;
}

/* rip_tx_reserve; if it needs the table lock it waits for that, but not for long, whatever the deadline is. */
static int reserve(struct rip_producer *p, uint64_t length, uint64_t deadline, unsigned char **payload) {
    int rc = rip_tx_reserve(p, length, payload);
    for (uint64_t lock_deadline = 0; rc == -ENOLCK;) {
        uint64_t now = rip_now();
        lock_deadline = lock_deadline ? lock_deadline : now + CLAIMS_WAIT_NS;
        rc = now < lock_deadline ? await_lock(p, lock_deadline) : -EAGAIN;
        if (rc == -EAGAIN) { /* nobody can say which messages the group needs */
            return p->overflow == RIP_BLOCK ? -EAGAIN : -ENOBUFS;
        }
        rc = rc ? rc : rip_handle_check(&p->ch.handle);
        rc = rc ? rc : rip_tx_wait_filled(p, deadline); /* another thread may have started to fill */
        rc = rc ? rc : rip_tx_reserve(p, length, payload);
    }
    return rc;
}

static int wait_room(struct rip_producer *p, uint64_t length, uint64_t deadline, int also_if_dropping,
                     unsigned char **payload) {
    struct rip_watch watch;
    uint64_t start = 0;
    int rc, waited = 0;
    p->wanted = length;
    for (;;) {
        rc = rip_tx_wait_filled(p, deadline);
        rc = rc ? rc : rip_handle_check(&p->ch.handle);
        rc = rc ? rc : await_turn(p, deadline);
        if (rc == 0 && p->fill != RIP_FILL_NONE) { /* another thread fills since that wait */
            continue;
        }
        if (rc == 0) {
            if (deadline) {
                rip_room_watch(p, &watch);
            }
            rc = reserve(p, length, deadline, payload);
        }
        if (rc == -EINPROGRESS) { /* another thread has let others write during a wait */
            continue;
        }
        if ((rc != -EAGAIN && (rc != -ENOBUFS || !also_if_dropping)) || waited < 0) {
            break;
        }
        if (p->cut_off) {
            rc = -EPIPE;
            break;
        }
        if (!deadline) {
            waited = -ETIMEDOUT;
            if (!rip_reap_if_due(&p->ch.handle)) {
                break;
            }
            continue; /* one more attempt: a dead member may have left room */
        }
        if (!start) {
            start = rip_now();
            p->waits++;
        }
        rip_lane_set_waiting(p, 1);
        waited = rip_watch_wait(&watch, deadline);
        rip_lane_set_waiting(p, 0);
        if (waited < 0 && waited != -ETIMEDOUT) {
            rc = waited;
            break;
        }
        rip_reap_if_due(&p->ch.handle);
    }
    if (start) {
        p->waited += rip_now() - start;
    }
    if (rc != 0) {
        leave(p);
    }
    return waited == -ETIMEDOUT && (rc == -EAGAIN || rc == -ENOBUFS) ? -ETIMEDOUT : rc;
}

int rip_tx_wait_reserve(struct rip_producer *p, uint64_t length, uint64_t deadline, unsigned char **payload) {
    int rc = wait_room(p, length, deadline, 0, payload);
    if (rc == 0) { /* the wait may have been long */
        rip_tx_stamp(p);
    }
    return rc;
}

int rip_wait_room(struct rip_producer *p, uint64_t length, uint64_t deadline) {
    unsigned char *payload;
    int rc = wait_room(p, length, deadline, 1, &payload);
    leave(p);
    return rc;
}

void rip_discard(struct rip_producer *p) { rip_tx_leave(p); }

int rip_flush(struct rip_producer *p, uint64_t deadline) {
    struct rip_watch watch;
    int waited = 0;
    for (;;) {
        int rc = rip_handle_check(&p->ch.handle);
        if (rc != 0) {
            return rc;
        }
        rip_room_watch(p, &watch);
        if (!rip_has_unacked(p)) {
            return p->fill == RIP_FILL_NONE ? rip_tx_release_large(p) : 0;
        }
        if (p->cut_off) {
            return -EPIPE;
        }
        if (waited < 0) {
            return waited;
        }
        waited = rip_watch_wait(&watch, deadline);
        if (waited < 0 && waited != -ETIMEDOUT) {
            return waited;
        }
        rip_reap_if_due(&p->ch.handle);
    }
}

/* ---- the calls ---- */

int rip_reserve(struct rip_producer *p, uint64_t length, unsigned char **payload) {
    int rc = rip_handle_check(&p->ch.handle);
    rc = rc ? rc : rip_tx_reserve(p, length, payload);
    if (rc == -EINPROGRESS) {
        rc = await_turn(p, 0);
        rc = rc ? rc : rip_tx_reserve(p, length, payload);
        rc = rc == -ETIMEDOUT ? -EAGAIN : rc;
    }
    if (rc != 0) {
        rip_tx_leave(p);
    }
    /* a call that does not wait does not wait for the table lock either */
    if (rc == -ENOLCK && p->overflow == RIP_BLOCK) {
        return -EAGAIN;
    }
    if (rc == -ENOBUFS || rc == -ENOLCK) {
        rip_tx_refuse(p);
        return -ENOBUFS;
    }
    return rc;
}

int rip_publish(struct rip_producer *p, uint64_t length, uint32_t type, uint8_t kind) {
    int rc = rip_handle_check(&p->ch.handle);
    if (rc == 0) {
        rip_tx_stamp(p);
        rip_tx_commit(p, length, type, kind);
        rip_tx_publish(p);
    }
    return rc;
}

int rip_put(struct rip_producer *p, const void *data, uint64_t length, uint32_t type, uint8_t kind, uint64_t deadline) {
    unsigned char *payload;
    int rc = rip_handle_check(&p->ch.handle);
    rc = rc ? rc : rip_tx_reserve(p, length, &payload);
    if (rc == -EAGAIN || rc == -ENOLCK || rc == -EINPROGRESS) {
        rc = wait_room(p, length, deadline, 0, &payload);
    } else if (rc != 0) {
        rip_tx_leave(p);
    }
    if (rc == -ENOBUFS) {
        rip_tx_refuse(p);
    }
    if (rc == 0) {
        memcpy(payload, data, length);
        rc = rip_publish(p, length, type, kind);
    }
    return rc;
}
