/* Connections beside what goes wrong in their channel: a lane that cannot be mapped, a table lock whose holder is stopped. */
#include "check.h"

#include "channel/lane_table.h"
#include "stream/io_loop.h"

#include <pthread.h>
#include <sys/socket.h>

#define LINKS 3u

/* A member of group g that sends what it takes over near; what comes out of far is the other side's. */
static struct rip_sender *open_sender(int *near, int *far) {
    int ends[2];
    struct rip_sender *s = NULL;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    *near = ends[0];
    *far = ends[1];
    CHECK_IS(rip_sender_open(open_consumer("c", "g", RIP_SHARED), 0, 1, &s), 0);
    return s;
}

/* A lane whose header is damage, and one that is good. */
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
        CHECK_IS(frame.is, RIP_FRAME_MESSAGE);
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
    struct rip_io_loop *pump;
    _Atomic int32_t tid;
};

static void *runs(void *argument) {
    struct thread *thread = argument;
    struct rip_end end;
    atomic_store(&thread->tid, (int32_t)syscall(SYS_gettid));
    CHECK_IS(rip_io_loop_run(thread->pump, &end), 0);
    return NULL;
}

static void locked_table_keeps_no_thread_awake(void) {
    struct thread thread = {.pump = NULL};
    struct rip_producer *p = open_producer("c", RIP_PAGE, 4);
    int near[LINKS], far[LINKS];
    uint64_t ids[LINKS];
    pthread_t id;
    CHECK_IS(rip_io_loop_open(0, &thread.pump), 0);
    for (unsigned i = 0; i < LINKS; i++) {
        CHECK_IS(rip_io_loop_add(thread.pump, open_sender(&near[i], &far[i]), NULL, 0, &ids[i]), 0);
        CHECK(rip_io_loop_connect(thread.pump, ids[i], near[i], 0) > 0);
    }
    CHECK_IS(pthread_create(&id, NULL, runs, &thread), 0);
    struct rip_producer *new = open_producer("c", RIP_PAGE, 4);
    int fd = locked("c");
    rip_lanes_changed(&p->ch); /* whatever has changed: they cannot look */
    thread.pump->push(thread.pump);
    nap(100 * MS);
    uint64_t start = rip_now(), before = sleeps_of(thread.tid);
    for (unsigned i = 0; i < 100; i++) { /* nor do those who put keep it awake */
        thread.pump->push(thread.pump);
        nap(3 * MS);
    }
    CHECK(sleeps_of(thread.tid) - before < 50 + 2 * (rip_now() - start) / (50 * MS));
    start = rip_now();
    rip_io_loop_remove(thread.pump, ids[0]);
    rip_io_loop_stop(thread.pump);
    CHECK_IS(pthread_join(id, NULL), 0);
    rip_io_loop_free(thread.pump);
    CHECK(rip_now() - start < 1800 * MS); /* all leave within the same second */
    close(fd);
    for (unsigned i = 0; i < LINKS; i++) {
        close(near[i]);
        close(far[i]);
    }
    close_producer(new);
    close_producer(p); /* finds that they have gone */
}

int main(void) {
    run("a lane that cannot be mapped breaks no connection", lane_that_cannot_be_mapped_breaks_no_connection);
    run("a table lock that does not come keeps no thread awake, and all leave within a second",
        locked_table_keeps_no_thread_awake);
    return 0;
}
