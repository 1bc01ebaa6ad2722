/* Input of the fuzz targets: a program, read byte by byte; and the check that reports a failure. */
#ifndef RIP_FUZZ_INPUT_H
#define RIP_FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) ((condition) ? (void)0 : failed(__FILE__, __LINE__, #condition))

static inline _Noreturn void failed(const char *file, int line, const char *condition) {
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
    abort(); /* libFuzzer keeps the input */
}

static const uint8_t *input, *input_end;

static inline uint8_t next(void) { return input < input_end ? *input++ : 0; }

static inline uint64_t next_bytes(unsigned count) {
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++) {
        value |= (uint64_t)next() << 8 * i;
    }
    return value;
}

#endif
