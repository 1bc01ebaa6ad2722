/* The files of claims: one for each group that keeps claims, and each lane. */
#ifndef RIP_CLAIM_FILES_H
#define RIP_CLAIM_FILES_H

#include "channel/channel.h"
#include "ring/claims.h"

#ifndef RIP_CLAIMS_AT_ONCE
#define RIP_CLAIMS_AT_ONCE UINT64_C(1048576) /* bytes of a file that gets its memory under the lock, at most */
#endif

/* Opens the file of a group and a lane, by their places in the tables, and makes it if it is not there; the lock must
 * be held. While a large one gets its memory the lock is released, and others may change the tables: -ENOENT if the
 * group or the lane has left. ch->place.locked says whether the lock is ours again; if not, why is returned. */
int rip_claims_open(struct rip_channel *ch, uint32_t group, uint32_t lane, uint64_t slots, struct rip_mapping *out);

/* What the word of message seq says, where the file need not be mapped here; RIP_CLAIM_FREE where we cannot look now. *member: whose
 * it is. */
enum rip_claim rip_claim_read(struct rip_channel *ch, uint64_t group, uint64_t lane, uint64_t slots, uint64_t seq,
                              uint32_t *member);
/* As rip_claims_first_unacked, where the file need not be mapped here; held where we cannot look now. */
uint64_t rip_claims_read_unacked(struct rip_channel *ch, uint64_t group, uint64_t lane, uint64_t slots,
                                 uint64_t released, uint64_t tail);

/* Frees what a member of this entry of the group table has claimed, and ends what it kept, in all lanes; then wakes the others. 0,
 * or -EMFILE and the like where it could not look. The lock must be held. */
int rip_claims_requeue(struct rip_channel *ch, uint32_t group, uint32_t member);

#endif
