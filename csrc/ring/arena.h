/* Where in a lane's arena the next message goes. Private to the producer.
 *
 * The live messages (from the oldest that some group holds to the newest) lie in at most RIP_MAX_RUNS runs, each contiguous and
 * rising. New messages extend the last run up to the next live byte above it (gap_end). When that is reached, or a large message
 * comes, or the slots have gone round once, the lowest gap that fits is looked for, and a new run is begun there if it gives as much
 * room as all that is live now: so a consumer that keeps up makes the ring live in a few messages' worth of cache, however large
 * the arena, and one that stalls finds the whole arena behind it.
 */
#ifndef RIP_ARENA_H
#define RIP_ARENA_H

#include "base/common.h"

#define RIP_MAX_RUNS 8u
#define RIP_MAX_PINS 16u
#ifndef RIP_STEP
#define RIP_STEP UINT64_C(262144) /* bytes of memory that a lane gets at once, at least; whole pages of any machine's */
#endif

#define RIP_LARGE 4096u /* bytes from which a message is worth a look at the cursors */

struct rip_run {
    uint64_t seq;    /* of its first message */
    uint64_t lo, hi; /* [lo, hi) of the arena */
};

struct rip_arena {
    uint64_t at;      /* where the next message goes: the last run's hi; never beyond allocated */
    uint64_t gap_end; /* the next live byte above it, or the end of what is allocated */
    uint64_t capacity;
    uint64_t allocated; /* the bytes from 0 on that have memory; nothing is written beyond */
    unsigned count;     /* runs; at least 1 */
    unsigned pinned;
    struct rip_run runs[RIP_MAX_RUNS];
    struct rip_run pins[RIP_MAX_PINS]; /* messages before the oldest live one that must stay; drop_old.c keeps them */
};

void rip_arena_init(struct rip_arena *arena, uint64_t capacity);       /* nothing of it is allocated yet */
void rip_arena_allocated(struct rip_arena *arena, uint64_t allocated); /* it has more memory now */

/* Forgets the messages before seq, the oldest still live, which lies at offset; next is the seq to be written next. */
void rip_arena_reclaim(struct rip_arena *arena, uint64_t seq, uint64_t offset, uint64_t next);

/* Finds a place for need bytes (a multiple of 64) below end, the capacity or what is allocated: UINT64_MAX if there is
 * none. */
uint64_t rip_arena_find(struct rip_arena *arena, uint64_t need, uint64_t end);
/* Goes on from a place that was found, which is another than at, and allocated by now: message next will lie there. */
void rip_arena_go(struct rip_arena *arena, uint64_t offset, uint64_t next);

uint64_t rip_arena_live(const struct rip_arena *arena); /* bytes */
/* Bytes that the messages from seq on take, a live one, which lies at offset. */
uint64_t rip_arena_from(const struct rip_arena *arena, uint64_t seq, uint64_t offset);

#endif
