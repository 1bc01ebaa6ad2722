/* Consumers that read by time (rx_order.h): does a message come before all that was put after it?
 *
 * A message must come after each message that was published before its put began, whoever has put them: it may have
 * been put because of any of these. The lanes are scanned one after the other, and messages are published at any
 * time in between, each by its tail and then in its slot. A scan may come at any time, also while messages are settled.
 * A producer can be interrupted for any time between its stamp and the publication. The last lane is new: it gets into
 * the table of lanes at some time. With MEMBERS=2 two members of a shared group compete; these read the tails always.
 * FAULT:
 *
 *   1  the oldest message is taken at once, and not only when it is settled
 *   2  what a scan itself finds is settled
 *   3  the table of lanes is not read again before a message is settled
 *   4  the stamp is read before the put begins: without rip_counter_fence, before what the program has loaded
 *   5  the stamp is read after the publication
 *   6  a member that finds the oldest message taken takes the next one of the same lane (MEMBERS=2)
 *   7  the lane of a message that another one has taken counts as empty until the next scan, and its other messages
 *      are not taken into account (MEMBERS=2)
 *   8  a lane with known messages is not polled, although the scan settles messages of another lane
 *   9  of a lane only the slots are read, although the scan settles messages of another lane
 *
 * producer stands for rip_tx_stamp and rip_tx_publish; consumer for rip_order_scan and rip_order_ready. Memory is
 * sequentially consistent here; lane.pml shows that a message is complete when it is seen. */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef MEMBERS
#define MEMBERS 1
#endif
#if MEMBERS == 1
#define LANES 3
#define ALL 15
#else
#define LANES 2
#define ALL 11
#endif
#define MESSAGES 4
#define COUNT(i) ((i) == 0 -> 2 : 1) /* messages of a lane */
#define NUMBER_OF(i, seq) ((seq) == 0 -> (i) : 3)
#define NONE 255

byte tail[LANES], slots[LANES], stamp[MESSAGES], clock; /* slots: how many messages are in their slots */
byte before[MESSAGES]; /* which messages were published when the put of this one began */
byte published, taken; /* a bit for each message */
byte lanes = LANES - 1;

inline read_clock(k) {
    atomic { clock++; stamp[k] = clock }
}

active [LANES] proctype producer() {
    byte seq = 0, k;
    if
    :: _pid == LANES - 1 -> lanes = LANES
    :: else
    fi;
    do
    :: seq == COUNT(_pid) -> break
    :: seq < COUNT(_pid) ->
        k = NUMBER_OF(_pid, seq);
#if FAULT == 4
        read_clock(k);
#endif
        before[k] = published;
#if FAULT != 4 && FAULT != 5
        read_clock(k);
#endif
        atomic { seq++; tail[_pid] = seq; published = published | 1 << k }
#if FAULT == 5
        read_clock(k);
#endif
        slots[_pid] = seq
    od
}

#define NUMBER(i) NUMBER_OF(i, next[i])
#define IS_TAKEN(i) (taken >> NUMBER(i) & 1)

inline find_first(i) { /* the first message that nobody has taken */
    do
    :: next[i] < known[i] && IS_TAKEN(i) -> next[i]++
    :: else -> break
    od;
    time[i] = (next[i] < known[i] -> stamp[NUMBER(i)] : NONE)
}

#define HAS(i) (next[i] < known[i])

inline poll(i) { /* others: the scan settles messages of other lanes */
#if MEMBERS == 2
    known[i] = tail[i]
#else
    if
#if FAULT == 8
    :: HAS(i) -> skip
    :: others && !HAS(i) -> known[i] = tail[i]
#elif FAULT == 9
    :: others -> known[i] = (slots[i] > known[i] -> slots[i] : known[i])
#else
    :: others -> known[i] = tail[i]
#endif
    :: !others && (HAS(i) || slots[i] <= next[i]) -> skip
    :: !others && !HAS(i) && slots[i] > next[i] -> known[i] = (slots[i] > next[i] + 1 -> tail[i] : next[i] + 1)
    fi
#endif
}

inline scan() {
#if FAULT == 3
    read = (best == NONE -> lanes : read);
#else
    read = lanes;
#endif
    d_step {
        settles = 0;
        i = 0;
        do
        :: i < LANES -> settled[i] = known[i]; settles = settles + (HAS(i) -> 1 : 0); i++
        :: else -> break
        od;
        i = 0
    }
    do
    :: i < read ->
        atomic {
            others = settles > (HAS(i) -> 1 : 0);
            poll(i);
#if FAULT == 2
            settled[i] = known[i];
#endif
            find_first(i);
            i++
        }
    :: i == read -> break
    od
}

inline find_oldest() {
    d_step {
        best = NONE;
        i = 0;
        do
        :: i < LANES ->
            if
            :: time[i] != NONE && (best == NONE || time[i] < time[best]) -> best = i
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

inline take(i) {
    assert((before[NUMBER(i)] & ~taken) == 0);
    taken = taken | 1 << NUMBER(i);
    next[i]++
}

active [MEMBERS] proctype consumer() {
    byte next[LANES], known[LANES], settled[LANES], time[LANES];
    byte i = 0, best = NONE, read = 0, settles = 0;
    bool others;
    time[0] = NONE;
    time[1] = NONE;
    time[LANES - 1] = NONE;
    do
    :: taken == ALL -> break
    :: taken != ALL ->
        find_oldest();
        if
        :: FAULT != 1 || best == NONE -> scan()
        :: best != NONE && (FAULT == 1 || next[best] < settled[best]) ->
            atomic { /* rip_claim, and the search for the next one of the lane */
                if
                :: !IS_TAKEN(best) -> take(best)
                :: else ->
#if FAULT == 6
                    find_first(best);
                    if
                    :: time[best] != NONE -> take(best)
                    :: else
                    fi
#elif FAULT == 7
                    known[best] = next[best]
#endif
                    skip
                fi;
                find_first(best)
            }
        fi
    od
}
