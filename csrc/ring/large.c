#include "ring/large.h"
#include "base/file.h"
#include "channel/tables.h"
#include "store/files.h"
#include "store/table_lock.h"

#include <stdlib.h>

#define MOST 128u                        /* large messages that have memory at a time */
#define LEAST_REGION (UINT64_C(1) << 20) /* bytes */
#define MESSAGES_IN_REGION 4u            /* of the message for which it is made */

struct range { /* of the arena's offsets; it has memory */
    uint64_t lo, hi, seq;
};

struct rip_large {
    uint64_t done;
    uint32_t regions, count;
    struct rip_region region[RIP_MAX_REGIONS];
    struct rip_mapping mapping[RIP_MAX_REGIONS];
    struct range ranges[MOST];
};

int rip_large_begin(struct rip_producer *p, uint64_t length, uint64_t done) {
    if (length > p->longest) {
        return -EMSGSIZE;
    }
    p->large = p->large ? p->large : calloc(1, sizeof *p->large);
    if (!p->large) {
        return -ENOMEM;
    }
    p->large->done = done;
    return 0;
}

/* The region in which this offset is, which is in one. */
static uint32_t region_of(const struct rip_large *large, uint64_t offset) {
    uint32_t k = 0;
    while (k + 1 < large->regions && offset - large->region[k].lo >= large->region[k].size) {
        k++;
    }
    return k;
}

static unsigned char *address_of(const struct rip_large *large, uint64_t offset) {
    uint32_t k = region_of(large, offset);
    return (unsigned char *)large->mapping[k].at + (offset - large->region[k].lo);
}

unsigned char *rip_large_payload(const struct rip_producer *p) { return address_of(p->large, p->arena.at); }

static void free_between(const struct rip_large *large, uint64_t lo, uint64_t hi) {
    if (lo < hi) {
        rip_free_pages(address_of(large, lo), hi - lo);
    }
}

/* Frees the ranges of released messages, except what lies between lo and hi. Returns how many bytes that is. */
static uint64_t release_except(struct rip_producer *p, uint64_t lo, uint64_t hi) {
    struct rip_large *large = p->large;
    uint64_t left = 0;
    unsigned still = 0;
    for (unsigned i = 0; i < large->count; i++) {
        struct range range = large->ranges[i];
        if (rip_arena_is_live(&p->arena, range.lo, range.hi)) {
            large->ranges[still++] = range;
            continue;
        }
        uint64_t from = lo < range.lo ? range.lo : lo, to = hi < range.hi ? hi : range.hi;
        if (from < to) {
            left += to - from;
            free_between(large, range.lo, from);
            free_between(large, to, range.hi);
        } else {
            free_between(large, range.lo, range.hi);
        }
    }
    large->count = still;
    return left;
}

void rip_large_release(struct rip_producer *p) { release_except(p, 0, 0); }

static int are_too_many(const struct rip_producer *p) {
    const struct rip_large *large = p->large;
    unsigned waiting = 0;
    for (unsigned i = 0; i < large->count; i++) {
        const struct range *range = &large->ranges[i];
        waiting += range->seq >= large->done && rip_arena_has_run(&p->arena, range->lo, range->hi);
    }
    return waiting >= RIP_LARGE_WAITING;
}

/* Makes a region of size bytes. Returns 0 or a negative errno. */
static int make_region(struct rip_producer *p, uint64_t size) {
    struct rip_large *large = p->large;
    struct rip_handle *handle = &p->ch.handle;
    struct rip_mapping *mapping = &large->mapping[large->regions];
    uint64_t arena = p->mapping.offset + rip_arena_offset(p->slots), end = p->mapping.offset + p->mapping.size;
    for (uint32_t k = 0; k < large->regions; k++) {
        end = large->mapping[k].offset + large->mapping[k].size;
    }
    int rc = rip_try_lock(handle);
    if (rc != 0) {
        return rc == -EAGAIN ? -ENOLCK : rc;
    }
    rc = rip_file_extend(handle, rip_lane_file(rip_lane_id(p->entry)), end, size, large->regions, mapping);
    rip_unlock(handle);
    if (rc == 0 && mapping->offset - arena > RIP_PLACE_MASK - size) {
        rip_mapping_close(mapping);
        rc = -EMSGSIZE;
    }
    if (rc == 0) {
        struct rip_region region = {.lo = mapping->offset - arena, .size = size};
        /* the publication of a message in it makes it visible */
        large->region[large->regions] = p->lane->regions[large->regions] = region;
        large->regions++;
    }
    return rc;
}

/* Finds room for need bytes, and makes a region if there is none. */
static int find(struct rip_producer *p, uint64_t need, uint64_t *offset) {
    struct rip_large *large = p->large;
    uint64_t all = 0;
    for (uint32_t k = 0; k < large->regions; k++) {
        const struct rip_region *region = &large->region[k];
        *offset = rip_arena_find_large(&p->arena, need, region->lo, region->lo + region->size);
        if (*offset != UINT64_MAX) {
            return 0;
        }
        all += region->size;
    }
    release_except(p, 0, 0); /* no part of it can be used again */
    uint32_t k = large->regions;
    int rc = rip_file_has_memory(&p->ch.handle, need);
    if (rc != 0 || k >= RIP_MAX_REGIONS) {
        return rc ? rc : -EAGAIN;
    }
    uint64_t size = MESSAGES_IN_REGION * need;
    size = size < 2 * all ? 2 * all : size;
    size = rip_round_up(size < LEAST_REGION ? LEAST_REGION : size, RIP_REGION_ALIGN);
    rc = make_region(p, size);
    if (rc == -ENOMEM || rc == -EFBIG || rc == -EMSGSIZE) { /* a limit of address space, or of the length of files */
        rc = make_region(p, rip_round_up(need, RIP_REGION_ALIGN));
    }
    if (rc == 0) {
        const struct rip_region *region = &large->region[k];
        *offset = rip_arena_find_large(&p->arena, need, region->lo, region->lo + region->size);
        rc = *offset == UINT64_MAX ? -EAGAIN : 0; /* there are too many runs */
    }
    return rc;
}

int rip_large_find_room(struct rip_producer *p, uint64_t length) {
    struct rip_large *large = p->large;
    uint64_t need = rip_round_up(length, RIP_PAGE), offset = 0;
    int rc = are_too_many(p) ? -EAGAIN : find(p, need, &offset);
    if (rc != 0) {
        return rc;
    }
    uint64_t allocated = release_except(p, offset, offset + need);
    if (large->count == MOST) {
        return -EAGAIN;
    }
    if (allocated < need) {
        uint32_t k = region_of(large, offset);
        rc = rip_file_has_memory(&p->ch.handle, need - allocated);
        rc = rc ? rc : rip_mapping_allocate_part(&large->mapping[k], offset - large->region[k].lo, need);
        if (rc != 0) {
            free_between(large, offset, offset + need);
            return rc;
        }
    }
    large->ranges[large->count++] = (struct range){.lo = offset, .hi = offset + need, .seq = p->tail};
    rip_arena_go_large(&p->arena, offset, p->tail);
    return 0;
}

int rip_large_has(const struct rip_producer *p, uint64_t offset, uint64_t length) {
    const struct rip_large *large = p->large;
    for (unsigned i = 0; large && i < large->count; i++) {
        const struct range *range = &large->ranges[i];
        if (offset >= range->lo && offset <= range->hi && length <= range->hi - offset) {
            return 1;
        }
    }
    return 0;
}

unsigned rip_large_count(const struct rip_producer *p) { return p->large ? p->large->count : 0; }

uint64_t rip_large_bytes(const struct rip_producer *p) {
    uint64_t bytes = 0;
    for (unsigned i = 0; i < rip_large_count(p); i++) {
        bytes += p->large->ranges[i].hi - p->large->ranges[i].lo;
    }
    return bytes;
}

void rip_large_free(struct rip_producer *p) {
    for (uint32_t k = 0; p->large && k < p->large->regions; k++) {
        rip_mapping_close(&p->large->mapping[k]);
    }
    free(p->large);
    p->large = NULL;
}
