/* Waking one member of a shared group: does a message wait while a member that could take it sleeps?
 *
 * A publisher that sees that members of a shared group sleep wakes one for each message and leaves the bit `asleep`
 * set, because more may sleep. If it finds no member to wake it clears the bit and then wakes all, because a member may
 * have gone to sleep before the bit was cleared. FAULT adds a fault:
 *
 *   1  the publisher that clears the bit does not wake all afterwards
 *   2  every publisher clears the bit, as in a group where all are woken
 *   3  a member that was woken and leaves without a message does not wake another
 *   4  a member that takes only some messages sleeps like the others
 *
 * publisher stands for rip_tx_publish with rip_wake_groups; worker for rip_watch_wait and its caller. Each worker takes
 * one message and is busy afterwards. With LEAVES one of them leaves when it is woken (its handle is closed, or a
 * signal has ended the wait). With PICKY one takes none of the messages: it selects others, or cannot map their lane.
 * Not modelled: store buffers (event_count.pml), and the time limit of a sleep, 50 ms (RIP_SLICE_NS), which is for a
 * member that is killed after it was woken. */
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

inline wake_some(count) { /* wakes one member that takes any message, and all that take only some */
    futex++;
    atomic {
        count = 1;
        if /* any one of them */
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

inline wake_group() { /* rip_wake_groups for one message */
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
    wake_group()
}

active [WORKERS] proctype worker() {
    byte me = _pid - MESSAGES, futex_seen, i;
    bit woken;
    do
    :: atomic { me != PICKER && taken < tail -> taken++; break }
    :: me == PICKER || taken == tail ->
        futex_seen = futex;
        asleep = 1;
        if
        :: me != PICKER && taken < tail
        :: else ->
            atomic {
                if
                :: futex == futex_seen -> sleeps[me] = 1 /* futex(2) compares, then sleeps */
                :: else
                fi
            }
end:
            !sleeps[me];
            if
            :: me == LEAVER ->
#if FAULT != 3
                wake_group();
#endif
                break
            :: else
            fi
        fi
    od
}

active proctype all_is_taken() { taken == MESSAGES /* otherwise this is an invalid end state */ }
