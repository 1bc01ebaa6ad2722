/* A handle's hold on something shared: its control file, the lock on that, a member's byte of it; and all handles of this process, for
 * the fork handler.
 *
 * A member is alive while its byte of the control file is locked (base/byte_lock.h). Byte 0 is the table lock. */
#ifndef RIP_HANDLE_H
#define RIP_HANDLE_H

#include "base/mapping.h"
#include "store/format.h"

#include <errno.h>

#define RIP_NO_MEMBER UINT32_MAX

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
    void (*reap)(
        struct rip_handle *handle); /* does for the dead what they would have done at close; the lock is held */
    struct rip_handle *prev, *next; /* all handles of this process, for the fork handler */
    uint32_t listed;                /* among them */
    char name[RIP_MAX_CHANNEL_NAME + 1];
};

/* 0 if a handle may be used, else -ESHUTDOWN or -ECHILD. */
int rip_handle_refusal(const struct rip_handle *handle);
static inline int rip_handle_check(const struct rip_handle *handle) {
    return __builtin_expect(handle->state == RIP_OPEN, 1) ? 0 : rip_handle_refusal(handle);
}

/* Refuses all other calls from here on: 0, or -ECHILD. */
int rip_handle_begin_close(struct rip_handle *handle);

/* From here on the fork handler knows it; within rip_fork_hold. */
void rip_place_list(struct rip_handle *handle);
/* A descriptor of the control file for another process, without our locks; the caller closes it. */
int rip_handle_dup(const struct rip_handle *handle);
/* The fork handler's, for a place that a child can take anew: a description of its own, without the parent's locks. */
void rip_handle_reopen_in_child(struct rip_handle *handle);
void rip_handle_close_in_child(struct rip_handle *handle); /* the fork handler's, for all others */
void rip_handle_close_files(
    struct rip_handle *handle); /* of every descriptor, and with them of every lock; it stays mapped */
void rip_handle_unmap(struct rip_handle *handle);

/* No fork comes between hold and allow: a child would inherit descriptors that no handle in the list has; adding and removing are done
 * there. */
void rip_fork_hold(void);
void rip_fork_allow(void);

#endif
