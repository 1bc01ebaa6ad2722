/* Semaphores, and locks, which are semaphores of one unit.
 *
 *   word   | change 22 | last 8 | died 1 | strict 1 | queued 1 | units 31 |
 *
 * Every change of the word is one compare-and-swap, and gets the next change number. If the units of a killed process
 * must come back (undo, and locks), the member's entry says how many units the member has. The word and the entry must
 * change together, although they are two words. So a handle does three steps:
 *
 *   1. it writes into its entry the units that it will have after the change of that number (intent);
 *   2. it changes the word, which then carries the number and names the member (last);
 *   3. it writes the units that it has (held).
 *
 * A process that is about to change the word, and finds another member named in it, first does step 3 for that member
 * (helping: Herlihy, Wait-free synchronization, 1991). So the word and the entries agree, wherever a process is killed.
 *
 * A waiter that finds too few units takes a ticket. A release wakes the oldest waiter if there are enough units for it.
 * Until the oldest runs, a newcomer may be quicker, which saves two context switches. Once the oldest has checked a few
 * times in vain, or whenever it wants more than one unit, the queue is strict: newcomers queue at its end (as in Go's
 * sync.Mutex under starvation). */
#include "sync/semaphore.h"
#include "store/table_lock.h"

#define UNITS UINT64_C(0x7fffffff)
#define QUEUED (UINT64_C(1) << 31)
#define STRICT (UINT64_C(1) << 32)
#define DIED (UINT64_C(1) << 33)
#define LAST_AT 34
#define LAST UINT64_C(0xff)
#define CHANGE_AT 42
#define CHANGE UINT64_C(0x3fffff)
#define TICKET UINT64_C(0x1ffffffff)
/* After so many checks in vain a waiter sleeps without spinning, and if it is the oldest the queue becomes strict. */
#define SPINS 4

static_assert(RIP_MAX_SYNC_MEMBERS == LAST && RIP_MAX_UNITS == UNITS, "members and units fit into their bits");

static uint32_t units_of(uint64_t word) { return (uint32_t)(word & UNITS); }

static uint64_t change_of(uint64_t word) { return word >> CHANGE_AT & CHANGE; }

/* A value of held and intent in a member's entry: the units, and the number of the change that gave them. */
static uint64_t units_at(uint64_t change, uint32_t units) { return change << 32 | units; }

static uint64_t next_word(uint64_t word, uint64_t units, uint64_t flags, uint32_t last) {
    return units | flags | (uint64_t)last << LAST_AT | ((change_of(word) + 1) & CHANGE) << CHANGE_AT;
}

uint64_t rip_units_word(uint32_t units, uint64_t before) { return next_word(before, units, before & DIED, 0); }

/* Completes the change that made this word (step 3), for the member that is named in it. Returns 0, or -1 if the word
 * has changed since. */
static int help(struct rip_sync *s, uint64_t word) {
    uint32_t last = (uint32_t)(word >> LAST_AT & LAST);
    if (last == 0 || last == s->me) {
        return 0;
    }
    struct rip_sync_member *member = &s->file->members[last - 1];
    /* acquire: both are loaded before the word is loaded again. If the word is the same, held is the value from before
     * this change or from after it. If it is from before, intent belongs to this change, because a handle writes held
     * before its next intent. */
    uint64_t held = atomic_load_explicit(&member->held, memory_order_acquire);
    uint64_t intent = atomic_load_explicit(&member->intent, memory_order_acquire);
    if (rip_sync_load(s) != word) {
        return -1;
    }
    if (held >> 32 != change_of(word)) {
        /* acq_rel: pairs with the acquire above in the next helper; fails if the member has written held meanwhile */
        atomic_compare_exchange_strong_explicit(&member->held, &held, intent, memory_order_acq_rel,
                                                memory_order_relaxed);
    }
    return 0;
}

/* Changes the word from *word to `to`. member: 1 + the index of the member that has `held` units afterwards; 0: no
 * entry counts units. The caller has called help for *word. Returns 1, or 0 with the present word in *word. */
static int change(struct rip_sync *s, uint64_t *word, uint64_t to, uint32_t member, uint32_t held) {
    struct rip_sync_member *own = &s->file->members[member ? member - 1 : RIP_MAX_SYNC_MEMBERS];
    uint64_t count = units_at(change_of(to), held);
    if (member) {
        /* release: pairs with the acquire in help, by way of the word */
        atomic_store_explicit(&own->intent, count, memory_order_release);
    }
    /* seq_cst: it comes before the load of asleep in wake_waiter. acquire: what the others did before they released
     * their units; release: what this thread did. Both pair with this line in the others. */
    if (!atomic_compare_exchange_strong_explicit(&s->file->word, word, to, memory_order_seq_cst,
                                                 memory_order_acquire)) {
        return 0;
    }
    if (member) {
        atomic_store_explicit(&own->held, count, memory_order_release); /* pairs with the acquire in help */
    }
    return 1;
}

/* Returns 1 + the index of this handle's member if its entry counts its units, else 0. */
static uint32_t counted(const struct rip_sync *s) { return s->undo ? s->me : 0; }

/* ---- the queue ---- */

/* Returns the index of the waiter with the oldest ticket, and stores the units that it wants in *units; -1: nobody
 * waits. */
static int oldest(const struct rip_sync *s, uint32_t *units) {
    struct rip_sync_file *file = s->file;
    uint32_t top = atomic_load_explicit(&file->top, memory_order_acquire); /* pairs with the release in take_waiter */
    uint64_t number = 0;
    int found = -1;
    for (uint32_t i = 0; i < top && i < RIP_MAX_WAITERS; i++) {
        /* acquire: pairs with the release in rip_ticket_take */
        uint64_t ticket = atomic_load_explicit(&file->waiters[i].ticket, memory_order_acquire);
        if (ticket != 0 && (found < 0 || ((number - (ticket >> 31)) & TICKET) < TICKET / 2)) {
            found = (int)i;
            number = ticket >> 31;
            *units = units_of(ticket);
        }
    }
    return found;
}

static void wake_waiter(struct rip_sync *s, uint32_t index) {
    struct rip_waiter *waiter = &s->file->waiters[index];
    /* The word is stored before asleep is loaded. Pairs with the fence in rip_watch_announce. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&waiter->asleep, memory_order_relaxed) & RIP_ASLEEP &&
        atomic_fetch_and_explicit(&waiter->asleep, ~RIP_ASLEEP, memory_order_acq_rel) & RIP_ASLEEP) {
        rip_wake(&waiter->futex);
    }
}

/* After a change: wakes the oldest waiter if there are enough units for it; if nobody waits, clears QUEUED and STRICT
 * in the word. */
static __attribute__((noinline)) void wake_next(struct rip_sync *s) {
    /* A waiter that leaves frees its ticket before this fence and loads the word after it; a thread that releases
     * changes the word before this fence and loads the tickets after it. So if both happen at once, one sees the other
     * and wakes the next waiter. Pairs with itself. */
    atomic_thread_fence(memory_order_seq_cst);
    for (;;) {
        uint64_t word = rip_sync_load(s), flags = word & (DIED | QUEUED | STRICT);
        uint32_t wanted = 0;
        if (!(word & QUEUED)) {
            return;
        }
        int first = oldest(s, &wanted);
        if (first < 0) {
            flags = word & DIED;
        } else if (units_of(word) >= wanted) {
            wake_waiter(s, (uint32_t)first);
            return;
        } else if (wanted > 1 && !(word & STRICT)) {
            flags |= STRICT;
        } else {
            return;
        }
        /* A waiter that has queued since the load has changed the word; then this fails. */
        if (help(s, word) == 0 && change(s, &word, next_word(word, units_of(word), flags, 0), 0, 0) && first < 0) {
            return;
        }
    }
}

/* Returns the index of a free waiter, which belongs to this member afterwards, or -EXFULL. */
static int take_waiter(struct rip_sync *s) {
    struct rip_sync_file *file = s->file;
    for (uint32_t i = 0; i < RIP_MAX_WAITERS; i++) {
        uint32_t nobody = 0;
        if (atomic_load_explicit(&file->waiters[i].owner, memory_order_relaxed) == 0 &&
            /* acquire: pairs with the release in free_waiter */
            atomic_compare_exchange_strong_explicit(&file->waiters[i].owner, &nobody, s->me, memory_order_acquire,
                                                    memory_order_relaxed)) {
            uint32_t top = atomic_load_explicit(&file->top, memory_order_relaxed);
            while (top < i + 1 && /* release: pairs with the acquire in oldest */
                   !atomic_compare_exchange_weak_explicit(&file->top, &top, i + 1, memory_order_release,
                                                          memory_order_relaxed)) {
            }
            return (int)i;
        }
    }
    return -EXFULL;
}

static void free_waiter(struct rip_waiter *waiter) {
    atomic_store_explicit(&waiter->ticket, 0, memory_order_relaxed); /* relaxed: wake_next comes next, with a fence */
    atomic_store_explicit(&waiter->owner, 0, memory_order_release);  /* pairs with the acquire in take_waiter */
}

/* ---- acquiring and releasing ---- */

/* Acquires units if there are enough. is_oldest: the caller has the oldest ticket. Returns as rip_units_try. */
static int take(struct rip_sync *s, uint32_t units, int is_oldest) {
    uint64_t word = rip_sync_load(s);
    for (;;) {
        if (units_of(word) < units || (word & STRICT && !is_oldest)) {
            return -EAGAIN;
        }
        if (s->undo && s->held + units > UNITS) {
            return -EOVERFLOW;
        }
        if (help(s, word) != 0) {
            word = rip_sync_load(s);
            continue;
        }
        uint64_t flags = word & (DIED | QUEUED | (is_oldest ? 0 : STRICT));
        if (change(s, &word, next_word(word, units_of(word) - units, flags, counted(s)), counted(s), s->held + units)) {
            s->held += s->undo ? units : 0;
            return word & DIED ? 1 : 0;
        }
    }
}

int rip_units_try(struct rip_sync *s, uint32_t units) { return take(s, units, 0); }

int rip_ticket_take(struct rip_sync *s, uint32_t units, struct rip_ticket *ticket) {
    int index = take_waiter(s);
    if (index < 0) {
        return index;
    }
    struct rip_waiter *waiter = &s->file->waiters[index];
    *ticket = (struct rip_ticket){.units = units, .index = (uint32_t)index};
    atomic_store_explicit(&waiter->asleep, 0, memory_order_relaxed);
    uint64_t number;
    do { /* a ticket is never 0, which means that nobody waits */
        number = atomic_fetch_add_explicit(&s->file->tickets, 1, memory_order_relaxed) & TICKET;
    } while (number == 0);
    /* release: pairs with the acquire in oldest */
    atomic_store_explicit(&waiter->ticket, number << 31 | units, memory_order_release);
    for (uint64_t word = rip_sync_load(s);;) { /* changes the word even if QUEUED is set: see wake_next */
        uint64_t flags = (word & (DIED | STRICT)) | QUEUED;
        if (help(s, word) == 0 && change(s, &word, next_word(word, units_of(word), flags, 0), 0, 0)) {
            return 0;
        }
        word = rip_sync_load(s);
    }
}

int rip_ticket_try(struct rip_sync *s, struct rip_ticket *ticket) {
    uint32_t wanted;
    int is_oldest = oldest(s, &wanted) == (int)ticket->index;
    int rc = take(s, ticket->units, is_oldest);
    if (rc != -EAGAIN) {
        rip_ticket_cancel(s, ticket);
        return rc;
    }
    ticket->tries++;
    if (is_oldest && (ticket->units > 1 || ticket->tries > SPINS)) {
        uint64_t word = rip_sync_load(s);
        /* If help or the change fails, the next call tries again. */
        if (!(word & STRICT) && units_of(word) < ticket->units && help(s, word) == 0) {
            change(s, &word, next_word(word, units_of(word), (word & DIED) | QUEUED | STRICT, 0), 0, 0);
        }
    }
    return -EAGAIN;
}

void rip_ticket_cancel(struct rip_sync *s, const struct rip_ticket *ticket) {
    free_waiter(&s->file->waiters[ticket->index]);
    wake_next(s);
}

/* Fills in the watch for the next wait with this ticket; to be called before rip_ticket_try, so that no wake-up is
 * lost. */
static void watch_ticket(struct rip_sync *s, const struct rip_ticket *ticket, struct rip_watch *watch) {
    struct rip_waiter *waiter = &s->file->waiters[ticket->index];
    rip_sync_watch(s, rip_sync_load(s), watch);
    watch->futex = &waiter->futex;
    watch->asleep32 = &waiter->asleep;
    /* Units that come and go must not keep a waiter spinning for ever. */
    watch->spin = ticket->tries < SPINS ? &s->spin : &s->no_spin;
}

int rip_semaphore_acquire(struct rip_sync *s, uint32_t units, uint64_t deadline) {
    struct rip_watch watch;
    struct rip_ticket ticket;
    int rc = rip_sync_check(s);
    if (rc != 0) {
        return rc;
    }
    if (units == 0 || units > UNITS || (s->kind == RIP_LOCK && units != 1)) {
        return -EINVAL;
    }
    rc = rip_units_try(s, units);
    if (rc == -EAGAIN && deadline == 0) {
        rip_reap_if_due(&s->handle); /* returns the units of dead members, also to callers that never wait */
        rc = rip_units_try(s, units);
        return rc == -EAGAIN ? -ETIMEDOUT : rc;
    }
    if (rc != -EAGAIN) {
        return rc;
    }
    rc = rip_ticket_take(s, units, &ticket);
    if (rc != 0) {
        return rc;
    }
    for (int waited = 0;;) {
        watch_ticket(s, &ticket, &watch);
        rc = rip_ticket_try(s, &ticket);
        if (rc != -EAGAIN) {
            return rc;
        }
        if (waited == -ETIMEDOUT) {
            rip_ticket_cancel(s, &ticket);
            return waited;
        }
        waited = rip_sync_wait(s, &watch, deadline);
        if (waited < 0 && waited != -ETIMEDOUT) {
            /* rip_sync_close has cancelled the ticket, unless it still waits for the table lock */
            if (s->handle.state != RIP_CLOSED && s->handle.state != RIP_FORKED) {
                rip_ticket_cancel(s, &ticket);
            }
            return waited;
        }
    }
}

int rip_semaphore_release(struct rip_sync *s, uint32_t units) {
    int rc = rip_sync_check(s);
    if (rc != 0) {
        return rc;
    }
    if (units == 0 || units > UNITS || (s->kind == RIP_LOCK && units != 1)) {
        return -EINVAL;
    }
    if (s->kind == RIP_LOCK && s->held == 0) {
        return -EPERM;
    }
    uint32_t left = s->held > units ? s->held - units : 0;
    uint64_t word = rip_sync_load(s), to;
    do {
        while (help(s, word) != 0) {
            word = rip_sync_load(s);
        }
        if (units_of(word) + (uint64_t)units > UNITS) {
            return -EOVERFLOW;
        }
        uint64_t flags = word & (s->kind == RIP_LOCK ? QUEUED | STRICT : DIED | QUEUED | STRICT);
        to = next_word(word, units_of(word) + units, flags, counted(s));
    } while (!change(s, &word, to, counted(s), left));
    s->held = left;
    if (__builtin_expect((to & QUEUED) != 0, 0)) {
        wake_next(s);
    }
    return 0;
}

uint32_t rip_semaphore_value(const struct rip_sync *s) { return units_of(rip_sync_load(s)); }

void rip_units_reap(struct rip_sync *s, uint32_t member, int died) {
    struct rip_sync_file *file = s->file;
    for (uint64_t word = rip_sync_load(s);;) {
        if (help(s, word) != 0) {
            word = rip_sync_load(s);
            continue;
        }
        /* relaxed: written by help above, or by the member before the last change of the word */
        uint32_t held = units_of(atomic_load_explicit(&file->members[member].held, memory_order_relaxed));
        if (held == 0) {
            break;
        }
        uint64_t units = units_of(word) + (uint64_t)held > UNITS ? UNITS : units_of(word) + (uint64_t)held;
        uint64_t flags = (word & (DIED | QUEUED | STRICT)) | (died && file->kind == RIP_LOCK ? DIED : 0);
        /* the same change as if the member had released its units */
        if (change(s, &word, next_word(word, units, flags, member + 1), member + 1, 0)) {
            break;
        }
    }
    for (uint32_t i = 0; i < RIP_MAX_WAITERS; i++) {
        if (atomic_load_explicit(&file->waiters[i].owner, memory_order_relaxed) == member + 1) {
            wake_waiter(s, i); /* another thread of this process may wait with the handle that is closed */
            free_waiter(&file->waiters[i]);
        }
    }
    wake_next(s);
}
