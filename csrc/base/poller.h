/* Waiting for several file descriptors at once. The poller is itself a file descriptor that can be waited for. */
#ifndef RIP_POLLER_H
#define RIP_POLLER_H

#include "base/common.h"

enum rip_poll { RIP_POLL_IN = 1, RIP_POLL_OUT = 2 };

struct rip_poller {
    int fd; /* readable while one of the watched file descriptors is ready */
};

/* Returns 0 or a negative errno. */
int rip_poller_open(struct rip_poller *poller);
void rip_poller_close(struct rip_poller *poller);
/* Changes what fd is watched for from `was` to `events`, both a set of enum rip_poll; 0: it is not watched. id: what
 * rip_poller_wait returns for it. Returns 0 or a negative errno. */
int rip_poller_change(const struct rip_poller *poller, int fd, uint32_t was, uint32_t events, uint64_t id);
/* Waits for ms milliseconds at most, or without a limit if ms is -1. Stores the ids of at most `most` ready file
 * descriptors. Returns how many it stored, or a negative errno. */
int rip_poller_wait(const struct rip_poller *poller, uint64_t *ids, int most, int ms);

/* A file descriptor that ends a wait in another thread: it is readable from rip_kick to rip_kick_clear, however often
 * rip_kick is called in between. rip_kick_open returns it, or a negative errno. */
int rip_kick_open(void);
void rip_kick(int kick);
void rip_kick_clear(int kick);

#endif
