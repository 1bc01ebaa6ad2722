/* A producer that passes groups: is a message overwritten while a member uses it, or lost without being counted?
 *
 * The producer drops a message by the same compare-and-swap by which a member takes it. A message that a member has
 * moves into the table of kept messages, and the producer writes around it. FAULT adds a fault:
 *
 *   1  rip_claim_give_up stores its word without comparing
 *   2  give_up_for does not pin a message that a member has taken
 *   3  rip_rx_claim reads the descriptor after it has taken the message
 *   4  it has no fence: lane->dropped_below is seen late, and the load of group_epoch overtakes its store
 *   5  it checks the epoch only after it has given messages up
 *   6  a message that is requeued after the producer has passed it is not counted
 *   7  give_up_for does not pin a message that is ACKED and still in use
 *   8  rip_claim_release stores its word without comparing
 *   9  rip_claim_give_up fills the entry in the table after it has changed the word
 *  10  the producer takes a message as free once its word is RELEASED, whatever the table says
 *  11  in a group that it waits for, it gives up messages that are TAKEN
 *  12  rip_rx_poll does not move the cursor of such a group over what the producer keeps
 *
 * producer stands for rip_tx_reserve, rip_drop_old_make_room with find_groups, update_pins, pass_released, find_room,
 * must_stay, announce, give_up and rip_claim_give_up, and rip_tx_publish; member for rip_rx_poll with rip_claims_pass,
 * rip_rx_claim, rip_claim_ack, rip_claim_release with change_ours, release_kept and move_cursor, and rip_rx_requeue
 * with rip_claim_requeue; the start of member for rip_group_begin. The first member is the only one of an exclusive
 * group, so it counts what it misses; the second one is of a shared group. With ALONE there is only the first, which
 * joins at any time; with TOGETHER both are of the shared group; with BLOCK the first group is lossy, and the producer
 * waits for the second one, which with LATE joins at any time; with KEEPS it goes around what that one has done. Each group has one entry for a kept message, one message
 * may be pinned, and all have one size; a message may lie at any offset that is neither live nor pinned. Not modelled:
 * killed members (claims.pml), the order of payload and tail (lane.pml). */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef TOGETHER
#define TOGETHER 0
#endif
#ifndef ALONE
#define ALONE 0
#endif
#ifndef BLOCK
#define BLOCK 0
#endif
#ifndef LATE
#define LATE 0
#endif
#ifndef KEEPS
#define KEEPS 0
#endif
#define MESSAGES 3
#ifndef SLOTS
#define SLOTS 1
#endif
#define KEEP SLOTS
#ifndef OFFSETS
#define OFFSETS 2
#endif
#ifndef REQUEUES
#define REQUEUES 0
#endif
#ifndef ACKS
#define ACKS 0
#endif
#define GROUPS 2
#define NONE 255

#define FREE 0
#define TAKEN 1
#define ACKED 2
#define RELEASED 3
#define DROPPED 4
#define WORD(seq, state) ((seq) << 3 | (state))
#define SEQ(word) ((word) >> 3)
#define STATE(word, seq) (SEQ(word) == (seq) -> (word) & 7 : (SEQ(word) < (seq) -> FREE : RELEASED))
#define IS_IN_USE(state) ((state) == TAKEN || (state) == ACKED)
#define AT(group, seq) ((group) * SLOTS + (seq) % SLOTS)

byte tail, reclaimed, dropped_below_seen;         /* the last one is lane->dropped_below as others see it */
byte words[GROUPS * SLOTS], cursor[GROUPS], requeued[GROUPS];
byte kept[GROUPS];                  /* 1 + the message in the table of kept messages, or 0 */
byte epoch;                         /* control->group_epoch */
bit is_active = !ALONE && !TOGETHER; /* the bit of the first group in control->groups_active, */
bit other_is_active = !ALONE && !LATE; /* and that of the second one */
bit locked;                         /* the table lock */

byte desc[SLOTS], offset[SLOTS];     /* a descriptor: the message that it describes, and the offset of that message */
byte payload[3];                    /* the message that lies there */

/* What must be true, seen from outside, for each group and message. */
bit got[GROUPS * MESSAGES], lost[GROUPS * MESSAGES];
byte first[GROUPS]; /* where the group started */
byte missed;        /* losses that the exclusive member has counted */
byte requeues, acks;

/* ---- the producer ---- */

/* In a group that the producer waits for, only what is done. */
#define MAY_GIVE_UP(g, state) (!BLOCK || (g) == 0 || (state) >= (FAULT == 11 -> TAKEN : ACKED))

inline give_up_for(g, it) { /* is_passed, then rip_claim_give_up; failed: it cannot be pinned */
    if
    :: it < cursor[g]
    :: else ->
        word = words[AT(g, it)];
        do
        :: !MAY_GIVE_UP(g, STATE(word, it)) -> failed = 1; break
        :: STATE(word, it) >= RELEASED -> break
        :: MAY_GIVE_UP(g, STATE(word, it)) && IS_IN_USE(STATE(word, it)) && (pin != NONE || kept[g]) -> failed = 1; break
        :: MAY_GIVE_UP(g, STATE(word, it)) && IS_IN_USE(STATE(word, it)) && !(pin != NONE || kept[g]) ->
            kept[g] = (FAULT == 9 -> 0 : 1 + it);
            atomic { /* compare-and-swap */
                if
                :: words[AT(g, it)] == word ->
                    words[AT(g, it)] = WORD(it, RELEASED);
                    if
                    :: FAULT == 2 || (FAULT == 7 && STATE(word, it) == ACKED)
                    :: else -> pin = it; pin_at = lies[it % SLOTS]; pin_group = g
                    fi;
                    word = WORD(it, RELEASED)
                :: else -> word = words[AT(g, it)]; kept[g] = 0
                fi
            }
            if
            :: FAULT == 9 && pin == it -> kept[g] = 1 + it
            :: else
            fi
        :: atomic { MAY_GIVE_UP(g, STATE(word, it)) && STATE(word, it) == FREE -> /* compare-and-swap */
            if
            :: words[AT(g, it)] == word || FAULT == 1 ->
                words[AT(g, it)] = WORD(it, DROPPED);
                assert(!got[(g) * MESSAGES + it] && !lost[(g) * MESSAGES + it]);
                lost[(g) * MESSAGES + it] = 1;
                word = WORD(it, DROPPED)
            :: else -> word = words[AT(g, it)]
            fi
        }
        od;
        word = 0
    fi
}

inline give_up(it) {
    if
    :: BLOCK && KEEPS && sees_other -> give_up_for(1, it)
    :: else
    fi;
    if
    :: !failed && opened -> give_up_for(0, it)
    :: else
    fi;
    if
    :: !failed && !ALONE && !BLOCK -> give_up_for(1, it)
    :: else
    fi
}

inline is_released_by(g, it) {
    if
    :: it < cursor[g]
    :: else -> yes = (!BLOCK || g == 0) && STATE(words[AT(g, it)], it) >= RELEASED
    fi
}

inline is_released_by_all(it) {
    yes = opened || sees_other;
    if
    :: opened -> is_released_by(0, it)
    :: else
    fi;
    if
    :: yes && sees_other -> is_released_by(1, it)
    :: else
    fi
}

inline announce(it) { /* sets again: 1 if there is a new group */
    dropped_below_seen = (FAULT == 4 -> dropped_below_seen : it);
    again = epoch != was && FAULT != 5
}

inline update_pins() {
    if
    :: pin != NONE && (kept[pin_group] != 1 + pin || FAULT == 10) -> pin = NONE; pin_at = 0; pin_group = 0
    :: else
    fi
}

inline pass_released() {
    it = dropped_below;
    do
    :: it == put -> break
    :: else ->
        is_released_by_all(it);
        if
        :: yes -> it++
        :: else -> break
        fi
    od;
    if
    :: it != dropped_below -> announce(it)
    :: else
    fi;
    if
    :: !again -> dropped_below = it
    :: else
    fi
}

/* Neither live nor pinned. */
#define LIES(seq, there) (lies[(seq) % SLOTS] == (there))
#define IS_LIVE(there) (                                                                                               \
    (dropped_below < put && LIES(dropped_below, there)) ||                                                             \
    (dropped_below + 1 < put && LIES(dropped_below + 1, there)) ||                                                     \
    (pin != NONE && pin_at == (there)))
#define IS_ROOM (!IS_LIVE(0) || (OFFSETS > 1 && !IS_LIVE(1)) || (OFFSETS > 2 && !IS_LIVE(2)))

/* must_stay */
#define MUST_STAY(it) (                                                                                                \
    BLOCK && sees_other && (it) >= cursor[1] && !(KEEPS && MAY_GIVE_UP(1, STATE(words[AT(1, it)], it))))

inline find_room() { /* sets room: 1 if there is room */
    do
    :: put - dropped_below < KEEP && IS_ROOM -> room = 1; break
    :: else ->
        failed = dropped_below == put || MUST_STAY(dropped_below);
        if
        :: !failed -> announce(dropped_below + 1)
        :: else
        fi;
        if
        :: !failed && !again -> give_up(dropped_below)
        :: else
        fi;
        if
        :: failed || again -> room = 0; break
        :: else -> dropped_below++
        fi
    od
}

inline find_groups() {
    sees_other = other_is_active;
    if
    :: is_active && !opened -> !locked; opened = 1 /* the lock is needed to open its claims */
    :: else
    fi
}

inline make_room() {
    do
    :: atomic { was = epoch; failed = 0; again = 0 }
        find_groups();
        update_pins();
        pass_released();
        if
        :: !again -> find_room()
        :: else
        fi;
        again = again || (FAULT == 5 && epoch != was);
        if
        :: !again -> break
        :: else
        fi
    od;
    limit = dropped_below;
    recheck_at = (room -> limit + KEEP : put);
    atomic { reclaimed = limit; dropped_below_seen = limit; was = 0; it = 0; yes = 0; failed = 0; room = 0 }
}

active proctype producer() {
    byte put = 0, dropped_below = 0, recheck_at = KEEP, limit = 0, lies[SLOTS]; /* struct rip_producer */
    byte pin = NONE, pin_at, pin_group;
    byte word, was, it;
    bit opened, sees_other, yes, failed, again, room;
    do
    :: put == MESSAGES -> break
    :: put < MESSAGES && (put >= recheck_at || !IS_ROOM) -> make_room()
    :: put < MESSAGES && put < recheck_at && IS_ROOM ->
        atomic {
            if
            :: !IS_LIVE(0) -> it = 0
            :: OFFSETS > 1 && !IS_LIVE(1) -> it = 1
            :: OFFSETS > 2 && !IS_LIVE(2) -> it = 2
            fi;
            desc[put % SLOTS] = put;
            offset[put % SLOTS] = it;
            lies[put % SLOTS] = it;
            payload[it] = put;
            it = 0
        }
        atomic { put++; tail = put }
    od;
    /* otherwise this is an invalid end state */
    atomic { cursor[0] == MESSAGES && cursor[1] == MESSAGES && !kept[0] && !kept[1] && !locked ->
        for (it : 0 .. MESSAGES - 1) {
            assert(it < first[0] || (got[it] ^ lost[it]));
            assert(it < first[1] || (got[MESSAGES + it] ^ lost[MESSAGES + it]));
            assert(!BLOCK || !lost[MESSAGES + it]);
            missed = missed - (it >= first[0] && lost[it])
        }
        assert(missed == 0)
    }
}

/* ---- a member ---- */

inline move_cursor() {
    atomic { released = cursor[g]; steps = 0 }
    do
    :: atomic { steps == SLOTS || STATE(words[AT(g, released)], released) < RELEASED -> released = 0; steps = 0; break }
    :: steps < SLOTS && STATE(words[AT(g, released)], released) >= RELEASED ->
        atomic { /* compare-and-swap */
            if
            :: cursor[g] == released -> cursor[g] = released + 1; released++
            :: else -> released = cursor[g]
            fi;
            steps++
        }
    od
}

inline count_to(it) { /* in a shared group, the member that takes the next message reports the loss */
    if
    :: g == 0 && it >= counted -> missed = missed + it - counted; counted = it
    :: else
    fi
}

inline poll_lane() {
    now = (REQUEUES -> requeued[g] : 0);
    last = tail;
    was = cursor[g];
    atomic { its_reclaimed = (BLOCK && g == 1 -> 0 : reclaimed); assert(its_reclaimed <= last || its_reclaimed <= tail) }
    atomic { /* rip_claims_pass, a compare-and-swap */
        if
        :: was < its_reclaimed && cursor[g] == was -> cursor[g] = its_reclaimed
        :: else
        fi
    }
#if FAULT == 12
    if
    :: g == 0 -> move_cursor()
    :: else
    fi;
#else
    move_cursor();
#endif
    was = (BLOCK && g == 1 -> cursor[g] : was);
    atomic {
        was = (was < its_reclaimed -> its_reclaimed : was);
        last = (was > last -> was : last);
        assert(last - was <= SLOTS && last >= its_tail);
        if
        :: now != its_requeued || next < was -> its_requeued = now; next = was
        :: else
        fi;
        count_to(was);
        its_tail = last;
        now = 0; last = 0; was = 0; its_reclaimed = 0
    }
}

inline read(it) { its_desc = desc[(it) % SLOTS]; its_offset = offset[(it) % SLOTS] }

inline claim() {
    word = words[AT(g, seq)];
    if
    :: STATE(word, seq) == FREE -> atomic { read(seq) }
    :: else
    fi;
    do
    :: atomic { STATE(word, seq) != FREE -> seq = 0; word = 0; its_desc = 0; its_offset = 0; break }
    :: atomic { STATE(word, seq) == FREE -> /* compare-and-swap */
            if
            :: words[AT(g, seq)] == word ->
                words[AT(g, seq)] = WORD(seq, TAKEN);
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
    od;
    if
    :: FAULT == 3 && mine != NONE -> atomic { read(mine) }
    :: else
    fi
}

#define IS_WHOLE (its_desc == mine && payload[its_offset] == mine)
#define IS_OURS IS_IN_USE(STATE(words[AT(g, mine)], mine))

active [2] proctype member() {
    byte next, its_tail, its_requeued, counted; /* struct rip_rx */
    byte g, mine = NONE, its_desc, its_offset, seq, word, now, last, was, its_reclaimed, released, steps;
    g = (TOGETHER -> 1 : _pid - 1);
    if
    :: TOGETHER -> atomic { cursor[0] = MESSAGES; first[0] = MESSAGES }
    :: ALONE && g == 1 -> atomic { cursor[1] = MESSAGES; first[1] = MESSAGES; goto out }
    :: (ALONE && g == 0) || (LATE && g == 1) -> /* rip_group_begin */
        locked = 1;
        cursor[g] = (LATE -> cursor[0] : 0);
        if
        :: g == 0 -> is_active = 1
        :: g == 1 -> other_is_active = 1
        fi;
        epoch++;
        was = reclaimed;
        was = (dropped_below_seen > was -> dropped_below_seen : was);
        atomic {
            cursor[g] = (was > cursor[g] -> was : cursor[g]);
            first[g] = cursor[g];
            counted = cursor[g];
            was = 0;
            locked = 0
        }
    :: else
    fi;
end:
    do
    :: mine == NONE && (next != its_tail || tail != its_tail || requeued[g] != its_requeued) ->
        if
        :: next == its_tail || requeued[g] != its_requeued -> poll_lane()
        :: else
        fi;
        if
        :: next == its_tail
        :: atomic { next != its_tail -> seq = next; next++ } claim()
        fi
    :: mine != NONE -> /* rip_claim_release */
        atomic {
            assert(IS_WHOLE);
            got[g * MESSAGES + mine] = 1;
            if
            :: IS_OURS || FAULT == 8 -> words[AT(g, mine)] = WORD(mine, RELEASED); mine = NONE
            :: else
            fi
        }
        if
        :: mine != NONE -> /* release_kept */
            atomic {
                if
                :: kept[g] == 1 + mine -> kept[g] = 0
                :: else
                fi;
                mine = NONE
            }
        :: else
        fi;
        atomic { its_desc = 0; its_offset = 0 }
        move_cursor()
    :: atomic { mine != NONE && acks < ACKS && STATE(words[AT(g, mine)], mine) == TAKEN -> /* rip_claim_ack */
        acks++;
        words[AT(g, mine)] = WORD(mine, ACKED)
    }
    :: atomic { mine != NONE && requeues < REQUEUES && STATE(words[AT(g, mine)], mine) != ACKED ->
        /* rip_claim_requeue */
        assert(IS_WHOLE);
        requeues++;
        if
        :: IS_OURS -> words[AT(g, mine)] = WORD(mine, FREE); counted = (g == 0 -> mine : counted)
        :: else -> /* the producer has passed it */
            kept[g] = (kept[g] == 1 + mine -> 0 : kept[g]);
            lost[g * MESSAGES + mine] = 1;
            missed = missed + (g == 0 && FAULT != 6)
        fi;
        mine = NONE;
        its_desc = 0;
        its_offset = 0
    }
        requeued[g]++
    od
out:
    skip
}
