/* A lane for what another process sends. The rest of a producer is in ringipc.h. */
#ifndef RIP_PRODUCER_H
#define RIP_PRODUCER_H

#include "ring/tx.h"

/* A lane for what another process sends, where its memory cannot be shared (stream/stream.h): pid is that one's, ticks are nanoseconds. */
int rip_lane_open(const char *channel, uint64_t capacity, uint64_t slots, int32_t pid, struct rip_producer **out);
/* As if its process had been killed. */
void rip_lane_abandon(struct rip_producer *p);

#endif
