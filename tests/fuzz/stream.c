/* Fuzzes both ends of a stream (libFuzzer). An input is a program: what the peer writes, frames with any content and
 * parts of frames, and what this side does meanwhile. Errors and wrong data are allowed. A crash, a hang or an access
 * outside of a message is not, and at the end no memory and no file descriptor may be left. */
#include "input.h"
#include "ring/rx.h"
#include "ring/tx.h"
#include "stream/receiver.h"
#include "stream/sender.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS 8u
#define KEPT 16u

/* ---- the peer ---- */

static int near, far; /* the two ends of the connection */
static uint8_t bytes[2 * RIP_PAGE];

static void write_far(const void *data, size_t size) {
    ssize_t n = send(far, data, size, MSG_DONTWAIT | MSG_NOSIGNAL); /* bytes that the kernel does not accept are lost */
    (void)n;
}

static void write_frame(void) {
    uint8_t bits = next(), type = (uint8_t)(RIP_FRAME_MESSAGE + (bits & 3)), is_message = type == RIP_FRAME_MESSAGE;
    struct rip_frame frame = {.magic = RIP_FRAME_MAGIC,
                              .frame_type = type,
                              .kind = (uint8_t)(is_message ? RIP_BYTES + (bits >> 2 & 1) : 0),
                              .redelivered = is_message && bits >> 3 & 1 ? next() : 0,
                              .type = next(),
                              .missed = (uint32_t)next_bytes(bits >> 4 & 3),
                              .length = next_bytes(bits & 0x40 ? 2 : 1)};
    uint8_t damage = bits & 0x80 ? next() : 0;
    if (damage) {
        ((uint8_t *)&frame)[damage % sizeof frame] ^= next();
    }
    write_far(&frame, sizeof frame - (damage & 0x40 ? next() % sizeof frame : 0));
    if (frame.frame_type == RIP_FRAME_MESSAGE && !(damage & 0x80)) {
        write_far(bytes, frame.length < sizeof bytes ? frame.length : sizeof bytes);
    }
}

static void drain(void) {
    uint8_t taken[4096];
    ssize_t n = recv(far, taken, 1 + next() * 16u, MSG_DONTWAIT);
    (void)n;
}

static void connect_ends(void) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    near = ends[0];
    far = ends[1];
}

static void disconnect_ends(void) {
    close(near);
    if (far >= 0) {
        close(far);
    }
}

/* Lets the peer act: 1, or 0 if this side must act. */
static int peer_acts(uint8_t what) {
    switch (what % 4) {
    case 0:
        write_frame();
        return 1;
    case 1:
        if (next() % 8 == 0) {
            shutdown(far, SHUT_WR);
        } else {
            drain();
        }
        return 1;
    default:
        return 0;
    }
}

/* ---- this side ---- */

static struct rip_message kept[KEPT];
static unsigned kept_count;

static void read_payload(const struct rip_message *message) {
    uint8_t sum = 0;
    for (uint64_t i = 0; i < message->length; i++) {
        sum ^= message->data[i];
    }
    bytes[0] ^= sum;
}

static void release_one(struct rip_consumer *consumer) {
    if (kept_count) {
        unsigned which = next() % kept_count;
        rip_release(consumer, &kept[which]);
        kept[which] = kept[--kept_count];
    }
}

static void receive_messages(const char *channel) {
    struct rip_receiver *receiver;
    struct rip_consumer *consumer;
    int32_t holder;
    int two_way = next() % 4 != 0;
    CHECK(rip_receiver_open(channel, RIP_PAGE, SLOTS, 77, next() & 1, two_way, &receiver) == 0);
    CHECK(rip_consumer_open(channel, "g", 0, RIP_WAIT_BLOCK, RIP_FOREVER, &consumer, &holder) == 0);
    CHECK(rip_receiver_connect(receiver, near) == 0);
    int result = 0;
    while (input < input_end) {
        uint8_t what = next();
        if (peer_acts(what)) {
            continue;
        }
        struct rip_message message;
        switch (what / 4 % 5) {
        case 0:
            if (kept_count < KEPT && rip_peek(consumer, &message) == 1) {
                rip_take(consumer, &message);
                read_payload(&message);
                kept[kept_count++] = message;
            }
            break;
        case 1:
            release_one(consumer);
            break;
        case 2:
            if (result >= 0 && result != RIP_STEP_END) {
                result = rip_receiver_ack(receiver, 1) < 0 ? -EPIPE : result;
            }
            break;
        case 3:
            if (result < 0) {
                disconnect_ends();
                connect_ends();
                CHECK(rip_receiver_connect(receiver, near) == 0);
                result = 0;
            }
            break;
        default:
            if (result >= 0 && result != RIP_STEP_END) {
                result = rip_receiver_step(receiver);
            }
        }
        for (unsigned i = 0; i < kept_count; i++) {
            read_payload(&kept[i]);
        }
    }
    rip_receiver_free(receiver);
    while (kept_count) {
        release_one(consumer);
    }
    rip_consumer_close(consumer);
    rip_consumer_free(consumer);
}

static void send_messages(const char *channel) {
    struct rip_sender *sender;
    struct rip_producer *producer;
    struct rip_consumer *from;
    int32_t holder;
    int two_way = next() % 4 != 0;
    CHECK(rip_producer_open(channel, RIP_PAGE, SLOTS, next() % 3, RIP_WAIT_BLOCK, NULL, &producer) == 0);
    CHECK(rip_consumer_open(channel, "g", next() % 2 ? RIP_SHARED : 0, RIP_WAIT_BLOCK, RIP_FOREVER, &from, &holder) ==
          0);
    CHECK(rip_sender_open(from, next() % 3, two_way, &sender) == 0);
    CHECK(rip_sender_connect(sender, near, 0) == 0);
    int result = 0, closed = 0;
    while (input < input_end) {
        uint8_t what = next();
        if (peer_acts(what)) {
            continue;
        }
        switch (what / 4 % 4) {
        case 0:
            if (!closed) {
                rip_put(producer, bytes, next_bytes(2) % (RIP_PAGE + 1), what, RIP_BYTES, 0);
            }
            break;
        case 1:
            if (result < 0) {
                disconnect_ends();
                connect_ends();
                int rc = rip_sender_connect(sender, near, rip_sender_released(sender) + next() % 10);
                CHECK(rc == 0 || rc == -EINVAL);
                result = rc;
            }
            break;
        case 2:
            if (!closed && next() % 4 == 0) {
                closed = 1;
                CHECK(rip_producer_close(producer) == 0);
            }
            break;
        default:
            if (result >= 0 && result != RIP_STEP_END) {
                result = rip_sender_step(sender);
            }
        }
        rip_sender_has_more(sender);
    }
    rip_sender_free(sender, 0);
    if (!closed) {
        rip_producer_close(producer);
    }
    rip_producer_free(producer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input = data;
    input_end = data + size;
    int lowest = dup(0);
    close(lowest);
    int fd = rip_channel_fd();
    CHECK(fd >= 0);
    char channel[32];
    snprintf(channel, sizeof channel, "fd:%d", fd);
    connect_ends();
    (next() & 1 ? receive_messages : send_messages)(channel);
    disconnect_ends();
    close(fd);
    int now = dup(0);
    close(now);
    CHECK(now == lowest);
    return 0;
}
