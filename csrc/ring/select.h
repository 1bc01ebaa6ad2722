/* Messages out of their turn: by type, the lowest type first, or one after the other until the caller likes one. */
#ifndef RIP_SELECT_H
#define RIP_SELECT_H

#include "ring/rx.h"

/* Finds a message that the filter lets through, and leaves it there: 1, else as rip_advance. Where members compete, what is found
 * may go to another meanwhile, and be written over; then rip_rx_try fails. */
int rip_rx_find(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);
/* Takes what has been found: 1, or 0 if somebody else has it. */
int rip_rx_try(struct rip_consumer *c, struct rip_message *message);
int rip_rx_is_there(const struct rip_message *found);
/* Takes a message that the filter lets through: 1, else as rip_advance. */
int rip_rx_select(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);
void rip_rx_requeue(struct rip_consumer *c, const struct rip_message *message);

#endif
