/* The table of members: coming and going. The lock must be held. */
#ifndef RIP_MEMBERS_H
#define RIP_MEMBERS_H

#include "channel/channel.h"

/* Takes a member entry. index: of its group, or RIP_NO_LANE while a producer has no lane yet. */
int rip_member_join(struct rip_channel *ch, enum rip_role role, uint32_t index);
/* A member is none any more. */
void rip_member_end(struct rip_channel *ch, uint32_t member);

#endif
