/* What lies in a channel's files, byte by byte: the ABI. A change here changes RIP_ABI.
 * A channel without a name is one file: control, and behind it an extent for each of the others (extent.h).
 *
 *   control                                        lane-<id>
 *   +-------------------------------+ 0            +--------------------------------+ 0
 *   | identity, settings            |              | identity, sizes                |  written once, before it is named
 *   | tables' state, wake masks     |              | tail                 128       |  written by the producer
 *   +-------------------------------+ 4096         | head                 256       |  written by the producer
 *   | members[RIP_MAX_MEMBERS]      |              +--------------------------------+ 4096
 *   | lanes[RIP_MAX_LANES]          |              | descriptors, 32 bytes a slot   |  written by the producer
 *   | groups[RIP_MAX_GROUPS]        |              +--------------------------------+ next page
 *   | cursors[group][lane]          |              | arena, capacity bytes          |  written by the producer
 *   +-------------------------------+              +--------------------------------+
 *
 * Tables change only under the table lock (byte 0 of control). Byte 1 + i of control is locked by member i while it lives.
 */
#ifndef RIP_LAYOUT_H
#define RIP_LAYOUT_H

#include "store/format.h"

#define RIP_RX_LANES (2 * RIP_MAX_LANES) /* that a consumer maps: some have left the table already */
#define RIP_MAX_SLOTS (UINT64_C(1) << 26)
#define RIP_MAX_CAPACITY (UINT64_C(1) << 46)

/* ---- control ---- */

enum rip_role { RIP_NOBODY, RIP_A_PRODUCER, RIP_A_CONSUMER };

struct rip_member { /* this line is written under the table lock, but for bell and signal */
    uint32_t role;  /* enum rip_role */
    uint32_t index; /* of its lane or group */
    int32_t pid;    /* to be shown to people; liveness is the lock */
    uint32_t pids;  /* in which namespace the pid means something: the inode of /proc/self/ns/pid */
    _Atomic uint32_t
        pollfd; /* RIP_POLLFD_EXISTS: it has a descriptor; RIP_POLLFD_ARMED: set by it, cleared by who rings it */
    _Atomic uint32_t signal; /* that it wants to get next, or 0; set by it, cleared by who sends it */
    _Atomic int32_t value;   /* that the signal carries; RIP_VALUE_IS_LANE in signal: the lane's id instead */
    _Atomic uint32_t pipe; /* of a bell without a name: the inode of what the number in bell is a descriptor of; or 0 */
};

enum rip_lane_state { RIP_LANE_FREE, RIP_LANE_LIVE, RIP_LANE_ENDED, RIP_LANE_DEAD };

struct rip_lane_entry {
    alignas(RIP_LINE) _Atomic uint32_t state; /* this line is written under the table lock */
    int32_t pid;
    _Atomic uint64_t id;       /* names the file; never used twice in a channel */
    _Atomic uint64_t base_seq; /* where the last group to leave stood: the limit while no group is there */
    alignas(RIP_LINE) _Atomic uint32_t
        asleep;                     /* RIP_ASLEEP: the producer waits for room; set by it, cleared by who wakes it */
    _Atomic uint32_t futex;         /* the word that it sleeps on */
    _Atomic uint32_t pollfd_member; /* 1 + the member whose descriptor is to be rung, or 0 */
};

struct rip_group_entry {
    alignas(RIP_LINE) uint32_t flags; /* RIP_SHARED, RIP_DURABLE, RIP_AWAITED; this line: under the table lock */
    int32_t pid;                      /* of the last member to come */
    _Atomic uint32_t id;              /* names its files; never used twice in a channel */
    char name[RIP_MAX_GROUP_NAME + 1];
    alignas(RIP_LINE) _Atomic uint32_t futex; /* the word that its members sleep on */
    _Atomic uint32_t pollfds;                 /* some of them have a descriptor to be rung */
    _Atomic uint32_t picky; /* some of them may leave what they are woken for; stays, and is set by them */
};

struct rip_cursor { /* written by the group only; where members compete, by compare-and-swap */
    alignas(RIP_LINE) _Atomic uint64_t
        released; /* the oldest seq that the group has not let go; the rest of the line is spare */
};

#define RIP_INCOMPLETE 0x200u /* not all of it is there yet: whoever finds it so under the lock ends it */
#define RIP_AWAITED 0x100u    /* declared by a producer, and nobody has joined it yet */

#define RIP_POLLFD_ARMED 1u
#define RIP_POLLFD_EXISTS 2u
#define RIP_POLLFD_SHIFT 2 /* above: the number of its descriptor, for a bell without a name */
#define RIP_VALUE_IS_LANE 0x100u
#define RIP_SIGNAL_IS                                                                                                  \
    0x51670000u /* in the upper half of a request for a signal: so that none is sent because of damage */
/* Set while a member has peers fence for themselves: one that sleeps so often that membarrier(2) would cost more, or cannot use it. */
#define RIP_FENCE_LANE (1u << 31)
#define RIP_FENCE_GROUPS (UINT64_C(1) << 63)

/* For whom a member has that done, in a byte each. */
enum rip_fences {
    RIP_FENCES_OWN = 1, /* for itself: those who publish to a consumer, or release to a producer */
    RIP_FENCES_ALL = 2  /* for everybody: it has no membarrier(2), to fence others and to be fenced */
};

struct rip_control {
    struct rip_identity identity;
    alignas(128) _Atomic uint32_t removed;       /* this line is written under the table lock */
    uint32_t groups_ever;                        /* a group has been here */
    uint64_t lanes_ever;                         /* the next lane's id */
    uint32_t groups_named;                       /* the newest group's id */
    uint64_t used;                               /* without a name: where the next extent will be; else 0 */
    uint64_t epoch_start;                        /* lanes before this id are of a time that is over */
    alignas(128) _Atomic uint64_t lanes_changed; /* counts changes of the lane table; written under the table lock */
    _Atomic uint64_t groups_active;              /* a bit for each group that gates; written under the table lock */
    _Atomic uint64_t group_epoch;                /* counts them; written under the table lock */
    alignas(128) _Atomic uint64_t
        groups_asleep; /* a bit for each group with a sleeper: set by it, cleared by who wakes it */
    alignas(128) uint8_t fences[RIP_MAX_MEMBERS]; /* enum rip_fences; written under the table lock */
    alignas(RIP_PAGE) struct rip_member members[RIP_MAX_MEMBERS];
    struct rip_lane_entry lanes[RIP_MAX_LANES];
    struct rip_group_entry groups[RIP_MAX_GROUPS];
    struct rip_cursor cursors[RIP_MAX_GROUPS][RIP_MAX_LANES]; /* a group's cursors lie side by side */
};

/* ---- lane ---- */

struct rip_desc {
    uint64_t offset; /* in the arena, a multiple of 64 */
    uint64_t length; /* bytes */
    uint64_t ticks;
    uint32_t type;
    uint8_t kind;
    uint8_t flags;
    uint16_t lost; /* messages refused just before this one; 65535: that many or more */
};

struct rip_lane {
    struct rip_identity identity;
    uint64_t slots;    /* a power of two */
    uint64_t capacity; /* bytes, a multiple of RIP_PAGE */
    uint64_t arena;    /* its offset in the file */
    uint32_t clock;    /* enum rip_clock: what ticks are */
    int32_t pid;
    uint64_t ticks0; /* a moment on both clocks: ticks, and nanoseconds of the machine's time (clock.h) */
    uint64_t ns0;
    uint32_t overflow; /* enum rip_overflow */
    uint32_t reserved;
    alignas(128) _Atomic uint64_t tail;      /* the first seq not published */
    _Atomic uint32_t closed;                 /* no more will come: the producer says so itself, so it has not died */
    alignas(128) _Atomic uint64_t reclaimed; /* the first seq not reclaimed */
    _Atomic uint64_t dropped_below;          /* where messages are dropped: the first seq not given up */
    _Atomic uint64_t refused;                /* messages that found no room */
    _Atomic uint64_t allocated;              /* bytes of the arena, from 0, that have memory */
    alignas(RIP_PAGE) struct rip_desc desc[];
};

/* ---- claims: a file for a group whose members compete, and a lane ---- */

struct rip_claims {
    struct rip_identity identity;
    uint64_t slots;
    alignas(128) _Atomic uint64_t requeued;     /* counts the times that messages have been given back */
    _Atomic uint64_t reported;                  /* how many of dropped the members have been told of */
    alignas(RIP_LINE) _Atomic uint64_t dropped; /* messages that the group lost; written by the producer */
    alignas(128) _Atomic uint64_t words[];      /* [slots]; claims.h says what is in one */
};

static_assert(offsetof(struct rip_claims, requeued) == 128 && offsetof(struct rip_claims, dropped) == 192 &&
                  offsetof(struct rip_claims, words) == 256,
              "ABI");
static_assert(sizeof(struct rip_member) == 32, "ABI");
static_assert(sizeof(struct rip_lane_entry) == 128 && offsetof(struct rip_lane_entry, asleep) == 64, "ABI");
static_assert(offsetof(struct rip_lane_entry, base_seq) == 16 && offsetof(struct rip_lane_entry, futex) == 68, "ABI");
static_assert(sizeof(struct rip_group_entry) == 128 && offsetof(struct rip_group_entry, futex) == 64, "ABI");
static_assert(sizeof(struct rip_cursor) == 64, "ABI");
static_assert(offsetof(struct rip_control, removed) == RIP_REMOVED_AT, "ABI");
static_assert(offsetof(struct rip_control, used) == RIP_USED_AT && offsetof(struct rip_control, epoch_start) == 160,
              "ABI");
static_assert(offsetof(struct rip_control, lanes_changed) == 256, "ABI");
static_assert(offsetof(struct rip_control, groups_active) == 264, "ABI");
static_assert(offsetof(struct rip_control, group_epoch) == 272, "ABI");
static_assert(offsetof(struct rip_control, groups_asleep) == 384, "ABI");
static_assert(offsetof(struct rip_control, fences) == 512, "ABI");
static_assert(offsetof(struct rip_control, members) == 4096, "ABI");
static_assert(offsetof(struct rip_control, lanes) == 12288, "ABI");
static_assert(offsetof(struct rip_control, groups) == 20480, "ABI");
static_assert(offsetof(struct rip_control, cursors) == 24576, "ABI");
static_assert(sizeof(struct rip_control) == 155648 && sizeof(struct rip_control) % RIP_PAGE == 0, "ABI");
static_assert(sizeof(struct rip_desc) == 32, "ABI");
static_assert(offsetof(struct rip_lane, slots) == 40 && offsetof(struct rip_lane, ticks0) == 72, "ABI");
static_assert(offsetof(struct rip_lane, tail) == 128 && offsetof(struct rip_lane, closed) == 136 &&
                  offsetof(struct rip_lane, overflow) == 88 && offsetof(struct rip_lane, reclaimed) == 256 &&
                  offsetof(struct rip_lane, refused) == 272 && offsetof(struct rip_lane, allocated) == 280,
              "ABI");
static_assert(offsetof(struct rip_lane, desc) == 4096, "ABI");
static_assert(RIP_MAX_GROUPS < 63, "the top bit of groups_asleep is RIP_FENCE_GROUPS");

static inline uint64_t rip_arena_offset(uint64_t slots) {
    return rip_round_up(sizeof(struct rip_lane) + slots * sizeof(struct rip_desc), RIP_PAGE);
}

static inline uint64_t rip_lane_size(uint64_t slots, uint64_t capacity) { return rip_arena_offset(slots) + capacity; }

#endif
