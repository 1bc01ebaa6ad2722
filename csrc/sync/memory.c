/* Shared memory: a description, which says what the data is, the data, and a draft of it.
 *
 *   | tables | description | data | draft |       each of whole pages; the draft is allocated when it is first needed
 *
 *   word   | turn 62 | phase 2 |
 *
 *   phase     current   being written   by
 *   DATA      data
 *   DRAFTING  data      draft           the owner of the lock word
 *   COPYING   draft     data            the same: it has published the draft, and makes the data the same
 *
 * Programs read and write the data in place, as they like. Besides, the owner of the lock can replace all of it at
 * once: it writes a draft, publishes the draft by one store, and copies it to the data; then the next turn begins. If
 * it is killed while it drafts, nothing has happened. If it is killed while it copies, the draft is current, and the
 * next owner of the lock copies it again.
 *
 * A reader copies what is current, and then checks that nobody has started to write there: a sequence lock with two
 * copies, as in latest.c, where the reason for memcpy is given. It writes nothing and never waits. */
#include "sync/memory.h"
#include "base/file.h"
#include "base/futex.h"
#include "base/shortage.h"

#include <string.h>
#include <sys/mman.h>

enum phase { DATA, DRAFTING, COPYING, PHASES = 4 };

/* What the threads of this process do with a handle. WAITED: one writes, and another one waits to close the handle. */
enum use { IDLE, WRITING, WAITED, STOPPED };

#define PIECE 65536u /* after so many bytes a reader checks whether they still count */
#define TRIES 64     /* after so many copies in vain a reader returns to its caller, who may have to handle a signal */

static enum phase phase_of(uint64_t word) { return (enum phase)(word % PHASES); }

static uint64_t turn_of(uint64_t word) { return word - word % PHASES; }

/* ---- opening ---- */

uint64_t rip_memory_size(uint32_t description_length, uint64_t size, uint64_t *allocated) {
    uint64_t pages = rip_round_up(size, RIP_PAGE);
    *allocated = rip_round_up(description_length, RIP_PAGE) + pages;
    return *allocated + pages;
}

static unsigned char *description_of(const struct rip_sync *s) {
    return (unsigned char *)s->file + sizeof(struct rip_sync_file);
}

static void find_parts(struct rip_sync *s, uint32_t description_length, uint64_t size) {
    struct rip_memory *memory = &s->memory;
    memory->description_length = description_length;
    memory->size = size;
    memory->data = description_of(s) + rip_round_up(description_length, RIP_PAGE);
    memory->draft = memory->data + rip_round_up(size, RIP_PAGE);
}

void rip_memory_describe(struct rip_sync *s, const struct rip_memory_wish *wish, uint64_t size) {
    s->file->memory.description = wish->description_length;
    s->file->memory.size = size;
    if (wish->description_length) {
        memcpy(description_of(s), wish->description, wish->description_length);
    }
    find_parts(s, wish->description_length, size);
}

int rip_memory_check(struct rip_sync *s, const struct rip_memory_wish *wish, int64_t wanted) {
    uint32_t length = s->file->memory.description;
    uint64_t size = s->file->memory.size, allocated;
    if (length > RIP_MAX_DESCRIPTION || size > (uint64_t)RIP_MAX_MEMORY ||
        s->handle.mapping.size != sizeof(struct rip_sync_file) + rip_memory_size(length, size, &allocated)) {
        return -EBADMSG;
    }
    find_parts(s, length, size);
    if (wanted >= 0 && ((uint64_t)wanted != size || wish->description_length != length ||
                        (length && memcmp(wish->description, description_of(s), length) != 0))) {
        return -EEXIST;
    }
    return 0;
}

int rip_memory_map(struct rip_sync *s) { return s->memory.size ? rip_populate(s->memory.data, s->memory.size, 1) : 0; }

const void *rip_memory_description(const struct rip_sync *s, uint32_t *length) {
    *length = s->memory.description_length;
    return description_of(s);
}

void *rip_memory_data(const struct rip_sync *s, uint64_t *size) {
    *size = s->memory.size;
    return s->memory.data;
}

/* ---- writing and closing in several threads ---- */

/* The owner of the lock begins to write. Returns 0 or -ESHUTDOWN. Until end_write no thread closes the handle: that
 * would release the lock, and another process would write at the same time. */
static int begin_write(struct rip_sync *s) {
    uint32_t seen = IDLE;
    /* acquire: nothing is written before. Pairs with rip_memory_stop. */
    if (atomic_compare_exchange_strong_explicit(&s->memory.use, &seen, WRITING, memory_order_acquire,
                                                memory_order_relaxed)) {
        return 0;
    }
    return seen == STOPPED ? -ESHUTDOWN : -EBADMSG; /* -EBADMSG: two threads own the lock, whose word is damaged */
}

static void end_write(struct rip_sync *s) {
    /* release: all that was written; pairs with the acquire in rip_memory_stop */
    if (atomic_exchange_explicit(&s->memory.use, IDLE, memory_order_release) == WAITED) {
        rip_wake_many(&s->memory.use, 1);
    }
}

void rip_memory_stop(struct rip_sync *s) {
    _Atomic uint32_t *use = &s->memory.use;
    uint32_t seen = IDLE, slept = 0;
    rip_handle_begin_close(&s->handle);
    /* acquire: pairs with the release in end_write */
    while (!atomic_compare_exchange_strong_explicit(use, &seen, STOPPED, memory_order_acquire, memory_order_relaxed) &&
           seen != STOPPED) {
        if (seen == WAITED ||
            atomic_compare_exchange_strong_explicit(use, &seen, WAITED, memory_order_relaxed, memory_order_relaxed)) {
            slept = 1;
            rip_sleep(use, WAITED, RIP_FOREVER);
        }
        seen = IDLE;
    }
    if (slept) {
        rip_wake_many(use, 1); /* another thread may close the handle too */
    }
}

/* ---- the lock ---- */

union rip_word *rip_memory_lock(struct rip_sync *s) { return &s->file->memory.lock; }

/* Makes the data the same as the draft, which is current, and then current. The lock must be held. */
static void copy_draft(struct rip_sync *s, uint64_t turn) {
    memcpy(s->memory.data, s->memory.draft, s->memory.size);
    /* release: pairs with the acquire in rip_memory_read */
    atomic_store_explicit(&s->file->word, turn + PHASES, memory_order_release);
}

/* Returns 0, or a negative errno if the draft cannot be read. */
static int check_draft(struct rip_sync *s) {
    struct rip_memory *memory = &s->memory;
    int rc = RIP_LIKELY(memory->readable) || !memory->size ? 0 : rip_populate(memory->draft, memory->size, 0);
    memory->readable = rc == 0;
    return rc;
}

/* Completes what a dead owner of the lock has left. The lock is held, and begin_write was called. */
static int complete_copy(struct rip_sync *s) {
    uint64_t word = rip_sync_load(s);
    int rc = phase_of(word) == COPYING ? check_draft(s) : 0;
    if (phase_of(word) == COPYING && rc == 0) {
        copy_draft(s, turn_of(word));
    }
    return rc;
}

int rip_memory_mend(struct rip_sync *s) {
    int rc = begin_write(s);
    if (rc == 0) {
        rc = complete_copy(s);
        end_write(s);
    }
    return rc;
}

int rip_memory_acquire(struct rip_sync *s, uint64_t deadline) {
    int rc = rip_word_enter(s, rip_memory_lock(s), RIP_RECURSIVE, deadline);
    int mended = RIP_UNLIKELY(rc == 1) ? rip_memory_mend(s) : 0;
    if (mended != 0) {
        rip_word_pass_on(s, rip_memory_lock(s));
    }
    return mended ? mended : rc;
}

int rip_memory_release(struct rip_sync *s) { return rip_word_release(s, rip_memory_lock(s)); }

int rip_memory_recover(struct rip_sync *s) {
    int rc =
        phase_of(rip_sync_load(s)) == COPYING ? rip_word_enter(s, rip_memory_lock(s), RIP_RECURSIVE, 0) : -ETIMEDOUT;
    if (rc >= 0) {
        rc = rip_memory_mend(s); /* also if nobody had the lock: the file of a path may have been copied */
        rip_word_pass_on(s, rip_memory_lock(s));
    }
    return rc == -ETIMEDOUT ? 0 : rc; /* -ETIMEDOUT: there is nothing to do, or a live owner does it */
}

/* ---- writing all of it ---- */

static __attribute__((noinline, cold)) int allocate_draft(struct rip_sync *s) {
    struct rip_memory *memory = &s->memory;
    uint64_t free = s->handle.dir >= 0 || memory->has_path ? UINT64_MAX : rip_memory_available();
    if (memory->size > free) {
        rip_note_shortage(memory->size, free);
        return -ENOSPC;
    }
    uint64_t offset = (uint64_t)(memory->draft - (unsigned char *)s->file);
    int rc = rip_allocate(s->handle.mapping.fd, offset, memory->size);
    rc = rc ? rc : rip_populate(memory->draft, memory->size, 1);
    memory->allocated = memory->readable = rc == 0;
    return rc;
}

/* The lock is held, and begin_write was called. */
static int replace_data(struct rip_sync *s, const void *from) {
    struct rip_memory *memory = &s->memory;
    int rc = complete_copy(s);
    if (rc == 0 && RIP_UNLIKELY(!memory->allocated && memory->size)) {
        rc = allocate_draft(s);
    }
    if (rc != 0) {
        return rc;
    }
    uint64_t turn = turn_of(rip_sync_load(s));
    atomic_store_explicit(&s->file->word, turn + DRAFTING, memory_order_relaxed);
    /* The draft is marked before it is written. Pairs with the fence in is_whole. */
    atomic_thread_fence(memory_order_release);
    memcpy(memory->draft, from, memory->size);
    /* release: the draft; pairs with the acquire in rip_memory_read */
    atomic_store_explicit(&s->file->word, turn + COPYING, memory_order_release);
    /* The data is marked before it is written. Pairs with the fence in is_whole. */
    atomic_thread_fence(memory_order_release);
    copy_draft(s, turn);
    return 0;
}

int rip_memory_write(struct rip_sync *s, const void *from) {
    int rc = rip_sync_check(s);
    rc = rc ? rc : rip_word_is_mine(s, rip_memory_lock(s)) ? begin_write(s) : -EPERM;
    if (rc == 0) {
        rc = replace_data(s, from);
        end_write(s);
    }
    return rc;
}

/* ---- reading ---- */

/* Returns 1 if nobody has started to write to what was current when `word` was loaded. */
static int is_whole(const struct rip_sync *s, uint64_t word) {
    /* The copy is made before the word is loaded again. Pairs with the fences in rip_memory_write: if
     * a byte of what came later was copied, the mark before it is seen, or a word after that. */
    atomic_thread_fence(memory_order_acquire);
    uint64_t now = atomic_load_explicit(&s->file->word, memory_order_relaxed);
    /* The draft is not written before DRAFTING of the next turn, and the data not before COPYING of this one. */
    return now - turn_of(word) <= (phase_of(word) == COPYING ? PHASES : DRAFTING);
}

/* Copies what is current. Returns 1, or 0 if it was overwritten meanwhile. */
static int copy_once(const struct rip_sync *s, uint64_t word, unsigned char *to) {
    const unsigned char *from = phase_of(word) == COPYING ? s->memory.draft : s->memory.data;
    uint64_t size = s->memory.size;
    for (uint64_t at = 0; at < size; at += PIECE) {
        memcpy(to + at, from + at, size - at < PIECE ? size - at : PIECE);
        if (!is_whole(s, word)) {
            return 0;
        }
    }
    return 1;
}

int rip_memory_read(struct rip_sync *s, void *to) {
    int rc = rip_sync_check(s);
    for (int tries = 0; rc == 0; tries++) {
        uint64_t word = rip_sync_load(s);
        if (phase_of(word) > COPYING) {
            return -EBADMSG;
        }
        rc = phase_of(word) == COPYING ? check_draft(s) : 0;
        if (rc == 0 && copy_once(s, word, to)) {
            return 0;
        }
        rc = rc ? rc : tries == TRIES ? -EAGAIN : 0;
    }
    return rc;
}

int rip_memory_flush(struct rip_sync *s) {
    int rc = rip_sync_check(s);
    return rc ? rc : msync(s->file, s->handle.mapping.size, MS_SYNC) == 0 ? 0 : -errno;
}
