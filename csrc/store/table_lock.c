#include "store/table_lock.h"
#include "base/byte_lock.h"
#include "base/clock.h"
#include "base/wait.h"
#include "base/wait_hook.h"

#include <time.h>

#define REAP_EVERY_NS UINT64_C(500000000)
#define FIRST_PAUSE_NS UINT64_C(20000)  /* between two tries; each pause is twice as long as the one before, */
#define LAST_PAUSE_NS UINT64_C(5000000) /* up to this */
#define LIMITED_WAIT_NS UINT64_C(1000000000)
#define RELOCK_NS UINT64_C(20000000)

int rip_try_lock(struct rip_handle *handle) {
    int rc = rip_byte_lock(handle->mapping.fd, 0);
    handle->locked = rc == 0;
    return rc;
}

static int is_free(struct rip_handle *handle) {
    int free = rip_byte_is_free(handle->mapping.fd, 0);
    return free < 0 ? free : free ? 0 : -EAGAIN;
}

/* Repeats the attempt until it returns something else than -EAGAIN, or the wait ends. */
static int keep_trying(struct rip_handle *handle, int (*attempt)(struct rip_handle *handle), uint64_t deadline) {
    struct rip_waiting waiting = {.control = handle->mapping.fd};
    uint64_t hook_called = 0;
    for (uint64_t pause = FIRST_PAUSE_NS;; pause = 2 * pause < LAST_PAUSE_NS ? 2 * pause : LAST_PAUSE_NS) {
        int rc = attempt(handle);
        if (rc != -EAGAIN || deadline == RIP_TRY_ONLY) {
            return rc;
        }
        uint64_t now = rip_now();
        if (!waiting.since) {
            waiting.since = hook_called = now;
        }
        if (now >= deadline) {
            return -EAGAIN;
        }
        struct timespec length = {.tv_nsec = (long)(pause < deadline - now ? pause : deadline - now)};
        int interrupted = nanosleep(&length, NULL) != 0;
        if (!handle->no_hooks && (interrupted || now - hook_called >= RIP_SLICE_NS)) {
            hook_called = now;
            rc = rip_wait_end(&waiting, interrupted ? -EINTR : 0);
            if (rc != 0) {
                return rc;
            }
        }
    }
}

int rip_lock(struct rip_handle *handle) {
    return keep_trying(handle, rip_try_lock, handle->give_up ? handle->give_up : RIP_FOREVER);
}

int rip_relock(struct rip_handle *handle) {
    if (handle->give_up != RIP_TRY_ONLY) {
        return rip_lock(handle);
    }
    uint32_t no_hooks = handle->no_hooks;
    handle->no_hooks = 1;
    int rc = keep_trying(handle, rip_try_lock, rip_now() + RELOCK_NS);
    handle->no_hooks = no_hooks;
    return rc;
}

void rip_handle_limit_waits(struct rip_handle *handle) { handle->give_up = rip_now() + LIMITED_WAIT_NS; }

void rip_handle_set_unattended(struct rip_handle *handle) {
    rip_handle_limit_waits(handle);
    handle->no_hooks = 1;
}

int rip_await_lock(struct rip_handle *handle, uint64_t deadline) { return keep_trying(handle, is_free, deadline); }

void rip_unlock(struct rip_handle *handle) {
    handle->locked = 0;
    rip_byte_unlock(handle->mapping.fd, 0);
}

int rip_member_lock(struct rip_handle *handle, uint32_t member) {
    return rip_byte_lock(handle->mapping.fd, 1 + (uint64_t)member);
}

void rip_member_unlock(struct rip_handle *handle, uint32_t member) {
    rip_byte_unlock(handle->mapping.fd, 1 + (uint64_t)member);
}

int rip_is_dead(struct rip_handle *handle, uint32_t member) {
    return rip_byte_is_free(handle->mapping.fd, 1 + (uint64_t)member) == 1;
}

void rip_reap(struct rip_handle *handle) {
    handle->reaped_at = rip_now();
    handle->reap(handle);
    if (handle->others) {
        atomic_store_explicit(handle->others, handle->reaped_at, memory_order_relaxed); /* relaxed: a hint */
    }
}

/* Has another member reaped lately? With many members each reaping takes long, so one of them does it for all. */
static int has_another_reaped(const struct rip_handle *handle, uint64_t now) {
    /* relaxed: a hint. A time in the future, of another time namespace or of damage, counts as long ago. */
    return handle->others && now - atomic_load_explicit(handle->others, memory_order_relaxed) <= REAP_EVERY_NS;
}

int rip_reap_if_due(struct rip_handle *handle) {
    uint64_t now = rip_now();
    if (handle->state != RIP_OPEN || now - handle->reaped_at <= REAP_EVERY_NS || has_another_reaped(handle, now) ||
        rip_try_lock(handle) != 0) {
        return 0;
    }
    rip_reap(handle);
    rip_unlock(handle);
    return 1;
}
