/* Locks on bytes of a file that the kernel lets go when the description that took them is closed, however its process ends; nobody asks
 * about pids (open-file-description locks, Linux 3.15). */
#ifndef RIP_BYTE_LOCK_H
#define RIP_BYTE_LOCK_H

#include "base/common.h"

int rip_byte_lock(int fd, uint64_t byte); /* 0, -EAGAIN if another description has it, ... */
void rip_byte_unlock(int fd, uint64_t byte);
int rip_byte_is_free(int fd, uint64_t byte); /* of the locks of others: 1, 0 or a negative errno */
int rip_byte_lock_all(int fd);               /* every byte, also beyond the end: as rip_byte_lock */

/* ---- lock_holder_linux.c ---- */

/* The pid of the process that has byte 0 of this file locked, or 0: none, or none that can be seen from here. Slow. */
int32_t rip_lock_holder(int fd);

#endif
