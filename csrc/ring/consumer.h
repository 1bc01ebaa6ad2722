/* The part of a consumer that is not in ringipc.h. */
#ifndef RIP_CONSUMER_H
#define RIP_CONSUMER_H

#include "ring/rx.h"

/* Closes without the table lock; other members find this one dead and reap it. */
void rip_consumer_abandon(struct rip_consumer *c);

#endif
