/* Barriers. The rest is in ringipc.h. */
#ifndef RIP_BARRIER_H
#define RIP_BARRIER_H

#include "sync/sync.h"

/* The place in this round, from 0 on, and the word to wait on, or -EPIPE: broken, or -EBADMSG. */
int rip_barrier_arrive(struct rip_sync *s, uint64_t *seen);
/* A seat ends; the table lock must be held. died: its process was killed, and whoever waits with it would wait for ever. */
void rip_barrier_left(struct rip_sync *s, uint32_t member, int died);
void rip_barrier_give_up(struct rip_sync *s, uint64_t seen);      /* breaks that round, if it is not over */
int rip_barrier_is_over(const struct rip_sync *s, uint64_t seen); /* 0: not yet, 1: all have come, -EPIPE: broken */

#endif
