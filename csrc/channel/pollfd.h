/* The pollfd of a handle: a file descriptor that is readable when there is something to do, for programs that wait in
 * poll, epoll or an event loop. And the signal that a member can have sent to it.
 *
 * The pollfd is a named pipe in the channel's directory, pollfd-<member>. The member announces itself as a sleeper does,
 * with the same bit, and arms the pollfd: it sets RIP_POLLFD_ARMED in its entry. A waker clears that bit and writes a
 * byte into the pipe. It does so once, until the member has checked, found nothing to do, and armed the pollfd again.
 * While a waker writes, RIP_POLLFD_WRITES is set: a member that finds nothing waits until the byte is there, and
 * discards it. Otherwise the byte would come late and make the pollfd readable without a reason.
 *
 * If there is no directory, or if it has been deleted, the pipe has no name. Wakers of the same user and pid namespace
 * open it through /proc/<pid>/fd.
 *
 * A waker of another user or pid namespace cannot write into such a pipe. A waker that is killed between clearing the
 * bit and writing would leave the member waiting for ever. And nobody writes when a producer is killed. So the program
 * of the member must update the pollfd now and then, half a second after the last time; this finds dead members too. */
#ifndef RIP_POLLFD_H
#define RIP_POLLFD_H

#include "channel/channel.h"

/* Opens the pollfd of the handle, unless it has one, and records it in the tables. *entry: the word that wakers check
 * for a pollfd; value is stored in it. Returns the file descriptor or a negative errno. */
int rip_pollfd_open(struct rip_channel *ch, _Atomic uint32_t *entry, uint32_t value);

/* Has the handle nothing to do? */
typedef int rip_idle(void *handle);
/* Makes the pollfd readable if the handle has something to do; else empties the pipe and arms the pollfd. watch: what
 * the handle waits for. also: RIP_POLLFD_ENDS, RIP_POLLFD_DEATHS, both or neither. */
void rip_pollfd_update(struct rip_channel *ch, rip_idle *idle, void *handle, const struct rip_watch *watch,
                       uint32_t also);
/* Empties the pipe and arms the pollfd: whatever comes afterwards makes it readable. Returns 1 if there was a byte in
 * the pipe, else 0. */
int rip_pollfd_rearm(struct rip_channel *ch, const struct rip_watch *watch, uint32_t also);

/* Removes the named pipe of a member that leaves or is dead. */
void rip_pollfd_remove(struct rip_channel *ch, uint32_t member);
/* Makes the pollfd of a member readable if it is armed for one of these reasons: RIP_POLLFD_ARMED: a message or room;
 * RIP_POLLFD_ENDS, RIP_POLLFD_DEATHS. And sends the member its signal if it wants one. */
void rip_pollfd_wake(struct rip_channel *ch, uint32_t member, uint32_t reasons);
/* Closes the pollfd of the handle, if it has one. */
void rip_pollfd_close(struct rip_channel *ch);

#endif
