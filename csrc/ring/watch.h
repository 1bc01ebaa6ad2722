/* What a handle waits for. */
#ifndef RIP_WATCH_H
#define RIP_WATCH_H

#include "ring/rx.h"
#include "ring/tx.h"

/* Call this before the check that finds no room. Then a release between that check and the wait is not missed. */
void rip_room_watch(struct rip_producer *p, struct rip_watch *watch);
/* filter: the messages that the wait is for; NULL: any message. */
void rip_message_watch(struct rip_consumer *c, const struct rip_filter *filter, struct rip_watch *watch);

#endif
