/* A lane: does a consumer read what the producer wrote, and does a message stay unchanged until it is released?
 *
 * The memory is weakly ordered. A store is delayed until its cache line accepts it, so stores become visible in any
 * order, except that a release store waits for the stores before it. A load may be executed before earlier or after
 * later operations, except that none goes before an acquire load that it follows, and none goes after a release store
 * that follows it. Neither a branch nor an address dependency orders anything, as in C11. WITHOUT removes an order:
 *
 *   1  the release of lane->tail          rip_tx_publish
 *   2  the acquire of lane->tail          rip_rx_refresh_all
 *   3  the release of cursor->released    rip_rx_publish_cursor
 *   4  the acquire of cursor->released    rip_reclaim
 *   5  the release of desc->published     rip_tx_publish
 *   6  the acquire of desc->published     rip_desc_is_of
 *
 * or has another effect:
 *
 *   7  a consumer does not read the tail of a lane whose producer has been killed
 *   8  rip_tx_publish stores desc->published before the tail
 *
 * With KILLED=1 the producer may be killed at any step; the consumer then reads the lane to its end. With SELECTS=1 the
 * consumer may read the tail while the producer lives, too.
 *
 * producer stands for rip_tx_reserve, rip_reclaim, rip_tx_commit and rip_tx_publish; consumer for rip_rx_refresh,
 * rip_rx_refresh_all, rip_rx_read, rip_rx_take and rip_rx_release, of messages that are released in any order; line,
 * tail_line, slot_lines and cursor_line for the memory that executes their stores. A message is its descriptor and two
 * words of payload. Its offset in the arena is given by its slot: how the arena finds room does not concern other
 * processes. Not modelled: waiting (event_count.pml), and more than one group. */
#ifndef KILLED
#define KILLED 0
#endif
#ifndef SELECTS
#define SELECTS 0
#endif
#ifndef WITHOUT
#define WITHOUT 0
#endif
#define SLOTS 2
#define MESSAGES 7
#define WORDS 3 /* the descriptor, then the payload */
#define LINES (SLOTS * WORDS)

byte memory[LINES], waiting[LINES]; /* the message in this word: 1 + its seq, or 0 */
byte tail, tail_stored;             /* lane->tail as all see it; the value that the producer has stored */
/* How many numbers desc->published have been stored in slots, as all see it and as the producer has stored them. They
 * become visible in order, because each is a release store. */
byte numbered, numbered_stored;
bit dead; /* the producer has ended, and its stores are visible */
byte cursor, cursor_stored;             /* cursor->released as all see it; the value that the consumer has stored */

active [LINES] proctype line() {
end:
    do
    :: atomic { waiting[_pid] -> memory[_pid] = waiting[_pid]; waiting[_pid] = 0 }
    od
}

#define VISIBLE(i) (waiting[i] == 0 || waiting[i] > tail + 1)
#define STORES_VISIBLE                                                                                                 \
    (WITHOUT == 1 || VISIBLE(0) && VISIBLE(1) && VISIBLE(2) && VISIBLE(3) && VISIBLE(4) && VISIBLE(5))
/* if the producer's load of the cursor is executed after the stores: it precedes their publication */
#define LOAD_DONE (tail < cursor + SLOTS)

active proctype tail_line() {
end:
    do
    :: atomic { tail < tail_stored && STORES_VISIBLE && LOAD_DONE -> tail++ }
    od
}

/* Is message seq published according to its slot? */
#define IS_NUMBERED(seq) (numbered > (seq) && numbered <= (seq) + SLOTS)
#define IN_MEMORY(i) (waiting[i] == 0 || waiting[i] > numbered + 1)
#define MESSAGE_VISIBLE                                                                                                \
    (IN_MEMORY(0) && IN_MEMORY(1) && IN_MEMORY(2) && IN_MEMORY(3) && IN_MEMORY(4) && IN_MEMORY(5))
#define NUMBER_MAY_FOLLOW (WITHOUT == 5 || MESSAGE_VISIBLE && (WITHOUT == 8 || tail > numbered))

active proctype slot_lines() {
end:
    do
    :: atomic { numbered < numbered_stored && NUMBER_MAY_FOLLOW -> numbered++ }
    od
}

active proctype cursor_line() {
end:
    do
    :: atomic { cursor < cursor_stored -> cursor++ }
    od
}

active proctype producer() {
    byte seq = 0, free_below = SLOTS, word;
    do
    :: seq == MESSAGES || KILLED -> break
    :: seq < MESSAGES && seq >= free_below ->
#if WITHOUT == 4
        free_below++ /* the consumer always gets this far; the stores are executed before the load that confirms it */
#else
        free_below = cursor + SLOTS
#endif
    :: seq < MESSAGES && seq < free_below ->
        word = 0;
        do
        :: word < WORDS -> /* a line accepts the stores to one word in order */
            atomic { waiting[seq % SLOTS * WORDS + word] == 0 -> waiting[seq % SLOTS * WORDS + word] = seq + 1; word++ }
        :: word < WORDS && KILLED -> goto over
        :: word == WORDS -> break
        od
        seq++;
#if WITHOUT == 8
        numbered_stored = seq;
#else
        tail_stored = seq;
#endif
        if
        :: KILLED -> goto over
        :: true
        fi;
        atomic { tail_stored = seq; numbered_stored = seq }
    od
over:
    atomic {
        tail == tail_stored && numbered == numbered_stored && waiting[0] == 0 && waiting[1] == 0 && waiting[2] == 0 &&
            waiting[3] == 0 && waiting[4] == 0 && waiting[5] == 0 ->
        dead = 1
    }
}

#define NOT_YET 0
#define RIGHT 1
#define WRONG 2
#define READ(slot) (loaded[(slot) * WORDS] && loaded[(slot) * WORDS + 1] && loaded[(slot) * WORDS + 2])

inline load(i) { /* at any time: early or late */
    atomic {
        loaded[i] == NOT_YET && (seq_in[(i) / WORDS] < seen || WITHOUT == 2 || WITHOUT == 6) ->
        loaded[i] = (memory[i] == seq_in[(i) / WORDS] + 1 -> RIGHT : WRONG)
    }
}

inline forget(slot) {
    loaded[(slot) * WORDS] = NOT_YET;
    loaded[(slot) * WORDS + 1] = NOT_YET;
    loaded[(slot) * WORDS + 2] = NOT_YET
}

inline release(slot) { /* rip_rx_release_only, rip_rx_publish_cursor */
    atomic {
        seq_in[slot] < next && !released[slot] && (WITHOUT == 3 || READ(slot)) ->
        released[slot] = 1;
        if
        :: seq_in[slot] != oldest -> mark[slot] = 1
        :: else ->
            oldest++;
            do
            :: oldest != next && mark[oldest % SLOTS] -> mark[oldest % SLOTS] = 0; oldest++
            :: else -> break
            od;
            cursor_stored = oldest
        fi
    }
}

inline finish(slot) { /* every word has been read, and was right */
    atomic {
        released[slot] && READ(slot) ->
        assert(loaded[(slot) * WORDS + 1] == RIGHT && loaded[(slot) * WORDS + 2] == RIGHT);
        forget(slot);
        released[slot] = 0;
        seq_in[slot] = seq_in[slot] + SLOTS
    }
}

inline discard(is_ordered) { /* of the messages that were not taken, what was loaded before this */
    if
    :: (is_ordered) && seq_in[0] >= next -> forget(0)
    :: else
    fi;
    if
    :: (is_ordered) && seq_in[1] >= next -> forget(1)
    :: else
    fi
}

active proctype consumer() {
    byte next = 0, seen = 0, oldest = 0; /* rx->next, rx->tail, rx->released */
    bit mark[SLOTS];                     /* RIP_MARK_RELEASED */
    byte seq_in[SLOTS], loaded[LINES];       /* the message in this slot, and the result of loading its words */
    bit released[SLOTS];
    seq_in[1] = 1;
    do
    :: atomic { /* rip_rx_refresh */
        next == seen && IS_NUMBERED(next) ->
        assert(next - oldest < SLOTS);
        seen++;
        discard(WITHOUT != 6)
    }
    :: atomic { /* rip_rx_refresh_all */
        next == seen && (SELECTS || dead && WITHOUT != 7) && tail != next ->
        assert(tail >= next && tail - oldest <= SLOTS);
        discard(WITHOUT != 2);
        seen = tail
    }
    :: atomic { next == seen && !dead -> discard(true) } /* the attempt finds no message; once dead, it must find one */
    :: load(0)
    :: load(1)
    :: load(2)
    :: load(3)
    :: load(4)
    :: load(5)
    :: atomic { /* rip_rx_read, rip_rx_take */
        next < seen && seq_in[next % SLOTS] == next && loaded[next % SLOTS * WORDS] ->
        assert(loaded[next % SLOTS * WORDS] == RIGHT);
        next++
    }
    :: release(0)
    :: release(1)
    :: finish(0)
    :: finish(1)
    :: atomic { dead && oldest == tail_stored && seq_in[0] >= oldest && seq_in[1] >= oldest -> break }
    od
}
