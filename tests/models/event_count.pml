/* The event count: can a sleeper sleep on though a message has been published?
 *
 * A publisher stores the tail, then looks whether somebody is asleep. A sleeper says that it is asleep, then looks at the tail. Processors
 * (x86: total store order) let a store wait in a buffer while later loads go ahead, so each could miss the other, and the sleeper would
 * sleep for ever: spin calls that an invalid end state. FENCE chooses what is against it:
 *
 *   0  nothing                                            a wake-up is lost
 *   1  the publisher waits for its buffer before it looks (rip_sync_wake, and rip_tx_publish where the word has a fence bit)
 *   2  the sleeper has every buffer emptied before it looks (membarrier(2), rip_fence_heavy)
 *   3  the first sleeper asks the publisher to fence, by a bit in the word of announcements, for as long as it is there (wait="block");
 *      the second one does as with 2, whatever the bit says
 *   4  as 3, but the second one relies on the bit where it sees it: the bit may not have come to a publish that is under way
 *   5  as 3, but the first one relies on it without having had every buffer emptied once, after it has asked
 *
 * The sleep of 50 ms at most (RIP_SLICE_NS), which would hide a lost wake-up, is left out. */
#ifndef FENCE
#define FENCE 0
#endif
#define MESSAGES 4
#define SLEEPERS 2

byte tail, buffered; /* what all see of it; what the publisher has stored */
bit asleep, fence;   /* one word: each look at it, and each change, is of both */
byte futex;
byte sleepers;

#define DRAINED (tail == buffered) /* an atomic read-modify-write, too, first waits for its processor's buffer */
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
                :: was -> futex++ /* and wakes whoever sleeps on it */
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
    byte seen = 0, rung;
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
        rung = futex;
        atomic { asleep = 1; relies = asks || (FENCE == 4 && fence) };
#if FENCE >= 2
        if
        :: !relies -> EMPTY_BUFFERS
        :: relies
        fi;
#endif
        if
        :: tail > seen
        :: tail == seen -> futex != rung /* sleeps until then */
        fi
    od;
    if
    :: asks -> fence = 0 /* take_back_fences */
    :: else
    fi
}
