/* Room for the next message of a lane: reserving it, inline, and making it. */
#ifndef RIP_TX_ROOM_H
#define RIP_TX_ROOM_H

#include "ring/tx.h"

/* Looks at the cursors, and finds a place in the arena that is allocated: 0, -EAGAIN, -EMSGSIZE, -EBADMSG, -ENOSPC and
 * the like, -ENOBUFS where the lane drops what finds no place, or -ENOLCK where the table lock is needed, and rip_lock
 * has given up. */
int rip_make_room(struct rip_producer *p, uint64_t length);
/* Moves p->free_below up to the smallest cursor: 0 or -EBADMSG. */
int rip_reclaim(struct rip_producer *p);
/* Counts a message that found no place and is not to wait. */
void rip_tx_refuse(struct rip_producer *p);

static inline int rip_tx_reserve(struct rip_producer *p, uint64_t length, unsigned char **payload) {
    if (RIP_UNLIKELY(p->tail >= p->recheck_at || length >= RIP_LARGE || length > p->arena.gap_end - p->arena.at)) {
        int rc = rip_make_room(p, length);
        if (RIP_UNLIKELY(rc != 0)) {
            return rc;
        }
    }
    *payload = p->payloads + p->arena.at;
    return 0;
}

#endif
