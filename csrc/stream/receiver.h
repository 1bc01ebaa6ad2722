/* A receiver reads messages from the kernel into its lane. */
#ifndef RIP_RECEIVER_H
#define RIP_RECEIVER_H

#include "stream/stream.h"

struct rip_receiver;

/* Opens a receiver and its lane, of capacity bytes and slots messages. pid: of the sending process. stamped: that
 * process runs on this machine, so its time stamps have the same clock. two_way: the receiver can write to the
 * connection. */
int rip_receiver_open(const char *channel, uint64_t capacity, uint64_t slots, int32_t pid, int stamped, int two_way,
                      struct rip_receiver **out);
/* Sets the label of its lane (rip_set_label). */
int rip_receiver_set_label(struct rip_receiver *r, const char *label);
int rip_receiver_connect(struct rip_receiver *r, int fd);
void rip_receiver_disconnect(struct rip_receiver *r);
int rip_receiver_step(struct rip_receiver *r);
/* Reports released messages to the sender if they are many; eager: if there are any. Returns 0 or a negative errno. */
int rip_receiver_ack(struct rip_receiver *r, int eager);
uint64_t rip_receiver_next(const struct rip_receiver *r);   /* messages received in all */
int rip_receiver_has_unacked(const struct rip_receiver *r); /* are there messages not yet reported as released? */
/* if the stream has not ended, the producer of the lane counts as dead */
void rip_receiver_free(struct rip_receiver *r);

#endif
