/* Waiting for several descriptors at once, with a descriptor for that, which others can wait for in turn. */
#ifndef RIP_POLLER_H
#define RIP_POLLER_H

#include "base/common.h"

enum rip_poll { RIP_POLL_IN = 1, RIP_POLL_OUT = 2 };

struct rip_poller {
    int fd;    /* readable while one of those that it watches is ready */
    int timer; /* -1: it has none */
};

/* timed: it has a timer. 0 or a negative errno. */
int rip_poller_open(struct rip_poller *poller, int timed);
void rip_poller_close(struct rip_poller *poller);
/* Watches fd for these of enum rip_poll, where it was watched for those; 0: not at all. id: what rip_poller_wait says of it. */
int rip_poller_change(const struct rip_poller *poller, int fd, uint32_t was, uint32_t events, uint64_t id);
/* Ready after so many nanoseconds, whatever becomes of the others; set anew it is not ready before. */
void rip_poller_set_timer(const struct rip_poller *poller, uint64_t ns);
/* Waits for so many milliseconds, -1 for ever: how many are ready, and the ids of most at most. */
int rip_poller_wait(const struct rip_poller *poller, uint64_t *ids, int most, int ms);

/* A descriptor to end waits by: it is readable from rip_kick to rip_kick_clear, however often it was kicked. */
int rip_kick_open(void);
void rip_kick(int kick);
void rip_kick_clear(int kick);

#endif
