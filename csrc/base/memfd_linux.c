#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FEW 4096u /* that part of the available memory is few bytes, */
#define USES 16u  /* and so often they are taken before the kernel is asked again: 1/256 of the memory in all */

int rip_memory_file(void) {
    int fd = memfd_create("ringipc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

int rip_memory_file_seal(int fd, int fixed) {
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL | (fixed ? F_SEAL_GROW : 0)) == 0 ? 0 : -errno;
}

int rip_memory_file_is_sealed(int fd) {
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0) {
        return errno == EBADF ? -EBADF : 0;
    }
    return (seals & F_SEAL_SHRINK) != 0;
}

void rip_memory_file_free(int fd, uint64_t offset, uint64_t size) {
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
}

uint64_t rip_memory_available(void) {
    static const char what[] = "MemAvailable:";
    uint64_t available = UINT64_MAX / 1024; /* KiB */
    FILE *file = fopen("/proc/meminfo", "re");
    if (file) {
        char line[128];
        while (fgets(line, sizeof line, file)) {
            if (strncmp(line, what, sizeof what - 1) == 0) {
                available = strtoull(line + sizeof what - 1, NULL, 10);
                break;
            }
        }
        fclose(file);
    }
    return available * 1024;
}

/* relaxed, also below: if threads mix these up, the number is a little older */
static _Atomic uint64_t known; /* bytes that were available when the kernel was asked, less those wanted since */
static _Atomic uint32_t uses;  /* how often that number may still be used */

uint64_t rip_memory_available_for(uint64_t bytes) {
    uint64_t left = atomic_load_explicit(&known, memory_order_relaxed);
    uint32_t more = atomic_load_explicit(&uses, memory_order_relaxed);
    if (more == 0 || bytes > left / FEW) {
        left = rip_memory_available();
        more = USES;
    }
    atomic_store_explicit(&uses, more - 1, memory_order_relaxed);
    atomic_store_explicit(&known, bytes < left ? left - bytes : 0, memory_order_relaxed);
    return left;
}

void rip_memory_forget(void) { atomic_store_explicit(&uses, 0, memory_order_relaxed); }
