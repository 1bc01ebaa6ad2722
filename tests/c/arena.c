/* Where the arena puts messages, checked against a model that remembers every live byte. Uses no shared memory. */
#include "check.h"

#define MAX_LIVE 4096u

/* The messages that are not released yet, oldest first; and the state that a producer has for its arena. */
struct model {
    struct rip_arena arena;
    struct {
        uint64_t offset, length; /* as in the descriptor: length is not rounded */
    } live[MAX_LIVE];
    uint64_t oldest, next; /* seqs; live[seq % MAX_LIVE] */
    uint64_t reclaimed;    /* the producer's limit */
    uint64_t memory;       /* how much can be allocated */
};

static void model_init(struct model *m, uint64_t capacity) {
    memset(m, 0, sizeof *m);
    rip_arena_init(&m->arena, capacity);
    m->memory = capacity;
}

static void released(struct model *m, uint64_t count) {
    m->oldest += count;
    CHECK(m->oldest <= m->next);
}

static uint64_t live_count(const struct model *m) { return m->next - m->oldest; }

static int is_free(const struct model *m, uint64_t offset, uint64_t length) {
    if (offset % RIP_LINE != 0 || offset > m->arena.capacity || length > m->arena.capacity - offset) {
        return 0;
    }
    for (uint64_t seq = m->oldest; seq != m->next; seq++) {
        uint64_t lo = m->live[seq % MAX_LIVE].offset, n = m->live[seq % MAX_LIVE].length;
        if (length > 0 && n > 0 && offset < lo + n && lo < offset + length) {
            return 0;
        }
    }
    return 1;
}

/* As rip_tx_find_room. */
static int find_offset(struct model *m, uint64_t need) {
    struct rip_arena *a = &m->arena;
    uint64_t at = rip_arena_find(a, need, a->capacity);
    if (at == UINT64_MAX) {
        return -EAGAIN;
    }
    if (at + need > a->allocated && at + need <= m->memory) {
        uint64_t allocated = rip_round_up(at + need, RIP_PAGE);
        rip_arena_allocated(a, allocated < m->memory ? allocated : m->memory);
    }
    if (at + need > a->allocated) {
        at = rip_arena_find(a, need, a->allocated);
        if (at == UINT64_MAX) {
            return -ENOSPC;
        }
    }
    if (at != a->at) {
        rip_arena_go(a, at, m->next);
    }
    return 0;
}

/* As rip_tx_reserve and rip_tx_commit: 0, -EAGAIN or -ENOSPC. */
static int offset(struct model *m, uint64_t length) {
    struct rip_arena *a = &m->arena;
    uint64_t need = rip_round_up(length, RIP_LINE);
    if (length >= RIP_LARGE || length > a->gap_end - a->at || live_count(m) >= MAX_LIVE) {
        if (m->oldest != m->reclaimed) {
            m->reclaimed = m->oldest;
            rip_arena_reclaim(a, m->oldest, m->live[m->oldest % MAX_LIVE].offset, m->next);
        }
        if (live_count(m) >= MAX_LIVE) {
            return -EAGAIN;
        }
        int rc = find_offset(m, need);
        if (rc != 0) {
            return rc;
        }
    }
    CHECK(a->at + need <= a->allocated && a->allocated <= m->memory);
    CHECK(a->at <= a->gap_end && need <= a->gap_end - a->at);
    CHECK(is_free(m, a->at, length));
    m->live[m->next % MAX_LIVE].offset = a->at;
    m->live[m->next % MAX_LIVE].length = length;
    a->at += need;
    m->next++;
    return 0;
}

/* Returns 1 if the message fits anywhere. It is enough to try offset 0 and the offset behind each live message. */
static int fits_somewhere(const struct model *m, uint64_t length) {
    if (is_free(m, 0, length)) {
        return 1;
    }
    for (uint64_t seq = m->oldest; seq != m->next; seq++) {
        uint64_t end = m->live[seq % MAX_LIVE].offset + rip_round_up(m->live[seq % MAX_LIVE].length, RIP_LINE);
        if (is_free(m, end, length)) {
            return 1;
        }
    }
    return 0;
}

/* Many small lengths, some around the size of a line or a page, a few up to the capacity. */
static uint64_t random_length(struct random *r, uint64_t capacity) {
    static const uint64_t edges[] = {0, 1, 63, 64, 65, 127, 128, 129, 4032, 4095, 4096, 4097, 8192};
    uint64_t kind = random_below(r, 100), length;
    if (kind < 40) {
        length = edges[random_below(r, sizeof edges / sizeof *edges)];
    } else if (kind < 80) {
        length = random_below(r, 300);
    } else if (kind < 97) {
        length = random_below(r, capacity / 4 + 1);
    } else {
        length = random_below(r, 2) ? capacity : random_below(r, capacity + 1);
    }
    return length < capacity ? length : capacity;
}

static struct model m; /* large */

static void random_rounds(uint64_t seed, uint64_t capacity, unsigned rounds, unsigned most_unreleased) {
    struct random r = {seed};
    unsigned refused_with_room = 0;
    model_init(&m, capacity);
    for (unsigned round = 0; round < rounds; round++) {
        uint64_t length = random_length(&r, capacity);
        if (offset(&m, length) != 0) {
            CHECK(live_count(&m) > 0);
            refused_with_room += m.arena.count < RIP_MAX_RUNS && fits_somewhere(&m, length);
            released(&m, 1 + random_below(&r, live_count(&m)));
        } else if (live_count(&m) > most_unreleased || random_below(&r, 8) == 0) {
            released(&m, random_below(&r, live_count(&m) + 1));
        }
        if (random_below(&r, 1000) == 0) {
            released(&m, live_count(&m));
            CHECK_IS(offset(&m, capacity), 0);
            CHECK_IS(m.live[(m.next - 1) % MAX_LIVE].offset, 0);
        }
    }
    CHECK_IS(refused_with_room, 0);
}

static void never_overlaps(void) {
    static const uint64_t capacities[] = {4096, 8192, 20480, 65536, 1 << 20, UINT64_C(1) << 40};
    static const unsigned unreleased[] = {0, 1, 3, 17, 200};
    for (unsigned c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        for (unsigned h = 0; h < sizeof unreleased / sizeof *unreleased; h++) {
            random_rounds(1 + 97 * c + h, capacities[c], 40000, unreleased[h]);
        }
    }
}

/* Every length in lines, every number of messages that are not released, and every offset of the first message. */
static void wraps_at_every_alignment(void) {
    const uint64_t lines = 16, capacity = lines * RIP_LINE;
    for (uint64_t first = 0; first <= lines; first++) {
        for (uint64_t length = 1; length <= lines; length++) {
            for (uint64_t unreleased = 1; unreleased <= lines / length; unreleased++) {
                model_init(&m, capacity);
                CHECK_IS(offset(&m, first * RIP_LINE), 0);
                for (unsigned i = 0; i < 3 * lines; i++) {
                    while (offset(&m, length * RIP_LINE - i % 2) != 0) {
                        CHECK(live_count(&m) > 0);
                        released(&m, 1);
                    }
                    if (live_count(&m) > unreleased) {
                        released(&m, live_count(&m) - unreleased);
                    }
                }
            }
        }
    }
}

static void as_many_fit_as_the_capacity_allows(void) {
    const uint64_t lines = 64;
    for (uint64_t length = 1; length <= lines; length++) {
        model_init(&m, lines * RIP_LINE);
        for (unsigned round = 0; round < 20; round++) {
            for (uint64_t i = 0; i < lines / length; i++) {
                CHECK_IS(offset(&m, length * RIP_LINE), 0);
            }
            CHECK_IS(offset(&m, length * RIP_LINE), -EAGAIN);
            released(&m, live_count(&m));
        }
    }
}

/* Without more memory an arena works like one of the allocated capacity; with more memory it is whole again. */
static void works_in_the_allocated_memory(void) {
    struct random r = {7};
    for (unsigned unreleased = 0; unreleased < 40; unreleased += 13) {
        model_init(&m, 1 << 20);
        m.memory = 16 * RIP_PAGE;
        unsigned short_of_memory = 0;
        for (unsigned i = 0; i < 40000; i++) {
            uint64_t length = random_length(&r, 1 << 14);
            int rc = offset(&m, length);
            CHECK(rc == 0 || live_count(&m) > 0);
            short_of_memory += rc == -ENOSPC;
            if (live_count(&m) > unreleased || rc != 0) {
                released(&m, 1 + random_below(&r, live_count(&m)));
            }
        }
        CHECK(unreleased == 0 || short_of_memory > 0);
        released(&m, live_count(&m));
        CHECK_IS(offset(&m, 17 * RIP_PAGE), -ENOSPC);
        CHECK_IS(offset(&m, 16 * RIP_PAGE), 0);
        CHECK_IS(offset(&m, 1), -ENOSPC);
        m.memory = 1 << 20;
        CHECK_IS(offset(&m, 1), 0);
        released(&m, live_count(&m));
        CHECK_IS(offset(&m, 1 << 20), 0);
    }
}

static void restarts_when_drained(void) {
    struct random r = {5};
    model_init(&m, 1 << 20);
    for (unsigned round = 0; round < 20000; round++) {
        for (uint64_t n = random_below(&r, 20); n > 0 && offset(&m, RIP_LARGE + random_below(&r, 60000)) == 0; n--) {
        }
        released(&m, live_count(&m));
        CHECK_IS(offset(&m, RIP_LARGE), 0);
        CHECK_IS(m.live[(m.next - 1) % MAX_LIVE].offset, 0);
    }
}

static void stays_warm(void) {
    const uint64_t capacity = 64 << 20, length = 1 << 20;
    for (uint64_t unreleased = 0; unreleased < 8; unreleased++) {
        uint64_t highest = 0;
        model_init(&m, capacity);
        for (unsigned i = 0; i < 1000; i++) {
            CHECK_IS(offset(&m, length), 0);
            highest = m.arena.at > highest ? m.arena.at : highest;
            if (live_count(&m) > unreleased) {
                released(&m, 1);
            }
        }
        /* the live messages, as much again for the next ones, and the one that the consumer has */
        CHECK(highest <= (2 * (unreleased + 1) + 1) * length);
    }
}

static void uses_all_when_stalled(void) {
    const uint64_t capacity = 64 << 20, length = 1 << 20;
    model_init(&m, capacity);
    for (unsigned i = 0; i < 100; i++) { /* the consumer keeps up, and has two */
        CHECK_IS(offset(&m, length), 0);
        if (live_count(&m) > 2) {
            released(&m, 1);
        }
    }
    uint64_t more = 0;
    while (offset(&m, length) == 0) {
        more++;
    }
    CHECK(more >= 55);
}

static void checks_offsets(void) {
    struct random r = {11};
    model_init(&m, 65536);
    for (unsigned i = 0; i < 200000; i++) {
        if (random_below(&r, 3) == 0) { /* as read back from a damaged descriptor */
            uint64_t seq = m.reclaimed + random_below(&r, m.next - m.reclaimed + 1);
            uint64_t offset = random_below(&r, 2) ? random_below(&r, 1 << 17) : random_next(&r);
            rip_arena_reclaim(&m.arena, seq, offset, m.next);
            m.reclaimed = m.oldest = seq;
        }
        uint64_t need = rip_round_up(random_below(&r, 9000), RIP_LINE);
        if (find_offset(&m, need) == 0) {
            CHECK(m.arena.at <= m.arena.gap_end && m.arena.gap_end <= m.arena.capacity);
            CHECK(m.arena.at % RIP_LINE == 0 && need <= m.arena.gap_end - m.arena.at);
            m.arena.at += need;
            m.next++;
        }
    }
}

int main(void) {
    run("a message never overlaps a live one, and is never refused while a gap is large enough", never_overlaps);
    run("a small arena wraps at every alignment", wraps_at_every_alignment);
    run("as many equal messages fit as the capacity allows", as_many_fit_as_the_capacity_allows);
    run("without more memory an arena works in what is allocated", works_in_the_allocated_memory);
    run("an arena that is drained restarts at 0", restarts_when_drained);
    run("a consumer that keeps up keeps large messages near 0", stays_warm);
    run("a stalled consumer leaves nearly all of the arena to new messages", uses_all_when_stalled);
    run("no offset that is read back from shared memory leads out of the arena", checks_offsets);
    return 0;
}
