/* A consumer enters a group: it makes a new one, takes over one that waits for members, or joins those who compete. */
#ifndef RIP_JOIN_H
#define RIP_JOIN_H

#include "ring/rx.h"

/* Enters the group of this name; the lock must be held, and may be lost, as in rip_claims_open. how: as in
 * rip_consumer_open. */
int rip_group_join(struct rip_consumer *c, const char *name, uint32_t how, int32_t *holder);

#endif
