/* A lane that drops its oldest messages to make room for new ones.
 *
 * On such a lane every group keeps claims, so the producer takes part in them: it claims an unread message as dropped by the same
 * compare-and-swap by which a member claims it to read, and what somebody looks at is never written over. Everything before `from`
 * is given up: done, dropped, or pinned, which means that some group's member still looks at it. The room of what is given up is
 * used again, around the pins. So a consumer that keeps one message for long costs the room of that one.
 */
#ifndef RIP_DROP_OLD_H
#define RIP_DROP_OLD_H

#include "ring/tx.h"

int rip_drop_old_init(struct rip_producer *p);
void rip_drop_old_free(struct rip_producer *p);
/* rip_make_room where old messages are dropped. */
int rip_drop_old_make_room(struct rip_producer *p, uint64_t length);
uint64_t rip_drop_old_first_kept(const struct rip_producer *p); /* the first message not given up */

#endif
