/* Lanes for the messages of another process. The rest of a producer is in ringipc.h. */
#ifndef RIP_PRODUCER_H
#define RIP_PRODUCER_H

#include "ring/tx.h"

/* Opens a lane for messages that another process sends over a stream (stream/stream.h). pid is that of the sending
 * process; the ticks of the lane are nanoseconds. */
int rip_lane_open(const char *channel, uint64_t capacity, uint64_t slots, int32_t pid, struct rip_producer **out);
/* Leaves the lane as if its process had been killed. */
void rip_lane_abandon(struct rip_producer *p);

#endif
