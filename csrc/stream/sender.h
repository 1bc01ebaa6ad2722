/* A sender takes messages out of the ring, and gives them to the kernel. */
#ifndef RIP_SENDER_H
#define RIP_SENDER_H

#include "stream/stream.h"

struct rip_sender;

/* from: becomes the sender's, and is closed with it. window: messages that may be on their way and not let go, 0: as many as there are.
 * two_way: 0: nothing comes back, and what is written is let go. */
int rip_sender_open(struct rip_consumer *from, uint32_t window, int two_way, struct rip_sender **out);
/* A connection to go on with, which is not closed here; next: how many messages the other side has. -EINVAL: it cannot have. */
int rip_sender_connect(struct rip_sender *s, int fd, uint64_t next);
void rip_sender_disconnect(struct rip_sender *s); /* its descriptor may be closed from here on */
int rip_sender_step(struct rip_sender *s);        /* gives the kernel what it takes, and reads what has been let go */
int rip_sender_fd(struct rip_sender *s);          /* as rip_consumer_fd */
void rip_sender_update_fd(struct rip_sender *s);  /* as rip_consumer_update_fd */
int rip_sender_has_more(struct rip_sender *s);    /* has the ring something for it that it has not taken? */
/* May it have, in a lane that could not be mapped yet? Then how long until it is to look again, nanoseconds, else 0. */
uint64_t rip_sender_pause(const struct rip_sender *s);
void rip_sender_end(
    struct rip_sender *s); /* takes no more: once all that it has taken is on its way, the stream ends */
int rip_sender_can(const struct rip_sender *s, uint64_t next); /* go on from there? */
uint64_t rip_sender_unsent(const struct rip_sender *s);        /* bytes taken, which the kernel does not have yet */
uint64_t rip_sender_released(const struct rip_sender *s);      /* messages, in all */
/* Leaves the group, which gets back what was not let go. at_once: it does not wait for the table lock, else for a second
 * at most: 1 where it could not be had, and others are to find that this member has gone. */
int rip_sender_free(struct rip_sender *s, int at_once);

#endif
