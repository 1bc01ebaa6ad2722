/* Sizes and hints that all layers use. */
#ifndef RIP_COMMON_H
#define RIP_COMMON_H

#include "ringipc.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>

#define RIP_PAGE 4096u
#define RIP_LINE 64u

#define RIP_LIKELY(x) __builtin_expect(!!(x), 1)
#define RIP_UNLIKELY(x) __builtin_expect(!!(x), 0)

static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "shared words must be lock-free");

static inline uint64_t rip_round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

#endif
