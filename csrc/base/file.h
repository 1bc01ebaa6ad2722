/* Files that are used as memory. A file in a directory is created without a name, allocated, and then named; a memfd
 * never has a name. */
#ifndef RIP_FILE_H
#define RIP_FILE_H

#include "base/common.h"

/* ---- file_linux.c ---- */

/* Creates a file in this directory, without a name. Returns its file descriptor or a negative errno. */
int rip_file_unnamed(int dir, uint32_t mode);
/* Gives the file its name, atomically. Returns 0, -EEXIST if the name exists, or another negative errno. */
int rip_file_link(int fd, int dir, const char *name);
/* Opens the same file with an open file description of its own, which shares neither locks nor position with that of
 * fd. flags: as in open(2). Returns a file descriptor or a negative errno. */
int rip_file_open_again(int fd, int flags);
/* Allocates size bytes from offset. A signal does not interrupt it. Returns 0 or a negative errno; then
 * rip_last_shortage says how much was needed. */
int rip_allocate(int fd, uint64_t offset, uint64_t size);
/* Maps the pages now that the kernel would else map at the first access to each. Returns 0 or -ENOMEM; or, if an access
 * would end in SIGBUS, -ENOSPC (write) or -EBADMSG (read). Linux before 5.14 cannot do this: the result is 0 and
 * nothing is checked. */
int rip_populate(void *at, uint64_t size, int write);
/* Frees the memory of the whole pages in this part of a file that is mapped for writing. They read as zero afterwards.
 * Does nothing on a file system that cannot do this. */
void rip_free_pages(void *at, uint64_t size);
/* Returns 1 if path is a directory of a tmpfs, whose files are in memory only, else 0. */
int rip_is_memory(const char *path);
/* Returns how many bytes the files in this directory can still have. *is_memory: it is in a tmpfs. */
uint64_t rip_space_in(int dir, int *is_memory);

/* ---- memfd_linux.c ---- */

/* Creates a memfd. Returns its file descriptor or a negative errno. */
int rip_memory_file(void);
/* Seals the memfd: no process can make it shorter afterwards, nor, if fixed, longer. Returns 0 or a negative errno. */
int rip_memory_file_seal(int fd, int fixed);
/* Returns 1 if the file is sealed against being made shorter, 0 if not, or -EBADF. */
int rip_memory_file_is_sealed(int fd);
/* Frees the memory of size bytes from offset. They read as zero afterwards. */
void rip_memory_file_free(int fd, uint64_t offset, uint64_t size);
/* Returns the bytes of memory that are available (/proc/meminfo). A memfd has no size limit of its own: if it uses too
 * much, the kernel kills some process. */
uint64_t rip_memory_available(void);
/* The same for a process that wants this many bytes of it. If they are few, what the kernel said before is used a few
 * times, less what was wanted since: to ask it takes longer than to allocate some pages. */
uint64_t rip_memory_available_for(uint64_t bytes);
/* Ask the kernel the next time: in a forked child. */
void rip_memory_forget(void);

#endif
