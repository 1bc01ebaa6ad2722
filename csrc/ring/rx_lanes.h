/* The lanes that a consumer has: mapping those of the table, and letting go those that are gone. */
#ifndef RIP_RX_LANES_H
#define RIP_RX_LANES_H

#include "ring/rx.h"

void rip_rx_unmap(struct rip_rx *rx);
rip_claims_of rip_rx_claims_of; /* of a consumer's own lanes */
/* Takes the lane table over: new lanes, ended lanes, lanes that are gone; the lock must be held, and may be released
 * meanwhile, or be lost, as in rip_claims_open. */
int rip_rescan(struct rip_consumer *c);
/* Takes over the table of lanes if that has changed, as far as that can be done now. */
void rip_update_lanes(struct rip_consumer *c);
/* The same: 0, or a negative errno, once, why a lane of it could not be mapped.
 * While another member has its lock we stay behind. */
int rip_update_lanes_or_fail(struct rip_consumer *c);
/* Has the table of lanes changed since we took it over? There may be a lane that we do not know. */
int rip_rx_is_stale(const struct rip_consumer *c);
/* How long to wait at most until the next look: RIP_SLICE_NS, less while we are behind. */
uint64_t rip_rx_slice(const struct rip_consumer *c);
/* Are we behind, but not for long yet? Then who does not wait naps and looks again: what has been put may lie in a lane
 * that we do not know, and the lock is held for a moment, unless its holder is stopped. */
int rip_may_sleep_briefly(const struct rip_consumer *c);
void rip_brief_sleep(void);

#endif
