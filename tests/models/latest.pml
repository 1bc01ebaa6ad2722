/* The latest value (csrc/sync/latest.c): is it always whole, and does everybody go on after a writer was killed?
 *
 * Writers claim a slot that is not the newest, write a value of two parts into it, and make it the newest. A reader
 * copies both parts of the newest and then checks that the slot still holds it. With DEATHS writers die anywhere, and
 * their claims are freed some time later. FAULT leaves something out:
 *
 *   1  a writer does not check that the slot that it has claimed is not the newest by now
 *   2  a writer does not mark its slot before it writes
 *   3  a reader does not check its copy
 *   4  a writer stores the word of its slot only after it has made it the newest
 *   5  the claims of dead writers stay
 *   6  the mark is stored after the first part, as without the release fence in rip_latest_begin
 *   7  the check is made before the second part is read, as without the acquire fence in rip_latest_is_whole
 *   8  a writer keeps the number that the newest value had when it started, whoever has set one since */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef SLOTS
#define SLOTS 3
#endif
#define BUSY 255
#define WRITERS 2
#ifndef SETS
#define SETS 2
#endif
#define READS 2

typedef slot {
    byte word; /* the seq of its value; BUSY: it is being written */
    byte first, second;
    byte claim
}

slot slots[SLOTS];
byte seq, newest; /* one word: they change together. At the beginning slot 0 holds the value 0, which has the seq 0 */
byte values[WRITERS * SETS + 1]; /* the value of each seq, which the readers should find */
bit dead[WRITERS + 1];
byte deaths, writers, set;

#if DEATHS
#define MAY_DIE                                                                                                        \
    if                                                                                                                 \
    :: atomic { deaths < DEATHS -> deaths++; dead[me] = 1; goto ended }                                                \
    :: skip                                                                                                            \
    fi
#else
#define MAY_DIE skip
#endif

#define IS_FREE(i) (slots[i].claim == 0 && newest != i)

active [WRITERS] proctype writer() {
    byte me, value, n = 0, at, i, s, was;
    atomic { writers++; me = writers }
    do
    :: n == SETS -> break
    :: n < SETS ->
        atomic { n++; value = (me - 1) * SETS + n }
claim:
        atomic { at = newest; i = 1 }
        do
        :: i == SLOTS -> /* waits for a slot */
            IS_FREE(0) || IS_FREE(1) || IS_FREE(SLOTS - 1);
            goto claim
        :: i < SLOTS ->
            s = (at + i) % SLOTS;
            if
            :: atomic { slots[s].claim == 0 -> slots[s].claim = me }
#if FAULT == 1
                break
#else
                if
                :: newest != s -> break
                :: newest == s -> slots[s].claim = 0
                fi
#endif
            :: slots[s].claim != 0
            fi;
            i++
        od;
        MAY_DIE;
#if FAULT != 2 && FAULT != 6
        slots[s].word = BUSY;
        MAY_DIE;
#endif
        slots[s].first = value;
        MAY_DIE;
#if FAULT == 6
        slots[s].word = BUSY;
#endif
        slots[s].second = value;
        MAY_DIE;
        was = seq;
publish:
#if FAULT != 4
        slots[s].word = was + 1;
        MAY_DIE;
#endif
        atomic {
            if
            :: seq == was || FAULT == 8 -> seq = was + 1; newest = s; values[seq] = value; set++; assert(seq == set)
            :: else -> was = seq; goto publish
            fi
        }
        MAY_DIE;
#if FAULT == 4
        slots[s].word = was + 1;
#endif
        slots[s].claim = 0
    od;
ended:
    skip
}

#if FAULT != 5
active proctype reaper() {
end:
    do
    :: atomic { slots[0].claim != 0 && dead[slots[0].claim] -> slots[0].claim = 0 }
    :: atomic { slots[1].claim != 0 && dead[slots[1].claim] -> slots[1].claim = 0 }
    :: atomic { slots[SLOTS - 1].claim != 0 && dead[slots[SLOTS - 1].claim] -> slots[SLOTS - 1].claim = 0 }
    od
}
#endif

active proctype reader() {
    byte s, at, first, second, last = 0, reads = 0;
    bit whole;
    do
    :: reads == READS -> break
    :: reads < READS ->
        atomic { s = seq; at = newest }
        first = slots[at].first;
#if FAULT == 7
        whole = slots[at].word == s;
        second = slots[at].second;
#else
        second = slots[at].second;
        whole = FAULT == 3 || slots[at].word == s;
#endif
        if
        :: whole ->
            assert(first == second && first == values[s]);
            assert(s >= last);
            atomic { last = s; reads++ }
        :: !whole -> assert(seq != s) /* nobody writes into the newest slot */
        fi
    od
}
