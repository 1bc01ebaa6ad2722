#include "store/files.h"
#include "base/file.h"
#include "base/shortage.h"
#include "store/control_file.h"
#include "store/directory.h"
#include "store/extent.h"
#include "store/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int has_directory(const struct rip_handle *handle) { return handle->dir >= 0; }

static void name_of(struct rip_file_key which, char out[64]) {
    if (which.file == RIP_FILE_LANE) {
        snprintf(out, 64, "lane-%llu", (unsigned long long)which.of[0]);
    } else {
        snprintf(out, 64, "claims-%llu-%llu", (unsigned long long)which.of[0], (unsigned long long)which.of[1]);
    }
}

int rip_file_create(struct rip_handle *handle, uint64_t size, uint64_t first, struct rip_mapping *out) {
    *out = (struct rip_mapping){.fd = -1};
    return has_directory(handle) ? rip_mapping_create(handle->dir, size, handle->mode, out)
                                 : rip_extent_create(handle, size, first, out);
}

int rip_file_allocate(struct rip_mapping *mapping, uint64_t end) {
    int is_extent = mapping->offset > 0, is_first = mapping->allocated == 0;
    int rc = is_extent ? rip_extent_allocate(mapping, end) : rip_mapping_allocate(mapping, end);
    if (rc == 0 && is_first && !is_extent) { /* an extent has an identity already */
        *(struct rip_identity *)mapping->at = (struct rip_identity){
            .magic = RIP_MAGIC, .abi = RIP_ABI, .file = RIP_FILE_INCOMPLETE, .size = mapping->size};
    }
    return rc;
}

int rip_file_name(struct rip_handle *handle, struct rip_file_key which, struct rip_mapping *mapping) {
    struct rip_identity *identity = mapping->at;
    uint64_t at, size;
    int rc = has_directory(handle) ? -ENOENT : rip_extent_find(handle, (uint32_t)which.file, which.of, &at, &size);
    if (rc != -ENOENT) {
        return rc ? rc : -EEXIST;
    }
    identity->of[0] = which.of[0];
    identity->of[1] = which.of[1];
    atomic_signal_fence(memory_order_seq_cst); /* if the process is killed here, the file stays incomplete */
    identity->file = (uint32_t)which.file;
    if (!has_directory(handle)) {
        return 0;
    }
    char name[64];
    name_of(which, name);
    return rip_handle_has_name(handle) ? rip_file_link(mapping->fd, handle->dir, name) : -ESTALE;
}

/* Maps an extent through another open file description than that of the locks, because a mapping would keep the
 * locks. */
static int open_extent(struct rip_handle *handle, struct rip_file_key which, int write, struct rip_mapping *out) {
    struct stat st;
    int rc = rip_extent_find(handle, (uint32_t)which.file, which.of, &out->offset, &out->size);
    if (rc != 0) {
        return rc;
    }
    out->fd = rip_handle_dup(handle);
    if (out->fd < 0) {
        return out->fd;
    }
    if (fstat(out->fd, &st) != 0 || out->offset + out->size > (uint64_t)st.st_size) {
        return -EBADMSG;
    }
    return rip_mapping_map(out, write);
}

static int open_named(const struct rip_handle *handle, struct rip_file_key which, int write, struct rip_mapping *out) {
    char name[64];
    name_of(which, name);
    int rc = rip_handle_has_name(handle) ? rip_mapping_open(handle->dir, name, which.file, write, out) : -ESTALE;
    if (rc == 0) {
        const volatile struct rip_identity *identity = out->at;
        rc = identity->of[0] == which.of[0] && identity->of[1] == which.of[1] ? 0 : -EBADMSG;
    }
    return rc;
}

/* Opens a file of the directory that is open already, under its name. Returns its file descriptor. */
static int open_again(const struct rip_handle *handle, struct rip_file_key which, int write) {
    struct rip_mapping whole = {.fd = -1};
    int rc = open_named(handle, which, write, &whole), fd = whole.fd;
    whole.fd = -1;
    rip_mapping_close(&whole);
    if (rc != 0 && fd >= 0) {
        close(fd);
    }
    return rc ? rc : fd;
}

/* Maps the part of a file that out describes, and closes its file descriptor in case of an error. */
static int map_part(struct rip_mapping *out, int write) {
    struct stat st;
    int rc = fstat(out->fd, &st) != 0 ? -errno : 0;
    if (rc == 0 && (out->size > (uint64_t)st.st_size || out->offset > (uint64_t)st.st_size - out->size)) {
        rc = -EBADMSG; /* an access beyond the end would be a SIGBUS */
    }
    rc = rc ? rc : rip_mapping_map(out, write);
    if (rc != 0) {
        rip_mapping_close_fd(out);
    }
    return rc;
}

/* The first page of the extent has its identity. It is mapped only until that is complete. */
static int name_extent(struct rip_handle *handle, struct rip_file_key which, const struct rip_mapping *extent) {
    struct rip_mapping page = {.offset = extent->offset, .size = RIP_PAGE, .fd = extent->fd};
    int rc = rip_mapping_map(&page, 1);
    if (rc == 0) {
        rc = rip_file_name(handle, which, &page);
        munmap(page.at, page.size);
    }
    return rc;
}

static int extend_memory(struct rip_handle *handle, struct rip_file_key which, uint64_t size, uint64_t number,
                         struct rip_mapping *out) {
    struct rip_file_key key = {RIP_FILE_LARGE, {which.of[0], number}};
    rip_files_remove_incomplete(handle, handle->member); /* what an attempt has left that failed */
    struct rip_mapping extent;
    int rc = rip_extent_create(handle, RIP_REGION_ALIGN + size, RIP_PAGE, &extent);
    if (rc != 0) {
        return rc;
    }
    *out = (struct rip_mapping){.offset = extent.offset + RIP_REGION_ALIGN, .size = size, .fd = extent.fd};
    rc = map_part(out, 1);
    rc = rc ? rc : name_extent(handle, key, &extent);
    if (rc != 0) {
        rip_mapping_close(out);
    }
    return rc;
}

int rip_file_extend(struct rip_handle *handle, struct rip_file_key which, uint64_t from, uint64_t size, uint64_t number,
                    struct rip_mapping *out) {
    *out = (struct rip_mapping){.fd = -1};
    if (!has_directory(handle)) {
        return extend_memory(handle, which, size, number, out);
    }
    *out = (struct rip_mapping){
        .offset = rip_round_up(from, RIP_REGION_ALIGN), .size = size, .fd = open_again(handle, which, 1)};
    if (out->fd < 0) {
        return out->fd;
    }
    rip_note_shortage(size, 0);
    if (ftruncate(out->fd, (off_t)(out->offset + size)) != 0) {
        int rc = -errno;
        rip_mapping_close_fd(out);
        return rc;
    }
    return map_part(out, 1);
}

int rip_file_map_part(struct rip_handle *handle, struct rip_file_key which, uint64_t offset, uint64_t size,
                      struct rip_mapping *out) {
    *out = (struct rip_mapping){.offset = offset, .size = size};
    out->fd = has_directory(handle) ? open_again(handle, which, 0) : rip_handle_dup(handle);
    int rc = out->fd < 0 ? out->fd : map_part(out, 0);
    rip_mapping_close_fd(out);
    return rc == -ENOENT || rc == -EINVAL ? -EBADMSG : rc; /* -EINVAL: no page begins there */
}

int rip_file_has_memory(const struct rip_handle *handle, uint64_t bytes) {
    int is_memory = 1;
    uint64_t space = has_directory(handle) ? rip_space_in(handle->dir, &is_memory) : UINT64_MAX;
    uint64_t memory = is_memory ? rip_memory_available() : UINT64_MAX;
    rip_note_shortage(bytes, space < memory ? space : memory);
    return bytes > space ? -ENOSPC : bytes > memory ? -ENOMEM : 0;
}

int rip_file_open(struct rip_handle *handle, struct rip_file_key which, int write, struct rip_mapping *out) {
    *out = (struct rip_mapping){.fd = -1};
    int rc = has_directory(handle) ? open_named(handle, which, write, out) : open_extent(handle, which, write, out);
    if (rc != 0) {
        rip_mapping_close(out);
    }
    return rc;
}

/* Loads words of a file that begins at `from`. Their owner may store them at the same time, and read(2) does not promise
 * to read a word in one piece. So the page of the words is mapped, and they are loaded atomically. */
static int load(int fd, uint64_t from, struct rip_file_word *words, unsigned count) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = (from + words[0].offset) / page * page;
    struct stat st;
    int is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    for (unsigned i = 0; i < count; i++) {
        uint64_t at = from + words[i].offset;
        if (!is_file || at < begin || at + sizeof(uint64_t) > begin + page ||
            at + sizeof(uint64_t) > (uint64_t)st.st_size) {
            return -EBADMSG;
        }
    }
    void *mapped = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, (off_t)begin);
    if (mapped == MAP_FAILED) {
        return -errno;
    }
    for (unsigned i = 0; i < count; i++) {
        const void *word = (const char *)mapped + (from + words[i].offset - begin);
        /* acquire: the words are loaded in their order. The caller already sees what was written before the first. */
        words[i].value = atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
    }
    munmap(mapped, page);
    return 0;
}

int rip_file_read(struct rip_handle *handle, struct rip_file_key which, struct rip_file_word *words, unsigned count) {
    uint64_t at = 0, size = UINT64_MAX; /* load() checks the size of a named file itself */
    char name[64];
    int fd, rc = 0;
    if (has_directory(handle)) {
        name_of(which, name);
        rc = rip_handle_has_name(handle) ? 0 : -ESTALE;
        fd = rc ? rc : openat(handle->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        fd = rc || fd >= 0 ? fd : -errno;
    } else {
        rc = rip_extent_find(handle, (uint32_t)which.file, which.of, &at, &size);
        fd = rc ? rc : rip_handle_dup(handle); /* another description: a mapping would keep the locks */
    }
    for (unsigned i = 0; i < count; i++) {
        words[i].value = 0;
        rc = words[i].offset <= size - sizeof(uint64_t) ? rc : -EBADMSG;
    }
    if (fd < 0) {
        return fd;
    }
    rc = rc ? rc : load(fd, at, words, count);
    close(fd);
    return rc;
}

void rip_file_remove(struct rip_handle *handle, struct rip_file_key which) {
    if (has_directory(handle)) {
        char name[64];
        name_of(which, name);
        rip_handle_unlink(handle, name);
    } else {
        rip_extent_remove(handle, (uint32_t)which.file, which.of);
        if (which.file == RIP_FILE_LANE) {
            const uint64_t parts[2] = {which.of[0], RIP_EXTENT_ANY};
            rip_extent_remove(handle, RIP_FILE_LARGE, parts);
        }
    }
}

int rip_files_sweep(struct rip_handle *handle) {
    if (!has_directory(handle)) {
        return 0;
    }
    return rip_handle_has_name(handle) ? rip_dir_sweep(handle->dir, 0) : -ESTALE;
}

void rip_files_remove_incomplete(struct rip_handle *handle, uint32_t member) {
    if (!has_directory(handle)) { /* a file without a name in a directory ends with its file descriptor */
        rip_extent_remove(handle, RIP_FILE_INCOMPLETE + member, NULL);
    }
}
