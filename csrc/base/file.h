/* Files as memory: made without a name, allocated, named; and those that never have one. */
#ifndef RIP_FILE_H
#define RIP_FILE_H

#include "base/common.h"

/* ---- file_linux.c ---- */

/* A descriptor of a new file in this directory that has no name yet. */
int rip_file_unnamed(int dir, uint32_t mode);
/* Gives it its name, whole: -EEXIST if the name is taken. */
int rip_file_link(int fd, int dir, const char *name);
/* Another description of the same file, which shares neither locks nor position with it. flags: as open(2). */
int rip_file_open_again(int fd, int flags);
int rip_allocate(int fd, uint64_t offset, uint64_t size); /* all of these bytes, whatever signals come */
/* Makes the kernel do now what it would do at the first use of each page: 0, -ENOMEM, or, where a use would end in
 * SIGBUS, -ENOSPC for writing and -EBADMSG for reading. Linux before 5.14 cannot, and 0 says nothing there. */
int rip_populate(void *at, uint64_t size, int write);
int rip_is_memory(const char *path); /* is it a directory whose files are in memory only? */

/* ---- memfd_linux.c ---- */

/* A descriptor of a new file in memory that has no name anywhere. */
int rip_memory_file(void);
/* From now on nobody can make it shorter, or, if fixed, longer. */
int rip_memory_file_seal(int fd, int fixed);
/* Can nobody make it shorter? 1, 0, or -EBADF. */
int rip_memory_file_is_sealed(int fd);
void rip_memory_file_free(int fd, uint64_t offset,
                          uint64_t size); /* gives these bytes back; they are zero from now on */
/* Bytes of memory that are to be had. A file in memory has no limit of its own: whoever asks for too much ends some process. */
uint64_t rip_memory_available(void);

#endif
