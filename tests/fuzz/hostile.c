/* Programs against hostile memory, for libFuzzer. An input is a program: a few bytes say what kind of channel, or of
 * semaphore and its kin; the rest is what producers and consumers do in turn, mixed with what a hostile process of the
 * same user writes into the files that they have mapped, between two calls or in the midst of one. Errors and wrong
 * data may come of it. No crash, no hang, no byte outside of a mapping, and afterwards no memory, mapping or
 * descriptor is left. */
#include "channel/enter.h"
#include "input.h"
#include "ring/rx_state.h"
#include "ring/tx.h"
#include "store/table_lock.h"
#include "sync/sync.h"

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
#define KEPT 24u /* messages that are taken and not let go */
#define LONGEST (3 * RIP_PAGE)
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Most calls do not wait, and none for longer than this. */
static uint64_t deadline(void) { return next() % 8 ? 0 : rip_now() + 2000; }

/* ---- the hostile process ---- */

static char scratch[64], channel_dir[128], sync_dir[128], channel[32];
static int anonymous = -1; /* of what has no name */

struct region {
    const char *file;
    uint32_t at, span;
};

static const struct region regions[] = {
    {"control", 128, 320},                      /* all but the identity */
    {"control", 4096, 8 * 32},                  /* the first members */
    {"control", 12288, 4 * 128},                /* the first lanes */
    {"control", 20480, 4 * 128},                /* the first groups */
    {"control", 24576, 4 * 64},                 /* the first group's cursors */
    {"control", 24576 + 64 * 64, 4 * 64},       /* the second one's */
    {"control", 0, sizeof(struct rip_control)}, /* anywhere */
    {"lane-0", 24, 264},
    {"lane-1", 24, 264},
    {"lane-0", 4096, 8 * 32},
    {"lane-1", 4096, 8 * 32},
    {"lane-0", 8192, 256},
    {"lane-2", 0, 8192},
    {"claims-1-0", 24, 296},
    {"claims-1-1", 24, 296},
    {"claims-2-0", 24, 296},
    {"claims-2-1", 0, 296},
};

static const struct region memory_regions[] = {
    {"control", 128, 320},
    {"control", 4096, 8 * 32},
    {"control", 12288, 4 * 128},
    {"control", 20480, 4 * 128},
    {"control", 24576, 4 * 64},
    {"extents", sizeof(struct rip_control), 288}, /* the first lane's head, and the beginning of other pages */
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
    {"control", 0, sizeof(struct rip_sync_file)},
};

struct blow {
    const char *file;
    uint64_t at, value;
    unsigned width, how;
};

static struct blow armed;
static unsigned strikes_in; /* so many system calls from now; 0: none is armed */
static int struck;          /* nothing of what is promised for undamaged files holds any more */
static int of_sync;

static struct blow read_blow(void) {
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
    struct blow blow = {.file = region->file, .how = next()};
    blow.width = 1u << (blow.how & 3);
    blow.at = region->at + next_bytes(region->span > 256 ? 3 : 1) % region->span / blow.width * blow.width;
    blow.value = blow.how & 4 ? values[next() % COUNT(values)] : blow.how & 8 ? next_bytes(blow.width) : next();
    return blow;
}

static void strike(const struct blow *blow) {
    char path[192];
    uint64_t value = 0;
    snprintf(path, sizeof path, "%s/%s", of_sync ? sync_dir : channel_dir, blow->file);
    int fd = anonymous >= 0 ? anonymous : open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (pread(fd, &value, blow->width, (off_t)blow->at) == (ssize_t)blow->width) { /* else the file would grow */
        value = blow->how & 16 ? value + (uint64_t)(int64_t)(int8_t)blow->value : /* a little more or less than it is */
                    blow->how & 32 ? value ^ UINT64_C(1) << (blow->value & 63)
                                   : blow->value;
        struck |= pwrite(fd, &value, blow->width, (off_t)blow->at) == (ssize_t)blow->width;
    }
    if (fd != anonymous) {
        close(fd);
    }
}

static void strike_in_time(void) {
    if (strikes_in && --strikes_in == 0) {
        strike(&armed);
    }
}

/* ---- what the core calls, by the linker's --wrap ---- */

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

/* Between two pages that nobody may touch; the others come when they are touched, as few are. */
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    size_t whole = rip_round_up(size, RIP_PAGE) + 2 * RIP_PAGE;
    strike_in_time();
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
    strike_in_time();
    return __real_fcntl(fd, command, argument);
}

int __wrap_close(int fd) {
    int rc = __real_close(fd);
    CHECK(rc == 0 || errno != EBADF);
    return rc;
}

/* No signal leaves this process: whom it would reach is the hostile process's choice. Not sanitized: most calls have
 * fewer arguments. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...) {
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (unsigned i = 0; i < 6; i++) {
        a[i] = va_arg(arguments, long);
    }
    va_end(arguments);
    calls_seen++;
    strike_in_time();
    return number == SYS_pidfd_send_signal ? 0 : __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- those who take part ---- */

static struct {
    struct rip_producer *p;
    unsigned char *reserved;
    uint64_t room;
} producers[PRODUCERS];
static struct rip_consumer *consumers[CONSUMERS];
static struct rip_filter searches[CONSUMERS]; /* go on from one call to the next */
static struct {
    struct rip_message message;
    unsigned consumer;
} kept[KEPT];
static unsigned kept_count;
static enum rip_overflow overflow;
static uint64_t capacity, slots;
static unsigned char data[LONGEST + 64];

static const char *const groups[] = {"g", "h"};

static void look_at_message(const struct rip_message *message) {
    const struct rip_rx *rx = message->lane;
    const unsigned char *begin = rx->mapping.at, *end = begin + rx->mapping.size;
    struct rip_array array;
    CHECK(message->data >= begin && message->data <= end && message->length <= (uint64_t)(end - message->data));
    CHECK((message->data - begin) % RIP_LINE == 0);
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
    look_at_message(message);
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

/* What is held stays readable, whatever has happened since. */
static void released(int back) {
    if (kept_count == 0) {
        return;
    }
    unsigned i = next() % kept_count, consumer = kept[i].consumer;
    struct rip_message message = kept[i].message;
    kept[i] = kept[--kept_count];
    look_at_message(&message);
    if (back) {
        rip_requeue(consumers[consumer], &message);
    } else {
        rip_release(consumers[consumer], &message);
    }
}

/* Is killed, as the others see it. */
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
        rip_producer_open(channel, capacity, slots, overflow, waits[next() % 3], NULL, &producers[i].p);
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
        rip_consumer_open(channel, groups[what >> 7], what & 7u, what & 8 ? RIP_WAIT_BLOCK : RIP_WAIT_ADAPTIVE,
                          RIP_FOREVER, &consumers[i], &holder);
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
            if (kept[k].consumer == i) { /* readable until it is freed */
                look_at_message(&kept[k].message);
            }
        }
        forget(i);
        rip_consumer_free(consumers[i]);
        consumers[i] = NULL;
    }
}

static void produce(unsigned i) {
    struct rip_producer *p = producers[i].p;
    struct rip_slowest gate;
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
            CHECK(producers[i].reserved >= p->payloads && length <= capacity);
            CHECK((producers[i].reserved - p->payloads) % RIP_LINE == 0);
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
        rip_producer_slowest(p, &gate);
        CHECK(memchr(gate.group, 0, sizeof gate.group));
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
    uint32_t how = next() % 4;
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
            look_at_message(&message);
            if (message.lane->claims || how) { /* where members compete, it is ours already */
                rip_take(c, &message);
                keep(i, &message);
            }
        }
    } else if (what < 6) {
        if (what < 5 || search->search == 0) {
            *search = (struct rip_filter){.types = types, .count = how & 1 ? 2 : 0, .lowest = how & 2};
            rip_select_begin(c, search);
        }
        for (unsigned k = 0; k < 4 && rip_select(c, search, &message) == 1; k++) {
            look_at_message(&message);
            if (next() % 2) {
                rip_requeue(c, &message);
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
        rip_consumer_notify(c, 10, how ? NULL : &(int32_t){7});
    }
}

static void look_around(struct rip_channel *ch) {
    if (ch->handle.state == RIP_OPEN) {
        ch->handle.reaped_at = 0; /* it is time */
        rip_reap_if_due(&ch->handle);
    }
}

static void look_on(void) {
    static struct rip_inspection look;
    int32_t holder;
    switch (next() % 5) {
    case 0:
        if (rip_inspect(channel, &look) == 0) {
            CHECK(look.lanes <= 64 && look.groups <= 32 && look.members <= 256);
            for (unsigned g = 0; g < look.groups; g++) {
                CHECK(memchr(look.group[g].name, 0, sizeof look.group[g].name));
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
                look_around(&producers[i].p->ch);
            }
        }
        for (unsigned i = 0; i < CONSUMERS; i++) {
            if (consumers[i]) {
                look_around(&consumers[i]->ch);
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
            look_on();
            break;
        case 5:
        case 6:
            released(who % 4 == 0);
            break;
        case 7:
            armed = read_blow();
            strikes_in = 1u + who;
            break;
        case 8:
        case 9:
        case 10:
            strike(&(struct blow[]){read_blow()}[0]);
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
    CHECK(struck || rc == 0 || (rc == -ENOENT && anonymous < 0));
    if (anonymous >= 0) {
        close(anonymous);
        anonymous = -1;
    }
}

/* ---- semaphores, locks, events, barriers ---- */

static struct rip_sync *syncs[SYNCS];

static void use(struct rip_sync *s) {
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
    if (!syncs[i]) {
        rip_sync_open(named ? "s" : NULL, named ? -1 : anonymous, kind, what & 4 ? (what >> 4) : -1, what & 1,
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
    enum rip_sync_kind kind = (enum rip_sync_kind)(1 + what % 4);
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
            armed = read_blow();
            strikes_in = 1u + who;
            break;
        case 3:
        case 4:
            strike(&(struct blow[]){read_blow()}[0]);
            break;
        default:
            if (syncs[who % SYNCS]) {
                use(syncs[who % SYNCS]);
            }
        }
    }
    for (unsigned i = 0; i < SYNCS; i++) {
        close_sync(i, 0);
    }
    if (named) {
        int rc = rip_sync_clean_up("s");
        CHECK(struck || rc == 1 || rc == -ENOENT);
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
        bytes *= bytes >> 64 ? 1 : array.shape[i]; /* that is too much already */
    }
    CHECK((rip_array_check(&array, itemsize, length) == 0) == ((empty ? 0 : bytes) == length - array.header));
}

/* The rest of the input is the message, and no byte behind it may be read. The length that it says its header has is
 * mostly set right, as chance would seldom have it. */
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

/* ---- the whole ---- */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

/* Damage may have kept the core from removing its files. */
static void clear(void) {
    if (access(scratch, F_OK) == 0) {
        nftw(scratch, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    }
    CHECK(mkdir(scratch, 0700) == 0);
}

/* Whatever becomes of us, another process removes the directory. */
static void leave_nothing_behind(void) {
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        setsid(); /* not to be interrupted with us */
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
    /* In memory where there is some, as channels are. */
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(scratch, sizeof scratch, "%s/ringipc-fuzz-XXXXXX", base);
    CHECK(mkdtemp(scratch));
    CHECK(setenv("RINGIPC_DIR", scratch, 1) == 0);
    snprintf(channel_dir, sizeof channel_dir, "%s/ringipc-%u/c", scratch, (unsigned)geteuid());
    snprintf(sync_dir, sizeof sync_dir, "%s/ringipc-%u/s", scratch, (unsigned)geteuid());
    leave_nothing_behind();
    rip_fence_heavy();
    CHECK(calls_seen > 0); /* or a signal could leave us */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input = bytes;
    input_end = bytes + size;
    struck = 0;
    strikes_in = 0;
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
    strikes_in = 0;
    if (rmdir(scratch) == 0) {
        CHECK(mkdir(scratch, 0700) == 0);
    } else {
        CHECK(struck); /* undamaged files go with the last one who has them open */
        clear();
    }
    CHECK(mappings == 0);
    int now = dup(0);
    close(now);
    CHECK(now == lowest);
    return 0;
}
