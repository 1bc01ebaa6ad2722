/* Opens existing files. Each begins with its identity, and is mapped only if the identity is as expected. */
#ifndef RIP_IDENTITY_H
#define RIP_IDENTITY_H

#include "base/mapping.h"
#include "store/format.h"

/* Checks that this is the identity of such a file. Returns 0, -EBADMSG (no identity, or of a file of another kind),
 * -EPROTONOSUPPORT (another ABI version), or -EPROTOTYPE (a channel instead of a semaphore ..., or the reverse). */
int rip_identity_check(const struct rip_identity *identity, enum rip_file file);
/* Checks identity and size, and maps the file. alone: nothing may follow in the file. write: for writing too. *out
 * takes fd. Returns as rip_identity_check, or another negative errno. */
int rip_mapping_adopt(int fd, enum rip_file file, int alone, int write, struct rip_mapping *out);
/* The same for a named file, alone unless it is a lane. -EPERM: its owner is not that of the directory. */
int rip_mapping_open(int dir, const char *name, enum rip_file file, int write, struct rip_mapping *out);

#endif
