/* A receiver takes messages out of the kernel, and puts them where they belong in the ring. */
#ifndef RIP_RECEIVER_H
#define RIP_RECEIVER_H

#include "stream/stream.h"

struct rip_receiver;

/* The lane is of capacity bytes and slots messages, and said to be the other process's, pid. stamped: that one runs on
 * this machine, so its time stamps are of the same clock. */
int rip_receiver_open(const char *channel, uint64_t capacity, uint64_t slots, int32_t pid, int stamped, int two_way,
                      struct rip_receiver **out);
int rip_receiver_connect(struct rip_receiver *r, int fd);
void rip_receiver_disconnect(struct rip_receiver *r);
int rip_receiver_step(struct rip_receiver *r);
/* Says what has been let go, if it is much; eager: if it is anything. 0 or a negative errno. */
int rip_receiver_ack(struct rip_receiver *r, int eager);
uint64_t rip_receiver_next(const struct rip_receiver *r);   /* messages that it has, in all */
int rip_receiver_has_unacked(const struct rip_receiver *r); /* is there something that it has not said to be let go? */
void rip_receiver_free(struct rip_receiver *r);             /* unless an end has come, the lane's producer has died */

#endif
