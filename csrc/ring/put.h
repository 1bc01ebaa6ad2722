/* Putting with a producer that several threads share. */
#ifndef RIP_PUT_H
#define RIP_PUT_H

#include "ring/tx_room.h"

/* Threads may share a producer if one runs at a time, except while it sleeps (the hooks of rip_on_wait) or fills
 * reserved memory. rip_tx_begin_fill and rip_tx_end_fill enclose the filling. rip_tx_wait_filled waits until no other
 * thread fills. It returns 0, -ETIMEDOUT, -EDEADLK if this thread itself fills, or the error that ended the wait. */
void rip_tx_begin_fill(struct rip_producer *p, enum rip_fill fill);
void rip_tx_end_fill(struct rip_producer *p);
int rip_tx_wait_filled(struct rip_producer *p, uint64_t deadline);
/* rip_tx_reserve; waits for room, and for other threads that fill. Also returns -ETIMEDOUT (until the deadline there
 * was no room, or another thread filled), -EDEADLK, -EPIPE if the producer is cut off, or the error that ended the
 * wait. */
int rip_tx_wait_reserve(struct rip_producer *p, uint64_t length, uint64_t deadline, unsigned char **payload);

#endif
