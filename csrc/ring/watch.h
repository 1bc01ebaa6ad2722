/* What a handle waits for. */
#ifndef RIP_WATCH_H
#define RIP_WATCH_H

#include "ring/rx.h"
#include "ring/tx.h"

/* To be filled in before the look that finds no room; then that look and the wait cannot miss a release between them. */
void rip_room_watch(struct rip_producer *p, struct rip_watch *watch);
/* filter: what the wait is for, or NULL for any message. */
void rip_message_watch(struct rip_consumer *c, const struct rip_filter *filter, struct rip_watch *watch);

#endif
