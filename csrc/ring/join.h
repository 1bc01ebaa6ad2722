/* A consumer joins a group: it makes a new one, takes over one without members, or joins a shared one. */
#ifndef RIP_JOIN_H
#define RIP_JOIN_H

#include "ring/rx.h"

/* Joins the group of this name. The lock must be held, and may be lost as in rip_claims_open. flags: as in
 * rip_consumer_open. */
int rip_group_join(struct rip_consumer *c, const char *name, uint32_t flags, int32_t *holder);

#endif
