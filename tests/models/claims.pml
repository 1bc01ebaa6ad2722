/* Claims: members that compete for the messages of a lane, one of whom may be killed at any step.
 *
 * A word for each slot says who has its message, and the cursor moves over what is over. A member may be done with a message and
 * go on looking at it (KEPT), at the last one for ever: the stream ends all the same. FAULT puts a fault in:
 *
 *   1  rip_claim_release stores DONE with release order: the store waits while the loads that follow go ahead
 *   2  the cursor is moved with acq_rel order: others see it late, while the loads that follow go ahead
 *   3  return_lane also returns what lies before the cursor
 *   4  rip_claims_requeue does not move the cursor over what the dead one had ended
 *   5  move_cursor takes KEPT for over
 *   6  return_lane takes KEPT for CLAIMED
 *   7  return_lane leaves KEPT as it is
 *   8  the end waits for what is KEPT
 *   9  move_cursor does not ask whether the place in the table is still that of its lane
 *
 * member stands for rip_rx_poll, rip_rx_claim and rip_rx_try with rip_claim, rip_claim_ack, rip_claim_release with move_cursor, and
 * rip_claim_requeue;
 * reaper for rip_claims_requeue with return_lane, which any member or producer does; producer for rip_reclaim and rip_tx_publish. A
 * killed member comes back in a new life under its old number, as another may. retired: the lane has left the table,
 * and another has its place and its cursor, which none of these may move. Left out: a member that stops between the look
 * at the place's id and its compare-and-swap until another lane has the place, compare-and-swap that fails for no reason,
 * how they wait (event_count.pml), the order of payload and tail (lane.pml), lanes that drop (drop_old.pml). */
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
#ifndef GIVEN
#define GIVEN 0
#endif
#ifndef KEEPS
#define KEEPS 0
#endif
#define MEMBERS 2
#define REAPER MEMBERS
#define PRODUCER (MEMBERS + 1)

#define FREE 0
#define CLAIMED 1
#define KEPT 2
#define DONE 3
#define WORD(seq, member, again, state) ((seq) << 4 | (member) << 3 | (again) << 2 | (state))
#define SEQ(word) ((word) >> 4)
#define MEMBER(word) ((word) >> 3 & 1)
#define AGAIN(word) ((word) >> 2 & 1)
#define STATE(word, seq) (SEQ(word) == (seq) -> (word) & 3 : (SEQ(word) < (seq) -> FREE : DONE))
#if FAULT == 5
#define IS_OVER(word, seq) (STATE(word, seq) >= KEPT)
#else
#define IS_OVER(word, seq) (STATE(word, seq) >= DONE)
#endif
#if FAULT == 8
#define IS_DONE(word, seq) IS_OVER(word, seq)
#else
#define IS_DONE(word, seq) (STATE(word, seq) >= KEPT)
#endif

byte words[SLOTS]; /* what all see of them */
byte tail, returned;
bit retired, reaping; /* the lane has left the table; for which its lock is needed, that a reaper has */
byte cursor, cursor_seen, mover; /* what it is; what others than its last mover see of it */
bit killed[MEMBERS], dead[MEMBERS]; /* its lock is gone: others may know */

bit waits[MEMBERS]; /* a store of its own, which others do not see yet */
byte waiting[MEMBERS];

/* What must be, seen from above. */
byte payload[SLOTS];
byte holder[SLOTS]; /* 1 + the member that has claimed it, or 0 */
bit done[MESSAGES], ended[MESSAGES], lost[MESSAGES]; /* done: not to be got again; ended: nor looked at */
byte for_ever; /* 1 + the member that looks at the last message for ever, or 0 */
byte given, kept;

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
#define IS_ITS_PLACE true
#else
#define IS_ITS_PLACE (!retired)
#endif

inline move_cursor(me) {
    atomic { held = CURSOR(me); steps = 0 }
    do
    :: steps == SLOTS -> break
    :: steps < SLOTS ->
        atomic {
            word = words[held % SLOTS];
            if
            :: !IS_OVER(word, held) -> break
            :: else
            fi
        }
        atomic { /* compare-and-swap */
            MAY_MOVE(me);
            if
            :: !IS_ITS_PLACE -> break
            :: IS_ITS_PLACE && cursor == held ->
                assert(!retired && held < tail && ended[held]);
                step_cursor(me);
                held++
            :: else -> held = cursor
            fi;
            steps++
        }
    od
}

inline forget() {
    seq = 0; word = 0; held = 0; steps = 0; got = 0; again = 0; now = 0; last = 0
}

inline claim() { /* seq: 1 + its seq in got, or 0; a word that waits here is seen after it has come */
    atomic { !waits[me] -> word = words[seq % SLOTS]; got = 0 }
    do
    :: atomic { STATE(word, seq) != FREE -> forget(); break }
    :: STATE(word, seq) == FREE ->
        atomic { /* compare-and-swap */
            if
            :: words[seq % SLOTS] == word ->
                again = (SEQ(word) == seq -> AGAIN(word) : 0);
                words[seq % SLOTS] = WORD(seq, me, again, CLAIMED);
                assert(!done[seq] && holder[seq % SLOTS] == 0 && again == lost[seq] && payload[seq % SLOTS] == seq);
                holder[seq % SLOTS] = 1 + me;
                forget();
                break
            :: else -> word = words[seq % SLOTS]
            fi
        }
    od
}

inline end_claim(slot) {
    atomic { /* compare-and-swap */
        holder[slot] == 1 + me && MAY_MOVE(me) && !(for_ever && payload[slot] == MESSAGES - 1) ->
        seq = payload[slot];
        assert(!ended[seq]);
        if
        :: cursor == seq ->
            step_cursor(me);
            done[seq] = 1;
            ended[seq] = 1;
            holder[slot] = 0;
            got = 1
        :: else -> got = 0
        fi
    }
    if
    :: got
    :: else ->
        atomic {
            assert(payload[slot] == seq && holder[slot] == 1 + me);
#if FAULT == 1
            !waits[me];
            waiting[me] = WORD(seq, 0, 0, DONE);
            waits[me] = 1;
#else
            words[slot] = WORD(seq, 0, 0, DONE);
#endif
            done[seq] = 1;
            ended[seq] = 1;
            holder[slot] = 0
        }
    fi;
    move_cursor(me)
}

#define MAY_KEEP(slot) (holder[slot] == 1 + me && kept < KEEPS && (words[slot] & 3) == CLAIMED && !waits[me])

inline keep_claim() {
    atomic {
        if
        :: MAY_KEEP(0) -> seq = payload[0]
        :: MAY_KEEP(1) -> seq = payload[1]
        fi;
        kept++;
        words[seq % SLOTS] = WORD(seq, me, AGAIN(words[seq % SLOTS]), KEPT);
        done[seq] = 1;
        if
        :: seq == MESSAGES - 1 -> for_ever = 1 + me
        :: true
        fi;
        forget()
    }
}

inline free_claim(slot) {
    atomic {
        holder[slot] == 1 + me && (words[slot] & 3) == CLAIMED && given < GIVEN && !waits[me] ->
        given++;
        seq = payload[slot];
        again = AGAIN(words[slot]);
        waiting[me] = WORD(seq, 0, again, FREE);
        waits[me] = 1;
        holder[slot] = 0
    }
    atomic { !waits[me] -> returned++; forget() } /* release: after it */
}

inline look() {
    atomic { now = returned }
    atomic { last = tail }
    atomic {
        held = CURSOR(me);
        held = (retired -> last : held);
        last = (held > last -> held : last);
        assert(last - held <= SLOTS && last >= its_tail);
        if
        :: now != its_returned || next < held -> its_returned = now; next = held
        :: else
        fi;
        its_tail = last;
        now = 0;
        last = 0;
        held = 0
    }
}

inline get() {
    if
    :: next == its_tail || returned != its_returned -> look()
    :: next != its_tail && returned == its_returned
    fi;
    if
    :: next == its_tail
    :: next != its_tail -> atomic { seq = next; next++ } claim()
    fi
}

#define IS_FREE(seq) (STATE(words[(seq) % SLOTS], seq) == FREE) /* rip_claim_is_free */

inline get_found() { /* what a search has found; another may be quicker */
    atomic {
        if
        :: SEARCH && tail > 0 && IS_FREE(tail - 1) -> seq = tail - 1
        :: SEARCH && tail > 1 && IS_FREE(tail - 2) -> seq = tail - 2
        fi
    }
    claim()
}

active [MEMBERS] proctype member() {
    byte next, its_tail, its_returned;                /* struct rip_rx */
    byte seq, word, held, steps, got, again, now, last, me; /* of one call */
    me = _pid % MEMBERS;
end_life:
    do
    :: {
end:
        do
        :: get_found()
        :: !SEARCH && (next != its_tail || tail != its_tail || returned != its_returned) -> get()
        :: end_claim(0); atomic { forget() }
        :: end_claim(1); atomic { forget() }
        :: keep_claim()
        :: free_claim(0)
        :: free_claim(1)
        od
    } unless { atomic {
            killed[me] ->
            dead[me] = 1;
            killed[me] = 0;
            forget();
            next = 0; its_tail = 0; its_returned = 0
        } }
        !dead[me] /* another life begins when what is left of this one has been cleared away */
    od
}

active proctype killer() { /* what waits for a line of a dead one's processor gets there before its lock is gone */
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
        :: (word & 3) == KEPT && FAULT != 6 && FAULT != 7 && MEMBER(word) == its && SEQ(word) >= from ->
            atomic { /* compare-and-swap */
                assert(words[i] == word && holder[i] == 1 + its && done[SEQ(word)]);
                words[i] = WORD(SEQ(word), 0, 0, DONE);
                ended[SEQ(word)] = 1;
                holder[i] = 0
            }
        :: ((word & 3) == CLAIMED || (FAULT == 6 && (word & 3) == KEPT)) && MEMBER(word) == its &&
           (FAULT == 3 || SEQ(word) >= from) ->
            atomic { /* compare-and-swap */
                assert(words[i] == word && holder[i] == 1 + its && !done[SEQ(word)]);
                words[i] = WORD(SEQ(word), 0, 1, FREE);
                lost[SEQ(word)] = 1;
                holder[i] = 0;
                some = 1
            }
        :: else
        fi;
        i++
    od;
    if
    :: some -> returned++
    :: else
    fi;
#if FAULT != 4
    move_cursor(REAPER);
#endif
    atomic {
        for_ever = (for_ever == 1 + its -> 0 : for_ever);
        for (i : 0 .. SLOTS - 1) {
            holder[i] = (holder[i] == 1 + its -> 0 : holder[i]) /* it looks at nothing any more */
        }
        dead[its] = 0; reaping = 0; held = 0; steps = 0; word = 0; i = 0; its = 0; from = 0; some = 0 }
}

active proctype reaper() {
    byte held, steps, word, i, its, from, some;
end:
    do
    :: atomic { dead[0] && !retired -> its = 0; reaping = 1 } reap()
    :: atomic { dead[1] && !retired -> its = 1; reaping = 1 } reap()
    :: atomic { (dead[0] || dead[1]) && retired -> dead[0] = 0; dead[1] = 0 }
    od
}

active proctype producer() {
    byte seq = 0, until = SLOTS;
    do
    :: seq == MESSAGES -> break
    :: seq < MESSAGES && seq >= until -> until = CURSOR(PRODUCER) + SLOTS
    :: seq < MESSAGES && seq < until ->
        atomic {
            assert(holder[seq % SLOTS] == 0 && (seq < SLOTS || ended[seq - SLOTS]));
            payload[seq % SLOTS] = seq
        }
        atomic { seq++; tail = seq }
    od;
    /* rip_at_end; or it hangs here */
    cursor == MESSAGES || (cursor == MESSAGES - 1 && for_ever && IS_DONE(words[cursor % SLOTS], cursor));
end:
    atomic { cursor == MESSAGES && !reaping -> retired = 1; cursor = 0; cursor_seen = 0 } /* another lane's now */
}
