/* The files of an anonymous channel: extents of its memfd, behind control, each of whole pages.
 *
 *   control                          extents
 *   +-----------+--------------------+-----------+-----------+-----------------+
 *   | used ─────────────────────────────────────────────────────────────────▶ | not yet used
 *   | tables    | identity, a lane   | identity, | identity, | identity,       |
 *   |           |                    | removed   | claims    | a lane          |
 *   +-----------+--------------------+-----------+-----------+-----------------+
 *
 * Each extent begins with its identity. The size in it leads to the next extent. An extent exists once `used` has
 * been moved over it. It is incomplete then: its identity names the member that creates it, and the extent is
 * removed with that member. One store into the identity makes it complete. No part of the memfd is used twice,
 * because other processes may still have a removed extent mapped and read in its first page how it ended. So the
 * first page of a removed extent stays, the memory of its other pages is freed, and removed extents that lie side
 * by side become one. */
#ifndef RIP_EXTENT_H
#define RIP_EXTENT_H

#include "store/handle.h"

/* The table lock must be held in all of these functions except rip_extent_allocate. They return 0 or a negative
 * errno. */

/* Creates an incomplete extent of size bytes for this handle's member. Only its first page is allocated. first: the
 * bytes that the caller will allocate first; -ENOSPC if less memory is available. -EBADMSG: the chain is damaged. */
int rip_extent_create(struct rip_handle *handle, uint64_t size, uint64_t first, struct rip_mapping *out);
/* As rip_mapping_allocate; -ENOSPC if less memory is available. */
int rip_extent_allocate(struct rip_mapping *mapping, uint64_t end);
/* Starts an empty chain behind a control file of this size. */
int rip_extents_create(int fd, uint64_t size);
/* Checks the whole chain: 0 or -EBADMSG. */
int rip_extents_check(struct rip_handle *handle);
/* Finds the extent with this kind (enum rip_file) and `of` in its identity; of NULL: with any `of`. Returns 0, -ENOENT,
 * or -EBADMSG if the chain is damaged. */
int rip_extent_find(struct rip_handle *handle, uint32_t file, const uint64_t *of, uint64_t *offset, uint64_t *size);
#define RIP_EXTENT_ANY UINT64_MAX /* as of[1]: extents with any of[1] */
/* Removes all extents with this kind and `of`, as rip_extent_find. */
void rip_extent_remove(struct rip_handle *handle, uint32_t file, const uint64_t *of);

#endif
