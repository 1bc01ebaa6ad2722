/* The state of a consumer's lanes: unread messages, ends, deaths, statistics. */
#ifndef RIP_RX_STATE_H
#define RIP_RX_STATE_H

#include "ring/rx.h"

/* Would the next attempt to get return something: a message, an end, a death or an error? */
int rip_rx_pending(struct rip_consumer *c);
/* For a lane without unread messages: -EOWNERDEAD or -ECONNABORTED if its producer has died or failed, and this was not
 * reported yet and is not skipped; else 0. */
int rip_report_death(struct rip_consumer *c, struct rip_rx *rx);
/* For a consumer without unread messages: -ENODATA if this is the end of the stream, else 0. */
int rip_at_end(struct rip_consumer *c);
/* Messages of all lanes that are published and not taken. */
uint64_t rip_rx_backlog(struct rip_consumer *c);
/* The pid of a producer whose lane is full while this consumer keeps its oldest message; else 0. */
int32_t rip_rx_blocks(const struct rip_consumer *c);
/* Messages that the group has missed since this consumer joined. */
uint64_t rip_rx_missed(const struct rip_consumer *c);

#endif
