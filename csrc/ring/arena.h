/* Where in the arena of a lane the next message goes. Private to the producer.
 *
 * The live messages (from the oldest one that some group has not released to the newest) lie in at most RIP_MAX_RUNS
 * runs. A run is contiguous, and its messages lie in rising order. New messages extend the last run up to the next live
 * byte above it (gap_end). When gap_end is reached, or a large message comes, or all slots have been used once, the
 * producer searches the lowest gap that is large enough. It starts a new run there if the gap is at least as large as
 * all live messages together. So with a consumer that keeps up, the data in use fits in a few messages' worth of cache,
 * however large the arena is; a consumer that stalls still has the whole arena behind it.
 *
 * Offsets beyond the capacity are those of messages that are longer than it (large.h). They lie in runs of their own, or
 * are pinned, like all others. */
#ifndef RIP_ARENA_H
#define RIP_ARENA_H

#include "channel/layout.h"

#define RIP_MAX_RUNS 8u
#ifndef RIP_STEP
/* least number of bytes that a lane allocates at once; a multiple of every machine's page size */
#define RIP_STEP UINT64_C(262144)
#endif

#define RIP_LARGE 4096u /* messages of at least this many bytes make it worth checking the cursors */

struct rip_run {
    uint64_t seq;    /* of the first message in the run */
    uint64_t lo, hi; /* the run occupies [lo, hi) of the arena */
};

struct rip_arena {
    /* Where the next message goes: the end of the last run. It is not beyond allocated, except behind a message that is
     * longer than the capacity. */
    uint64_t at;
    uint64_t gap_end; /* the next live byte above at, or the end of the allocated part; at, if that is beyond it */
    uint64_t capacity;
    uint64_t allocated; /* bytes from 0 on that have memory; nothing is written beyond them */
    unsigned count;     /* number of runs; at least 1 */
    unsigned pinned;
    struct rip_run runs[RIP_MAX_RUNS];
    struct rip_run pins[RIP_MAX_PINS]; /* messages older than all runs that must stay, see drop_old.c */
};

void rip_arena_init(struct rip_arena *arena, uint64_t capacity);       /* nothing is allocated yet */
void rip_arena_allocated(struct rip_arena *arena, uint64_t allocated); /* more of the arena has memory now */

/* Removes the messages before seq. seq is the oldest live message and lies at offset; next is the next seq to be
 * written. */
void rip_arena_reclaim(struct rip_arena *arena, uint64_t seq, uint64_t offset, uint64_t next);

/* Finds room for need bytes (a multiple of 64) below end, which is the capacity or the end of the allocated part.
 * Returns its offset, or UINT64_MAX if there is no room. */
uint64_t rip_arena_find(struct rip_arena *arena, uint64_t need, uint64_t end);
/* Continues at an offset that rip_arena_find returned, that differs from at, and that is allocated. Message next will
 * lie there. */
void rip_arena_go(struct rip_arena *arena, uint64_t offset, uint64_t next);

/* Another process has put message seq, of a length that is a multiple of 64, at this offset: makes it the newest one.
 * Returns 0, or -EBADMSG if no process can have put it there. Call rip_arena_allocated after the last one. */
int rip_arena_follow(struct rip_arena *arena, uint64_t seq, uint64_t offset, uint64_t length);

/* The same two for a message that is longer than the capacity: between lo and end, at the start of a page. */
uint64_t rip_arena_find_large(struct rip_arena *arena, uint64_t need, uint64_t lo, uint64_t end);
void rip_arena_go_large(struct rip_arena *arena, uint64_t offset, uint64_t next);
/* Do a run and [lo, hi) overlap? And a run or a pin? */
int rip_arena_has_run(const struct rip_arena *arena, uint64_t lo, uint64_t hi);
int rip_arena_is_live(const struct rip_arena *arena, uint64_t lo, uint64_t hi);

/* Bytes that the messages from seq on occupy. seq is a live message and lies at offset. */
uint64_t rip_arena_from(const struct rip_arena *arena, uint64_t seq, uint64_t offset);

#endif
