#include "base/mapping.h"
#include "base/file.h"
#include "base/shortage.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int rip_mapping_map(struct rip_mapping *mapping, int write) {
    int protection = write ? PROT_READ | PROT_WRITE : PROT_READ;
    void *at = mmap(NULL, mapping->size, protection, MAP_SHARED, mapping->fd, (off_t)mapping->offset);
    if (at == MAP_FAILED) {
        return -errno;
    }
    mapping->at = at;
    return 0;
}

int rip_mapping_create(int dir, uint64_t size, uint32_t mode, struct rip_mapping *out) {
    rip_note_shortage(0, 0);
    *out = (struct rip_mapping){.size = size, .fd = rip_file_unnamed(dir, mode)};
    if (out->fd < 0) {
        return out->fd;
    }
    rip_note_shortage(size, 0);
    /* sets the given mode, whatever the umask is */
    if (fchmod(out->fd, mode) != 0 || ftruncate(out->fd, (off_t)size) != 0) {
        int rc = -errno;
        rip_mapping_close_fd(out);
        return rc;
    }
    return 0;
}

/* Allocates before it maps the pages, because only the allocation can report that there is no space. Mapping them here
 * takes half the time of the page faults that it saves. */
int rip_mapping_allocate_part(const struct rip_mapping *mapping, uint64_t from, uint64_t size) {
    int rc = rip_allocate(mapping->fd, mapping->offset + from, size);
    return rc ? rc : rip_populate((char *)mapping->at + from, size, 1);
}

int rip_mapping_allocate(struct rip_mapping *mapping, uint64_t end) {
    int rc = mapping->at ? 0 : rip_mapping_map(mapping, 1);
    if (rc != 0 || !mapping->at) {
        return rc;
    }
    rc = rip_mapping_allocate_part(mapping, mapping->allocated, end - mapping->allocated);
    if (rc == 0) {
        mapping->allocated = end;
    }
    return rc;
}

int rip_mapping_make_private(struct rip_mapping *mapping, uint64_t from) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE; /* one call: no moment without memory */
    void *at = mmap((char *)mapping->at + from, mapping->size - from, PROT_READ | PROT_WRITE, flags, -1, 0);
    return at == MAP_FAILED ? -errno : 0;
}

void rip_mapping_close_fd(struct rip_mapping *mapping) {
    if (mapping->fd >= 0) {
        close(mapping->fd);
        mapping->fd = -1;
    }
}

void rip_mapping_close(struct rip_mapping *mapping) {
    if (mapping->at) {
        munmap(mapping->at, mapping->size);
        mapping->at = NULL;
    }
    rip_mapping_close_fd(mapping);
}
