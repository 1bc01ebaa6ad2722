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

#endif
