#include "stream/pacing.h"

/* A link is slow if it sends less than RIP_AHEAD while puts wait for it for JUDGE_NS in all: for more than one put,
 * because the thread of one may have been kept from running. */
#define JUDGE_NS (2 * RIP_PACE_NS)
#define UNPACED_NS UINT64_C(20000000)

void rip_pacing_begin(struct rip_pacing *pacing, const struct rip_sender *s) {
    pacing->written = pacing->waited ? pacing->written : rip_sender_written(s);
}

void rip_pacing_add(struct rip_pacing *pacing, const struct rip_sender *s, uint64_t waited, uint64_t now) {
    pacing->waited += waited;
    if (pacing->waited >= JUDGE_NS) {
        uint64_t written = rip_sender_written(s);
        pacing->unpaced = written - pacing->written < RIP_AHEAD ? now + UNPACED_NS : 0;
        pacing->waited = 0;
        pacing->written = written;
    }
}
