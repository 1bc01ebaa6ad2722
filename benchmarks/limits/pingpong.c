/* One word in one cache line, passed between two cores that spin on it: the shortest possible round trip. */
#include "limits.h"

/* Waits for each odd value and answers with the next even one, or vice versa. */
static void pass(_Atomic uint64_t *word, uint64_t first, uint64_t count) {
    for (uint64_t value = first; value < first + 2 * count; value += 2) {
        /* acquire and release: each load pairs with the other side's store */
        while (atomic_load_explicit(word, memory_order_acquire) != value) {
            pause_briefly();
        }
        atomic_store_explicit(word, value + 1, memory_order_release);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: pingpong COUNT CPU OTHER_CPU\n");
        return EXIT_FAILURE;
    }
    uint64_t count = count_of(argv[1]), warm_up = count / 10 + 1;
    _Atomic uint64_t *word = shared_memory(APART);
    pid_t other;
    if (in_second_process(cpu_of(argv[2]), cpu_of(argv[3]), &other)) {
        pass(word, 1, warm_up + count);
        return EXIT_SUCCESS;
    }
    pass(word, 0, warm_up);
    double start = now();
    pass(word, 2 * warm_up, count);
    double seconds = now() - start;
    join(other);
    printf("{\"program\": \"pingpong\", \"count\": %llu, \"seconds\": %.9f}\n", (unsigned long long)count, seconds);
    return EXIT_SUCCESS;
}
