/* The backlog of a lane: what is not released yet, and which group is the slowest. See also ringipc.h. */
#ifndef RIP_TX_BACKLOG_H
#define RIP_TX_BACKLOG_H

#include "ring/tx.h"

/* Returns how many messages every group has acknowledged, counted from the start of the lane; known is a lower bound.
 * Also valid after the producer has closed. */
uint64_t rip_lane_acked(struct rip_producer *p, uint64_t known);

#endif
