/* An I/O loop moves messages between a channel of this process and the links of one handle.
 *
 * It has a thread, which works when no other thread does. A message that is put while nothing else is being sent is
 * written by the thread that puts it, and a thread that waits for a message reads from the link itself: handing a
 * message to another thread takes longer than the kernel needs for the whole way. */
#ifndef RIP_IO_LOOP_H
#define RIP_IO_LOOP_H

#include "stream/io_calls.h"
#include "stream/receiver.h"
#include "stream/sender.h"

struct rip_end { /* the end of a connection */
    uint64_t id;
    uint32_t ordinal; /* ordinal of this connection of its link, from 1 */
    int why;          /* RIP_STEP_END, or a negative errno */
};

int rip_io_loop_open(int spin, struct rip_io_loop **out);
/* Adds a link with a sender or a receiver, which then belongs to the loop. *id: identifies the link. prompt: a receiver
 * reports released messages at once; a sender also sends what other handles put. -EMLINK: too many links. */
int rip_io_loop_add(struct rip_io_loop *loop, struct rip_sender *sender, struct rip_receiver *receiver, int prompt,
                    uint64_t *id);
/* Moves messages until a connection ends or rip_io_loop_stop is called. Returns 1 and *end, or 0. */
int rip_io_loop_run(struct rip_io_loop *loop, struct rip_end *end);
/* Connects a link, for the first time or again. fd stays the caller's and must stay open until the end of the
 * connection is reported or rip_io_loop_disconnect. next: for a sender, the number of messages that the peer has.
 * Returns the ordinal of the connection; -EINVAL: the peer cannot have that number. */
int rip_io_loop_connect(struct rip_io_loop *loop, uint64_t id, int fd, uint64_t next);
void rip_io_loop_disconnect(struct rip_io_loop *loop, uint64_t id);
int rip_io_loop_can(struct rip_io_loop *loop, uint64_t id, uint64_t next); /* can a link continue at message next? */
void rip_io_loop_finish(struct rip_io_loop *loop); /* the senders take no more messages and end their streams */
uint64_t rip_io_loop_progress(struct rip_io_loop *loop, uint64_t id); /* messages received, or released by the peer */
void rip_io_loop_remove(struct rip_io_loop *loop, uint64_t id);
void rip_io_loop_stop(struct rip_io_loop *loop);
void rip_io_loop_free(struct rip_io_loop *loop); /* with all links; its thread must have ended */

#endif
