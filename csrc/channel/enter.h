/* Entering and leaving a channel. */
#ifndef RIP_ENTER_H
#define RIP_ENTER_H

#include "channel/channel.h"

/* Opens the control file and reaps dead members. name: the name of a channel, or "fd:<number>" for the anonymous
 * channel of that file descriptor. make: creates a named channel that does not exist, with this access. The caller has
 * set ch->handle.reap. Returns 0, and then the table lock is held; or a negative errno. */
int rip_channel_open(struct rip_channel *ch, const char *name, int make, struct rip_access access);
/* Leaves the channel. Frees the member entry of this handle, if it has one; removes the channel if no member is left
 * and nothing waits in it; releases the table lock, which must be held; closes all file descriptors. The tables stay
 * mapped. */
void rip_channel_close(struct rip_channel *ch);
/* Removes a channel without members. An anonymous channel is emptied instead. The table lock must be held. */
void rip_channel_clear(struct rip_channel *ch);
/* Closes all file descriptors and changes no table. Others find this member dead and reap it. Needs no lock. */
void rip_channel_abandon(struct rip_channel *ch);
/* Closes all file descriptors and unmaps the tables. */
void rip_channel_unmap(struct rip_channel *ch);

#endif
