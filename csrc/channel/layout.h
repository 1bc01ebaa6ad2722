/* The layout of a channel's files, byte by byte: the ABI. A change here changes RIP_ABI.
 * An anonymous channel is one memfd: control, and behind it an extent for each of the other files (extent.h).
 *
 *   control                                        lane-<id>
 *   +-------------------------------+ 0            +--------------------------------+ 0
 *   | identity, settings            |              | identity, sizes                |  written once, before its name
 *   | state of tables, sleepers     |              | tail                 128       |  written by the producer
 *   +-------------------------------+ 4096         | reclaimed            256       |  written by the producer
 *   | members[RIP_MAX_MEMBERS]      |              +--------------------------------+ 4096
 *   | groups[RIP_MAX_GROUPS]        |              | descriptors, 32 bytes a slot   |  written by the producer
 *   | lanes[RIP_MAX_LANES]          |              +--------------------------------+ next page
 *   |   cursors[RIP_MAX_GROUPS]     |              | arena, capacity bytes          |  written by the producer
 *   +-------------------------------+              +--------------------------------+
 *
 * Tables change only under the table lock (byte 0 of control). Byte 1 + i of control is locked by member i while it
 * lives. */
#ifndef RIP_LAYOUT_H
#define RIP_LAYOUT_H

#include "base/holder.h"
#include "store/format.h"

#define RIP_RX_LANES (2 * RIP_MAX_LANES) /* the most lanes that a consumer maps: some have left the table already */
#define RIP_MAX_SLOTS (UINT64_C(1) << 26)
#define RIP_MAX_CAPACITY (UINT64_C(1) << 46)
#define RIP_MAX_REGIONS 32u /* regions of a lane for messages that are longer than its capacity */
#define RIP_MAX_KEPT 64u    /* kept messages of a lane, for each group that keeps claims, */
#define RIP_CURSOR_KEPT 4u  /* and for each group that does not: as many as fit into the line of its cursor */
#define RIP_MAX_PINS 64u    /* messages in use that a producer has given up and goes around */

/* ---- control ---- */

enum rip_role { RIP_NOBODY, RIP_A_PRODUCER, RIP_A_CONSUMER };

struct rip_member { /* written under the table lock, except the atomic fields */
    uint32_t role;  /* enum rip_role */
    uint32_t index; /* of its lane or group in the table */
    int32_t pid;    /* only shown to people: a member is alive while its lock is held */
    uint32_t pids;  /* the pid namespace of pid: the inode of /proc/self/ns/pid */
    /* RIP_POLLFD_EXISTS: the member has a pollfd. RIP_POLLFD_ARMED: a waker must make it readable; the member sets this
     * bit, the waker clears it. The other bits: below. */
    _Atomic uint32_t pollfd;
    _Atomic uint32_t signal; /* the signal that the member wants next, or 0; the member sets it, the sender clears it */
    union {
        _Atomic int32_t value; /* the value that the signal carries, unless RIP_VALUE_IS_LANE is set in signal */
        /* Of a producer: enum rip_lane_closed, once it closes; above RIP_WRITER_SHIFT, if it joins a lane that others
         * write: the count of such producers with it (rip_control.joined), modulo 2^30. The member sets it. */
        _Atomic uint32_t writer;
    };
    _Atomic uint32_t pipe; /* inode of the pipe of the pollfd if the pipe has no name, else 0; the member sets it */
};

struct rip_cursor { /* written by members of the group only; by compare-and-swap if they compete */
    alignas(RIP_LINE) _Atomic uint64_t released; /* the first seq that the group has not released */
    uint64_t seen;          /* 1 + the id of the lane that a member has mapped last; written under the table lock */
    _Atomic uint64_t freed; /* counts releases of kept messages, and acknowledgements; members increment it */
    /* Of a group without claims: the first seq that is not acknowledged, if that is beyond `released`; and messages
     * before `released` that are in use, as rip_kept_word, or 0. */
    _Atomic uint64_t acked;
    _Atomic uint64_t kept[RIP_CURSOR_KEPT];
};

enum rip_lane_state { RIP_LANE_FREE, RIP_LANE_LIVE, RIP_LANE_ENDED, RIP_LANE_DEAD, RIP_LANE_FAILED };
enum rip_lane_closed { RIP_NOT_CLOSED, RIP_CLOSED_IN_ORDER, RIP_CLOSED_AS_FAILED };

#define RIP_WRITER_SHIFT 2
#define RIP_WRITER_LOST 3u /* in the place of enum rip_lane_closed: the member is counted as lost; its count is above */
#define RIP_MAX_LOSSES 16u /* the losses that a lane keeps: those of writers that died or failed last */

#define RIP_KEPT_SEQ_SHIFT 8 /* in the word of a kept message; the lower bits are the member */

static inline uint64_t rip_kept_word(uint64_t seq, uint32_t member) { return (1 + seq) << RIP_KEPT_SEQ_SHIFT | member; }

/* Is message seq in this entry of a table of kept messages? */
static inline int rip_is_kept(const _Atomic uint64_t *entry, uint64_t seq) {
    /* acquire: pairs with the release that clears the entry; the member has read before the producer overwrites */
    return atomic_load_explicit(entry, memory_order_acquire) >> RIP_KEPT_SEQ_SHIFT == 1 + seq;
}

struct rip_lane_entry {
    alignas(RIP_LINE) _Atomic uint32_t state; /* this line is written under the table lock */
    int32_t pid;
    _Atomic uint64_t id;       /* names the file; never used twice in a channel */
    _Atomic uint64_t base_seq; /* the cursor of the last group that left: the limit while there is no group */
    uint64_t tail;             /* of a lane that is not live: the tail at its end; UINT64_MAX: not known */
    uint32_t shared;           /* 1: any number of producers write the lane (ring/writers.h) */
    uint64_t joined_from;      /* shared: rip_control.joined when the lane was made, */
    uint64_t joined_to;        /* and, once it has ended, when it ended */
    /* RIP_ASLEEP: the producer waits for room; the producer sets it, the waker clears it. */
    alignas(RIP_LINE) _Atomic uint32_t asleep;
    _Atomic uint32_t futex; /* the futex word of the producer; wakers increment it */
    /* 1 + the producer's member if that has a pollfd, else 0; of a shared lane RIP_ANY_MEMBER. The producer sets it. */
    _Atomic uint32_t pollfd_member;
    struct rip_cursor cursors[RIP_MAX_GROUPS]; /* of each group */
};

struct rip_group_entry {
    alignas(RIP_LINE) uint32_t flags; /* RIP_SHARED and so on, RIP_AWAITED; this line: under the table lock */
    int32_t pid;                      /* of the member that joined last */
    _Atomic uint32_t id;              /* names the files of its claims; never used twice in a channel */
    char name[RIP_MAX_GROUP_NAME + 1];
    uint32_t first; /* producers of the channel that do not count for this group: rip_producers_ever, cut to 32 bits */
    alignas(RIP_LINE) _Atomic uint32_t futex; /* the futex word of its members; wakers increment it */
    _Atomic uint32_t pollfds;                 /* 1: a member has or had a pollfd or a signal; members set it */
    _Atomic uint32_t picky;                   /* 1: a member may leave (or once left) a message that it is woken for */
};

/* Flags of a group, besides enum rip_group_flag. */
#define RIP_INCOMPLETE 0x200u /* not completed by its creator: a process that finds it under the lock removes it */
#define RIP_AWAITED 0x100u    /* declared by a producer; no member has joined yet */
#define RIP_DECLARED 0x400u   /* declared by a producer: it is durable until all is read and the channel is empty */

#define RIP_ANY_MEMBER UINT32_MAX /* the members of the lane that have a pollfd are found in the table of members */
#define RIP_POLLFD_ARMED 1u
#define RIP_POLLFD_EXISTS 2u
#define RIP_POLLFD_ENDS 4u       /* it is armed for the end of the stream too; the member sets these two with ARMED */
#define RIP_POLLFD_DEATHS 8u     /* for deaths and failures of producers too */
#define RIP_POLLFD_WRITES 16u    /* a waker is about to write; it sets this bit and clears it */
#define RIP_POLLFD_SHIFT 5       /* above: if the pipe has no name, its file descriptor in the member's process */
#define RIP_VALUE_IS_LANE 0x100u /* in rip_member.signal: the value of the signal is the id of the sender's lane */
/* The upper half of rip_member.signal, so that no signal is sent because of damaged memory. */
#define RIP_SIGNAL_IS 0x51670000u
/* Set in `asleep` of a lane, or in groups_asleep, while a member needs its peers to execute the fence: it sleeps so
 * often that membarrier(2) would cost more, or it cannot use membarrier(2). */
#define RIP_FENCE_LANE (1u << 31)
#define RIP_FENCE_GROUPS (UINT64_C(1) << 63)

/* The peers that must execute the fence for a member: a byte for each member. */
enum rip_fences {
    RIP_FENCES_OWN = 1, /* peers that wake it: producers wake a consumer, consumers a producer */
    RIP_FENCES_ALL = 2  /* all: membarrier(2) of this member does not reach others, nor theirs this one */
};

struct rip_control {
    struct rip_identity identity;
    alignas(128) _Atomic uint32_t removed;        /* this line is written under the table lock */
    uint32_t groups_ever;                         /* 1: there is or was a group */
    uint64_t lanes_ever;                          /* lanes that were ever live: the id of the next lane */
    uint32_t groups_named;                        /* the id of the newest group */
    uint64_t used;                                /* anonymous: the offset of the next extent; else 0 */
    uint64_t epoch_start;                         /* rip_producers_ever when the stream began */
    uint64_t lanes_undone;                        /* producers that do not count: they failed to open */
    _Atomic uint32_t lanes_used;                  /* entries of the lane table that are or were in use */
    _Atomic uint64_t reaped_at;                   /* when a member reaped last, as rip_now; only a hint */
    _Atomic uint32_t members_used;                /* 1 + the largest index of a member ever */
    uint64_t joined;                              /* producers that have joined a lane which others write */
    _Atomic uint32_t holders;                     /* numbers of holders of shared lanes given (base/holder.h) */
    alignas(128) _Atomic uint64_t lanes_changed;  /* counts changes of the lane table; written under the table lock */
    _Atomic uint64_t groups_active;               /* a bit for each group; written under the table lock */
    _Atomic uint64_t group_epoch;                 /* counts the groups created; written under the table lock */
    _Atomic uint64_t groups_lossy;                /* a bit for each lossy group; written under the table lock */
    alignas(128) _Atomic uint64_t groups_asleep;  /* a bit for each group; sleepers set it, wakers clear it */
    _Atomic uint32_t by_time;                     /* 1: a consumer has read by time; written under the table lock */
    alignas(128) uint8_t fences[RIP_MAX_MEMBERS]; /* enum rip_fences; written under the table lock */
    alignas(RIP_PAGE) struct rip_member members[RIP_MAX_MEMBERS]; /* those of consumers first */
    struct rip_group_entry groups[RIP_MAX_GROUPS];
    /* The memory of this table is allocated as it is needed: lanes_used entries. No process may touch more. */
    alignas(RIP_PAGE) struct rip_lane_entry lanes[RIP_MAX_LANES];
};

#define RIP_CONTROL_FIXED offsetof(struct rip_control, lanes) /* bytes that are always allocated */
#define RIP_SPARE_LANES 16u /* free entries in use, if possible, so that it takes long until one is used again */

/* ---- lane ---- */

struct rip_desc {
    union {
        struct {
            /* Which message is published in this slot: 1 + its seq, modulo 2^32. Stored last. It is unambiguous: a slot
             * that a consumer waits for holds the message of this lap or of the last one, RIP_MAX_SLOTS back at most.
             * Only for lanes in which nobody laps a consumer: where the producer drops, the tail and the claims say
             * what can be read. A slot can be laps ahead of a member that competes; its claim is not free then. */
            _Atomic uint32_t published;
            uint32_t type; /* chosen by the sender */
        };
        _Atomic uint64_t head; /* both, as a word to watch */
    };
    uint64_t ticks; /* time stamp, in the clock of the lane */
    uint64_t place; /* the offset in the arena, a multiple of 64; above RIP_PLACE_BITS the kind; then how often it was
                     * delivered before it came over a connection */
    uint64_t size;  /* the length in bytes; above RIP_PLACE_BITS the number of messages refused just before this one,
                     * 65535: that many or more */
};

#define RIP_PLACE_BITS 48
#define RIP_PLACE_MASK ((UINT64_C(1) << RIP_PLACE_BITS) - 1)

/* kind: enum rip_kind */
static inline uint64_t rip_desc_place(uint64_t offset, uint8_t kind, uint8_t redelivered) {
    return offset | (uint64_t)kind << RIP_PLACE_BITS | (uint64_t)redelivered << (RIP_PLACE_BITS + 8);
}

static inline uint64_t rip_desc_size(uint64_t length, uint16_t lost) {
    return length | (uint64_t)lost << RIP_PLACE_BITS;
}

/* Is message seq published in this slot? acquire: pairs with the release in rip_tx_publish; payload, descriptor and
 * tail are visible afterwards. */
static inline int rip_desc_is_of(const struct rip_desc *desc, uint64_t seq) {
    return atomic_load_explicit(&desc->published, memory_order_acquire) == (uint32_t)(seq + 1);
}

/* These read from shared memory: volatile, so that each word is read once. */
static inline uint64_t rip_desc_offset(const struct rip_desc *desc) {
    return ((const volatile struct rip_desc *)desc)->place & RIP_PLACE_MASK;
}

static inline uint64_t rip_desc_length(const struct rip_desc *desc) {
    return ((const volatile struct rip_desc *)desc)->size & RIP_PLACE_MASK;
}

static inline uint16_t rip_desc_lost(const struct rip_desc *desc) {
    return (uint16_t)(((const volatile struct rip_desc *)desc)->size >> RIP_PLACE_BITS);
}

static inline uint32_t rip_desc_type(const struct rip_desc *desc) {
    return ((const volatile struct rip_desc *)desc)->type;
}

struct rip_pin { /* where a message lies that is in use and that the owner of a shared lane gives up, or has */
    _Atomic uint64_t message; /* 1 + seq; 0: free. Stored last. */
    uint64_t lo, hi;          /* the arena from lo on, up to hi */
};

struct rip_loss {  /* a writer of a shared lane that died or failed */
    uint64_t tail; /* when that was found: its messages are before it */
    int32_t pid;   /* negative: it failed */
    uint32_t reserved;
};

/* Memory for messages that are longer than the capacity: a part of the same file, behind the arena. */
struct rip_region {
    uint64_t lo;   /* its offset, counted from the arena as that of a message; beyond the capacity */
    uint64_t size; /* bytes; 0: there is no such region */
};

struct rip_lane {
    struct rip_identity identity;
    uint64_t slots;    /* a power of two */
    uint64_t capacity; /* bytes, a multiple of RIP_PAGE */
    uint64_t arena;    /* offset of the arena in the file */
    uint32_t clock;    /* enum rip_clock: the unit of ticks */
    int32_t pid;
    uint64_t ticks0;                         /* one moment on both clocks (clock.h): ticks, */
    uint64_t ns0;                            /* and nanoseconds of the machine's time */
    uint32_t overflow;                       /* enum rip_overflow */
    uint32_t keep;                           /* messages that may wait */
    alignas(128) _Atomic uint64_t tail;      /* the first seq that is not published */
    _Atomic uint32_t closed;                 /* enum rip_lane_closed: a producer that has closed is not dead */
    alignas(128) _Atomic uint64_t reclaimed; /* the first seq that the producer has not reclaimed */
    _Atomic uint64_t dropped_below;          /* the same, before it is sure that no group has joined meanwhile */
    _Atomic uint64_t refused;                /* number of messages that found no room */
    _Atomic uint64_t allocated;              /* bytes of the arena, from its start, that are allocated */
    /* set by the producer before its first message, or all 0; publishing that message makes it visible */
    alignas(128) char label[RIP_MAX_LABEL + 1];
    /* Of a shared lane, whose owner has the lock (ring/lane_lock.h). */
    alignas(128) union rip_word lock;
    _Atomic uint32_t last;    /* the holder that was the owner last, unless it was killed before it began to write */
    _Atomic uint32_t waiting; /* 1: the owner waits for room */
    _Atomic uint32_t pinned;  /* no entry of `pins` from here on is in use; raised before one is */
    alignas(RIP_LINE) struct rip_pin pins[RIP_MAX_PINS];
    /* Of a shared lane: how many of its writers died or failed, and the last of them, loss n in losses[n modulo
     * RIP_MAX_LOSSES]. Written under the table lock. */
    alignas(RIP_LINE) _Atomic uint32_t lost;
    struct rip_loss losses[RIP_MAX_LOSSES];
    /* each is set once, before a message in it is published, which makes it visible */
    alignas(128) struct rip_region regions[RIP_MAX_REGIONS];
    alignas(RIP_PAGE) struct rip_desc desc[];
};

/* ---- claims: a file for each pair of a lane and a group that keeps claims ---- */

struct rip_claims {
    struct rip_identity identity;
    uint64_t slots;
    alignas(128) _Atomic uint64_t requeued; /* counts how often messages have been requeued; written by members */
    _Atomic uint64_t reported;              /* how many of `dropped` have been reported to members */
    /* messages that the group has lost; the producer adds those that it drops, a member those that it cannot requeue */
    alignas(RIP_LINE) _Atomic uint64_t dropped;
    /* Messages in use that the producer has passed, as rip_kept_word, or 0. The producer fills an entry, the member
     * clears it. */
    alignas(RIP_LINE) _Atomic uint64_t kept[RIP_MAX_KEPT];
    alignas(128) _Atomic uint64_t words[]; /* one for each slot; claims.h describes a word */
};

static_assert(offsetof(struct rip_claims, requeued) == 128 && offsetof(struct rip_claims, dropped) == 192 &&
                  offsetof(struct rip_claims, kept) == 256 && offsetof(struct rip_claims, words) == 768,
              "ABI");
static_assert(sizeof(struct rip_member) == 32, "ABI");
static_assert(sizeof(struct rip_lane_entry) == 2176 && offsetof(struct rip_lane_entry, asleep) == 64, "ABI");
static_assert(offsetof(struct rip_lane_entry, cursors) == 128, "ABI");
static_assert(offsetof(struct rip_lane_entry, base_seq) == 16 && offsetof(struct rip_lane_entry, futex) == 68 &&
                  offsetof(struct rip_lane_entry, joined_to) == 48,
              "ABI");
static_assert(sizeof(struct rip_group_entry) == 128 && offsetof(struct rip_group_entry, futex) == 64, "ABI");
static_assert(sizeof(struct rip_cursor) == 64 && offsetof(struct rip_cursor, freed) == 16 &&
                  offsetof(struct rip_cursor, kept) == 32,
              "ABI");
static_assert(offsetof(struct rip_control, removed) == RIP_REMOVED_AT, "ABI");
static_assert(offsetof(struct rip_control, used) == RIP_USED_AT && offsetof(struct rip_control, epoch_start) == 160,
              "ABI");
static_assert(offsetof(struct rip_control, lanes_changed) == 256, "ABI");
static_assert(offsetof(struct rip_control, groups_active) == 264, "ABI");
static_assert(offsetof(struct rip_control, group_epoch) == 272 && offsetof(struct rip_control, groups_lossy) == 280,
              "ABI");
static_assert(offsetof(struct rip_control, groups_asleep) == 384 && offsetof(struct rip_control, by_time) == 392,
              "ABI");
static_assert(offsetof(struct rip_control, fences) == 512, "ABI");
static_assert(offsetof(struct rip_control, members) == 4096, "ABI");
static_assert(offsetof(struct rip_control, groups) == 45056, "ABI");
static_assert(offsetof(struct rip_control, lanes) == 49152, "ABI");
static_assert(sizeof(struct rip_control) == 2277376 && sizeof(struct rip_control) % RIP_PAGE == 0, "ABI");
static_assert(sizeof(struct rip_desc) == 32 && offsetof(struct rip_desc, place) == 16, "ABI");
static_assert(RIP_MAX_CAPACITY <= RIP_PLACE_MASK, "an offset and a length fit");
static_assert(offsetof(struct rip_lane, slots) == 40 && offsetof(struct rip_lane, ticks0) == 72, "ABI");
static_assert(offsetof(struct rip_lane, tail) == 128 && offsetof(struct rip_lane, closed) == 136 &&
                  offsetof(struct rip_lane, overflow) == 88 && offsetof(struct rip_lane, reclaimed) == 256 &&
                  offsetof(struct rip_lane, refused) == 272 && offsetof(struct rip_lane, allocated) == 280,
              "ABI");
static_assert(offsetof(struct rip_lane, label) == 384 && sizeof(((struct rip_lane *)0)->label) == 64, "ABI");
static_assert(offsetof(struct rip_lane, lock) == 512 && offsetof(struct rip_lane, last) == 520 &&
                  offsetof(struct rip_lane, pins) == 576 && sizeof(struct rip_pin) == 24 &&
                  offsetof(struct rip_lane, lost) == 2112 && offsetof(struct rip_lane, losses) == 2120 &&
                  sizeof(struct rip_loss) == 16,
              "ABI");
static_assert(offsetof(struct rip_lane, regions) == 2432 && sizeof(((struct rip_lane *)0)->regions) == 512, "ABI");
static_assert(offsetof(struct rip_lane, desc) == 4096, "ABI");
static_assert(RIP_MAX_GROUPS < 63, "the top bit of groups_asleep is RIP_FENCE_GROUPS");

static inline uint64_t rip_arena_offset(uint64_t slots) {
    return rip_round_up(sizeof(struct rip_lane) + slots * sizeof(struct rip_desc), RIP_PAGE);
}

static inline uint64_t rip_lane_size(uint64_t slots, uint64_t capacity) { return rip_arena_offset(slots) + capacity; }

#endif
