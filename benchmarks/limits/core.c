/* The core of ringipc from C to C with 64-byte messages: through the calls of ringipc.h, or through the inline
 * functions of tx.h and rx.h that the extension module uses. Compare with spsc.c. */
#include "limits.h"

#include "ring/rx_next.h"
#include "ring/tx_room.h"

#define SIZE 64
#define CAPACITY (UINT64_C(64) << 20)
#define SLOTS 1024

static void check(int rc, int due, const char *what) {
    if (rc != due) {
        fprintf(stderr, "%s: %d (%s)\n", what, rc, rc < 0 ? strerror(-rc) : "not due");
        exit(EXIT_FAILURE);
    }
}

static void send_by_calls(struct rip_producer *p, const unsigned char *message, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        check(rip_put(p, message, SIZE, 0, RIP_BYTES, RIP_FOREVER), 0, "rip_put");
    }
}

static void send_inline(struct rip_producer *p, const unsigned char *message, uint64_t count) {
    unsigned char *payload = NULL;
    for (uint64_t i = 0; i < count; i++) {
        int rc;
        while ((rc = rip_tx_reserve(p, SIZE, &payload)) == -EAGAIN) {
        }
        check(rc, 0, "rip_tx_reserve");
        memcpy(payload, message, SIZE);
        rip_tx_commit(p, SIZE, 0, RIP_BYTES);
        rip_tx_publish(p);
    }
}

/* Returns the seconds from message warm_up to the last one. */
static double receive_by_calls(struct rip_consumer *c, unsigned char *copy, uint64_t warm_up, uint64_t count) {
    struct rip_message message = {0};
    double start = 0;
    for (uint64_t i = 0; i < count; i++) {
        check(rip_get(c, &message, RIP_FOREVER), 1, "rip_get");
        memcpy(copy, message.data, SIZE);
        keep(copy);
        rip_release(c, &message);
        if (i == warm_up) {
            start = now();
        }
    }
    return now() - start;
}

static double receive_inline(struct rip_consumer *c, unsigned char *copy, uint64_t warm_up, uint64_t count) {
    struct rip_message message = {0};
    double start = 0;
    for (uint64_t i = 0; i < count; i++) {
        int rc;
        while ((rc = rip_rx_peek(c, &message)) == 0) {
        }
        check(rc, 1, "rip_rx_peek");
        memcpy(copy, message.data, SIZE);
        keep(copy);
        rip_rx_take(c, &message);
        rip_rx_release(message.lane, message.seq);
        if (i == warm_up) {
            start = now();
        }
    }
    return now() - start;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: core calls|inline CHANNEL COUNT PRODUCER_CPU CONSUMER_CPU\n");
        return EXIT_FAILURE;
    }
    int by_calls = strcmp(argv[1], "calls") == 0;
    const char *channel = argv[2];
    uint64_t count = count_of(argv[3]), warm_up = count / 10, all = warm_up + 1 + count;
    unsigned char message[SIZE], copy[SIZE] = {0};
    memset(message, 1, sizeof message);
    pid_t producer;
    if (in_second_process(cpu_of(argv[5]), cpu_of(argv[4]), &producer)) {
        struct rip_producer *p;
        check(rip_producer_open(channel, CAPACITY, SLOTS, RIP_BLOCK, RIP_WAIT_SPIN, NULL, &p), 0, "rip_producer_open");
        (by_calls ? send_by_calls : send_inline)(p, message, all);
        check(rip_producer_close(p), 0, "rip_producer_close");
        rip_producer_free(p);
        return EXIT_SUCCESS;
    }
    struct rip_consumer *c;
    int32_t holder;
    int rc;
    while ((rc = rip_consumer_open(channel, "default", RIP_OLDEST, RIP_WAIT_SPIN, RIP_FOREVER, &c, &holder)) ==
           -ENOENT) {
        usleep(100); /* the producer creates the channel */
    }
    check(rc, 0, "rip_consumer_open");
    double seconds = (by_calls ? receive_by_calls : receive_inline)(c, copy, warm_up, all);
    struct rip_message extra;
    if (memcmp(copy, message, SIZE) != 0 || rip_get(c, &extra, rip_now() + 1000000000u) != -ENODATA) {
        fprintf(stderr, "a message came out wrong, or one too many\n");
        return EXIT_FAILURE;
    }
    check(rip_consumer_close(c), 0, "rip_consumer_close");
    rip_consumer_free(c);
    join(producer);
    printf("{\"program\": \"core\", \"by\": \"%s\", \"count\": %llu, \"seconds\": %.9f}\n", argv[1],
           (unsigned long long)count, seconds);
    return EXIT_SUCCESS;
}
