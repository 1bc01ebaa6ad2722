/* Ends the sleep of members: every wake-up of a consumer or a producer comes from here. */
#ifndef RIP_WAKE_H
#define RIP_WAKE_H

#include "channel/channel.h"

/* Wakes the groups that sleep. messages: so many have been published, each for one member where members compete; 0: all are to
 * look. Out of line: a publish calls it only when somebody sleeps. */
void rip_wake_groups(struct rip_channel *ch, uint64_t messages);
void rip_wake_group(struct rip_channel *ch, uint32_t group); /* one of them, whether it sleeps or not */
/* Wakes the producer of a lane, if it sleeps. */
void rip_wake_lane(struct rip_channel *ch, struct rip_lane_entry *lane);

#endif
