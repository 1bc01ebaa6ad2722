/* Semaphores, and locks, which are semaphores of one unit. The rest is in ringipc.h. */
#ifndef RIP_SEMAPHORE_H
#define RIP_SEMAPHORE_H

#include "sync/sync.h"

/* A place in the queue for units: one thread's, while it waits. */
struct rip_ticket {
    uint32_t units;
    uint32_t index; /* of its waiter */
    uint32_t tries; /* in vain */
};

/* 1 where the last owner of a lock died, 0, or -EAGAIN: not now. */
int rip_units_try(struct rip_sync *s, uint32_t units);
/* Stands in the queue: 0 or -EXFULL. From here on rip_ticket_try is called, until it takes them, or rip_ticket_cancel. */
int rip_ticket_take(struct rip_sync *s, uint32_t units, struct rip_ticket *ticket);
int rip_ticket_try(struct rip_sync *s, struct rip_ticket *ticket); /* as rip_units_try */
void rip_ticket_cancel(struct rip_sync *s, const struct rip_ticket *ticket);
void rip_ticket_watch(struct rip_sync *s, const struct rip_ticket *ticket, struct rip_watch *watch);
/* A member leaves: what it held comes back, and it waits no more; the table lock must be held. died: its process was killed. */
void rip_units_reap(struct rip_sync *s, uint32_t member, int died);
uint64_t rip_units_word(uint32_t units, uint64_t before); /* a word that says: this many are there */

#endif
