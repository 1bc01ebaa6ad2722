/* Fuzzes the core with hostile memory (libFuzzer). An input is a program. Its first bytes select a kind of channel, or
 * of semaphore, lock, event, barrier or latest value. The rest is a sequence of calls by producers and consumers, mixed with writes
 * by a hostile process of the same user into the files that they have mapped, between two calls or in the middle of
 * one. Errors and wrong data are allowed. A crash, a hang or an access outside of a mapping is not, and at the end no
 * memory, mapping or file descriptor may be left. */
#include "channel/enter.h"
#include "input.h"
#include "ring/large.h"
#include "ring/rx_state.h"
#include "ring/tx.h"
#include "store/table_lock.h"
#include "sync/latest_fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PRODUCERS 3u
#define CONSUMERS 4u
#define SYNCS 3u
#define KEPT 24u /* most messages that are taken and not released */
#define LONGEST (3 * RIP_PAGE)
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Most calls do not wait, and none waits for longer than this. */
static uint64_t deadline(void) { return next() % 8 ? 0 : rip_now() + 2000; }

/* ---- the hostile process ---- */

static char scratch[64], channel_dir[128], sync_dir[128], channel[32];
static int anonymous = -1; /* the file descriptor of the anonymous channel or object; -1: it has a name */

struct region {
    const char *file;
    uint32_t at, span;
};

static const struct region regions[] = {
    {"control", 128, 320},                      /* all except the identity */
    {"control", 4096, 8 * 32},                  /* the first consumers */
    {"control", 12288, 8 * 32},                 /* the first producers */
    {"control", 45056, 4 * 128},                /* the first groups */
    {"control", 49152, 128 + 4 * 64},           /* the first lane, and the cursors of some groups in it */
    {"control", 49152 + 2176, 128 + 4 * 64},    /* the second lane */
    {"control", 0, 49152 + 16 * 2176},          /* anywhere in the tables that are in use */
    {"control", 0, sizeof(struct rip_control)}, /* anywhere */
    {"lane-0", 24, 264},
    {"lane-1", 24, 264},
    {"lane-0", 512, 40}, /* the lock of a shared lane, */
    {"lane-1", 512, 40},
    {"lane-0", 576, 8 * 24}, /* its pins, */
    {"lane-0", 2112, 72},    /* and its losses */
    {"lane-0", 2432, 32},    /* the regions of messages that are longer than the capacity */
    {"lane-1", 2432, 32},
    {"lane-0", 4096, 8 * 32},
    {"lane-1", 4096, 8 * 32},
    {"lane-0", 8192, 256},
    {"lane-2", 0, 8192},
    {"claims-1-0", 24, 808},
    {"claims-1-1", 24, 808},
    {"claims-2-0", 24, 808},
    {"claims-2-1", 0, 832},
};

static const struct region memory_regions[] = {
    {"control", 128, 320},
    {"control", 4096, 8 * 32},
    {"control", 12288, 8 * 32},
    {"control", 45056, 4 * 128},
    {"control", 49152, 128 + 4 * 64},
    {"extents", sizeof(struct rip_control), 288}, /* the header of the first lane, and the start of other pages */
    {"extents", sizeof(struct rip_control) + 512, 256},
    {"extents", sizeof(struct rip_control) + 2112, 72},
    {"extents", sizeof(struct rip_control) + RIP_PAGE, 288},
    {"extents", sizeof(struct rip_control) + 3 * RIP_PAGE, 288},
    {"extents", sizeof(struct rip_control) + 4 * RIP_PAGE, 288},
    {"extents", sizeof(struct rip_control) + 5 * RIP_PAGE, 288},
    {"extents", sizeof(struct rip_control) + 6 * RIP_PAGE, 288},
    {"extents", sizeof(struct rip_control), 24 * RIP_PAGE}, /* anywhere */
};

static const struct region sync_regions[] = {
    {"control", 24, 424},
    {"control", 256, 64},
    {"control", 4096, 4 * 64},
    {"control", offsetof(struct rip_sync_file, waiters), 4 * 32},
    {"control", offsetof(struct rip_sync_file, slots), RIP_LATEST_SLOTS * sizeof(struct rip_latest_slot)},
    {"control", 0, sizeof(struct rip_sync_file)},
};

struct damage {
    const char *file;
    uint64_t at, value;
    unsigned width, mode;
};

static struct damage pending;
static unsigned calls_until_damage; /* number of system calls before the pending write is done; 0: none is pending */
static int damaged;                 /* a file was damaged: the guarantees for undamaged files do not apply any more */
static int of_sync;

static struct damage next_damage(void) {
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      3,
                                      63,
                                      64,
                                      4096,
                                      8192,
                                      UINT32_MAX,
                                      UINT64_MAX,
                                      UINT64_MAX - 63,
                                      UINT64_C(1) << 63,
                                      UINT64_C(1) << 31,
                                      RIP_MAX_SLOTS,
                                      RIP_MAX_CAPACITY};
    const struct region *region = of_sync          ? &sync_regions[next() % COUNT(sync_regions)]
                                  : anonymous >= 0 ? &memory_regions[next() % COUNT(memory_regions)]
                                                   : &regions[next() % COUNT(regions)];
    struct damage damage = {.file = region->file, .mode = next()};
    damage.width = 1u << (damage.mode & 3);
    damage.at = region->at + next_bytes(region->span > 256 ? 3 : 1) % region->span / damage.width * damage.width;
    damage.value = damage.mode & 4   ? values[next() % COUNT(values)]
                   : damage.mode & 8 ? next_bytes(damage.width)
                                     : next();
    return damage;
}

static void do_damage(const struct damage *damage) {
    char path[192];
    uint64_t value = 0;
    snprintf(path, sizeof path, "%s/%s", of_sync ? sync_dir : channel_dir, damage->file);
    int fd = anonymous >= 0 ? anonymous : open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (pread(fd, &value, damage->width, (off_t)damage->at) == (ssize_t)damage->width) { /* else the file would grow */
        /* slightly more or less than the present value */
        value = damage->mode & 16   ? value + (uint64_t)(int64_t)(int8_t)damage->value
                : damage->mode & 32 ? value ^ UINT64_C(1) << (damage->value & 63)
                                    : damage->value;
        damaged |= pwrite(fd, &value, damage->width, (off_t)damage->at) == (ssize_t)damage->width;
    }
    if (fd != anonymous) {
        close(fd);
    }
}

static void damage_if_due(void) {
    if (calls_until_damage && --calls_until_damage == 0) {
        do_damage(&pending);
    }
}

/* ---- wrappers of system calls (the linker's --wrap) ---- */

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t size);
int __real_fcntl(int fd, int command, void *argument);
int __real_close(int fd);
long __real_syscall(long number, ...);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t size);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_close(int fd);
long __wrap_syscall(long number, ...);

static unsigned mappings, calls_seen;

/* Maps between two inaccessible guard pages. Without MAP_POPULATE, because only few pages are used. */
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    size_t whole = rip_round_up(size, RIP_PAGE) + 2 * RIP_PAGE;
    damage_if_due();
    char *room = __real_mmap(at, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(room != MAP_FAILED);
    void *mapped = __real_mmap(room + RIP_PAGE, size, protection, (flags & ~MAP_POPULATE) | MAP_FIXED, fd, offset);
    if (mapped == MAP_FAILED) {
        int why = errno;
        __real_munmap(room, whole);
        errno = why;
        return MAP_FAILED;
    }
    mappings++;
    return mapped;
}

int __wrap_munmap(void *at, size_t size) {
    mappings--;
    return __real_munmap((char *)at - RIP_PAGE, rip_round_up(size, RIP_PAGE) + 2 * RIP_PAGE);
}

int __wrap_fcntl(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    damage_if_due();
    return __real_fcntl(fd, command, argument);
}

int __wrap_close(int fd) {
    int rc = __real_close(fd);
    CHECK(rc == 0 || errno != EBADF);
    return rc;
}

/* Sends no signal to other processes: the hostile process chooses the receiver. Not sanitized: most calls have fewer
 * arguments. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...) {
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (unsigned i = 0; i < 6; i++) {
        a[i] = va_arg(arguments, long);
    }
    va_end(arguments);
    calls_seen++;
    damage_if_due();
    return number == SYS_pidfd_send_signal ? 0 : __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- members ---- */

static struct {
    struct rip_producer *p;
    unsigned char *reserved;
    uint64_t room;
} producers[PRODUCERS];
static struct rip_consumer *consumers[CONSUMERS];
static struct rip_filter searches[CONSUMERS]; /* a search continues in the next call */
static struct {
    struct rip_message message;
    unsigned consumer;
} kept[KEPT];
static unsigned kept_count;
static enum rip_overflow overflow;
static uint64_t capacity, slots;
static unsigned char data[LONGEST + 64];

static const char *const groups[] = {"g", "h"};

static void check_message(const struct rip_message *message) {
    const struct rip_rx *rx = message->lane;
    const unsigned char *begin = rx->mapping.at, *end = begin + rx->mapping.size;
    struct rip_array array;
    int is_near = message->data >= begin && message->data <= end;
    CHECK(is_near ? message->length <= (uint64_t)(end - message->data) : rx->large != NULL);
    CHECK((uintptr_t)message->data % RIP_LINE == 0);
    if (message->length) {
        volatile unsigned char sink = message->data[0];
        sink = message->data[message->length - 1];
        (void)sink;
    }
    if (rip_array_read(&array, message->data, message->length) == 0) {
        CHECK(array.ndim <= RIP_MAX_NDIM && array.header <= message->length);
        CHECK((const unsigned char *)array.dtype + array.dtype_length <= message->data + array.header);
        rip_array_check(&array, next(), message->length);
    }
    rip_message_time(rx, message->ticks);
    rip_message_pid(message);
}

static void forget(unsigned consumer) {
    for (unsigned i = 0; i < kept_count;) {
        if (kept[i].consumer == consumer) {
            kept[i] = kept[--kept_count];
        } else {
            i++;
        }
    }
}

static void keep(unsigned consumer, const struct rip_message *message) {
    check_message(message);
    if (kept_count == KEPT || next() % 4 == 0) {
        rip_release(consumers[consumer], message);
        return;
    }
    if (next() % 2) {
        rip_acknowledge(consumers[consumer], message);
    }
    kept[kept_count].message = *message;
    kept[kept_count++].consumer = consumer;
}

/* A message in use must stay readable, whatever has happened since. */
static void release_one(int requeue) { /* 1: work on it has not started; 2: it has */
    if (kept_count == 0) {
        return;
    }
    unsigned i = next() % kept_count, consumer = kept[i].consumer;
    struct rip_message message = kept[i].message;
    kept[i] = kept[--kept_count];
    check_message(&message);
    if (requeue) {
        rip_requeue(consumers[consumer], &message, requeue - 1);
    } else {
        rip_release(consumers[consumer], &message);
    }
}

/* Ends a member as a kill does, as far as others can see. */
static void die(struct rip_channel *ch) {
    if (ch->handle.state == RIP_OPEN) {
        rip_channel_abandon(ch);
        ch->handle.state = RIP_CLOSED;
    }
}

static void open_producer(unsigned i) {
    static const enum rip_wait waits[] = {RIP_WAIT_BLOCK, RIP_WAIT_ADAPTIVE, RIP_WAIT_SPIN};
    if (!producers[i].p) {
        producers[i].reserved = NULL;
        uint8_t how = next();
        uint32_t flags = (uint32_t)overflow | (how / 3 % 2 ? RIP_SHARED_LANE : 0);
        rip_producer_open(channel, capacity, slots, flags, waits[how % 3], NULL, &producers[i].p);
    }
}

static void close_producer(unsigned i, int dies) {
    if (producers[i].p) {
        if (dies) {
            die(&producers[i].p->ch);
        } else {
            rip_producer_close(producers[i].p);
            rip_producer_backlog(producers[i].p);
        }
        rip_producer_free(producers[i].p);
        producers[i].p = NULL;
    }
}

static void open_consumer(unsigned i) {
    int32_t holder;
    uint8_t what = next();
    if (!consumers[i]) {
        searches[i] = (struct rip_filter){.search = 0};
        rip_consumer_open(channel, groups[what >> 7], (what & 7u) | (what & 16 ? RIP_BY_TIME : 0u),
                          what & 8 ? RIP_WAIT_BLOCK : RIP_WAIT_ADAPTIVE, RIP_FOREVER, &consumers[i], &holder);
    }
}

static void close_consumer(unsigned i, int dies) {
    if (consumers[i]) {
        if (dies) {
            die(&consumers[i]->ch);
        } else {
            rip_consumer_close(consumers[i]);
        }
        for (unsigned k = 0; k < kept_count; k++) {
            if (kept[k].consumer == i) { /* readable until the consumer is freed */
                check_message(&kept[k].message);
            }
        }
        forget(i);
        rip_consumer_free(consumers[i]);
        consumers[i] = NULL;
    }
}

static void produce(unsigned i) {
    struct rip_producer *p = producers[i].p;
    struct rip_slowest slowest;
    uint8_t what = next() % 12;
    uint64_t length = what % 2 ? next() : next_bytes(2) % (LONGEST + 64);
    if (!p) {
        return;
    }
    if (what < 4) {
        for (unsigned k = 0; k < 16 && k < length; k++) {
            data[k] = next();
        }
        producers[i].reserved = NULL;
        rip_put(p, data, length, next() % 4, RIP_ARRAY, deadline());
    } else if (what < 6) {
        producers[i].reserved = NULL;
        if (rip_reserve(p, length, &producers[i].reserved) == 0) {
            producers[i].room = length;
            CHECK(length <= capacity ? producers[i].reserved >= p->payloads && length <= p->arena.allocated
                                     : rip_large_has(p, p->arena.at, length));
            CHECK((uintptr_t)producers[i].reserved % RIP_LINE == 0);
            memset(producers[i].reserved, 7, length);
        } else {
            producers[i].reserved = NULL;
        }
    } else if (what < 8 && producers[i].reserved) {
        memset(producers[i].reserved, 8, producers[i].room);
        rip_publish(p, producers[i].room ? length % producers[i].room : 0, next() % 4, RIP_BYTES);
        producers[i].reserved = NULL;
    } else if (what == 8) {
        producers[i].reserved = NULL;
        rip_wait_room(p, length, deadline());
    } else if (what == 9) {
        rip_producer_slowest(p, &slowest);
        CHECK(memchr(slowest.group, 0, sizeof slowest.group));
        rip_producer_unacked(p, &slowest);
        CHECK(memchr(slowest.group, 0, sizeof slowest.group));
    } else if (what == 10) {
        rip_declare(p, groups[length % 2]);
    } else if (what == 11) {
        producers[i].reserved = NULL;
        if (rip_producer_fd(p) >= 0) {
            rip_producer_update_fd(p);
        }
    }
}

static void consume(unsigned i) {
    struct rip_consumer *c = consumers[i];
    struct rip_message message;
    uint8_t what = next() % 12;
    static const uint32_t types[] = {1, 3};
    uint32_t mode = next() % 4;
    struct rip_filter *search = &searches[i];
    if (!c) {
        return;
    }
    if (what < 3) {
        if (rip_get(c, &message, deadline()) == 1) {
            keep(i, &message);
        }
    } else if (what == 3) {
        if (rip_peek(c, &message) == 1) {
            check_message(&message);
            if (message.lane->claims || mode) { /* with claims, rip_peek has taken it already */
                rip_take(c, &message);
                keep(i, &message);
            }
        }
    } else if (what < 6) {
        if (what < 5 || search->search == 0) {
            *search = (struct rip_filter){.types = types, .count = mode & 1 ? 2 : 0, .lowest = mode & 2};
            rip_select_begin(c, search);
        }
        for (unsigned k = 0; k < 4 && rip_select(c, search, &message) == 1; k++) {
            check_message(&message);
            if (next() % 2) {
                rip_requeue(c, &message, next() % 2);
            } else {
                keep(i, &message);
            }
        }
    } else if (what == 6) {
        if (rip_get_selected(c, search, &message, deadline()) == 1) {
            keep(i, &message);
        }
    } else if (what < 9) {
        if (rip_get_latest(c, &message, deadline()) == 1) {
            keep(i, &message);
        }
    } else if (what == 9) {
        rip_wait_message(c, deadline());
        rip_rx_backlog(c);
        rip_rx_missed(c);
        rip_rx_blocks(c);
    } else if (what == 10) {
        if (rip_consumer_fd(c) >= 0) {
            rip_consumer_update_fd(c);
            rip_consumer_rearm_fd(c);
        }
    } else {
        rip_consumer_notify(c, 10, mode ? NULL : &(int32_t){7});
    }
}

static void reap_now(struct rip_channel *ch) {
    if (ch->handle.state == RIP_OPEN) {
        ch->handle.reaped_at = 0; /* so that reaping is due */
        atomic_store(ch->handle.others, 0);
        rip_reap_if_due(&ch->handle);
    }
}

static void act_from_outside(void) {
    static struct rip_inspection inspection;
    int32_t holder;
    switch (next() % 5) {
    case 0:
        if (rip_inspect(channel, &inspection) == 0) {
            CHECK(inspection.lanes <= 64 && inspection.groups <= 32 && inspection.members <= 256);
            for (unsigned g = 0; g < inspection.groups; g++) {
                CHECK(memchr(inspection.group[g].name, 0, sizeof inspection.group[g].name));
            }
        }
        break;
    case 1:
        rip_remove_group(channel, groups[next() % 2], &holder);
        break;
    case 2:
        rip_clean_up(channel);
        break;
    case 3:
        rip_remove(channel, &holder);
        break;
    default:
        for (unsigned i = 0; i < PRODUCERS; i++) {
            if (producers[i].p) {
                reap_now(&producers[i].p->ch);
            }
        }
        for (unsigned i = 0; i < CONSUMERS; i++) {
            if (consumers[i]) {
                reap_now(&consumers[i]->ch);
            }
        }
    }
}

static void with_a_channel(void) {
    uint8_t kind = next();
    overflow = (enum rip_overflow)(kind % 3);
    capacity = (1 + (kind >> 2) % 3) * RIP_PAGE;
    slots = UINT64_C(2) << (kind >> 4) % 3;
    strcpy(channel, "c");
    if (kind & 128) {
        anonymous = rip_channel_fd();
        CHECK(anonymous >= 0);
        snprintf(channel, sizeof channel, "fd:%d", anonymous);
    }
    open_producer(0);
    open_consumer(0);
    while (input < input_end) {
        uint8_t what = next(), who = what >> 4;
        switch (what % 16) {
        case 0:
            open_producer(who % PRODUCERS);
            break;
        case 1:
            open_consumer(who % CONSUMERS);
            break;
        case 2:
            close_producer(who % PRODUCERS, who & 8);
            break;
        case 3:
            close_consumer(who % CONSUMERS, who & 8);
            break;
        case 4:
            act_from_outside();
            break;
        case 5:
        case 6:
            release_one(who % 4 == 0 ? 1 + who / 4 % 2 : 0);
            break;
        case 7:
            pending = next_damage();
            calls_until_damage = 1u + who;
            break;
        case 8:
        case 9:
        case 10:
            do_damage(&(struct damage[]){next_damage()}[0]);
            break;
        case 11:
        case 12:
        case 13:
            produce(who % PRODUCERS);
            break;
        default:
            consume(who % CONSUMERS);
        }
    }
    for (unsigned i = 0; i < CONSUMERS; i++) {
        close_consumer(i, 0);
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        close_producer(i, 0);
    }
    int32_t holder;
    int rc = rip_remove(channel, &holder);
    CHECK(damaged || rc == 0 || (rc == -ENOENT && anonymous < 0));
    if (anonymous >= 0) {
        close(anonymous);
        anonymous = -1;
    }
}

/* ---- semaphores, locks, events, barriers, latest values ---- */

static struct rip_sync *syncs[SYNCS];

static void use_latest(struct rip_sync *s) {
    static unsigned char copy[LONGEST + 64];
    struct rip_value value;
    unsigned char *payload;
    uint8_t what = next();
    uint64_t length = what & 128 ? next() : next_bytes(2) % (LONGEST + 64);
    int slot;
    switch (what % 8) {
    case 0:
    case 1:
        rip_latest_set(s, data, length, RIP_BYTES);
        break;
    case 2:
        slot = rip_latest_begin(s, length, deadline(), &payload);
        if (slot >= 0) {
            memset(payload, 7, length);
            if (next() % 4) {
                rip_latest_publish(s, slot, length, RIP_ARRAY);
            } else if (next() % 2) {
                rip_latest_cancel(s, slot);
            } /* else the slot stays claimed */
        }
        break;
    case 3:
    case 4:
        if (rip_latest_get(s, next() % 4, deadline(), copy, sizeof copy, &value) == 1) {
            CHECK(value.data == copy && value.length <= sizeof copy);
            rip_latest_time(s, value.ticks);
        }
        break;
    case 5:
        if (rip_latest_peek(s, &value) == 1) {
            CHECK(value.length <= rip_latest_capacity(s));
            memcpy(copy, value.data, value.length < sizeof copy ? value.length : sizeof copy);
            rip_latest_is_whole(s, &value);
        }
        break;
    case 6:
        if (rip_latest_fd(s, next()) >= 0) {
            rip_latest_update_fd(s, next());
        }
        break;
    default:
        s->handle.reaped_at = 0;
        rip_reap_if_due(&s->handle);
    }
}

static void use_sync(struct rip_sync *s) {
    struct rip_sync_info info;
    uint8_t what = next();
    uint32_t units = what & 128 ? 1 : (uint32_t)next_bytes(4);
    switch (what % 12) {
    case 0:
    case 1:
        rip_semaphore_acquire(s, units, deadline());
        break;
    case 2:
        rip_semaphore_release(s, units);
        CHECK(rip_semaphore_value(s) <= RIP_MAX_UNITS);
        break;
    case 3:
        rip_event_set(s);
        rip_event_is_set(s);
        break;
    case 4:
        rip_event_clear(s);
        break;
    case 5:
        rip_event_wait(s, deadline());
        break;
    case 6:
    case 7:
        rip_barrier_wait(s, deadline());
        break;
    case 8:
        rip_barrier_reset(s);
        rip_barrier_waiting(s);
        break;
    case 9:
        rip_barrier_abort(s);
        rip_barrier_is_broken(s);
        break;
    case 10:
        s->handle.reaped_at = 0;
        rip_reap_if_due(&s->handle);
        break;
    default:
        if (rip_sync_info("s", &info) == 0) {
            CHECK(info.handles <= RIP_MAX_HANDLES);
        }
        rip_sync_value(s);
    }
}

static void open_sync(unsigned i, enum rip_sync_kind kind, int named) {
    uint8_t what = next();
    int64_t value = what & 4 ? (what >> 4) : -1;
    if (!syncs[i]) {
        if (kind == RIP_LATEST) {
            value = (1 + what % 3) * RIP_PAGE;
        }
        rip_sync_open(named ? "s" : NULL, named ? -1 : anonymous, kind, value, what & 1,
                      what & 2 ? RIP_WAIT_BLOCK : RIP_WAIT_ADAPTIVE, &syncs[i]);
        if (syncs[i] && !named && anonymous < 0) {
            anonymous = dup(rip_sync_fd(syncs[i]));
            CHECK(anonymous >= 0);
        }
    }
}

static void close_sync(unsigned i, int dies) {
    if (syncs[i]) {
        if (dies) {
            rip_latest_fd_close(syncs[i]);
            rip_handle_close_files(&syncs[i]->handle);
        } else {
            rip_sync_close(syncs[i]);
        }
        rip_sync_free(syncs[i]);
        syncs[i] = NULL;
    }
}

static void with_a_sync(void) {
    uint8_t what = next();
    enum rip_sync_kind kind = (enum rip_sync_kind)(1 + (what & 8 ? RIP_LATEST - 1 : what % 4));
    int named = what >> 2 & 1;
    open_sync(0, kind, named);
    while (input < input_end) {
        uint8_t op = next(), who = op >> 4;
        switch (op % 8) {
        case 0:
            open_sync(who % SYNCS, kind, named);
            break;
        case 1:
            close_sync(who % SYNCS, who & 8);
            break;
        case 2:
            pending = next_damage();
            calls_until_damage = 1u + who;
            break;
        case 3:
        case 4:
            do_damage(&(struct damage[]){next_damage()}[0]);
            break;
        default:
            if (syncs[who % SYNCS]) {
                (kind == RIP_LATEST ? use_latest : use_sync)(syncs[who % SYNCS]);
            }
        }
    }
    for (unsigned i = 0; i < SYNCS; i++) {
        close_sync(i, 0);
    }
    if (named) {
        int rc = rip_sync_clean_up("s");
        CHECK(damaged || rc == 1 || rc == -ENOENT);
    } else if (anonymous >= 0) {
        close(anonymous);
    }
    anonymous = -1;
}

/* ---- the header of an array ---- */

static void check_array(const uint8_t *message, uint64_t length, uint64_t itemsize) {
    struct rip_array array;
    if (rip_array_read(&array, message, length) != 0) {
        return;
    }
    CHECK(array.ndim <= RIP_MAX_NDIM && array.header <= length && array.header == rip_array_header_size(&array));
    CHECK((const uint8_t *)array.dtype + array.dtype_length <= message + array.header);
    unsigned __int128 bytes = itemsize;
    int empty = itemsize == 0;
    for (unsigned i = 0; i < array.ndim; i++) {
        empty |= array.shape[i] == 0;
        bytes *= bytes >> 64 ? 1 : array.shape[i]; /* it is too large already */
    }
    CHECK((rip_array_check(&array, itemsize, length) == 0) == ((empty ? 0 : bytes) == length - array.header));
}

/* The rest of the input is the message; no byte after it may be read. The header length in the message is mostly set to
 * the right value, because random input would seldom have it. */
static void with_an_array(void) {
    uint64_t itemsize = next() % 16, fits = next() % 4, length = (uint64_t)(input_end - input);
    uint8_t *message = malloc(length + (length == 0));
    CHECK(message);
    memcpy(message, input, length);
    if (fits && length >= 8) {
        message[0] = (uint8_t)((8 + 8u * message[2] + message[4] + 63) / 64); /* lines */
        message[1] = message[5] = message[6] = message[7] = 0;
    }
    check_array(message, length, itemsize);
    free(message);
}

/* ---- entry points ---- */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

/* Removes files that the core could not remove because of damage. */
static void clear(void) {
    if (access(scratch, F_OK) == 0) {
        nftw(scratch, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    }
    CHECK(mkdir(scratch, 0700) == 0);
}

/* Starts a process that removes the directory however this one ends. */
static void leave_nothing_behind(void) {
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        setsid(); /* so that Ctrl-C does not interrupt it too */
        close(ends[1]);
        while (read(ends[0], &byte, 1) != 0) {
        }
        nftw(scratch, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        _exit(0);
    }
    close(ends[0]);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    /* In a tmpfs if possible, as channels normally are. */
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(scratch, sizeof scratch, "%s/ringipc-fuzz-XXXXXX", base);
    CHECK(mkdtemp(scratch));
    CHECK(setenv("RINGIPC_DIR", scratch, 1) == 0);
    snprintf(channel_dir, sizeof channel_dir, "%s/ringipc-%u/c", scratch, (unsigned)geteuid());
    snprintf(sync_dir, sizeof sync_dir, "%s/ringipc-%u/s", scratch, (unsigned)geteuid());
    leave_nothing_behind();
    rip_fence_heavy();
    CHECK(calls_seen > 0); /* the wrapper of syscall is in effect; otherwise a signal could reach another process */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input = bytes;
    input_end = bytes + size;
    damaged = 0;
    calls_until_damage = 0;
    kept_count = 0;
    int lowest = dup(0);
    close(lowest);
    uint8_t what = next();
    of_sync = what % 4 == 0;
    if (of_sync) {
        with_a_sync();
    } else if (what % 16 == 1) {
        with_an_array();
    } else {
        with_a_channel();
    }
    calls_until_damage = 0;
    if (rmdir(scratch) == 0) {
        CHECK(mkdir(scratch, 0700) == 0);
    } else {
        CHECK(damaged); /* undamaged files are removed with the last handle */
        clear();
    }
    CHECK(mappings == 0);
    int now = dup(0);
    close(now);
    CHECK(now == lowest);
    return 0;
}
