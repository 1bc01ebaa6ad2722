/* Messages that are longer than the capacity of their lane, at the producer.
 *
 * They lie in regions behind the arena, which are parts of the lane's file, or extents of their own in an anonymous
 * channel. A region is made when a message fits into none of those that are there. It is several times as long as the
 * message, and at least twice as long as all regions before, so there are few. Only the parts in which messages lie are
 * allocated. When such a message is released, its memory is freed, or used for the next one. The arena keeps account of
 * the positions of these messages as of all others. */
#ifndef RIP_LARGE_H
#define RIP_LARGE_H

#include "ring/tx.h"

/* Of these messages, so many may wait or be in work at a time: one, and the next one while it is in work. */
#define RIP_LARGE_WAITING 2u

/* Prepares for rip_large_find_room. done: large messages before this seq do not count as waiting. Returns 0, or
 * -EMSGSIZE if the message is longer than the producer may send, or -ENOMEM. */
int rip_large_begin(struct rip_producer *p, uint64_t length, uint64_t done);
/* Finds and allocates room for a message that is longer than the capacity. Returns 0; -EAGAIN: others wait, so this one
 * has to wait; -ENOLCK: the table lock is needed and not free now; -ENOSPC and so on: there is no memory for it. */
int rip_large_find_room(struct rip_producer *p, uint64_t length);
/* Where the message lies for which rip_large_find_room has found room. */
unsigned char *rip_large_payload(const struct rip_producer *p);
/* To be called when messages have been released: frees the memory of large ones. */
void rip_large_release(struct rip_producer *p);
/* Do these bytes lie in memory that is allocated for large messages? */
int rip_large_has(const struct rip_producer *p, uint64_t offset, uint64_t length);
/* How many large messages have memory, and how many bytes. */
unsigned rip_large_count(const struct rip_producer *p);
uint64_t rip_large_bytes(const struct rip_producer *p);
void rip_large_free(struct rip_producer *p);

#endif
