/* Which message comes next for a consumer that reads by time (RIP_BY_TIME): the oldest one of all lanes.
 *
 * The promise: if A was published before the put of B began, A comes before B. A message is published when its tail is
 * stored: then somebody may have got it, or its put may have returned. The stamp of B is the later one. But a consumer
 * cannot scan all lanes at once: it may read the lane of A before A is there, and the lane of B when B is there. So it
 * scans all lanes again after it has found B. A message that was known before the last scan began is *settled*. Only
 * the oldest message of all is taken, and only if it is settled.
 *
 * The scan that settles B must find A if it is there. So it reads each other lane up to its tail, whether or not
 * messages of that lane are known already. In the lane of B itself it may overlook messages, because they are younger
 * than B. If only one lane has messages, a scan settles nothing in other lanes, and it need not look for all that this
 * lane has.
 *
 * So the lanes are scanned once for all messages that are settled by it, and not once for each message. Messages that
 * come meanwhile are younger, except those of a producer that was interrupted between its stamp and the publication;
 * nothing settled can have been caused by them. */
#ifndef RIP_RX_ORDER_H
#define RIP_RX_ORDER_H

#include "ring/rx.h"

/* Finds the next message, as rip_advance. 0 does not always mean that there is none: where messages are dropped, or
 * taken by other members, as fast as this one scans the lanes, it gives up for this time (rip_order_most_scans). */
int rip_order_next(struct rip_consumer *c, struct rip_message *message);
/* The next message, if no scan is needed: 1; 0; or -EBADMSG. */
int rip_order_ready(struct rip_consumer *c, struct rip_message *message);
/* rip_rx_latest: takes the last one in the order of time, of all messages that are there at the call. */
int rip_order_newest(struct rip_consumer *c, struct rip_message *message);

/* Scans all lanes, and settles what was known before: 1; 0: a new lane cannot be read yet, because another member has
 * the table lock; or a negative errno. all: finds all messages that are there. */
int rip_order_scan(struct rip_consumer *c, int all);
/* How often a call scans the lanes at most. After the first scan, each further one settles the oldest message, or has
 * found an older one in a lane that had none; unless messages go as fast as it scans. */
static inline uint32_t rip_order_most_scans(const struct rip_consumer *c) { return c->count + 2; }
/* Can this member take message seq, which is published? Stores its time. */
int rip_order_time(const struct rip_consumer *c, const struct rip_rx *rx, uint64_t seq, uint64_t *time);

/* Reports the death or failure that was noticed in a scan. It counts as a message of that time, after all that were
 * published before. Returns as rip_report_death. */
int rip_order_report_death(struct rip_consumer *c, struct rip_rx *rx);

#endif
