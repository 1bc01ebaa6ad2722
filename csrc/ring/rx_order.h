/* Which message comes next for a consumer that reads by time (RIP_BY_TIME): the oldest one of all lanes.
 *
 * The promise: if the put of A had returned, or somebody had got A, before B was put, A comes before B. Time stamps say
 * so, because the stamp of B is then the later one. But a consumer cannot scan all lanes at once: it may read the
 * lane of A before A is there, and the lane of B when B is there. So it scans all lanes again after it has found
 * B. That scan finds A, because A was published before B was. A message that was known before the last scan began is
 * *settled*: all that led to it is known too. Only the oldest message of all is taken, and only if it is settled.
 *
 * So the lanes are scanned once for all messages that are settled by it, and not once for each message. Messages that
 * come meanwhile are younger, except those of a producer that was interrupted between its stamp and the publication;
 * nothing settled can have been caused by them. */
#ifndef RIP_RX_ORDER_H
#define RIP_RX_ORDER_H

#include "ring/rx.h"

/* Finds the next message, as rip_advance. */
int rip_order_next(struct rip_consumer *c, struct rip_message *message);
/* The next message, if no scan is needed: 1; 0; or -EBADMSG. */
int rip_order_ready(struct rip_consumer *c, struct rip_message *message);
/* rip_rx_latest: takes the last one in the order of time, of all messages that are there at the call. */
int rip_order_newest(struct rip_consumer *c, struct rip_message *message);

/* Scans all lanes, and settles what was known before: 1; 0: a new lane cannot be read yet, because another member has
 * the table lock; or a negative errno. all: finds all messages, and not only the first ones of each lane. */
int rip_order_scan(struct rip_consumer *c, int all);
/* Can this member take message seq, which is published? Stores its time. */
int rip_order_time(const struct rip_consumer *c, const struct rip_rx *rx, uint64_t seq, uint64_t *time);

/* Reports the death or failure that was noticed in a scan. It counts as a message of that time, after all that were
 * published before. Returns as rip_report_death. */
int rip_order_report_death(struct rip_consumer *c, struct rip_rx *rx);

#endif
