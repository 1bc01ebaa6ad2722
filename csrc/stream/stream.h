/* Messages over a byte stream (a socket or a pipe), from a lane in one process into a lane in another.
 *
 * A sender is a member of a group. It writes messages from their lanes directly to the kernel. A receiver has a lane
 * and reads messages from the kernel directly into it. So a stream is one more way for a lane to reach a group;
 * back-pressure, groups, selection and views are those of the lanes.
 *
 * The stream consists of frames: a header of 32 bytes, then the payload of the message. Over a socket, frames in the
 * other direction report how many messages have been released there. Until then they stay in the sender's lane. So a
 * broken connection loses no message, and a receiver that releases nothing stops the sender when the sender's lane is
 * full (credit). */
#ifndef RIP_STREAM_H
#define RIP_STREAM_H

#include "ringipc.h"

/* FAILED: as END, and the producer has failed. */
enum rip_frame_type { RIP_FRAME_MESSAGE = 1, RIP_FRAME_RELEASED = 2, RIP_FRAME_END = 3, RIP_FRAME_FAILED = 4 };

struct rip_frame {       /* little-endian */
    uint32_t magic;      /* RIP_FRAME_MAGIC */
    uint8_t frame_type;  /* enum rip_frame_type */
    uint8_t kind;        /* enum rip_kind; this and the fields below are 0 in frames without a message, except length */
    uint8_t redelivered; /* rip_message.redelivered */
    uint8_t reserved;    /* 0 */
    uint32_t type;       /* chosen by the sender of the message */
    uint32_t missed;     /* messages lost just before this one */
    /* of a message: bytes of payload; RELEASED: messages of this stream released in all; else messages in all */
    uint64_t length;
    uint64_t time; /* when the message was put, nanoseconds of the machine's time (base/clock.h) */
};

#define RIP_FRAME_MAGIC UINT32_C(0x31706972) /* "rip1" */
#define RIP_STREAM_BATCH 512u
/* bytes, of the lane of a producer at the other end of a connection, and of its longest message: so much does a process
 * allocate because a peer says so */
#define RIP_LARGEST_REMOTE (UINT64_C(1) << 30)
#define RIP_STREAM_BUFFER 65536u

/* The result of a step. IDLE: nothing more to do now. OUT: continue when the file descriptor is writable. ROOM:
 * continue when there is room in the lane (try again in a millisecond). END: the stream has ended in order. Negative:
 * the error that broke the connection. */
enum rip_step { RIP_STEP_IDLE, RIP_STEP_OUT, RIP_STEP_ROOM, RIP_STEP_END };

#endif
