/* The files of a channel other than control: named files in its directory, or extents of the memfd of an anonymous
 * channel. Code of higher layers does not see the difference. */
#ifndef RIP_FILES_H
#define RIP_FILES_H

#include "store/handle.h"

/* Parts that are added to a file begin at a multiple of it: of every machine's page size. */
#define RIP_REGION_ALIGN 65536u

/* Identifies a file: by its identity, and by its name. */
struct rip_file_key {
    enum rip_file file;
    uint64_t of[2];
};

static inline struct rip_file_key rip_lane_file(uint64_t id) { return (struct rip_file_key){RIP_FILE_LANE, {id, 0}}; }

static inline struct rip_file_key rip_claims_file(uint64_t group, uint64_t lane) {
    return (struct rip_file_key){RIP_FILE_CLAIMS, {group, lane}};
}

/* A file is made in three steps. Each returns 0 or a negative errno. The caller closes *out in any case. A file that
 * has no name yet is incomplete: it is removed with this handle's member, or by rip_files_remove_incomplete. */

/* 1. Creates a file of size bytes. The table lock must be held. first: the bytes that the caller will allocate first;
 * -ENOSPC if it is clear that there is no memory for them. */
int rip_file_create(struct rip_handle *handle, uint64_t size, uint64_t first, struct rip_mapping *out);
/* 2. Allocates the bytes up to `end`, all zero, and maps the file for writing. Nothing may be written beyond `end`:
 * that could end in SIGBUS. Later calls allocate more. Needs no lock. */
int rip_file_allocate(struct rip_mapping *mapping, uint64_t end);
/* 3. Names the file: other processes find it afterwards. The table lock must be held. -EEXIST: the name exists. */
int rip_file_name(struct rip_handle *handle, struct rip_file_key which, struct rip_mapping *mapping);

/* Makes a file longer: adds size bytes, not allocated, behind offset `from`, and maps them for writing. In an anonymous
 * channel they are an extent of their own, which has this number besides the id of the lane, and is removed with it.
 * out->offset: where they are, in the same file as the file itself. The table lock must be held. Returns 0 or a negative
 * errno. */
int rip_file_extend(struct rip_handle *handle, struct rip_file_key which, uint64_t from, uint64_t size, uint64_t number,
                    struct rip_mapping *out);
/* Maps a part that has been added to a file in this way, for reading. offset: as out->offset there. Returns 0,
 * -EBADMSG if there is no such part, or another negative errno. */
int rip_file_map_part(struct rip_handle *handle, struct rip_file_key which, uint64_t offset, uint64_t size,
                      struct rip_mapping *out);
/* Is so much memory available for a file? Returns 0, or -ENOSPC or -ENOMEM; then rip_last_shortage says more. */
int rip_file_has_memory(const struct rip_handle *handle, uint64_t bytes);

/* Maps a file. write: for writing too. Returns 0, -ENOENT, or another negative errno. */
int rip_file_open(struct rip_handle *handle, struct rip_file_key which, int write, struct rip_mapping *out);
struct rip_file_word {
    size_t offset; /* in the file; a multiple of 8 */
    uint64_t value;
};
/* Reads the current values of words that lie in the same page of a file, in their order. Returns 0, -EBADMSG if the
 * file is too short, or another negative errno; then the values are 0. */
int rip_file_read(struct rip_handle *handle, struct rip_file_key which, struct rip_file_word *words, unsigned count);
/* Removes a file, with all that was added to it. The table lock must be held. */
void rip_file_remove(struct rip_handle *handle, struct rip_file_key which);
/* To be called before the first lane is made: removes the files of an earlier channel of the same name that has lost
 * its control file. The table lock must be held. Returns 0 or a negative errno. */
int rip_files_sweep(struct rip_handle *handle);
/* Removes the files that this member has created and not completed. The table lock must be held. */
void rip_files_remove_incomplete(struct rip_handle *handle, uint32_t member);

#endif
