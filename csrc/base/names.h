/* Names of channels, semaphores and so on, and of groups: which strings are names, and whose they are. */
#ifndef RIP_NAMES_H
#define RIP_NAMES_H

#include "base/common.h"

#include <sys/types.h>

/* Checks a name: one component of a path, or "~<uid>/<component>" for another user's. Returns 1 if it names something
 * of this user, 0 if of another user, -EINVAL or -ENAMETOOLONG. */
int rip_name_check(const char *name);
/* Stores the owner in *user and returns the component of the path, or NULL if the string is not a name. */
const char *rip_name_parse(const char *name, uid_t *user);
/* Returns the number in "fd:<number>", which stands for a file descriptor; -ENOENT for any other name; or -EINVAL. */
int rip_name_fd(const char *name);
/* Returns 1 if the string can be the name of a group, else 0. */
int rip_is_group_name(const char *name);

#endif
