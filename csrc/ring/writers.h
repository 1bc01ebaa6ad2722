/* The producers of a shared lane, its writers: joining the lane, leaving it, and what becomes of those that died. The
 * table lock must be held in all functions.
 *
 * A channel has one live shared lane at most. It ends with its last writer. A writer that dies or fails before is
 * counted in the header of the lane (`lost`), so that each consumer reports it. */
#ifndef RIP_WRITERS_H
#define RIP_WRITERS_H

#include "ring/tx.h"

/* Returns the index of the live shared lane, or RIP_NO_LANE. */
uint32_t rip_writers_find(const struct rip_control *control);
/* Makes a handle that is a member a writer of this lane. preallocated: only if all of it has memory. Returns 0;
 * -EEXIST: the lane has another capacity, number of slots or overflow; or another negative errno. */
int rip_writer_join(struct rip_producer *p, uint32_t index, int preallocated);
/* Has this writer, a member, no other one beside it? */
int rip_writer_is_last(const struct rip_control *control, uint32_t member);
/* Counts a writer that is dead or leaves, before its entry is freed. The last one ends the lane. Can be repeated if the
 * process is killed at any instruction. Returns 0, or -EMFILE and so on: then call it again later. */
int rip_writer_end(struct rip_channel *ch, uint32_t member);

#endif
