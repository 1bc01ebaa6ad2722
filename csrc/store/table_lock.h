/* The locks on a control file: of the tables, and of each member for as long as it lives; and finding those that live no more. */
#ifndef RIP_TABLE_LOCK_H
#define RIP_TABLE_LOCK_H

#include "store/handle.h"

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

int rip_member_lock(struct rip_handle *handle, uint32_t member); /* -EAGAIN if a live member has it */
void rip_member_unlock(struct rip_handle *handle, uint32_t member);
int rip_is_dead(struct rip_handle *handle, uint32_t member);

/* Does for members whose process has died what they would have done at close, whatever this place is of; the lock must be held. */
void rip_reap(struct rip_handle *handle);
/* The same, at most every half second, and not at all while another member has the lock. For whoever waits for long. */
void rip_reap_if_due(struct rip_handle *handle);

#endif
