/* The losses of a shared lane: is each writer that died counted once, wherever processes are killed that reap them, and
 * are writers themselves?
 *
 * All members are writers. Members 0 to WRITERS - 2 die: some have died before, others while they reap. The last one
 * reaps until all others have left the table. One process at a time has the table lock; the kernel frees that of a dead
 * one. reap stands for rip_channel_reap and count_loss (writers.c).
 *
 * FAULT:
 *
 *   1  count_loss completes the count of its own writer only
 *   2  the mark comes after the count
 *   3  what is reported is stored after the mark
 *   4  nobody looks whether a writer has been counted */
#ifndef WRITERS
#define WRITERS 4
#endif
#ifndef FAULT
#define FAULT 0
#endif

bit dead[WRITERS];
bit gone[WRITERS];     /* not in the table any more */
byte mark[WRITERS];    /* member->writer: 1 + its number as a loss, or 0 */
byte lost;             /* lane->lost */
byte report[WRITERS];  /* lane->losses: 1 + the writer */
byte lock = WRITERS;   /* the process that has the table lock */

#define MAY_DIE                                                                                                        \
    if                                                                                                                 \
    :: _pid < WRITERS - 1 -> dead[_pid] = 1; goto over                                                                 \
    :: true                                                                                                            \
    fi

active [WRITERS] proctype member() {
    byte i, k, next;
    do
    :: MAY_DIE;
        atomic { lock == WRITERS || dead[lock] -> lock = _pid }
        i = 0;
        do
        :: i == WRITERS -> break
        :: i < WRITERS && (gone[i] || !dead[i]) -> i++
        :: i < WRITERS && !gone[i] && dead[i] ->
            d_step {
                next = lost + 1;
                k = 0;
                do
                :: k == WRITERS || !gone[k] && mark[k] == next && (FAULT != 1 || k == i) -> break
                :: else -> k++
                od;
                next = 0
            }
            if
            :: k < WRITERS -> lost++; MAY_DIE
            :: else
            fi;
            if
            :: mark[i] && FAULT != 4
            :: else ->
                if
                :: FAULT != 3 -> report[lost] = 1 + i; MAY_DIE
                :: else
                fi;
                if
                :: FAULT != 2 -> mark[i] = lost + 1; MAY_DIE
                :: else
                fi;
                d_step {
                    report[lost] = (FAULT == 3 -> 1 + i : report[lost]);
                    lost++
                }
                MAY_DIE;
                mark[i] = lost
            fi;
            gone[i] = 1;
            MAY_DIE;
            i++
        od;
        lock = WRITERS;
        if
        :: atomic { _pid == WRITERS - 1 -> k = 0; i = 0;
            do
            :: k == WRITERS - 1 -> break
            :: k < WRITERS - 1 -> i = i + gone[k]; k++
            od }
            if
            :: i == WRITERS - 1 -> break
            :: else
            fi
        :: _pid < WRITERS - 1
        fi
    od;
    atomic {
        assert(lost == WRITERS - 1);
        k = 0;
        do
        :: k == WRITERS - 1 -> break
        :: else ->
            assert(mark[k] > 0 && report[mark[k] - 1] == 1 + k);
            k++
        od
    };
over:
    skip
}
