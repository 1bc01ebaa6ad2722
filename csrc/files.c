#include "files.h"
#include "extent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int has_directory(const struct rip_place *place) { return place->dir >= 0; }

static void name_of(struct rip_which which, char out[64]) {
    if (which.file == RIP_FILE_LANE) {
        snprintf(out, 64, "lane-%llu", (unsigned long long)which.of[0]);
    } else {
        snprintf(out, 64, "claims-%llu-%llu", (unsigned long long)which.of[0], (unsigned long long)which.of[1]);
    }
}

int rip_file_begin(struct rip_place *place, uint64_t size, uint64_t first, struct rip_segment *out) {
    *out = (struct rip_segment){.fd = -1};
    return has_directory(place) ? rip_segment_begin(place->dir, size, place->mode, out)
                                : rip_extent_begin(place, size, first, out);
}

int rip_file_fill(struct rip_segment *segment, uint64_t end) {
    int is_extent = segment->offset > 0, is_first = segment->allocated == 0;
    int rc = is_extent ? rip_extent_fill(segment, end) : rip_segment_fill(segment, end);
    if (rc == 0 && is_first && !is_extent) { /* an extent has it already */
        *(struct rip_identity *)segment->at =
            (struct rip_identity){.magic = RIP_MAGIC, .abi = RIP_ABI, .file = RIP_FILE_BEGUN, .size = segment->size};
    }
    return rc;
}

int rip_file_name(struct rip_place *place, struct rip_which which, struct rip_segment *segment) {
    struct rip_identity *identity = segment->at;
    uint64_t at, size;
    int rc = has_directory(place) ? -ENOENT : rip_extent_find(place, (uint32_t)which.file, which.of, &at, &size);
    if (rc != -ENOENT) {
        return rc ? rc : -EEXIST;
    }
    identity->of[0] = which.of[0];
    identity->of[1] = which.of[1];
    atomic_signal_fence(memory_order_seq_cst); /* a kill in between leaves it begun */
    identity->file = (uint32_t)which.file;
    if (!has_directory(place)) {
        return 0;
    }
    char name[64];
    name_of(which, name);
    return rip_place_has_name(place) ? rip_segment_name(place->dir, segment, name) : -ESTALE;
}

/* An extent, through a description without our locks, which its mapping would keep. */
static int open_extent(const struct rip_place *place, struct rip_which which, int write, struct rip_segment *out) {
    struct stat st;
    int rc = rip_extent_find(place, (uint32_t)which.file, which.of, &out->offset, &out->size);
    if (rc != 0) {
        return rc;
    }
    out->fd = rip_place_dup(place);
    if (out->fd < 0) {
        return out->fd;
    }
    if (fstat(out->fd, &st) != 0 || out->offset + out->size > (uint64_t)st.st_size) {
        return -EBADMSG;
    }
    return rip_segment_map(out, write);
}

static int open_named(const struct rip_place *place, struct rip_which which, int write, struct rip_segment *out) {
    char name[64];
    name_of(which, name);
    int rc = rip_place_has_name(place) ? rip_segment_open(place->dir, name, which.file, write, out) : -ESTALE;
    if (rc == 0) {
        const volatile struct rip_identity *identity = out->at;
        rc = identity->of[0] == which.of[0] && identity->of[1] == which.of[1] ? 0 : -EBADMSG;
    }
    return rc;
}

int rip_file_open(const struct rip_place *place, struct rip_which which, int write, struct rip_segment *out) {
    *out = (struct rip_segment){.fd = -1};
    int rc = has_directory(place) ? open_named(place, which, write, out) : open_extent(place, which, write, out);
    if (rc != 0) {
        rip_segment_close(out);
    }
    return rc;
}

/* The word at `at`, a multiple of its size. Its owner may store it at this moment, and read(2) promises no whole words:
 * so it is loaded, from a mapping of the one page that it lies in. */
static int load(int fd, uint64_t at, uint64_t *word) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = at / page * page;
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || at + sizeof *word > (uint64_t)st.st_size) {
        return -EBADMSG;
    }
    void *mapped = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, (off_t)begin);
    if (mapped == MAP_FAILED) {
        return -errno;
    }
    /* relaxed: the caller has seen what comes before it */
    *word = atomic_load_explicit((const _Atomic uint64_t *)(const void *)((const char *)mapped + (at - begin)),
                                 memory_order_relaxed);
    munmap(mapped, page);
    return 0;
}

int rip_file_read(const struct rip_place *place, struct rip_which which, size_t offset, uint64_t *word) {
    uint64_t at = 0, size = UINT64_MAX; /* of a file with a name load() looks itself */
    char name[64];
    int fd, rc = 0;
    if (has_directory(place)) {
        name_of(which, name);
        rc = rip_place_has_name(place) ? 0 : -ESTALE;
        fd = rc ? rc : openat(place->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        fd = rc || fd >= 0 ? fd : -errno;
    } else {
        rc = rip_extent_find(place, (uint32_t)which.file, which.of, &at, &size);
        fd = rc ? rc : rip_place_dup(place); /* without our locks, which a mapping would keep */
    }
    if (fd < 0) {
        return fd;
    }
    rc = offset <= size - sizeof *word ? load(fd, at + offset, word) : -EBADMSG;
    close(fd);
    return rc;
}

void rip_file_remove(struct rip_place *place, struct rip_which which) {
    if (has_directory(place)) {
        char name[64];
        name_of(which, name);
        rip_place_unlink(place, name);
    } else {
        rip_extent_remove(place, (uint32_t)which.file, which.of);
    }
}

int rip_files_sweep(struct rip_place *place) {
    if (!has_directory(place)) {
        return 0;
    }
    return rip_place_has_name(place) ? rip_dir_sweep(place->dir, 0) : -ESTALE;
}

void rip_files_drop(struct rip_place *place, uint32_t member) {
    if (!has_directory(place)) { /* else they have gone with their descriptors */
        rip_extent_remove(place, RIP_FILE_BEGUN + member, NULL);
    }
}
