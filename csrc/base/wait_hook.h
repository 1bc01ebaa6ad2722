/* What a program does while its threads wait: the hooks of rip_on_wait. */
#ifndef RIP_WAIT_HOOK_H
#define RIP_WAIT_HOOK_H

#include "base/common.h"

/* The hooks of rip_on_wait, for a piece of a wait that is not rip_watch_wait's. The end takes what the piece has returned (-EINTR: a signal
 * has come), and returns that, or the negative errno that ends the wait. Of a table lock only the end is called. */
void rip_wait_begin(struct rip_waiting *waiting);
int rip_has_wait_hook(void); /* it decides which signals end a wait */
int rip_wait_end(struct rip_waiting *waiting, int rc);

#endif
