/* ringipc: messages between processes through ring buffers in shared memory. This file is the whole C API.
 *
 * Return values. Unless a comment says otherwise, a call returns 0, a count, or one of these negative errno values:
 *   -EAGAIN           no message (consumer) or no room (producer): try again, or wait
 *   -ETIMEDOUT        the deadline has passed
 *   -EINTR            a signal handler ran while the call slept, or a hook (rip_on_wait) ended the wait. Nothing was
 *                     put or taken; the call can be repeated. Not rip_barrier_wait: it has arrived and cannot arrive
 *                     twice. So a signal does not end its wait, and a hook that ends it breaks the barrier for all
 *   -ENODATA          end of the stream: as many producers as rip_consumer_expect says have come, all have closed, and
 *                     all messages are read
 *   -EOWNERDEAD       a producer was killed, and all that it had published is read. Reported once per producer
 *   -ECONNABORTED     a producer has failed (rip_producer_fail), and all that it had published is read. Reported once
 *   -ENOBUFS          no room in a lane that drops messages: this message was refused and counted. Do not put it again
 *   -EMSGSIZE         the message is longer than the producer may send (rip_set_longest)
 *   -ENOSPC, -ENOMEM, -EDQUOT   no memory to make the lane larger. Nothing has changed; a later call may succeed
 *   -ESHUTDOWN        this handle is closed
 *   -ECHILD           this handle belongs to the parent process (the caller is a forked child)
 *   -ENOENT           there is no such channel
 *   -EBUSY            the group already has a live member, or the channel has one
 *   -EEXIST           the group exists with another sharing mode (shared or exclusive), or the shared lane with other
 *                     settings
 *   -EINVAL, -ENAMETOOLONG   not a valid name, or another invalid argument
 *   -ESTALE           the files of the channel have been deleted
 *   -EXFULL, -ENOSR, -EUSERS   a table is full: RIP_MAX_LANES lanes, RIP_MAX_GROUPS groups, RIP_MAX_CONSUMERS consumers
 *   -ENOSPC, -EFBIG   no space for a file: rip_last_shortage returns how much was needed
 *   -EBADMSG          the channel is damaged, or the file is not a channel
 *   -EPROTONOSUPPORT  the channel has another ABI version
 *
 * Deadlines are absolute: rip_now() plus nanoseconds. RIP_FOREVER never passes; 0 means "do not wait". While a call
 * waits, it also detects dead members and reaps them. A signal ends a wait only if its handler runs while the call
 * sleeps. A wait that must end after a signal therefore needs a deadline too.
 *
 * Threads. One thread at a time may use a handle; different handles are independent.
 */
#ifndef RINGIPC_H
#define RINGIPC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RIP_ABI 4u
#define RIP_FOREVER UINT64_MAX /* a deadline that never passes */
#define RIP_MAX_CHANNEL_NAME 200
#define RIP_MAX_GROUP_NAME 47
#define RIP_MAX_LABEL 63
#define RIP_MAX_LANES 1024u /* in one channel; a lane that has ended counts until every group has read it */
#define RIP_MAX_GROUPS 32u
#define RIP_MAX_CONSUMERS 256u                              /* in one channel */
#define RIP_MAX_MEMBERS (RIP_MAX_CONSUMERS + RIP_MAX_LANES) /* consumers and producers */

/* How a handle waits: it spins all the time, spins for as long as has paid lately and then sleeps, or sleeps at
 * once. */
enum rip_wait { RIP_WAIT_SPIN, RIP_WAIT_ADAPTIVE, RIP_WAIT_BLOCK };
/* What a full lane does: it waits for room, drops the new message, or drops the oldest messages that no member has
 * taken. */
enum rip_overflow { RIP_BLOCK, RIP_DROP_NEW, RIP_DROP_OLD };
/* Flags beside enum rip_overflow: allocate the whole lane when it is opened; write the lane that all producers of the
 * channel with this flag write. */
#define RIP_PREALLOCATE 0x100u
#define RIP_SHARED_LANE 0x200u
/* What the payload is. The core carries all kinds as bytes; those from RIP_RECORD on mean something to Python only. An
 * object is a pickle; RIP_OBJECT_PARTS is a pickle with memory beside it, laid out like a record. */
enum rip_kind {
    RIP_BYTES = 1,
    RIP_ARRAY = 2,
    RIP_RECORD = 3,
    RIP_OBJECT = 4,
    RIP_OBJECT_PARTS = 5,
    RIP_MAX_KIND = RIP_OBJECT_PARTS
};
/* Where a new group starts, whether its members compete, whether it stays when its last member leaves, and whether it
 * loses its oldest unread messages where it would make a producer wait. */
enum rip_group_flag { RIP_OLDEST = 0, RIP_NEWEST = 1, RIP_SHARED = 2, RIP_DURABLE = 4, RIP_LOSSY = 8 };
#define RIP_BY_TIME 16u         /* a flag beside enum rip_group_flag, of one consumer: see rip_consumer_open */
#define RIP_MAX_REDELIVERED 63u /* rip_message.redelivered counts so far */

struct rip_producer;
struct rip_consumer;
struct rip_rx;

/* A message as a consumer gets it. data points into the lane and is valid until rip_release. */
struct rip_message {
    const unsigned char *data; /* 64-byte aligned */
    uint64_t length;           /* bytes */
    uint64_t seq;              /* number of the message in its lane, from 0 */
    uint64_t ticks;            /* when it was put; rip_message_time converts this to nanoseconds */
    struct rip_rx *lane;
    uint64_t missed;     /* messages of its lane that this group has lost since the message before */
    uint32_t type;       /* chosen by the sender */
    uint8_t kind;        /* enum rip_kind */
    uint8_t redelivered; /* how often it was delivered before; RIP_MAX_REDELIVERED: that many times or more */
};

/* Which messages a consumer selects. */
struct rip_filter {
    const uint32_t *types; /* accept these types only */
    uint32_t count;        /* number of types; 0: accept any type */
    uint32_t lowest;       /* nonzero: among the messages that are there, select one of the lowest type */
    uint64_t search;       /* set by rip_select_begin: the search continues behind the message that it found last */
};

/* The slowest reader of a lane: what prevents the producer from reclaiming memory. */
struct rip_slowest {
    char group[RIP_MAX_GROUP_NAME + 1]; /* empty: there is no group yet */
    uint32_t shared;                    /* nonzero: its members compete */
    uint32_t members;                   /* nonzero: it has members */
    int32_t pid;       /* of the member that has taken the oldest message or is to take it; 0: no member has taken it */
    uint64_t messages; /* published and not released by that group */
    uint32_t
        kept; /* messages in use that the producer has passed; if messages is 0, the group is that of one of them */
    uint64_t bytes; /* of the arena in use */
};

/* ---- channels ----
 *
 * A channel argument is a name, or "fd:<number>": the anonymous channel of that file descriptor, which stays the
 * caller's. An anonymous channel is one memory file (memfd), sealed against shrinking. It exists while any process
 * has a file descriptor of it or a handle on it. The file descriptor is all that another process needs; pass it by
 * inheritance or over a Unix socket. Each process opens its own handles, so the locks of one process are not kept
 * alive by another. When the last member has left, the channel is empty again, as after rip_channel_fd. */

/* Creates an anonymous channel. Returns its file descriptor (close-on-exec), which the caller closes. */
int rip_channel_fd(void);

/* Who may open the files of a channel, besides the user who creates it. */
struct rip_access {
    uint32_t mode;  /* 0600, 0660 or 0666 */
    uint32_t group; /* a group of users (gid); UINT32_MAX: that of the process */
};

/* ---- producer: writes a lane of its own, or the shared lane ---- */

/* Joins a channel as a producer and creates the channel if it does not exist.
 *   capacity  bytes of payloads that the lane can hold, rounded up to a page. A longer message has memory of its own,
 *             which is freed after its release, at the next call of this producer that puts or flushes. Of such
 *             messages at most two are not acknowledged at a time; a third one finds no room
 *   slots     messages that the lane can hold, rounded up to a power of two
 *   flags     enum rip_overflow, optionally with RIP_PREALLOCATE and RIP_SHARED_LANE
 *   access    of a channel that this call creates; NULL: this user only
 *   out       the new handle
 * The slots (32 bytes each) are allocated here: -ENOSPC if there is no memory for them. Memory for messages is
 * allocated before it is first written. If there is none, rip_reserve, rip_put and rip_wait_room return -ENOSPC at
 * once, without waiting; a lane that drops treats this as missing room. With RIP_PREALLOCATE all memory is allocated
 * here.
 *
 * With RIP_SHARED_LANE the first producer makes the lane, and the others join it: -EEXIST if it has another capacity,
 * number of slots or overflow. Its messages have one order. One producer at a time writes: the owner, from rip_reserve
 * to rip_publish or rip_discard, and while it waits for room. The others wait for it, and go on if it is killed. The
 * lane ends with its last producer. Each counts as a producer that comes, and its death or failure is reported. */
int rip_producer_open(const char *channel, uint64_t capacity, uint64_t slots, uint32_t flags, enum rip_wait wait,
                      const struct rip_access *access, struct rip_producer **out);

/* Declares a group: creates it before it has a member, so that its first member misses no message that is put from now
 * on. It is durable, but ends when the channel has no member and all is read. Does nothing if the group exists. */
int rip_declare(struct rip_producer *p, const char *group);

/* Sets a text of at most RIP_MAX_LABEL bytes that consumers can read with each message (rip_message_label). -EINVAL: it
 * is longer, or a message has been published already. */
int rip_set_label(struct rip_producer *p, const char *label);

/* Sets how long a message can be, in bytes. Without this call, memory is the limit. -EINVAL: less than the capacity, or
 * more in a shared lane. */
int rip_set_longest(struct rip_producer *p, uint64_t bytes);

/* Returns 1 if the group has a live member, 0 if not, or -EAGAIN if another handle has the table lock. If it finds dead
 * members of the group it reaps them: what they had taken is requeued at once. */
int rip_has_consumer(struct rip_producer *p, const char *group);

/* Reserves length bytes at *payload (64-byte aligned) for the next message. Consumers do not see them before
 * rip_publish. A second call replaces the reservation. -EAGAIN: no room, or another producer of a shared lane does not
 * let this one write; -ENOBUFS: the lane drops, and counted it. */
int rip_reserve(struct rip_producer *p, uint64_t length, unsigned char **payload);

/* Publishes the first length bytes of the reservation as a message, and wakes consumers that sleep. length is at most
 * the length that was reserved. */
int rip_publish(struct rip_producer *p, uint64_t length, uint32_t type, uint8_t kind);

/* Discards a reservation, so that other producers of a shared lane can write. */
void rip_discard(struct rip_producer *p);

/* Copies a message into the lane; waits for room until deadline. 0: it was put; -ETIMEDOUT: no room until deadline;
 * -ENOBUFS: the lane drops, and the message was refused. */
int rip_put(struct rip_producer *p, const void *data, uint64_t length, uint32_t type, uint8_t kind, uint64_t deadline);

/* Waits until rip_reserve would find room for length bytes. Like rip_reserve, it discards a reservation. */
int rip_wait_room(struct rip_producer *p, uint64_t length, uint64_t deadline);
/* Waits until every group, except lossy ones, has acknowledged all messages, or returns -ETIMEDOUT. Like rip_reserve, it
 * discards a reservation. */
int rip_flush(struct rip_producer *p, uint64_t deadline);
uint64_t rip_producer_backlog(struct rip_producer *p); /* messages that some group has not released */
uint64_t rip_producer_bytes(struct rip_producer *p);   /* bytes of the arena that these messages occupy */
void rip_producer_slowest(struct rip_producer *p, struct rip_slowest *slowest);
/* The same of what rip_flush waits for: messages that are not acknowledged. */
void rip_producer_unacked(struct rip_producer *p, struct rip_slowest *slowest);
/* Call this before rip_producer_close if the program failed to start. If this producer has put no message, its stream
 * then has no end that consumers would see, as if the producer had never come. */
void rip_producer_undo(struct rip_producer *p);
/* Call this before rip_producer_close if the stream is not complete. Consumers then get -ECONNABORTED after the last
 * message, so that they do not take the end for an end in order. */
void rip_producer_fail(struct rip_producer *p);
/* Marks the end of the stream and leaves the channel. Does nothing if the handle is closed. If the wait for the table
 * lock ends with an error (-EINTR), the handle is still a member: call this again. Memory stays mapped until
 * rip_producer_free. */
int rip_producer_close(struct rip_producer *p);
void rip_producer_free(struct rip_producer *p); /* after rip_producer_close */

/* ---- consumer: a member of a group ---- */

/* Joins a group of a channel as a consumer.
 *   flags     where a new group starts: RIP_OLDEST or RIP_NEWEST; with RIP_SHARED its members compete, and each message
 *             goes to one of them; with RIP_DURABLE the group stays when its last member leaves; with RIP_LOSSY
 *             it loses its oldest unread messages where it would make a producer wait. With RIP_BY_TIME this consumer
 *             gets the oldest message of all lanes first, by time stamps: so a message that was put before another one
 *             (its put had returned, or somebody had got it) comes first, whoever has put them. Without it, lanes are
 *             read in turn, some messages from each
 *   deadline  for getting the table lock of the channel
 *   out       the new handle
 *   holder    with -EBUSY: the pid of the live member of this exclusive group; with -EEXIST: RIP_SHARED and RIP_LOSSY
 *             of the group, which must be those of its members
 * -ENOENT: the channel does not exist. -EAGAIN: another process held the table lock until the deadline. */
int rip_consumer_open(const char *channel, const char *group, uint32_t flags, enum rip_wait wait, uint64_t deadline,
                      struct rip_consumer **out, int32_t *holder);

#define RIP_NO_END UINT32_MAX
/* Sets how many producers must have come for this consumer before its stream can end: 1 without this call, RIP_NO_END:
 * the stream never ends. A producer has come if it was open, or had unread messages, when the group of the consumer got
 * its first member, or if it came later. For the first group of a channel, and for a declared group, all count that
 * have come before, so that the end of a stream without a message waits for them too. */
void rip_consumer_expect(struct rip_consumer *c, uint32_t producers);
/* Makes this consumer go on without -EOWNERDEAD and -ECONNABORTED when a producer has died or failed. */
void rip_consumer_skip_deaths(struct rip_consumer *c);

/* Finds the next message: 1 and *message, or -EAGAIN, -ENODATA, -EOWNERDEAD and so on. In a shared or durable group,
 * and on a RIP_DROP_OLD lane, no other member can take the message from now on: call rip_take, then rip_release or
 * rip_requeue. The call does not wait, but it may sleep for some milliseconds if there is a new lane while another
 * member holds the table lock. If a new lane cannot be mapped (-EMFILE, -ENOSPC and so on), the error is returned once,
 * and mapping is tried again later. */
int rip_peek(struct rip_consumer *c, struct rip_message *message);
/* Takes the message that rip_peek found: its memory stays until rip_release. */
void rip_take(struct rip_consumer *c, const struct rip_message *peeked);
/* Acknowledges a message: the work on it is done, but data stays valid until rip_release. It is not redelivered if this
 * process dies, and the end of the stream does not wait for it. The producer reuses the memory of later messages once
 * they are released, and goes around this one, except that an exclusive group that is not durable can have only four
 * such messages of a lane, and others 64. */
void rip_acknowledge(struct rip_consumer *c, const struct rip_message *message);
/* Releases a message: its memory is free for the producer again. Messages can be released in any order. */
void rip_release(struct rip_consumer *c, const struct rip_message *message);

/* Starts a search. Call it once before the first rip_select with this filter. */
void rip_select_begin(struct rip_consumer *c, struct rip_filter *filter);
/* Takes a message that the filter accepts, out of order. The others keep their order. Returns as rip_peek. */
int rip_select(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message);
/* Gives back a message that is taken and neither acknowledged nor released. It keeps its position in the lane. started:
 * nonzero: the work on it had started, so this delivery is counted in `redelivered` the next time, if the group keeps
 * claims. */
void rip_requeue(struct rip_consumer *c, const struct rip_message *message, int started);

/* rip_peek and rip_take; waits for a message until deadline. Returns as rip_peek, but -ETIMEDOUT instead of -EAGAIN. */
int rip_get(struct rip_consumer *c, struct rip_message *message, uint64_t deadline);

/* rip_select_begin and rip_select; waits for a message that the filter accepts until deadline. Returns as
 * rip_get. */
int rip_get_selected(struct rip_consumer *c, struct rip_filter *filter, struct rip_message *message, uint64_t deadline);
/* Takes the newest message and releases older ones that are not taken; waits for a message until deadline. Returns as
 * rip_get. */
int rip_get_latest(struct rip_consumer *c, struct rip_message *message, uint64_t deadline);

/* Waits until rip_peek would not return -EAGAIN (a message, an end, a death or an error). In a shared group another
 * member may still take the message first. Returns 0, -ETIMEDOUT or another error. */
int rip_wait_message(struct rip_consumer *c, uint64_t deadline);
int32_t rip_message_pid(const struct rip_message *message); /* the pid of its producer; 0 in a shared lane */
/* Copies the label of a message's lane: what its producer has set with rip_set_label, or an empty text. */
void rip_message_label(const struct rip_rx *lane, char label[RIP_MAX_LABEL + 1]);
/* Converts the ticks of a message of this lane to nanoseconds of CLOCK_MONOTONIC in this process. */
uint64_t rip_message_time(const struct rip_rx *lane, uint64_t ticks);
/* Leaves the group; taken messages are requeued. Errors: as rip_producer_close. Messages stay readable until
 * rip_consumer_free. */
int rip_consumer_close(struct rip_consumer *c);
void rip_consumer_free(struct rip_consumer *c); /* after rip_consumer_close */

/* ---- file descriptors for poll and event loops ----
 *
 * rip_*_fd returns the pollfd of a handle (or -EMFILE and so on). It is readable while the next rip_peek would not
 * return -EAGAIN, or while there is room for the message that rip_reserve refused last. The number stays the same, and
 * the pollfd is closed with the handle. After it has checked for messages or room, the program calls rip_*_update_fd,
 * which brings the readiness up to date. Nobody else does so when a member is killed. So the program also calls
 * rip_*_update_fd half a second after the last time, for example by a timer. A handle without a pollfd has no extra
 * cost. */
int rip_consumer_fd(struct rip_consumer *c);
void rip_consumer_update_fd(struct rip_consumer *c);
/* As rip_consumer_update_fd, but ignores what is there already: the pollfd becomes readable only for what comes from
 * now on. For programs that leave messages unread. Returns 1 if the pollfd was readable; other threads that wait for it
 * may not have seen that. */
int rip_consumer_rearm_fd(struct rip_consumer *c);
/* Requests one signal to this process when the next message, end or new producer comes.
 *   number    the signal; 0 cancels the request
 *   value     sent with the signal; NULL: the id of the producer's lane is sent
 * What is there already causes no signal: call this first, then rip_peek until it returns -EAGAIN. */
int rip_consumer_notify(struct rip_consumer *c, int number, const int32_t *value);
int rip_producer_fd(struct rip_producer *p);
void rip_producer_update_fd(struct rip_producer *p); /* like rip_reserve, it discards a reservation */

/* ---- inspecting a channel without joining it ---- */

/* Of lanes that are in the table: lanes that are not live have something that some group has not read. */
enum rip_lane_condition { RIP_LIVE = 1, RIP_ENDED = 2, RIP_DEAD = 3, RIP_FAILED = 4 };

struct rip_lane_info {
    uint64_t id; /* never used twice in a channel */
    int32_t pid;
    uint32_t state;    /* enum rip_lane_condition */
    uint64_t messages; /* put so far */
    uint64_t backlog;  /* messages that some group has not released; without a group: that wait for the first one */
};

struct rip_group_info {
    char name[RIP_MAX_GROUP_NAME + 1];
    uint32_t flags; /* RIP_SHARED, RIP_DURABLE, RIP_LOSSY */
    uint32_t members;
    uint64_t backlog; /* messages not released */
};

struct rip_member_info {
    int32_t pid;
    int32_t group; /* index in rip_inspection.group; -1: a producer */
};

struct rip_inspection {
    uint32_t lanes, groups, members; /* number of entries in the arrays below */
    uint32_t end_waits; /* nonzero: all producers have left, and a group without a member yet is to see the end */
    struct rip_lane_info lane[RIP_MAX_LANES];
    struct rip_group_info group[RIP_MAX_GROUPS];
    struct rip_member_info member[RIP_MAX_MEMBERS];
};

/* Reads the state of a channel. -EAGAIN (also from the calls that remove): another process held the table lock for a
 * second. */
int rip_inspect(const char *channel, struct rip_inspection *inspection);
/* Removes a channel with all that is in it; an anonymous one is emptied. Also removes a channel that is damaged or has
 * another ABI version. -EBUSY: it has a live member, *holder is its pid, or 0 if the files do not say which process it
 * is. -ENOTEMPTY: the directory of a damaged channel has files that are not part of a channel. */
int rip_remove(const char *channel, int32_t *holder);
/* Removes a channel that no member uses and that nothing keeps. A durable group, or a group for which messages or the
 * end of the stream wait, keep a channel. Returns 1 if it was removed, 0 if it is kept. A damaged channel is removed;
 * one with another ABI version is kept (-EPROTONOSUPPORT). -EBUSY, -ENOTEMPTY: as in rip_remove. */
int rip_clean_up(const char *channel);
/* Removes a group. -EBUSY: it has a live member, *holder is its pid. */
int rip_remove_group(const char *channel, const char *group, int32_t *holder);

/* ---- semaphores, locks, events, barriers, latest values ----
 *
 * Each object is in shared memory. A named one has a name as channels have, and exists while any process has it
 * open. An anonymous one exists while any process has a file descriptor of it. After a process is killed, the state
 * that it left is repaired within a second. Calls that wait return 0, -ETIMEDOUT or another error. In a forked child
 * a handle is open and has no units. */

#define RIP_MAX_UNITS INT32_MAX
#define RIP_MAX_PARTIES 255
#define RIP_MAX_HANDLES 255           /* open on one object at a time; of a latest value those that have set it */
#define RIP_LATEST_CAPACITY 0x4000000 /* bytes, of a latest value for which none is given */
#define RIP_MAX_LATEST_CAPACITY (INT64_C(1) << 46)

#define RIP_MUST_BE (-2) /* as the value of rip_sync_open: do not create the object */

enum rip_sync_kind { RIP_SEMAPHORE = 1, RIP_LOCK = 2, RIP_EVENT = 3, RIP_BARRIER = 4, RIP_LATEST = 5, RIP_MEMORY = 6 };

struct rip_sync;

/* Opens an object and creates it if it does not exist.
 *   name   the name; NULL: a new anonymous object, or the one of fd
 *   fd     -1, or a file descriptor that another process got from rip_sync_fd; it stays the caller's
 *   value  initial units of a semaphore or lock, 1 for an event that is set, parties of a barrier, or the capacity of a
 *          latest value: the most bytes that a value can have. -1: that of the existing object, else 1 (a latest value:
 *          RIP_LATEST_CAPACITY). RIP_MUST_BE: that of the existing object, else -ENOENT
 *   undo   nonzero: units of this semaphore handle are given back when it is closed or its process is killed. This is
 *          always so for a lock
 * -EPROTOTYPE: the name belongs to something of another kind. -EEXIST: the object exists with another value; a latest
 * value: with a smaller capacity. */
int rip_sync_open(const char *name, int fd, enum rip_sync_kind kind, int64_t value, int undo, enum rip_wait wait,
                  struct rip_sync **out);
int rip_sync_fd(struct rip_sync *s);               /* a file descriptor to pass on; it is closed with the handle */
uint32_t rip_sync_value(const struct rip_sync *s); /* the initial value */
int rip_sync_close(struct rip_sync *s);            /* memory stays until rip_sync_free */
void rip_sync_free(struct rip_sync *s);

struct rip_sync_info {
    uint32_t kind;  /* enum rip_sync_kind */
    uint32_t value; /* the initial value */
    uint32_t handles;
    int32_t pid[RIP_MAX_HANDLES]; /* of the process of each handle */
};

/* Inspects a named object. -EPROTOTYPE: the name belongs to a channel. -EAGAIN (also from rip_sync_clean_up): as in
 * rip_inspect. */
int rip_sync_info(const char *name, struct rip_sync_info *info);
/* Removes the files of a named object that no process has open. Returns 1 if removed, 0 if a process has it open. */
int rip_sync_clean_up(const char *name);

/* Opens the directory that has a subdirectory for each named channel and object of this user. Returns a file
 * descriptor, which the caller closes, or -ENOENT. */
int rip_directory(void);
/* The base directory, in which each user has ringipc-<uid>: $RINGIPC_DIR, else /dev/shm if it is a tmpfs, else $TMPDIR,
 * else /tmp. */
const char *rip_base(void);

/* What the last call of this thread that failed with -ENOSPC or -EFBIG needed. */
struct rip_shortage {
    uint64_t bytes; /* needed; 0: one more file was needed, and no more files are possible */
    uint64_t free;  /* bytes that were available */
    int for_tables; /* nonzero: for the tables of a channel or an object above; 0: for messages */
};
struct rip_shortage rip_last_shortage(void);

/* Takes units at once (P); a lock has one. 1: this is a lock, and it is acquired, but its previous owner died with it.
 * After -EINTR the caller has lost its position in the queue. */
int rip_semaphore_acquire(struct rip_sync *s, uint32_t units, uint64_t deadline);
/* Gives units back (V). -EOVERFLOW: more than RIP_MAX_UNITS. -EPERM: a lock that this handle has not acquired. */
int rip_semaphore_release(struct rip_sync *s, uint32_t units);
uint32_t rip_semaphore_value(const struct rip_sync *s); /* units that are available */

int rip_event_set(struct rip_sync *s);
int rip_event_clear(struct rip_sync *s);
int rip_event_is_set(struct rip_sync *s);
int rip_event_wait(struct rip_sync *s, uint64_t deadline); /* also returns 0 if the event is set and cleared at once */

/* Waits until all parties have arrived. Returns the index of this arrival in its round, from 0. -EPIPE: the barrier is
 * broken: a party gave up (-ETIMEDOUT), called rip_barrier_abort, or was killed while it had the barrier open. */
int rip_barrier_wait(struct rip_sync *s, uint64_t deadline);
int rip_barrier_abort(struct rip_sync *s);
int rip_barrier_reset(struct rip_sync *s); /* makes it usable again; parties that wait get -EPIPE */
int rip_barrier_waiting(struct rip_sync *s);
int rip_barrier_is_broken(struct rip_sync *s);

/* ---- latest values ----
 *
 * Objects as above. Any handle can set the value, and any number of handles can read the newest one. It is never torn,
 * and nothing is consumed. Readers and writers do not wait for each other. Memory for a value is allocated before it is
 * first written: -ENOSPC and so on, as in rip_put. */

struct rip_value {
    const unsigned char *data; /* 64-byte aligned */
    uint64_t length;           /* bytes */
    uint64_t seq;              /* counts the values from 1 */
    uint64_t ticks;            /* when it was set; rip_latest_time converts this to nanoseconds */
    uint64_t word;             /* for rip_latest_is_whole and the calls for file descriptors */
    uint8_t kind;              /* enum rip_kind */
};

uint64_t rip_latest_capacity(const struct rip_sync *s);
int rip_latest_set(struct rip_sync *s, const void *data, uint64_t length, uint8_t kind);
/* Copies the newest value into buffer, once there is one with a greater seq than newer_than. Returns 1; -ETIMEDOUT;
 * -EMSGSIZE: it has more than size bytes, which value->length says; or another error. */
int rip_latest_get(struct rip_sync *s, uint64_t newer_than, uint64_t deadline, void *buffer, uint64_t size,
                   struct rip_value *value);

/* Setting a value in place: begin returns the number of a slot and length bytes in it; then the caller writes the value
 * there, and publishes or cancels it. Publishing returns its seq. If other writers are using all slots, begin waits for
 * one until the deadline. */
int rip_latest_begin(struct rip_sync *s, uint64_t length, uint64_t deadline, unsigned char **payload);
uint64_t rip_latest_publish(struct rip_sync *s, int slot, uint64_t length, uint8_t kind);
void rip_latest_cancel(struct rip_sync *s, int slot);

/* Reading a value in place. peek finds the newest value: 1; 0: none has been set, and value->seq is 0. wait waits as
 * rip_latest_get does. The value can be overwritten while the caller reads it: what has been read counts only if
 * rip_latest_is_whole returns 1 after that. Otherwise find the newest value again. */
int rip_latest_peek(struct rip_sync *s, struct rip_value *value);
int rip_latest_wait(struct rip_sync *s, uint64_t newer_than, uint64_t deadline, struct rip_value *value);
int rip_latest_is_whole(const struct rip_sync *s, const struct rip_value *value);
/* Converts the ticks of a value to nanoseconds of CLOCK_MONOTONIC in this process. */
uint64_t rip_latest_time(const struct rip_sync *s, uint64_t ticks);

/* Returns a file descriptor that is readable while the newest value is another one than `seen`: the word of the value
 * that was found last, or 0. It is closed with the handle. A thread watches for new values. */
int rip_latest_fd(struct rip_sync *s, uint64_t seen);
/* Brings the readiness up to date, after a value was found. Returns 1 if the file descriptor was readable or about to
 * be; other threads that wait for it may not have seen that. */
int rip_latest_update_fd(struct rip_sync *s, uint64_t seen);

/* ---- shared memory ----
 *
 * Objects as above, with data that every handle may read and write in place. The data is all zero at first. It is
 * 64-byte aligned and stays mapped until rip_sync_free. */

struct rip_memory_wish {
    const char *path;        /* a file of the file system for the data, which stays when all handles are closed; NULL:
                               * none */
    const void *description; /* says what the data is; every handle can read it */
    uint32_t description_length; /* bytes, 4 MiB at most */
};

/* Opens shared memory, and creates it if it does not exist.
 *   name, fd, wait  as for rip_sync_open; with a path, name is NULL
 *   size            bytes of the data; RIP_MUST_BE: as it exists, else -ENOENT
 *   wish            NULL: no path, no description
 * -EEXIST: it exists with another size or description. */
int rip_memory_open(const char *name, int fd, int64_t size, const struct rip_memory_wish *wish, enum rip_wait wait,
                    struct rip_sync **out);
void *rip_memory_data(const struct rip_sync *s, uint64_t *size);
const void *rip_memory_description(const struct rip_sync *s, uint32_t *length);
/* Has a file of a path written to the disk. */
int rip_memory_flush(struct rip_sync *s);

/* A lock of the data. It belongs to the thread that acquires it, which can acquire it again and then has to release it
 * as often. 1: acquired, but its owner before was killed with it. -EPERM: this thread has not acquired it. */
int rip_memory_acquire(struct rip_sync *s, uint64_t deadline);
int rip_memory_release(struct rip_sync *s);

/* Replaces all of the data at once. The caller has acquired the lock, else -EPERM. If the process is killed meanwhile,
 * the data is what it was, or all of it is new. What others write to the data at the same time is lost. */
int rip_memory_write(struct rip_sync *s, const void *from);
/* Copies the data as it was at one moment, before or after each rip_memory_write. It never waits. -EAGAIN: there were
 * too many of them meanwhile. */
int rip_memory_read(struct rip_sync *s, void *to);

/* Atomic operations on a number in the data. Numbers are passed as their bits, in the lower bits of a uint64_t.
 * `at` is aligned to the size of the number. Integers wrap around, signed ones too. */
enum rip_number { RIP_INT8, RIP_INT16, RIP_INT32, RIP_INT64, RIP_FLOAT32, RIP_FLOAT64 };

int rip_number_size(enum rip_number kind); /* bytes, or -EINVAL */
uint64_t rip_number_load(const void *at, enum rip_number kind);
void rip_number_store(void *at, enum rip_number kind, uint64_t value);        /* with release order only */
uint64_t rip_number_add(void *at, enum rip_number kind, uint64_t value);      /* returns the number before */
uint64_t rip_number_exchange(void *at, enum rip_number kind, uint64_t value); /* the same */
/* Stores value if the number has the bits of *expected, and returns 1. Else returns 0, and *expected is the number. */
int rip_number_compare_exchange(void *at, enum rip_number kind, uint64_t *expected, uint64_t value);

uint64_t rip_now(void); /* nanoseconds, CLOCK_MONOTONIC */

/* ---- hooks around waits ----
 *
 * For a program that has other work while a thread waits. An interpreter, for example, lets its other threads run
 * and runs signal handlers. There is one pair of hooks for the process. Set it before any handle is opened. */

struct rip_waiting {
    uint64_t since; /* when the wait started, as rip_now */
    int control;    /* file descriptor of the control file if the wait is for a table lock; else -1 */
    void *kept;     /* for the hooks; NULL when the wait starts */
};

/* Called before each slice of a wait, except in a wait for the table lock (control >= 0). */
typedef void rip_before_wait(struct rip_waiting *waiting);
/* Called after each slice of a wait, also of a wait for the table lock, which has had no call before. A slice ends
 * after at most 50 ms or with a signal. 0 continues the wait; anything else ends it, and the call returns -EINTR. The
 * hook may set waiting->kept. Without this hook a signal ends a wait with -EINTR. */
typedef int rip_after_wait(struct rip_waiting *waiting);
void rip_on_wait(rip_before_wait *before, rip_after_wait *after); /* NULL: no hook */

/* ---- arrays: a header of n x 64 bytes, then the elements ---- */

#define RIP_MAX_NDIM 64

struct rip_array {
    /* As numpy's dtype.str ("<f4"), or JSON for structured dtypes; not NUL-terminated. */
    const char *dtype;
    uint32_t dtype_length; /* bytes */
    uint8_t ndim;
    uint8_t fortran; /* 0: the last index varies fastest (C order); 1: the first (Fortran order) */
    uint64_t shape[RIP_MAX_NDIM];
    uint64_t header; /* bytes before the elements; set by rip_array_read */
};

/* Returns the size of the header in bytes, a multiple of 64; 0 if dtype or ndim is too large. */
uint64_t rip_array_header_size(const struct rip_array *array);
void rip_array_write(const struct rip_array *array, unsigned char *payload); /* writes the header at payload */
/* Reads the header of a payload of length bytes. array->dtype then points into the payload. Returns 0 or -EBADMSG. */
int rip_array_read(struct rip_array *array, const unsigned char *payload, uint64_t length);
/* Checks that elements of itemsize bytes in this shape fill a payload of length bytes exactly. Returns 0 or
 * -EBADMSG. */
int rip_array_check(const struct rip_array *array, uint64_t itemsize, uint64_t length);
/* Has another message, of length bytes, the same header: dtype, shape and order of the elements? */
int rip_array_matches(const struct rip_array *array, const unsigned char *payload, uint64_t length);

#ifdef __cplusplus
}
#endif
#endif
