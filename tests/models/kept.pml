/* A consumer of an exclusive group keeps views, and its producer goes around them: is a message overwritten while it is
 * in use, or does the producer wait for ever?
 *
 * The consumer takes messages in order, and acknowledges and releases them in any order. When an older one is acknowledged
 * and in use, and a later one is released, it writes the older one into the table beside its cursor, and moves the cursor
 * beyond it. KEEPS=1: it may keep one acknowledged message for ever, and nobody waits for that. FAULT adds a fault:
 *
 *   1  rip_rx_keep writes the table after the cursor is published
 *   2  the producer reads the table before the cursor
 *   3  pin_kept pins nothing
 *   4  update_pins drops a pin whose message is still in the table
 *   5  rip_rx_release_late clears the entry before the last read
 *   6  it does not count the release in `freed`
 *   7  the producer loads `freed` after it has looked for room
 *   8  rip_rx_release_only does not call rip_rx_keep when it releases the oldest message
 *
 * producer stands for the wait for room with rip_room_watch, update_pins, pass_released and pin_kept, and for
 * rip_tx_publish; consumer for rip_rx_ack, rip_rx_release_only, rip_rx_release_late, rip_rx_keep and
 * rip_rx_publish_cursor. The table has one entry, and one message may be pinned. A message may lie at any offset that is
 * neither live nor pinned; the last one needs the whole arena, or two offsets if KEEPS. Not modelled: the order of payload and tail (lane.pml), groups that come and go (drop_old.pml). */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef KEEPS
#define KEEPS 0
#endif
#define MESSAGES 5
#define SLOTS 3
#define OFFSETS 3
#define HELD (2 + KEEPS)
#define NONE 255

byte tail, cursor, kept, freed; /* kept: 1 + the message in the table, or 0 */
byte offset[SLOTS];             /* of a descriptor */
byte payload[OFFSETS];          /* the message that lies there */

/* ---- the producer ---- */

#define LIES(seq, there) (free_below <= (seq) && (seq) < put && offset[(seq) % SLOTS] == (there))
#define IS_LIVE(there) (                                                                                               \
    LIES(free_below, there) || LIES(free_below + 1, there) || LIES(free_below + 2, there) ||                           \
    (pin != NONE && pin_at == (there)))
#define IS_LAST (put == MESSAGES - 1)
#define IS_ROOM (put - free_below < SLOTS &&                                                                            \
    !IS_LIVE(0) + !IS_LIVE(1) + !IS_LIVE(2) >= (IS_LAST -> 3 - KEEPS : 1))

active proctype producer() {
    byte put = 0, free_below = 0, pin = NONE, pin_at = 0, limit, its_kept, its_cursor, its_freed;
    do
    :: put == MESSAGES -> break
    :: put < MESSAGES ->
        its_cursor = cursor;
        its_freed = freed;
        if /* update_pins */
        :: pin != NONE && (kept != 1 + pin || FAULT == 4) -> atomic { pin = NONE; pin_at = 0 }
        :: else
        fi;
#if FAULT == 2
        its_kept = kept;
#endif
        limit = cursor;
#if FAULT != 2
        its_kept = kept;
#endif
        atomic {
            if
            :: its_kept > free_below && its_kept <= limit && FAULT != 3 ->
                if
                :: pin == NONE -> pin = its_kept - 1; pin_at = offset[pin % SLOTS]
                :: else -> limit = its_kept - 1
                fi
            :: else
            fi;
            free_below = limit;
            limit = 0;
            its_kept = 0
        }
#if FAULT == 7
        its_freed = freed;
#endif
        if
        :: IS_ROOM ->
            atomic {
                if
                :: !IS_LIVE(0) -> limit = 0
                :: !IS_LIVE(1) -> limit = 1
                :: !IS_LIVE(2) -> limit = 2
                fi;
                offset[put % SLOTS] = limit;
                payload[limit] = put;
                if
                :: IS_LAST && !IS_LIVE(1) -> payload[1] = put
                :: else
                fi;
                if
                :: IS_LAST && !IS_LIVE(2) -> payload[2] = put
                :: else
                fi;
                limit = 0;
                put++;
                tail = put
            }
        :: else -> cursor != its_cursor || freed != its_freed /* otherwise this is an invalid end state */
        fi
    od
}

/* ---- the consumer ---- */

#define IN_WORK 1
#define IN_USE 2 /* and acknowledged */
#define DONE 3
#define IS_WHOLE(seq) (payload[at[seq]] == (seq))
#define IS_HELD(seq) ((state[seq] == IN_WORK || state[seq] == IN_USE) && forever != (seq))

inline choose() {
    atomic {
        if
        :: IS_HELD(0) -> k = 0
        :: IS_HELD(1) -> k = 1
        :: IS_HELD(2) -> k = 2
        :: IS_HELD(3) -> k = 3
        :: IS_HELD(4) -> k = 4
        fi
    }
}

inline clear() {
    if
    :: k < released -> kept = 0; freed = freed + (FAULT != 6)
    :: else
    fi
}

inline advance(keeps) {
    do
    :: atomic { released < next && state[released] == DONE -> released++ }
    :: atomic { /* rip_rx_keep */
        keeps && released + 1 < next && state[released] == IN_USE && state[released + 1] == DONE && !kept && !late ->
        if
        :: FAULT == 1 -> late = 1 + released
        :: else -> kept = 1 + released
        fi;
        released++
    }
    :: else -> break
    od;
    cursor = released;
    if
    :: late -> atomic { kept = late; late = 0 }
    :: else
    fi
}

active proctype consumer() {
    byte next, released, held, k, late, forever = NONE, state[MESSAGES], at[MESSAGES];
    bool in_order;
end:
    do
    :: atomic { next < tail && held < HELD ->
        at[next] = offset[next % SLOTS];
        assert(IS_WHOLE(next));
        state[next] = IN_WORK;
        next++;
        held++
    }
    :: held > (forever != NONE) ->
        choose();
        if
        :: atomic { state[k] == IN_WORK -> state[k] = IN_USE }
            if
            :: KEEPS && forever == NONE -> forever = k
            :: true
            fi;
            k = 0;
            advance(1)
        :: true ->
            in_order = k == released;
#if FAULT == 5
            clear();
#endif
            atomic { assert(IS_WHOLE(k)); state[k] = DONE; held-- }
#if FAULT != 5
            clear();
#endif
            k = 0;
            advance(!(FAULT == 8 && in_order))
        fi
    od
}
