/* What a handle knows of its I/O loop. */
#ifndef RIP_IO_CALLS_H
#define RIP_IO_CALLS_H

#include <stdatomic.h>
#include <stdint.h>

struct rip_watch;

struct rip_io_loop {
    /* Called by handles, which know no more of an I/O loop than this. push: call it after a message was put if
     * rip_io_loop_needs_push; it sends, and may wait for links that lag and for the thread, for a millisecond in all.
     * pull: call it instead of rip_watch_wait to wait for a message; it returns the same. */
    void (*push)(struct rip_io_loop *loop);
    int (*pull)(struct rip_io_loop *loop, const struct rip_watch *watch, uint64_t deadline);
    _Atomic uint32_t lagging; /* some link lags (pacing.h): threads that put help to send and wait for it */
    /* the thread sleeps and has senders to be woken for; set by the thread, cleared by whoever wakes it */
    _Atomic uint32_t asleep;
};

/* Must a message that was just put be pushed? Also 1 if a link lags: then push helps to send. */
static inline int rip_io_loop_needs_push(const struct rip_io_loop *loop) {
    /* The compiler keeps the order; rip_fence_heavy in fall_asleep makes the processor keep it. */
    atomic_signal_fence(memory_order_seq_cst);
    return (atomic_load_explicit(&loop->asleep, memory_order_relaxed) |
            atomic_load_explicit(&loop->lagging, memory_order_relaxed)) != 0;
}

#endif
