/* The lanes of a consumer: mapping those in the lane table, and unmapping those that have left it. */
#ifndef RIP_RX_LANES_H
#define RIP_RX_LANES_H

#include "ring/rx.h"

void rip_rx_unmap(struct rip_rx *rx);
rip_claims_of rip_rx_claims_of; /* for the lanes that a consumer has mapped */
/* Brings the consumer up to date with the lane table: new, ended and removed lanes. The lock must be held; it may be
 * released meanwhile, or be lost, as in rip_claims_open. */
int rip_rescan(struct rip_consumer *c);
/* Calls rip_rescan if the lane table has changed and the table lock can be taken without waiting. */
void rip_update_lanes(struct rip_consumer *c);
/* rip_update_lanes; returns 0, or the error of mapping a lane, once. While another member holds the lock, the consumer
 * continues with the lanes that it has. */
int rip_update_lanes_or_fail(struct rip_consumer *c);
/* Has the lane table changed since it was read completely? Then there may be a lane that is not mapped. */
int rip_rx_is_stale(const struct rip_consumer *c);
/* Is there a new lane that a consumer that reads by time does not know, because another member has the table lock?
 * Until it knows it, nobody can say which message is the oldest. */
int rip_rx_awaits_lock(const struct rip_consumer *c);
/* The longest time until the next check: RIP_SLICE_NS, or less if an update has failed because of the table lock. */
uint64_t rip_rx_slice(const struct rip_consumer *c);
/* Has an update failed because of the table lock, but not often yet? Then a call that does not wait sleeps briefly and
 * tries again: the message may be in a lane that is not mapped yet, and the lock is held for moments only unless its
 * holder is stopped. */
int rip_may_sleep_briefly(const struct rip_consumer *c);
#define RIP_BRIEF_NS UINT64_C(50000)
void rip_sleep_for(uint64_t ns);

#endif
