/* The table of groups: finding, creating, declaring and removing groups. The table lock must be held in all
 * functions. */
#ifndef RIP_GROUPS_H
#define RIP_GROUPS_H

#include "channel/channel.h"

/* Return the index of the group of this name, or of a free entry; RIP_MAX_GROUPS: there is none. */
uint32_t rip_group_find(const struct rip_control *control, const char *name);
uint32_t rip_group_find_free(const struct rip_control *control);
/* Creates a group in the free entry `group`. start: RIP_OLDEST or RIP_NEWEST. If the process is killed between any two
 * steps, the entry is free, or the group waits for a member. Returns 0 or a negative errno; then the entry is free. */
int rip_group_begin(struct rip_channel *ch, uint32_t group, const char *name, uint32_t flags,
                    enum rip_group_flag start);
/* Starts the count of producers that have come for a group, which has no member. The count includes producers that are
 * open, that have unread messages, or whose death will be reported. For the first group of a stream it includes all, so
 * that the end of a stream without a message waits for it too. */
void rip_group_count(struct rip_control *control, uint32_t group);
/* Sets or clears the bit of a group in groups_lossy. flags: its flags. */
void rip_group_set_lossy(struct rip_control *control, uint32_t group, uint32_t flags);
/* Takes rip_group_begin back. */
void rip_group_undo(struct rip_control *control, uint32_t group);
/* Removes a group. Its cursors hold no producer back any more. */
void rip_group_leave(struct rip_channel *ch, uint32_t group);
/* Creates a group that waits for its first member. A shared group of this name that exists becomes a declared one; an
 * exclusive one stays as it is. Returns 0; -ENOSR: the table is full; or another negative errno. */
int rip_group_declare(struct rip_channel *ch, const char *name);
/* The only member of an exclusive group leaves that was declared after it had joined: makes the group durable. What the
 * member has acknowledged is released. */
void rip_group_stay(struct rip_channel *ch, uint32_t group);
/* Removes the group of this name. Returns 0, -ENOENT, or -EBUSY with the pid of a member in *holder. */
int rip_group_remove(struct rip_channel *ch, const char *name, int32_t *holder);

#endif
