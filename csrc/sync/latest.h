/* Latest values. The rest is in ringipc.h. */
#ifndef RIP_LATEST_H
#define RIP_LATEST_H

#include "sync/sync.h"

/* Returns how many bytes the slots of this capacity take in the file. */
uint64_t rip_latest_size(uint64_t capacity);
/* Returns the capacity of a slot in a file of this size; 0: no latest value has a file of this size. */
uint64_t rip_latest_capacity_of(uint64_t size);
/* Prepares a handle that has the file open. is_first: it is the first handle of the object. The table lock must be
 * held. */
void rip_latest_attach(struct rip_sync *s, int is_first);
/* A member leaves: frees the slots that it has claimed. The table lock must be held. */
void rip_latest_left(struct rip_sync *s, uint32_t member, int died);

#endif
