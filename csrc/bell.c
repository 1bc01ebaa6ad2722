/* A descriptor that is readable when there is something to do, for programs that wait in poll, epoll or an event loop; and a signal.
 *
 * Each member that has asked for one has a pipe of its own in the channel's directory, bell-<member>, and an epoll descriptor over the
 * pipe's end. It announces itself as a sleeper does, with the same bit, and notes in its entry that it wants to be rung. Whoever
 * would wake a sleeper then writes a byte into the pipe: once, until the member has looked and announced itself again.
 * A ringer that is killed between taking the note and writing would leave the member waiting for ever, as would a dead producer;
 * so the epoll descriptor also watches the processes of all other members (pidfd_open, Linux 5.3).
 */
#include "lane.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct rip_bell {
    int epoll, pipe;
    uint32_t rung;                 /* there is a byte in the pipe, as far as we know */
    int32_t pids[RIP_MAX_MEMBERS]; /* of the members that we watch; 0: none */
    int pidfds[RIP_MAX_MEMBERS];
};

void rip_bell_name(uint32_t member, char out[32]) { snprintf(out, 32, "bell-%u", (unsigned)member); }

static void forget(struct rip_bell *bell, uint32_t i) {
    if (bell->pids[i] && bell->pidfds[i] >= 0) {
        close(bell->pidfds[i]); /* it leaves the epoll set with its last descriptor */
    }
    bell->pids[i] = 0;
}

void rip_bell_close(struct rip_channel *ch) {
    struct rip_bell *bell = ch->bell;
    if (!bell) {
        return;
    }
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        forget(bell, i);
    }
    if (bell->pipe >= 0) {
        close(bell->pipe);
    }
    if (bell->epoll >= 0) {
        close(bell->epoll);
    }
    free(bell);
    ch->bell = NULL;
}

static int watch(struct rip_bell *bell, int fd, uint32_t what) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = what}};
    return epoll_ctl(bell->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int open_pipe(struct rip_channel *ch, struct rip_bell *bell) {
    char name[32];
    rip_bell_name(ch->place.member, name);
    unlinkat(ch->place.dir, name, 0); /* of a dead member in whose place we are */
    if (mkfifoat(ch->place.dir, name, ch->place.mode) != 0) {
        return -errno;
    }
    bell->pipe = openat(ch->place.dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); /* both ends: no hang-up */
    return bell->pipe < 0 ? -errno : watch(bell, bell->pipe, RIP_MAX_MEMBERS);
}

static int make_bell(struct rip_channel *ch) {
    struct rip_bell *bell = calloc(1, sizeof *bell);
    if (!bell) {
        return -ENOMEM;
    }
    bell->pipe = -1;
    rip_fork_hold(); /* a child forked now would keep them */
    bell->epoll = epoll_create1(EPOLL_CLOEXEC);
    int rc = bell->epoll < 0 ? -errno : open_pipe(ch, bell);
    ch->bell = bell;
    if (rc != 0) {
        rip_bell_close(ch);
    }
    rip_fork_allow();
    return rc ? rc : bell->epoll;
}

/* Watches the processes of all other members, as the table has them now. */
static void watch_members(struct rip_channel *ch) {
    struct rip_bell *bell = ch->bell;
    int32_t ours = (int32_t)getpid();
    uint32_t namespace = ch->control->members[ch->place.member].pids;
    for (uint32_t i = 0; i < RIP_MAX_MEMBERS; i++) {
        const volatile struct rip_member *member = &ch->control->members[i]; /* volatile: read once */
        int32_t pid = member->role == RIP_NOBODY ? 0 : member->pid;
        pid = pid == ours || pid < 0 || member->pids != namespace ? 0 : pid;
        if (pid == bell->pids[i]) {
            continue;
        }
        forget(bell, i);
        if (pid) {
            rip_fork_hold();
            bell->pidfds[i] = (int)syscall(SYS_pidfd_open, pid, 0);
            bell->pids[i] = pid;
            if (bell->pidfds[i] >= 0) { /* else it is gone already, or in a pid namespace that we do not see */
                watch(bell, bell->pidfds[i], i);
            }
            rip_fork_allow();
        }
    }
}

/* Clears the dead away, if a process that we watch has ended: 1 if somebody else has the lock, so that we must look once more. */
static int see_to_the_dead(struct rip_channel *ch) {
    struct epoll_event events[8];
    int count = epoll_wait(ch->bell->epoll, events, 8, 0), ended = 0;
    for (int i = 0; i < count; i++) {
        ended |= events[i].data.u32 < RIP_MAX_MEMBERS;
    }
    if (!ended) {
        return 0;
    }
    if (rip_try_lock(&ch->place) != 0) {
        return 1;
    }
    rip_reap(ch);
    rip_unlock(&ch->place);
    for (int i = 0; i < count; i++) {
        uint32_t member = events[i].data.u32;
        if (member < RIP_MAX_MEMBERS && ch->control->members[member].role == RIP_NOBODY) {
            forget(ch->bell, member);
        } else if (member < RIP_MAX_MEMBERS) {
            /* Reaped by somebody before it was gone for us, or its lock outlives it in a relative: not dead. No more of it. */
            close(ch->bell->pidfds[member]);
            ch->bell->pidfds[member] = -1;
        }
    }
    return 0;
}

static void silence(struct rip_bell *bell) {
    char bytes[64];
    while (read(bell->pipe, bytes, sizeof bytes) > 0) {
    }
    bell->rung = 0;
}

static void ring_ourselves(struct rip_bell *bell) {
    if (!bell->rung) {
        bell->rung = write(bell->pipe, "", 1) == 1; /* full: it is readable all the same */
    }
}

/* Asks to be rung: whatever comes from now on makes the descriptor readable. */
static void arm(struct rip_channel *ch, const struct rip_watch *watch) {
    silence(ch->bell);
    watch_members(ch);
    /* release: pairs with the fetch_and of whoever rings; before the announcement, which sends them to look */
    atomic_fetch_or_explicit(&ch->control->members[ch->place.member].bell, RIP_BELL_WANTED, memory_order_release);
    rip_watch_announce(watch);
}

typedef int ready(void *handle);

static void settle(struct rip_channel *ch, ready *ready, void *handle, const struct rip_watch *watch) {
    if (!ready(handle)) {
        arm(ch, watch);
        if (!see_to_the_dead(ch) && !ready(handle)) {
            return;
        }
    }
    ring_ourselves(ch->bell);
}

/* The process that holds the member's lock after we have got hold of one with its pid is that one: a pid is not given away as long as
 * its process lives. */
static void send_signal(struct rip_channel *ch, uint32_t member, uint32_t wanted) {
    const struct rip_member *entry = &ch->control->members[member];
    int number = (int)(wanted & 0xffu);
    if (entry->pid <= 0 || entry->pids != rip_pid_namespace()) {
        return;
    }
    rip_fork_hold();
    int fd = (int)syscall(SYS_pidfd_open, entry->pid, 0);
    if (fd >= 0) {
        siginfo_t info = {.si_signo = number, .si_code = SI_QUEUE};
        info.si_pid = getpid();
        info.si_uid = getuid();
        info.si_value.sival_int =
            wanted & RIP_VALUE_IS_LANE ? (int)ch->lane : atomic_load_explicit(&entry->value, memory_order_relaxed);
        if (!rip_is_dead(&ch->place, member)) {
            syscall(SYS_pidfd_send_signal, fd, number, &info, 0);
        }
        close(fd);
    }
    rip_fork_allow();
}

static void ring_pipe(struct rip_channel *ch, uint32_t member) {
    _Atomic uint32_t *bell = &ch->control->members[member].bell;
    /* acq_rel: pairs with the release in arm; one of us rings it */
    if (!(atomic_load_explicit(bell, memory_order_relaxed) & RIP_BELL_WANTED) ||
        !(atomic_fetch_and_explicit(bell, ~RIP_BELL_WANTED, memory_order_acq_rel) & RIP_BELL_WANTED)) {
        return; /* rung by somebody else */
    }
    char name[32];
    rip_bell_name(member, name);
    rip_fork_hold();
    /* Both ends: or a member that dies before the write would have us killed by SIGPIPE. */
    int fd = openat(ch->place.dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t written = write(fd, "", 1); /* fails where it is full: then it is readable already */
        (void)written;
        close(fd);
    }
    rip_fork_allow();
}

void rip_bell_ring(struct rip_channel *ch, uint32_t member) {
    _Atomic uint32_t *signal = &ch->control->members[member].signal;
    ring_pipe(ch, member);
    /* acq_rel: pairs with the release in rip_consumer_notify; one of us sends it */
    uint32_t wanted = atomic_load_explicit(signal, memory_order_relaxed)
                          ? atomic_exchange_explicit(signal, 0, memory_order_acq_rel)
                          : 0;
    if (wanted) {
        send_signal(ch, member, wanted);
    }
}

int rip_consumer_notify(struct rip_consumer *c, int number, const int32_t *value) {
    int rc = rip_check(&c->ch.place);
    if (rc != 0 || number < 0 || number > SIGRTMAX) {
        return rc ? rc : -EINVAL;
    }
    struct rip_member *member = &c->ch.control->members[c->ch.place.member];
    atomic_store_explicit(&member->value, value ? *value : 0, memory_order_relaxed);
    atomic_store_explicit(&c->ch.control->groups[c->group].bells, 1, memory_order_relaxed);
    /* release: pairs with the exchange of whoever sends it */
    atomic_store_explicit(&member->signal, number && !value ? (uint32_t)number | RIP_VALUE_IS_LANE : (uint32_t)number,
                          memory_order_release);
    struct rip_watch watch;
    rip_message_watch(c, NULL, &watch);
    rip_watch_announce(&watch);
    return 0;
}

static int has_message(void *handle) { return rip_rx_pending(handle); }

static int has_room(void *handle) {
    struct rip_producer *p = handle;
    return p->overflow != RIP_BLOCK || rip_make_room(p, p->wanted) != -EAGAIN;
}

/* Opens the descriptor, and says in the table that there is one: *rung is where those look who would wake us. */
static int open_bell(struct rip_channel *ch, _Atomic uint32_t *rung, uint32_t value) {
    int rc = rip_check(&ch->place);
    if (rc != 0 || ch->bell) {
        return rc ? rc : ch->bell->epoll;
    }
    rc = make_bell(ch);
    if (rc >= 0) { /* relaxed: our announcement comes after it */
        atomic_store_explicit(&ch->control->members[ch->place.member].bell, RIP_BELL_IS, memory_order_relaxed);
        atomic_store_explicit(rung, value, memory_order_relaxed);
    }
    return rc;
}

int rip_consumer_fd(struct rip_consumer *c) {
    int fd = open_bell(&c->ch, c->ch.control ? &c->ch.control->groups[c->group].bells : NULL, 1);
    if (fd >= 0) {
        rip_consumer_settle(c);
    }
    return fd;
}

void rip_consumer_settle(struct rip_consumer *c) {
    if (c->ch.bell && c->ch.place.state == RIP_OPEN) {
        struct rip_watch watch;
        rip_message_watch(c, NULL, &watch);
        settle(&c->ch, has_message, c, &watch);
    }
}

void rip_consumer_arm(struct rip_consumer *c) {
    if (c->ch.bell && c->ch.place.state == RIP_OPEN) {
        struct rip_watch watch;
        rip_message_watch(c, NULL, &watch);
        arm(&c->ch, &watch);
        if (see_to_the_dead(&c->ch)) {
            ring_ourselves(c->ch.bell);
        }
    }
}

int rip_producer_fd(struct rip_producer *p) {
    int fd = open_bell(&p->ch, p->entry ? &p->entry->bell_of : NULL, p->ch.place.member + 1);
    if (fd >= 0) {
        rip_producer_settle(p);
    }
    return fd;
}

void rip_producer_settle(struct rip_producer *p) {
    if (p->ch.bell && p->ch.place.state == RIP_OPEN) {
        struct rip_watch watch;
        rip_room_watch(p, &watch);
        settle(&p->ch, has_room, p, &watch);
    }
}
