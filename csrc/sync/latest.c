/* Latest values: one process sets a value, and any number of others read the newest one.
 *
 *   word   | seq 61 | slot 3 |      the number of the newest value, from 1, and its slot; seq 0: none has been set
 *
 * A writer claims a slot by compare-and-swap, but not the newest one, writes the value into it, and makes it the newest
 * by a compare-and-swap of the word. So nobody writes into the newest slot, and a writer that is killed or stopped at
 * any instruction leaves the newest value as it was. Its claim stays until it is reaped; other writers claim other
 * slots. Of several writers the last one wins.
 *
 * A reader writes nothing. It copies the value, and then checks that the slot still holds it: a sequence lock, with
 * several slots, so that a reader has to copy again only if so many values are set while it copies one (H. Kopetz, J.
 * Reisinger, The Non-Blocking Write Protocol NBW, 1993). A copy that overlaps with a write may be torn, and is dropped.
 * C11 calls that a data race (H.-J. Boehm, Can Seqlocks Get Along With Programming Language Memory Models?, 2012). Here
 * it is memcpy all the same, because copying by atomic loads is several times slower: the fences before and after it
 * order its loads in every compiler and processor that this is for. */
#include "sync/latest.h"
#include "base/errors.h"
#include "base/file.h"
#include "base/shortage.h"
#include "store/table_lock.h"

#include <string.h>

#define SLOTS RIP_LATEST_SLOTS
/* Large values use only the first slots, as memory that is used again soon is still in the cache. */
#define LARGE 65536u
#define SLOTS_IF_LARGE 4u

static unsigned slot_of(uint64_t word) { return (unsigned)(word % SLOTS); }

static uint64_t seq_of(uint64_t word) { return word / SLOTS; }

static uint64_t offset_of(const struct rip_sync *s, unsigned slot) {
    return sizeof(struct rip_sync_file) + slot * s->latest.capacity;
}

static unsigned char *payload_of(const struct rip_sync *s, unsigned slot) {
    return (unsigned char *)s->file + offset_of(s, slot);
}

/* ---- opening ---- */

uint64_t rip_latest_size(uint64_t capacity) { return SLOTS * rip_round_up(capacity, RIP_PAGE); }

uint64_t rip_latest_capacity_of(uint64_t size) {
    uint64_t slots = size - sizeof(struct rip_sync_file);
    return slots % ((uint64_t)SLOTS * RIP_PAGE) == 0 ? slots / SLOTS : 0;
}

void rip_latest_attach(struct rip_sync *s, int is_first) {
    s->latest.capacity = rip_latest_capacity_of(s->handle.mapping.size);
    if (is_first) {
        s->file->clock = (uint32_t)(rip_counter_is_steady() ? RIP_CLOCK_COUNTER : RIP_CLOCK_NS);
        s->file->moment = rip_moment_now(s->latest.time_offset);
    }
}

uint64_t rip_latest_capacity(const struct rip_sync *s) { return s->latest.capacity; }

void rip_latest_left(struct rip_sync *s, uint32_t member, int died) {
    (void)died;
    for (unsigned i = 0; i < SLOTS; i++) {
        uint32_t claim = member + 1;
        /* release: pairs with the acquire in try_claim */
        atomic_compare_exchange_strong_explicit(&s->file->slots[i].claim, &claim, 0, memory_order_release,
                                                memory_order_relaxed);
    }
}

/* ---- setting ---- */

/* Claims one of the first `count` slots, the least recent one that is free. Returns its index or -EAGAIN. */
static int claim_of(struct rip_sync *s, unsigned count, int *passed_over) {
    unsigned newest = slot_of(rip_sync_load(s));
    for (unsigned i = 1; i <= count; i++) {
        unsigned slot = (newest + i) % count;
        _Atomic uint32_t *claim = &s->file->slots[slot].claim;
        uint32_t free = 0;
        if (slot == newest) {
            continue;
        }
        /* acquire: what the writer before has done, above all making the slot the newest; pairs with the release in
         * free_slot and rip_latest_left */
        if (!atomic_compare_exchange_strong_explicit(claim, &free, s->me, memory_order_acquire, memory_order_relaxed)) {
            *passed_over = 1;
        } else if (slot_of(rip_sync_load(s)) != slot) { /* only the member with the claim can change that now */
            return (int)slot;
        } else {
            atomic_store_explicit(claim, 0, memory_order_release);
        }
    }
    return -EAGAIN;
}

static int try_claim(struct rip_sync *s, uint64_t length) {
    int passed_over = 0;
    int slot = claim_of(s, length < LARGE ? SLOTS : SLOTS_IF_LARGE, &passed_over);
    slot = slot < 0 ? claim_of(s, SLOTS, &passed_over) : slot;
    if (RIP_UNLIKELY(passed_over)) {
        rip_reap_if_due(&s->handle); /* frees the slots of dead members */
    }
    return slot;
}

/* The same, but waits for a slot if other writers are using all of them. Returns -ETIMEDOUT or another negative errno
 * if there is none. */
static int claim(struct rip_sync *s, uint64_t length, uint64_t deadline) {
    struct rip_watch watch;
    int slot = try_claim(s, length);
    for (int rc = 0; slot == -EAGAIN;) {
        rip_sync_watch(s, rip_sync_load(s), &watch);
        slot = try_claim(s, length);
        if (slot == -EAGAIN && rc == -ETIMEDOUT) {
            return rc;
        }
        if (slot == -EAGAIN) {
            rc = rip_sync_wait(s, &watch, deadline);
            slot = rc < 0 && rc != -ETIMEDOUT ? rc : slot;
        }
    }
    return slot;
}

static void free_slot(struct rip_sync *s, unsigned slot) {
    atomic_store_explicit(&s->file->slots[slot].claim, 0,
                          memory_order_release); /* pairs with the acquire in claim_of */
    s->latest.setting--;
}

/* Allocates the first length bytes of a slot, or more, so that smaller growth needs no further call. */
static __attribute__((noinline, cold)) int allocate(struct rip_sync *s, unsigned slot, uint64_t length) {
    uint64_t *allocated = &s->latest.allocated[slot], capacity = s->latest.capacity;
    uint64_t end = rip_round_up(length > 2 * *allocated ? length : 2 * *allocated, RIP_PAGE);
    end = end < capacity ? end : capacity;
    uint64_t size = end - *allocated, free = s->handle.dir >= 0 ? UINT64_MAX : rip_memory_available();
    if (size > free) {
        rip_note_shortage(size, free);
        return -ENOSPC;
    }
    int rc = rip_allocate(s->handle.mapping.fd, offset_of(s, slot) + *allocated, size);
    rc = rc ? rc : rip_populate(payload_of(s, slot) + *allocated, size, 1);
    if (rc == 0) {
        *allocated = end;
    }
    return rc;
}

int rip_latest_begin(struct rip_sync *s, uint64_t length, uint64_t deadline, unsigned char **payload) {
    int rc = rip_sync_check(s);
    if (rc == 0 && RIP_UNLIKELY(s->me == 0)) {
        rc = rip_sync_become_member(s);
    }
    if (rc == 0 && length > s->latest.capacity) {
        rc = -EMSGSIZE;
    }
    int slot = rc < 0 ? rc : claim(s, length, deadline);
    if (slot < 0) {
        return slot;
    }
    s->latest.setting++;
    if (RIP_UNLIKELY(length > s->latest.allocated[slot])) {
        rc = allocate(s, (unsigned)slot, length);
        if (rc < 0) {
            free_slot(s, (unsigned)slot);
            return rc;
        }
    }
    atomic_store_explicit(&s->file->slots[slot].word, 0, memory_order_relaxed);
    /* The slot is marked before the payload is written. Pairs with the fence in rip_latest_is_whole. */
    atomic_thread_fence(memory_order_release);
    *payload = payload_of(s, (unsigned)slot);
    return slot;
}

uint64_t rip_latest_publish(struct rip_sync *s, int slot, uint64_t length, uint8_t kind) {
    struct rip_latest_slot *to = &s->file->slots[slot];
    uint64_t before = atomic_load_explicit(&s->file->word, memory_order_relaxed), word;
    atomic_store_explicit(&to->length, length, memory_order_relaxed);
    atomic_store_explicit(&to->kind, kind, memory_order_relaxed);
    atomic_store_explicit(&to->ticks, rip_ticks(s->file->clock, s->latest.time_offset), memory_order_relaxed);
    do {
        word = (seq_of(before) + 1) * SLOTS + (unsigned)slot;
        atomic_store_explicit(&to->word, word, memory_order_relaxed);
        /* release: the payload and the slot; pairs with the acquire in rip_sync_load. seq_cst: comes before the load of
         * asleep below; pairs with the fence in rip_watch_announce. */
    } while (!atomic_compare_exchange_weak_explicit(&s->file->word, &before, word, memory_order_seq_cst,
                                                    memory_order_relaxed));
    free_slot(s, (unsigned)slot);
    if (RIP_UNLIKELY(atomic_load_explicit(&s->file->asleep, memory_order_seq_cst) & RIP_ASLEEP)) {
        rip_sync_wake(s);
    }
    return seq_of(word);
}

void rip_latest_cancel(struct rip_sync *s, int slot) { free_slot(s, (unsigned)slot); }

int rip_latest_set(struct rip_sync *s, const void *data, uint64_t length, uint8_t kind) {
    unsigned char *payload;
    int slot = rip_latest_begin(s, length, RIP_FOREVER, &payload);
    if (slot < 0) {
        return slot;
    }
    memcpy(payload, data, length);
    rip_latest_publish(s, slot, length, kind);
    return 0;
}

/* ---- reading ---- */

int rip_latest_is_whole(const struct rip_sync *s, const struct rip_value *value) {
    /* The payload is read before the slot's word. Pairs with the fence in rip_latest_begin: if a byte of a later value
     * was read, so is the mark of the slot, or a word after it. */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&s->file->slots[slot_of(value->word)].word, memory_order_relaxed) == value->word;
}

/* Makes sure that the payload can be read, also if its length is not what a writer has stored. */
static __attribute__((noinline, cold)) int check_memory(struct rip_sync *s, unsigned slot, uint64_t length) {
    uint64_t *readable = &s->latest.readable[slot], end = rip_round_up(length, RIP_PAGE);
    int rc = rip_populate(payload_of(s, slot) + *readable, end - *readable, 0);
    if (rc == 0) {
        *readable = end;
    }
    return rc;
}

int rip_latest_peek(struct rip_sync *s, struct rip_value *value) {
    int rc = rip_sync_check(s);
    if (rc != 0) {
        return rc;
    }
    for (;;) {
        uint64_t word = rip_sync_load(s);
        unsigned slot = slot_of(word);
        const struct rip_latest_slot *from = &s->file->slots[slot];
        value->word = word;
        value->seq = seq_of(word);
        if (value->seq == 0) {
            return 0;
        }
        value->data = payload_of(s, slot);
        /* relaxed: they are used only if the slot still has the value after they have been loaded */
        value->length = atomic_load_explicit(&from->length, memory_order_relaxed);
        value->ticks = atomic_load_explicit(&from->ticks, memory_order_relaxed);
        value->kind = (uint8_t)atomic_load_explicit(&from->kind, memory_order_relaxed);
        if (RIP_LIKELY(rip_latest_is_whole(s, value))) {
            if (value->length > s->latest.capacity) {
                return -EBADMSG;
            }
            rc = RIP_LIKELY(value->length <= s->latest.readable[slot]) ? 0 : check_memory(s, slot, value->length);
            return rc ? rc : 1;
        }
        if (rip_sync_load(s) == word) { /* nobody writes into the newest slot */
            return -EBADMSG;
        }
    }
}

int rip_latest_wait(struct rip_sync *s, uint64_t newer_than, uint64_t deadline, struct rip_value *value) {
    struct rip_watch watch;
    for (int waited = deadline ? 0 : -ETIMEDOUT;;) {
        int rc = rip_latest_peek(s, value);
        if (rc < 0 || (rc == 1 && value->seq > newer_than)) {
            return rc;
        }
        if (waited == -ETIMEDOUT) {
            return waited;
        }
        rip_sync_watch(s, value->word, &watch);
        waited = rip_sync_wait(s, &watch, deadline);
        if (waited < 0 && waited != -ETIMEDOUT) {
            return waited;
        }
    }
}

int rip_latest_get(struct rip_sync *s, uint64_t newer_than, uint64_t deadline, void *buffer, uint64_t size,
                   struct rip_value *value) {
    do {
        int rc = rip_latest_wait(s, newer_than, deadline, value);
        if (rc != 1) {
            return rc;
        }
        if (value->length > size) {
            return -EMSGSIZE;
        }
        memcpy(buffer, value->data, value->length);
    } while (!rip_latest_is_whole(s, value));
    value->data = buffer;
    return 1;
}

uint64_t rip_latest_time(const struct rip_sync *s, uint64_t ticks) {
    if (s->file->clock == RIP_CLOCK_COUNTER) {
        ticks = rip_ticks_to_ns(s->file->moment, rip_moment_now(s->latest.time_offset), ticks);
    }
    return ticks + s->latest.time_offset;
}
