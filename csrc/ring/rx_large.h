/* Messages that are longer than the capacity of their lane (large.h), at a consumer. It maps each region when it first
 * meets a message in it. The region stays mapped until the lane is unmapped, because there may be views on messages in
 * it; freed memory that is mapped takes only address space. */
#ifndef RIP_RX_LARGE_H
#define RIP_RX_LARGE_H

#include "channel/layout.h"
#include "store/handle.h"

struct rip_rx_large; /* the regions of one lane */

/* For the lane with this id. arena: the offset of its arena in the file that it lies in. NULL: there is no memory. */
struct rip_rx_large *rip_rx_large_new(struct rip_handle *handle, uint64_t id, const struct rip_lane *lane,
                                      uint64_t arena);
/* Finds these bytes of a message. Returns 0 and *data, -EBADMSG if they lie in no region, or another negative errno if
 * the region cannot be mapped now. */
int rip_rx_large_find(struct rip_rx_large *large, uint64_t offset, uint64_t length, const unsigned char **data);
/* Unmaps the regions. large may be NULL. */
void rip_rx_large_free(struct rip_rx_large *large);

#endif
