/* Wakes members. Every wake-up of a consumer or a producer is done here. None of these functions needs a lock. */
#ifndef RIP_WAKE_H
#define RIP_WAKE_H

#include "channel/channel.h"

/* Wakes the groups that sleep. messages: how many have been published; in a shared group that many members are woken.
 * 0: all members check. Out of line, because a publish calls it only if a member sleeps. */
void rip_wake_groups(struct rip_channel *ch, uint64_t messages);
/* Wakes all members of a group, whether or not it has announced a sleep. reasons: as for rip_pollfd_wake. */
void rip_wake_group(struct rip_channel *ch, uint32_t group, uint32_t reasons);
/* Wakes all members of the groups that sleep. Pollfds that are not armed for these reasons stay armed, so the groups
 * stay announced. */
void rip_wake_for(struct rip_channel *ch, uint32_t reasons);
/* Wakes the producer of a lane, or those of all lanes, if it sleeps. */
void rip_wake_lane(struct rip_channel *ch, struct rip_lane_entry *lane);
void rip_wake_lanes(struct rip_channel *ch);

#endif
