/* Lanes that drop their oldest messages to make room for new ones.
 *
 * On such a lane every group keeps claims, and the producer competes with the members: it drops an unread message by
 * the same compare-and-swap by which a member takes it. So it never overwrites a message that a member uses. Every
 * message before dropped_below is given up: released, dropped or pinned. Pinned means that some group's member still
 * uses it. New messages use the memory of the given-up messages, around the pins. So a consumer that keeps one message
 * for long costs the room of that one message. */
#ifndef RIP_DROP_OLD_H
#define RIP_DROP_OLD_H

#include "ring/tx.h"

int rip_drop_old_init(struct rip_producer *p);
void rip_drop_old_free(struct rip_producer *p);
/* rip_make_room for such a lane. */
int rip_drop_old_make_room(struct rip_producer *p, uint64_t length);
/* dropped_below: the first message that is not given up */
uint64_t rip_drop_old_first_kept(const struct rip_producer *p);

#endif
