/* A shared lane: one that any number of producers write, one at a time.
 *
 * The **owner** has the lock word in the header of the lane. It writes the lane as the only producer of another lane
 * does: what it has not published is not visible, and one store of the tail publishes. What a producer knows of its
 * lane (tx.h) is in private memory, and each has its own. So an owner that finds that another one came before it
 * (`last`) catches up first: it reads the descriptors that were published since, as if it had put the messages itself.
 * An owner that is killed at any instruction leaves a lane whose published messages are all that there is; the next one
 * stores in their slots what it may have left out, and wakes the groups. Only messages in use that were given up (pins)
 * have no descriptor any more. Where they lie is in the header too, before they are given up (`pins`).
 *
 * An owner that waits for room stays the owner, and the others wait for the lock: so messages keep their order, and one
 * release of a message wakes one producer. */
#ifndef RIP_LANE_LOCK_H
#define RIP_LANE_LOCK_H

#include "ring/tx.h"

/* Makes this handle the owner and its state current. look: also if the owner is dead. Returns 0, -EINPROGRESS: another
 * handle is the owner; or -EBADMSG. */
int rip_lane_enter(struct rip_producer *p, int look);
/* The same, and looks if the owner is dead. If another handle is the owner, its release of the lock makes the pollfds
 * of this lane readable. */
int rip_lane_enter_or_announce(struct rip_producer *p);
/* As rip_lane_enter, but waits for the lock. deadline 0: for some milliseconds, or less if the handle has a pollfd,
 * because an owner normally keeps the lock for moments only; and not at all if the owner waits for room. -ETIMEDOUT, or
 * the error that ended the wait. */
int rip_lane_acquire(struct rip_producer *p, uint64_t deadline);
/* Says whether the owner, which is this handle, waits for room. */
void rip_lane_set_waiting(struct rip_producer *p, uint32_t waiting);

/* Is another handle the owner, and does it not wait for room? For display only. */
static inline int rip_lane_is_occupied(const struct rip_producer *p) {
    return p->shared && !p->owner && rip_word_is_held(&p->lane->lock) &&
           !atomic_load_explicit(&p->lane->waiting, memory_order_relaxed);
}

/* Is another handle the owner, and does it wait for room? Then the lane is full. */
static inline int rip_lane_is_awaited(const struct rip_producer *p) {
    return p->shared && !p->owner &&
           /* relaxed: a hint */
           atomic_load_explicit(&p->lane->waiting, memory_order_relaxed) && rip_word_is_held(&p->lane->lock);
}

#endif
