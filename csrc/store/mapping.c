#include "store/mapping.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static _Thread_local struct rip_shortage want;

void rip_note_shortage(uint64_t bytes, uint64_t free) { want = (struct rip_shortage){.bytes = bytes, .free = free}; }

void rip_note_shortage_of_tables(void) { want.for_tables = 1; }

struct rip_shortage rip_last_shortage(void) { return want; }

const char *rip_base(void) {
    const char *base = getenv("RINGIPC_DIR");
    if (base && *base) {
        return base;
    }
    struct statfs fs;
    if (statfs("/dev/shm", &fs) == 0 && fs.f_type == TMPFS_MAGIC && access("/dev/shm", W_OK) == 0) {
        return "/dev/shm";
    }
    base = getenv("TMPDIR");
    return base && *base ? base : "/tmp";
}

/* What somebody else than this user has made is refused. */
static int open_dir(int at, const char *name, uid_t user, int make, int how) {
    if (make && mkdirat(at, name, 0700) != 0 && errno != EEXIST) {
        rip_note_shortage(0, 0);
        return -errno;
    }
    int fd = openat(at, name, how | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || (fstat(fd, &st) == 0 && st.st_uid == user)) {
        return fd < 0 ? -errno : fd;
    }
    close(fd);
    return -EPERM;
}

static int open_user_dir(uid_t user, int make, int how) {
    int base = open(rip_base(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) {
        return -errno;
    }
    char name[32];
    snprintf(name, sizeof name, "ringipc-%u", (unsigned)user);
    int fd = open_dir(base, name, user, make, how);
    close(base);
    return fd;
}

int rip_directory(void) { return open_user_dir(geteuid(), 0, O_RDONLY); }

/* Whose it is, and what it is called there: "~1000/name" is another user's, who has made it and shares it. NULL: not a name. */
static const char *parse(const char *name, uid_t *user) {
    *user = geteuid();
    if (name[0] == '~') {
        char *end;
        unsigned long number = strtoul(name + 1, &end, 10);
        if (name[1] < '0' || name[1] > '9' || *end != '/' || number >= UINT32_MAX) {
            return NULL;
        }
        *user = (uid_t)number;
        name = end + 1;
    }
    int is_descriptor = strncmp(name, "fd:", 3) == 0;
    return is_descriptor || name[0] == '\0' || name[0] == '.' || name[0] == '~' || strchr(name, '/') ? NULL : name;
}

int rip_name_check(const char *name) {
    uid_t user;
    if (strlen(name) > RIP_MAX_CHANNEL_NAME) {
        return -ENAMETOOLONG;
    }
    return parse(name, &user) ? user == geteuid() : -EINVAL;
}

int rip_dir_open(const char *channel, int make) {
    uid_t owner;
    const char *name = parse(channel, &owner);
    for (int tries = 0;; tries++) {
        int user = open_user_dir(owner, make, O_PATH); /* another user's can be passed through, not read */
        if (user < 0) {
            return user;
        }
        int fd = open_dir(user, name, owner, make, O_RDONLY);
        close(user);
        if (fd != -ENOENT || !make || tries == 100) { /* another process may have removed what we had just made */
            return fd;
        }
    }
}

int rip_dir_share(int dir, struct rip_access access) {
    mode_t mode = access.mode | (access.mode & 0444u) >> 2; /* who may read the files may come to them */
    if (!(mode & 077u)) {
        return fchmod(dir, mode) == 0 ? 0 : -errno; /* it may be left over from a time when it was shared */
    }
    int user = rip_directory();
    if (user < 0) {
        return user;
    }
    int rc = 0;
    if (fchmod(user, 0711) != 0 || /* to be passed through, not to be listed */
        fchown(dir, (uid_t)-1, access.group) != 0 ||
        fchmod(dir, mode | S_ISGID) != 0) { /* what is made in it is of its group, whoever makes it */
        rc = -errno;
    }
    close(user);
    return rc;
}

static int begins_with(const char *name, const char *prefix) { return strncmp(name, prefix, strlen(prefix)) == 0; }

int rip_dir_sweep(int dir, int pollfds) {
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        int rc = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (begins_with(entry->d_name, "lane-") || begins_with(entry->d_name, "claims-") ||
            (pollfds && begins_with(entry->d_name, "pollfd-"))) {
            unlinkat(dir, entry->d_name, 0);
        }
    }
    closedir(entries);
    return 0;
}

void rip_dir_clear(int dir) {
    rip_dir_sweep(dir, 1);
    unlinkat(dir, "control", 0); /* last: while it is there, its lock keeps newcomers out, whose files would be next */
}

int rip_dir_leave(const char *channel) {
    uid_t owner;
    const char *plain = parse(channel, &owner);
    int user = plain ? open_user_dir(owner, 0, O_PATH) : -EINVAL;
    if (user < 0) {
        return user;
    }
    int rc = unlinkat(user, plain, AT_REMOVEDIR) == 0 ? 0 : -errno;
    close(user);
    int base = open(rip_base(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base >= 0) {
        char name[32];
        snprintf(name, sizeof name, "ringipc-%u", (unsigned)owner);
        unlinkat(base, name, AT_REMOVEDIR); /* stays while another channel is in it */
        close(base);
    }
    return rc;
}

int rip_mapping_map(struct rip_mapping *mapping, int write) {
    int protection = write ? PROT_READ | PROT_WRITE : PROT_READ;
    void *at = mmap(NULL, mapping->size, protection, MAP_SHARED, mapping->fd, (off_t)mapping->offset);
    if (at == MAP_FAILED) {
        return -errno;
    }
    mapping->at = at;
    return 0;
}

int rip_populate(void *at, uint64_t size, int write) {
    uint64_t before = (uintptr_t)at % (uintptr_t)sysconf(_SC_PAGESIZE); /* it begins in the midst of a larger page */
    int advice = write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    int rc = madvise((char *)at - before, before + size, advice) == 0 ? 0 : -errno;
    if (rc == -EFAULT) { /* as a use would end in SIGBUS; to write it needs memory that there is not */
        return write ? -ENOSPC : -EBADMSG;
    }
    return rc == -EINVAL ? 0 : rc; /* the kernel does not know it */
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

int rip_mapping_create(int dir, uint64_t size, uint32_t mode, struct rip_mapping *out) {
    rip_note_shortage(0, 0);
    *out = (struct rip_mapping){.size = size, .fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, mode)};
    if (out->fd < 0) {
        return -errno;
    }
    rip_note_shortage(size, 0);
    /* the mode asked for, whatever the umask */
    if (fchmod(out->fd, mode) != 0 || ftruncate(out->fd, (off_t)size) != 0) {
        int rc = -errno;
        rip_mapping_close_fd(out);
        return rc;
    }
    return 0;
}

/* Allocating comes first: only that can say that there is no space. Then the pages are mapped, in half the time of the
 * page faults that this saves. */
int rip_mapping_allocate(struct rip_mapping *mapping, uint64_t end) {
    uint64_t from = mapping->allocated;
    int rc = mapping->at ? 0 : rip_mapping_map(mapping, 1);
    if (rc != 0 || !mapping->at) {
        return rc;
    }
    rc = rip_allocate(mapping->fd, mapping->offset + from, end - from);
    rc = rc ? rc : rip_populate((char *)mapping->at + from, end - from, 1);
    if (rc == 0) {
        mapping->allocated = end;
    }
    return rc;
}

int rip_mapping_link(int dir, const struct rip_mapping *mapping, const char *name) {
    char path[48];
    snprintf(path, sizeof path, "/proc/self/fd/%d", mapping->fd);
    return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

/* A file is to be its directory's owner's, or, where a group shares the directory, of that group. */
static int is_trusted(int dir, int fd) {
    struct stat in, st;
    if (fstat(dir, &in) != 0 || fstat(fd, &st) != 0) {
        return -errno;
    }
    return st.st_uid == in.st_uid || (in.st_mode & 0020 && st.st_gid == in.st_gid) || in.st_mode & 0002 ? 0 : -EPERM;
}

int rip_mapping_open(int dir, const char *name, enum rip_file file, int write, struct rip_mapping *out) {
    /* O_NONBLOCK: in case it is a pipe, which would wait for a writer */
    int fd = openat(dir, name, (write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = is_trusted(dir, fd);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    rc = rip_mapping_adopt(fd, file, 1, write, out);
    if (rc != 0) {
        rip_mapping_close_fd(out);
    }
    return rc;
}

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
        if (identity.size > (uint64_t)st.st_size || (alone && identity.size < (uint64_t)st.st_size)) {
            rc = rc == -EPROTONOSUPPORT ? rc : -EBADMSG; /* only what has our layout has a size where we look for it */
        }
    }
    *out = (struct rip_mapping){.size = identity.size, .fd = fd};
    return rc ? rc : rip_mapping_map(out, write);
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
