// Sends a sine wave as arrays of float32, and a few words as bytes, to examples/read_from_c.py. Compile and run:
//
//     core=$(python -c 'import ringipc; print(ringipc.get_include())')
//     cc -O2 -std=c11 -D_GNU_SOURCE -I$core examples/producer.c $core/*/*.c -o producer -pthread
//     ./producer && python examples/read_from_c.py
//
// In this order or at the same time: messages wait for a first consumer, and outlive the producer.
#include "ringipc.h"

#include <stdio.h>
#include <string.h>

#define SAMPLES 1000u

/* The samples are written directly into shared memory: nothing is copied. */
static int send_wave(struct rip_producer *producer, float *x, float *y) {
    struct rip_array array = {.dtype = "<f4", .dtype_length = 3, .ndim = 1, .shape = {SAMPLES}};
    uint64_t header = rip_array_header_size(&array), length = header + SAMPLES * sizeof(float);
    unsigned char *payload;
    int rc = rip_wait_room(producer, length, RIP_FOREVER);
    rc = rc ? rc : rip_reserve(producer, length, &payload);
    if (rc != 0) {
        return rc;
    }
    rip_array_write(&array, payload);
    float *samples = (float *)(void *)(payload + header); /* 64-byte aligned */
    for (unsigned i = 0; i < SAMPLES; i++) {
        samples[i] = *y; /* the point (x, y) moves around the unit circle: a sine without libm */
        *x -= 0.005f * *y;
        *y += 0.005f * *x;
    }
    return rip_publish(producer, length, 0, RIP_ARRAY);
}

static int send_text(struct rip_producer *producer, const char *text) {
    return rip_put(producer, text, strlen(text), 1, RIP_BYTES, RIP_FOREVER);
}

int main(void) {
    struct rip_producer *producer;
    int rc = rip_producer_open("example-c", 1 << 20, 64, RIP_BLOCK, RIP_WAIT_ADAPTIVE, NULL, &producer);
    if (rc != 0) {
        fprintf(stderr, "cannot open the channel: %s\n", strerror(-rc));
        return 1;
    }
    float x = 1, y = 0;
    rc = send_text(producer, "a sine wave follows");
    for (int n = 0; n < 5 && rc == 0; n++) {
        rc = send_wave(producer, &x, &y);
    }
    rc = rc ? rc : send_text(producer, "that was all");
    rip_producer_close(producer); /* the consumer's loop ends here */
    rip_producer_free(producer);
    if (rc != 0) {
        fprintf(stderr, "cannot send: %s\n", strerror(-rc));
    }
    return rc ? 1 : 0;
}
