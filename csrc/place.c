#include "place.h"
#include "wait.h"

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

__attribute__((cold)) int rip_refuse(const struct rip_place *place) {
    return place->state == RIP_FORKED ? -ECHILD : -ESHUTDOWN;
}

int rip_place_leave(struct rip_place *place) {
    place->state = place->state == RIP_OPEN ? RIP_LEAVING : place->state;
    return place->state == RIP_FORKED ? -ECHILD : 0;
}

/* ---- all handles of this process ---- */

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rip_place *handles;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static rip_lock_between *ask; /* set before there are handles */

static void list(struct rip_place *place) {
    place->listed = 1;
    place->prev = NULL;
    place->next = handles;
    if (handles) {
        handles->prev = place;
    }
    handles = place;
}

static void unlist(struct rip_place *place) {
    if (!place->listed) {
        return;
    }
    place->listed = 0;
    if (place->prev) {
        place->prev->next = place->next;
    } else {
        handles = place->next;
    }
    if (place->next) {
        place->next->prev = place->prev;
    }
}

static void before_fork(void) { pthread_mutex_lock(&handles_lock); }

static void in_parent(void) { pthread_mutex_unlock(&handles_lock); }

/* An inherited descriptor would keep the parent's locks after its death. */
static void in_child(void) {
    struct rip_place *place = handles;
    handles = NULL;
    while (place) {
        struct rip_place *next = place->next;
        place->listed = 0;
        place->state = RIP_FORKED;
        place->forked(place);
        place = next;
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

void rip_place_shut(struct rip_place *place) {
    rip_segment_close_fd(&place->segment); /* the last descriptor of its description: every lock of ours goes with it */
    if (place->dir >= 0) {
        close(place->dir);
        place->dir = -1;
    }
}

void rip_place_let_go(struct rip_place *place) {
    rip_fork_hold();
    unlist(place);
    rip_place_shut(place);
    rip_fork_allow();
}

void rip_place_unmap(struct rip_place *place) {
    rip_place_let_go(place);
    rip_segment_close(&place->segment);
}

/* Locks live as long as their open file description, and a mapping keeps that too: one that a forked child inherits would keep our
 * locks after our death. So the description that locks is another one than the one that is mapped. */
static int open_anew(int fd) {
    char path[48];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int anew = open(path, O_RDWR | O_CLOEXEC);
    return anew < 0 ? -errno : anew;
}

int rip_place_dup(const struct rip_place *place) { return open_anew(place->segment.fd); }

void rip_place_reopen(struct rip_place *place) {
    int anew = open_anew(place->segment.fd);
    rip_segment_close_fd(&place->segment);
    place->segment.fd = anew; /* or why there is none */
    place->member = RIP_NO_MEMBER;
    list(place);
}

/* ---- opening ---- */

static int make_control(int dir, enum rip_file file, uint64_t size, struct rip_access access) {
    struct rip_segment made;
    int rc = rip_dir_share(dir, access);
    rc = rc ? rc : rip_segment_begin(dir, size, access.mode, &made);
    if (rc != 0) {
        rip_want_tables();
        return rc;
    }
    rc = rip_segment_fill(&made, size);
    if (rc == 0) {
        *(struct rip_identity *)made.at =
            (struct rip_identity){.magic = RIP_MAGIC, .abi = RIP_ABI, .file = (uint32_t)file, .size = size};
        rc = rip_segment_name(dir, &made, "control");
    }
    rip_segment_close(&made);
    rip_want_tables();
    return rc == -EEXIST ? 0 : rc; /* another process was quicker: its control is as good */
}

static int check_size(const struct rip_place *place, uint64_t size) {
    return place->segment.size == size ? rip_populate(place->segment.at, size, 1) : -EBADMSG;
}

static int is_same(const struct stat *one, const struct stat *other) {
    return one->st_ino == other->st_ino && one->st_dev == other->st_dev;
}

int rip_place_has_name(const struct rip_place *place) {
    struct stat ours, named;
    return fstat(place->segment.fd, &ours) == 0 && fstatat(place->dir, "control", &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           is_same(&ours, &named);
}

void rip_place_unlink(const struct rip_place *place, const char *name) {
    if (rip_place_has_name(place)) {
        unlinkat(place->dir, name, 0);
    }
}

static int open_for_locks(struct rip_place *place) {
    int fd = openat(place->dir, "control", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct stat mapped, opened;
    if (fstat(place->segment.fd, &mapped) != 0 || fstat(fd, &opened) != 0 || !is_same(&mapped, &opened)) {
        close(fd);
        return -ENOENT; /* removed between the two, and made anew */
    }
    rip_segment_close_fd(&place->segment);
    place->segment.fd = fd;
    place->mode = (uint32_t)mapped.st_mode & 0777u;
    return 0;
}

static int open_fds(struct rip_place *place, enum rip_file file, uint64_t size, int make, struct rip_access access) {
    place->segment = (struct rip_segment){.fd = -1};
    place->dir = rip_dir_open(place->name, make);
    if (place->dir < 0) {
        return place->dir;
    }
    int rc = rip_segment_open(place->dir, "control", file, 1, &place->segment);
    if (rc == -ENOENT && make) {
        rc = make_control(place->dir, file, size, access);
        if (rc == 0) {
            rc = rip_segment_open(place->dir, "control", file, 1, &place->segment);
        }
    }
    rc = rc ? rc : check_size(place, size);
    return rc ? rc : open_for_locks(place);
}

/* Relaxed everywhere: under the lock. */
static _Atomic uint32_t *removed(struct rip_place *place) {
    return (_Atomic uint32_t *)(void *)((char *)place->segment.at + RIP_REMOVED_AT);
}

static int enter_once(struct rip_place *place, enum rip_file file, uint64_t size, int make, struct rip_access access) {
    rip_fork_hold();
    int rc = open_fds(place, file, size, make, access);
    list(place);
    rip_fork_allow();
    if (rc == 0) {
        rc = rip_lock(place);
    }
    if (rc == 0 && atomic_load_explicit(removed(place), memory_order_relaxed)) {
        rip_place_remove(place); /* again: who removed it may have been killed on the way */
        rc = -ENOENT;
    } else if (rc == 0 && !rip_place_has_name(place)) { /* deleted by hand since we opened it */
        rc = -ENOENT;
    }
    if (rc != 0) {
        rip_place_unmap(place);
    }
    return rc;
}

int rip_place_enter(struct rip_place *place, const char *name, enum rip_file file, uint64_t size, int make,
                    struct rip_access access) {
    int ours = rip_name_check(name);
    if (ours < 0) {
        return ours;
    }
    make = make && ours; /* what is another user's only that one can make */
    strcpy(place->name, name);
    place->member = RIP_NO_MEMBER;
    place->between = ask;
    int rc = -ENOENT;
    for (int tries = 0; tries < 100; tries++) {
        rc = enter_once(place, file, size, make, access);
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
static int take_fd(struct rip_place *place, int fd, enum rip_file file, uint64_t size) {
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 && errno == EBADF) {
        return -EBADF;
    }
    if (seals < 0 || !(seals & F_SEAL_SHRINK)) { /* whoever could truncate it could have us killed */
        return -EBADMSG;
    }
    int rc = rip_segment_take(fd, file, file != RIP_FILE_CONTROL, 1, &place->segment);
    place->segment.fd = -1;
    rc = rc ? rc : check_size(place, size);
    if (rc == 0) {
        rc = place->segment.fd = open_anew(fd);
        rc = rc < 0 ? rc : 0;
    }
    return rc;
}

int rip_place_make(enum rip_file file, uint64_t size, int seals) {
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
        rip_want_tables();
        close(fd);
        return rc;
    }
    return fd;
}

int rip_place_adopt(struct rip_place *place, int fd, enum rip_file file, uint64_t size) {
    place->name[0] = '\0';
    place->member = RIP_NO_MEMBER;
    place->between = ask;
    place->dir = -1;
    place->segment = (struct rip_segment){.fd = -1};
    rip_fork_hold();
    int made = fd < 0 ? rip_place_make(file, size, F_SEAL_GROW) : -1;
    int rc = fd < 0 && made < 0 ? made : take_fd(place, fd < 0 ? made : fd, file, size);
    if (made >= 0) {
        close(made);
    }
    list(place);
    rip_fork_allow();
    rc = rc ? rc : rip_lock(place);
    if (rc != 0) {
        rip_place_unmap(place);
    }
    return rc;
}

void rip_place_remove(struct rip_place *place) {
    atomic_store_explicit(removed(place), 1, memory_order_relaxed);
    if (rip_place_has_name(place)) {
        rip_dir_clear(place->dir);
    }
    rip_dir_leave(place->name);
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

int rip_place_discard(const char *name) {
    struct rip_place place = {.segment.fd = -1};
    int ours = rip_name_check(name);
    if (ours != 1) {
        return ours < 0 ? ours : -EPERM;
    }
    rip_fork_hold(); /* a child would keep the lock */
    place.dir = rip_dir_open(name, 0);
    int rc = place.dir < 0 ? place.dir : 0;
    if (rc == 0) {
        place.segment.fd = openat(place.dir, "control", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        rc = place.segment.fd < 0 ? -errno : take_all_of_it(place.segment.fd);
    }
    if (rc == 0 && rip_place_has_name(&place)) {
        rip_dir_clear(place.dir);
    }
    rip_place_shut(&place);
    rip_fork_allow();
    return rc ? rc : rip_dir_leave(name);
}

/* ---- locks ---- */

static int lock_byte(int fd, int command, short type, off_t byte) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, command, &lock) == 0 ? 0 : -errno;
}

void rip_lock_ask(rip_lock_between *between) { ask = between; }

int rip_try_lock(struct rip_place *place) {
    int rc = lock_byte(place->segment.fd, F_OFD_SETLK, F_WRLCK, 0);
    place->locked = rc == 0;
    return rc;
}

static int is_free(struct rip_place *place) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    if (fcntl(place->segment.fd, F_OFD_GETLK, &lock) != 0) {
        return -errno;
    }
    return lock.l_type == F_UNLCK ? 0 : -EAGAIN;
}

/* Tries until it is something else than -EAGAIN. */
static int keep_trying(struct rip_place *place, int (*attempt)(struct rip_place *place), uint64_t deadline) {
    struct rip_lock_wait wait = {.fd = place->segment.fd};
    uint64_t asked = 0;
    for (uint64_t pause = FIRST_PAUSE_NS;; pause = 2 * pause < LAST_PAUSE_NS ? 2 * pause : LAST_PAUSE_NS) {
        int rc = attempt(place);
        if (rc != -EAGAIN || deadline == RIP_TRY_ONLY) {
            return rc;
        }
        uint64_t now = rip_now();
        if (!wait.since) {
            wait.since = asked = now;
        }
        if (now >= deadline) {
            return -EAGAIN;
        }
        struct timespec length = {.tv_nsec = (long)(pause < deadline - now ? pause : deadline - now)};
        int signalled = nanosleep(&length, NULL) != 0;
        if (place->between && (signalled || now - asked >= RIP_SLICE_NS)) {
            asked = now;
            rc = place->between(&wait);
            if (rc != 0) {
                return rc;
            }
        }
    }
}

int rip_lock(struct rip_place *place) {
    return keep_trying(place, rip_try_lock, place->give_up ? place->give_up : RIP_FOREVER);
}

int rip_relock(struct rip_place *place) {
    if (place->give_up != RIP_TRY_ONLY) {
        return rip_lock(place);
    }
    rip_lock_between *between = place->between;
    place->between = NULL;
    int rc = keep_trying(place, rip_try_lock, rip_now() + RELOCK_NS);
    place->between = between;
    return rc;
}

void rip_place_hurry(struct rip_place *place) {
    place->give_up = rip_now() + HURRY_NS;
    place->between = NULL;
}

int rip_await_lock(struct rip_place *place, uint64_t deadline) { return keep_trying(place, is_free, deadline); }

void rip_unlock(struct rip_place *place) {
    place->locked = 0;
    lock_byte(place->segment.fd, F_OFD_SETLK, F_UNLCK, 0);
}

int rip_member_lock(struct rip_place *place, uint32_t member) {
    return lock_byte(place->segment.fd, F_OFD_SETLK, F_WRLCK, 1 + (off_t)member);
}

void rip_member_unlock(struct rip_place *place, uint32_t member) {
    lock_byte(place->segment.fd, F_OFD_SETLK, F_UNLCK, 1 + (off_t)member);
}

int rip_is_dead(struct rip_place *place, uint32_t member) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1 + (off_t)member, .l_len = 1};
    return fcntl(place->segment.fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

uint32_t rip_pid_namespace(void) {
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (uint32_t)st.st_ino : 0;
}

int rip_is_time_to_look(struct rip_place *place) {
    return place->state == RIP_OPEN && rip_now() - place->looked > LOOK_EVERY_NS && rip_try_lock(place) == 0;
}
