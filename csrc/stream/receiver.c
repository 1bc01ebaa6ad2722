/* A receiver: reads messages from the kernel into its lane. */
#include "stream/receiver.h"
#include "channel/layout.h"
#include "ring/producer.h"
#include "ring/tx.h"
#include "ring/tx_backlog.h"
#include "ring/tx_room.h"
#include "store/table_lock.h"
#include "stream/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Released messages are reported when they are so many bytes and so many messages. Bytes: memory that is reported soon
 * is reused while it is in the cache. Messages: each report wakes the sender's I/O loop, which takes the core from the
 * thread that puts. */
#define REPORT_BYTES (UINT64_C(1) << 18)
#define REPORT_MESSAGES 4
#define WAKE_AT (1 << 19) /* bytes of a large payload that justify a wake-up */

struct rip_receiver {
    struct rip_producer *into;
    struct rip_wire wire;
    int two_way;
    int stamped;
    struct rip_frame frame; /* the message that is being received */
    int has_frame;
    unsigned char *payload; /* where its payload goes; NULL: no room yet */
    uint64_t got;           /* bytes of the payload received */
    uint64_t acked;         /* messages reported as released */
    uint64_t bytes_acked;   /* into->bytes at that report */
    int ended;
    int end_sent;
    size_t from, to; /* in buffer: bytes received and not processed */
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
    r->into->longest = RIP_LARGEST_REMOTE;
    *out = r;
    return 0;
}

int rip_receiver_set_label(struct rip_receiver *r, const char *label) { return rip_set_label(r->into, label); }

int rip_receiver_connect(struct rip_receiver *r, int fd) {
    r->has_frame = 0; /* a message that was received in part is sent again */
    r->from = r->to = 0;
    r->end_sent = 0;
    r->acked = r->bytes_acked = 0; /* the last report may have been lost */
    return rip_wire_connect(&r->wire, fd);
}

void rip_receiver_disconnect(struct rip_receiver *r) { r->wire.fd = -1; }

uint64_t rip_receiver_next(const struct rip_receiver *r) { return r->into->tail; }

int rip_receiver_has_unacked(const struct rip_receiver *r) {
    return r->two_way && !r->ended && r->wire.fd >= 0 && (r->wire.out_left || r->acked < r->into->published);
}

void rip_receiver_free(struct rip_receiver *r) {
    if (r->two_way && r->wire.fd >= 0 && !r->wire.out_left &&
        !r->ended) { /* reports the last releases; if it cannot be sent, the closed connection has the same effect */
        rip_wire_queue(&r->wire, RIP_FRAME_END, rip_lane_acked(r->into, r->acked));
        rip_wire_flush(&r->wire);
    }
    if (!r->ended) {
        rip_lane_abandon(r->into);
    }
    rip_producer_free(r->into);
    free(r);
}

/* Are so many messages and bytes worth a report? The sender must not run out of room meanwhile. */
static int are_many(const struct rip_receiver *r, uint64_t messages, uint64_t bytes) {
    return messages >= r->into->slots / 8 || bytes >= r->into->arena.capacity / 8 ||
           (messages >= REPORT_MESSAGES && bytes >= REPORT_BYTES);
}

int rip_receiver_ack(struct rip_receiver *r, int eager) {
    int rc = rip_wire_flush(&r->wire);
    if (rc != 0 || !r->two_way || r->ended || r->acked == r->into->tail) {
        return rc < 0 ? rc : 0; /* RIP_STEP_OUT: sent later */
    }
    uint64_t count = rip_lane_acked(r->into, r->acked), bytes = r->into->bytes;
    if (count > r->acked && (eager || are_many(r, count - r->acked, bytes - r->bytes_acked))) {
        r->acked = count;
        r->bytes_acked = bytes;
        rip_wire_queue(&r->wire, RIP_FRAME_RELEASED, count);
        rc = rip_wire_flush(&r->wire);
    }
    return rc < 0 ? rc : 0;
}

/* Reads the header of a frame in the buffer: 1 if it is complete, 0, or -EBADMSG. */
static int next_frame(struct rip_receiver *r) {
    if (r->to - r->from < sizeof r->frame) {
        return 0;
    }
    memcpy(&r->frame, r->buffer + r->from, sizeof r->frame);
    if (!rip_is_frame(&r->frame) || r->frame.frame_type == RIP_FRAME_RELEASED || r->ended ||
        (r->frame.frame_type == RIP_FRAME_MESSAGE && r->frame.length > r->into->longest) ||
        (r->frame.frame_type != RIP_FRAME_MESSAGE && r->frame.length != r->into->tail)) {
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
    rip_tx_stamp(p);
    p->ticks = r->stamped ? r->frame.time : p->ticks;
    p->lost = r->frame.missed < UINT16_MAX ? (uint16_t)r->frame.missed : UINT16_MAX;
    rip_tx_commit_redelivered(p, r->frame.length, r->frame.type, r->frame.kind, r->frame.redelivered);
    p->refused += r->frame.missed;
    /* relaxed: for display only, and this receiver is the only writer */
    atomic_store_explicit(&p->lane->refused, p->refused, memory_order_relaxed);
    r->has_frame = 0;
}

/* Puts the messages in the buffer into the lane: 0 if the buffer is empty, RIP_STEP_ROOM, or a negative errno. */
static int unpack(struct rip_receiver *r) {
    for (;;) {
        int rc = r->has_frame ? 1 : next_frame(r);
        if (rc != 1) {
            return rc;
        }
        if (r->frame.frame_type != RIP_FRAME_MESSAGE) { /* END or FAILED */
            if (r->frame.frame_type == RIP_FRAME_FAILED) {
                rip_producer_fail(r->into);
            }
            if (r->into->published != r->into->tail) {
                rip_tx_publish(r->into);
            }
            r->ended = 1;
            rip_handle_set_unattended(&r->into->ch.handle);
            /* If the table lock was not available the lane is nevertheless marked as ended, not as dead; another member
             * removes it when this receiver is freed. */
            rc = rip_producer_close(r->into);
            return rip_is_locked_out(rc) ? 0 : rc;
        }
        if (!r->payload) {
            rc = rip_tx_reserve(r->into, r->frame.length, &r->payload);
            if (rc != 0) {
                r->payload = NULL;
                /* without memory the stream waits too: releases make room in the allocated part. -ENOLCK: the claims of
                 * a group cannot be opened now. */
                return rc == -EAGAIN || rc == -ENOLCK || (rip_is_shortage(rc) && rc != -ESTALE) ? RIP_STEP_ROOM : rc;
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

/* Reads the rest of a payload directly into the lane, and what follows it into the buffer. Returns bytes or a negative
 * errno. */
static ssize_t read_more(struct rip_receiver *r, size_t *wanted) {
    uint64_t left = r->has_frame ? r->frame.length - r->got : 0;
    memmove(r->buffer, r->buffer + r->from, r->to - r->from);
    r->to -= r->from;
    r->from = 0;
    struct iovec parts[2] = {{left ? r->payload + r->got : NULL, left}, {r->buffer + r->to, sizeof r->buffer - r->to}};
    if (left >= RIP_STREAM_BUFFER) {
        parts[1].iov_len = sizeof(struct rip_frame); /* so that less has to be copied */
    }
    *wanted = parts[0].iov_len + parts[1].iov_len;
    ssize_t n = left ? rip_wire_read(&r->wire, parts, 2) : rip_wire_read(&r->wire, parts + 1, 1);
    if (n > 0) {
        uint64_t direct = (uint64_t)n < left ? (uint64_t)n : left;
        r->got += direct;
        r->to += (size_t)n - direct;
    }
    return n;
}

/* unpack; then publishes the messages. */
static int deliver(struct rip_receiver *r) {
    int rc = unpack(r);
    if (!r->ended && r->into->published != r->into->tail) {
        rip_tx_publish(r->into);
    }
    return rc;
}

/* Reports to the sender that all messages were received. */
static int finish(struct rip_receiver *r) {
    int rc = rip_wire_flush(&r->wire);
    if (rc == 0 && r->two_way && !r->end_sent) {
        rip_wire_queue(&r->wire, RIP_FRAME_END, r->into->tail);
        r->end_sent = 1;
        rc = rip_wire_flush(&r->wire);
    }
    return rc == RIP_STEP_OUT ? rc : RIP_STEP_END; /* all messages were received, whatever happens to the connection */
}

/* The bytes of a payload that have not arrived, if they are too many to wake up for each of their segments; else 0. */
static uint64_t large_rest(const struct rip_receiver *r) {
    uint64_t left = r->has_frame && r->payload ? r->frame.length - r->got : 0;
    return left >= RIP_STREAM_BUFFER ? left : 0;
}

static int receive(struct rip_receiver *r) {
    uint64_t before = r->into->bytes;
    int rc = rip_receiver_ack(r, 0);
    while (rc == 0 && !r->ended) {
        rc = deliver(r);
        if (rc != 0 || r->ended || r->into->bytes - before > RIP_AT_ONCE) {
            break;
        }
        size_t wanted;
        ssize_t n = read_more(r, &wanted);
        if (n <= 0) {
            return n == -EAGAIN ? RIP_STEP_IDLE : n == 0 ? -EPIPE : (int)n;
        }
        if ((size_t)n < wanted && large_rest(r)) { /* the socket is empty; rip_wire_wake_at */
            return RIP_STEP_IDLE;
        }
        /* nothing more to read; inside a payload, more bytes are on the way */
        if ((size_t)n < wanted && !r->has_frame) {
            rc = deliver(r);
            break;
        }
    }
    return rc == 0 && r->ended ? finish(r) : rc;
}

int rip_receiver_step(struct rip_receiver *r) {
    int rc = receive(r);
    if (rc == RIP_STEP_IDLE) {
        uint64_t rest = large_rest(r);
        rip_wire_wake_at(&r->wire, !rest ? 1 : rest < WAKE_AT ? (int)rest : WAKE_AT);
    }
    return rc;
}
