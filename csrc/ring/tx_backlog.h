/* What of a lane is not released yet, and who keeps it. The rest of it is in ringipc.h. */
#ifndef RIP_TX_BACKLOG_H
#define RIP_TX_BACKLOG_H

#include "ring/tx.h"

/* Messages that every group has done with, in all, of which known are known; also once it is closed. */
uint64_t rip_lane_done(struct rip_producer *p, uint64_t known);

#endif
