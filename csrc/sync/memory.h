/* Shared memory: data that all handles may change, and read or replace as a whole. The rest is in ringipc.h. */
#ifndef RIP_MEMORY_H
#define RIP_MEMORY_H

#include "sync/lock_word.h"

#define RIP_MAX_MEMORY (INT64_C(1) << 46)
#define RIP_MAX_DESCRIPTION (UINT32_C(1) << 22)

/* Returns how many bytes the description, the data and the draft take in the file, and how many of them are allocated
 * when it is created. */
uint64_t rip_memory_size(uint32_t description_length, uint64_t size, uint64_t *allocated);
/* Writes the description and the size of a new object. The table lock must be held. */
void rip_memory_describe(struct rip_sync *s, const struct rip_memory_wish *wish, uint64_t size);
/* Checks that an existing object is well-formed, and if size >= 0 that it is as wished. Returns 0, -EBADMSG or
 * -EEXIST. */
int rip_memory_check(struct rip_sync *s, const struct rip_memory_wish *wish, int64_t size);
/* The lock word of the data. */
union rip_word *rip_memory_lock(struct rip_sync *s);
/* Completes what a process that was killed in rip_memory_write has left. For the owner of the lock. Returns 0,
 * -ESHUTDOWN: another thread has closed the handle, or as rip_populate. */
int rip_memory_mend(struct rip_sync *s);
/* The same for who opens the memory, unless a live process has the lock. The next owner still sees the death. */
int rip_memory_recover(struct rip_sync *s);
/* Makes the handle refuse all other calls, and waits until another thread of this process that writes with it has
 * ended that. rip_sync_close does this; a caller that has a lock which other threads need does it before. */
void rip_memory_stop(struct rip_sync *s);
/* Maps the pages of the data. Returns 0 or as rip_populate. */
int rip_memory_map(struct rip_sync *s);

#endif
