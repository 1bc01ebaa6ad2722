/* The files of claims: one for each pair of a lane and a group that keeps claims. */
#ifndef RIP_CLAIM_FILES_H
#define RIP_CLAIM_FILES_H

#include "channel/channel.h"
#include "ring/claims.h"

#ifndef RIP_CLAIMS_AT_ONCE
/* a file of at most this many bytes is allocated while the table lock is held */
#define RIP_CLAIMS_AT_ONCE UINT64_C(1048576)
#endif

/* Opens the claims of a group and a lane, given by their indices in the tables, and creates the file if it does not
 * exist. The lock must be held. It is released while a large file is allocated, so others may change the tables
 * meanwhile: -ENOENT if the group or the lane has left. ch->handle.locked says whether the lock is held again; if not,
 * the error of locking is returned. */
int rip_claims_open(struct rip_channel *ch, uint32_t group, uint32_t lane, uint64_t slots, struct rip_mapping *out);

/* The state of message seq; the file need not be mapped here. RIP_CLAIM_FREE if it cannot be read now. *member: which
 * member the claim names. */
enum rip_claim rip_claim_read(struct rip_channel *ch, uint64_t group, uint64_t lane, uint64_t slots, uint64_t seq,
                              uint32_t *member);
/* rip_claims_first_unacked; the file need not be mapped here. Returns released if it cannot be read now. */
uint64_t rip_claims_read_unacked(struct rip_channel *ch, uint64_t group, uint64_t lane, uint64_t slots,
                                 uint64_t released, uint64_t tail);

/* In all lanes, requeues what a member of this group has taken and releases what it has acknowledged; then wakes the
 * other members. Returns 0, or -EMFILE and so on if a file could not be read. The lock must be held. */
int rip_claims_requeue(struct rip_channel *ch, uint32_t group, uint32_t member);

#endif
