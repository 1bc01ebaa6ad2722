#include "base/byte_lock.h"

#include <errno.h>
#include <fcntl.h>

/* length 0: up to the end of the file, however long it becomes. */
static int set(int fd, short type, uint64_t byte, off_t length) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = length};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}

int rip_byte_lock(int fd, uint64_t byte) { return set(fd, F_WRLCK, byte, 1); }

int rip_byte_lock_shared(int fd, uint64_t byte) { return set(fd, F_RDLCK, byte, 1); }

void rip_byte_unlock(int fd, uint64_t byte) { set(fd, F_UNLCK, byte, 1); }

int rip_byte_lock_all(int fd) { return set(fd, F_WRLCK, 0, 0); }

int rip_byte_is_free(int fd, uint64_t byte) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 ? lock.l_type == F_UNLCK : -errno;
}
