/* What a consumer's lanes have for it: messages, ends, deaths; and what of it can be shown. */
#ifndef RIP_RX_STATE_H
#define RIP_RX_STATE_H

#include "ring/rx.h"

/* Has the next look something to tell, a message, an end, a death, or an error? */
int rip_rx_pending(struct rip_consumer *c);
/* Of a lane with nothing to read: -EOWNERDEAD if its producer has died and that has not been told, else 0. */
int rip_report_death(struct rip_consumer *c, struct rip_rx *rx);
/* Nothing to read anywhere: is it the end? 0 or -ENODATA. */
int rip_at_end(struct rip_consumer *c);
/* How many messages of all lanes are published and not taken. */
uint64_t rip_rx_backlog(struct rip_consumer *c);
/* The pid of a producer whose lane is full while we hold the oldest message in it, or 0. */
int32_t rip_rx_blocks(const struct rip_consumer *c);
/* How many the group has missed since we came. */
uint64_t rip_rx_missed(const struct rip_consumer *c);

#endif
