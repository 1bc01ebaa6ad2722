/* Finding dead members and doing for them what they would have done at close. A member is alive while its byte of the
 * control file is locked (store/handle.h). */
#ifndef RIP_REAP_H
#define RIP_REAP_H

#include "channel/channel.h"

/* The hook through which lower layers reap the dead members of a channel. Every channel handle sets it
 * (rip_handle.reap). The lock must be held. */
void rip_channel_reap(struct rip_handle *handle);
/* Requeues the messages that a member had taken. If it was the last member, the group ends, unless it is durable or
 * declared. Returns 0, or -EMFILE and so on: then call it again later. The lock must be held. */
int rip_member_leave(struct rip_channel *ch, uint32_t member);

#endif
