/* The table of lanes: adding entries, announcing changes, and removing ended lanes. The table lock must be held in all
 * functions. */
#ifndef RIP_LANE_TABLE_H
#define RIP_LANE_TABLE_H

#include "channel/channel.h"
#include "store/files.h"

struct rip_lane_shape { /* what the header of a lane says, checked */
    uint64_t slots, capacity;
    uint32_t overflow, clock, keep;
};

/* Sets the cursor of a group that begins, or in a lane that begins: nothing is kept. */
void rip_cursor_set(struct rip_lane_entry *lane, uint32_t group, uint64_t seq);
/* Announces to every consumer that the table has changed, and wakes those that sleep. reasons: whose pollfds are made
 * readable (rip_pollfd_wake): 0 if a lane comes, or leaves the table; rip_reasons_of_end if one has ended; also
 * RIP_POLLFD_DEATHS if its producer has died or failed. */
void rip_lanes_changed(struct rip_channel *ch, uint32_t reasons);
/* Reads words of the header of a lane, which need not be mapped by this handle (rip_file_read). If the file does not
 * exist or cannot be read, the values are 0 and this returns 0. Returns a negative errno if that is unknown
 * (rip_is_resource_error). */
int rip_lane_read(struct rip_channel *ch, uint64_t id, struct rip_file_word *words, unsigned count);
/* Reads the header of a mapped lane. Any process may have written it, so every number is checked. Returns 0 or
 * -EBADMSG. */
int rip_lane_read_shape(const struct rip_mapping *mapping, struct rip_lane_shape *shape);
/* Adds an entry to the table. Returns its index; -EXFULL; or another negative errno: there is no memory for it. */
int rip_lanes_add(struct rip_channel *ch);
/* Loads the pages of the table. Returns 0 or a negative errno: they are not allocated, so the file is damaged. */
int rip_lanes_load(struct rip_channel *ch);
/* Removes the ended lanes that every group has read to the end. */
void rip_lanes_retire(struct rip_channel *ch);

#endif
