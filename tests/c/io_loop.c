/* Links: errors in their channel (a lane that cannot be mapped, a table lock whose holder is stopped), large messages,
 * reports of released messages, and threads that wait for messages. */
#include "check.h"

#include "channel/lane_table.h"
#include "ring/watch.h"
#include "stream/io_loop.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>

#define LINKS 3u

/* A sender that is a member of group g and writes to near. The test reads from far, as the other side of the link. */
static struct rip_sender *open_sender(int *near, int *far) {
    int ends[2];
    struct rip_sender *s = NULL;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    *near = ends[0];
    *far = ends[1];
    CHECK_IS(rip_sender_open(open_consumer("c", "g", RIP_SHARED), 0, 1, &s), 0);
    return s;
}

/* A lane with a damaged header, and a valid one. */
static void lane_that_cannot_be_mapped_breaks_no_connection(void) {
    struct rip_producer *good = open_producer("c", RIP_PAGE, 4);
    int near, far;
    struct rip_frame frame;
    struct rip_sender *s = open_sender(&near, &far);
    CHECK_IS(rip_sender_connect(s, near, 0), 0);
    struct rip_producer *bad = open_producer("c", RIP_PAGE, 4);
    struct rip_lane *lane = bad->lane;
    uint32_t overflow = lane->overflow;
    lane->overflow = 99;
    for (uint64_t n = 0; n < 3; n++) {
        CHECK_IS(rip_put(good, &n, 0, 0, RIP_BYTES, 0), 0);
        CHECK_IS(rip_sender_step(s), RIP_STEP_IDLE);
        CHECK_IS(read(far, &frame, sizeof frame), sizeof frame);
        CHECK_IS(frame.frame_type, RIP_FRAME_MESSAGE);
    }
    lane->overflow = overflow; /* it is tried again */
    CHECK_IS(rip_put(bad, &frame, 0, 7, RIP_BYTES, 0), 0);
    for (unsigned i = 0; read(far, &frame, sizeof frame) != sizeof frame; i++) {
        CHECK(i < 1000);
        nap(MS);
        CHECK_IS(rip_sender_step(s), RIP_STEP_IDLE);
    }
    CHECK_IS(frame.type, 7);
    rip_sender_free(s, 0);
    close(near);
    close(far);
    close_producer(good);
    close_producer(bad);
}

struct thread {
    struct rip_io_loop *io_loop;
    _Atomic int32_t tid;
};

static void *runs(void *argument) {
    struct thread *thread = argument;
    struct rip_end end;
    atomic_store(&thread->tid, (int32_t)syscall(SYS_gettid));
    CHECK_IS(rip_io_loop_run(thread->io_loop, &end), 0);
    return NULL;
}

static void locked_table_keeps_no_thread_awake(void) {
    struct thread thread = {.io_loop = NULL};
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    int near[LINKS], far[LINKS];
    uint64_t ids[LINKS];
    pthread_t id;
    CHECK_IS(rip_io_loop_open(0, &thread.io_loop), 0);
    for (unsigned i = 0; i < LINKS; i++) {
        CHECK_IS(rip_io_loop_add(thread.io_loop, open_sender(&near[i], &far[i]), NULL, 0, &ids[i]), 0);
        CHECK(rip_io_loop_connect(thread.io_loop, ids[i], near[i], 0) > 0);
    }
    CHECK_IS(pthread_create(&id, NULL, runs, &thread), 0);
    struct rip_producer *new = open_producer("c", RIP_PAGE, 4);
    int fd = locked("c");
    rip_lanes_changed(&p->ch, 0); /* the table has changed, and the members cannot read it */
    thread.io_loop->push(thread.io_loop);
    nap(100 * MS);
    uint64_t start = rip_now(), before = sleeps_of(thread.tid);
    for (unsigned i = 0; i < 100; i++) { /* puts do not keep it awake either */
        thread.io_loop->push(thread.io_loop);
        nap(3 * MS);
    }
    CHECK(sleeps_of(thread.tid) - before < 50 + 2 * (rip_now() - start) / (50 * MS));
    start = rip_now();
    rip_io_loop_remove(thread.io_loop, ids[0]);
    rip_io_loop_stop(thread.io_loop);
    CHECK_IS(pthread_join(id, NULL), 0);
    rip_io_loop_free(thread.io_loop);
    CHECK(rip_now() - start < 1800 * MS); /* all leave within the same second */
    close(fd);
    for (unsigned i = 0; i < LINKS; i++) {
        close(near[i]);
        close(far[i]);
    }
    close_producer(new);
    close_producer(p); /* finds that they have left */
}

static void end_of_a_stream_needs_no_table_lock(void) {
    struct rip_receiver *r = NULL;
    struct rip_frame frame = {.magic = RIP_FRAME_MAGIC, .frame_type = RIP_FRAME_END};
    struct rip_message message;
    int ends[2];
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    CHECK_IS(rip_receiver_open("c", RIP_PAGE, 4, 1, 0, 1, &r), 0);
    struct rip_consumer *c = open_consumer("c", "g", 0);
    CHECK_IS(rip_receiver_connect(r, ends[0]), 0);
    CHECK_IS(write(ends[1], &frame, sizeof frame), sizeof frame);
    int fd = locked("c");
    CHECK_IS(rip_receiver_step(r), RIP_STEP_END);
    close(fd);
    frame = (struct rip_frame){0};
    CHECK_IS(read(ends[1], &frame, sizeof frame), sizeof frame); /* it has answered */
    CHECK_IS(frame.frame_type, RIP_FRAME_END);
    rip_receiver_free(r);
    CHECK_IS(rip_get(c, &message, rip_now() + 5000 * MS), -ENODATA); /* an end, no death */
    close_consumer(c);
    close(ends[0]);
    close(ends[1]);
}

/* ---- large messages ---- */

#define LARGE (UINT64_C(1) << 20)

static void write_all(int fd, const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        CHECK(n > 0);
        done += (size_t)n;
    }
}

static int is_readable(int fd, int ms) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    return poll(&entry, 1, ms);
}

static void connect_tcp(int *near, int *far) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_IS(bind(listening, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_IS(listen(listening, 1), 0);
    CHECK_IS(getsockname(listening, (struct sockaddr *)&at, &size), 0);
    *far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_IS(connect(*far, (struct sockaddr *)&at, sizeof at), 0);
    *near = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(*near >= 0);
    close(listening);
}

/* A receiver in the middle of a large message: the header and the first bytes have arrived. */
static struct rip_receiver *begin_large(int near, int far, unsigned char *payload) {
    struct rip_receiver *r = NULL;
    struct rip_frame frame = {
        .magic = RIP_FRAME_MAGIC, .frame_type = RIP_FRAME_MESSAGE, .kind = RIP_BYTES, .length = LARGE};
    CHECK_IS(rip_receiver_open("c", 2 * LARGE, 4, 1, 0, 0, &r), 0);
    CHECK_IS(rip_receiver_connect(r, near), 0);
    write_all(far, &frame, sizeof frame);
    write_all(far, payload, 100);
    CHECK_IS(is_readable(near, 1000), 1);
    CHECK_IS(rip_receiver_step(r), RIP_STEP_IDLE);
    return r;
}

static void few_bytes_of_a_large_message_wake_no_thread(void) {
    unsigned char *payload = calloc(1, LARGE);
    struct rip_frame small = {.magic = RIP_FRAME_MAGIC, .frame_type = RIP_FRAME_MESSAGE, .kind = RIP_BYTES};
    int near, far;
    int32_t holder;
    connect_tcp(&near, &far);
    struct rip_receiver *r = begin_large(near, far, payload);
    write_all(far, payload, 1000);
    CHECK_IS(is_readable(near, 20), 0);
    /* every piece but the last one is large, and the last one ends the message */
    for (uint64_t sent = 1100; sent < LARGE;) {
        uint64_t piece = LARGE - sent < 300000 ? LARGE - sent : 300000;
        write_all(far, payload, piece);
        sent += piece;
        while (rip_receiver_next(r) == 0 && is_readable(near, sent == LARGE ? 1000 : 0)) {
            CHECK_IS(rip_receiver_step(r), RIP_STEP_IDLE);
        }
    }
    CHECK_IS(rip_receiver_next(r), 1);
    write_all(far, &small, sizeof small);
    CHECK_IS(is_readable(near, 1000), 1); /* a small message after it wakes the receiver */
    CHECK_IS(rip_receiver_step(r), RIP_STEP_IDLE);
    CHECK_IS(rip_receiver_next(r), 2);
    rip_receiver_free(r);
    CHECK_IS(rip_remove("c", &holder), 0);
    close(near);
    close(far);
    free(payload);
}

static int get_option(int fd, int option) {
    int value = 0;
    socklen_t size = sizeof value;
    CHECK_IS(getsockopt(fd, SOL_SOCKET, option, &value, &size), 0);
    return value;
}

static void set_receive_buffer(int fd, int bytes) {
    CHECK_IS(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
}

static void larger_buffer_means_fewer_wakeups(void) {
    unsigned char payload[100] = {0};
    int near, far;
    int32_t holder;
    connect_tcp(&near, &far);
    set_receive_buffer(near, 1 << 15);
    struct rip_receiver *r = begin_large(near, far, payload);
    CHECK_IS(get_option(near, SO_RCVLOWAT), get_option(near, SO_RCVBUF) / 4);
    set_receive_buffer(near, 1 << 17); /* as the kernel does for a quick stream */
    CHECK_IS(rip_receiver_step(r), RIP_STEP_IDLE);
    CHECK_IS(get_option(near, SO_RCVLOWAT), get_option(near, SO_RCVBUF) / 4);
    rip_receiver_free(r);
    CHECK_IS(rip_remove("c", &holder), 0);
    close(near);
    close(far);
}

static void no_low_water_mark_on_unix_sockets(void) {
    unsigned char payload[100] = {0};
    int ends[2];
    int32_t holder;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    struct rip_receiver *r = begin_large(ends[0], ends[1], payload);
    CHECK_IS(get_option(ends[0], SO_RCVLOWAT), 1);
    rip_receiver_free(r);
    CHECK_IS(rip_remove("c", &holder), 0);
    close(ends[0]);
    close(ends[1]);
}

static void end_within_a_large_message_is_seen(void) {
    unsigned char payload[100] = {0};
    int near, far;
    int32_t holder;
    connect_tcp(&near, &far);
    struct rip_receiver *r = begin_large(near, far, payload);
    close(far);
    CHECK_IS(is_readable(near, 1000), 1);
    CHECK_IS(rip_receiver_step(r), -EPIPE);
    rip_receiver_free(r);
    CHECK_IS(rip_remove("c", &holder), 0);
    close(near);
}

/* ---- reports of released messages ---- */

static void take_and_release(struct rip_consumer *c, uint64_t length) {
    struct rip_message message;
    CHECK_IS(rip_peek(c, &message), 1);
    CHECK_IS(message.length, length);
    rip_take(c, &message);
    rip_release(c, &message);
}

/* The other side has been informed that so many messages are released in all, and of nothing else. */
static void check_reported(int far, uint64_t count) {
    struct rip_frame frame;
    CHECK_IS(is_readable(far, 1000), 1);
    CHECK_IS(read(far, &frame, sizeof frame), sizeof frame);
    CHECK_IS(frame.frame_type, RIP_FRAME_RELEASED);
    CHECK_IS(frame.length, count);
    CHECK_IS(is_readable(far, 0), 0);
}

static void large_messages_are_reported_four_at_a_time(void) {
    unsigned char *payload = calloc(1, LARGE / 8);
    struct rip_receiver *r = NULL;
    struct rip_frame frame = {
        .magic = RIP_FRAME_MAGIC, .frame_type = RIP_FRAME_MESSAGE, .kind = RIP_BYTES, .length = LARGE / 8};
    int ends[2];
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    CHECK_IS(rip_receiver_open("c", 16 * LARGE, 64, 1, 0, 1, &r), 0);
    struct rip_consumer *c = open_consumer("c", "g", 0);
    CHECK_IS(rip_receiver_connect(r, ends[0]), 0);
    for (uint64_t n = 1; n <= 8; n++) {
        write_all(ends[1], &frame, sizeof frame);
        write_all(ends[1], payload, LARGE / 8);
        CHECK_IS(rip_receiver_step(r), RIP_STEP_IDLE);
        take_and_release(c, LARGE / 8);
        CHECK_IS(rip_receiver_ack(r, 0), 0);
        if (n % 4 == 0) {
            check_reported(ends[1], n);
        }
        CHECK_IS(is_readable(ends[1], 0), 0);
    }
    rip_receiver_free(r);
    close_consumer(c);
    close(ends[0]);
    close(ends[1]);
    free(payload);
}

/* ---- pacing ---- */

#define CHUNK (UINT64_C(1) << 13)
#define CHUNKS UINT64_C(4096)

/* While fd is set, what a test pretends about this socket: how many bytes the kernel takes now (room), and how many
 * more after each wait (refill). */
static struct {
    int fd;
    size_t room, refill;
    unsigned writes, waits;
    _Atomic int blocks; /* the next write does not return while it is 1, for two seconds */
    _Atomic int blocked;
} kernel = {.fd = -1};

/* Replaces sendmsg of libc, for the core too. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (fd != kernel.fd) {
        return syscall(SYS_sendmsg, fd, message, flags);
    }
    size_t size = 0;
    kernel.writes++;
    for (unsigned i = 0; kernel.blocks && i < 2000; i++) {
        kernel.blocked = 1;
        nap(MS);
    }
    kernel.blocks = kernel.blocked = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        size += message->msg_iov[i].iov_len;
    }
    size = size < kernel.room ? size : kernel.room;
    kernel.room -= size;
    errno = EAGAIN;
    return size ? (ssize_t)size : -1;
}

/* Replaces ppoll of libc, which only waits for links use. */
int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *most, const sigset_t *mask) {
    (void)mask;
    int writable = 0;
    CHECK(most->tv_sec == 0 && most->tv_nsec <= (long)MS);
    nap(MS / 2);
    for (nfds_t i = 0; i < count; i++) {
        int is_pretended = fds[i].fd == kernel.fd;
        kernel.waits += (unsigned)is_pretended;
        kernel.room += is_pretended ? kernel.refill : 0;
        fds[i].revents = is_pretended && kernel.room ? POLLOUT : 0;
        writable += fds[i].revents != 0;
    }
    return writable;
}

/* A producer with CHUNKS messages in its lane and links to send them over. */
struct departures {
    struct rip_producer *producer;
    struct rip_io_loop *loop;
    unsigned count;
    int near[2], far[2];
    uint64_t ids[2];
};

static void add_departure(struct departures *d) {
    unsigned i = d->count++;
    CHECK_IS(rip_io_loop_add(d->loop, open_sender(&d->near[i], &d->far[i]), NULL, 0, &d->ids[i]), 0);
    CHECK(rip_io_loop_connect(d->loop, d->ids[i], d->near[i], 0) > 0);
}

static struct departures open_departures(void) {
    static unsigned char payload[CHUNK];
    struct departures d = {.count = 0};
    d.producer = open_producer("c", 2 * CHUNKS * CHUNK, 2 * CHUNKS);
    CHECK_IS(rip_io_loop_open(0, &d.loop), 0);
    add_departure(&d);
    for (uint64_t i = 0; i < CHUNKS; i++) {
        CHECK_IS(rip_put(d.producer, payload, CHUNK, 0, RIP_BYTES, 0), 0);
    }
    kernel.fd = d.near[0];
    kernel.room = kernel.refill = 0;
    kernel.writes = kernel.waits = 0;
    return d;
}

static void close_departures(struct departures *d) {
    kernel.fd = -1;
    rip_io_loop_free(d->loop);
    close_producer(d->producer);
    for (unsigned i = 0; i < d->count; i++) {
        close(d->near[i]);
        close(d->far[i]);
    }
}

/* A put waits only a little, and rarely, because the lane takes what the link cannot take. */
static void put_does_not_wait_for_a_stalled_link(void) {
    struct departures d = open_departures();
    d.loop->push(d.loop);
    CHECK_IS(kernel.writes, 1);
    uint64_t start = rip_now();
    for (unsigned i = 0; i < 1000; i++) {
        d.loop->push(d.loop);
    }
    CHECK_IS(kernel.writes, 1); /* the poller says when another attempt makes sense */
    CHECK(kernel.waits >= 1 && kernel.waits <= 6 + 6 * ((rip_now() - start) / (20 * MS)));
    close_departures(&d);
}

static void put_waits_for_a_quick_link(void) {
    struct departures d = open_departures();
    kernel.room = kernel.refill = 4 * LARGE;
    d.loop->push(d.loop);
    unsigned waited = 0;
    for (unsigned i = 0; i < 4; i++) { /* the queue remains long, because as much is taken as is sent */
        unsigned before = kernel.waits;
        CHECK_IS(rip_io_loop_needs_push(d.loop), 1);
        d.loop->push(d.loop);
        waited += kernel.waits > before;
    }
    CHECK(waited >= 2); /* on a busy machine one may find no time to wait */
    close_departures(&d);
}

static void stalled_link_does_not_hide_another(void) {
    struct departures d = open_departures();
    for (unsigned i = 0; i < 6; i++) {
        d.loop->push(d.loop);
    }
    add_departure(&d);
    kernel.fd = d.near[1];
    kernel.waits = 0;
    for (unsigned i = 0; i < 2; i++) { /* mapping the lane may take all the time of the first push */
        d.loop->push(d.loop);
    }
    CHECK(kernel.waits > 0);
    close_departures(&d);
}

static void *pushes(void *argument) {
    struct rip_io_loop *loop = argument;
    loop->push(loop);
    return NULL;
}

static void put_does_not_wait_for_a_thread_that_sends(void) {
    struct departures d = open_departures();
    pthread_t id;
    kernel.room = LARGE;
    d.loop->push(d.loop);
    CHECK_IS(rip_io_loop_needs_push(d.loop), 1);
    kernel.refill = LARGE;
    kernel.blocks = 1;
    CHECK_IS(pthread_create(&id, NULL, pushes, d.loop), 0);
    while (!kernel.blocked) {
        nap(MS);
    }
    d.loop->push(d.loop);
    CHECK(kernel.blocked);
    kernel.blocks = 0;
    CHECK_IS(pthread_join(id, NULL), 0);
    close_departures(&d);
}

/* What a stalled link could not take is sent when the other side reads again. */
static void queue_of_a_stalled_link_is_sent_later(void) {
    struct departures d = open_departures();
    struct thread thread = {.io_loop = d.loop};
    unsigned char *got = malloc(LARGE);
    pthread_t id;
    kernel.fd = -1;
    for (unsigned i = 0; i < 10; i++) {
        d.loop->push(d.loop);
    }
    CHECK_IS(pthread_create(&id, NULL, runs, &thread), 0);
    for (uint64_t bytes = 0; bytes < CHUNKS * (CHUNK + sizeof(struct rip_frame));) {
        CHECK_IS(is_readable(d.far[0], 5000), 1);
        ssize_t n = read(d.far[0], got, LARGE);
        CHECK(n > 0);
        bytes += (uint64_t)n;
    }
    rip_io_loop_stop(d.loop);
    CHECK_IS(pthread_join(id, NULL), 0);
    CHECK_IS(atomic_load(&d.loop->lagging), 0);
    close_departures(&d);
    free(got);
}

/* ---- waiting for messages ---- */

/* A consumer whose messages arrive over one link. The test writes to far, as the other side. */
struct arrivals {
    struct rip_io_loop *loop;
    struct rip_consumer *consumer;
    int near, far;
};

static struct arrivals open_arrivals(uint64_t capacity) {
    struct arrivals a;
    struct rip_receiver *r = NULL;
    int ends[2];
    uint64_t id;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    a.near = ends[0];
    a.far = ends[1];
    CHECK_IS(rip_receiver_open("c", capacity, 64, 1, 0, 1, &r), 0);
    a.consumer = open_consumer("c", "g", 0);
    CHECK_IS(rip_io_loop_open(0, &a.loop), 0);
    CHECK_IS(rip_io_loop_add(a.loop, NULL, r, 0, &id), 0);
    CHECK(rip_io_loop_connect(a.loop, id, a.near, 0) > 0);
    struct rip_message message;
    CHECK_IS(rip_peek(a.consumer, &message), -EAGAIN); /* it has mapped the lane */
    return a;
}

static void close_arrivals(struct arrivals *a) {
    rip_io_loop_free(a->loop);
    close_consumer(a->consumer);
    close(a->near);
    close(a->far);
}

static int pull_until(struct arrivals *a, uint64_t deadline) {
    struct rip_watch watch;
    rip_message_watch(a->consumer, NULL, &watch);
    watch.slice = 10000 * MS;
    return a->loop->pull(a->loop, &watch, deadline);
}

static void arriving_bytes_do_not_prolong_a_wait(void) {
    struct arrivals a = open_arrivals(2 * LARGE);
    unsigned char *payload = calloc(1, LARGE);
    struct rip_frame frame = {
        .magic = RIP_FRAME_MAGIC, .frame_type = RIP_FRAME_MESSAGE, .kind = RIP_BYTES, .length = LARGE};
    CHECK_IS(write(a.far, &frame, sizeof frame), sizeof frame);
    for (unsigned i = 0; i < 16; i++) { /* each part can be read at once, and the deadline has passed */
        write_all(a.far, payload, LARGE / 16);
        CHECK_IS(pull_until(&a, 0), -ETIMEDOUT);
    }
    take_and_release(a.consumer, LARGE); /* it has read them nevertheless */
    close_arrivals(&a);
    free(payload);
}

/* The sender may wait for the report: for room in its lane, or in flush. */
static void waiting_getter_reports_what_is_released(void) {
    struct arrivals a = open_arrivals(LARGE);
    struct rip_frame frame = {.magic = RIP_FRAME_MAGIC, .frame_type = RIP_FRAME_MESSAGE, .kind = RIP_BYTES};
    CHECK_IS(write(a.far, &frame, sizeof frame), sizeof frame);
    CHECK_IS(pull_until(&a, rip_now() + 1000 * MS), 1);
    take_and_release(a.consumer, 0);
    CHECK_IS(is_readable(a.far, 0), 0);
    CHECK_IS(pull_until(&a, rip_now() + 20 * MS), -ETIMEDOUT);
    check_reported(a.far, 1);
    close_arrivals(&a);
}

static void on_alarm(int signal) { (void)signal; }

static void signal_ends_a_wait_for_messages(void) {
    struct arrivals a = open_arrivals(LARGE);
    struct sigaction action = {.sa_handler = on_alarm}, was;
    struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    CHECK_IS(sigaction(SIGALRM, &action, &was), 0);
    CHECK_IS(setitimer(ITIMER_REAL, &often, NULL), 0);
    CHECK_IS(pull_until(&a, rip_now() + 10000 * MS), -EINTR);
    CHECK_IS(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_IS(sigaction(SIGALRM, &was, NULL), 0);
    close_arrivals(&a);
}

struct getter {
    struct arrivals *arrivals;
    _Atomic int32_t tid;
    int result;
};

static void *waits(void *argument) {
    struct getter *getter = argument;
    atomic_store(&getter->tid, (int32_t)syscall(SYS_gettid));
    getter->result = pull_until(getter->arrivals, rip_now() + 2000 * MS);
    return NULL;
}

static void end_wakes_all_who_wait(void) {
    struct arrivals a = open_arrivals(LARGE);
    struct rip_frame end = {.magic = RIP_FRAME_MAGIC, .frame_type = RIP_FRAME_END};
    struct getter getters[2] = {{.arrivals = &a}, {.arrivals = &a}};
    pthread_t ids[2];
    for (unsigned i = 0; i < 2; i++) {
        CHECK_IS(pthread_create(&ids[i], NULL, waits, &getters[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        while (!getters[i].tid) {
            nap(MS);
        }
    }
    nap(20 * MS); /* both sleep; if one does not, it finds the end by itself */
    CHECK_IS(write(a.far, &end, sizeof end), sizeof end);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_IS(pthread_join(ids[i], NULL), 0);
        CHECK_IS(getters[i].result, 1);
    }
    close_arrivals(&a);
}

int main(void) {
    run("a lane that cannot be mapped breaks no link", lane_that_cannot_be_mapped_breaks_no_connection);
    run("a table lock that is not available keeps no thread awake, and all leave within a second",
        locked_table_keeps_no_thread_awake);
    run("the end of a stream needs no table lock", end_of_a_stream_needs_no_table_lock);
    run("a few bytes of a large message wake no thread", few_bytes_of_a_large_message_wake_no_thread);
    run("a larger receive buffer means fewer wake-ups", larger_buffer_means_fewer_wakeups);
    run("no low-water mark is set on Unix sockets", no_low_water_mark_on_unix_sockets);
    run("the end of a link within a large message is noticed", end_within_a_large_message_is_seen);
    run("large messages are reported as released four at a time", large_messages_are_reported_four_at_a_time);
    run("a put does not wait for a stalled link", put_does_not_wait_for_a_stalled_link);
    run("a put waits for a quick link with a long queue", put_waits_for_a_quick_link);
    run("a stalled link does not keep puts from waiting for another link", stalled_link_does_not_hide_another);
    run("a put waits a millisecond at most for a thread that sends", put_does_not_wait_for_a_thread_that_sends);
    run("the queue of a stalled link is sent when it continues", queue_of_a_stalled_link_is_sent_later);
    run("bytes that keep arriving do not prolong a wait", arriving_bytes_do_not_prolong_a_wait);
    run("a getter that waits reports what is released", waiting_getter_reports_what_is_released);
    run("a signal ends a wait for messages", signal_ends_a_wait_for_messages);
    run("the end of a stream wakes all threads that wait for messages", end_wakes_all_who_wait);
    return 0;
}
