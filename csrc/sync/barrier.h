/* Barriers. The rest is in ringipc.h. */
#ifndef RIP_BARRIER_H
#define RIP_BARRIER_H

#include "sync/sync.h"

/* A member leaves. died: its process was killed; then the barrier is broken, because the others would wait for it for
 * ever. The table lock must be held. */
void rip_barrier_left(struct rip_sync *s, uint32_t member, int died);

#endif
