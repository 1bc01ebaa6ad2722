/* The table of lanes: announcing changes, and removing ended lanes. The table lock must be held in all functions. */
#ifndef RIP_LANE_TABLE_H
#define RIP_LANE_TABLE_H

#include "channel/channel.h"

/* Announces to every consumer that the table has changed, and wakes those that sleep. */
void rip_lanes_changed(struct rip_channel *ch);
/* Reads a word of the header of a lane, which need not be mapped by this handle. Stores 0 if the file does not exist or
 * cannot be read, and returns 0. Returns a negative errno if that is unknown (rip_is_resource_error). */
int rip_lane_read_word(struct rip_channel *ch, uint64_t id, size_t offset, uint64_t *word);
/* Removes the ended lanes that every group has read to the end. */
void rip_lanes_retire(struct rip_channel *ch);

#endif
