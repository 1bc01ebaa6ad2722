/* Claims: the members of a shared group compete for the messages of a lane, and any of them may be killed at any step.
 *
 * There is one word for each slot, which names the member that has the message. The cursor moves over the words of
 * released messages. A member may acknowledge a message and still use its memory (ACKED), the last message for ever:
 * the stream ends all the same. FAULT adds a fault:
 *
 *   1  rip_claim_release stores RELEASED with release order: the store is delayed, and later loads overtake it
 *   2  the cursor is moved with acq_rel order: others see it late, and later loads overtake it
 *   3  requeue_lane also requeues messages before the cursor
 *   4  rip_claims_requeue does not move the cursor over what the dead member had released
 *   5  move_cursor passes ACKED
 *   6  requeue_lane requeues ACKED, like TAKEN
 *   7  requeue_lane leaves ACKED as it is
 *   8  the end of the stream waits for ACKED
 *   9  move_cursor does not check whether the table entry still belongs to its lane
 *  10  requeue_lane forgets how often the message was delivered
 *  11  rip_claim_requeue counts a delivery although no work on it had started
 *
 * member stands for rip_rx_poll, rip_rx_claim and rip_rx_try with rip_claim, rip_claim_ack, rip_claim_release with
 * move_cursor, and rip_claim_requeue; reaper for rip_claims_requeue with requeue_lane, which any member or producer
 * runs; producer for rip_reclaim and rip_tx_publish. A killed member starts a new life under its old number, because
 * another member may get that number. retired: the lane has left the table, and another lane has its entry and its
 * cursor, which none of these processes may move. Not modelled: a member that is stopped between its check of the
 * entry's id and its compare-and-swap until another lane has the entry; spurious failures of compare-and-swap; waiting
 * (event_count.pml); the order of payload and tail (lane.pml); lanes that drop (drop_old.pml). */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef SEARCH
#define SEARCH 0
#endif
#ifndef REQUEUES
#define REQUEUES 0
#endif
#ifndef ACKS
#define ACKS 0
#endif
#define MEMBERS 2
#define REAPER MEMBERS
#define PRODUCER (MEMBERS + 1)

#define FREE 0
#define TAKEN 1
#define ACKED 2
#define RELEASED 3
#define WORD(seq, member, deliveries, state) ((seq) << 5 | (member) << 4 | (deliveries) << 2 | (state))
#define SEQ(word) ((word) >> 5)
#define MEMBER(word) ((word) >> 4 & 1)
#define DELIVERIES(word) ((word) >> 2 & 3)
#define STATE(word, seq) (SEQ(word) == (seq) -> (word) & 3 : (SEQ(word) < (seq) -> FREE : RELEASED))
#if FAULT == 5
#define IS_PASSABLE(word, seq) (STATE(word, seq) >= ACKED)
#else
#define IS_PASSABLE(word, seq) (STATE(word, seq) >= RELEASED)
#endif
#if FAULT == 8
#define IS_ACKED(word, seq) IS_PASSABLE(word, seq)
#else
#define IS_ACKED(word, seq) (STATE(word, seq) >= ACKED)
#endif

byte words[SLOTS]; /* as all processes see them */
byte tail, requeued;
bit retired, reaping; /* retired: the lane has left the table. That needs the table lock, which a reaper holds */
byte cursor, cursor_seen, mover; /* its value; the value that processes other than its last mover see */
bit killed[MEMBERS], dead[MEMBERS]; /* dead: its lock is released, so others may detect the death */

bit waits[MEMBERS]; /* a store of this member that others do not see yet */
byte waiting[MEMBERS];

/* What must be true, seen from outside. */
byte payload[SLOTS];
byte taken_by[SLOTS]; /* 1 + the member that has taken it, or 0 */
/* acked: must not be taken again; freed: its memory is not used any more either */
bit acked[MESSAGES], freed[MESSAGES];
byte delivered[MESSAGES]; /* how often: taken, except for those that were requeued before work on them had started */
byte never_released_by; /* 1 + the member that never releases the last message, or 0 */
byte requeues, acks;

active [MEMBERS] proctype buffer() {
end:
    do
    :: atomic { waits[_pid] -> words[SEQ(waiting[_pid]) % SLOTS] = waiting[_pid]; waits[_pid] = 0 }
    od
}

#if FAULT == 2
active proctype cursor_line() {
end:
    do
    :: atomic { cursor_seen != cursor -> cursor_seen = cursor }
    od
}
#define CURSOR(me) (mover == me -> cursor : cursor_seen)
#define MAY_MOVE(me) (mover == me || cursor_seen == cursor)
#else
#define CURSOR(me) cursor
#define MAY_MOVE(me) true
#endif

inline step_cursor(me) {
    cursor++;
    mover = me
}

#if FAULT == 9
#define IS_SAME_LANE true
#else
#define IS_SAME_LANE (!retired)
#endif

inline move_cursor(me) {
    atomic { released = CURSOR(me); steps = 0 }
    do
    :: steps == SLOTS -> break
    :: steps < SLOTS ->
        atomic {
            word = words[released % SLOTS];
            if
            :: !IS_PASSABLE(word, released) -> break
            :: else
            fi
        }
        atomic { /* compare-and-swap */
            MAY_MOVE(me);
            if
            :: !IS_SAME_LANE -> break
            :: IS_SAME_LANE && cursor == released ->
                assert(!retired && released < tail && freed[released]);
                step_cursor(me);
                released++
            :: else -> released = cursor
            fi;
            steps++
        }
    od
}

inline forget() {
    seq = 0; word = 0; released = 0; steps = 0; got = 0; deliveries = 0; now = 0; last = 0
}

inline claim() { /* takes message seq; a store of this member to the same word is seen by itself first */
    atomic { !waits[me] -> word = words[seq % SLOTS]; got = 0 }
    do
    :: atomic { STATE(word, seq) != FREE -> forget(); break }
    :: STATE(word, seq) == FREE ->
        atomic { /* compare-and-swap */
            if
            :: words[seq % SLOTS] == word ->
                deliveries = (SEQ(word) == seq -> DELIVERIES(word) : 0);
                assert(!acked[seq] && taken_by[seq % SLOTS] == 0);
                assert(deliveries == delivered[seq] && payload[seq % SLOTS] == seq);
                delivered[seq]++;
                words[seq % SLOTS] = WORD(seq, me, deliveries + 1, TAKEN);
                taken_by[seq % SLOTS] = 1 + me;
                forget();
                break
            :: else -> word = words[seq % SLOTS]
            fi
        }
    od
}

inline release_claim(slot) {
    atomic { /* compare-and-swap */
        taken_by[slot] == 1 + me && MAY_MOVE(me) && !(never_released_by && payload[slot] == MESSAGES - 1) ->
        seq = payload[slot];
        assert(!freed[seq]);
        if
        :: cursor == seq ->
            step_cursor(me);
            acked[seq] = 1;
            freed[seq] = 1;
            taken_by[slot] = 0;
            got = 1
        :: else -> got = 0
        fi
    }
    if
    :: got
    :: else ->
        atomic {
            assert(payload[slot] == seq && taken_by[slot] == 1 + me);
#if FAULT == 1
            !waits[me];
            waiting[me] = WORD(seq, 0, 0, RELEASED);
            waits[me] = 1;
#else
            words[slot] = WORD(seq, 0, 0, RELEASED);
#endif
            acked[seq] = 1;
            freed[seq] = 1;
            taken_by[slot] = 0
        }
    fi;
    move_cursor(me)
}

#define MAY_ACK(slot) (taken_by[slot] == 1 + me && acks < ACKS && (words[slot] & 3) == TAKEN && !waits[me])

inline ack_claim() {
    atomic {
        if
        :: MAY_ACK(0) -> seq = payload[0]
        :: MAY_ACK(1) -> seq = payload[1]
        fi;
        acks++;
        words[seq % SLOTS] = WORD(seq, me, DELIVERIES(words[seq % SLOTS]), ACKED);
        acked[seq] = 1;
        if
        :: seq == MESSAGES - 1 -> never_released_by = 1 + me
        :: true
        fi;
        forget()
    }
}

inline requeue_claim(slot) {
    atomic {
        taken_by[slot] == 1 + me && (words[slot] & 3) == TAKEN && requeues < REQUEUES && !waits[me] ->
        requeues++;
        seq = payload[slot];
        deliveries = DELIVERIES(words[slot]);
        if
        :: true /* work on it has started */
        :: delivered[seq]--;
#if FAULT != 11
            deliveries--
#endif
        fi;
        waiting[me] = WORD(seq, 0, deliveries, FREE);
        waits[me] = 1;
        taken_by[slot] = 0
    }
    atomic { !waits[me] -> requeued++; forget() } /* release: visible after the word */
}

inline poll_lane() {
    atomic { now = requeued }
    atomic { last = tail }
    atomic {
        released = CURSOR(me);
        released = (retired -> last : released);
        last = (released > last -> released : last);
        assert(last - released <= SLOTS && last >= its_tail);
        if
        :: now != its_requeued || next < released -> its_requeued = now; next = released
        :: else
        fi;
        its_tail = last;
        now = 0;
        last = 0;
        released = 0
    }
}

/* Is message next in its slot? The slot is stored after the tail, so a member may see the tail alone. */
#define IN_SLOT(next) ((next) < tail && tail <= (next) + SLOTS)

inline get() {
    if
    :: requeued != its_requeued -> poll_lane()
    :: requeued == its_requeued ->
        if
        :: next != its_tail
        :: next == its_tail -> poll_lane()
        :: atomic { next == its_tail && IN_SLOT(next) -> its_tail = next + 1 } /* is_next_known */
        fi
    fi;
    if
    :: next == its_tail
    :: next != its_tail -> atomic { seq = next; next++ } claim()
    fi
}

#define IS_FREE(seq) (STATE(words[(seq) % SLOTS], seq) == FREE) /* rip_claim_is_free */

inline get_found() { /* a search has found it; another member may be quicker */
    atomic {
        if
        :: SEARCH && tail > 0 && IS_FREE(tail - 1) -> seq = tail - 1
        :: SEARCH && tail > 1 && IS_FREE(tail - 2) -> seq = tail - 2
        fi
    }
    claim()
}

active [MEMBERS] proctype member() {
    byte next, its_tail, its_requeued;                /* struct rip_rx */
    byte seq, word, released, steps, got, deliveries, now, last, me; /* local to one call */
    me = _pid % MEMBERS;
end_life:
    do
    :: {
end:
        do
        :: get_found()
        :: !SEARCH && (next != its_tail || tail != its_tail || requeued != its_requeued) -> get()
        :: release_claim(0); atomic { forget() }
        :: release_claim(1); atomic { forget() }
        :: ack_claim()
        :: requeue_claim(0)
        :: requeue_claim(1)
        od
    } unless { atomic {
            killed[me] ->
            dead[me] = 1;
            killed[me] = 0;
            forget();
            next = 0; its_tail = 0; its_requeued = 0
        } }
        !dead[me] /* the next life starts when this one has been reaped */
    od
}

active proctype killer() { /* delayed stores of a dead member's processor become visible before its lock is released */
    byte deaths = 0;
end:
    do
    :: atomic { deaths < DEATHS && !dead[0] && !waits[0] -> deaths++; killed[0] = 1 }
    :: atomic { deaths < DEATHS && !dead[1] && !waits[1] -> deaths++; killed[1] = 1 }
    od
}

inline reap() {
    atomic { from = CURSOR(REAPER); i = 0; some = 0 }
    do
    :: i == SLOTS -> break
    :: i < SLOTS ->
        word = words[i];
        if
        :: (word & 3) == ACKED && FAULT != 6 && FAULT != 7 && MEMBER(word) == its && SEQ(word) >= from ->
            atomic { /* compare-and-swap */
                assert(words[i] == word && taken_by[i] == 1 + its && acked[SEQ(word)]);
                words[i] = WORD(SEQ(word), 0, 0, RELEASED);
                freed[SEQ(word)] = 1;
                taken_by[i] = 0
            }
        :: ((word & 3) == TAKEN || (FAULT == 6 && (word & 3) == ACKED)) && MEMBER(word) == its &&
           (FAULT == 3 || SEQ(word) >= from) ->
            atomic { /* compare-and-swap */
                assert(words[i] == word && taken_by[i] == 1 + its && !acked[SEQ(word)]);
                words[i] = WORD(SEQ(word), 0, (FAULT == 10 -> 0 : DELIVERIES(word)), FREE);
                taken_by[i] = 0;
                some = 1
            }
        :: else
        fi;
        i++
    od;
    if
    :: some -> requeued++
    :: else
    fi;
#if FAULT != 4
    move_cursor(REAPER);
#endif
    atomic {
        never_released_by = (never_released_by == 1 + its -> 0 : never_released_by);
        for (i : 0 .. SLOTS - 1) {
            taken_by[i] = (taken_by[i] == 1 + its -> 0 : taken_by[i]) /* a dead member uses no memory */
        }
        dead[its] = 0; reaping = 0; released = 0; steps = 0; word = 0; i = 0; its = 0; from = 0; some = 0 }
}

active proctype reaper() {
    byte released, steps, word, i, its, from, some;
end:
    do
    :: atomic { dead[0] && !retired -> its = 0; reaping = 1 } reap()
    :: atomic { dead[1] && !retired -> its = 1; reaping = 1 } reap()
    :: atomic { (dead[0] || dead[1]) && retired -> dead[0] = 0; dead[1] = 0 }
    od
}

active proctype producer() {
    byte seq = 0, free_below = SLOTS;
    do
    :: seq == MESSAGES -> break
    :: seq < MESSAGES && seq >= free_below -> free_below = CURSOR(PRODUCER) + SLOTS
    :: seq < MESSAGES && seq < free_below ->
        atomic {
            assert(taken_by[seq % SLOTS] == 0 && (seq < SLOTS || freed[seq - SLOTS]));
            payload[seq % SLOTS] = seq
        }
        atomic { seq++; tail = seq }
    od;
    /* rip_at_end; otherwise this is an invalid end state */
    cursor == MESSAGES || (cursor == MESSAGES - 1 && never_released_by && IS_ACKED(words[cursor % SLOTS], cursor));
end:
    /* from now on it belongs to another lane */
    atomic { cursor == MESSAGES && !reaping -> retired = 1; cursor = 0; cursor_seen = 0 }
}
