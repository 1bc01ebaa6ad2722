/* The event count: can a sleeper go on sleeping although a message has been published?
 *
 * A publisher stores the tail and then loads asleep. A sleeper stores asleep and then loads the tail. On a processor
 * (x86: total store order) a store may wait in a buffer while later loads go ahead. So each side could miss the other's
 * store, and the sleeper would sleep for ever: spin reports an invalid end state. FENCE selects the remedy:
 *
 *   0  none: a wake-up is lost
 *   1  the publisher drains its store buffer before it loads asleep (rip_sync_wake, and rip_tx_publish if the word
 *      has a fence bit)
 *   2  the sleeper has every processor's store buffer drained before it loads the tail (membarrier(2), rip_fence_heavy)
 *   3  the first sleeper asks the publisher to fence, by a bit in the word of announcements, for as long as the sleeper
 *      lives (wait="block"); the second one does as with 2, whatever the bit is
 *   4  as 3, but the second sleeper relies on the bit if it sees it: a publish in progress may not have seen the bit
 *   5  as 3, but the first sleeper relies on it without having had all store buffers drained once after setting the bit
 *
 * The time limit of a sleep, 50 ms (RIP_SLICE_NS), would hide a lost wake-up, so it is not modelled. */
#ifndef FENCE
#define FENCE 0
#endif
#define MESSAGES 4
#define SLEEPERS 2

byte tail, buffered; /* the value that all processors see; the value that the publisher has stored */
bit asleep, fence;   /* both are in one word: every load and every change is of both */
byte futex;
byte sleepers;

#define DRAINED (tail == buffered) /* an atomic read-modify-write also drains its processor's store buffer first */
#define EMPTY_BUFFERS atomic { tail = buffered }

active proctype buffer() {
end:
    do
    :: atomic { tail < buffered -> tail++ }
    od
}

active proctype publisher() {
    byte sent = 0;
    bit was;
    do
    :: sent < MESSAGES ->
        buffered++;
        sent++;
#if FENCE == 1
        DRAINED;
#endif
        if
        :: asleep || fence ->
            DRAINED; /* the fence in rip_wake_groups */
            if
            :: asleep ->
                atomic { DRAINED -> was = asleep; asleep = 0 }
                if
                :: was -> futex++ /* and wakes the sleepers */
                :: else
                fi
            :: else
            fi
        :: else
        fi
    :: else -> break
    od
}

active [SLEEPERS] proctype sleeper() {
    byte seen = 0, futex_seen;
    bit asks, relies = 0;
    atomic { asks = (FENCE >= 3 && sleepers == 0); sleepers++ }
    if
    :: asks ->
        fence = 1;
#if FENCE != 5
        EMPTY_BUFFERS;
#endif
        relies = 1
    :: else
    fi;
    do
    :: seen == MESSAGES -> break
    :: seen < MESSAGES && tail > seen -> seen = tail
    :: seen < MESSAGES && tail == seen ->
        futex_seen = futex;
        atomic { asleep = 1; relies = asks || (FENCE == 4 && fence) };
#if FENCE >= 2
        if
        :: !relies -> EMPTY_BUFFERS
        :: relies
        fi;
#endif
        if
        :: tail > seen
        :: tail == seen -> futex != futex_seen /* sleeps until then */
        fi
    od;
    if
    :: asks -> fence = 0 /* take_back_fences */
    :: else
    fi
}
