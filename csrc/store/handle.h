/* What every handle has: the control file that it has open, the locks on that file; and the list of all handles of this
 * process, for the fork handler.
 *
 * A member is alive while its byte of the control file is locked (base/byte_lock.h). Byte 0 is the table lock. */
#ifndef RIP_HANDLE_H
#define RIP_HANDLE_H

#include "base/mapping.h"
#include "store/format.h"

#include <errno.h>

#define RIP_NO_MEMBER UINT32_MAX

struct rip_extents;

/* RIP_LEAVING: the handle is being closed, which needs the table lock; it refuses all other calls. RIP_FORKED: the
 * handle is the parent's; set in a forked child by the fork handler. */
enum rip_handle_state { RIP_OPEN, RIP_LEAVING, RIP_CLOSED, RIP_FORKED };

struct rip_handle {
    uint32_t state;             /* enum rip_handle_state */
    int dir;                    /* its directory; -1: it is anonymous */
    struct rip_mapping mapping; /* control; its file descriptor has the locks of this handle */
    uint32_t mode;              /* access mode of its files */
    uint32_t member;            /* the index of this handle's member entry, or RIP_NO_MEMBER */
    uint64_t reaped_at;         /* when this handle last reaped, as rip_now */
    _Atomic uint64_t *others;   /* where all handles of a channel note when one has reaped; else NULL */
    uint32_t locked;            /* 1: this handle has the table lock */
    /* deadline of rip_lock and rip_relock, as rip_now; 0: none; RIP_TRY_ONLY: rip_lock does not wait, and rip_relock
     * waits for some milliseconds */
    uint64_t give_up;
    uint32_t no_hooks;                         /* 1: waits for the table lock call no hooks, and no signal ends them */
    void (*forked)(struct rip_handle *handle); /* in a forked child: closes what is the parent's */
    /* Does for dead members what they would have done at close; called with the table lock held. */
    void (*reap)(struct rip_handle *handle);
    struct rip_extents *extents;    /* of an anonymous channel: extent.c; else NULL */
    struct rip_handle *prev, *next; /* the list of all handles of this process */
    uint32_t listed;                /* 1: it is in that list */
    char name[RIP_MAX_CHANNEL_NAME + 1];
};

/* Returns 1 if the handle has no directory. */
static inline int rip_is_anonymous(const struct rip_handle *handle) { return handle->dir < 0; }

/* Returns -ESHUTDOWN (closed) or -ECHILD (the parent's) for a handle that may not be used. */
int rip_handle_refusal(const struct rip_handle *handle);
/* Returns 0 if the handle may be used, else as rip_handle_refusal. */
static inline int rip_handle_check(const struct rip_handle *handle) {
    return __builtin_expect(handle->state == RIP_OPEN, 1) ? 0 : rip_handle_refusal(handle);
}

/* Makes the handle refuse all other calls. Returns 0 or -ECHILD. */
int rip_handle_begin_close(struct rip_handle *handle);

/* Adds the handle to the list of the fork handler. To be called between rip_fork_hold and rip_fork_allow. */
void rip_handle_list(struct rip_handle *handle);
/* Returns a new file descriptor of the control file, without the locks of this handle, or a negative errno. The caller
 * closes it. */
int rip_handle_dup(const struct rip_handle *handle);
/* For the fork handler, if the child may join with this handle: opens the control file again, without the parent's
 * locks. */
void rip_handle_reopen_in_child(struct rip_handle *handle);
/* For the fork handler, if the child may not join: closes the file descriptors. */
void rip_handle_close_in_child(struct rip_handle *handle);
/* Closes all file descriptors, which releases all locks. The control file stays mapped. */
void rip_handle_close_files(struct rip_handle *handle);
/* The same, and unmaps the control file. */
void rip_handle_unmap(struct rip_handle *handle);

/* No thread forks between hold and allow: a child would inherit file descriptors of no listed handle and never close
 * them. The list changes only between these calls. */
void rip_fork_hold(void);
void rip_fork_allow(void);

#endif
