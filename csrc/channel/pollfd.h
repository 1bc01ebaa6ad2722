/* A descriptor that is readable when there is something to do, for programs that wait in poll, epoll or an event loop; and a signal.
 *
 * Each member that has asked for one has a pipe of its own in the channel's directory, bell-<member>, and an epoll descriptor over the
 * pipe's end. It announces itself as a sleeper does, with the same bit, and notes in its entry that it wants to be rung. Whoever
 * would wake a sleeper then writes a byte into the pipe: once, until the member has looked and announced itself again.
 * Where there is no directory, or none that is the channel's any more, the pipe has no name, and is reached through
 * /proc/<pid>/fd by processes of the same user and pid namespace.
 * A ringer of another one cannot ring it; one that is killed between taking the note and writing would leave the member waiting for
 * ever; and nobody tells it of a death. So the epoll descriptor also becomes readable some time after the member has looked last:
 * then it looks again, and for the dead too. */
#ifndef RIP_POLLFD_H
#define RIP_POLLFD_H

#include "channel/channel.h"

#define RIP_POLLFD_CHECK_NS UINT64_C(600000000) /* a little more than rip_reap_if_due lets pass */

/* Opens the handle's descriptor if that is not done yet, and says in the table that there is one: the descriptor, or a negative errno.
 * *rung is where those look who would wake us; it becomes value. */
int rip_pollfd_open(struct rip_channel *ch, _Atomic uint32_t *rung, uint32_t value);

/* 0 if the handle has something to do, else nanoseconds until it is to be asked again, RIP_POLLFD_CHECK_NS at most. */
typedef uint64_t rip_idle(void *handle);
/* Makes the descriptor readable, or not, as the handle has something to do. watch: what it waits for. */
void rip_pollfd_update(struct rip_channel *ch, rip_idle *idle, void *handle, const struct rip_watch *watch);
/* Asks to be woken: whatever comes from now on makes the descriptor readable. 1 if it had been readable for more than the time
 * that had passed. */
int rip_pollfd_rearm(struct rip_channel *ch, const struct rip_watch *watch);

/* A member is none any more: what it has in the directory goes. */
void rip_pollfd_remove(struct rip_channel *ch, uint32_t member);
/* Makes a member's descriptor readable, and sends it a signal, if it wants that. */
void rip_pollfd_wake(struct rip_channel *ch, uint32_t member);
void rip_pollfd_close(struct rip_channel *ch);

#endif
