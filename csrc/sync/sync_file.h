/* The control file of a semaphore, lock, event, barrier, latest value or of shared memory. A change here changes
 * RIP_ABI.
 *
 * Behind it, the file of a latest value has the payloads of its slots: RIP_LATEST_SLOTS areas of the same size, in
 * whole pages. Of these only what values have needed is allocated. The file of shared memory has its description, its
 * data and its draft there (memory.c). */
#ifndef RIP_SYNC_FILE_H
#define RIP_SYNC_FILE_H

#include "base/clock.h"
#include "base/holder.h"
#include "store/handle.h"

#define RIP_MAX_SYNC_MEMBERS ((uint32_t)RIP_MAX_HANDLES)
#define RIP_MAX_WAITERS 256u
#define RIP_LATEST_SLOTS 8u

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

struct rip_latest_slot {                     /* of a latest value; written by the member that has claimed it */
    alignas(RIP_LINE) _Atomic uint64_t word; /* that of the file if this slot is the newest; 0: it is being written */
    _Atomic uint64_t length;                 /* bytes of the payload */
    _Atomic uint64_t ticks;                  /* when it was set, on the clock of the file */
    _Atomic uint32_t kind;                   /* enum rip_kind */
    _Atomic uint32_t claim;                  /* 1 + the member that writes into the slot, or 0; by compare-and-swap */
};

struct rip_memory_table {                  /* of shared memory */
    alignas(128) union rip_word lock;      /* of its data as a whole */
    alignas(128) _Atomic uint32_t holders; /* how many numbers of holders have been given, modulo 2^32 */
    uint32_t description;                  /* bytes of the description; written when the object starts, as is */
    uint64_t size;                         /* bytes of the data */
};

struct rip_sync_file {
    struct rip_identity identity;
    uint32_t kind;                         /* enum rip_sync_kind; written last, under the table lock */
    uint32_t value;                        /* first number of units, or number of parties */
    uint32_t epoch;                        /* counts how often the object has started; written under the table lock */
    uint32_t clock;                        /* of a latest value: enum rip_clock of its time stamps, and one moment on */
    struct rip_moment moment;              /* both clocks; written under the table lock, when the object starts */
    alignas(128) _Atomic uint32_t removed; /* written under the table lock */
    alignas(128) _Atomic uint64_t word;    /* the state: semaphore.c, event.c, ...; by compare-and-swap */
    _Atomic uint64_t tickets;              /* the next number of a ticket */
    _Atomic uint32_t top;                  /* no waiter at this index or above has been used */
    alignas(128) _Atomic uint32_t asleep;  /* RIP_ASLEEP: somebody waits for an event, a value, or at a barrier */
    _Atomic uint32_t futex;                /* their futex word; wakers increment it */
    alignas(RIP_PAGE) struct rip_sync_member members[RIP_MAX_SYNC_MEMBERS + 1]; /* the last one is unused */
    union {
        struct rip_waiter waiters[RIP_MAX_WAITERS];     /* of a semaphore or lock */
        struct rip_latest_slot slots[RIP_LATEST_SLOTS]; /* of a latest value */
        struct rip_memory_table memory;                 /* of shared memory */
    };
};

static_assert(offsetof(struct rip_sync_file, removed) == RIP_REMOVED_AT &&
                  offsetof(struct rip_sync_file, word) == 256 && offsetof(struct rip_sync_file, asleep) == 384 &&
                  offsetof(struct rip_sync_file, moment) == 56 && offsetof(struct rip_sync_file, members) == 4096 &&
                  offsetof(struct rip_sync_file, slots) == 20480 && sizeof(struct rip_sync_file) == 28672,
              "ABI");
static_assert(sizeof(struct rip_sync_member) == 64 && sizeof(struct rip_waiter) == 32 &&
                  sizeof(struct rip_latest_slot) == 64 && offsetof(struct rip_latest_slot, claim) == 28 &&
                  offsetof(struct rip_memory_table, holders) == 128 && offsetof(struct rip_memory_table, size) == 136,
              "ABI");

#endif
