/* The control file of a channel, semaphore, lock, event or barrier: opening, creating and removing it. A named one lies
 * in a directory of its name; an anonymous one is a memfd; one with a path is a file of the user. */
#ifndef RIP_CONTROL_FILE_H
#define RIP_CONTROL_FILE_H

#include "store/table_lock.h"

static const struct rip_access rip_private = {.mode = 0600, .group = UINT32_MAX};

/* The kind and the size of a control file. */
struct rip_control_size {
    enum rip_file file;
    uint64_t
        tables;     /* bytes at its beginning that are allocated when it is created: every file of this kind has them */
    uint64_t extra; /* bytes behind them that are allocated too */
    uint64_t size;  /* of the whole file, if it is created; an existing one may have another size */
};

/* Opens a named control file. make: if it does not exist and the name is this user's, creates it, all zero, with this
 * access. The caller has set handle->forked and handle->reap. Returns 0, and then the table lock is held; or a negative
 * errno (-ENOENT: it does not exist). */
int rip_handle_open(struct rip_handle *handle, const char *name, struct rip_control_size size, int make,
                    struct rip_access access);
/* Creates an anonymous control file. No process can make it shorter, nor, if fixed, longer. Returns its file descriptor
 * or a negative errno. */
int rip_handle_make_anonymous(struct rip_control_size size, int fixed);
/* Opens the anonymous control file that fd refers to; fd remains the caller's. fd < 0: creates one. Else as
 * rip_handle_open. */
int rip_handle_adopt(struct rip_handle *handle, int fd, struct rip_control_size size);
/* Opens the control file that lies at this path of the file system, outside of the directories of names, and that stays
 * there. make: if it does not exist, creates it. Else as rip_handle_open. */
int rip_handle_open_path(struct rip_handle *handle, const char *path, struct rip_control_size size, int make);
/* Removes all files and the directory. The table lock must be held. */
void rip_handle_remove_files(struct rip_handle *handle);
/* Removes a channel (or semaphore ...) that cannot be opened because its control file is damaged or of another version.
 * file, size: the kind and size that the control file should have. Returns 0; -EBUSY if it has a member or can be
 * opened; -ENOTEMPTY if other files in its directory keep it; or another negative errno. */
int rip_handle_discard(const char *name, enum rip_file file, uint64_t size);
/* Returns 1 if the control file under the handle's name is the one that the handle has open, else 0. If somebody
 * deletes a control file by hand, the next channel may use its name and its directory. Then this handle must not open,
 * create or remove anything there. */
int rip_handle_has_name(const struct rip_handle *handle);
/* Removes a file from the directory, if the directory is still the handle's own (rip_handle_has_name). */
void rip_handle_unlink(const struct rip_handle *handle, const char *name);

#endif
