/* The files of a place, other than control: in its directory, each under a name, or, where the place has none, extents of its one file.
 * Nobody above knows the difference. */
#ifndef RIP_FILES_H
#define RIP_FILES_H

#include "store/handle.h"

/* Which one it is: its identity says so, and its name. */
struct rip_file_key {
    enum rip_file file;
    uint64_t of[2];
};

static inline struct rip_file_key rip_lane_file(uint64_t id) { return (struct rip_file_key){RIP_FILE_LANE, {id, 0}}; }

static inline struct rip_file_key rip_claims_file(uint64_t group, uint64_t lane) {
    return (struct rip_file_key){RIP_FILE_CLAIMS, {group, lane}};
}

/* A file is made in three steps. begin (the lock must be held): it has its size; -ENOSPC where it is clear that there
 * is no memory for as many bytes as are needed first. fill: its bytes up to end are allocated, zero, and it is mapped
 * for writing; nothing is to be written beyond (that could end in SIGBUS), and later calls allocate more. name (the
 * lock must be held): others find it, or -EEXIST: there is one of this name. *out is to be closed, whatever happens;
 * what has no name goes with our member, or with rip_files_remove_all. */
int rip_file_create(struct rip_handle *handle, uint64_t size, uint64_t first, struct rip_mapping *out);
int rip_file_allocate(struct rip_mapping *mapping, uint64_t end);
int rip_file_name(struct rip_handle *handle, struct rip_file_key which, struct rip_mapping *mapping);

/* Maps it: 0, or -ENOENT. write: 1 for writing too. */
int rip_file_open(const struct rip_handle *handle, struct rip_file_key which, int write, struct rip_mapping *out);
/* Reads the word at offset, a multiple of its size, as it is just now; -EBADMSG if the file is too short. */
int rip_file_read(const struct rip_handle *handle, struct rip_file_key which, size_t offset, uint64_t *word);
void rip_file_remove(struct rip_handle *handle, struct rip_file_key which); /* the lock must be held */
/* Before the first lane: removes what a channel of the same name that has lost its control file has left. The lock must
 * be held. */
int rip_files_sweep(struct rip_handle *handle);
void rip_files_remove_all(struct rip_handle *handle,
                          uint32_t member); /* what a member has begun; the lock must be held */

#endif
