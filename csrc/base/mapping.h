/* A file, or an extent of one, mapped into memory. */
#ifndef RIP_MAPPING_H
#define RIP_MAPPING_H

#include "base/common.h"

struct rip_mapping {
    void *at;
    uint64_t size;
    uint64_t allocated; /* bytes that the process which creates the file has allocated: it may write no others */
    uint64_t offset;    /* of an extent in its file, else 0 */
    int fd;             /* -1 once it is not needed */
};

/* Creates a file of size bytes, without a name. Nothing of it is allocated or mapped yet. Returns 0 or a negative
 * errno; then rip_last_shortage says what was needed. */
int rip_mapping_create(int dir, uint64_t size, uint32_t mode, struct rip_mapping *out);
/* Allocates the first `end` bytes, and maps the file for reading and writing if that is not done yet. Returns 0 or a
 * negative errno. */
int rip_mapping_allocate(struct rip_mapping *mapping, uint64_t end);
/* Allocates size bytes from offset `from` of a mapping. Returns 0 or a negative errno. */
int rip_mapping_allocate_part(const struct rip_mapping *mapping, uint64_t from, uint64_t size);
/* Maps the file. write: for writing too. Returns 0 or a negative errno. */
int rip_mapping_map(struct rip_mapping *mapping, int write);
/* Replaces what is mapped from byte `from` on, a multiple of RIP_PAGE, by private memory: what this process still
 * writes there reaches nobody. Returns 0 or a negative errno. */
int rip_mapping_make_private(struct rip_mapping *mapping, uint64_t from);
/* Closes the file descriptor. The file stays mapped. */
void rip_mapping_close_fd(struct rip_mapping *mapping);
/* Unmaps the file and closes the file descriptor. */
void rip_mapping_close(struct rip_mapping *mapping);

#endif
