#include "store/handle.h"
#include "base/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY_NS UINT64_C(500000000)
#define FIRST_PAUSE_NS UINT64_C(20000) /* between tries for the table lock; each is twice as long as the one before */
#define LAST_PAUSE_NS UINT64_C(5000000)
#define HURRY_NS UINT64_C(1000000000)
#define RELOCK_NS UINT64_C(20000000)

__attribute__((cold)) int rip_handle_refusal(const struct rip_handle *handle) {
    return handle->state == RIP_FORKED ? -ECHILD : -ESHUTDOWN;
}

int rip_handle_begin_close(struct rip_handle *handle) {
    handle->state = handle->state == RIP_OPEN ? RIP_LEAVING : handle->state;
    return handle->state == RIP_FORKED ? -ECHILD : 0;
}

/* ---- all handles of this process ---- */

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rip_handle *handles;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void list(struct rip_handle *handle) {
    handle->listed = 1;
    handle->prev = NULL;
    handle->next = handles;
    if (handles) {
        handles->prev = handle;
    }
    handles = handle;
}

static void unlist(struct rip_handle *handle) {
    if (!handle->listed) {
        return;
    }
    handle->listed = 0;
    if (handle->prev) {
        handle->prev->next = handle->next;
    } else {
        handles = handle->next;
    }
    if (handle->next) {
        handle->next->prev = handle->prev;
    }
}

static void before_fork(void) { pthread_mutex_lock(&handles_lock); }

static void in_parent(void) { pthread_mutex_unlock(&handles_lock); }

/* An inherited descriptor would keep the parent's locks after its death. */
static void in_child(void) {
    struct rip_handle *handle = handles;
    handles = NULL;
    while (handle) {
        struct rip_handle *next = handle->next;
        handle->listed = 0;
        handle->state = RIP_FORKED;
        handle->forked(handle);
        handle = next;
    }
    rip_fence_forget();
    pthread_mutex_unlock(&handles_lock);
}

static void install(void) { pthread_atfork(before_fork, in_parent, in_child); }

void rip_fork_hold(void) {
    pthread_once(&once, install);
    pthread_mutex_lock(&handles_lock);
}

void rip_fork_allow(void) { pthread_mutex_unlock(&handles_lock); }

void rip_handle_close_in_child(struct rip_handle *handle) {
    rip_mapping_close_fd(
        &handle->mapping); /* the last descriptor of its description: every lock of ours goes with it */
    if (handle->dir >= 0) {
        close(handle->dir);
        handle->dir = -1;
    }
}

void rip_handle_close_files(struct rip_handle *handle) {
    rip_fork_hold();
    unlist(handle);
    rip_handle_close_in_child(handle);
    rip_fork_allow();
}

void rip_handle_unmap(struct rip_handle *handle) {
    rip_handle_close_files(handle);
    rip_mapping_close(&handle->mapping);
}

/* Locks live as long as their open file description, and a mapping keeps that too: one that a forked child inherits would keep our
 * locks after our death. So the description that locks is another one than the one that is mapped. */
static int open_anew(int fd) {
    char path[48];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int anew = open(path, O_RDWR | O_CLOEXEC);
    return anew < 0 ? -errno : anew;
}

int rip_handle_dup(const struct rip_handle *handle) { return open_anew(handle->mapping.fd); }

void rip_handle_reopen_in_child(struct rip_handle *handle) {
    int anew = open_anew(handle->mapping.fd);
    rip_mapping_close_fd(&handle->mapping);
    handle->mapping.fd = anew; /* or why there is none */
    handle->member = RIP_NO_MEMBER;
    list(handle);
}

/* ---- opening ---- */

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
        rc = rip_mapping_link(dir, &made, "control");
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
    list(handle);
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
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 && errno == EBADF) {
        return -EBADF;
    }
    if (seals < 0 || !(seals & F_SEAL_SHRINK)) { /* whoever could truncate it could have us killed */
        return -EBADMSG;
    }
    int rc = rip_mapping_adopt(fd, file, file != RIP_FILE_CONTROL, 1, &handle->mapping);
    handle->mapping.fd = -1;
    rc = rc ? rc : check_size(handle, size);
    if (rc == 0) {
        rc = handle->mapping.fd = open_anew(fd);
        rc = rc < 0 ? rc : 0;
    }
    return rc;
}

int rip_handle_make_anonymous(enum rip_file file, uint64_t size, int seals) {
    int fd = memfd_create("ringipc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    struct rip_identity identity = {.magic = RIP_MAGIC, .abi = RIP_ABI, .file = (uint32_t)file, .size = size};
    int rc = rip_allocate(fd, 0, size);
    if (rc == 0 && (pwrite(fd, &identity, sizeof identity, 0) != sizeof identity ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL | seals) != 0)) {
        rc = -errno;
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
    int made = fd < 0 ? rip_handle_make_anonymous(file, size, F_SEAL_GROW) : -1;
    int rc = fd < 0 && made < 0 ? made : take_fd(handle, fd < 0 ? made : fd, file, size);
    if (made >= 0) {
        close(made);
    }
    list(handle);
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

static int is_whole(int fd, const struct stat *st) {
    struct rip_identity identity;
    uint64_t size = (uint64_t)st->st_size;
    return pread(fd, &identity, sizeof identity, 0) == sizeof identity && identity.size == size &&
           ((size == sizeof(struct rip_control) && rip_identity_check(&identity, RIP_FILE_CONTROL) == 0) ||
            (size == sizeof(struct rip_sync_file) && rip_identity_check(&identity, RIP_FILE_SYNC) == 0));
}

/* Whoever takes part has a lock on the control file, whatever is in it. */
static int take_all_of_it(int fd) {
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat st;
    if (fcntl(fd, F_OFD_SETLK, &all) != 0) {
        return errno == EAGAIN ? -EBUSY : -errno;
    }
    return fstat(fd, &st) == 0 && !is_whole(fd, &st) ? 0 : -EBUSY; /* else somebody has made it anew just now */
}

int rip_handle_discard(const char *name) {
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
        rc = handle.mapping.fd < 0 ? -errno : take_all_of_it(handle.mapping.fd);
    }
    if (rc == 0 && rip_handle_has_name(&handle)) {
        rip_dir_clear(handle.dir);
    }
    rip_handle_close_in_child(&handle);
    rip_fork_allow();
    return rc ? rc : rip_dir_leave(name);
}

/* ---- locks ---- */

static int lock_byte(int fd, int command, short type, off_t byte) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, command, &lock) == 0 ? 0 : -errno;
}

int rip_try_lock(struct rip_handle *handle) {
    int rc = lock_byte(handle->mapping.fd, F_OFD_SETLK, F_WRLCK, 0);
    handle->locked = rc == 0;
    return rc;
}

static int is_free(struct rip_handle *handle) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    if (fcntl(handle->mapping.fd, F_OFD_GETLK, &lock) != 0) {
        return -errno;
    }
    return lock.l_type == F_UNLCK ? 0 : -EAGAIN;
}

/* Tries until it is something else than -EAGAIN. */
static int keep_trying(struct rip_handle *handle, int (*attempt)(struct rip_handle *handle), uint64_t deadline) {
    struct rip_waiting waiting = {.control = handle->mapping.fd};
    uint64_t asked = 0;
    for (uint64_t pause = FIRST_PAUSE_NS;; pause = 2 * pause < LAST_PAUSE_NS ? 2 * pause : LAST_PAUSE_NS) {
        int rc = attempt(handle);
        if (rc != -EAGAIN || deadline == RIP_TRY_ONLY) {
            return rc;
        }
        uint64_t now = rip_now();
        if (!waiting.since) {
            waiting.since = asked = now;
        }
        if (now >= deadline) {
            return -EAGAIN;
        }
        struct timespec length = {.tv_nsec = (long)(pause < deadline - now ? pause : deadline - now)};
        int signalled = nanosleep(&length, NULL) != 0;
        if (!handle->no_hooks && (signalled || now - asked >= RIP_SLICE_NS)) {
            asked = now;
            rc = rip_wait_end(&waiting, signalled ? -EINTR : 0);
            if (rc != 0) {
                return rc;
            }
        }
    }
}

int rip_lock(struct rip_handle *handle) {
    return keep_trying(handle, rip_try_lock, handle->give_up ? handle->give_up : RIP_FOREVER);
}

int rip_relock(struct rip_handle *handle) {
    if (handle->give_up != RIP_TRY_ONLY) {
        return rip_lock(handle);
    }
    uint32_t no_hooks = handle->no_hooks;
    handle->no_hooks = 1;
    int rc = keep_trying(handle, rip_try_lock, rip_now() + RELOCK_NS);
    handle->no_hooks = no_hooks;
    return rc;
}

void rip_handle_limit_waits(struct rip_handle *handle) { handle->give_up = rip_now() + HURRY_NS; }

void rip_handle_set_unattended(struct rip_handle *handle) {
    rip_handle_limit_waits(handle);
    handle->no_hooks = 1;
}

int rip_await_lock(struct rip_handle *handle, uint64_t deadline) { return keep_trying(handle, is_free, deadline); }

void rip_unlock(struct rip_handle *handle) {
    handle->locked = 0;
    lock_byte(handle->mapping.fd, F_OFD_SETLK, F_UNLCK, 0);
}

int rip_member_lock(struct rip_handle *handle, uint32_t member) {
    return lock_byte(handle->mapping.fd, F_OFD_SETLK, F_WRLCK, 1 + (off_t)member);
}

void rip_member_unlock(struct rip_handle *handle, uint32_t member) {
    lock_byte(handle->mapping.fd, F_OFD_SETLK, F_UNLCK, 1 + (off_t)member);
}

int rip_is_dead(struct rip_handle *handle, uint32_t member) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1 + (off_t)member, .l_len = 1};
    return fcntl(handle->mapping.fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

uint32_t rip_pid_namespace(void) {
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (uint32_t)st.st_ino : 0;
}

int rip_is_reap_due(struct rip_handle *handle) {
    return handle->state == RIP_OPEN && rip_now() - handle->reaped_at > LOOK_EVERY_NS && rip_try_lock(handle) == 0;
}
