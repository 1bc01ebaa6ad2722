/* The directory of each user. It holds one directory for each named channel, semaphore, lock, event or barrier. */
#ifndef RIP_DIRECTORY_H
#define RIP_DIRECTORY_H

#include "base/common.h"

/* Opens <base>/ringipc-<uid>/<channel>. make: creates the directories that do not exist. Returns a file descriptor,
 * -EPERM if another user has created one of them, or another negative errno. */
int rip_dir_open(const char *channel, int make);
/* Gives the users that may open the files in this directory access to it. Returns 0 or a negative errno. */
int rip_dir_share(int dir, struct rip_access access);
/* Removes the files of lanes and claims, and the pipes of pollfds too if pollfds. The table lock of the control file
 * must be held. Returns 0 or a negative errno. */
int rip_dir_sweep(int dir, int pollfds);
/* Removes all files of a channel. The table lock must be held. */
void rip_dir_clear(int dir);
/* Removes the channel's directory if it is empty, and then the user's directory if that is empty. Returns 0, -ENOENT,
 * -ENOTEMPTY or another negative errno. A process that is about to create a file in the directory creates it again. */
int rip_dir_leave(const char *channel);

#endif
