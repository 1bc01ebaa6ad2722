#include "store/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int has_a_name(uint32_t file) { return file == RIP_FILE_CONTROL || file == RIP_FILE_SYNC; }

int rip_identity_check(const struct rip_identity *identity, enum rip_file file) {
    if (identity->magic != RIP_MAGIC) {
        return -EBADMSG;
    }
    if (identity->abi != RIP_ABI) {
        return -EPROTONOSUPPORT;
    }
    if (identity->file != (uint32_t)file) {
        return has_a_name(file) && has_a_name(identity->file) ? -EPROTOTYPE : -EBADMSG;
    }
    return 0;
}

int rip_mapping_adopt(int fd, enum rip_file file, int alone, int write, struct rip_mapping *out) {
    struct stat st;
    struct rip_identity identity = {0};
    int rc = 0;
    if (fstat(fd, &st) != 0) {
        rc = -errno;
    } else if (!S_ISREG(st.st_mode) || pread(fd, &identity, sizeof identity, 0) != sizeof identity) {
        rc = -EBADMSG;
    } else {
        rc = rip_identity_check(&identity, file);
        if (identity.size < sizeof identity || identity.size > (uint64_t)st.st_size ||
            (alone && identity.size < (uint64_t)st.st_size)) {
            rc = rc == -EPROTONOSUPPORT ? rc : -EBADMSG; /* another ABI version may have its size elsewhere */
        }
    }
    *out = (struct rip_mapping){.size = identity.size, .fd = fd};
    return rc ? rc : rip_mapping_map(out, write);
}

/* A file must belong to the owner of its directory, or, if a group of users shares the directory, to that group. */
static int is_trusted(int dir, int fd) {
    struct stat in, st;
    if (fstat(dir, &in) != 0 || fstat(fd, &st) != 0) {
        return -errno;
    }
    return st.st_uid == in.st_uid || (in.st_mode & 0020 && st.st_gid == in.st_gid) || in.st_mode & 0002 ? 0 : -EPERM;
}

int rip_mapping_open(int dir, const char *name, enum rip_file file, int write, struct rip_mapping *out) {
    /* O_NONBLOCK: if it is a pipe, open must not wait for a writer */
    int fd = openat(dir, name, (write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = is_trusted(dir, fd);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    rc = rip_mapping_adopt(fd, file, file != RIP_FILE_LANE, write, out); /* a lane can be longer: rip_file_extend */
    if (rc != 0) {
        rip_mapping_close_fd(out);
    }
    return rc;
}
