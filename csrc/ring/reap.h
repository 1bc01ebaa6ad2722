/* Finding the dead, and doing for them what they would have done at close. A member is alive while its byte of the control file is
 * locked (store/handle.h). */
#ifndef RIP_REAP_H
#define RIP_REAP_H

#include "channel/channel.h"

/* The hook by which everything below has the dead of a channel found: every handle of one sets it (rip_handle.reap). The lock must be
 * held. */
void rip_channel_reap(struct rip_handle *handle);
/* What a member of a group held goes back to the others; the last one's group goes with it, unless it is durable. 0, or -EMFILE and
 * the like: then it is to be called again. The lock must be held. */
int rip_member_leave(struct rip_channel *ch, uint32_t member);

#endif
