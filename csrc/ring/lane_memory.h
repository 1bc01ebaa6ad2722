/* The memory of a producer's own lane, which is allocated in steps, and the position of a message in it. */
#ifndef RIP_LANE_MEMORY_H
#define RIP_LANE_MEMORY_H

#include "ring/tx.h"

/* How many bytes of the lane's file are allocated if the first bytes of its arena are. */
uint64_t rip_lane_step_end(const struct rip_producer *p, uint64_t bytes);
/* Allocates that many bytes. */
int rip_lane_fill(struct rip_producer *p, uint64_t bytes);
/* Closes the file descriptor of the lane if nothing is left to allocate, or if it is easily opened again. */
void rip_lane_close_fd(struct rip_producer *p);
/* Frees the memory behind the last message that is not read or is still in use. For a producer that closes: it writes
 * no more. */
void rip_lane_shrink(struct rip_producer *p);
/* Can a message lie there? Not if it reaches beyond what is allocated. */
int rip_lane_has(const struct rip_producer *p, uint64_t offset, uint64_t length);
/* Finds room in the lane for a message. Returns 0, -EAGAIN, -ENOSPC and so on, as rip_large_find_room. *end: messages lie below it. At first
 * this is the capacity; if there is no more memory, it becomes the end of the allocated part. */
int rip_tx_find_room(struct rip_producer *p, uint64_t length, uint64_t *end);

#endif
