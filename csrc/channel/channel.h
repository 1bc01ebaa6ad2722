/* A handle in a channel: the mapped tables of the channel, and what the handle needs to wait. */
#ifndef RIP_CHANNEL_H
#define RIP_CHANNEL_H

#include "base/errors.h"
#include "base/wait.h"
#include "channel/layout.h"
#include "store/handle.h"

#define RIP_NO_LANE UINT32_MAX

struct rip_channel;
struct rip_claims;

/* Returns the claims of the group on the lane at this index of the table if this handle has mapped them, else NULL. A
 * mapped file can be used even after its name has been removed. Stores the number of its words in *slots. */
typedef struct rip_claims *rip_claims_of(struct rip_channel *ch, uint32_t group, uint32_t lane, uint64_t *slots);

struct rip_channel {
    struct rip_handle handle;
    struct rip_control *control;
    uint32_t lane;        /* a producer's lane id, cut to 32 bits: the value of its signals */
    uint64_t time_offset; /* rip_clock_offset */
    struct rip_spin spin;
    int fenced;                /* as in struct rip_watch: peers execute the fence, because this member sleeps often */
    struct rip_pollfd *pollfd; /* NULL: the handle has no pollfd */
    rip_claims_of *claims_of;  /* of a consumer, else NULL */
};

#endif
