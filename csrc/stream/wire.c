#include "stream/wire.h"
#include "base/common.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little-endian"
#endif

static_assert(sizeof(struct rip_frame) == 32, "what crosses");

int rip_wire_connect(struct rip_wire *wire, int fd) {
    struct stat st;
    struct sigaction broken;
    if (fstat(fd, &st) != 0 || sigaction(SIGPIPE, NULL, &broken) != 0) {
        return -errno;
    }
    int is_socket = S_ISSOCK(st.st_mode);
    struct sockaddr_storage at = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof at;
    if (is_socket && getsockname(fd, (struct sockaddr *)&at, &size) != 0) {
        return -errno;
    }
    int is_unix = is_socket && at.ss_family == AF_UNIX;
    *wire = (struct rip_wire){.fd = fd,
                              .is_socket = is_socket,
                              .is_unix = is_unix,
                              .wakes_at = 1,
                              .is_quiet = !is_socket && broken.sa_handler == SIG_IGN};
    return 0;
}

/* Writing to a pipe without a reader must return an error, not raise a signal that ends a program that knows of no
 * pipe. Blocking the signal takes three more system calls. A process that ignores the signal when the connection starts
 * needs none. */
static ssize_t rip_write_pipe(int fd, const struct iovec *parts, int count) {
    static const struct timespec at_once = {0};
    sigset_t broken, were, waiting;
    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    sigpending(&waiting);
    pthread_sigmask(SIG_BLOCK, &broken, &were);
    ssize_t n = writev(fd, parts, count);
    int error = errno;
    if (n < 0 && error == EPIPE && !sigismember(&waiting, SIGPIPE)) {
        sigtimedwait(&broken, NULL, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &were, NULL);
    errno = error;
    return n;
}

ssize_t rip_wire_write(const struct rip_wire *wire, struct iovec *parts, int count) {
    ssize_t n;
    do {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        n = wire->is_socket  ? sendmsg(wire->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
            : wire->is_quiet ? writev(wire->fd, parts, count)
                             : rip_write_pipe(wire->fd, parts, count);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t rip_wire_read(const struct rip_wire *wire, struct iovec *parts, int count) {
    ssize_t n;
    do {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        n = wire->is_socket ? recvmsg(wire->fd, &message, MSG_DONTWAIT) : readv(wire->fd, parts, count);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

void rip_wire_wake_at(struct rip_wire *wire, int bytes) {
    if (!wire->is_socket || wire->is_unix) {
        return;
    }
    if (bytes > 1) { /* it must have room for more than these */
        int buffer = 0;
        socklen_t size = sizeof buffer;
        int most = getsockopt(wire->fd, SOL_SOCKET, SO_RCVBUF, &buffer, &size) == 0 ? buffer / 4 : 1;
        bytes = bytes < most ? bytes : most;
    }
    if (bytes != wire->wakes_at && setsockopt(wire->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0) {
        wire->wakes_at = bytes;
    }
}

void rip_wire_queue(struct rip_wire *wire, enum rip_frame_type type, uint64_t count) {
    struct rip_frame frame = {.magic = RIP_FRAME_MAGIC, .frame_type = (uint8_t)type, .length = count};
    memcpy(wire->out, &frame, sizeof frame);
    wire->out_left = sizeof frame;
}

int rip_wire_flush(struct rip_wire *wire) {
    while (wire->out_left) {
        struct iovec part = {wire->out + sizeof wire->out - wire->out_left, wire->out_left};
        ssize_t n = rip_wire_write(wire, &part, 1);
        if (n < 0) {
            return n == -EAGAIN ? RIP_STEP_OUT : (int)n;
        }
        wire->out_left -= (size_t)n;
    }
    return 0;
}

int rip_is_frame(const struct rip_frame *frame) {
    return frame->magic == RIP_FRAME_MAGIC && frame->reserved == 0 &&
           (frame->frame_type == RIP_FRAME_MESSAGE
                ? frame->kind >= RIP_BYTES && frame->kind <= RIP_MAX_KIND && frame->redelivered <= RIP_MAX_REDELIVERED
                : frame->frame_type >= RIP_FRAME_RELEASED && frame->frame_type <= RIP_FRAME_FAILED && !frame->kind &&
                      !frame->redelivered);
}
