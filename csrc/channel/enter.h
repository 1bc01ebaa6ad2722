/* Coming into a channel, and leaving it. */
#ifndef RIP_ENTER_H
#define RIP_ENTER_H

#include "channel/channel.h"

/* Opens the control file, and makes it if make. "fd:<number>": takes what that descriptor is of. On success the table lock is held.
 * ch->place.reap is set before. */
int rip_channel_open(struct rip_channel *ch, const char *name, int make, struct rip_access access);
/* Gives our member entry back if we have one, ends the channel if nobody is left in it, lets the lock and all descriptors go. */
void rip_channel_close(struct rip_channel *ch);
/* Nobody takes part in it: it is removed, or, without a name, all that is in it; the lock must be held. */
void rip_channel_clear(struct rip_channel *ch);
/* Lets the descriptors go and says nothing: others find us dead. */
void rip_channel_abandon(struct rip_channel *ch);
void rip_channel_unmap(struct rip_channel *ch);

#endif
