/* Classes of errors: what a negative errno says about trying again. */
#ifndef RIP_ERRORS_H
#define RIP_ERRORS_H

#include <errno.h>

/* Returns 1 if there is no memory for the pages of a file. */
static inline int rip_is_out_of_memory(int rc) { return rc == -ENOSPC || rc == -ENOMEM || rc == -EDQUOT; }

/* Returns 1 for an error that says nothing about the contents of a file: this process cannot open it now, or the files
 * of the channel have been deleted. */
static inline int rip_is_resource_error(int rc) {
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -ESTALE;
}

/* Returns 1 if something is missing that may be available later: one of the above, or a file may not be so large. Any
 * other error of mapping a file means damage. */
static inline int rip_is_shortage(int rc) {
    return rip_is_resource_error(rc) || rip_is_out_of_memory(rc) || rc == -EFBIG;
}

#endif
