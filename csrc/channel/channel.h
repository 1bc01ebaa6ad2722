/* A handle's hold on a channel: its place in it, the tables, its own member entry. */
#ifndef RIP_CHANNEL_H
#define RIP_CHANNEL_H

#include "base/wait.h"
#include "store/handle.h"

#include <errno.h>

#define RIP_NO_LANE UINT32_MAX

struct rip_channel;
struct rip_claims;

/* What a group keeps of the lane in this place of the table, if it is mapped here already: then the file needs no name
 * any more. *slots: its words. */
typedef struct rip_claims *rip_claims_of(struct rip_channel *ch, uint32_t group, uint32_t lane, uint64_t *slots);

struct rip_channel {
    struct rip_handle handle;
    struct rip_control *control;
    uint32_t lane;        /* a producer's, as a signal's value says it */
    uint64_t time_offset; /* rip_clock_offset */
    struct rip_spin spin;
    int fenced;                /* as in a struct rip_watch: our peers fence for us, because we sleep so often */
    struct rip_pollfd *pollfd; /* if there is a descriptor to wait on */
    rip_claims_of *claims_of;  /* a consumer's, else NULL */
};

/* An error that says nothing about what was there: this process cannot look at it now, or it has been deleted. */
static inline int rip_is_resource_error(int rc) {
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -ESTALE;
}

/* Opens the control file, and makes it if make. "fd:<number>": takes what that descriptor is of. On success the table lock is held. */
int rip_channel_open(struct rip_channel *ch, const char *name, int make, struct rip_access access);
/* Takes a member entry; the lock must be held. index: of its group, or RIP_NO_LANE while a producer has no lane yet. */
int rip_member_join(struct rip_channel *ch, enum rip_role role, uint32_t index);
/* Is there a member whose peers all have to fence? The lock must be held. */
int rip_fences_all(const struct rip_control *control);
/* A member is none any more; the lock must be held. */
void rip_member_end(struct rip_channel *ch, uint32_t member);
/* Does a group that has seen nothing of the stream yet, the first one or one that was declared, have messages to come to, or
 * an end? The lock must be held. */
int rip_has_awaited_messages(const struct rip_control *control);
/* Gives it back if we have one, ends the channel if nobody is left in it, lets the lock and all descriptors go. */
void rip_channel_close(struct rip_channel *ch);
/* Nobody takes part in it: it is removed, or, without a name, all that is in it; the lock must be held. */
void rip_channel_clear(struct rip_channel *ch);
/* Names a lane's file. */
static inline uint64_t rip_lane_id(const struct rip_lane_entry *lane) {
    return atomic_load_explicit(&lane->id, memory_order_relaxed); /* who finds it in the table under the lock sees it */
}

/* Names a group's files. */
static inline uint32_t rip_group_id(const struct rip_control *control, uint32_t group) {
    return atomic_load_explicit(&control->groups[group].id, memory_order_relaxed); /* who sees its bit sees it */
}

/* Lets the descriptors go and says nothing: others find us dead. */
void rip_channel_abandon(struct rip_channel *ch);
void rip_channel_unmap(struct rip_channel *ch);

/* Tells every consumer that the lane table has changed; the lock must be held. */
void rip_lanes_changed(struct rip_channel *ch);
/* A word of the header of a lane that need not be mapped here, 0 if there is no such file; -EMFILE and the like: there may be one. */
int rip_read_word(struct rip_channel *ch, uint64_t id, size_t offset, uint64_t *word);
/* Removes ended lanes that every group has read to their end; the lock must be held. */
void rip_lanes_retire(struct rip_channel *ch);
/* A group goes: its cursors gate no more; the lock must be held. */
void rip_group_leave(struct rip_channel *ch, uint32_t group);
/* What a member of a group held goes back to the others; the last one's group goes with it, unless it is durable. 0, or -EMFILE and
 * the like: then it is to be called again. The lock must be held. */
int rip_member_leave(struct rip_channel *ch, uint32_t member);
/* Has a group members, other than this one? The lock must be held, and the dead be reaped. */
int rip_has_members(struct rip_channel *ch, uint32_t group, uint32_t other_than);

/* ---- group.c; the lock must be held ---- */

int rip_is_group_name(const char *name);
/* Makes a group that waits for its first member, if there is none of this name. */
int rip_group_declare(struct rip_channel *ch, const char *name);
/* -ENOENT, or -EBUSY with *holder the pid of a member. */
int rip_group_remove(struct rip_channel *ch, const char *name, int32_t *holder);

/* Wakes the groups that sleep. messages: so many have been published, each for one member where members compete; 0: all are to
 * look. Out of line: a publish calls it only when somebody sleeps. */
void rip_wake_groups(struct rip_channel *ch, uint64_t messages);
void rip_wake_group(struct rip_channel *ch, uint32_t group); /* one of them, whether it sleeps or not */
void rip_wake_lane(struct rip_channel *ch, struct rip_lane_entry *lane);

/* ---- pollfd.c ---- */

/* A member is none any more: what it has in the directory goes. */
void rip_pollfd_remove(struct rip_channel *ch, uint32_t member);
/* Makes a member's descriptor readable, and sends it a signal, if it wants that. */
void rip_pollfd_wake(struct rip_channel *ch, uint32_t member);
void rip_pollfd_close(struct rip_channel *ch);

/* ---- reap.c ---- */

/* Finds members whose process has died, and does for them what they would have done at close; the lock must be held. */
void rip_reap(struct rip_channel *ch);
/* The same, at most every half second, and not at all while another member has the lock. For whoever waits for long. */
void rip_reap_if_due(struct rip_channel *ch);

#endif
