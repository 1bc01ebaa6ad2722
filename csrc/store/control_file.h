/* The control file of a place: opening and making it, in a directory under its name or without one; removing it. */
#ifndef RIP_CONTROL_FILE_H
#define RIP_CONTROL_FILE_H

#include "store/table_lock.h"

static const struct rip_access rip_private = {.mode = 0600, .group = UINT32_MAX};

/* Opens the control file, of this kind and size, and makes it, all zero, if make and if the name is this user's. On success the table
 * lock is held. forked and reap are set before. */
int rip_handle_open(struct rip_handle *handle, const char *name, enum rip_file file, uint64_t size, int make,
                    struct rip_access access);
/* Makes the control file of one without a name, that nobody can make shorter, nor, if fixed, longer: its descriptor. */
int rip_handle_make_anonymous(enum rip_file file, uint64_t size, int fixed);
/* Takes one without a name, by a descriptor that another process has given us, which stays the caller's; fd < 0: makes one. */
int rip_handle_adopt(struct rip_handle *handle, int fd, enum rip_file file, uint64_t size);
void rip_handle_remove_files(struct rip_handle *handle); /* from the file system; the lock must be held */
/* Removes one that cannot be entered, because its control file is damaged or another version's: 0, -EBUSY where
 * somebody takes part in it, -ENOTEMPTY where files that are none of ours keep its directory. file, size: as it would be. */
int rip_handle_discard(const char *name, enum rip_file file, uint64_t size);
/* Is what lies under its name its own? Whoever deletes a control file by hand leaves its name and its directory to the
 * next one: then nothing there is ours to open, make or remove. */
int rip_handle_has_name(const struct rip_handle *handle);
void rip_handle_unlink(const struct rip_handle *handle, const char *name); /* a file in what is its own directory */

#endif
