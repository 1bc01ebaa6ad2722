/* The directory of each user, and in it one for everything that has a name. */
#ifndef RIP_DIRECTORY_H
#define RIP_DIRECTORY_H

#include "base/common.h"

/* <base>/ringipc-<uid>/<channel> as a directory descriptor. make: 1 makes what is not there. -EPERM: somebody else has made it. */
int rip_dir_open(const char *channel, int make);
/* Opens the directory, which is ours, to those for whom the files in it are. */
int rip_dir_share(int dir, struct rip_access access);
/* Removes all lanes and claims in it, and the bells too if bells; the lock of its control file must be held. */
int rip_dir_sweep(int dir, int pollfds);
void rip_dir_clear(int dir); /* all files of ours; the lock must be held */
/* Removes the channel's directory if it is empty, and the user's if that is empty then: 0, -ENOENT, or -ENOTEMPTY and
 * the like. Whoever is just about to make a file in it makes it anew. */
int rip_dir_leave(const char *channel);

#endif
