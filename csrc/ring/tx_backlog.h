/* The backlog of a lane: what is not released or not acknowledged, and which group is the slowest. See ringipc.h. */
#ifndef RIP_TX_BACKLOG_H
#define RIP_TX_BACKLOG_H

#include "ring/tx.h"

/* Returns how many messages every group has acknowledged, counted from the start of the lane; known is a lower bound.
 * Also valid after the producer has closed. */
uint64_t rip_lane_acked(struct rip_producer *p, uint64_t known);
/* Returns the first published message that some group, except lossy ones, has not acknowledged. If the table lock is not
 * free, a message that is only acknowledged counts as one that is not. */
uint64_t rip_tx_first_unacked(struct rip_producer *p);
/* Is there a published message that some group, except lossy ones, has not acknowledged? As rip_tx_first_unacked. */
int rip_has_unacked(struct rip_producer *p);

#endif
