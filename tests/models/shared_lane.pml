/* A shared lane: do its writers put one after another without loss, and does a reader get all of it in one order,
 * wherever writers are killed?
 *
 * Writers 1 and up may be killed at any step, DEATHS of them; writer 0 puts its last message after all others have
 * ended. With REAPS=1 a reader that sleeps notices deaths (rip_channel_reap); then writer 0 puts all its messages at
 * once, so nobody may put after a death. Without it, only the next owner can help.
 *
 * writer stands for rip_lane_enter, catch_up, rip_make_room, rip_tx_commit, rip_tx_publish and rip_tx_leave; reader for
 * rip_rx_refresh, and rip_rx_refresh_all after a death; sleeping is that of event_count.pml. The lock and the kernel
 * order all that owners do, so the memory is sequentially consistent here; lane.pml shows that between the owner and
 * readers. Not modelled: the arena and messages in use (tests/c/writers.c kills at each instruction), and a writer that
 * is killed after it has released the lock and before it wakes, which the end of the reader's slice makes up for.
 *
 * FAULT:
 *
 *   1  an owner does not catch up
 *   2  catch_up does not complete what is in the slots
 *   3  catch_up wakes nobody after a death
 *   4  rip_tx_publish stores desc->published before the tail
 *   5  the lock is released before the tail is stored
 *   6  a reader does not read the tail after a death
 *   7  a writer takes the lock from an owner that lives
 *   8  no writer takes the lock from a dead owner
 *   9  an owner that waits for room does not check the cursor again before it sleeps */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef REAPS
#define REAPS 0
#endif
#ifndef FAULT
#define FAULT 0
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef PUTS
#define PUTS 2
#endif
#define MOST (WRITERS * PUTS)

byte lock;             /* 1 + the owner, or 0 */
bit dead[WRITERS];     /* its byte is not locked any more */
byte last = WRITERS;   /* lane->last */
byte tail, reclaimed;  /* in the header */
byte slot[SLOTS];      /* the message in it: 1 + PUTS * writer + its number */
byte number[SLOTS];    /* desc->published: 1 + seq */
byte cursor;           /* cursor->released */
bit asleep, woken;     /* of the reader */
bit room_asleep, room; /* of the owner that waits for room */
byte deaths, ended;
byte published[MOST];  /* what was published at each seq, for the checks */

#define MAY_DIE                                                                                                        \
    if                                                                                                                 \
    :: atomic { _pid > 0 && deaths < DEATHS -> deaths++; dead[_pid] = 1; goto over }                                   \
    :: true                                                                                                            \
    fi

inline wake() { /* rip_wake_groups */
    if
    :: atomic { asleep -> asleep = 0; woken = 1 }
    :: else
    fi
}

active [WRITERS] proctype writer() {
    byte known = 0, free_below = 0, put = 0, seq; /* p->published, p->free_below */
    bit died;
    do
    :: put == PUTS -> break
    :: put < PUTS && (_pid > 0 || REAPS || put + 1 < PUTS || ended + deaths == WRITERS - 1) ->
        MAY_DIE;
        if /* rip_lane_acquire */
        :: atomic { lock == 0 -> lock = 1 + _pid; died = 0 }
        :: atomic { lock != 0 && (FAULT == 7 || dead[lock - 1] && FAULT != 8) -> lock = 1 + _pid; died = 1 }
        fi;
        MAY_DIE;
        if
        :: last != _pid && FAULT != 1 -> /* catch_up */
            assert(known <= tail && free_below <= reclaimed);
            seq = reclaimed;
            do
            :: seq != tail && number[seq % SLOTS] != seq + 1 && FAULT != 2 ->
                number[seq % SLOTS] = seq + 1;
                seq++;
                MAY_DIE
            :: seq != tail && (number[seq % SLOTS] == seq + 1 || FAULT == 2) -> seq++
            :: seq == tail -> break
            od;
            known = tail;
            free_below = reclaimed;
            if
            :: died && FAULT != 3 -> wake()
            :: else
            fi;
            MAY_DIE;
            last = _pid
        :: else
        fi;
        do
        :: known - free_below < SLOTS -> break
        :: known - free_below == SLOTS -> /* rip_reclaim, and the wait for room */
            MAY_DIE;
            free_below = cursor;
            MAY_DIE;
            reclaimed = free_below;
            if
            :: known - free_below == SLOTS ->
                room_asleep = 1;
                if
                :: FAULT != 9 && cursor != free_below
                :: else ->
                    if
                    :: atomic { room -> room = 0 }
                    :: atomic { _pid > 0 && deaths < DEATHS -> deaths++; dead[_pid] = 1; goto over }
                    fi
                fi
            :: else
            fi
        od;
        assert(known == tail && known - cursor < SLOTS); /* it overwrites no message */
        MAY_DIE;
        slot[known % SLOTS] = 1 + PUTS * _pid + put;
        MAY_DIE;
#if FAULT == 4
        number[known % SLOTS] = known + 1;
        MAY_DIE;
#endif
#if FAULT == 5
        lock = 0;
#endif
        atomic { published[known] = 1 + PUTS * _pid + put; tail = known + 1 }
        MAY_DIE;
        number[known % SLOTS] = known + 1;
        MAY_DIE;
        known++;
        put++;
#if FAULT != 5
        lock = 0;
#endif
        wake()
    od;
    ended++;
over:
    skip
}

active proctype reader() {
    byte next = 0, seen = 0, noticed = 0, count[WRITERS];
    do
    :: atomic { next < seen || number[next % SLOTS] == next + 1 ->
        assert(next < tail || FAULT == 4);
        assert(slot[next % SLOTS] == published[next]); /* one order, and each message once */
        assert((published[next] - 1) % PUTS == count[(published[next] - 1) / PUTS]);
        count[(published[next] - 1) / PUTS]++;
        next++
        };
        cursor = next;
        if
        :: atomic { room_asleep -> room_asleep = 0; room = 1 }
        :: else
        fi
    :: atomic { REAPS && noticed < deaths -> noticed = deaths; seen = (FAULT == 6 -> seen : (tail > seen -> tail : seen)) }
    :: !(next < seen || number[next % SLOTS] == next + 1) && ended + deaths == WRITERS && next == tail -> break
    :: !(next < seen || number[next % SLOTS] == next + 1) && !(ended + deaths == WRITERS && next == tail) ->
        asleep = 1;
        if
        :: number[next % SLOTS] == next + 1
        :: else ->
            if
            :: atomic { woken -> woken = 0 }
            :: REAPS && noticed < deaths
            :: ended + deaths == WRITERS && next == tail
            fi
        fi
    od
}
