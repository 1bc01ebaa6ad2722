/* The event count: can a sleeper sleep on though a message has been published?
 *
 * A publisher stores the tail, then looks whether somebody is asleep. A sleeper says that it is asleep, then looks at the tail. Processors
 * (x86: total store order) let a store wait in a buffer while later loads go ahead, so each could miss the other, and the sleeper would
 * sleep for ever: spin calls that an invalid end state. FENCE chooses what is against it:
 *
 *   0  nothing                                            a wake-up is lost
 *   1  the publisher waits for its buffer before it looks (RIP_FENCE_GROUPS, RIP_FENCE_LANE, rip_sync_ring)
 *   2  the sleeper has every buffer emptied before it looks (membarrier(2), rip_fence_heavy)
 *
 * The sleep of 50 ms at most (RIP_SLICE_NS), which would hide a lost wake-up, is left out. */
#ifndef FENCE
#define FENCE 0
#endif
#define MESSAGES 4
#define SLEEPERS 2

byte tail, buffered; /* what all see of it; what the publisher has stored */
bit asleep;
byte bell;

#define DRAINED (tail == buffered) /* an atomic read-modify-write, too, first waits for its processor's buffer */

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
        :: asleep ->
            atomic { DRAINED -> was = asleep; asleep = 0 }
            if
            :: was -> bell++ /* and wakes whoever sleeps on it */
            :: else
            fi
        :: else
        fi
    :: else -> break
    od
}

active [SLEEPERS] proctype sleeper() {
    byte seen = 0, rung;
    do
    :: seen == MESSAGES -> break
    :: seen < MESSAGES && tail > seen -> seen = tail
    :: seen < MESSAGES && tail == seen ->
        rung = bell;
        asleep = 1;
#if FENCE == 2
        atomic { tail = buffered }
#endif
        if
        :: tail > seen
        :: tail == seen -> bell != rung /* sleeps until then */
        fi
    od
}
