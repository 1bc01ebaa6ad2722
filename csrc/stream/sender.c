/* A sender: writes messages of its group from their lanes to the kernel. */
#include "stream/sender.h"
#include "ring/rx.h"
#include "ring/rx_lanes.h"
#include "ring/rx_next.h"
#include "ring/rx_state.h"
#include "store/handle.h"
#include "store/table_lock.h"
#include "stream/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* smaller payloads are copied into the buffer instead of getting a part of their own */
#define SMALL 4096u
#define BATCHES (UINT64_C(4) * RIP_STREAM_BATCH) /* messages in one step */
#define PARTS 128

struct rip_sender {
    struct rip_consumer *from;
    struct rip_wire wire;
    int two_way;
    uint32_t window;
    uint64_t released, sent, taken; /* messages in all: released <= written to the kernel <= taken from the lanes */
    uint64_t unsent;                /* payload bytes of the messages from sent to taken */
    uint64_t written;               /* bytes written to the kernel in all, also those written again */
    size_t done;                    /* bytes of the frame of message number sent that are written */
    struct rip_message *messages;   /* message n is at n & mask, from released to taken */
    uint64_t mask;
    int at_end; /* the stream has ended: no more messages */
    int failed; /* a producer of the stream has died or failed */
    int end_sent;
    unsigned char in[sizeof(struct rip_frame)];
    size_t in_has;
};

int rip_sender_open(struct rip_consumer *from, uint32_t window, int two_way, struct rip_sender **out) {
    struct rip_sender *s = calloc(1, sizeof *s);
    struct rip_message *messages = calloc(RIP_STREAM_BATCH, sizeof *messages);
    if (!s || !messages) {
        free(s);
        free(messages);
        return -ENOMEM;
    }
    *s = (struct rip_sender){.from = from,
                             .wire.fd = -1,
                             .two_way = two_way,
                             .window = window,
                             .messages = messages,
                             .mask = RIP_STREAM_BATCH - 1};
    from->hides_errors = 1; /* a lane that cannot be mapped is tried again; it must not break the connection */
    from->counts_all = 1;   /* a peer that connects while the producer closes must get the end too */
    from->lanes_changed--;  /* counts again */
    *out = s;
    return 0;
}

static void mark_released(struct rip_sender *s, uint64_t count) {
    for (; s->released < count; s->released++) {
        rip_release(s->from, &s->messages[s->released & s->mask]);
    }
}

int rip_sender_can(const struct rip_sender *s, uint64_t next) { return next >= s->released && next <= s->sent; }

void rip_sender_disconnect(struct rip_sender *s) { s->wire.fd = -1; }

void rip_sender_end(struct rip_sender *s) {
    rip_update_lanes(s->from);
    for (uint32_t i = 0; i < s->from->count; i++) {
        s->failed |= rip_report_death(s->from, s->from->lanes[i]) != 0;
    }
    s->at_end = 1;
}

int rip_sender_connect(struct rip_sender *s, int fd, uint64_t next) {
    if (!rip_sender_can(s, next)) {
        return -EINVAL;
    }
    while (s->sent != next) { /* messages from next on are sent again */
        s->unsent += s->messages[--s->sent & s->mask].length;
    }
    s->done = s->in_has = 0;
    s->end_sent = 0;
    return rip_wire_connect(&s->wire, fd);
}

uint64_t rip_sender_unsent(const struct rip_sender *s) { return s->unsent; }

uint64_t rip_sender_written(const struct rip_sender *s) { return s->written; }

uint64_t rip_sender_released(const struct rip_sender *s) { return s->released; }

int rip_sender_free(struct rip_sender *s, int at_once) {
    struct rip_handle *handle = &s->from->ch.handle;
    rip_handle_set_unattended(handle);
    handle->give_up = at_once ? RIP_TRY_ONLY : handle->give_up;
    int locked = rip_is_locked_out(rip_consumer_close(s->from));
    rip_consumer_free(s->from);
    free(s->messages);
    free(s);
    return locked;
}

static int grow(struct rip_sender *s) {
    uint64_t mask = 2 * s->mask + 1;
    struct rip_message *messages = calloc(mask + 1, sizeof *messages);
    if (!messages) {
        return -ENOMEM;
    }
    for (uint64_t n = s->released; n < s->taken; n++) {
        messages[n & mask] = s->messages[n & s->mask];
    }
    free(s->messages);
    s->messages = messages;
    s->mask = mask;
    return 0;
}

static int may_take(const struct rip_sender *s) {
    return s->taken - s->sent < RIP_STREAM_BATCH && (!s->window || s->taken - s->released < s->window) && !s->at_end;
}

int rip_sender_take(struct rip_sender *s) {
    while (may_take(s)) {
        struct rip_message message;
        if (s->taken - s->released > s->mask) {
            int rc = grow(s);
            if (rc != 0) {
                return s->taken > s->sent ? 0 : rc;
            }
        }
        int rc = rip_handle_check(&s->from->ch.handle);
        rc = rc ? rc : rip_rx_peek(s->from, &message);
        if (rc == 0) {
            return 0;
        }
        if (rc == -ENODATA) {
            s->at_end = 1;
        } else if (rc == -EOWNERDEAD || rc == -ECONNABORTED) { /* the end follows */
            s->failed = 1;
        } else if (rc < 0) {
            return rc;
        } else if (rc == 1) {
            rip_take(s->from, &message);
            s->messages[s->taken++ & s->mask] = message;
            s->unsent += message.length;
        }
    }
    return 0;
}

int rip_sender_fd(struct rip_sender *s) { return rip_consumer_fd(s->from); }

void rip_sender_update_fd(struct rip_sender *s) { rip_consumer_update_fd(s->from); }

int rip_sender_has_more(struct rip_sender *s) { return s->wire.fd >= 0 && may_take(s) && rip_rx_pending(s->from); }

uint64_t rip_sender_pause(const struct rip_sender *s) {
    return s->wire.fd >= 0 && may_take(s) && rip_rx_is_stale(s->from) ? rip_rx_slice(s->from) : 0;
}

/* Fills parts with the frames of the next messages: small payloads beside their headers in buffer, large ones where
 * they lie. Returns the number of parts. */
static int gather(const struct rip_sender *s, unsigned char *buffer, struct iovec parts[]) {
    unsigned char *at = buffer, *end = buffer + RIP_STREAM_BUFFER;
    struct rip_moment now = rip_moment_now(s->from->ch.time_offset);
    int count = 0;
    uint64_t bytes = 0;
    for (uint64_t n = s->sent; n < s->taken && count + 2 <= PARTS && bytes < RIP_AT_ONCE; n++) {
        const struct rip_message *message = &s->messages[n & s->mask];
        int small = message->length < SMALL;
        size_t size = sizeof(struct rip_frame) + (small ? message->length : 0);
        if ((size_t)(end - at) < size) {
            break;
        }
        struct rip_frame frame = {.magic = RIP_FRAME_MAGIC,
                                  .frame_type = RIP_FRAME_MESSAGE,
                                  .kind = message->kind,
                                  .redelivered = message->redelivered,
                                  .type = message->type,
                                  .missed = message->missed < UINT32_MAX ? (uint32_t)message->missed : UINT32_MAX,
                                  .length = message->length,
                                  .time = rip_rx_time_at(message->lane, now, message->ticks)};
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

/* Removes the first bytes from parts. */
static void skip(struct iovec parts[], int count, size_t bytes) {
    for (int i = 0; i < count && bytes; i++) {
        size_t less = bytes < parts[i].iov_len ? bytes : parts[i].iov_len;
        parts[i].iov_base = (char *)parts[i].iov_base + less;
        parts[i].iov_len -= less;
        bytes -= less;
    }
}

/* Accounts for n more bytes written. */
static void account(struct rip_sender *s, size_t n) {
    s->written += n;
    s->done += n;
    while (s->sent < s->taken && s->done >= sizeof(struct rip_frame) + s->messages[s->sent & s->mask].length) {
        s->done -= sizeof(struct rip_frame) + s->messages[s->sent & s->mask].length;
        s->unsent -= s->messages[s->sent++ & s->mask].length;
    }
    if (!s->two_way) {
        mark_released(s, s->sent);
    }
}

/* Reads how many messages the receiver has released: 0, RIP_STEP_END, or a negative errno. */
static int read_released(struct rip_sender *s) {
    for (;;) {
        struct iovec part = {s->in + s->in_has, sizeof s->in - s->in_has};
        ssize_t n = rip_wire_read(&s->wire, &part, 1);
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
        if (!rip_is_frame(&frame) || (frame.frame_type != RIP_FRAME_RELEASED && frame.frame_type != RIP_FRAME_END) ||
            frame.length < s->released || frame.length > s->sent) {
            return -EBADMSG;
        }
        mark_released(s, frame.length);
        if (frame.frame_type == RIP_FRAME_END) {
            return RIP_STEP_END;
        }
    }
}

int rip_sender_step(struct rip_sender *s) {
    uint64_t before = s->sent, bytes = 0;
    int rc = s->two_way ? read_released(s) : 0;
    while (rc == 0) {
        rc = rip_sender_take(s);
        if (rc != 0 || s->sent == s->taken || s->sent - before > BATCHES || bytes > RIP_AT_ONCE) {
            break;
        }
        unsigned char buffer[RIP_STREAM_BUFFER];
        struct iovec parts[PARTS];
        int count = gather(s, buffer, parts);
        skip(parts, count, s->done);
        ssize_t n = rip_wire_write(&s->wire, parts, count);
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
        if (!s->end_sent) {
            rip_wire_queue(&s->wire, s->failed ? RIP_FRAME_FAILED : RIP_FRAME_END, s->sent);
            s->end_sent = 1;
        }
        rc = rip_wire_flush(&s->wire);
        /* until the receiver confirms that it has everything */
        return rc != 0 ? rc : s->two_way ? RIP_STEP_IDLE : RIP_STEP_END;
    }
    return s->sent < s->taken ? RIP_STEP_OUT : RIP_STEP_IDLE;
}
