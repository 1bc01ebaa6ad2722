/* Making room around messages in use, and by passing groups: in a lane that is drop-old, or for groups that are.
 *
 * A group that a producer passes keeps claims, and the producer competes with its members: it drops an unread message
 * by the same compare-and-swap by which a member takes it. A message that a member has is pinned: it stays where it is,
 * the table of kept messages in the claims says so, and new messages go around it. So what a member uses is never
 * overwritten, and costs the room of one message, however long it is kept. Every message before dropped_below is given
 * up: each group has released it, or has lost it, or has it pinned.
 *
 * A group that the producer waits for loses nothing, but what its members have done and still use is pinned, too. If it
 * keeps claims, the producer moves such a message into the table, as above. If it does not, its member writes the
 * message into the table beside the cursor, before it moves the cursor beyond it. */
#ifndef RIP_DROP_OLD_H
#define RIP_DROP_OLD_H

#include "ring/tx.h"

int rip_drop_old_init(struct rip_producer *p);
void rip_drop_old_free(struct rip_producer *p);
/* Does this producer pass a group, or is there a pin? Else rip_reclaim is enough, unless a group keeps a message. */
int rip_drop_old_is_needed(const struct rip_producer *p);
/* If all groups are waited for and the lane is full: does one keep claims that may show messages which are done? */
int rip_drop_old_may_help(const struct rip_producer *p);
/* A group whose member uses a pinned message, or RIP_MAX_GROUPS. */
uint32_t rip_drop_old_user(const struct rip_producer *p);
/* Of a shared lane: takes over the messages in use that owners before this one have given up. Returns 0 or -EBADMSG. */
int rip_drop_old_adopt(struct rip_producer *p);
/* rip_make_room for such a lane. */
int rip_drop_old_make_room(struct rip_producer *p, uint64_t length);

#endif
