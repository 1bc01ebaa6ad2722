/* memcpy on one core. hot: the same source and destination every time. cold: a total size that exceeds any cache. */
#include "limits.h"

#define COLD_BYTES ((size_t)64 << 20)

static double copy(unsigned char *to, const unsigned char *from, size_t size, size_t blocks, uint64_t count) {
    double start = now();
    for (uint64_t i = 0; i < count; i++) {
        size_t offset = i % blocks * size;
        memcpy(to + offset, from + offset, size);
        keep(to);
    }
    return now() - start;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: copy hot|cold SIZE COUNT CPU\n");
        return EXIT_FAILURE;
    }
    size_t size = size_of(argv[2]);
    size_t blocks = strcmp(argv[1], "cold") == 0 && size < COLD_BYTES ? COLD_BYTES / size : 1;
    uint64_t count = count_of(argv[3]);
    pin(cpu_of(argv[4]));
    unsigned char *from = shared_memory(blocks * size), *to = shared_memory(blocks * size);
    memset(from, 1, blocks * size);
    copy(to, from, size, blocks, count / 10 + 1);
    printf("{\"program\": \"copy\", \"blocks\": %zu, \"size\": %zu, \"count\": %llu, \"seconds\": %.9f}\n", blocks,
           size, (unsigned long long)count, copy(to, from, size, blocks, count));
    return EXIT_SUCCESS;
}
