/* The files of a channel without a name: extents of its one file, behind control, each of whole pages.
 *
 *   control                          extents
 *   +-----------+--------------------+-----------+-----------+-----------------+
 *   | used ─────────────────────────────────────────────────────────────────▶ | room that is not the channel's yet
 *   | tables    | identity, a lane   | identity, | identity, | identity,       |
 *   |           |                    | removed   | claims    | a lane          |
 *   +-----------+--------------------+-----------+-----------+-----------------+
 *
 * Each begins with its identity, whose size leads to the next one. An extent is the channel's when `used` has been moved over it; it has
 * begun then, in the name of a member, and goes with that member until it is called what it is. No place is used twice: others may still
 * have what is removed mapped, and read in its first page how it ended. So this page stays, the memory of the others is given
 * back, and removed extents that lie side by side become one. */
#ifndef RIP_EXTENT_H
#define RIP_EXTENT_H

#include "store/handle.h"

/* The lock must be held in all of them but rip_extent_allocate. */

/* Begins one of size bytes, in the name of our member: none of its memory but the first page is allocated yet. -ENOSPC
 * where there is not enough for as many bytes as are needed first. */
int rip_extent_create(struct rip_handle *handle, uint64_t size, uint64_t first, struct rip_mapping *out);
int rip_extent_allocate(struct rip_mapping *mapping, uint64_t end); /* as rip_mapping_allocate */
int rip_extents_create(int fd, uint64_t size);                      /* behind its control file, of this size */
int rip_extents_check(const struct rip_handle *handle);             /* is there a chain? 0 or -EBADMSG */
/* Where such an extent is: 0, -ENOENT, or -EBADMSG where the chain is damaged. of NULL: any. */
int rip_extent_find(const struct rip_handle *handle, uint32_t file, const uint64_t *of, uint64_t *offset,
                    uint64_t *size);
void rip_extent_remove(struct rip_handle *handle, uint32_t file, const uint64_t *of); /* all that are such */

#endif
