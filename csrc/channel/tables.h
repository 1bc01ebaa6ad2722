/* What the tables of a channel say. The lock must be held, unless it is said otherwise. */
#ifndef RIP_TABLES_H
#define RIP_TABLES_H

#include "channel/channel.h"

/* The id of a lane, which names its file. */
static inline uint64_t rip_lane_id(const struct rip_lane_entry *lane) {
    return atomic_load_explicit(&lane->id, memory_order_relaxed); /* who finds it in the table under the lock sees it */
}

/* The id of a group, which names its files. */
static inline uint32_t rip_group_id(const struct rip_control *control, uint32_t group) {
    return atomic_load_explicit(&control->groups[group].id, memory_order_relaxed); /* who sees its bit sees it */
}

static inline int rip_group_is_active(const struct rip_control *control, uint32_t group) {
    return atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> group & 1;
}

/* Is there a member whose peers all have to fence? */
int rip_fences_all(const struct rip_control *control);
/* Has a group members, other than this one? The dead must have been reaped. */
int rip_has_members(const struct rip_channel *ch, uint32_t group, uint32_t other_than);
/* Why the channel is to outlive its members: RIP_AWAITED, for the first group, or one that was declared and has had no
 * member yet; RIP_DURABLE. */
uint32_t rip_kept_for(const struct rip_control *control);
/* Does a group that has seen nothing of the stream yet, the first one or one that was declared, have messages to come to,
 * or an end? */
int rip_has_awaited_messages(const struct rip_control *control);

#endif
