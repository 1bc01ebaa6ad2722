#include "store/extent.h"
#include "base/file.h"
#include "base/shortage.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct extent {
    uint64_t at;
    struct rip_identity identity;
};

/* What a handle knows of the chain, so that it reads the identity of each extent once, and not at each search: the
 * extents that it has found so far, in their order. */
struct rip_extents {
    uint64_t end; /* the chain is known up to this offset */
    uint64_t count, room;
    uint64_t limit; /* if there are more, the chain is read again, so as to forget what others have removed */
    struct extent extents[];
};

#define LEAST_ROOM 16u

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

/* Reads the identity of the extent at this offset. Returns 0, or -EBADMSG if no extent can be there. */
static int read_identity(const struct rip_handle *handle, uint64_t at, uint64_t end, struct rip_identity *identity) {
    if (at > end || pread(handle->mapping.fd, identity, sizeof *identity, (off_t)at) != sizeof *identity ||
        identity->magic != RIP_MAGIC || identity->abi != RIP_ABI || identity->size == 0 || identity->size % RIP_PAGE ||
        identity->size > end - at) {
        return -EBADMSG;
    }
    return 0;
}

static int make_room(struct rip_handle *handle) {
    struct rip_extents *known = handle->extents;
    uint64_t room = known ? 2 * known->room : LEAST_ROOM;
    struct rip_extents *larger = realloc(known, sizeof *known + room * sizeof *known->extents);
    if (!larger) {
        return -ENOMEM;
    }
    if (!known) {
        *larger = (struct rip_extents){.end = whole_pages(handle->mapping.size)};
    }
    larger->room = room;
    handle->extents = larger;
    return 0;
}

/* Reads the next extent that the handle does not know yet. Returns 1, 0 at the end of the chain, or a negative errno. A
 * damaged chain cannot make the walk endless: each step moves by at least a page, and none beyond the end. */
static int read_next(struct rip_handle *handle) {
    struct rip_extents *known = handle->extents;
    if (!known || known->count == known->room) {
        int rc = make_room(handle);
        if (rc != 0) {
            return rc;
        }
        known = handle->extents;
    }
    struct extent *next = &known->extents[known->count];
    uint64_t end = end_of(handle);
    if (known->end == end) {
        return 0;
    }
    next->at = known->end;
    int rc = read_identity(handle, next->at, end, &next->identity);
    if (rc != 0) {
        return rc;
    }
    known->end = next->at + whole_pages(next->identity.size);
    known->count++;
    return 1;
}

int rip_extents_create(int fd, uint64_t size) {
    uint64_t used = whole_pages(size);
    return pwrite(fd, &used, sizeof used, RIP_USED_AT) == sizeof used ? 0 : -errno;
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

/* Merges the removed extents that lie side by side, as far as this handle knows. Another handle may have merged more
 * of them, or less, and still know the second of two by its offset. So the second one keeps its identity, which leads
 * on to where an extent begins in any case. */
static void merge_removed(struct rip_handle *handle) {
    struct rip_extents *known = handle->extents;
    uint64_t kept = 0;
    for (uint64_t i = 0; i < known->count; i++) {
        struct extent *last = kept ? &known->extents[kept - 1] : NULL, *extent = &known->extents[i];
        if (!last || last->identity.file != RIP_FILE_REMOVED || extent->identity.file != RIP_FILE_REMOVED ||
            merge(handle, last, extent) != 0) {
            known->extents[kept++] = *extent;
        }
    }
    known->count = kept;
}

int rip_extents_check(struct rip_handle *handle) {
    int rc;
    if (handle->extents) {
        handle->extents->count = 0;
        handle->extents->end = whole_pages(handle->mapping.size);
    }
    while ((rc = read_next(handle)) == 1) {
    }
    if (rc == 0) {
        merge_removed(handle);
        handle->extents->limit = 2 * handle->extents->count + LEAST_ROOM;
    }
    return rc;
}

static int is(const struct extent *extent, uint32_t file, const uint64_t *of) {
    const uint64_t *its = extent->identity.of;
    return extent->identity.file == file && (!of || (its[0] == of[0] && (its[1] == of[1] || of[1] == RIP_EXTENT_ANY)));
}

/* Finds the next extent, from number *i of those that the handle knows, and stores its number in *i. The others are not
 * read again; this one is, as it may have been removed, and so is any that was not complete. Returns 1, 0 if there is
 * none, or a negative errno. */
static int find_from(struct rip_handle *handle, uint64_t *i, uint32_t file, const uint64_t *of) {
    for (;; ++*i) {
        int rc = !handle->extents || *i == handle->extents->count ? read_next(handle) : 1;
        if (rc != 1) {
            return rc;
        }
        struct extent *extent = &handle->extents->extents[*i];
        if (is(extent, file, of) || extent->identity.file >= RIP_FILE_INCOMPLETE) {
            rc = read_identity(handle, extent->at, end_of(handle), &extent->identity);
            if (rc != 0) {
                return rc;
            }
        }
        if (is(extent, file, of)) {
            return 1;
        }
    }
}

int rip_extent_find(struct rip_handle *handle, uint32_t file, const uint64_t *of, uint64_t *offset, uint64_t *size) {
    uint64_t i = 0;
    int rc = handle->extents && handle->extents->count > handle->extents->limit ? rip_extents_check(handle) : 0;
    rc = rc ? rc : find_from(handle, &i, file, of);
    if (rc != 1) {
        return rc ? rc : -ENOENT;
    }
    *offset = handle->extents->extents[i].at;
    *size = handle->extents->extents[i].identity.size;
    return 0;
}

/* A memfd has no size limit of its own. Without this check the kernel would kill some process if too much were
 * allocated. */
static int is_there_memory(uint64_t bytes) {
    uint64_t available = rip_memory_available_for(bytes);
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

void rip_extent_remove(struct rip_handle *handle, uint32_t file, const uint64_t *of) {
    int removed = 0;
    for (uint64_t i = 0; find_from(handle, &i, file, of) == 1; i++) {
        if (remove_one(handle, &handle->extents->extents[i]) != 0) {
            break;
        }
        removed = 1;
    }
    if (removed) {
        merge_removed(handle);
    }
}
