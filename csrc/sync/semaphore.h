/* Semaphores, and locks, which are semaphores of one unit. The rest is in ringipc.h. */
#ifndef RIP_SEMAPHORE_H
#define RIP_SEMAPHORE_H

#include "sync/sync.h"

/* The position of a thread in the queue for units, while it waits. */
struct rip_ticket {
    uint32_t units;
    uint32_t index; /* of its entry in the waiters of the file */
    uint32_t tries; /* how often it has checked in vain */
};

/* Acquires units without waiting. Returns 0; 1 if the last owner of the lock died; -EAGAIN: there are not enough; or
 * -EOVERFLOW. */
int rip_units_try(struct rip_sync *s, uint32_t units);
/* Takes a ticket: joins the queue. Returns 0 or -EXFULL. Afterwards the caller calls rip_ticket_try until it returns
 * something else than -EAGAIN, or rip_ticket_cancel. */
int rip_ticket_take(struct rip_sync *s, uint32_t units, struct rip_ticket *ticket);
/* Acquires the units if there are enough. Returns as rip_units_try; unless that is -EAGAIN, the ticket is cancelled. */
int rip_ticket_try(struct rip_sync *s, struct rip_ticket *ticket);
/* Leaves the queue. */
void rip_ticket_cancel(struct rip_sync *s, const struct rip_ticket *ticket);
/* A member leaves: its units are released and its waiters removed. died: its process was killed. The table lock must be
 * held. */
void rip_units_reap(struct rip_sync *s, uint32_t member, int died);
/* Returns the first word of an object with so many units; before: the word that it had before it starts again, or 0. */
uint64_t rip_units_word(uint32_t units, uint64_t before);

#endif
