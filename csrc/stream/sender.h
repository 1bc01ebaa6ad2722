/* A sender writes messages of its group from their lanes to the kernel. */
#ifndef RIP_SENDER_H
#define RIP_SENDER_H

#include "stream/stream.h"

struct rip_sender;

/* Opens a sender. from: belongs to the sender, which closes it. window: most messages that are sent and not released;
 * 0: no limit. two_way: 0: the peer reports nothing, and what is written counts as released. */
int rip_sender_open(struct rip_consumer *from, uint32_t window, int two_way, struct rip_sender **out);
/* Continues on a connection, which is not closed here. next: the number of messages that the peer has. -EINVAL: it
 * cannot have that number. */
int rip_sender_connect(struct rip_sender *s, int fd, uint64_t next);
void rip_sender_disconnect(struct rip_sender *s); /* its file descriptor may be closed after this */
int rip_sender_step(struct rip_sender *s);        /* writes what the kernel accepts, and reads what has been released */
/* Takes messages as far as the window allows, and at most RIP_STREAM_BATCH that are not written. rip_sender_step does
 * so too. Returns 0 or a negative errno. */
int rip_sender_take(struct rip_sender *s);
int rip_sender_fd(struct rip_sender *s);         /* as rip_consumer_fd */
void rip_sender_update_fd(struct rip_sender *s); /* as rip_consumer_update_fd */
int rip_sender_has_more(struct rip_sender *s);   /* are there messages that it may take now? */
/* If there may be messages in a lane that could not be mapped: nanoseconds until the next attempt; else 0. */
uint64_t rip_sender_pause(const struct rip_sender *s);
void rip_sender_end(struct rip_sender *s); /* takes no more messages; the stream ends after those that are taken */
int rip_sender_can(const struct rip_sender *s, uint64_t next); /* can it continue at message next? */
uint64_t rip_sender_unsent(const struct rip_sender *s);        /* payload bytes taken and not written to the kernel */
uint64_t rip_sender_written(const struct rip_sender *s);       /* bytes written to the kernel in all */
uint64_t rip_sender_released(const struct rip_sender *s);      /* messages released in all */
/* Leaves the group; messages not released are requeued. at_once: does not wait for the table lock (else at most a
 * second). Returns 1 if the lock was not obtained: other members then find this one dead. */
int rip_sender_free(struct rip_sender *s, int at_once);

#endif
