/* A file, or a part of one, mapped into memory. */
#ifndef RIP_MAPPING_H
#define RIP_MAPPING_H

#include "base/common.h"

struct rip_mapping {
    void *at;
    uint64_t size;
    uint64_t allocated; /* bytes, by who makes it: no others may be written */
    uint64_t offset;    /* of an extent in its file */
    int fd;             /* -1 once it is not needed */
};

/* Begins a file of size bytes; it has no name yet, and nothing of it is allocated. */
int rip_mapping_create(int dir, uint64_t size, uint32_t mode, struct rip_mapping *out);
/* Allocates its first end bytes, and maps it for reading and writing if that is not done yet. */
int rip_mapping_allocate(struct rip_mapping *mapping, uint64_t end);
int rip_mapping_map(struct rip_mapping *mapping, int write);
void rip_mapping_close_fd(struct rip_mapping *mapping); /* the mapping is enough from here on */
void rip_mapping_close(struct rip_mapping *mapping);

#endif
