#include "ring/rx_large.h"
#include "base/file.h"
#include "store/files.h"

#include <stdlib.h>

struct rip_rx_large {
    struct rip_handle *handle;
    uint64_t id, arena;
    const struct rip_lane *lane;
    struct rip_region regions[RIP_MAX_REGIONS]; /* those that are mapped; size 0: not mapped */
    struct rip_mapping mappings[RIP_MAX_REGIONS];
};

struct rip_rx_large *rip_rx_large_new(struct rip_handle *handle, uint64_t id, const struct rip_lane *lane,
                                      uint64_t arena) {
    struct rip_rx_large *large = calloc(1, sizeof *large);
    if (large) {
        large->handle = handle;
        large->id = id;
        large->lane = lane;
        large->arena = arena;
    }
    return large;
}

static int has(const struct rip_region *region, uint64_t offset, uint64_t length) {
    return offset >= region->lo && offset - region->lo < region->size && length <= region->size - (offset - region->lo);
}

/* Maps region k of the lane if these bytes lie in it. Any process may have written what the header says of it, so all
 * is checked. Returns 1, 0 if they lie elsewhere, or a negative errno. */
static int map_region(struct rip_rx_large *large, uint32_t k, uint64_t offset, uint64_t length) {
    const volatile struct rip_region *said = &large->lane->regions[k]; /* volatile: read once */
    struct rip_region region = {.lo = said->lo, .size = said->size};
    if (!has(&region, offset, length)) {
        return 0;
    }
    if (region.lo > RIP_PLACE_MASK || region.size > RIP_PLACE_MASK - region.lo || region.lo % RIP_PAGE ||
        region.size % RIP_PAGE) {
        return -EBADMSG;
    }
    int rc = rip_file_map_part(large->handle, rip_lane_file(large->id), large->arena + region.lo, region.size,
                               &large->mappings[k]);
    if (rc == 0) {
        large->regions[k] = region;
    }
    return rc ? rc : 1;
}

int rip_rx_large_find(struct rip_rx_large *large, uint64_t offset, uint64_t length, const unsigned char **data) {
    for (uint32_t k = 0; k < RIP_MAX_REGIONS; k++) {
        const struct rip_region *region = &large->regions[k];
        int rc = region->size ? has(region, offset, length) : map_region(large, k, offset, length);
        if (rc < 0) {
            return rc;
        }
        if (rc == 1) {
            unsigned char *at = (unsigned char *)large->mappings[k].at + (offset - region->lo);
            /* if the message is damaged there may be no memory in the file; else a lack of memory is temporary */
            rc = rip_populate(at, length, 0);
            *data = at;
            return rc == -EBADMSG ? rc : 0;
        }
    }
    return -EBADMSG;
}

void rip_rx_large_free(struct rip_rx_large *large) {
    for (uint32_t k = 0; large && k < RIP_MAX_REGIONS; k++) {
        if (large->regions[k].size) {
            rip_mapping_close(&large->mappings[k]);
        }
    }
    free(large);
}
