#include "store/control_file.h"
#include "base/byte_lock.h"
#include "base/file.h"
#include "base/names.h"
#include "base/shortage.h"
#include "store/directory.h"
#include "store/identity.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_control(int dir, enum rip_file file, uint64_t size, struct rip_access access) {
    struct rip_mapping made;
    int rc = rip_dir_share(dir, access);
    rc = rc ? rc : rip_mapping_create(dir, size, access.mode, &made);
    if (rc != 0) {
        rip_note_shortage_of_tables();
        return rc;
    }
    rc = rip_mapping_allocate(&made, size);
    if (rc == 0) {
        *(struct rip_identity *)made.at =
            (struct rip_identity){.magic = RIP_MAGIC, .abi = RIP_ABI, .file = (uint32_t)file, .size = size};
        rc = rip_file_link(made.fd, dir, "control");
    }
    rip_mapping_close(&made);
    rip_note_shortage_of_tables();
    return rc == -EEXIST ? 0 : rc; /* another process was quicker: its control is as good */
}

static int check_size(const struct rip_handle *handle, uint64_t size) {
    return handle->mapping.size == size ? rip_populate(handle->mapping.at, size, 1) : -EBADMSG;
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
        return -ENOENT; /* removed between the two, and made anew */
    }
    rip_mapping_close_fd(&handle->mapping);
    handle->mapping.fd = fd;
    handle->mode = (uint32_t)mapped.st_mode & 0777u;
    return 0;
}

static int open_fds(struct rip_handle *handle, enum rip_file file, uint64_t size, int make, struct rip_access access) {
    handle->mapping = (struct rip_mapping){.fd = -1};
    handle->dir = rip_dir_open(handle->name, make);
    if (handle->dir < 0) {
        return handle->dir;
    }
    int rc = rip_mapping_open(handle->dir, "control", file, 1, &handle->mapping);
    if (rc == -ENOENT && make) {
        rc = make_control(handle->dir, file, size, access);
        if (rc == 0) {
            rc = rip_mapping_open(handle->dir, "control", file, 1, &handle->mapping);
        }
    }
    rc = rc ? rc : check_size(handle, size);
    return rc ? rc : open_for_locks(handle);
}

/* Relaxed everywhere: under the lock. */
static _Atomic uint32_t *removed(struct rip_handle *handle) {
    return (_Atomic uint32_t *)(void *)((char *)handle->mapping.at + RIP_REMOVED_AT);
}

static int enter_once(struct rip_handle *handle, enum rip_file file, uint64_t size, int make,
                      struct rip_access access) {
    rip_fork_hold();
    int rc = open_fds(handle, file, size, make, access);
    rip_place_list(handle);
    rip_fork_allow();
    if (rc == 0) {
        rc = rip_lock(handle);
    }
    if (rc == 0 && atomic_load_explicit(removed(handle), memory_order_relaxed)) {
        rip_handle_remove_files(handle); /* again: who removed it may have been killed on the way */
        rc = -ENOENT;
    } else if (rc == 0 && !rip_handle_has_name(handle)) { /* deleted by hand since we opened it */
        rc = -ENOENT;
    }
    if (rc != 0) {
        rip_handle_unmap(handle);
    }
    return rc;
}

int rip_handle_open(struct rip_handle *handle, const char *name, enum rip_file file, uint64_t size, int make,
                    struct rip_access access) {
    int ours = rip_name_check(name);
    if (ours < 0) {
        return ours;
    }
    make = make && ours; /* what is another user's only that one can make */
    strcpy(handle->name, name);
    handle->member = RIP_NO_MEMBER;
    int rc = -ENOENT;
    for (int tries = 0; tries < 100; tries++) {
        rc = enter_once(handle, file, size, make, access);
        if (rc != -ENOENT || !make) { /* making: the last member may have removed it under us; then make it anew */
            break;
        }
    }
    if (rc != 0 && make) { /* what did not fit leaves no empty directory */
        rip_dir_leave(name);
    }
    return rc;
}

/* fd: what is to be opened; no fork may come before it is listed. */
static int take_fd(struct rip_handle *handle, int fd, enum rip_file file, uint64_t size) {
    int sealed = rip_memory_file_is_sealed(fd);
    if (sealed != 1) { /* whoever could truncate it could have us killed */
        return sealed < 0 ? sealed : -EBADMSG;
    }
    int rc = rip_mapping_adopt(fd, file, file != RIP_FILE_CONTROL, 1, &handle->mapping);
    handle->mapping.fd = -1;
    rc = rc ? rc : check_size(handle, size);
    if (rc == 0) {
        rc = handle->mapping.fd = rip_file_open_again(fd, O_RDWR);
        rc = rc < 0 ? rc : 0;
    }
    return rc;
}

int rip_handle_make_anonymous(enum rip_file file, uint64_t size, int fixed) {
    int fd = rip_memory_file();
    if (fd < 0) {
        return fd;
    }
    struct rip_identity identity = {.magic = RIP_MAGIC, .abi = RIP_ABI, .file = (uint32_t)file, .size = size};
    int rc = rip_allocate(fd, 0, size);
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

int rip_handle_adopt(struct rip_handle *handle, int fd, enum rip_file file, uint64_t size) {
    handle->name[0] = '\0';
    handle->member = RIP_NO_MEMBER;
    handle->dir = -1;
    handle->mapping = (struct rip_mapping){.fd = -1};
    rip_fork_hold();
    int made = fd < 0 ? rip_handle_make_anonymous(file, size, 1) : -1;
    int rc = fd < 0 && made < 0 ? made : take_fd(handle, fd < 0 ? made : fd, file, size);
    if (made >= 0) {
        close(made);
    }
    rip_place_list(handle);
    rip_fork_allow();
    rc = rc ? rc : rip_lock(handle);
    if (rc != 0) {
        rip_handle_unmap(handle);
    }
    return rc;
}

void rip_handle_remove_files(struct rip_handle *handle) {
    atomic_store_explicit(removed(handle), 1, memory_order_relaxed);
    if (rip_handle_has_name(handle)) {
        rip_dir_clear(handle->dir);
    }
    rip_dir_leave(handle->name);
}

/* ---- removing what cannot be entered ---- */

/* Is it one that can be entered, of this kind or of another? */
static int is_whole(int fd, const struct stat *st, enum rip_file file, uint64_t size) {
    struct rip_identity identity;
    if (pread(fd, &identity, sizeof identity, 0) != sizeof identity || identity.size != (uint64_t)st->st_size) {
        return 0;
    }
    int rc = rip_identity_check(&identity, file);
    return rc == -EPROTOTYPE || (rc == 0 && identity.size == size);
}

/* Whoever takes part has a lock on the control file, whatever is in it. */
static int take_all_of_it(int fd, enum rip_file file, uint64_t size) {
    struct stat st;
    int rc = rip_byte_lock_all(fd);
    if (rc != 0) {
        return rc == -EAGAIN ? -EBUSY : rc;
    }
    return fstat(fd, &st) == 0 && !is_whole(fd, &st, file, size) ? 0
                                                                 : -EBUSY; /* else somebody has made it anew just now */
}

int rip_handle_discard(const char *name, enum rip_file file, uint64_t size) {
    struct rip_handle handle = {.mapping.fd = -1};
    int ours = rip_name_check(name);
    if (ours != 1) {
        return ours < 0 ? ours : -EPERM;
    }
    rip_fork_hold(); /* a child would keep the lock */
    handle.dir = rip_dir_open(name, 0);
    int rc = handle.dir < 0 ? handle.dir : 0;
    if (rc == 0) {
        handle.mapping.fd = openat(handle.dir, "control", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        rc = handle.mapping.fd < 0 ? -errno : take_all_of_it(handle.mapping.fd, file, size);
    }
    if (rc == 0 && rip_handle_has_name(&handle)) {
        rip_dir_clear(handle.dir);
    }
    rip_handle_close_in_child(&handle);
    rip_fork_allow();
    return rc ? rc : rip_dir_leave(name);
}
