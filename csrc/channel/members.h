/* The table of members: joining and leaving. The table lock must be held in all functions. */
#ifndef RIP_MEMBERS_H
#define RIP_MEMBERS_H

#include "channel/channel.h"

/* Makes the handle a member: takes a free entry. index: of its group, or RIP_NO_LANE, because a producer has no lane
 * yet. Returns 0, or -EUSERS (a consumer) or -EXFULL (a producer): the table is full. */
int rip_member_join(struct rip_channel *ch, enum rip_role role, uint32_t index);
/* Frees the entry of a member that leaves or is dead, and removes its pipe and its incomplete files. */
void rip_member_end(struct rip_channel *ch, uint32_t member);

#endif
