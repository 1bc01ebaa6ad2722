/* Reads the tables of a channel. The table lock must be held, except for the first three functions. */
#ifndef RIP_TABLES_H
#define RIP_TABLES_H

#include "channel/channel.h"

/* The id of a lane, which names its file. */
static inline uint64_t rip_lane_id(const struct rip_lane_entry *lane) {
    return atomic_load_explicit(&lane->id, memory_order_relaxed); /* relaxed: stored under the table lock */
}

/* The id of a group, which names its files. */
static inline uint32_t rip_group_id(const struct rip_control *control, uint32_t group) {
    /* relaxed: the bit in groups_active publishes it */
    return atomic_load_explicit(&control->groups[group].id, memory_order_relaxed);
}

/* Returns how many entries of the lane table exist. */
static inline uint32_t rip_lanes_used(const struct rip_control *control) {
    uint32_t used = atomic_load_explicit(&control->lanes_used, memory_order_relaxed); /* relaxed: under the lock */
    return used < RIP_MAX_LANES ? used : RIP_MAX_LANES;
}

/* Returns how many entries of the table of members may have a role. */
static inline uint32_t rip_members_used(const struct rip_control *control) {
    uint32_t used = atomic_load_explicit(&control->members_used, memory_order_relaxed); /* relaxed: under the lock */
    return used < RIP_MAX_MEMBERS ? used : RIP_MAX_MEMBERS;
}

/* Returns the state of a lane whose producer has left the channel. closed: the word in its header. */
static inline uint32_t rip_lane_end_state(uint32_t closed) {
    return closed == RIP_NOT_CLOSED ? RIP_LANE_DEAD : closed == RIP_CLOSED_AS_FAILED ? RIP_LANE_FAILED : RIP_LANE_ENDED;
}

/* Returns 1 if a lane in this state must be reported to each group: its producer died or failed. */
static inline int rip_lane_is_reported(uint32_t state) { return state == RIP_LANE_DEAD || state == RIP_LANE_FAILED; }

/* Returns the bits of a set that stand for groups; damaged memory may have others. A loop over the groups of a set:
 * for (uint64_t left = rip_groups_in(set); left; left &= left - 1). */
static inline uint64_t rip_groups_in(uint64_t set) { return set & ((UINT64_C(1) << RIP_MAX_GROUPS) - 1); }

/* Returns the first group of a set that is not empty. */
static inline uint32_t rip_first_group(uint64_t set) { return (uint32_t)__builtin_ctzll(set); }

/* Returns the number of producers that have come to the channel so far. */
static inline uint64_t rip_producers_ever(const struct rip_control *control) {
    return control->lanes_ever + control->joined - control->lanes_undone;
}

/* Returns 1 if there is a group at this index. */
static inline int rip_group_is_active(const struct rip_control *control, uint32_t group) {
    return atomic_load_explicit(&control->groups_active, memory_order_relaxed) >> group & 1;
}

/* Returns 1 if there is a member for which all peers must execute the fence. */
int rip_fences_all(const struct rip_control *control);
/* Returns 1 if the group has a member other than other_than. Dead members must have been reaped. */
int rip_has_members(const struct rip_channel *ch, uint32_t group, uint32_t other_than);
/* Returns why the channel must outlive its members, as a set of flags. RIP_AWAITED: it has had no group yet, or has a
 * declared group without a member yet. RIP_DURABLE: it has a durable group, or one that was declared and has lanes to
 * read. */
uint32_t rip_kept_for(const struct rip_control *control);
/* Returns 1 if messages, or at least the end of a stream, wait for a first or a declared group. */
int rip_has_awaited_messages(const struct rip_control *control);

/* What the end of a lane is to members with a pollfd: perhaps the end of the stream (RIP_POLLFD_ENDS), if no lane is
 * live; else nothing (0). Exact under the table lock. */
uint32_t rip_reasons_of_end(const struct rip_control *control);

#endif
