/* Locks on bytes of a file. The kernel releases them when the open file description that took them is closed, however
 * the process ends, so no pid has to be checked (open-file-description locks, Linux 3.15). */
#ifndef RIP_BYTE_LOCK_H
#define RIP_BYTE_LOCK_H

#include "base/common.h"

/* Locks one byte. Does not wait. Returns 0, -EAGAIN if another open file description has it locked, or another negative
 * errno. */
int rip_byte_lock(int fd, uint64_t byte);
/* The same, but any number of open file descriptions can lock the byte in this way. A lock that fd has on it already is
 * changed. */
int rip_byte_lock_shared(int fd, uint64_t byte);
void rip_byte_unlock(int fd, uint64_t byte);
/* Returns 1 if no other open file description has the byte locked, 0 if one has, or a negative errno. */
int rip_byte_is_free(int fd, uint64_t byte);
/* Locks every byte, also those beyond the end of the file. Returns as rip_byte_lock. */
int rip_byte_lock_all(int fd);

/* ---- lock_holder_linux.c ---- */

/* Returns the pid of the process that has byte 0 of this file locked, or 0 if there is none, or none that this process
 * can see. Slow: it reads /proc for every process. */
int32_t rip_lock_holder(int fd);

#endif
