/* What of a consumer is not in ringipc.h. */
#ifndef RIP_CONSUMER_H
#define RIP_CONSUMER_H

#include "ring/rx.h"

/* Closed without the table lock: others find that this member has gone. */
void rip_consumer_abandon(struct rip_consumer *c);
/* One that was woken for a message, and leaves without looking for it, wakes another. */
void rip_rx_pass_wakeup(struct rip_consumer *c);

#endif
