/* The pollfd of a handle: a file descriptor that is readable when there is something to do, for programs that wait in
 * poll, epoll or an event loop. And the signal that a member can have sent to it.
 *
 * A member with a pollfd has a named pipe in the channel's directory, pollfd-<member>, and an epoll file descriptor
 * over its end of the pipe. It announces itself as a sleeper does, with the same bit, and arms the pollfd: it sets
 * RIP_POLLFD_ARMED in its entry. A waker clears that bit and writes a byte into the pipe. It does so once, until the
 * member has checked, found nothing to do, and armed the pollfd again.
 *
 * If there is no directory, or if it has been deleted, the pipe has no name. Wakers of the same user and pid namespace
 * open it through /proc/<pid>/fd.
 *
 * A waker of another user or pid namespace cannot write into such a pipe. A waker that is killed between clearing the
 * bit and writing would leave the member waiting for ever. And nobody writes when a producer dies. So the epoll file
 * descriptor also becomes readable some time after the member has checked last. The member then checks again, also for
 * dead members. */
#ifndef RIP_POLLFD_H
#define RIP_POLLFD_H

#include "channel/channel.h"

#define RIP_POLLFD_CHECK_NS UINT64_C(600000000) /* a little more than the interval of rip_reap_if_due */

/* Opens the pollfd of the handle, unless it has one, and records it in the tables. *entry: the word that wakers check
 * for a pollfd; value is stored in it. Returns the file descriptor or a negative errno. */
int rip_pollfd_open(struct rip_channel *ch, _Atomic uint32_t *entry, uint32_t value);

/* Returns 0 if the handle has something to do, else in how many nanoseconds to check again, RIP_POLLFD_CHECK_NS at
 * most. */
typedef uint64_t rip_idle(void *handle);
/* Makes the pollfd readable if the handle has something to do; else empties the pipe and arms the pollfd. watch: what
 * the handle waits for. */
void rip_pollfd_update(struct rip_channel *ch, rip_idle *idle, void *handle, const struct rip_watch *watch);
/* Empties the pipe and arms the pollfd: whatever comes afterwards makes it readable. Returns 1 if there was a byte in
 * the pipe, 0 if the pollfd was readable only because of the time, or not at all. */
int rip_pollfd_rearm(struct rip_channel *ch, const struct rip_watch *watch);

/* Removes the named pipe of a member that leaves or is dead. */
void rip_pollfd_remove(struct rip_channel *ch, uint32_t member);
/* Makes the pollfd of a member readable if it is armed, and sends the member its signal if it wants one. */
void rip_pollfd_wake(struct rip_channel *ch, uint32_t member);
/* Closes the pollfd of the handle, if it has one. */
void rip_pollfd_close(struct rip_channel *ch);

#endif
