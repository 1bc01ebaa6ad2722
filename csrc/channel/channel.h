/* A handle's hold on a channel: the channel's tables, and what the handle needs to wait in it. */
#ifndef RIP_CHANNEL_H
#define RIP_CHANNEL_H

#include "base/wait.h"
#include "channel/layout.h"
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

#endif
