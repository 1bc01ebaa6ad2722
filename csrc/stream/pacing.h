/* Whether puts wait for a link, so that its queue stays short.
 *
 * A link lags when more than RIP_AHEAD bytes of payload are taken for it and not sent. A put then waits for it, for up
 * to RIP_PACE_NS, and sends as it can. So the data in use stays within a few messages' worth of cache; a long queue
 * would be written to memory and read back. At most RIP_STREAM_BATCH messages are taken, so a queue of messages of less
 * than 2 KiB does not count. No put waits for a link that was slow, for some time. */
#ifndef RIP_PACING_H
#define RIP_PACING_H

#include "stream/sender.h"

#define RIP_AHEAD (UINT64_C(1) << 20)
#define RIP_PACE_NS UINT64_C(1000000)

struct rip_pacing {   /* of one link; all 0 at first */
    uint64_t waited;  /* how long puts have waited for the link since it was last judged, nanoseconds */
    uint64_t written; /* rip_sender_written when the first of them began to wait */
    uint64_t unpaced; /* no put waits for the link before this time */
};

static inline int rip_pacing_is_long(const struct rip_sender *s) { return rip_sender_unsent(s) > RIP_AHEAD; }
/* Should a put wait for the link now? */
static inline int rip_pacing_lags(const struct rip_pacing *pacing, const struct rip_sender *s, uint64_t now) {
    return now >= pacing->unpaced && rip_pacing_is_long(s);
}
/* A put begins to wait for the link. */
void rip_pacing_begin(struct rip_pacing *pacing, const struct rip_sender *s);
/* It has waited for so many nanoseconds more. When that is enough, judges whether the link is slow. */
void rip_pacing_add(struct rip_pacing *pacing, const struct rip_sender *s, uint64_t waited, uint64_t now);

#endif
