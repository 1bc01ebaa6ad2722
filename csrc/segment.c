#include "segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define TMPFS_MAGIC 0x01021994

static const char *base_path(void) {
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

static int open_dir(int at, const char *name, int make) {
    if (make && mkdirat(at, name, 0700) != 0 && errno != EEXIST) {
        return -errno;
    }
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The user's directory; somebody else's in its place is refused. */
static int open_user_dir(int make) {
    int base = open(base_path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) {
        return -errno;
    }
    char name[32];
    snprintf(name, sizeof name, "ringipc-%u", (unsigned)geteuid());
    int fd = open_dir(base, name, make);
    close(base);
    struct stat st;
    if (fd >= 0 && (fstat(fd, &st) != 0 || st.st_uid != geteuid())) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

int rip_directory(void) { return open_user_dir(0); }

int rip_dir_open(const char *channel, int make) {
    for (int tries = 0;; tries++) {
        int user = open_user_dir(make);
        if (user < 0) {
            return user;
        }
        int fd = open_dir(user, channel, make);
        close(user);
        if (fd != -ENOENT || !make || tries == 100) { /* another process may have removed what we had just made */
            return fd;
        }
    }
}

void rip_dir_remove(int dir, const char *channel) {
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (strncmp(entry->d_name, "lane-", 5) == 0 || strncmp(entry->d_name, "claims-", 7) == 0 ||
            strncmp(entry->d_name, "bell-", 5) == 0) {
            unlinkat(dir, entry->d_name, 0);
        }
    }
    closedir(entries);
    unlinkat(dir, "control", 0); /* last: while it is there, its lock keeps newcomers out, whose files would be next */
    int user = open_user_dir(0);
    if (user >= 0) {
        unlinkat(user, channel, AT_REMOVEDIR); /* stays if a file of somebody else's is in it */
        close(user);
    }
    int base = open(base_path(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base >= 0) {
        char name[32];
        snprintf(name, sizeof name, "ringipc-%u", (unsigned)geteuid());
        unlinkat(base, name, AT_REMOVEDIR); /* stays while another channel is in it */
        close(base);
    }
}

static int map(struct rip_segment *segment, int write) {
    /* A reader's faults bring many pages at a time, a writer's only one: it takes them all now. */
    int protection = write ? PROT_READ | PROT_WRITE : PROT_READ, flags = write ? MAP_SHARED | MAP_POPULATE : MAP_SHARED;
    void *at = mmap(NULL, segment->size, protection, flags, segment->fd, 0);
    if (at == MAP_FAILED) {
        return -errno;
    }
    segment->at = at;
    return 0;
}

int rip_allocate(int fd, uint64_t size) {
    int rc;
    do {
        rc = -posix_fallocate(fd, 0, (off_t)size);
    } while (rc == -EINTR);
    return rc;
}

int rip_segment_make(int dir, uint64_t size, uint32_t mode, struct rip_segment *out) {
    int fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, mode);
    if (fd < 0) {
        return -errno;
    }
    int rc = -fchmod(fd, mode) ? -errno : rip_allocate(fd, size); /* the mode asked for, whatever the umask */
    *out = (struct rip_segment){.size = size, .fd = fd};
    if (rc == 0) {
        rc = map(out, 1);
    }
    if (rc != 0) {
        rip_segment_close_fd(out);
    }
    return rc;
}

int rip_segment_name(int dir, const struct rip_segment *segment, const char *name) {
    char path[48];
    snprintf(path, sizeof path, "/proc/self/fd/%d", segment->fd);
    return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

int rip_segment_open(int dir, const char *name, enum rip_file file, int write, struct rip_segment *out) {
    /* O_NONBLOCK: in case it is a pipe, which would wait for a writer */
    int fd = openat(dir, name, (write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rc = rip_segment_take(fd, file, write, out);
    if (rc != 0) {
        rip_segment_close_fd(out);
    }
    return rc;
}

static int has_a_name(uint32_t file) { return file == RIP_FILE_CONTROL || file == RIP_FILE_SYNC; }

int rip_segment_take(int fd, enum rip_file file, int write, struct rip_segment *out) {
    struct stat st;
    struct rip_identity identity = {0};
    int rc = 0;
    if (fstat(fd, &st) != 0) {
        rc = -errno;
    } else if (!S_ISREG(st.st_mode) || pread(fd, &identity, sizeof identity, 0) != sizeof identity ||
               identity.magic != RIP_MAGIC) {
        rc = -EBADMSG;
    } else if (identity.abi != RIP_ABI) {
        rc = -EPROTONOSUPPORT;
    } else if (identity.size != (uint64_t)st.st_size) {
        rc = -EBADMSG;
    } else if (identity.file != (uint32_t)file) {
        rc = has_a_name(file) && has_a_name(identity.file) ? -EPROTOTYPE : -EBADMSG;
    }
    *out = (struct rip_segment){.size = identity.size, .fd = fd};
    return rc ? rc : map(out, write);
}

void rip_segment_close_fd(struct rip_segment *segment) {
    if (segment->fd >= 0) {
        close(segment->fd);
        segment->fd = -1;
    }
}

void rip_segment_close(struct rip_segment *segment) {
    if (segment->at) {
        munmap(segment->at, segment->size);
        segment->at = NULL;
    }
    rip_segment_close_fd(segment);
}
