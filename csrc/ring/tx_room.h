/* Room for the next message of a lane: reserving it (inline), and making it. */
#ifndef RIP_TX_ROOM_H
#define RIP_TX_ROOM_H

#include "ring/lane_lock.h"

/* Reads the cursors and finds allocated room in the lane for length bytes. Returns 0, -EAGAIN, -EMSGSIZE, -EBADMSG,
 * -ENOSPC and so on; -ENOBUFS if there is no room in a lane that drops; -ENOLCK if the table lock is needed and not
 * free now. Of a shared lane it makes this handle the owner; -EINPROGRESS if another one is. It remains the owner, also
 * after an error, until rip_tx_publish or rip_tx_leave. Does not wait. */
int rip_make_room(struct rip_producer *p, uint64_t length);
/* Advances p->free_below to the smallest cursor, or to the first message before it that a group keeps: then this
 * returns 1, and only rip_drop_old_make_room can pass the message. Else 0 or -EBADMSG. */
int rip_reclaim(struct rip_producer *p);
/* Frees the memory of released messages that are longer than the capacity. Discards a reservation. Returns 0 or
 * -EBADMSG. */
int rip_tx_release_large(struct rip_producer *p);
/* Counts a message that is refused because there is no room. */
void rip_tx_refuse(struct rip_producer *p);

/* Is there room behind the last message, without reading the cursors? */
static inline int rip_tx_has_room(const struct rip_producer *p, uint64_t length) {
    return RIP_LIKELY(p->tail < p->recheck_at && length < RIP_LARGE && length <= p->arena.gap_end - p->arena.at) != 0;
}

/* For a lane that has no room according to rip_tx_has_room: makes this handle the owner if the lane is shared, free,
 * and has room. Returns 1, else 0. */
static inline int rip_tx_can_put(struct rip_producer *p, uint64_t length) {
    if (!p->shared || p->owner || rip_lane_enter(p, 0) != 0) {
        return 0;
    }
    int has_room = rip_tx_has_room(p, length);
    if (!has_room) {
        rip_tx_leave(p);
    }
    return has_room;
}

/* rip_tx_reserve if there may be no room behind the last message. */
int rip_tx_reserve_far(struct rip_producer *p, uint64_t length, unsigned char **payload);

static inline int rip_tx_reserve(struct rip_producer *p, uint64_t length, unsigned char **payload) {
    if (!rip_tx_has_room(p, length)) {
        return rip_tx_reserve_far(p, length, payload);
    }
    *payload = p->payloads + p->arena.at;
    return 0;
}

#endif
