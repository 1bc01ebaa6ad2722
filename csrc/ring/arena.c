#include "ring/arena.h"

#include <errno.h>
#include <string.h>

void rip_arena_init(struct rip_arena *arena, uint64_t capacity) {
    *arena = (struct rip_arena){.capacity = capacity, .count = 1};
}

/* Returns the bytes of live messages. */
static uint64_t live_bytes(const struct rip_arena *arena) {
    uint64_t live = arena->at - arena->runs[arena->count - 1].lo;
    for (unsigned i = 0; i + 1 < arena->count; i++) {
        live += arena->runs[i].hi - arena->runs[i].lo;
    }
    return live;
}

uint64_t rip_arena_from(const struct rip_arena *arena, uint64_t seq, uint64_t offset) {
    uint64_t bytes = 0;
    for (unsigned i = arena->count; i > 0; i--) {
        const struct rip_run *run = &arena->runs[i - 1];
        uint64_t hi = i == arena->count ? arena->at : run->hi;
        if (run->seq <= seq) { /* the offset is used only if it is plausible, as in rip_arena_reclaim */
            return bytes + (offset >= run->lo && offset <= hi ? hi - offset : hi - run->lo);
        }
        bytes += hi - run->lo;
    }
    return bytes;
}

/* Run i, or pin i - count. */
static const struct rip_run *live_range(const struct rip_arena *arena, unsigned i) {
    return i < arena->count ? &arena->runs[i] : &arena->pins[i - arena->count];
}

/* The lowest offset with need free bytes below end, or UINT64_MAX. */
static uint64_t lowest_gap(const struct rip_arena *arena, uint64_t need, uint64_t end) {
    uint64_t offset = 0;
    for (int moved = 1; moved;) {
        moved = 0;
        for (unsigned i = 0; i < arena->count + arena->pinned; i++) {
            const struct rip_run *run = live_range(arena, i);
            if (run->lo < run->hi && offset < run->hi && run->lo < offset + need) {
                offset = run->hi;
                moved = 1;
            }
        }
    }
    return offset <= end && need <= end - offset ? offset : UINT64_MAX;
}

/* The next live byte from offset on, or end. */
static uint64_t next_live_byte(const struct rip_arena *arena, uint64_t offset, uint64_t end) {
    for (unsigned i = 0; i < arena->count + arena->pinned; i++) {
        const struct rip_run *run = live_range(arena, i);
        if (run->lo < run->hi && run->lo >= offset && run->lo < end) {
            end = run->lo;
        }
    }
    return end;
}

void rip_arena_reclaim(struct rip_arena *arena, uint64_t seq, uint64_t offset, uint64_t next) {
    struct rip_run *runs = arena->runs;
    runs[arena->count - 1].hi = arena->at;
    if (seq == next) { /* no message is live */
        runs[0] = (struct rip_run){.seq = next};
        arena->count = 1;
        arena->at = 0;
        arena->gap_end = next_live_byte(arena, 0, arena->allocated);
        return;
    }
    unsigned dead = 0;
    while (dead + 1 < arena->count && runs[dead + 1].seq <= seq) {
        dead++;
    }
    arena->count -= dead;
    memmove(runs, runs + dead, arena->count * sizeof *runs);
    /* offset was read back from shared memory, so it is used only if it is plausible; an empty message may lie outside
     * of every run */
    if (seq >= runs[0].seq && offset > runs[0].lo && offset <= runs[0].hi && offset % RIP_LINE == 0) {
        runs[0].lo = offset;
    }
}

void rip_arena_allocated(struct rip_arena *arena, uint64_t allocated) {
    arena->allocated = allocated;
    arena->gap_end = next_live_byte(arena, arena->at, allocated);
}

uint64_t rip_arena_find(struct rip_arena *arena, uint64_t need, uint64_t end) {
    struct rip_run *last = &arena->runs[arena->count - 1];
    last->hi = arena->at;
    uint64_t gap_end = next_live_byte(arena, arena->at, end);
    arena->gap_end = gap_end < arena->allocated ? gap_end : arena->allocated;
    int fits = need <= gap_end - arena->at;
    if (fits && arena->at == 0) {
        return 0;
    }
    uint64_t live = live_bytes(arena), offset = UINT64_MAX;
    if (!fits) {
        offset = lowest_gap(arena, need, end);
    } else if (live > 0) { /* it fits at the present position: move only if that gives much more room */
        offset = lowest_gap(arena, live > need ? live : need, end);
    }
    int starts_run =
        last->lo < last->hi; /* moving starts a new run; if the last run is empty, that one moves instead */
    if ((fits && offset >= arena->at) || (starts_run && arena->count == RIP_MAX_RUNS)) {
        return fits ? arena->at : UINT64_MAX;
    }
    return offset;
}

void rip_arena_go(struct rip_arena *arena, uint64_t offset, uint64_t next) {
    struct rip_run *last = &arena->runs[arena->count - 1];
    if (last->lo < last->hi) {
        last++;
        arena->count++;
    }
    *last = (struct rip_run){.seq = next, .lo = offset, .hi = offset};
    arena->at = offset;
    arena->gap_end = next_live_byte(arena, offset, arena->allocated);
}

int rip_arena_follow(struct rip_arena *arena, uint64_t seq, uint64_t offset, uint64_t length) {
    struct rip_run *last = &arena->runs[arena->count - 1];
    if (offset % RIP_LINE || offset > arena->allocated || length > arena->allocated - offset) {
        return -EBADMSG;
    }
    if (offset != arena->at) {
        last->hi = arena->at;
        if (last->lo < last->hi && arena->count == RIP_MAX_RUNS) {
            return -EBADMSG;
        }
        rip_arena_go(arena, offset, seq);
    }
    arena->at += length;
    return 0;
}
