/* Passing groups: how a producer makes room in a lane that is drop-old, or for groups that are.
 *
 * A group that a producer passes keeps claims, and the producer competes with its members: it drops an unread message by
 * the same compare-and-swap by which a member takes it. A message that a member has is pinned: it stays where it is,
 * the table of kept messages in the claims says so, and new messages go around it. So what a member uses is never
 * overwritten, and costs the room of one message, however long it is kept. Every message before dropped_below is given
 * up: each group has released it, or has lost it, or has it pinned. */
#ifndef RIP_DROP_OLD_H
#define RIP_DROP_OLD_H

#include "ring/tx.h"

int rip_drop_old_init(struct rip_producer *p);
void rip_drop_old_free(struct rip_producer *p);
/* Does this producer pass a group, or is there a pin? Else rip_reclaim is enough. */
int rip_drop_old_is_needed(const struct rip_producer *p);
/* A group whose member uses a pinned message, or RIP_MAX_GROUPS. */
uint32_t rip_drop_old_user(const struct rip_producer *p);
/* rip_make_room for such a lane. */
int rip_drop_old_make_room(struct rip_producer *p, uint64_t length);

#endif
