/* A pump moves messages between a channel of this process and its connections: one for each handle that has connections.
 *
 * A thread of its own does that when nobody else does. But a message that is put while nothing else is on its way is written by the thread that
 * puts it, and who waits for a message reads it himself: a hop to another thread takes longer than the kernel takes for the whole way. */
#ifndef RIP_IO_LOOP_H
#define RIP_IO_LOOP_H

#include "stream/receiver.h"
#include "stream/sender.h"

#include <stdatomic.h>

struct rip_watch;

#define RIP_MAX_LINKS 64

struct rip_io_loop {
    /* For a handle in another module, which knows no more of a pump than this. push: after a message was put, if rip_io_loop_needs_push. pull:
     * instead of rip_watch_wait, for a message. */
    void (*push)(struct rip_io_loop *pump);
    int (*pull)(struct rip_io_loop *pump, const struct rip_watch *watch, uint64_t deadline);
    _Atomic uint32_t behind; /* some connection is behind (io_loop.c): putters help to send */
    _Atomic uint32_t asleep; /* the thread, with senders to wake it for; set by it, cleared by who wakes it */
};

/* To be asked when a message has been put. */
static inline int rip_io_loop_needs_push(const struct rip_io_loop *pump) {
    /* The compiler keeps the order; rip_fence_heavy in fall_asleep makes the processor keep it. */
    atomic_signal_fence(memory_order_seq_cst);
    return (atomic_load_explicit(&pump->asleep, memory_order_relaxed) |
            atomic_load_explicit(&pump->behind, memory_order_relaxed)) != 0;
}

struct rip_end { /* a connection that is of no use any more */
    uint64_t id;
    uint32_t ordinal; /* the how-manieth of its sender or receiver */
    int why;          /* RIP_STEP_END, or a negative errno */
};

int rip_io_loop_open(int spin, struct rip_io_loop **out);
/* Adds a sender or a receiver, which is the pump's from then on: -EMLINK where there are too many. prompt: a receiver says at once what
 * has been let go; a sender gets what others than this pump's handle put, too. *id names it. */
int rip_io_loop_add(struct rip_io_loop *pump, struct rip_sender *sender, struct rip_receiver *receiver, int prompt,
                    uint64_t *id);
/* Runs until a connection has come to its end, or rip_io_loop_stop: 1 and *end, or 0. */
int rip_io_loop_run(struct rip_io_loop *pump, struct rip_end *end);
/* Its connection, the first or one in the place of one that has broken: its turn. fd stays the caller's, and must stay open until its
 * end is told, or rip_io_loop_disconnect. next: how many messages the other side has, where we send; -EINVAL: it cannot have. */
int rip_io_loop_connect(struct rip_io_loop *pump, uint64_t id, int fd, uint64_t next);
void rip_io_loop_disconnect(struct rip_io_loop *pump, uint64_t id);
int rip_io_loop_can(struct rip_io_loop *pump, uint64_t id, uint64_t next); /* go on from there? */
void rip_io_loop_finish(struct rip_io_loop *pump); /* the streams that we send end with what has been taken */
uint64_t rip_io_loop_progress(struct rip_io_loop *pump,
                              uint64_t id); /* messages that it has got, or that were let go */
void rip_io_loop_remove(struct rip_io_loop *pump, uint64_t id);
void rip_io_loop_stop(struct rip_io_loop *pump);
void rip_io_loop_free(struct rip_io_loop *pump); /* with all connections; its thread must have ended */

#endif
