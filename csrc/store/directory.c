#include "store/directory.h"
#include "base/file.h"
#include "base/names.h"
#include "base/shortage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *rip_base(void) {
    const char *base = getenv("RINGIPC_DIR");
    if (base && *base) {
        return base;
    }
    if (rip_is_memory("/dev/shm") && access("/dev/shm", W_OK) == 0) {
        return "/dev/shm";
    }
    base = getenv("TMPDIR");
    return base && *base ? base : "/tmp";
}

/* Refuses a directory that another user than `user` has created. */
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

int rip_dir_open(const char *channel, int make) {
    uid_t owner;
    const char *name = rip_name_parse(channel, &owner);
    for (int tries = 0;; tries++) {
        int user = open_user_dir(owner, make, O_PATH); /* O_PATH: another user's directory cannot be read */
        if (user < 0) {
            return user;
        }
        int fd = open_dir(user, name, owner, make, O_RDONLY);
        close(user);
        /* -ENOENT: another process has removed the directory in between */
        if (fd != -ENOENT || !make || tries == 100) {
            return fd;
        }
    }
}

int rip_dir_share(int dir, struct rip_access access) {
    /* A user that may read the files needs the execute bit of the directory. */
    mode_t mode = access.mode | (access.mode & 0444u) >> 2;
    if (!(mode & 077u)) {
        return fchmod(dir, mode) == 0 ? 0 : -errno; /* an earlier channel of the name may have been shared */
    }
    int user = rip_directory();
    if (user < 0) {
        return user;
    }
    int rc = 0;
    /* 0711: others may pass through the user's directory but not list it. S_ISGID: each file in the channel's directory
     * gets its group, whoever creates the file. */
    if (fchmod(user, 0711) != 0 || fchown(dir, (uid_t)-1, access.group) != 0 || fchmod(dir, mode | S_ISGID) != 0) {
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
    /* Last: as long as it is there, its table lock excludes newcomers, whose files would be removed too. */
    unlinkat(dir, "control", 0);
}

int rip_dir_leave(const char *channel) {
    uid_t owner;
    const char *plain = rip_name_parse(channel, &owner);
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
        unlinkat(base, name, AT_REMOVEDIR); /* fails while another channel is in it */
        close(base);
    }
    return rc;
}
