/* Files of ours that are there: each is known by its identity, and mapped only if that fits. */
#ifndef RIP_IDENTITY_H
#define RIP_IDENTITY_H

#include "base/mapping.h"
#include "store/format.h"

/* Is it one, and of such a file? 0, -EBADMSG, -EPROTONOSUPPORT or -EPROTOTYPE. */
int rip_identity_check(const struct rip_identity *identity, enum rip_file file);
/* Checks identity and size, and maps it. alone: nothing follows it in the file. write: 1 for writing too. */
int rip_mapping_adopt(int fd, enum rip_file file, int alone, int write, struct rip_mapping *out);
/* The same for a file that has a name. */
int rip_mapping_open(int dir, const char *name, enum rip_file file, int write, struct rip_mapping *out);

#endif
