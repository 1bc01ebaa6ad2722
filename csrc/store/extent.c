#include "store/extent.h"
#include "base/file.h"
#include "base/shortage.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct extent {
    uint64_t at;
    struct rip_identity identity;
};

/* The word `used` of the control file: the offset at which the chain ends. */
static volatile uint64_t *used_of(const struct rip_handle *handle) {
    return (volatile uint64_t *)(void *)((char *)handle->mapping.at + RIP_USED_AT);
}

/* A mapping starts at a page of the machine, and some machines have pages larger than RIP_PAGE. */
static uint64_t whole_pages(uint64_t n) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return rip_round_up(n, page > RIP_PAGE ? page : RIP_PAGE);
}

/* Returns the offset at which the chain ends, or 0 if `used` is not valid. */
static uint64_t end_of(const struct rip_handle *handle) {
    uint64_t end = *used_of(handle); /* volatile: read once */
    return end < handle->mapping.size || end > INT64_MAX || end != whole_pages(end) ? 0 : end;
}

/* The control file, as the entry before the first extent. */
static struct extent before_all(const struct rip_handle *handle) {
    return (struct extent){.at = 0, .identity.size = handle->mapping.size};
}

/* Moves to the next extent. Returns 1, 0 at the end of the chain, or -EBADMSG. A damaged chain cannot make the walk
 * endless: each step moves by at least a page, and none beyond the end. */
static int step(const struct rip_handle *handle, struct extent *extent, uint64_t end) {
    uint64_t at = extent->at + whole_pages(extent->identity.size);
    if (at == end) {
        return 0;
    }
    struct rip_identity *identity = &extent->identity;
    extent->at = at;
    if (at > end || pread(handle->mapping.fd, identity, sizeof *identity, (off_t)at) != sizeof *identity ||
        identity->magic != RIP_MAGIC || identity->abi != RIP_ABI || identity->size == 0 || identity->size % RIP_PAGE ||
        identity->size > end - at) {
        return -EBADMSG;
    }
    return 1;
}

int rip_extents_create(int fd, uint64_t size) {
    uint64_t used = whole_pages(size);
    return pwrite(fd, &used, sizeof used, RIP_USED_AT) == sizeof used ? 0 : -errno;
}

int rip_extents_check(const struct rip_handle *handle) {
    struct extent extent = before_all(handle);
    uint64_t end = end_of(handle);
    int rc;
    while ((rc = step(handle, &extent, end)) == 1) {
    }
    return rc;
}

static int is(const struct extent *extent, uint32_t file, const uint64_t *of) {
    const uint64_t *its = extent->identity.of;
    return extent->identity.file == file && (!of || (its[0] == of[0] && its[1] == of[1]));
}

int rip_extent_find(const struct rip_handle *handle, uint32_t file, const uint64_t *of, uint64_t *offset,
                    uint64_t *size) {
    struct extent extent = before_all(handle);
    uint64_t end = end_of(handle);
    int rc;
    while ((rc = step(handle, &extent, end)) == 1) {
        if (is(&extent, file, of)) {
            *offset = extent.at;
            *size = extent.identity.size;
            return 0;
        }
    }
    return rc ? rc : -ENOENT;
}

/* A memfd has no size limit of its own. Without this check the kernel would kill some process if too much were
 * allocated. */
static int is_there_memory(uint64_t bytes) {
    uint64_t available = rip_memory_available();
    rip_note_shortage(bytes, available);
    return bytes / 1024 <= available / 1024;
}

int rip_extent_allocate(struct rip_mapping *mapping, uint64_t end) {
    return is_there_memory(end - mapping->allocated) ? rip_mapping_allocate(mapping, end) : -ENOSPC;
}

static int make_longer(int fd, uint64_t size) {
    struct stat st;
    int rc = fstat(fd, &st);
    rip_note_shortage(size, 0);
    if (rc == 0 && (uint64_t)st.st_size < size) {
        rc = ftruncate(fd, (off_t)size);
    }
    return rc ? -errno : 0;
}

int rip_extent_create(struct rip_handle *handle, uint64_t size, uint64_t first, struct rip_mapping *out) {
    uint64_t at = end_of(handle);
    struct rip_identity identity = {
        .magic = RIP_MAGIC, .abi = RIP_ABI, .file = RIP_FILE_INCOMPLETE + handle->member, .size = size};
    if (at == 0) {
        return -EBADMSG;
    }
    uint64_t whole = whole_pages(size);
    if (whole > (uint64_t)INT64_MAX - at || !is_there_memory(first)) {
        return -ENOSPC;
    }
    int rc = make_longer(handle->mapping.fd, at + whole);
    rc = rc ? rc : rip_allocate(handle->mapping.fd, at, RIP_PAGE);
    if (rc == 0 && pwrite(handle->mapping.fd, &identity, sizeof identity, (off_t)at) != sizeof identity) {
        rc = -errno;
    }
    if (rc != 0) {
        return rc; /* `used` has not moved, so the next extent is written over this one */
    }
    /* Not the open file description that holds the locks of this handle: the mapping would keep them. */
    *out = (struct rip_mapping){.size = size, .offset = at, .fd = rip_handle_dup(handle)};
    if (out->fd < 0) {
        return out->fd;
    }
    *used_of(handle) = at + whole; /* last: from this store on the extent exists, even if this process is killed */
    return 0;
}

/* If the process is killed between freeing and marking, the extent is not removed, and a later call repeats both. */
static int remove_one(struct rip_handle *handle, struct extent *extent) {
    const uint32_t removed = RIP_FILE_REMOVED;
    uint64_t rest = extent->identity.size - RIP_PAGE;
    if (rest > 0) {
        rip_memory_file_free(handle->mapping.fd, extent->at + RIP_PAGE, rest);
    }
    extent->identity.file = removed;
    off_t word = (off_t)(extent->at + offsetof(struct rip_identity, file));
    return pwrite(handle->mapping.fd, &removed, sizeof removed, word) == sizeof removed ? 0 : -errno;
}

/* Makes one extent of two removed ones that lie side by side. */
static int merge(struct rip_handle *handle, struct extent *first, const struct extent *second) {
    uint64_t size = second->at + second->identity.size - first->at;
    off_t word = (off_t)(first->at + offsetof(struct rip_identity, size));
    if (pwrite(handle->mapping.fd, &size, sizeof size, word) != sizeof size) {
        return -errno;
    }
    first->identity.size = size;
    return 0;
}

void rip_extent_remove(struct rip_handle *handle, uint32_t file, const uint64_t *of) {
    struct extent extent = before_all(handle), last = extent;
    uint64_t end = end_of(handle);
    while (step(handle, &extent, end) == 1) {
        if (is(&extent, file, of) && remove_one(handle, &extent) != 0) {
            return;
        }
        if (extent.identity.file == RIP_FILE_REMOVED && last.identity.file == RIP_FILE_REMOVED) {
            if (merge(handle, &last, &extent) != 0) {
                return;
            }
            extent = last;
        }
        last = extent;
    }
}
