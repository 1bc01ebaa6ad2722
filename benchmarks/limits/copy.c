/* memcpy on one core: hot, from and to the same place every time, and cold, through more memory than any cache holds. */
#include "limits.h"

#define COLD_BYTES ((size_t)64 << 20)

static double copy(unsigned char *to, const unsigned char *from, size_t size, size_t places, uint64_t count) {
    double start = now();
    for (uint64_t i = 0; i < count; i++) {
        size_t handle = i % places * size;
        memcpy(to + handle, from + handle, size);
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
    size_t places = strcmp(argv[1], "cold") == 0 && size < COLD_BYTES ? COLD_BYTES / size : 1;
    uint64_t count = count_of(argv[3]);
    pin(cpu_of(argv[4]));
    unsigned char *from = shared_memory(places * size), *to = shared_memory(places * size);
    memset(from, 1, places * size);
    copy(to, from, size, places, count / 10 + 1);
    printf("{\"program\": \"copy\", \"places\": %zu, \"size\": %zu, \"count\": %llu, \"seconds\": %.9f}\n", places,
           size, (unsigned long long)count, copy(to, from, size, places, count));
    return EXIT_SUCCESS;
}
