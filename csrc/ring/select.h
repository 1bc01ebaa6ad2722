/* Selecting messages out of order: by type, the lowest type first, or one after the other until the caller accepts
 * one. */
#ifndef RIP_SELECT_H
#define RIP_SELECT_H

#include "ring/rx.h"

/* Finds a message that the filter accepts, without taking it: 1, else as rip_advance. With claims, another member may
 * take the message meanwhile, and the producer may overwrite it; then rip_rx_try fails. */
int rip_rx_find(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);
/* Takes the message that was found: 1, or 0 if another member has it. */
int rip_rx_try(struct rip_consumer *c, struct rip_message *message);
int rip_rx_is_there(const struct rip_message *found);
/* Takes a message that the filter accepts: 1, else as rip_advance. */
int rip_rx_select(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);
/* Requeues a taken message. started: work on it had started, so where its lane has claims this delivery counts. */
void rip_rx_requeue(struct rip_consumer *c, const struct rip_message *message, int started);
/* Requeues a message that the program has worked on, so that searches in progress and waits of other threads find
 * it. */
void rip_rx_redeliver(struct rip_consumer *c, const struct rip_message *message);

#endif
