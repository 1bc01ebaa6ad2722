/* Who has which message of a lane, where several hands are after it (members that compete, one that takes over from a dead one, a
 * producer that drops): a word for each slot, changed by compare-and-swap.
 *
 *   63                      12 11         4   3            2   0
 *   | seq                     | member     | redelivered | state |
 *
 * A word of an older seq counts as free: nobody has touched this message yet. Claiming in order and out of it is the same
 * operation, and a dead member's claims are found by its number.
 *
 * A message is KEPT when its member has done with it and still looks at it. It is not delivered again, and the end of the stream
 * does not wait for it, but its room is not free: the cursor moves over DONE and DROPPED alone. Whoever ends a message moves
 * the cursor, so all of this holds at any instruction at which a member is killed.
 */
#ifndef RIP_CLAIMS_H
#define RIP_CLAIMS_H

#include "channel/tables.h"

enum rip_claim { RIP_CLAIM_FREE, RIP_CLAIM_TAKEN, RIP_CLAIM_ACKED, RIP_CLAIM_RELEASED, RIP_CLAIM_DROPPED };

#define RIP_CLAIM_STATE UINT64_C(7)
#define RIP_CLAIM_REDELIVERED UINT64_C(8)
#define RIP_CLAIM_MEMBER_SHIFT 4
#define RIP_CLAIM_SEQ_SHIFT 12

static_assert(RIP_MAX_MEMBERS <= 1u << (RIP_CLAIM_SEQ_SHIFT - RIP_CLAIM_MEMBER_SHIFT), "a member's number fits");

/* Claims message seq: 1, or 0 if somebody has it or it is gone. *redelivered: another member had it and died. */
int rip_claim(struct rip_claims *claims, uint64_t slots, uint64_t seq, uint32_t member, int *redelivered);
/* Is message seq still there for somebody to claim? */
int rip_claim_is_free(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* A claim of ours is done with, and its payload still looked at: it is KEPT until rip_claim_release. */
void rip_claim_ack(struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Does this member hold message seq? */
int rip_claim_is_held(const struct rip_claims *claims, uint64_t slots, uint64_t seq, uint32_t member);
/* Ends a claim of ours, and moves the cursor, that of this lane's place in the table, over what is over. drops: the
 * producer looks at the words, not at the cursor. */
void rip_claim_release(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                       const struct rip_lane_entry *lane, uint64_t seq, uint32_t drops);
/* Frees a claim of ours again, for anybody. */
void rip_claim_requeue(struct rip_claims *claims, uint64_t slots, uint64_t seq);

/* For the producer of a lane that drops: message seq if nobody has it, counted. What it was before. */
enum rip_claim rip_claim_drop(struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Has a member let message seq go? */
int rip_claim_is_acked(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* How many messages the group has lost that no member has been told of. */
uint64_t rip_claims_take_dropped(struct rip_claims *claims);
/* Is the room of message seq free, because the group has done with it or lost it, and nobody looks at it? */
int rip_claim_is_released(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* The first message from held on, before tail, that the group has not done with, or tail. */
uint64_t rip_claims_first_unacked(const struct rip_claims *claims, uint64_t slots, uint64_t released, uint64_t tail);
/* Moves the cursor, which was at held, to seq at least, then over what is over. */
void rip_claims_pass(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                     const struct rip_lane_entry *lane, uint64_t released, uint64_t seq);

/* What a word says of message seq; *member: whose it is. */
enum rip_claim rip_claim_state(uint64_t word, uint64_t seq, uint32_t *member);
/* Frees what a member that is dead, or closes, has claimed, and ends what it kept. */
void rip_claims_return_all(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                           const struct rip_lane_entry *lane, uint32_t member);

#endif
