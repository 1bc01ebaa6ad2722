/* The control file of a semaphore, lock, event or barrier. A change here changes RIP_ABI. */
#ifndef RIP_SYNC_FILE_H
#define RIP_SYNC_FILE_H

#include "store/handle.h"

#define RIP_MAX_SYNC_MEMBERS ((uint32_t)RIP_MAX_HANDLES)
#define RIP_MAX_WAITERS 256u

struct rip_sync_member { /* the entry of a handle; member i has byte 1 + i of the file locked while it lives */
    alignas(RIP_LINE) _Atomic uint32_t taken; /* written under the table lock */
    int32_t pid;                              /* only shown to people */
    _Atomic uint64_t held;   /* units, and the change that gave them; written by the member, or by a helper */
    _Atomic uint64_t intent; /* what held becomes with the next change; written by the member before it */
};

struct rip_waiter {                      /* a thread that waits for units */
    alignas(32) _Atomic uint64_t ticket; /* its number and the units that it wants, or 0; written by the owner */
    _Atomic uint32_t owner;              /* 1 + its member, or 0; set by compare-and-swap, cleared by the owner */
    _Atomic uint32_t asleep;             /* RIP_ASLEEP: set by the owner, cleared by the waker */
    _Atomic uint32_t futex;              /* the futex word of the owner; wakers increment it */
};

struct rip_sync_file {
    struct rip_identity identity;
    uint32_t kind;                         /* enum rip_sync_kind; written last, under the table lock */
    uint32_t value;                        /* first number of units, or number of parties */
    uint32_t epoch;                        /* counts how often the object has started; written under the table lock */
    alignas(128) _Atomic uint32_t removed; /* written under the table lock */
    alignas(128) _Atomic uint64_t word;    /* the state (semaphore.c, event.c, barrier.c); by compare-and-swap */
    _Atomic uint64_t tickets;              /* the next number of a ticket */
    _Atomic uint32_t top;                  /* no waiter at this index or above has been used */
    alignas(128) _Atomic uint32_t asleep;  /* RIP_ASLEEP: a member waits for an event or at a barrier */
    _Atomic uint32_t futex;                /* their futex word; wakers increment it */
    alignas(RIP_PAGE) struct rip_sync_member members[RIP_MAX_SYNC_MEMBERS + 1]; /* the last one is unused */
    struct rip_waiter waiters[RIP_MAX_WAITERS];
};

static_assert(offsetof(struct rip_sync_file, removed) == RIP_REMOVED_AT &&
                  offsetof(struct rip_sync_file, word) == 256 && offsetof(struct rip_sync_file, asleep) == 384 &&
                  offsetof(struct rip_sync_file, members) == 4096 && sizeof(struct rip_sync_file) == 28672,
              "ABI");
static_assert(sizeof(struct rip_sync_member) == 64 && sizeof(struct rip_waiter) == 32, "ABI");

#endif
