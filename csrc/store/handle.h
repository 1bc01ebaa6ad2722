/* A handle's place in something shared that has a name: its directory, the control file, the lock on it, a member's byte of it.
 *
 * A member is alive while its byte of the control file is locked. The lock is an open-file-description lock (Linux 3.15): the kernel
 * lets it go when the process ends, however it ends; nobody asks about pids. Byte 0 is the table lock. */
#ifndef RIP_HANDLE_H
#define RIP_HANDLE_H

#include "store/mapping.h"

#include <errno.h>

#define RIP_NO_MEMBER UINT32_MAX

static const struct rip_access rip_private = {.mode = 0600, .group = UINT32_MAX};

/* RIP_LEAVING: about to be closed, which needs the table lock: it refuses every other call. RIP_FORKED is set in a forked child, from its
 * fork handler. */
enum rip_handle_state { RIP_OPEN, RIP_LEAVING, RIP_CLOSED, RIP_FORKED };

struct rip_handle {
    uint32_t state;             /* enum rip_handle_state */
    int dir;                    /* -1: it has no name */
    struct rip_mapping mapping; /* control; its descriptor is the one that holds our locks */
    uint32_t mode;              /* of its files */
    uint32_t member;            /* our entry, or RIP_NO_MEMBER */
    uint64_t reaped_at;         /* when this handle last looked for the dead, nanoseconds */
    uint32_t locked;            /* we hold the table lock */
    uint64_t give_up;           /* when rip_lock gives up, as rip_now; 0: never; RIP_TRY_ONLY: it does not wait */
    uint32_t no_hooks;          /* its waits for the table lock call no hooks, and no signal ends them */
    void (*forked)(struct rip_handle *handle); /* in a forked child: lets go of what is the parent's */
    struct rip_handle *prev, *next;            /* all handles of this process, for the fork handler */
    uint32_t listed;                           /* among them */
    char name[RIP_MAX_CHANNEL_NAME + 1];
};

/* 0 if a handle may be used, else -ESHUTDOWN or -ECHILD. */
int rip_handle_refusal(const struct rip_handle *handle);
static inline int rip_handle_check(const struct rip_handle *handle) {
    return __builtin_expect(handle->state == RIP_OPEN, 1) ? 0 : rip_handle_refusal(handle);
}

/* Refuses all other calls from here on: 0, or -ECHILD. */
int rip_handle_begin_close(struct rip_handle *handle);

/* Opens the control file, of this kind and size, and makes it, all zero, if make and if the name is this user's. On success the table lock is held. forked is set
 * before. */
int rip_handle_open(struct rip_handle *handle, const char *name, enum rip_file file, uint64_t size, int make,
                    struct rip_access access);
/* Makes the control file of one without a name, that nobody can make shorter: its descriptor. seals: what else is forbidden. */
int rip_handle_make_anonymous(enum rip_file file, uint64_t size, int seals);
/* Takes one without a name, by a descriptor that another process has given us, which stays the caller's; fd < 0: makes one. */
int rip_handle_adopt(struct rip_handle *handle, int fd, enum rip_file file, uint64_t size);
/* A descriptor of the control file for another process, without our locks; the caller closes it. */
int rip_handle_dup(const struct rip_handle *handle);
/* The fork handler's, for a place that a child can take anew: a description of its own, without the parent's locks. */
void rip_handle_reopen_in_child(struct rip_handle *handle);
void rip_handle_close_in_child(struct rip_handle *handle); /* the fork handler's, for all others */
void rip_handle_remove_files(struct rip_handle *handle);   /* from the file system; the lock must be held */
/* Removes one that cannot be entered, because its control file is damaged or another version's: 0, -EBUSY where
 * somebody takes part in it, -ENOTEMPTY where files that are none of ours keep its directory. */
int rip_handle_discard(const char *name);
/* Is what lies under its name its own? Whoever deletes a control file by hand leaves its name and its directory to the
 * next one: then nothing there is ours to open, make or remove. */
int rip_handle_has_name(const struct rip_handle *handle);
void rip_handle_unlink(const struct rip_handle *handle, const char *name); /* a file in what is its own directory */
void rip_handle_close_files(
    struct rip_handle *handle); /* of every descriptor, and with them of every lock; it stays mapped */
void rip_handle_unmap(struct rip_handle *handle);

#define RIP_TRY_ONLY 1

/* The table lock is held for microseconds, unless its holder is stopped (SIGSTOP, a debugger, a container that is paused). So nobody
 * waits for it in one piece. -EAGAIN: it was not free before handle->give_up; -EINTR: a signal, or a hook of rip_on_wait, has ended the wait. */
int rip_lock(struct rip_handle *handle);
int rip_try_lock(struct rip_handle *handle); /* -EAGAIN if another member has it */
void rip_unlock(struct rip_handle *handle);
/* Takes it again after a long step without it: as rip_lock, but where place->give_up is RIP_TRY_ONLY it tries for some
 * milliseconds, and calls no hooks. */
int rip_relock(struct rip_handle *handle);
/* Waits until no other process has it, and does not take it: 0, -EAGAIN at the deadline, or -EINTR. Where threads share a handle only
 * one of them may take the lock at a time, which belongs to the handle; but any of them may wait. */
int rip_await_lock(struct rip_handle *handle, uint64_t deadline);
/* rip_lock gives up after a second: for whoever only inspects. */
void rip_handle_limit_waits(struct rip_handle *handle);
/* And it calls no hooks: for whoever closes a handle where nobody can end the wait. */
void rip_handle_set_unattended(struct rip_handle *handle);
/* Will another call do? Somebody else has the lock, or a signal came while it was waited for. */
static inline int rip_is_locked_out(int rc) { return rc == -EAGAIN || rc == -EINTR; }

/* ---- lock_holder.c ---- */

/* The pid of the process that has the table lock of this control file, or 0: none, or none that can be seen from here. Slow. */
int32_t rip_lock_holder(int fd);

int rip_member_lock(struct rip_handle *handle, uint32_t member); /* -EAGAIN if a live member has it */
void rip_member_unlock(struct rip_handle *handle, uint32_t member);
int rip_is_dead(struct rip_handle *handle, uint32_t member);
uint32_t rip_pid_namespace(void); /* of this process */

/* Is it time to look for the dead? 1, at most every half second, and not while another member has the lock; then the lock is held. */
int rip_is_reap_due(struct rip_handle *handle);

/* No fork comes between hold and allow: a child would inherit descriptors that no handle in the list has; adding and removing are done
 * there. */
void rip_fork_hold(void);
void rip_fork_allow(void);

#endif
