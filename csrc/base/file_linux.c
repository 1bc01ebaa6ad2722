#include "base/file.h"
#include "base/shortage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define TMPFS_MAGIC 0x01021994

#ifndef MADV_POPULATE_READ /* not in the headers of every libc */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

int rip_file_unnamed(int dir, uint32_t mode) {
    int fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, mode);
    return fd < 0 ? -errno : fd;
}

static void path_of(int fd, char out[48]) { snprintf(out, 48, "/proc/self/fd/%d", fd); }

int rip_file_link(int fd, int dir, const char *name) {
    char path[48];
    path_of(fd, path);
    return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

int rip_file_open_again(int fd, int flags) {
    char path[48];
    path_of(fd, path);
    int again = open(path, flags | O_CLOEXEC);
    return again < 0 ? -errno : again;
}

int rip_allocate(int fd, uint64_t offset, uint64_t size) {
    int rc;
    do {
        rc = -posix_fallocate(fd, (off_t)offset, (off_t)size);
    } while (rc == -EINTR);
    if (rc != 0) {
        struct statvfs fs;
        rip_note_shortage(size, fstatvfs(fd, &fs) == 0 ? fs.f_bavail * fs.f_frsize : 0);
    }
    return rc;
}

int rip_populate(void *at, uint64_t size, int write) {
    uint64_t before = (uintptr_t)at % (uintptr_t)sysconf(_SC_PAGESIZE); /* an extent can start inside a larger page */
    int advice = write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    int rc = madvise((char *)at - before, before + size, advice) == 0 ? 0 : -errno;
    if (rc == -EFAULT) { /* an access would end in SIGBUS; if it is a write, because there is no memory for it */
        return write ? -ENOSPC : -EBADMSG;
    }
    return rc == -EINVAL ? 0 : rc; /* -EINVAL: the kernel does not know this advice */
}

void rip_free_pages(void *at, uint64_t size) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before = (page - (uintptr_t)at % page) % page;
    if (size >= before + page) {
        madvise((char *)at + before, (size - before) / page * page, MADV_REMOVE);
    }
}

uint64_t rip_space_in(int dir, int *is_memory) {
    struct statfs fs;
    int rc = fstatfs(dir, &fs);
    *is_memory = rc == 0 && fs.f_type == TMPFS_MAGIC;
    int is_unlimited = rc != 0 || fs.f_blocks == 0; /* a tmpfs without a limit has no blocks */
    return is_unlimited ? UINT64_MAX : (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
}

int rip_is_memory(const char *path) {
    struct statfs fs;
    return statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}
