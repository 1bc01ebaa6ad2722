/* A bare ring buffer with one producer and one consumer in two processes: the limit for messages of SIZE bytes.
 *
 * Each index has its own cache line, beside a cached copy of the other index. So the other index's line is fetched only
 * when the cached copy indicates a full or empty ring. Messages of 64 bytes are copied in and out, up to 1024 in
 * flight. Larger messages are copied into two alternating slots, which stay in the cache; the consumer reads their
 * first and last byte without copying. */
#include "limits.h"

#include <stdalign.h>

#define SMALL ((size_t)64)
#define SMALL_SLOTS 1024
#define LARGE_SLOTS 2

struct ring {
    alignas(APART) _Atomic uint64_t tail; /* this line is written by the producer */
    uint64_t head_seen;
    alignas(APART) _Atomic uint64_t head; /* this line is written by the consumer */
    uint64_t tail_seen;
    alignas(4096) unsigned char slots[];
};

static inline void send(struct ring *ring, const unsigned char *message, size_t size, uint64_t slots, uint64_t count) {
    for (uint64_t tail = 0; tail < count; tail++) {
        while (tail - ring->head_seen == slots) {
            pause_briefly();
            /* acquire: pairs with the release of head; the consumer has read before the producer overwrites the slot */
            ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        }
        memcpy(ring->slots + tail % slots * size, message, size);
        /* release: pairs with the acquire of tail; the message is visible before the tail */
        atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    }
}

static inline const unsigned char *peek(struct ring *ring, size_t size, uint64_t slots, uint64_t head) {
    while (ring->tail_seen == head) {
        pause_briefly();
        /* acquire: pairs with the release of tail; the message is visible after the tail */
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
    }
    return ring->slots + head % slots * size;
}

static inline void release(struct ring *ring, uint64_t head) {
    /* release: pairs with the acquire of head; the consumer has read before the head moves */
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

/* Returns the seconds from message warm_up to the last one. */
static double receive_small(struct ring *ring, uint64_t warm_up, uint64_t count, unsigned char *copy) {
    double start = 0;
    for (uint64_t head = 0; head < count; head++) {
        memcpy(copy, peek(ring, SMALL, SMALL_SLOTS, head), SMALL);
        keep(copy);
        release(ring, head);
        if (head == warm_up) {
            start = now();
        }
    }
    return now() - start;
}

static double receive_large(struct ring *ring, size_t size, uint64_t warm_up, uint64_t count, uint64_t *sum) {
    double start = 0;
    for (uint64_t head = 0; head < count; head++) {
        const unsigned char *message = peek(ring, size, LARGE_SLOTS, head);
        *sum += (uint64_t)message[0] + message[size - 1];
        release(ring, head);
        if (head == warm_up) {
            start = now();
        }
    }
    return now() - start;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: spsc SIZE COUNT PRODUCER_CPU CONSUMER_CPU\n");
        return EXIT_FAILURE;
    }
    size_t size = size_of(argv[1]);
    uint64_t count = count_of(argv[2]), warm_up = count / 10, all = warm_up + 1 + count;
    unsigned char *message = shared_memory(size), copy[SMALL] = {0};
    struct ring *ring = shared_memory(sizeof *ring + (size == SMALL ? SMALL_SLOTS * SMALL : LARGE_SLOTS * size));
    memset(message, 1, size);
    message[size - 1] = 2;
    pid_t producer;
    if (in_second_process(cpu_of(argv[4]), cpu_of(argv[3]), &producer)) {
        if (size == SMALL) {
            send(ring, message, SMALL, SMALL_SLOTS, all); /* constants, so that the compiler inlines the copy */
        } else {
            send(ring, message, size, LARGE_SLOTS, all);
        }
        return EXIT_SUCCESS;
    }
    uint64_t sum = 0;
    double seconds =
        size == SMALL ? receive_small(ring, warm_up, all, copy) : receive_large(ring, size, warm_up, all, &sum);
    join(producer);
    if (size == SMALL ? memcmp(copy, message, SMALL) != 0 : sum != 3 * all) {
        fprintf(stderr, "a message came out wrong\n");
        return EXIT_FAILURE;
    }
    printf("{\"program\": \"spsc\", \"size\": %zu, \"count\": %llu, \"seconds\": %.9f}\n", size,
           (unsigned long long)count, seconds);
    return EXIT_SUCCESS;
}
