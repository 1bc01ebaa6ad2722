/* Putting where threads share a producer. */
#ifndef RIP_PUT_H
#define RIP_PUT_H

#include "ring/tx_room.h"

/* What a thread that shares a producer with others fills while it lets them run: the copy of a message, or what the program has reserved. */
enum rip_fill { RIP_FILL_NONE, RIP_FILL_COPY, RIP_FILL_RESERVED };

/* Threads may share a producer if one runs at a time, but while it sleeps (the hooks of rip_on_wait) or fills what it has reserved. The
 * first two are called around that. The third waits until no other thread fills: 0, -ETIMEDOUT, -EDEADLK where this thread does, or what
 * ends a wait. */
void rip_tx_begin_fill(struct rip_producer *p, enum rip_fill how);
void rip_tx_end_fill(struct rip_producer *p);
int rip_tx_wait_filled(struct rip_producer *p, uint64_t deadline);
/* rip_tx_reserve, waiting for room, and for other threads that fill: also -ETIMEDOUT, -EDEADLK, -EPIPE where the producer is cut off, or
 * what ends a wait. */
int rip_tx_wait_reserve(struct rip_producer *p, uint64_t length, uint64_t deadline, unsigned char **payload);

#endif
