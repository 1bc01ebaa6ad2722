/* Messages over a byte stream, a socket or a pipe: from a ring here into a ring there.
 *
 * A sender is a member of a group here, and takes messages out of the ring straight into the kernel; a receiver has a lane there, and
 * takes them out of the kernel straight into its ring. So a stream is one more way for a lane to come to a group, and everything else
 * about a channel, back-pressure, groups, selection, views, is the ring's own.
 *
 * What crosses is frames, each a header of 32 bytes, a message's payload behind it. The other way, where there is one, come frames that
 * say how many messages have been let go there: until then they stay in the ring here, so a connection that breaks loses none, and an
 * end that keeps them stops the other one at the size of its ring (credit). */
#ifndef RIP_STREAM_H
#define RIP_STREAM_H

#include "ringipc.h"

enum rip_frame_is { RIP_FRAME_MESSAGE = 1, RIP_FRAME_RELEASED = 2, RIP_FRAME_END = 3 };

struct rip_frame {    /* little-endian */
    uint32_t magic;   /* RIP_FRAME_MAGIC */
    uint8_t is;       /* enum rip_frame_is */
    uint8_t kind;     /* enum rip_kind; the rest is 0 where no message follows */
    uint8_t flags;    /* enum rip_message_flag */
    uint8_t reserved; /* 0 */
    uint32_t type;    /* as its sender chose */
    uint32_t missed;  /* messages lost just before this one */
    uint64_t length;  /* bytes that follow; or how many messages of this stream have been let go in all */
    uint64_t time;    /* when it was put, nanoseconds of the machine's time (clock.h) */
};

#define RIP_FRAME_MAGIC UINT32_C(0x31706972) /* "rip1" */
#define RIP_STREAM_BATCH 512u
#define RIP_STREAM_BUFFER 65536u

/* What a step says: it has done what there was to do; it goes on when the descriptor takes more, or when there is room in the ring (a
 * millisecond later, say); the other side has closed in order; or, negative, why the connection is of no use any more. */
enum rip_step { RIP_STEP_IDLE, RIP_STEP_OUT, RIP_STEP_ROOM, RIP_STEP_END };

struct rip_sender;
struct rip_receiver;

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
uint64_t rip_sender_released(const struct rip_sender *s);      /* messages, in all */
/* Leaves the group, which gets back what was not let go. at_once: it does not wait for the table lock, else for a second
 * at most: 1 where it could not be had, and others are to find that this member has gone. */
int rip_sender_free(struct rip_sender *s, int at_once);

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
