/* The pollfd of a handle of a latest value: a file descriptor that is readable when there is a newer value.
 *
 * Readers have no entry in the file, so that there can be any number of them, and a writer cannot write into a pipe of
 * each. Instead a thread of the reader's process sleeps on the futex word, as a reader that waits does, and writes into
 * a pipe. Only handles with a pollfd have this thread. */
#ifndef RIP_LATEST_FD_H
#define RIP_LATEST_FD_H

#include "sync/sync.h"

/* Ends the thread and closes the pollfd, if there is one. */
void rip_latest_fd_close(struct rip_sync *s);
/* For the fork handler: the child has no such thread. Closes the file descriptors that it has inherited. */
void rip_latest_fd_forget(struct rip_sync *s);

#endif
