/* ringipc: messages between processes through rings in shared memory. The whole C API on one page.
 *
 * Every call returns 0 or a count, or a negative errno:
 *   -EAGAIN           nothing there (consumer), no room (producer); look again or wait
 *   -ETIMEDOUT        the deadline passed
 *   -EINTR            a signal handler ran while the call slept; nothing was put or taken, and it can be called again; not
 *                     from rip_barrier_wait, which sleeps on: it has arrived, and cannot arrive again
 *   -ENODATA          end of stream: every producer has closed and all is read
 *   -EOWNERDEAD       a producer died; all that it had published is read (told once)
 *   -ENOBUFS          no room in a lane that drops messages: this one was refused and counted, and need not be put again
 *   -EMSGSIZE         longer than the lane's capacity
 *   -ENOSPC, -ENOMEM, -EDQUOT   no memory to make the lane larger; nothing has changed, and a later call may succeed
 *   -ESHUTDOWN        this handle is closed             -ECHILD   this handle belongs to the parent process
 *   -ENOENT           no such channel                   -EBUSY    the group has a live member
 *   -EEXIST           the group is there, but of the other kind
 *   -EINVAL, -ENAMETOOLONG   a name that is none        -ESTALE   the channel's files have been deleted
 *   -EXFULL, -ENOSR, -EUSERS   a table is full: of RIP_MAX_LANES lanes, RIP_MAX_GROUPS groups, RIP_MAX_MEMBERS members
 *   -ENOSPC, -EFBIG   no room: rip_last_shortage says for how much
 *   -EBADMSG          damaged, or not a channel         -EPROTONOSUPPORT   another ABI version
 * A call that waits does so until its deadline, and notices the death of others meanwhile. A signal whose handler runs while it does not
 * sleep does not end it, so a wait that is to end with a signal needs a deadline too. A handle is used by one thread at a time.
 */
#ifndef RINGIPC_H
#define RINGIPC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIP_ABI 4u
#define RIP_FOREVER UINT64_MAX /* a deadline that never comes */
#define RIP_MAX_CHANNEL_NAME 200
#define RIP_MAX_GROUP_NAME 47
#define RIP_MAX_LANES 64u /* of a channel; one that has ended stays until every group has read it */
#define RIP_MAX_GROUPS 32u
#define RIP_MAX_MEMBERS 256u /* producers and consumers together */

enum rip_wait { RIP_WAIT_SPIN, RIP_WAIT_ADAPTIVE, RIP_WAIT_BLOCK };
/* What a full lane does: waits for room, drops the new message, or drops the oldest that nobody looks at. */
enum rip_overflow { RIP_BLOCK, RIP_DROP_NEW, RIP_DROP_OLD };
#define RIP_PREALLOCATE 0x100u /* with one of them: the lane gets all of its memory when it is opened */
/* Records and objects are Python's alone. */
enum rip_kind { RIP_BYTES = 1, RIP_ARRAY = 2, RIP_RECORD = 3, RIP_OBJECT = 4, RIP_MAX_KIND = RIP_OBJECT };
enum rip_how { RIP_OLDEST = 0, RIP_NEWEST = 1, RIP_SHARED = 2, RIP_DURABLE = 4 };
enum rip_message_flag { RIP_REDELIVERED = 1 };

struct rip_producer;
struct rip_consumer;
struct rip_rx;

/* A message as a consumer sees it; data lies in the ring until rip_release. */
struct rip_message {
    const unsigned char *data; /* 64-byte aligned */
    uint64_t length;           /* bytes */
    uint64_t seq;              /* counts the messages of its lane from 0 */
    uint64_t ticks;            /* when it was put; rip_message_time makes nanoseconds of it */
    struct rip_rx *lane;
    uint64_t missed; /* messages of its lane that this group has lost since the one before */
    uint32_t type;   /* chosen by the sender */
    uint8_t kind;    /* enum rip_kind */
    uint8_t flags;   /* enum rip_message_flag */
};

/* Which messages a consumer wants. */
struct rip_filter {
    const uint32_t *types; /* one of these */
    uint32_t count;        /* 0: any */
    uint32_t lowest;       /* of those that are there, one of the lowest type */
    uint64_t search;       /* set by rip_select_begin; what it has been offered and given back is not offered again */
};

/* Who keeps a producer's lane from moving on. */
struct rip_slowest {
    char group[RIP_MAX_GROUP_NAME + 1]; /* empty: no group is there yet */
    uint32_t shared;                    /* its members compete */
    uint32_t members;                   /* it has some */
    int32_t pid;       /* of the member that holds the oldest message, or is to take it; 0: nobody has taken it */
    uint64_t messages; /* published and not yet let go by that group */
    uint64_t bytes;    /* of the arena, in use */
};

/* ---- channels ----
 *
 * Where a call takes a channel it takes a name, and "fd:<number>" too: the channel without a name that this descriptor is of. The
 * descriptor stays the caller's. All of such a channel is one memory file, which nobody can make shorter; it is there for as long as
 * somebody has a descriptor or a handle. Given to another process (inherited, or over a Unix socket), a descriptor is all that
 * it needs; a handle of its own does not keep its parent's locks. When the last one who took part has gone, it is as new. */

/* Makes one without a name: its descriptor, close-on-exec. */
int rip_channel_fd(void);

/* For whom the files of a channel are, beside the user who makes it. */
struct rip_access {
    uint32_t mode;  /* 0600, 0660 or 0666 */
    uint32_t group; /* of users; UINT32_MAX: the process's own */
};

/* ---- producer: one lane, one writer ---- */

/* Attaches to the channel, and makes it if it is not there, for this user alone where access is NULL. capacity (bytes)
 * is rounded up to a page, slots (messages) to a power of two. how: enum rip_overflow, and RIP_PREALLOCATE. Memory for
 * the slots, 32 bytes each, is allocated here (-ENOSPC). Memory for messages is allocated before it is first written:
 * where there is none, rip_reserve, rip_put and rip_wait_room say -ENOSPC at once, and do not wait; in a lane that
 * drops it counts as no room. With RIP_PREALLOCATE all of it is allocated here, and none later. */
int rip_producer_open(const char *channel, uint64_t capacity, uint64_t slots, uint32_t how, enum rip_wait wait,
                      const struct rip_access *access, struct rip_producer **out);

/* Makes a group that waits for its first member, so that it misses nothing that is put from now on; does nothing if it is there. */
int rip_declare(struct rip_producer *p, const char *group);

/* Room for length bytes at *payload, 64-byte aligned; it is nobody's until rip_publish. Calling again instead aborts. */
int rip_reserve(struct rip_producer *p, uint64_t length, unsigned char **payload);

/* Makes the reserved message visible, as its first length bytes, and wakes whoever sleeps. */
int rip_publish(struct rip_producer *p, uint64_t length, uint32_t type, uint8_t kind);

/* Copies a message in, waiting for room until deadline (rip_now() + nanoseconds, or RIP_FOREVER; 0: do not wait). 0: it went in;
 * -ENOBUFS: it was refused. */
int rip_put(struct rip_producer *p, const void *data, uint64_t length, uint32_t type, uint8_t kind, uint64_t deadline);

/* Waits until there is room for length bytes, so that rip_reserve finds it; like that, it aborts what is reserved. */
int rip_wait_room(struct rip_producer *p, uint64_t length, uint64_t deadline);
/* Waits until every group has released all that was put. */
int rip_flush(struct rip_producer *p, uint64_t deadline);
uint64_t rip_producer_backlog(struct rip_producer *p); /* messages that some group has not let go */
uint64_t rip_producer_bytes(struct rip_producer *p);   /* of the arena, that they take */
void rip_producer_slowest(struct rip_producer *p, struct rip_slowest *gate);
/* To be called before rip_producer_close where the program has failed to begin: a stream without a message then has no
 * end for anybody to be told of, as if this producer had never been. */
void rip_producer_undo(struct rip_producer *p);
int rip_producer_close(struct rip_producer *p); /* end of stream; the mapping stays until rip_producer_free */
void rip_producer_free(struct rip_producer *p);

/* ---- consumer: a member of a group ---- */

/* how: where a new group begins, RIP_OLDEST or RIP_NEWEST; with RIP_SHARED several members compete for its messages, each of which
 * goes to one; with RIP_DURABLE the group stays when its last member goes. -ENOENT where the channel is not there; -EBUSY with
 * *holder the pid of the live member of this group; -EAGAIN where another process had the channel's tables locked until the deadline. */
int rip_consumer_open(const char *channel, const char *group, uint32_t how, enum rip_wait wait, uint64_t deadline,
                      struct rip_consumer **out, int32_t *holder);

/* 1, or -EAGAIN, -ENODATA, -EOWNERDEAD, ... An error of mapping a new lane (-EMFILE, -ENOSPC, ...) comes once; then the
 * lane is tried again. */
int rip_peek(struct rip_consumer *c, struct rip_message *message);
void rip_take(struct rip_consumer *c, const struct rip_message *peeked); /* it is held from now until rip_release */
/* In groups that are shared or durable: done with, and looked at until rip_release. It does not come again if this process
 * dies, and the end of the stream does not wait for it. */
void rip_acknowledge(struct rip_consumer *c, const struct rip_message *message);
void rip_release(struct rip_consumer *c, const struct rip_message *message); /* in any order */

/* Begins a search: to be called once before the first rip_select. */
void rip_select_begin(struct rip_consumer *c, struct rip_filter *filter);
/* Takes a message that the filter lets through, out of its turn; the others stay in order. 1, or as rip_peek. */
int rip_select(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);
/* Gives a message that is taken and neither done nor released back to its place. */
void rip_requeue(struct rip_consumer *c, const struct rip_message *message);

/* Peek and take, waiting until deadline. */
int rip_get(struct rip_consumer *c, struct rip_message *message, uint64_t deadline);

/* A message that the filter lets through, waiting until deadline. */
int rip_get_selected(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message, uint64_t deadline);
/* The newest message, letting go the older ones that are not taken. */
int rip_get_latest(struct rip_consumer *c, struct rip_message *message, uint64_t deadline);

/* Waits until rip_peek has something to say, a message, an end or a death; in a shared group another member may be quicker to take it. */
int rip_wait_message(struct rip_consumer *c, uint64_t deadline);
int32_t rip_message_pid(const struct rip_message *message);           /* of its producer */
uint64_t rip_message_time(const struct rip_rx *lane, uint64_t ticks); /* nanoseconds, CLOCK_MONOTONIC of this process */
int rip_consumer_close(struct rip_consumer *c); /* leaves the group; the mapping stays until rip_consumer_free */
void rip_consumer_free(struct rip_consumer *c);

/* ---- for programs that wait in poll or an event loop ----
 *
 * A descriptor (or -EMFILE and the like) that is readable while the next rip_peek would not say -EAGAIN, or while there is room for the
 * message that rip_reserve has refused last. It stays the same, and is closed with the handle. The program looks, and says with
 * rip_*_settle that it has: then the descriptor is what it is to be. Only one that has been asked for costs anything. */
int rip_consumer_fd(struct rip_consumer *c);
void rip_consumer_update_fd(struct rip_consumer *c);
/* The same, but the descriptor is readable only for what comes from now on; for one who has left something there. 1 if it was readable
 * for more than the time that had passed: others who wait for it may not have seen that. */
int rip_consumer_rearm_fd(struct rip_consumer *c);
/* Once, when the next message comes (or an end, or a new producer), this process gets the signal; with *value, or, where value is NULL,
 * with the id of the producer's lane. 0: not any more. What is there already sends none: call it, then look until -EAGAIN. */
int rip_consumer_notify(struct rip_consumer *c, int number, const int32_t *value);
int rip_producer_fd(struct rip_producer *p);
void rip_producer_update_fd(struct rip_producer *p); /* like rip_reserve, it aborts what is reserved */

/* ---- looking at a channel without taking part ---- */

enum rip_lane_condition { RIP_LIVE = 1, RIP_ENDED = 2, RIP_DEAD = 3 }; /* a lane that is not live is still to be read */

struct rip_lane_info {
    uint64_t id; /* as rip_message's lane; never used twice in a channel */
    int32_t pid;
    uint32_t is;       /* enum rip_lane_condition */
    uint64_t messages; /* put so far */
    uint64_t backlog;  /* messages that some group has not let go, or, where there is none, that wait for the first */
};

struct rip_group_info {
    char name[RIP_MAX_GROUP_NAME + 1];
    uint32_t how; /* RIP_SHARED, RIP_DURABLE */
    uint32_t members;
    uint64_t backlog; /* messages not yet let go */
};

struct rip_member_info {
    int32_t pid;
    int32_t group; /* its place in groups; -1: a producer */
};

struct rip_inspection {
    uint32_t lanes, groups, members; /* how many there are */
    uint32_t end_waits; /* every producer has gone, and a group that has had no member yet is to be told of the end */
    struct rip_lane_info lane[RIP_MAX_LANES];
    struct rip_group_info group[RIP_MAX_GROUPS];
    struct rip_member_info member[RIP_MAX_MEMBERS];
};

/* -EAGAIN, here and in the calls that remove: another process has had the tables locked for a second. */
int rip_inspect(const char *channel, struct rip_inspection *look);
/* Removes the channel with all that is in it (without a name: all that is in it), or a group; also one that is damaged,
 * or another version's. -EBUSY with *holder the pid of somebody who takes part, or 0 where its files do not say who;
 * -ENOTEMPTY: files that are none of ours keep the directory of a damaged one. */
int rip_remove(const char *channel, int32_t *holder);
/* Removes what is left of a channel that nobody takes part in, unless messages, or the end of its stream, wait in it
 * for a group, or a durable group is there: 1, or 0 where there is a reason to keep it. A damaged one goes, another
 * version's stays (-EPROTONOSUPPORT). -EBUSY, -ENOTEMPTY: as rip_remove. */
int rip_clean_up(const char *channel);
int rip_remove_group(const char *channel, const char *group, int32_t *holder);

/* ---- semaphores, locks, events, barriers ----
 *
 * All in shared memory, under a name (of the same names as channels) for as long as somebody has it open, or without one. What a killed
 * process leaves behind comes right within a second. Waiting calls end with 0, -ETIMEDOUT, or an error; in a forked child a handle is
 * open, and holds nothing. */

#define RIP_MAX_UNITS INT32_MAX
#define RIP_MAX_PARTIES 255
#define RIP_MAX_HANDLES 255 /* on one of them at a time */

#define RIP_MUST_BE (-2)

enum rip_sync_kind { RIP_SEMAPHORE = 1, RIP_LOCK = 2, RIP_EVENT = 3, RIP_BARRIER = 4 };

struct rip_sync;

/* Opens it, and makes it if it is not there. name NULL: one without a name; or fd >= 0: the one that another process has made, and given
 * us rip_sync_fd of; fd stays the caller's. It ends with its last handle, and one without a name with its last descriptor. value: units at
 * the start, or parties of a barrier; -1: as it is, or else 1; RIP_MUST_BE: as it is, or -ENOENT. undo: what a semaphore's handle holds
 * comes back when it is closed or its process is killed; a lock always does.
 * -EPROTOTYPE: there is something else of this name; -EEXIST: it is there with another value. */
int rip_sync_open(const char *name, int fd, enum rip_sync_kind kind, int64_t value, int undo, enum rip_wait wait,
                  struct rip_sync **out);
int rip_sync_fd(struct rip_sync *s);               /* for another process to open; it is closed with the handle */
uint32_t rip_sync_value(const struct rip_sync *s); /* what it began with */
int rip_sync_close(struct rip_sync *s);            /* the mapping stays until rip_sync_free */
void rip_sync_free(struct rip_sync *s);

struct rip_sync_info {
    uint32_t kind;  /* enum rip_sync_kind */
    uint32_t value; /* what it began with */
    uint32_t handles;
    int32_t pid[RIP_MAX_HANDLES]; /* of each */
};

/* Looks at one with a name. -EPROTOTYPE: it is a channel. -EAGAIN, here and from rip_sync_clean_up: as rip_inspect. */
int rip_sync_info(const char *name, struct rip_sync_info *info);
/* Removes what is left of one that nobody has open: 1, or 0 where somebody has. */
int rip_sync_clean_up(const char *name);

/* A descriptor of the directory in which everything of this user's that has a name is a directory; the caller closes it. -ENOENT */
int rip_directory(void);
/* Where the directory of each user is, ringipc-<uid>: $RINGIPC_DIR, else /dev/shm if it is a tmpfs, else $TMPDIR, else /tmp. */
const char *rip_base(void);

/* What the last call of this thread needed that failed with -ENOSPC or -EFBIG. */
struct rip_shortage {
    uint64_t bytes; /* 0: a file, and there can be no more of them */
    uint64_t free;  /* bytes that there were */
    int for_tables; /* of a channel, or of one of the above; 0: for messages */
};
struct rip_shortage rip_last_shortage(void);

/* Takes that many units at once (P), of a lock one. 1: it is a lock, and ours, but its last owner died with it. */
int rip_semaphore_acquire(struct rip_sync *s, uint32_t units, uint64_t deadline); /* after -EINTR its turn is lost */
int rip_semaphore_release(struct rip_sync *s, uint32_t units); /* V; -EOVERFLOW; -EPERM: a lock that is not ours */
uint32_t rip_semaphore_value(const struct rip_sync *s);        /* units that are there */

int rip_event_set(struct rip_sync *s);
int rip_event_clear(struct rip_sync *s);
int rip_event_is_set(struct rip_sync *s);
int rip_event_wait(struct rip_sync *s, uint64_t deadline); /* also when it is set and cleared at once */

/* Waits until all parties have come: our place among them, from 0 on. -EPIPE: it is broken, because somebody gave up (-ETIMEDOUT), called
 * rip_barrier_abort, or was killed with it open. */
int rip_barrier_wait(struct rip_sync *s, uint64_t deadline);
int rip_barrier_abort(struct rip_sync *s);
int rip_barrier_reset(struct rip_sync *s); /* it is as new, but who waits gets -EPIPE */
int rip_barrier_waiting(struct rip_sync *s);
int rip_barrier_is_broken(struct rip_sync *s);

uint64_t rip_now(void); /* nanoseconds, CLOCK_MONOTONIC */

/* ---- hooks for a program that has other work while its threads wait ----
 *
 * An interpreter, for example, lets its other threads run while one waits, and runs the handlers of signals. The hooks are one pair for the
 * process, set before any handle is opened. */

struct rip_waiting {
    uint64_t since; /* when the wait began, as rip_now */
    int control;    /* the wait is for the table lock of this control file, a descriptor; -1: for something else */
    void *kept;     /* for the hooks; NULL when the wait begins */
};

/* Called before each piece of a wait, unless that is for a table lock. */
typedef void rip_before_wait(struct rip_waiting *waiting);
/* Called after each piece of a wait, which lasts 50 ms at most, or until a signal: 0 goes on, a negative errno ends the wait with it. It may
 * set waiting->kept. Without this hook a signal ends a wait, with -EINTR. */
typedef int rip_after_wait(struct rip_waiting *waiting);
void rip_on_wait(rip_before_wait *before, rip_after_wait *after); /* NULL: none */

/* ---- arrays: a header of n x 64 bytes, then the elements ---- */

#define RIP_MAX_NDIM 64

struct rip_array {
    const char *dtype; /* as numpy's dtype.str ("<f4"), or JSON for structured ones; not terminated */
    uint32_t dtype_length;
    uint8_t ndim;
    uint8_t fortran; /* 0: the last index runs fastest, 1: the first */
    uint64_t shape[RIP_MAX_NDIM];
    uint64_t header; /* bytes before the elements; set by both calls */
};

/* Bytes that the header takes, a multiple of 64; 0 if dtype or ndim is too large for one. */
uint64_t rip_array_header_size(const struct rip_array *array);
void rip_array_write(const struct rip_array *array, unsigned char *payload);
int rip_array_read(struct rip_array *array, const unsigned char *payload, uint64_t length); /* 0 or -EBADMSG */
/* 0 if elements of itemsize bytes in this shape fill a message of length bytes exactly, else -EBADMSG. */
int rip_array_check(const struct rip_array *array, uint64_t itemsize, uint64_t length);

#ifdef __cplusplus
}
#endif
#endif
