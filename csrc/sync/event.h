/* Events. The rest is in ringipc.h. */
#ifndef RIP_EVENT_H
#define RIP_EVENT_H

#include "sync/sync.h"

int rip_event_is_over(const struct rip_sync *s, uint64_t seen); /* set now, or set since the word was seen */

#endif
