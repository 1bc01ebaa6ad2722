/* Two processes that wake each other with bare futexes: the shortest round trip without spinning. */
#include "limits.h"

#include <linux/futex.h>
#include <stdalign.h>
#include <sys/syscall.h>

struct words {
    alignas(APART) _Atomic uint32_t there; /* written by the first process; the second one sleeps on it */
    alignas(APART) _Atomic uint32_t back;  /* written by the second process; the first one sleeps on it */
};

static void post(_Atomic uint32_t *word, uint32_t value) {
    atomic_store_explicit(word, value, memory_order_release); /* release: pairs with the acquire in await */
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void await(_Atomic uint32_t *word, uint32_t value) {
    uint32_t seen;
    /* acquire: pairs with the release in post */
    while ((seen = atomic_load_explicit(word, memory_order_acquire)) != value) {
        syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
    }
}

static void call(struct words *words, uint32_t first, uint32_t end) {
    for (uint32_t i = first; i < end; i++) {
        post(&words->there, i + 1);
        await(&words->back, i + 1);
    }
}

static void answer(struct words *words, uint32_t end) {
    for (uint32_t i = 0; i < end; i++) {
        await(&words->there, i + 1);
        post(&words->back, i + 1);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: futex COUNT CPU OTHER_CPU\n");
        return EXIT_FAILURE;
    }
    uint32_t count = (uint32_t)count_of(argv[1]), warm_up = count / 10 + 1;
    struct words *words = shared_memory(sizeof *words);
    pid_t other;
    if (in_second_process(cpu_of(argv[2]), cpu_of(argv[3]), &other)) {
        answer(words, warm_up + count);
        return EXIT_SUCCESS;
    }
    call(words, 0, warm_up);
    double start = now();
    call(words, warm_up, warm_up + count);
    double seconds = now() - start;
    join(other);
    printf("{\"program\": \"futex\", \"count\": %u, \"seconds\": %.9f}\n", count, seconds);
    return EXIT_SUCCESS;
}
