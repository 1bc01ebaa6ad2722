/* Semaphores, and locks, which are semaphores of one unit.
 *
 *   word   | change 22 | last 8 | died 1 | strict 1 | queued 1 | units 31 |
 *
 * Every change of the word is one compare-and-swap and gets the next number. Where a killed process's units are to come back, its seat
 * says how many it holds, and that must change with the word at one instant, though they are two words. So a handle first writes down
 * what it will hold after the change of a given number (intent), then changes the word, which names the handle as the last to have done
 * so, then writes what it holds. Who comes next and finds another as the last one writes that for it before it changes the word in turn
 * (helping: Herlihy, Wait-free synchronization, 1991). Thus wherever a handle is killed, the word and the seats add up.
 *
 * Who finds no units stands in a queue, by a number. A release wakes the oldest if there are enough for it. Until that one runs a
 * newcomer may be quicker, which saves two changes of process; but once it has looked a few times in vain, and whenever it wants more than
 * one unit, the queue is strict: newcomers stand at its end (as Go's sync.Mutex does when somebody starves). */
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
/* Looks for which the word may have changed in vain before a waiter sleeps, and newcomers wait behind it. */
#define SPINS 4

static_assert(RIP_MAX_SYNC_MEMBERS == LAST && RIP_MAX_UNITS == UNITS, "they fit");

static uint32_t units_of(uint64_t word) { return (uint32_t)(word & UNITS); }

static uint64_t change_of(uint64_t word) { return word >> CHANGE_AT & CHANGE; }

/* What a seat says: how many units, and since which change. */
static uint64_t says(uint64_t change, uint32_t units) { return change << 32 | units; }

static uint64_t next_word(uint64_t word, uint64_t units, uint64_t flags, uint32_t last) {
    return units | flags | (uint64_t)last << LAST_AT | ((change_of(word) + 1) & CHANGE) << CHANGE_AT;
}

uint64_t rip_units_word(uint32_t units, uint64_t before) { return next_word(before, units, before & DIED, 0); }

/* Ends the change that made this word, for the handle that made it: 0, or -1 where another change has come. */
static int help(struct rip_sync *s, uint64_t word) {
    uint32_t last = (uint32_t)(word >> LAST_AT & LAST);
    if (last == 0 || last == s->me) {
        return 0;
    }
    struct rip_sync_member *member = &s->file->members[last - 1];
    /* acquire: these are looked at before the word again. If that is the same, held is what it was before this change or is after it, and
     * where it is as before, the intent is this change's: the handle writes held before the next intent. */
    uint64_t held = atomic_load_explicit(&member->held, memory_order_acquire);
    uint64_t intent = atomic_load_explicit(&member->intent, memory_order_acquire);
    if (rip_sync_load(s) != word) {
        return -1;
    }
    if (held >> 32 != change_of(word)) {
        /* acq_rel: pairs with the acquire above of the next helper; fails where the handle has written held meanwhile */
        atomic_compare_exchange_strong_explicit(&member->held, &held, intent, memory_order_acq_rel,
                                                memory_order_relaxed);
    }
    return 0;
}

/* Changes the word, for a seat (1 + its index, 0: none is to be counted) that will hold this many: 1, or 0 with the word that is there
 * now. The word must be as help has left it. */
static int change(struct rip_sync *s, uint64_t *word, uint64_t to, uint32_t member, uint32_t held) {
    struct rip_sync_member *own = &s->file->members[member ? member - 1 : RIP_MAX_SYNC_MEMBERS];
    uint64_t say = says(change_of(to), held);
    if (member) {
        /* release: pairs with the acquire in help, by way of the word */
        atomic_store_explicit(&own->intent, say, memory_order_release);
    }
    /* seq_cst: before the look at asleep in ring. Acquire: what the others did before they gave their units back; release: what we
     * did. Both pair with this line of theirs. */
    if (!atomic_compare_exchange_strong_explicit(&s->file->word, word, to, memory_order_seq_cst,
                                                 memory_order_acquire)) {
        return 0;
    }
    if (member) {
        atomic_store_explicit(&own->held, say, memory_order_release); /* pairs with the acquire in help */
    }
    return 1;
}

static uint32_t counted(const struct rip_sync *s) { return s->undo ? s->me : 0; }

/* ---- the queue ---- */

/* The index of who has waited longest and what it wants, or -1. */
static int oldest(const struct rip_sync *s, uint32_t *units) {
    struct rip_sync_file *file = s->file;
    uint32_t top = atomic_load_explicit(&file->top, memory_order_acquire); /* pairs with the release in claim */
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

static void ring(struct rip_sync *s, uint32_t index) {
    struct rip_waiter *waiter = &s->file->waiters[index];
    atomic_thread_fence(memory_order_seq_cst); /* the word, then asleep; pairs with the fence in rip_watch_announce */
    if (atomic_load_explicit(&waiter->asleep, memory_order_relaxed) & RIP_ASLEEP &&
        atomic_fetch_and_explicit(&waiter->asleep, ~RIP_ASLEEP, memory_order_acq_rel) & RIP_ASLEEP) {
        rip_wake(&waiter->futex);
    }
}

/* After a change: whoever has waited longest is woken if there is enough for it, and if nobody waits the word says so. */
static __attribute__((noinline)) void pass_on(struct rip_sync *s) {
    /* Our turn's end before our look at the word, and for whoever releases: the word before the turns. So of a waiter that leaves while
     * another releases one sees the other, and wakes the next. Pairs with itself. */
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
            ring(s, (uint32_t)first);
            return;
        } else if (wanted > 1 && !(word & STRICT)) {
            flags |= STRICT;
        } else {
            return;
        }
        /* Who has queued since we looked has changed the word since, and this fails. */
        if (help(s, word) == 0 && change(s, &word, next_word(word, units_of(word), flags, 0), 0, 0) && first < 0) {
            return;
        }
    }
}

static int claim(struct rip_sync *s) {
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
    atomic_store_explicit(&waiter->ticket, 0, memory_order_relaxed); /* pass_on comes next, with a fence */
    atomic_store_explicit(&waiter->owner, 0, memory_order_release);  /* pairs with the acquire in claim */
}

/* ---- taking and giving ---- */

/* head: we are the oldest in the queue. */
static int take(struct rip_sync *s, uint32_t units, int head) {
    uint64_t word = rip_sync_load(s);
    for (;;) {
        if (units_of(word) < units || (word & STRICT && !head)) {
            return -EAGAIN;
        }
        if (s->undo && s->held + units > UNITS) {
            return -EOVERFLOW;
        }
        if (help(s, word) != 0) {
            word = rip_sync_load(s);
            continue;
        }
        uint64_t flags = word & (DIED | QUEUED | (head ? 0 : STRICT));
        if (change(s, &word, next_word(word, units_of(word) - units, flags, counted(s)), counted(s), s->held + units)) {
            s->held += s->undo ? units : 0;
            return word & DIED ? 1 : 0;
        }
    }
}

int rip_units_try(struct rip_sync *s, uint32_t units) { return take(s, units, 0); }

int rip_ticket_take(struct rip_sync *s, uint32_t units, struct rip_ticket *ticket) {
    int index = claim(s);
    if (index < 0) {
        return index;
    }
    struct rip_waiter *waiter = &s->file->waiters[index];
    *ticket = (struct rip_ticket){.units = units, .index = (uint32_t)index};
    atomic_store_explicit(&waiter->asleep, 0, memory_order_relaxed);
    uint64_t number;
    do { /* never 0, which says that nobody waits */
        number = atomic_fetch_add_explicit(&s->file->tickets, 1, memory_order_relaxed) & TICKET;
    } while (number == 0);
    /* release: pairs with the acquire in oldest */
    atomic_store_explicit(&waiter->ticket, number << 31 | units, memory_order_release);
    for (uint64_t word = rip_sync_load(s);;) { /* a change even where the flag is there: see pass_on */
        uint64_t flags = (word & (DIED | STRICT)) | QUEUED;
        if (help(s, word) == 0 && change(s, &word, next_word(word, units_of(word), flags, 0), 0, 0)) {
            return 0;
        }
        word = rip_sync_load(s);
    }
}

int rip_ticket_try(struct rip_sync *s, struct rip_ticket *ticket) {
    uint32_t wanted;
    int head = oldest(s, &wanted) == (int)ticket->index;
    int rc = take(s, ticket->units, head);
    if (rc != -EAGAIN) {
        rip_ticket_cancel(s, ticket);
        return rc;
    }
    ticket->tries++;
    if (head && (ticket->units > 1 || ticket->tries > SPINS)) {
        uint64_t word = rip_sync_load(s);
        if (!(word & STRICT) && units_of(word) < ticket->units && help(s, word) == 0) { /* else next time */
            change(s, &word, next_word(word, units_of(word), (word & DIED) | QUEUED | STRICT, 0), 0, 0);
        }
    }
    return -EAGAIN;
}

void rip_ticket_cancel(struct rip_sync *s, const struct rip_ticket *ticket) {
    free_waiter(&s->file->waiters[ticket->index]);
    pass_on(s);
}

void rip_ticket_watch(struct rip_sync *s, const struct rip_ticket *ticket, struct rip_watch *watch) {
    struct rip_waiter *waiter = &s->file->waiters[ticket->index];
    rip_sync_watch(s, rip_sync_load(s), watch);
    watch->futex = &waiter->futex;
    watch->asleep32 = &waiter->asleep;
    watch->spin =
        ticket->tries < SPINS ? &s->spin : &s->no_spin; /* units that come and go keep nobody awake for ever */
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
        rip_reap_if_due(&s->handle); /* what the dead held, for one who never waits */
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
        rip_ticket_watch(s, &ticket, &watch);
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
            if (rip_handle_check(&s->handle) == 0) { /* else rip_sync_close has cancelled it */
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
        pass_on(s);
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
        /* relaxed: help, or the handle itself before the last change of the word, has written it */
        uint32_t held = units_of(atomic_load_explicit(&file->members[member].held, memory_order_relaxed));
        if (held == 0) {
            break;
        }
        uint64_t units = units_of(word) + (uint64_t)held > UNITS ? UNITS : units_of(word) + (uint64_t)held;
        uint64_t flags = (word & (DIED | QUEUED | STRICT)) | (died && file->kind == RIP_LOCK ? DIED : 0);
        if (change(s, &word, next_word(word, units, flags, member + 1), member + 1,
                   0)) { /* as if it had released them */
            break;
        }
    }
    for (uint32_t i = 0; i < RIP_MAX_WAITERS; i++) {
        if (atomic_load_explicit(&file->waiters[i].owner, memory_order_relaxed) == member + 1) {
            ring(s, i); /* a thread of this process, if the handle is closed under it */
            free_waiter(&file->waiters[i]);
        }
    }
    pass_on(s);
}
