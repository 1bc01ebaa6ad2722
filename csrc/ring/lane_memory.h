/* The memory of a producer's own lane, which it gets in steps, and the place of a message in it. */
#ifndef RIP_LANE_MEMORY_H
#define RIP_LANE_MEMORY_H

#include "ring/tx.h"

/* How much of the lane's file has memory when the first bytes of its arena have. */
uint64_t rip_lane_step_end(const struct rip_producer *p, uint64_t bytes);
/* Allocates that much. */
int rip_lane_fill(struct rip_producer *p, uint64_t bytes);
/* The file stays open while there may be more to allocate. */
void rip_lane_close_when_filled(struct rip_producer *p);
/* Finds a place in the arena for a message: 0, -EAGAIN, -ENOSPC and the like. *end: below it messages may lie, the capacity at
 * first; it becomes what is allocated when there is no memory for more. */
int rip_tx_find_room(struct rip_producer *p, uint64_t length, uint64_t *end);

#endif
