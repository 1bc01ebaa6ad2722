#include "base/poller.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define AT_ONCE 64

int rip_poller_open(struct rip_poller *poller) {
    poller->fd = epoll_create1(EPOLL_CLOEXEC);
    return poller->fd < 0 ? -errno : 0;
}

void rip_poller_close(struct rip_poller *poller) {
    if (poller->fd >= 0) {
        close(poller->fd);
        poller->fd = -1;
    }
}

int rip_poller_change(const struct rip_poller *poller, int fd, uint32_t was, uint32_t events, uint64_t id) {
    if (was == events) {
        return 0;
    }
    /* Without events it is removed, because epoll would report a hang-up again and again. */
    int how = !events ? EPOLL_CTL_DEL : was ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    struct epoll_event event = {
        .events = (events & RIP_POLL_IN ? EPOLLIN : 0u) | (events & RIP_POLL_OUT ? EPOLLOUT : 0u), .data.u64 = id};
    return epoll_ctl(poller->fd, how, fd, &event) == 0 ? 0 : -errno;
}

int rip_poller_wait(const struct rip_poller *poller, uint64_t *ids, int most, int ms) {
    struct epoll_event events[AT_ONCE];
    int n = epoll_wait(poller->fd, events, most < AT_ONCE ? most : AT_ONCE, ms);
    for (int i = 0; i < n; i++) {
        ids[i] = events[i].data.u64;
    }
    return n < 0 ? -errno : n;
}

int rip_kick_open(void) {
    int kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return kick < 0 ? -errno : kick;
}

void rip_kick(int kick) {
    uint64_t one = 1;
    ssize_t n = write(kick, &one, sizeof one); /* fails only if the counter is at its limit: then it is readable */
    (void)n;
}

void rip_kick_clear(int kick) {
    uint64_t times;
    ssize_t n = read(kick, &times, sizeof times); /* fails if another thread has cleared it first */
    (void)n;
}
