#include "stream.h"
#include "lane.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little-endian"
#endif

static_assert(sizeof(struct rip_frame) == 32, "what crosses");

#define AT_ONCE (UINT64_C(1) << 21)              /* bytes in one step, so that others have their turn */
#define SMALL 4096u                              /* bytes that are sooner copied than described */
#define BATCHES (UINT64_C(4) * RIP_STREAM_BATCH) /* messages in one step */
#define PARTS 128
#define TELL_EVERY (UINT64_C(1) << 18) /* bytes: what is let go soon is used again while it is warm */

/* One end of a connection. */
struct wire {
    int fd;
    int is_socket;
    unsigned char out[sizeof(struct rip_frame)]; /* of a frame without a message: what is still to be written */
    size_t out_left;
};

static int wire_connect(struct wire *wire, int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return -errno;
    }
    *wire = (struct wire){.fd = fd, .is_socket = S_ISSOCK(st.st_mode)};
    return 0;
}

/* Where nobody reads a pipe any more the writer gets an error, and no signal that would end a program that knows of no pipe. */
static ssize_t write_pipe(int fd, const struct iovec *parts, int count) {
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

/* Bytes, or a negative errno; a pipe's descriptor is to be O_NONBLOCK. */
static ssize_t wire_write(const struct wire *wire, struct iovec *parts, int count) {
    ssize_t n;
    do {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        n = wire->is_socket ? sendmsg(wire->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
                            : write_pipe(wire->fd, parts, count);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t wire_read(const struct wire *wire, struct iovec *parts, int count) {
    ssize_t n;
    do {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        n = wire->is_socket ? recvmsg(wire->fd, &message, MSG_DONTWAIT) : readv(wire->fd, parts, count);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void wire_say(struct wire *wire, enum rip_frame_is is, uint64_t count) {
    struct rip_frame frame = {.magic = RIP_FRAME_MAGIC, .is = (uint8_t)is, .length = count};
    memcpy(wire->out, &frame, sizeof frame);
    wire->out_left = sizeof frame;
}

/* Writes what wire_say has left: 0, RIP_STEP_OUT, or a negative errno. */
static int wire_flush(struct wire *wire) {
    while (wire->out_left) {
        struct iovec part = {wire->out + sizeof wire->out - wire->out_left, wire->out_left};
        ssize_t n = wire_write(wire, &part, 1);
        if (n < 0) {
            return n == -EAGAIN ? RIP_STEP_OUT : (int)n;
        }
        wire->out_left -= (size_t)n;
    }
    return 0;
}

static int is_frame(const struct rip_frame *frame) {
    return frame->magic == RIP_FRAME_MAGIC && frame->reserved == 0 &&
           (frame->is == RIP_FRAME_MESSAGE
                ? frame->kind >= RIP_BYTES && frame->kind <= RIP_OBJECT && frame->flags <= RIP_REDELIVERED
                : (frame->is == RIP_FRAME_LET_GO || frame->is == RIP_FRAME_END) && !frame->kind && !frame->flags);
}

/* ---- sender ---- */

struct rip_sender {
    struct rip_consumer *from;
    struct wire wire;
    int two_way;
    uint32_t window;
    uint64_t let_go, sent, taken; /* messages, in all: let go <= given to the kernel <= taken out of the ring */
    size_t done;                  /* bytes of the frame after those sent that the kernel has */
    struct rip_message *held;     /* message n at n & mask, from let_go to taken */
    uint64_t mask;
    int at_end; /* the ring has said so */
    int said_end;
    unsigned char in[sizeof(struct rip_frame)];
    size_t in_has;
};

int rip_sender_open(struct rip_consumer *from, uint32_t window, int two_way, struct rip_sender **out) {
    struct rip_sender *s = calloc(1, sizeof *s);
    struct rip_message *held = calloc(RIP_STREAM_BATCH, sizeof *held);
    if (!s || !held) {
        free(s);
        free(held);
        return -ENOMEM;
    }
    *s = (struct rip_sender){
        .from = from, .wire.fd = -1, .two_way = two_way, .window = window, .held = held, .mask = RIP_STREAM_BATCH - 1};
    *out = s;
    return 0;
}

static void let_go(struct rip_sender *s, uint64_t count) {
    for (; s->let_go < count; s->let_go++) {
        rip_release(s->from, &s->held[s->let_go & s->mask]);
    }
}

int rip_sender_can(const struct rip_sender *s, uint64_t next) { return next >= s->let_go && next <= s->sent; }

void rip_sender_disconnect(struct rip_sender *s) { s->wire.fd = -1; }

void rip_sender_end(struct rip_sender *s) { s->at_end = 1; }

int rip_sender_connect(struct rip_sender *s, int fd, uint64_t next) {
    if (!rip_sender_can(s, next)) {
        return -EINVAL;
    }
    s->sent = next; /* what was on its way beyond goes again */
    s->done = s->in_has = 0;
    s->said_end = 0;
    return wire_connect(&s->wire, fd);
}

uint64_t rip_sender_let_go(const struct rip_sender *s) { return s->let_go; }

void rip_sender_free(struct rip_sender *s) {
    rip_consumer_close(s->from);
    rip_consumer_free(s->from);
    free(s->held);
    free(s);
}

static int grow(struct rip_sender *s) {
    uint64_t mask = 2 * s->mask + 1;
    struct rip_message *held = calloc(mask + 1, sizeof *held);
    if (!held) {
        return -ENOMEM;
    }
    for (uint64_t n = s->let_go; n < s->taken; n++) {
        held[n & mask] = s->held[n & s->mask];
    }
    free(s->held);
    s->held = held;
    s->mask = mask;
    return 0;
}

static int may_take(const struct rip_sender *s) {
    return s->taken - s->sent < RIP_STREAM_BATCH && (!s->window || s->taken - s->let_go < s->window) && !s->at_end;
}

/* Takes what the ring has, as far as it may be on its way: 0 or a negative errno. */
static int take(struct rip_sender *s) {
    while (may_take(s)) {
        struct rip_message message;
        if (s->taken - s->let_go > s->mask) {
            int rc = grow(s);
            if (rc != 0) {
                return s->taken > s->sent ? 0 : rc;
            }
        }
        int rc = rip_peek(s->from, &message);
        if (rc == -EAGAIN) {
            return 0;
        }
        if (rc == -ENODATA) {
            s->at_end = 1;
        } else if (rc < 0 && rc != -EOWNERDEAD) { /* a death is told once; the end comes then */
            return rc;
        } else if (rc == 1) {
            rip_take(s->from, &message);
            s->held[s->taken++ & s->mask] = message;
        }
    }
    return 0;
}

int rip_sender_fd(struct rip_sender *s) { return rip_consumer_fd(s->from); }

void rip_sender_settle(struct rip_sender *s) { rip_consumer_settle(s->from); }

int rip_sender_has_more(struct rip_sender *s) { return s->wire.fd >= 0 && may_take(s) && rip_rx_pending(s->from); }

/* Frames of messages as the kernel is to get them, small payloads beside their headers in a buffer, large ones where they are: how many
 * parts. */
static int gather(const struct rip_sender *s, unsigned char *buffer, struct iovec parts[]) {
    unsigned char *at = buffer, *end = buffer + RIP_STREAM_BUFFER;
    int count = 0;
    uint64_t bytes = 0;
    for (uint64_t n = s->sent; n < s->taken && count + 2 <= PARTS && bytes < AT_ONCE; n++) {
        const struct rip_message *message = &s->held[n & s->mask];
        int small = message->length < SMALL;
        size_t size = sizeof(struct rip_frame) + (small ? message->length : 0);
        if ((size_t)(end - at) < size) {
            break;
        }
        struct rip_frame frame = {.magic = RIP_FRAME_MAGIC,
                                  .is = RIP_FRAME_MESSAGE,
                                  .kind = message->kind,
                                  .flags = message->flags & RIP_REDELIVERED,
                                  .type = message->type,
                                  .missed = message->missed < UINT32_MAX ? (uint32_t)message->missed : UINT32_MAX,
                                  .length = message->length,
                                  .time = rip_message_time(message->lane, message->ticks)};
        memcpy(at, &frame, sizeof frame);
        if (small) {
            memcpy(at + sizeof frame, message->data, message->length);
        }
        if (count && (unsigned char *)parts[count - 1].iov_base + parts[count - 1].iov_len == at) {
            parts[count - 1].iov_len += size;
        } else {
            parts[count++] = (struct iovec){at, size};
        }
        at += size;
        if (!small) {
            parts[count++] = (struct iovec){(void *)message->data, message->length};
        }
        bytes += message->length;
    }
    return count;
}

/* Less the first bytes of them. */
static void skip(struct iovec parts[], int count, size_t bytes) {
    for (int i = 0; i < count && bytes; i++) {
        size_t less = bytes < parts[i].iov_len ? bytes : parts[i].iov_len;
        parts[i].iov_base = (char *)parts[i].iov_base + less;
        parts[i].iov_len -= less;
        bytes -= less;
    }
}

/* The kernel has taken n bytes more. */
static void account(struct rip_sender *s, size_t n) {
    s->done += n;
    while (s->sent < s->taken && s->done >= sizeof(struct rip_frame) + s->held[s->sent & s->mask].length) {
        s->done -= sizeof(struct rip_frame) + s->held[s->sent & s->mask].length;
        s->sent++;
    }
    if (!s->two_way) {
        let_go(s, s->sent);
    }
}

/* Reads what has been let go there: 0, RIP_STEP_END, or a negative errno. */
static int listen_to(struct rip_sender *s) {
    for (;;) {
        struct iovec part = {s->in + s->in_has, sizeof s->in - s->in_has};
        ssize_t n = wire_read(&s->wire, &part, 1);
        if (n <= 0) {
            return n == -EAGAIN ? 0 : n == 0 ? -EPIPE : (int)n;
        }
        s->in_has += (size_t)n;
        if (s->in_has < sizeof s->in) {
            continue;
        }
        struct rip_frame frame;
        memcpy(&frame, s->in, sizeof frame);
        s->in_has = 0;
        if (!is_frame(&frame) || frame.is == RIP_FRAME_MESSAGE || frame.length < s->let_go || frame.length > s->sent) {
            return -EBADMSG;
        }
        let_go(s, frame.length);
        if (frame.is == RIP_FRAME_END) {
            return RIP_STEP_END;
        }
    }
}

int rip_sender_step(struct rip_sender *s) {
    uint64_t before = s->sent, bytes = 0;
    int rc = s->two_way ? listen_to(s) : 0;
    while (rc == 0) {
        rc = take(s);
        if (rc != 0 || s->sent == s->taken || s->sent - before > BATCHES || bytes > AT_ONCE) {
            break;
        }
        unsigned char buffer[RIP_STREAM_BUFFER];
        struct iovec parts[PARTS];
        int count = gather(s, buffer, parts);
        skip(parts, count, s->done);
        ssize_t n = wire_write(&s->wire, parts, count);
        if (n < 0) {
            return n == -EAGAIN ? RIP_STEP_OUT : (int)n;
        }
        account(s, (size_t)n);
        bytes += (uint64_t)n;
    }
    if (rc != 0) {
        return rc;
    }
    if (s->at_end && s->sent == s->taken) {
        if (!s->said_end) {
            wire_say(&s->wire, RIP_FRAME_END, s->sent);
            s->said_end = 1;
        }
        rc = wire_flush(&s->wire);
        return rc != 0 ? rc : s->two_way ? RIP_STEP_IDLE : RIP_STEP_END; /* until the other side says that it has all */
    }
    return s->sent < s->taken ? RIP_STEP_OUT : RIP_STEP_IDLE;
}

/* ---- receiver ---- */

struct rip_receiver {
    struct rip_producer *into;
    struct wire wire;
    int two_way;
    int stamped;
    struct rip_frame frame; /* the message that is coming in */
    int has_frame;
    unsigned char *payload; /* where it goes, or NULL: no room yet */
    uint64_t got;           /* bytes of it */
    uint64_t told;          /* messages of which we have said that they are let go */
    uint64_t bytes_told;    /* of what had come then */
    int ended;
    int said_end;
    size_t from, to; /* in buffer: what has been read and not looked at */
    unsigned char buffer[RIP_STREAM_BUFFER];
};

int rip_receiver_open(const char *channel, uint64_t capacity, uint64_t slots, int32_t pid, int stamped, int two_way,
                      struct rip_receiver **out) {
    struct rip_receiver *r = malloc(sizeof *r);
    if (!r) {
        return -ENOMEM;
    }
    memset(r, 0, offsetof(struct rip_receiver, buffer));
    r->wire.fd = -1;
    r->stamped = stamped;
    r->two_way = two_way;
    int rc = rip_lane_open(channel, capacity, slots, pid, &r->into);
    if (rc != 0) {
        free(r);
        return rc;
    }
    *out = r;
    return 0;
}

int rip_receiver_connect(struct rip_receiver *r, int fd) {
    r->has_frame = 0; /* half of one comes again */
    r->from = r->to = 0;
    r->said_end = 0;
    r->told = r->bytes_told = 0; /* what was said may have been lost on the way */
    return wire_connect(&r->wire, fd);
}

void rip_receiver_disconnect(struct rip_receiver *r) { r->wire.fd = -1; }

uint64_t rip_receiver_next(const struct rip_receiver *r) { return r->into->tail; }

int rip_receiver_owes(const struct rip_receiver *r) {
    return r->two_way && !r->ended && r->wire.fd >= 0 && (r->wire.out_left || r->told < r->into->published);
}

void rip_receiver_free(struct rip_receiver *r) {
    if (r->two_way && r->wire.fd >= 0 && !r->wire.out_left &&
        !r->ended) { /* a good-bye; if it does not go out, the closing says it */
        wire_say(&r->wire, RIP_FRAME_END, rip_lane_let_go(r->into));
        wire_flush(&r->wire);
    }
    if (!r->ended) {
        rip_lane_abandon(r->into);
    }
    rip_producer_free(r->into);
    free(r);
}

int rip_receiver_tell(struct rip_receiver *r, int eager) {
    int rc = wire_flush(&r->wire);
    if (rc != 0 || !r->two_way || r->ended || r->told == r->into->tail) {
        return rc < 0 ? rc : 0; /* RIP_STEP_OUT: next time */
    }
    uint64_t count = rip_lane_let_go(r->into), bytes = r->into->bytes;
    if (count > r->told &&
        (eager || count - r->told >= r->into->slots / 8 ||
         bytes - r->bytes_told >=
             (TELL_EVERY < r->into->arena.capacity / 8 ? TELL_EVERY : r->into->arena.capacity / 8))) {
        r->told = count;
        r->bytes_told = bytes;
        wire_say(&r->wire, RIP_FRAME_LET_GO, count);
        rc = wire_flush(&r->wire);
    }
    return rc < 0 ? rc : 0;
}

/* Looks at a frame's header in the buffer: 1 if there is one, 0, or -EBADMSG. */
static int next_frame(struct rip_receiver *r) {
    if (r->to - r->from < sizeof r->frame) {
        return 0;
    }
    memcpy(&r->frame, r->buffer + r->from, sizeof r->frame);
    if (!is_frame(&r->frame) || r->frame.is == RIP_FRAME_LET_GO || r->ended ||
        (r->frame.is == RIP_FRAME_MESSAGE && r->frame.length > r->into->arena.capacity) ||
        (r->frame.is == RIP_FRAME_END && r->frame.length != r->into->tail)) {
        return -EBADMSG;
    }
    r->from += sizeof r->frame;
    r->has_frame = 1;
    r->payload = NULL;
    r->got = 0;
    return 1;
}

static void commit(struct rip_receiver *r) {
    struct rip_producer *p = r->into;
    p->ticks = r->stamped ? r->frame.time : rip_now();
    p->lost = r->frame.missed < UINT16_MAX ? (uint16_t)r->frame.missed : UINT16_MAX;
    struct rip_desc *desc = &p->lane->desc[p->tail & (p->slots - 1)];
    rip_tx_commit(p, r->frame.length, r->frame.type, r->frame.kind);
    desc->flags = r->frame.flags;
    p->refused += r->frame.missed;
    /* relaxed: a number to show, of which we are the only writer */
    atomic_store_explicit(&p->lane->refused, p->refused, memory_order_relaxed);
    r->has_frame = 0;
}

/* Makes messages of what is in the buffer: 0 when that needs more, RIP_STEP_ROOM, or a negative errno. */
static int unpack(struct rip_receiver *r) {
    for (;;) {
        int rc = r->has_frame ? 1 : next_frame(r);
        if (rc != 1) {
            return rc;
        }
        if (r->frame.is == RIP_FRAME_END) {
            if (r->into->published != r->into->tail) {
                rip_tx_publish(r->into);
            }
            r->ended = 1;
            return rip_producer_close(r->into);
        }
        if (!r->payload) {
            rc = rip_tx_reserve(r->into, r->frame.length, &r->payload);
            if (rc != 0) {
                r->payload = NULL;
                return rc == -EAGAIN ? RIP_STEP_ROOM : rc;
            }
        }
        uint64_t left = r->frame.length - r->got, has = r->to - r->from;
        uint64_t n = left < has ? left : has;
        memcpy(r->payload + r->got, r->buffer + r->from, n);
        r->from += n;
        r->got += n;
        if (n < left) {
            return 0;
        }
        commit(r);
    }
}

/* The rest of a payload straight to where it goes, what follows it into the buffer. Bytes, or a negative errno. */
static ssize_t read_more(struct rip_receiver *r, size_t *wanted) {
    uint64_t left = r->has_frame ? r->frame.length - r->got : 0;
    memmove(r->buffer, r->buffer + r->from, r->to - r->from);
    r->to -= r->from;
    r->from = 0;
    struct iovec parts[2] = {{left ? r->payload + r->got : NULL, left}, {r->buffer + r->to, sizeof r->buffer - r->to}};
    if (left >= RIP_STREAM_BUFFER) {
        parts[1].iov_len = sizeof(struct rip_frame); /* less to copy */
    }
    *wanted = parts[0].iov_len + parts[1].iov_len;
    ssize_t n = left ? wire_read(&r->wire, parts, 2) : wire_read(&r->wire, parts + 1, 1);
    if (n > 0) {
        uint64_t direct = (uint64_t)n < left ? (uint64_t)n : left;
        r->got += direct;
        r->to += (size_t)n - direct;
    }
    return n;
}

/* As unpack; then what has come is there to be got. */
static int deliver(struct rip_receiver *r) {
    int rc = unpack(r);
    if (!r->ended && r->into->published != r->into->tail) {
        rip_tx_publish(r->into);
    }
    return rc;
}

/* The other side is to hear that all has come. */
static int finish(struct rip_receiver *r) {
    int rc = wire_flush(&r->wire);
    if (rc == 0 && r->two_way && !r->said_end) {
        wire_say(&r->wire, RIP_FRAME_END, r->into->tail);
        r->said_end = 1;
        rc = wire_flush(&r->wire);
    }
    return rc == RIP_STEP_OUT ? rc : RIP_STEP_END; /* all has come, whatever becomes of the connection */
}

int rip_receiver_step(struct rip_receiver *r) {
    uint64_t before = r->into->bytes;
    int rc = rip_receiver_tell(r, 0);
    while (rc == 0 && !r->ended) {
        rc = deliver(r);
        if (rc != 0 || r->ended || r->into->bytes - before > AT_ONCE) {
            break;
        }
        size_t wanted;
        ssize_t n = read_more(r, &wanted);
        if (n <= 0) {
            return n == -EAGAIN ? RIP_STEP_IDLE : n == 0 ? -EPIPE : (int)n;
        }
        if ((size_t)n < wanted && !r->has_frame) { /* that was all; within a payload the rest is on its way */
            rc = deliver(r);
            break;
        }
    }
    return rc == 0 && r->ended ? finish(r) : rc;
}
