/* Waking one of those that compete: does a message wait while somebody sleeps who could take it?
 *
 * A publisher that sees that some of a shared group sleep wakes one for each message, and leaves the bit `asleep` set, since more may
 * sleep. Where it finds nobody to wake it clears the bit, and then wakes all, since one may have come to sleep before it was cleared.
 * FAULT puts a fault in:
 *
 *   1  whoever clears the bit does not wake all then
 *   2  the bit is cleared by each publisher, as where all are woken
 *   3  one that was woken and leaves without a message does not pass that on
 *   4  one that leaves some messages sleeps like the others
 *
 * publisher stands for rip_tx_publish with rip_wake_groups; worker for rip_watch_wait and what is around it. Each worker takes one
 * message, and is busy then. With LEAVES one of them leaves when it is woken (its handle is being closed, or a signal has ended the
 * wait), with PICKY one takes none of the messages that come: it wants others, or cannot map their lane. Left out: that stores wait in buffers (event_count.pml), and the sleep
 * of 50 ms at most (RIP_SLICE_NS), which is for those that are killed when they have been woken. */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef LEAVES
#define LEAVES 0
#endif
#ifndef PICKY
#define PICKY 0
#endif
#define MESSAGES 2
#define WORKERS (MESSAGES + LEAVES + PICKY)
#define LEAVER (LEAVES -> MESSAGES : WORKERS)
#define PICKER (PICKY -> WORKERS - 1 : WORKERS)

#define TAKES_ANY(worker) (sleeps[worker] && ((worker) != PICKER || FAULT == 4))

byte tail, taken, futex;
bit asleep;
bit sleeps[WORKERS]; /* in the kernel */

inline wake_some(count) { /* one that takes any message; and all that take some only */
    futex++;
    atomic {
        count = 1;
        if /* any of them */
        :: TAKES_ANY(0) -> sleeps[0] = 0
        :: TAKES_ANY(1) -> sleeps[1] = 0
        :: WORKERS > 2 && TAKES_ANY(WORKERS - 1) -> sleeps[WORKERS - 1] = 0
        :: else -> count = 0
        fi
    }
    if
    :: count && PICKY && FAULT != 4 -> sleeps[WORKERS - 1] = 0
    :: else
    fi
}

inline ring() { /* rip_wake_groups for one message */
    if
    :: asleep ->
#if FAULT == 2
        asleep = 0;
#endif
        wake_some(woken);
        if
        :: !woken ->
            asleep = 0;
#if FAULT != 1
            futex++;
            atomic {
                for (i : 0 .. WORKERS - 1) {
                    sleeps[i] = 0
                }
                i = 0
            }
#endif
        :: else
        fi
    :: else
    fi;
    woken = 0
}

active [MESSAGES] proctype publisher() {
    byte i;
    bit woken;
    tail++;
    ring()
}

active [WORKERS] proctype worker() {
    byte me = _pid - MESSAGES, rung, i;
    bit woken;
    do
    :: atomic { me != PICKER && taken < tail -> taken++; break }
    :: me == PICKER || taken == tail ->
        rung = futex;
        asleep = 1;
        if
        :: me != PICKER && taken < tail
        :: else ->
            atomic {
                if
                :: futex == rung -> sleeps[me] = 1 /* futex(2) compares, and sleeps */
                :: else
                fi
            }
end:
            !sleeps[me];
            if
            :: me == LEAVER ->
#if FAULT != 3
                ring();
#endif
                break
            :: else
            fi
        fi
    od
}

active proctype all_is_taken() { taken == MESSAGES /* or it hangs here */ }
