/* A lane that drops its oldest messages: is what somebody looks at written over, is a message lost that nobody counts?
 *
 * The producer claims what it drops as a member claims what it reads. What a member has it pins: it goes on around it. FAULT puts a
 * fault in:
 *
 *   1  rip_claim_drop stores its word without comparing
 *   2  give_up_for does not pin what a member has
 *   3  rip_drop_old_make_room takes head for from, as if pins had no descriptors
 *   4  it has no fence: lane->from is seen late, while the load of group_epoch goes ahead
 *   5  a group that is met is not brought up to what has been given up
 *   6  a message that is given back stays counted as got, so nobody is told when it is dropped
 *   7  give_up_for does not pin what a member has done with and still looks at
 *
 * producer stands for rip_tx_reserve, rip_drop_old_make_room with meet, settle, find_room, give_up, drop_pins and rip_claim_drop, then
 * rip_tx_publish; member for rip_rx_poll with rip_claims_pass, rip_rx_claim, rip_claim_ack, rip_claim_release with move_cursor, and
 * rip_rx_requeue with rip_claim_requeue; what it begins with for rip_group_begin. The first member is its group's only one, so it counts what it misses;
 * the second one is of a group whose members compete. With ALONE there is the first alone, which joins at any time; with TOGETHER
 * both are of the second group. One message may be pinned, and all are of one size; its place in the arena is any that is neither
 * live nor pinned. Left out: members that are killed (claims.pml), the order of payload and tail (lane.pml). */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef TOGETHER
#define TOGETHER 0
#endif
#ifndef ALONE
#define ALONE 0
#endif
#define MESSAGES 3
#define SLOTS 2
#define KEEP 1
#ifndef PLACES
#define PLACES 2
#endif
#ifndef GIVEN
#define GIVEN 0
#endif
#ifndef KEEPS
#define KEEPS 0
#endif
#define GROUPS 2
#define NONE 255

#define FREE 0
#define CLAIMED 1
#define KEPT 2
#define DONE 3
#define DROPPED 4
#define WORD(seq, state) ((seq) << 3 | (state))
#define SEQ(word) ((word) >> 3)
#define STATE(word, seq) (SEQ(word) == (seq) -> (word) & 7 : (SEQ(word) < (seq) -> FREE : DONE))
#define IS_PINNED(state) ((state) == CLAIMED || ((state) == KEPT && FAULT != 7))
#define AT(group, seq) ((group) * SLOTS + (seq) % SLOTS)

byte tail, head, from_seen;         /* the last one is lane->from */
byte words[GROUPS * SLOTS], cursor[GROUPS], returned[GROUPS];
byte begun;                         /* control->group_epoch */
bit here = !ALONE && !TOGETHER;     /* the first group's bit in control->groups_active; the other one's does not change */
bit locked;                         /* the table lock */

byte desc[SLOTS], place[SLOTS];     /* a descriptor: of which message, and where that lies */
byte payload[2];                    /* of which message */

/* What must be, seen from above: for each group and message. */
bit got[GROUPS * MESSAGES], lost[GROUPS * MESSAGES];
byte first[GROUPS]; /* where the group began */
byte missed;        /* what the exclusive member has been told */
byte given, kept;

/* ---- the producer ---- */

inline give_up_for(g, it) { /* is_behind, then rip_claim_drop; failed: no pin is left */
    if
    :: it < cursor[g]
    :: else ->
        word = words[AT(g, it)];
        do
        :: atomic { STATE(word, it) != FREE ->
            if
            :: IS_PINNED(STATE(word, it)) && pin != it && FAULT != 2 -> failed = (pin != NONE); pin = (failed -> pin : it)
            :: else
            fi;
            word = 0;
            break
        }
        :: atomic { STATE(word, it) == FREE -> /* compare-and-swap */
            if
            :: words[AT(g, it)] == word || FAULT == 1 ->
                words[AT(g, it)] = WORD(it, DROPPED);
                assert(!got[(g) * MESSAGES + it] && !lost[(g) * MESSAGES + it]);
                lost[(g) * MESSAGES + it] = 1;
                word = 0;
                break
            :: else -> word = words[AT(g, it)]
            fi
        }
        od
    fi
}

inline give_up(it) {
    failed = 0;
    if
    :: met -> give_up_for(0, it)
    :: else
    fi;
    if
    :: !failed && !ALONE -> give_up_for(1, it)
    :: else
    fi
}

inline is_done_for(g, it) {
    if
    :: it < cursor[g]
    :: else -> yes = STATE(words[AT(g, it)], it) >= DONE
    fi
}

inline is_done(it) {
    yes = met || !ALONE;
    if
    :: met -> is_done_for(0, it)
    :: else
    fi;
    if
    :: yes && !ALONE -> is_done_for(1, it)
    :: else
    fi
}

inline settle() {
    if
    :: pin != NONE ->
        is_done(pin);
        pin = (yes -> NONE : pin)
    :: else
    fi;
    do
    :: from == put -> break
    :: else ->
        is_done(from);
        if
        :: yes -> from++
        :: else -> break
        fi
    od
}

inline drop_pins() { /* yes: one is gone */
    if
    :: pin != NONE -> give_up(pin); settle(); yes = pin == NONE
    :: else -> yes = 0
    fi
}

/* Neither live nor pinned. */
#define LIES(seq, there) (lies[(seq) % SLOTS] == (there))
#define IS_LIVE(there)                                                                                                 \
    ((from < put && LIES(from, there)) || (from + 1 < put && LIES(from + 1, there)) || (pin != NONE && LIES(pin, there)))
#define IS_ROOM (!IS_LIVE(0) || (PLACES > 1 && !IS_LIVE(1)))
#define LIMIT (pin < from -> pin : from)

inline find_room() { /* room, or not */
    do
    :: pin < from && put - pin >= SLOTS && FAULT != 3 ->
        drop_pins();
        if
        :: yes
        :: else -> room = 0; break
        fi
    :: else ->
        if
        :: put - from < KEEP && IS_ROOM -> room = 1; break
        :: else
        fi;
        failed = 1;
        if
        :: from != put -> give_up(from)
        :: else
        fi;
        if
        :: failed ->
            drop_pins();
            if
            :: yes
            :: else -> room = 0; break
            fi
        :: else -> from++
        fi
    od
}

inline meet() {
    if
    :: here && !met ->
        !locked; /* to open its claims */
        it = limit;
        do
        :: it >= from || FAULT == 5 -> break
        :: else ->
            failed = 0;
            give_up_for(0, it);
            if
            :: failed -> break
            :: else -> it++
            fi
        od;
        met = !failed
    :: else
    fi
}

inline make_room() {
    do
    :: atomic { was = begun; failed = 0 }
        meet();
        if
        :: failed -> room = 0
        :: else -> settle(); find_room()
        fi;
        from_seen = (FAULT == 4 -> from_seen : from);
        if
        :: begun == was -> break
        :: else
        fi
    od;
    limit = (FAULT == 3 -> from : LIMIT);
    until = (!room -> put : (limit + SLOTS < from + KEEP -> limit + SLOTS : from + KEEP));
    atomic { head = limit; from_seen = from; was = 0; it = 0; yes = 0; failed = 0; room = 0 }
}

active proctype producer() {
    byte put = 0, from = 0, until = KEEP, limit = 0, pin = NONE, lies[SLOTS]; /* struct rip_producer */
    byte word, was, it;
    bit met, yes, failed, room;
    do
    :: put == MESSAGES -> break
    :: put < MESSAGES && (put >= until || !IS_ROOM) -> make_room()
    :: put < MESSAGES && put < until && IS_ROOM ->
        atomic {
            if
            :: !IS_LIVE(0) -> it = 0
            :: PLACES > 1 && !IS_LIVE(1) -> it = 1
            fi;
            desc[put % SLOTS] = put;
            place[put % SLOTS] = it;
            lies[put % SLOTS] = it;
            payload[it] = put;
            it = 0
        }
        atomic { put++; tail = put }
    od;
    /* or it hangs here */
    atomic { cursor[0] == MESSAGES && cursor[1] == MESSAGES && !locked ->
        for (it : 0 .. MESSAGES - 1) {
            assert(it < first[0] || (got[it] ^ lost[it]));
            assert(it < first[1] || (got[MESSAGES + it] ^ lost[MESSAGES + it]));
            missed = missed - (it >= first[0] && lost[it])
        }
        assert(missed == 0)
    }
}

/* ---- a member ---- */

inline move_cursor() {
    atomic { held = cursor[g]; steps = 0 }
    do
    :: atomic { steps == SLOTS || STATE(words[AT(g, held)], held) < DONE -> held = 0; steps = 0; break }
    :: steps < SLOTS && STATE(words[AT(g, held)], held) >= DONE ->
        atomic { /* compare-and-swap */
            if
            :: cursor[g] == held -> cursor[g] = held + 1; held++
            :: else -> held = cursor[g]
            fi;
            steps++
        }
    od
}

inline count_to(it) { /* where members compete, whoever comes next is told */
    if
    :: g == 0 && it >= counted -> missed = missed + it - counted; counted = it
    :: else
    fi
}

inline look() {
    now = (GIVEN -> returned[g] : 0);
    last = tail;
    was = cursor[g];
    atomic { its_head = head; assert(its_head <= last || its_head <= tail) }
    atomic { /* rip_claims_pass, a compare-and-swap */
        if
        :: was < its_head && cursor[g] == was -> cursor[g] = its_head
        :: else
        fi
    }
    move_cursor();
    atomic {
        was = (was < its_head -> its_head : was);
        last = (was > last -> was : last);
        assert(last - was <= SLOTS && last >= its_tail);
        if
        :: now != its_returned || next < was -> its_returned = now; next = was
        :: else
        fi;
        count_to(was);
        its_tail = last;
        now = 0; last = 0; was = 0; its_head = 0
    }
}

inline claim() {
    word = words[AT(g, seq)];
    do
    :: atomic { STATE(word, seq) != FREE -> seq = 0; word = 0; break }
    :: atomic { STATE(word, seq) == FREE -> /* compare-and-swap */
            if
            :: words[AT(g, seq)] == word ->
                words[AT(g, seq)] = WORD(seq, CLAIMED);
                assert(!got[g * MESSAGES + seq] && !lost[g * MESSAGES + seq]);
                mine = seq;
                count_to(seq);
                counted = (g == 1 || seq < counted -> counted : seq + 1);
                seq = 0;
                word = 0;
                break
            :: else -> word = words[AT(g, seq)]
            fi
        }
    od
}

#define IS_WHOLE (desc[mine % SLOTS] == mine && payload[place[mine % SLOTS]] == mine)

active [2] proctype member() {
    byte next, its_tail, its_returned, counted; /* struct rip_rx */
    byte g, mine = NONE, seq, word, now, last, was, its_head, held, steps;
    g = (TOGETHER -> 1 : _pid - 1);
    if
    :: TOGETHER -> atomic { cursor[0] = MESSAGES; first[0] = MESSAGES }
    :: ALONE && g == 1 -> atomic { cursor[1] = MESSAGES; first[1] = MESSAGES; goto out }
    :: ALONE && g == 0 -> /* rip_group_begin */
        locked = 1;
        cursor[0] = 0;
        here = 1;
        begun++;
        was = head;
        was = (from_seen > was -> from_seen : was);
        atomic {
            cursor[0] = (was > cursor[0] -> was : cursor[0]);
            first[0] = cursor[0];
            counted = cursor[0];
            was = 0;
            locked = 0
        }
    :: else
    fi;
end:
    do
    :: mine == NONE && (next != its_tail || tail != its_tail || returned[g] != its_returned) ->
        if
        :: next == its_tail || returned[g] != its_returned -> look()
        :: else
        fi;
        if
        :: next == its_tail
        :: atomic { next != its_tail -> seq = next; next++ } claim()
        fi
    :: atomic { mine != NONE -> /* rip_claim_release */
        assert(IS_WHOLE);
        words[AT(g, mine)] = WORD(mine, DONE);
        got[g * MESSAGES + mine] = 1;
        mine = NONE
    }
        move_cursor()
    :: atomic { mine != NONE && kept < KEEPS && STATE(words[AT(g, mine)], mine) == CLAIMED -> /* rip_claim_ack */
        kept++;
        words[AT(g, mine)] = WORD(mine, KEPT)
    }
    :: atomic { mine != NONE && given < GIVEN && STATE(words[AT(g, mine)], mine) == CLAIMED -> /* rip_claim_requeue */
        assert(IS_WHOLE);
        given++;
        words[AT(g, mine)] = WORD(mine, FREE);
        counted = (g == 0 && FAULT != 6 -> mine : counted);
        mine = NONE
    }
        returned[g]++
    od
out:
    skip
}
