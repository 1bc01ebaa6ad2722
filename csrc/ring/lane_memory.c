#include "ring/lane_memory.h"
#include "base/file.h"
#include "ring/large.h"

#define LEAST_STEP 16384u
#include "store/files.h"

/* A small lane of an anonymous channel takes a quarter of its capacity at once, because there can be thousands. */
static uint64_t step_of(const struct rip_producer *p) {
    uint64_t quarter = rip_round_up(p->arena.capacity / 4, LEAST_STEP);
    return rip_is_anonymous(&p->ch.handle) && quarter < RIP_STEP ? quarter : RIP_STEP;
}

uint64_t rip_lane_step_end(const struct rip_producer *p, uint64_t bytes) {
    uint64_t end = rip_round_up(rip_arena_offset(p->slots) + bytes, step_of(p));
    uint64_t size = rip_lane_size(p->slots, p->arena.capacity);
    return end < size ? end : size;
}

int rip_lane_fill(struct rip_producer *p, uint64_t bytes) {
    uint64_t arena = rip_arena_offset(p->slots), end = rip_lane_step_end(p, bytes);
    int rc = rip_file_allocate(&p->mapping, end);
    if (rc == 0) {
        p->lane = p->mapping.at;
        rip_arena_allocated(&p->arena, end - arena);
        /* relaxed: pairs with rip_rx_read_far; the publication of a message in this memory orders it */
        atomic_store_explicit(&p->lane->allocated, end - arena, memory_order_relaxed);
    }
    return rc;
}

void rip_lane_close_fd(struct rip_producer *p) {
    if (rip_is_anonymous(&p->ch.handle) || p->mapping.allocated == p->mapping.size) {
        rip_mapping_close_fd(&p->mapping);
    }
}

int rip_lane_has(const struct rip_producer *p, uint64_t offset, uint64_t length) {
    uint64_t end = p->arena.allocated;
    return (offset <= end && length <= end - offset) || rip_large_has(p, offset, length);
}

/* Returns the end of the part of the arena that pins and messages from `from` on occupy. */
static uint64_t end_of_messages(const struct rip_producer *p, uint64_t from) {
    uint64_t end = 0;
    for (unsigned i = 0; i < p->arena.pinned; i++) {
        uint64_t hi = p->arena.pins[i].hi;
        end = hi > end && hi <= p->arena.allocated ? hi : end;
    }
    for (uint64_t seq = from; seq != p->published; seq++) {
        const struct rip_desc *desc = &p->lane->desc[seq & (p->slots - 1)];
        uint64_t offset = rip_desc_offset(desc), length = rip_desc_length(desc); /* each reads once */
        if (!rip_lane_has(p, offset, length)) {                                  /* damaged */
            return p->arena.allocated;
        }
        end = offset + length > end && offset + length <= p->arena.allocated ? offset + length : end;
    }
    return rip_round_up(end, RIP_PAGE);
}

void rip_lane_shrink(struct rip_producer *p) {
    uint64_t allocated = p->arena.allocated, end = end_of_messages(p, p->free_below);
    if (end < allocated) {
        /* before the pages go: a reader populates no page beyond it (rip_rx_read_far). relaxed: one that has loaded it
         * before finds the pages, or gets new ones, of which there are enough now. */
        atomic_store_explicit(&p->lane->allocated, end, memory_order_relaxed);
        rip_free_pages(p->payloads + end, allocated - end);
    }
}

static int grow(struct rip_producer *p, uint64_t bytes) {
    if (RIP_LIKELY(bytes <= p->arena.allocated)) {
        return 0;
    }
    if (p->mapping.fd < 0 && rip_is_anonymous(&p->ch.handle)) {
        p->mapping.fd = rip_handle_dup(&p->ch.handle);
    }
    int rc = p->mapping.fd < 0 ? p->mapping.fd : rip_lane_fill(p, bytes);
    rip_lane_close_fd(p);
    return rc;
}

int rip_tx_find_room(struct rip_producer *p, uint64_t length, uint64_t *end) {
    struct rip_arena *arena = &p->arena;
    if (length > arena->capacity) {
        return rip_large_find_room(p, length);
    }
    uint64_t need = rip_round_up(length, RIP_LINE), offset = rip_arena_find(arena, need, *end);
    int rc = offset == UINT64_MAX ? -EAGAIN : grow(p, offset + need);
    if (rip_is_out_of_memory(rc)) {
        *end = arena->allocated;
        offset = rip_arena_find(arena, need, *end);
        rc = offset == UINT64_MAX ? rc : 0;
    }
    if (rc == 0 && offset != arena->at) {
        rip_arena_go(arena, offset, p->tail);
    }
    return rc;
}
