/* The table of lanes: what has changed in it, and what leaves it. The lock must be held. */
#ifndef RIP_LANE_TABLE_H
#define RIP_LANE_TABLE_H

#include "channel/channel.h"

/* Tells every consumer that the table has changed. */
void rip_lanes_changed(struct rip_channel *ch);
/* A word of the header of a lane that need not be mapped here, 0 if there is no such file; -EMFILE and the like: there may
 * be one. */
int rip_read_word(struct rip_channel *ch, uint64_t id, size_t offset, uint64_t *word);
/* Removes ended lanes that every group has read to their end. */
void rip_lanes_retire(struct rip_channel *ch);

#endif
