/* A lane: is what a consumer reads what the producer wrote, and does it stay as long as it is held?
 *
 * Memory is weak here. Every store waits until its line takes it, so stores become visible in any order, unless a release holds one
 * back until those before it are there. Loads may be made before what comes before them and after what comes behind them, unless
 * they follow an acquire or go before a release. Neither a branch nor an address keeps an order, as in C11. WITHOUT takes away:
 *
 *   1  the release of lane->tail      rip_tx_publish
 *   2  the acquire of lane->tail      rip_rx_refresh
 *   3  the release of cursor->held    rip_rx_publish_cursor
 *   4  the acquire of cursor->held    rip_reclaim
 *
 * producer stands for rip_tx_reserve, rip_reclaim, rip_tx_commit and rip_tx_publish; consumer for rip_rx_refresh, rip_rx_read,
 * rip_rx_take and rip_rx_release, of messages that are let go in any order; line, tail_line and held_line for what memory makes of
 * their stores. A message is its descriptor and two words of payload. Its place in the arena is that of its slot: how the arena
 * finds room is no matter between processes. Left out: how they wait (event_count.pml), and more groups than one. */
#ifndef WITHOUT
#define WITHOUT 0
#endif
#define SLOTS 2
#define MESSAGES 7
#define WORDS 3 /* the descriptor, then the payload */
#define LINES (SLOTS * WORDS)

byte memory[LINES], waiting[LINES]; /* of which message: 1 + its seq, or 0 */
byte tail, tail_stored;             /* what all see of lane->tail; what the producer has stored */
byte held, held_stored;             /* the same of cursor->held, and the consumer */

active [LINES] proctype line() {
end:
    do
    :: atomic { waiting[_pid] -> memory[_pid] = waiting[_pid]; waiting[_pid] = 0 }
    od
}

#define THERE(i) (waiting[i] == 0 || waiting[i] > tail + 1)
#define RELEASED (WITHOUT == 1 || THERE(0) && THERE(1) && THERE(2) && THERE(3) && THERE(4) && THERE(5))
#define LOADED (tail < held + SLOTS) /* where the load of held went after the stores: it comes before their publication */

active proctype tail_line() {
end:
    do
    :: atomic { tail < tail_stored && RELEASED && LOADED -> tail++ }
    od
}

active proctype held_line() {
end:
    do
    :: atomic { held < held_stored -> held++ }
    od
}

active proctype producer() {
    byte seq = 0, until = SLOTS, word;
    do
    :: seq == MESSAGES -> break
    :: seq < MESSAGES && seq >= until ->
#if WITHOUT == 4
        until++ /* the consumer always comes so far; the stores go before the load that says so */
#else
        until = held + SLOTS
#endif
    :: seq < MESSAGES && seq < until ->
        word = 0;
        do
        :: word < WORDS -> /* a line takes the stores to one word in their order */
            atomic { waiting[seq % SLOTS * WORDS + word] == 0 -> waiting[seq % SLOTS * WORDS + word] = seq + 1; word++ }
        :: else -> break
        od
        atomic { seq++; tail_stored = seq }
    od
}

#define NOT_YET 0
#define RIGHT 1
#define WRONG 2
#define READ(slot) (loaded[(slot) * WORDS] && loaded[(slot) * WORDS + 1] && loaded[(slot) * WORDS + 2])

inline load(i) { /* at any time: early, or late */
    atomic {
        loaded[i] == NOT_YET && (seq_in[(i) / WORDS] < seen || WITHOUT == 2) ->
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
            held_stored = oldest
        fi
    }
}

inline end_of(slot) { /* all has been read, and was right */
    atomic {
        released[slot] && READ(slot) ->
        assert(loaded[(slot) * WORDS + 1] == RIGHT && loaded[(slot) * WORDS + 2] == RIGHT);
        forget(slot);
        released[slot] = 0;
        seq_in[slot] = seq_in[slot] + SLOTS
    }
}

active proctype consumer() {
    byte next = 0, seen = 0, oldest = 0; /* rx->next, rx->tail, rx->held */
    bit mark[SLOTS];                     /* RIP_MARK_RELEASED */
    byte seq_in[SLOTS], loaded[LINES];       /* the message that lies there, and what has come of its words */
    bit released[SLOTS];
    seq_in[1] = 1;
    do
    :: atomic { /* rip_rx_refresh */
        next == seen && next < MESSAGES ->
        seen = tail;
        assert(seen >= next && seen - oldest <= SLOTS);
        if
        :: seen == next -> /* what was loaded early was for nothing */
            if
            :: seq_in[0] >= next -> forget(0)
            :: else
            fi;
            if
            :: seq_in[1] >= next -> forget(1)
            :: else
            fi
        :: else
        fi
    }
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
    :: end_of(0)
    :: end_of(1)
    :: atomic { oldest == MESSAGES && seq_in[0] >= MESSAGES && seq_in[1] >= MESSAGES -> break }
    od
}
