#include "store/control_file.h"
#include "base/byte_lock.h"
#include "base/file.h"
#include "base/names.h"
#include "base/shortage.h"
#include "store/directory.h"
#include "store/identity.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct rip_identity identity_of(struct rip_control_size size) {
    return (struct rip_identity){.magic = RIP_MAGIC, .abi = RIP_ABI, .file = (uint32_t)size.file, .size = size.size};
}

/* Allocates a file that has no name yet, and names it. */
static int name_it(struct rip_mapping *made, struct rip_control_size size, int dir, const char *name) {
    int rc = rip_mapping_allocate(made, size.tables + size.extra);
    if (rc == 0) {
        *(struct rip_identity *)made->at = identity_of(size);
        rc = rip_file_link(made->fd, dir, name);
    }
    rip_mapping_close(made);
    return rc == -EEXIST ? 0 : rc; /* -EEXIST: another process was first. Its file is as good. */
}

static int make_control(int dir, struct rip_control_size size, struct rip_access access) {
    struct rip_mapping made;
    int rc = rip_dir_share(dir, access);
    rc = rc ? rc : rip_mapping_create(dir, size.size, access.mode, &made);
    if (rc != 0) {
        rip_note_shortage_of_tables();
        return rc;
    }
    rc = name_it(&made, size, dir, "control");
    rip_note_shortage_of_tables();
    return rc;
}

static int check_tables(const struct rip_handle *handle, struct rip_control_size size) {
    return handle->mapping.size >= size.tables ? rip_populate(handle->mapping.at, size.tables, 1) : -EBADMSG;
}

static int is_same(const struct stat *one, const struct stat *other) {
    return one->st_ino == other->st_ino && one->st_dev == other->st_dev;
}

int rip_handle_has_name(const struct rip_handle *handle) {
    struct stat ours, named;
    return fstat(handle->mapping.fd, &ours) == 0 && fstatat(handle->dir, "control", &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           is_same(&ours, &named);
}

void rip_handle_unlink(const struct rip_handle *handle, const char *name) {
    if (rip_handle_has_name(handle)) {
        unlinkat(handle->dir, name, 0);
    }
}

static int open_for_locks(struct rip_handle *handle) {
    int fd = openat(handle->dir, "control", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct stat mapped, opened;
    if (fstat(handle->mapping.fd, &mapped) != 0 || fstat(fd, &opened) != 0 || !is_same(&mapped, &opened)) {
        close(fd);
        return -ENOENT; /* another process has removed the file in between and created a new one */
    }
    rip_mapping_close_fd(&handle->mapping);
    handle->mapping.fd = fd;
    handle->mode = (uint32_t)mapped.st_mode & 0777u;
    return 0;
}

static int open_fds(struct rip_handle *handle, struct rip_control_size size, int make, struct rip_access access) {
    handle->mapping = (struct rip_mapping){.fd = -1};
    handle->dir = rip_dir_open(handle->name, make);
    if (handle->dir < 0) {
        return handle->dir;
    }
    int rc = rip_mapping_open(handle->dir, "control", size.file, 1, &handle->mapping);
    if (rc == -ENOENT && make) {
        rc = make_control(handle->dir, size, access);
        if (rc == 0) {
            rc = rip_mapping_open(handle->dir, "control", size.file, 1, &handle->mapping);
        }
    }
    rc = rc ? rc : check_tables(handle, size);
    return rc ? rc : open_for_locks(handle);
}

/* The word that says that the file has been removed. Every access is relaxed, because it is under the table lock. */
static _Atomic uint32_t *removed(struct rip_handle *handle) {
    return (_Atomic uint32_t *)(void *)((char *)handle->mapping.at + RIP_REMOVED_AT);
}

static int try_open(struct rip_handle *handle, struct rip_control_size size, int make, struct rip_access access) {
    rip_fork_hold();
    int rc = open_fds(handle, size, make, access);
    rip_handle_list(handle);
    rip_fork_allow();
    if (rc == 0) {
        rc = rip_lock(handle);
    }
    if (rc == 0 && atomic_load_explicit(removed(handle), memory_order_relaxed)) {
        rip_handle_remove_files(handle); /* again: the process that removed it may have been killed before the end */
        rc = -ENOENT;
    } else if (rc == 0 && !rip_handle_has_name(handle)) { /* somebody has deleted it by hand since it was opened */
        rc = -ENOENT;
    }
    if (rc != 0) {
        rip_handle_unmap(handle);
    }
    return rc;
}

int rip_handle_open(struct rip_handle *handle, const char *name, struct rip_control_size size, int make,
                    struct rip_access access) {
    int ours = rip_name_check(name);
    if (ours < 0) {
        return ours;
    }
    make = make && ours; /* only the owner of the name can create it */
    strcpy(handle->name, name);
    handle->member = RIP_NO_MEMBER;
    int rc = -ENOENT;
    for (int tries = 0; tries < 100; tries++) {
        rc = try_open(handle, size, make, access);
        /* If make: the last member may have removed the file during the call. Then it is created again. */
        if (rc != -ENOENT || !make) {
            break;
        }
    }
    if (rc != 0 && make) { /* a failed call leaves no empty directory */
        rip_dir_leave(name);
    }
    return rc;
}

/* Opens what fd refers to. The caller excludes a fork (rip_fork_hold) until the handle is listed. */
static int open_fd(struct rip_handle *handle, int fd, struct rip_control_size size) {
    int rc = rip_mapping_adopt(fd, size.file, size.file != RIP_FILE_CONTROL, 1, &handle->mapping);
    handle->mapping.fd = -1;
    rc = rc ? rc : check_tables(handle, size);
    if (rc == 0) {
        rc = handle->mapping.fd = rip_file_open_again(fd, O_RDWR);
        rc = rc < 0 ? rc : 0;
    }
    return rc;
}

static int open_sealed(struct rip_handle *handle, int fd, struct rip_control_size size) {
    int sealed = rip_memory_file_is_sealed(fd);
    if (sealed != 1) { /* if another process could truncate the file, an access could end in SIGBUS */
        return sealed < 0 ? sealed : -EBADMSG;
    }
    return open_fd(handle, fd, size);
}

int rip_handle_make_anonymous(struct rip_control_size size, int fixed) {
    int fd = rip_memory_file();
    if (fd < 0) {
        return fd;
    }
    struct rip_identity identity = identity_of(size);
    int rc = ftruncate(fd, (off_t)size.size) == 0 ? rip_allocate(fd, 0, size.tables + size.extra) : -errno;
    if (rc == 0) {
        rc = pwrite(fd, &identity, sizeof identity, 0) == sizeof identity ? rip_memory_file_seal(fd, fixed) : -errno;
    }
    if (rc != 0) {
        rip_note_shortage_of_tables();
        close(fd);
        return rc;
    }
    return fd;
}

static void has_no_name(struct rip_handle *handle) {
    handle->name[0] = '\0';
    handle->member = RIP_NO_MEMBER;
    handle->dir = -1;
    handle->mapping = (struct rip_mapping){.fd = -1};
}

/* The handle is open if rc is 0: lists it, and takes the table lock. */
static int list_and_lock(struct rip_handle *handle, int rc) {
    rip_handle_list(handle);
    rip_fork_allow();
    rc = rc ? rc : rip_lock(handle);
    if (rc != 0) {
        rip_handle_unmap(handle);
    }
    return rc;
}

/* Creates a file at this path, unless there is one. */
static int make_at(const char *path, struct rip_control_size size) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder) {
        return -ENOMEM;
    }
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dir < 0 ? -errno : 0;
    free(folder);
    if (rc == 0) {
        struct rip_mapping made = {.size = size.size, .fd = rip_file_unnamed(dir, 0666)}; /* as the umask allows */
        rc = made.fd < 0                                 ? made.fd
             : ftruncate(made.fd, (off_t)size.size) == 0 ? name_it(&made, size, dir, name)
                                                         : -errno;
        rip_mapping_close(&made);
        close(dir);
    }
    return rc;
}

int rip_handle_open_path(struct rip_handle *handle, const char *path, struct rip_control_size size, int make) {
    has_no_name(handle);
    rip_fork_hold();
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: if it is a pipe, open must not wait */
    if (fd < 0 && errno == ENOENT && make) {
        int made = make_at(path, size);
        fd = made ? made : open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        errno = made ? -made : errno;
    }
    int rc = fd < 0 ? -errno : open_fd(handle, fd, size);
    if (fd >= 0) {
        close(fd);
    }
    return list_and_lock(handle, rc);
}

int rip_handle_adopt(struct rip_handle *handle, int fd, struct rip_control_size size) {
    has_no_name(handle);
    rip_fork_hold();
    int made = fd < 0 ? rip_handle_make_anonymous(size, 1) : -1;
    int rc = fd < 0 && made < 0 ? made : open_sealed(handle, fd < 0 ? made : fd, size);
    if (made >= 0) {
        close(made);
    }
    return list_and_lock(handle, rc);
}

void rip_handle_remove_files(struct rip_handle *handle) {
    atomic_store_explicit(removed(handle), 1, memory_order_relaxed);
    if (rip_handle_has_name(handle)) {
        rip_dir_clear(handle->dir);
    }
    rip_dir_leave(handle->name);
}

/* ---- removing what cannot be opened ---- */

/* Returns 1 if the control file can be opened, as this kind or as another one. */
static int can_be_opened(int fd, const struct stat *st, enum rip_file file, uint64_t size) {
    struct rip_identity identity;
    if (pread(fd, &identity, sizeof identity, 0) != sizeof identity || identity.size != (uint64_t)st->st_size) {
        return 0;
    }
    int rc = rip_identity_check(&identity, file);
    return rc == -EPROTOTYPE || (rc == 0 && identity.size == size);
}

/* Every member has a lock on the control file, whatever the file contains. So if the whole file can be locked, it has
 * no member. */
static int lock_whole_file(int fd, enum rip_file file, uint64_t size) {
    struct stat st;
    int rc = rip_byte_lock_all(fd);
    if (rc != 0) {
        return rc == -EAGAIN ? -EBUSY : rc;
    }
    /* -EBUSY: another process has just created it again */
    return fstat(fd, &st) == 0 && !can_be_opened(fd, &st, file, size) ? 0 : -EBUSY;
}

int rip_handle_discard(const char *name, enum rip_file file, uint64_t size) {
    struct rip_handle handle = {.mapping.fd = -1};
    int ours = rip_name_check(name);
    if (ours != 1) {
        return ours < 0 ? ours : -EPERM;
    }
    rip_fork_hold(); /* a forked child would keep the lock */
    handle.dir = rip_dir_open(name, 0);
    int rc = handle.dir < 0 ? handle.dir : 0;
    if (rc == 0) {
        handle.mapping.fd = openat(handle.dir, "control", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        rc = handle.mapping.fd < 0 ? -errno : lock_whole_file(handle.mapping.fd, file, size);
    }
    if (rc == 0 && rip_handle_has_name(&handle)) {
        rip_dir_clear(handle.dir);
    }
    rip_handle_close_in_child(&handle);
    rip_fork_allow();
    return rc ? rc : rip_dir_leave(name);
}
