/* Who has which message of a lane, where several hands are after it (members that compete, one that takes over from a dead one, a
 * producer that drops): a word for each slot, changed by compare-and-swap.
 *
 *   63                      11 10         3   2            1   0
 *   | seq                     | member     | redelivered | state |
 *
 * A word of an older seq counts as free: nobody has touched this message yet. Claiming in order and out of it is the same
 * operation, and a dead member's claims are found by its number. The cursor moves over what is done; whoever ends a message
 * moves it, so all of this holds at any instruction at which a member is killed.
 */
#ifndef RIP_CLAIMS_H
#define RIP_CLAIMS_H

#include "channel.h"

enum rip_claim { RIP_FREE, RIP_CLAIMED, RIP_DONE, RIP_DROPPED };

#define RIP_CLAIM_STATE UINT64_C(3)
#define RIP_CLAIM_REDELIVERED UINT64_C(4)
#define RIP_CLAIM_MEMBER_SHIFT 3
#define RIP_CLAIM_SEQ_SHIFT 11

static_assert(RIP_MAX_MEMBERS <= 1u << (RIP_CLAIM_SEQ_SHIFT - RIP_CLAIM_MEMBER_SHIFT), "a member's number fits");

/* Opens the file of a group and a lane, and makes it if it is not there; the lock must be held. */
int rip_claims_open(struct rip_channel *ch, uint64_t group, uint64_t lane, uint64_t slots, struct rip_segment *out);
void rip_claims_remove(struct rip_channel *ch, uint64_t group, uint64_t lane);

/* Claims message seq: 1, or 0 if somebody has it or it is gone. *redelivered: another member had it and died. */
int rip_claim(struct rip_claims *claims, uint64_t slots, uint64_t seq, uint32_t member, int *redelivered);
/* Is message seq still there for somebody to claim? */
int rip_claim_is_free(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Ends a claim of ours, and moves the cursor over what is done. drops: the producer looks at the words, and not at the cursor. */
void rip_claim_end(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor, uint64_t seq, uint32_t drops);
/* Frees a claim of ours again, for anybody. */
void rip_claim_free(struct rip_claims *claims, uint64_t slots, uint64_t seq);

/* For the producer of a lane that drops: message seq if nobody has it, counted. What it was before. */
enum rip_claim rip_claim_drop(struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Has a member let message seq go? */
int rip_claim_is_got(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* How many messages the group has lost that no member has been told of. */
uint64_t rip_claims_tell(struct rip_claims *claims);
/* Has the group done with message seq, or lost it? */
int rip_claim_is_done(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Moves the cursor, which was at held, to seq at least, then over what is done. */
void rip_claims_pass(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor, uint64_t held, uint64_t seq);

/* Frees what a member of this entry of the group table holds, in all lanes, and wakes the others: 0, or -EMFILE and the like where
 * it could not look. The lock must be held. */
int rip_claims_return(struct rip_channel *ch, uint32_t group, uint32_t member);

#endif
