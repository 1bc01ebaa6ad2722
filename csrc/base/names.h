/* The names of channels and the like, and of groups: what is one, and whose it is. */
#ifndef RIP_NAMES_H
#define RIP_NAMES_H

#include "base/common.h"

#include <sys/types.h>

/* Is it a name? One plain part of a path, or another user's: "~<uid>/<part>". 1: one of ours, 0: of another user's, -EINVAL or
 * -ENAMETOOLONG. */
int rip_name_check(const char *name);
/* Whose it is, and what it is called there; NULL: not a name. */
const char *rip_name_parse(const char *name, uid_t *user);
/* The number in "fd:<number>", which stands for a descriptor, -ENOENT in any other name, or -EINVAL. */
int rip_name_fd(const char *name);
int rip_is_group_name(const char *name);

#endif
