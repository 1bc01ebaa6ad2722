/* The table of groups: how one is made, found, declared and ended. The lock must be held. */
#ifndef RIP_GROUPS_H
#define RIP_GROUPS_H

#include "channel/channel.h"

/* Its place in the table, or RIP_MAX_GROUPS: there is none of this name, or no free place. */
uint32_t rip_group_find(const struct rip_control *control, const char *name);
uint32_t rip_group_find_free(const struct rip_control *control);
/* Makes a new entry of the table. A kill between any two steps leaves a free one, or a group that waits. */
int rip_group_begin(struct rip_channel *ch, uint32_t group, const char *name, uint32_t flags,
                    enum rip_group_flag start);
/* As if it had never been. */
void rip_group_undo(struct rip_control *control, uint32_t group);
/* A group goes: its cursors gate no more. */
void rip_group_leave(struct rip_channel *ch, uint32_t group);
/* Makes a group that waits for its first member, if there is none of this name. */
int rip_group_declare(struct rip_channel *ch, const char *name);
/* -ENOENT, or -EBUSY with *holder the pid of a member. */
int rip_group_remove(struct rip_channel *ch, const char *name, int32_t *holder);

#endif
