/* One end of a connection: what both sides of a stream (stream.h) do with its file descriptor. */
#ifndef RIP_WIRE_H
#define RIP_WIRE_H

#include "stream/stream.h"

#include <sys/types.h>
#include <sys/uio.h>

#define RIP_AT_ONCE (UINT64_C(1) << 21) /* bytes in one step, so that other links are served too */

struct rip_wire {
    int fd;
    int is_socket;
    int is_unix;  /* a Unix socket */
    int wakes_at; /* bytes that make the socket readable, as set by rip_wire_wake_at */
    int is_quiet; /* a pipe, and the process ignores SIGPIPE, as Python makes it */
    /* the bytes of a frame without a message that are still to be written */
    unsigned char out[sizeof(struct rip_frame)];
    size_t out_left;
};

int rip_wire_connect(struct rip_wire *wire, int fd);
/* Return bytes or a negative errno. The file descriptor of a pipe must be O_NONBLOCK. */
ssize_t rip_wire_write(const struct rip_wire *wire, struct iovec *parts, int count);
ssize_t rip_wire_read(const struct rip_wire *wire, struct iovec *parts, int count);
/* Makes the socket readable only when this many bytes have arrived, or the end. bytes: an upper limit; it is readable
 * at a quarter of its receive buffer, which the kernel may enlarge. Does nothing on pipes and Unix sockets, whose
 * readiness does not depend on it. */
void rip_wire_wake_at(struct rip_wire *wire, int bytes);
void rip_wire_queue(struct rip_wire *wire, enum rip_frame_type type, uint64_t count);
/* Writes the rest of a queued frame: 0, RIP_STEP_OUT, or a negative errno. */
int rip_wire_flush(struct rip_wire *wire);
int rip_is_frame(const struct rip_frame *frame);

#endif
