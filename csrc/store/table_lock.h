/* The locks on a control file: the table lock, and a lock for each member while it lives; and reaping dead members. */
#ifndef RIP_TABLE_LOCK_H
#define RIP_TABLE_LOCK_H

#include "store/handle.h"

#define RIP_TRY_ONLY 1

/* Takes the table lock. It is held for microseconds, unless its holder is stopped (SIGSTOP, a debugger, a paused
 * container). So the wait is in slices, with the hook of rip_on_wait after each. Returns 0; -EAGAIN: the lock was not
 * free before handle->give_up; -EINTR: a signal or the hook has ended the wait. */
int rip_lock(struct rip_handle *handle);
/* Does not wait: -EAGAIN if another handle has the lock. */
int rip_try_lock(struct rip_handle *handle);
void rip_unlock(struct rip_handle *handle);
/* Takes the table lock again after a long step without it. As rip_lock; but if handle->give_up is RIP_TRY_ONLY it tries
 * for some milliseconds, and calls no hooks. */
int rip_relock(struct rip_handle *handle);
/* Waits until no other handle has the table lock, and does not take it. Returns 0, -EAGAIN at the deadline, or as
 * rip_lock. The lock belongs to the handle and not to a thread: if threads share a handle, only one at a time may take
 * the lock, but each of them may wait in this way. */
int rip_await_lock(struct rip_handle *handle, uint64_t deadline);
/* Makes rip_lock give up one second from now: for a handle that only inspects. */
void rip_handle_limit_waits(struct rip_handle *handle);
/* The same, and no hooks are called: for closing a handle where nobody could end the wait. */
void rip_handle_set_unattended(struct rip_handle *handle);
/* Returns 1 if rc says that the lock was not taken but may be later: another handle has it, or a signal came. */
static inline int rip_is_locked_out(int rc) { return rc == -EAGAIN || rc == -EINTR; }

/* Locks the byte of a member. Returns 0, -EAGAIN if a live member has it, or another negative errno. */
int rip_member_lock(struct rip_handle *handle, uint32_t member);
void rip_member_unlock(struct rip_handle *handle, uint32_t member);
/* Returns 1 if no other handle has the byte of this member locked: its process has ended. */
int rip_is_dead(struct rip_handle *handle, uint32_t member);

/* Does for dead members what they would have done at close (handle->reap). The table lock must be held. */
void rip_reap(struct rip_handle *handle);
/* The same, at most every half second, and not while another handle has the table lock. Returns 1 if it was done now,
 * else 0. For long waits and calls that do not wait; the lock must not be held. */
int rip_reap_if_due(struct rip_handle *handle);

#endif
