/* Getting a message, with its waits. */
#ifndef RIP_GET_H
#define RIP_GET_H

#include "ring/rx.h"

/* One attempt of a wait: 1 and a message, 0, or a negative errno. */
typedef int rip_rx_getter(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);
int rip_rx_next(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);   /* rip_rx_peek */
int rip_rx_newest(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message); /* rip_rx_latest */
/* Repeats the attempt until it does not return 0, or returns -ETIMEDOUT. In between it waits, or, if the messages come
 * over links, reads what arrives (c->pull). deadline 0: makes a second attempt only if it has reaped or pulled, or if
 * the lane table has changed. */
int rip_rx_wait(struct rip_consumer *c, rip_rx_getter *getter, struct rip_filter *filter, struct rip_message *message,
                uint64_t deadline);

#endif
