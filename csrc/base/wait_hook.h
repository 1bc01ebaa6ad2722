/* Calls the hooks of rip_on_wait: what a program does before and after each slice of a wait. */
#ifndef RIP_WAIT_HOOK_H
#define RIP_WAIT_HOOK_H

#include "base/common.h"

/* Calls the hook before a slice. Waits for the table lock do not call it. */
void rip_wait_begin(struct rip_waiting *waiting);
/* Calls the hook after a slice. rc: what the slice returned; -EINTR: a signal has come. Returns -EINTR if the hook ends
 * the wait; else rc, but 0 for -EINTR if there is a hook, because then the hook decides about signals. */
int rip_wait_end(struct rip_waiting *waiting, int rc);
/* Returns 1 if there is a hook after a slice: it decides which signals end a wait. */
int rip_has_wait_hook(void);

#endif
