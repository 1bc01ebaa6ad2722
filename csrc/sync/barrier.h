/* Barriers. The rest is in ringipc.h. */
#ifndef RIP_BARRIER_H
#define RIP_BARRIER_H

#include "sync/sync.h"

/* A member leaves; the table lock must be held. died: its process was killed, and whoever waits with it would wait for ever. */
void rip_barrier_left(struct rip_sync *s, uint32_t member, int died);

#endif
