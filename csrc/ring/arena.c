#include "ring/arena.h"

#include <errno.h>
#include <string.h>

void rip_arena_init(struct rip_arena *arena, uint64_t capacity) {
    *arena = (struct rip_arena){.capacity = capacity, .count = 1};
}

/* The end of run i. */
static uint64_t end_of(const struct rip_arena *arena, unsigned i) {
    return i == arena->count - 1 ? arena->at : arena->runs[i].hi;
}

/* Returns the bytes of live messages below the capacity. */
static uint64_t live_bytes(const struct rip_arena *arena) {
    uint64_t live = 0;
    for (unsigned i = 0; i < arena->count; i++) {
        live += arena->runs[i].lo < arena->capacity ? end_of(arena, i) - arena->runs[i].lo : 0;
    }
    return live;
}

uint64_t rip_arena_from(const struct rip_arena *arena, uint64_t seq, uint64_t offset) {
    uint64_t bytes = 0;
    for (unsigned i = arena->count; i > 0; i--) {
        const struct rip_run *run = &arena->runs[i - 1];
        uint64_t hi = end_of(arena, i - 1);
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

/* The lowest multiple of align from offset on with need free bytes below end, or UINT64_MAX. offset is such a
 * multiple. */
static uint64_t lowest_gap(const struct rip_arena *arena, uint64_t need, uint64_t offset, uint64_t end,
                           uint64_t align) {
    for (int moved = 1; moved;) {
        moved = 0;
        for (unsigned i = 0; i < arena->count + arena->pinned; i++) {
            const struct rip_run *run = live_range(arena, i);
            if (run->lo < run->hi && offset < run->hi && run->lo < offset + need) {
                offset = rip_round_up(run->hi, align);
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
    arena->gap_end = arena->at > allocated ? arena->at : next_live_byte(arena, arena->at, allocated);
}

uint64_t rip_arena_find(struct rip_arena *arena, uint64_t need, uint64_t end) {
    struct rip_run *last = &arena->runs[arena->count - 1];
    last->hi = arena->at;
    int is_behind = arena->at > end; /* behind a message that is longer than the capacity */
    uint64_t gap_end = is_behind ? arena->at : next_live_byte(arena, arena->at, end);
    arena->gap_end = gap_end < arena->allocated || is_behind ? gap_end : arena->allocated;
    int fits = !is_behind && need <= gap_end - arena->at;
    if (fits && arena->at == 0) {
        return 0;
    }
    uint64_t live = live_bytes(arena), offset = UINT64_MAX;
    if (!fits) {
        offset = lowest_gap(arena, need, 0, end, RIP_LINE);
    } else if (live > 0) { /* it fits at the present position: move only if that gives much more room */
        offset = lowest_gap(arena, live > need ? live : need, 0, end, RIP_LINE);
    }
    int starts_run =
        last->lo < last->hi; /* moving starts a new run; if the last run is empty, that one moves instead */
    if ((fits && offset >= arena->at) || (starts_run && arena->count == RIP_MAX_RUNS)) {
        return fits ? arena->at : UINT64_MAX;
    }
    return offset;
}

/* An empty last run is that of a message that was discarded, or it has empty messages only. If the arena goes back to the
 * end of the run before, that one continues: so no writer of a shared lane counts more runs than another. */
void rip_arena_go(struct rip_arena *arena, uint64_t offset, uint64_t next) {
    struct rip_run *last = &arena->runs[arena->count - 1];
    int is_empty = last->lo == last->hi;
    if (is_empty && arena->count > 1 && last[-1].hi == offset && offset < arena->capacity) {
        arena->count--;
    } else {
        arena->count += !is_empty;
        arena->runs[arena->count - 1] = (struct rip_run){.seq = next, .lo = offset, .hi = offset};
    }
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

/* ---- messages that are longer than the capacity ---- */

/* Can the last run go on at this offset? It must be in the same region, and only the rest of a page be between. */
static int continues(const struct rip_arena *arena, uint64_t offset) {
    const struct rip_run *last = &arena->runs[arena->count - 1];
    return last->lo < last->hi && last->lo >= arena->capacity && offset == rip_round_up(arena->at, RIP_PAGE);
}

uint64_t rip_arena_find_large(struct rip_arena *arena, uint64_t need, uint64_t lo, uint64_t end) {
    struct rip_run *last = &arena->runs[arena->count - 1];
    last->hi = arena->at;
    uint64_t offset = lowest_gap(arena, need, lo, end, RIP_PAGE);
    int starts_run = last->lo < last->hi && !continues(arena, offset);
    if (offset == UINT64_MAX || !starts_run || arena->count < RIP_MAX_RUNS) {
        return offset;
    }
    uint64_t next = rip_round_up(arena->at, RIP_PAGE);
    int fits = lo < next && next < end && last->lo >= lo && need <= next_live_byte(arena, next, end) - next;
    return fits ? next : UINT64_MAX;
}

void rip_arena_go_large(struct rip_arena *arena, uint64_t offset, uint64_t next) {
    arena->runs[arena->count - 1].hi = arena->at;
    if (continues(arena, offset)) {
        arena->at = offset;
    } else {
        rip_arena_go(arena, offset, next);
    }
    arena->gap_end = offset; /* no other message follows it there */
}

static int overlap(uint64_t lo, uint64_t hi, uint64_t other_lo, uint64_t other_hi) {
    return lo < hi && other_lo < other_hi && lo < other_hi && other_lo < hi;
}

int rip_arena_has_run(const struct rip_arena *arena, uint64_t lo, uint64_t hi) {
    for (unsigned i = 0; i < arena->count; i++) {
        if (overlap(lo, hi, arena->runs[i].lo, end_of(arena, i))) {
            return 1;
        }
    }
    return 0;
}

int rip_arena_is_live(const struct rip_arena *arena, uint64_t lo, uint64_t hi) {
    for (unsigned i = 0; i < arena->pinned; i++) {
        if (overlap(lo, hi, arena->pins[i].lo, arena->pins[i].hi)) {
            return 1;
        }
    }
    return rip_arena_has_run(arena, lo, hi);
}
