#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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
