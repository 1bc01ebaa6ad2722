/* What processes share to wait for each other: the control file of a semaphore, lock, event or barrier. A change here changes RIP_ABI. */
#ifndef RIP_SYNC_FILE_H
#define RIP_SYNC_FILE_H

#include "store/handle.h"

#define RIP_MAX_SYNC_MEMBERS ((uint32_t)RIP_MAX_HANDLES)
#define RIP_MAX_WAITERS 256u

struct rip_sync_member { /* of a handle; byte 1 + i of the file is locked by seat i while it lives */
    alignas(RIP_LINE) _Atomic uint32_t taken; /* written under the table lock */
    int32_t pid;                              /* to be shown to people */
    _Atomic uint64_t held;   /* units, and by which change; written by the handle, or by who ends a change of its own */
    _Atomic uint64_t intent; /* what held becomes with the next change; written by the handle, before it */
};

struct rip_waiter {                      /* who waits for units */
    alignas(32) _Atomic uint64_t ticket; /* its number and how many it wants, or 0; written by the owner */
    _Atomic uint32_t owner;              /* 1 + its seat; taken by compare-and-swap, given back by the owner */
    _Atomic uint32_t asleep;             /* RIP_ASLEEP: set by the owner, cleared by who wakes it */
    _Atomic uint32_t futex;              /* the word that it sleeps on */
};

struct rip_sync_file {
    struct rip_identity identity;
    uint32_t kind;                         /* enum rip_sync_kind; written last, under the table lock */
    uint32_t value;                        /* units at the start, or parties */
    uint32_t epoch;                        /* counts the times that it has begun; written under the table lock */
    alignas(128) _Atomic uint32_t removed; /* written under the table lock */
    alignas(
        128) _Atomic uint64_t word; /* all that matters, see semaphore.c, event.c and barrier.c; by compare-and-swap */
    _Atomic uint64_t tickets;       /* numbers given to waiters */
    _Atomic uint32_t top;           /* waiters beyond have never been */
    alignas(128) _Atomic uint32_t asleep; /* somebody waits for an event or at a barrier */
    _Atomic uint32_t futex;               /* the word that they sleep on */
    alignas(RIP_PAGE) struct rip_sync_member members[RIP_MAX_SYNC_MEMBERS + 1]; /* the last one is spare */
    struct rip_waiter waiters[RIP_MAX_WAITERS];
};

static_assert(offsetof(struct rip_sync_file, removed) == RIP_REMOVED_AT &&
                  offsetof(struct rip_sync_file, word) == 256 && offsetof(struct rip_sync_file, asleep) == 384 &&
                  offsetof(struct rip_sync_file, members) == 4096 && sizeof(struct rip_sync_file) == 28672,
              "ABI");
static_assert(sizeof(struct rip_sync_member) == 64 && sizeof(struct rip_waiter) == 32, "ABI");

#endif
