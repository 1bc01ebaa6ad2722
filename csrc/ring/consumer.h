/* What of a consumer is not in ringipc.h. */
#ifndef RIP_CONSUMER_H
#define RIP_CONSUMER_H

#include "ring/rx.h"

/* Closed without the table lock: others find that this member has gone. */
void rip_consumer_abandon(struct rip_consumer *c);

#endif
