/* Room for the next message of a lane: reserving it (inline), and making it. */
#ifndef RIP_TX_ROOM_H
#define RIP_TX_ROOM_H

#include "ring/tx.h"

/* Reads the cursors and finds allocated room in the arena for length bytes. Returns 0, -EAGAIN, -EMSGSIZE, -EBADMSG,
 * -ENOSPC and so on; -ENOBUFS if there is no room in a lane that drops; -ENOLCK if the table lock is needed and not
 * free now. Does not wait. */
int rip_make_room(struct rip_producer *p, uint64_t length);
/* Advances p->free_below to the smallest cursor, or to the first message before it that a group keeps: then this
 * returns 1, and only rip_drop_old_make_room can pass the message. Else 0 or -EBADMSG. */
int rip_reclaim(struct rip_producer *p);
/* Counts a message that is refused because there is no room. */
void rip_tx_refuse(struct rip_producer *p);

/* Is there room behind the last message, without reading the cursors? */
static inline int rip_tx_has_room(const struct rip_producer *p, uint64_t length) {
    return RIP_LIKELY(p->tail < p->recheck_at && length < RIP_LARGE && length <= p->arena.gap_end - p->arena.at) != 0;
}

static inline int rip_tx_reserve(struct rip_producer *p, uint64_t length, unsigned char **payload) {
    if (!rip_tx_has_room(p, length)) {
        int rc = rip_make_room(p, length);
        if (RIP_UNLIKELY(rc != 0)) {
            return rc;
        }
    }
    *payload = p->payloads + p->arena.at;
    return 0;
}

#endif
