/* Claims: which member has which message of a lane. Needed where several processes compete for a message: members of a
 * shared group, the successor of a dead member, a producer that drops its oldest messages. There is one word for each
 * slot, changed by compare-and-swap.
 *
 *   63                17 16         9 8          3 2   0
 *   | lap               | member     | deliveries | state |
 *
 * lap: seq / slots; slot and lap together are the seq. A word with an older lap counts as FREE: no member has taken
 * this message. Taking in order and selecting use the same operation. The claims of a dead member are found by its
 * number.
 *
 * deliveries: how often members have taken the message, this time included. The compare-and-swap that takes a message
 * counts it, so wherever a member is killed, what it may have given to its program is counted. A message that is
 * requeued before work on it has started is not counted.
 *
 * ACKED: the member has acknowledged the message and still uses its memory. The message is not redelivered, and the end
 * of the stream does not wait for it, but its memory is not free: the cursor passes RELEASED and DROPPED words only.
 * The process that stores one of these two states then moves the cursor. So all of this is true wherever a member is
 * killed.
 *
 * A producer passes a group if its lane or the group is drop-old. It drops messages that are FREE. A message that a
 * member has is moved: its number goes into the table of kept messages, then its word becomes RELEASED by
 * compare-and-swap. So its slot is free, and its memory is not. Whoever changes the word first decides: a member that
 * finds its word changed clears the entry in the table instead. A kept message is not redelivered.
 *
 * In a group that a producer waits for, it moves only ACKED messages in this way, when the lane is full. The next
 * member that polls or releases moves the cursor. */
#ifndef RIP_CLAIMS_H
#define RIP_CLAIMS_H

#include "channel/tables.h"

enum rip_claim { RIP_CLAIM_FREE, RIP_CLAIM_TAKEN, RIP_CLAIM_ACKED, RIP_CLAIM_RELEASED, RIP_CLAIM_DROPPED };

#define RIP_CLAIM_STATE UINT64_C(7)
#define RIP_CLAIM_DELIVERIES_SHIFT 3
#define RIP_CLAIM_DELIVERIES ((uint64_t)RIP_MAX_REDELIVERED << RIP_CLAIM_DELIVERIES_SHIFT)
#define RIP_CLAIM_PASSED RIP_CLAIM_DELIVERIES /* in a RELEASED word: the producer has moved the message */
#define RIP_CLAIM_MEMBER_SHIFT 9
#define RIP_CLAIM_LAP_SHIFT 17

static_assert(RIP_MAX_CONSUMERS <= 1u << (RIP_CLAIM_LAP_SHIFT - RIP_CLAIM_MEMBER_SHIFT), "a member's number fits");
static_assert(RIP_MAX_REDELIVERED < 1u << (RIP_CLAIM_MEMBER_SHIFT - RIP_CLAIM_DELIVERIES_SHIFT), "the count fits");

/* Takes message seq: 1, or 0 if another has it or it is gone. *before: how often it was delivered before; at most
 * RIP_MAX_REDELIVERED are counted. */
int rip_claim(struct rip_claims *claims, uint64_t slots, uint64_t seq, uint32_t member, uint8_t *before);
/* Can message seq still be taken? */
int rip_claim_is_free(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Acknowledges a message that this member has taken: ACKED until rip_claim_release. */
void rip_claim_ack(struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Has this member taken message seq and not released it? */
int rip_claim_is_taken_by(const struct rip_claims *claims, uint64_t slots, uint64_t seq, uint32_t member);
/* Releases a claim of this member and moves the cursor of the lane's table entry over all RELEASED and DROPPED words.
 * drops: the producer passes the group, so it may change the word of any claim, and not only that of an acknowledged
 * one. */
void rip_claim_release(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                       const struct rip_lane_entry *lane, uint64_t seq, uint32_t drops);
/* Requeues a claim of this member: any member can take the message. started: work on it had started; else this delivery
 * does not count. Returns 1; 0: the producer has passed the message, so it is lost instead, and counted. */
int rip_claim_requeue(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor, uint64_t seq, int started);

/* For the producer: gives message seq up if its state is at least this one: FREE in a group that is passed, ACKED in
 * one that is waited for. The message is dropped and counted, or moved to entry *kept of the table of kept messages.
 * Returns the state before; -EAGAIN if that is less, or if a member has it and there is no free entry, or kept is
 * NULL. */
int rip_claim_give_up(struct rip_claims *claims, uint64_t slots, uint64_t seq, enum rip_claim least, uint32_t *kept);
/* For the owner of a shared lane: is message seq, which an owner has given up or has been about to, in the table of kept
 * messages? If an owner was killed between writing the entry and changing the word, the entry is removed, and the
 * message is not kept. To be called before the slot of the message is used again. */
int rip_claim_is_kept(struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Is message seq acknowledged, released or dropped? */
int rip_claim_is_acked(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Has a member released message seq? (DROPPED does not count.) */
int rip_claim_is_released(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* Returns how many messages the group has lost that no member has reported yet, and marks them as reported. */
uint64_t rip_claims_take_dropped(struct rip_claims *claims);
/* Is the memory of message seq free: is it RELEASED or DROPPED, so that the cursor may pass? */
int rip_claim_is_passable(const struct rip_claims *claims, uint64_t slots, uint64_t seq);
/* The first message in [released, tail) that the group has neither acknowledged, released nor lost; else tail. */
uint64_t rip_claims_first_unacked(const struct rip_claims *claims, uint64_t slots, uint64_t released, uint64_t tail);
/* Moves the cursor, which was at released, to seq at least, and then over all words that it may pass. */
void rip_claims_pass(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                     const struct rip_lane_entry *lane, uint64_t released, uint64_t seq);

/* The state of message seq according to this word; *member: which member the word names. */
enum rip_claim rip_claim_state(uint64_t word, uint64_t slots, uint64_t seq, uint32_t *member);
/* For a member that is dead or closes: requeues what it has taken, and releases what it has acknowledged and what the
 * producer has passed. */
void rip_claims_requeue_member(struct rip_claims *claims, uint64_t slots, struct rip_cursor *cursor,
                               const struct rip_lane_entry *lane, uint32_t member);

#endif
