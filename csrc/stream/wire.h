/* One end of a connection: what both sides of a stream (stream.h) do with its descriptor. */
#ifndef RIP_WIRE_H
#define RIP_WIRE_H

#include "stream/stream.h"

#include <sys/types.h>
#include <sys/uio.h>

#define RIP_AT_ONCE (UINT64_C(1) << 21) /* bytes in one step, so that others have their turn */

struct rip_wire {
    int fd;
    int is_socket;
    int wakes_at_most; /* a quarter of a socket's buffer, so that it has room for more than that; 0: no socket */
    int wakes_at;      /* bytes that make a socket readable, as rip_wire_wake_at has set it */
    int is_quiet;      /* a pipe, and the process ignores SIGPIPE, as Python makes it */
    unsigned char out[sizeof(struct rip_frame)]; /* of a frame without a message: what is still to be written */
    size_t out_left;
};

int rip_wire_connect(struct rip_wire *wire, int fd);
/* Bytes, or a negative errno; a pipe's descriptor is to be O_NONBLOCK. */
ssize_t rip_wire_write(const struct rip_wire *wire, struct iovec *parts, int count);
ssize_t rip_wire_read(const struct rip_wire *wire, struct iovec *parts, int count);
/* Makes the socket readable only when this many bytes have arrived (wakes_at_most, if that is less), or its end. Without
 * effect on pipes, and on the readiness of Unix sockets. */
void rip_wire_wake_at(struct rip_wire *wire, int bytes);
void rip_wire_say(struct rip_wire *wire, enum rip_frame_is is, uint64_t count);
/* Writes what rip_wire_say has left: 0, RIP_STEP_OUT, or a negative errno. */
int rip_wire_flush(struct rip_wire *wire);
int rip_is_frame(const struct rip_frame *frame);

#endif
