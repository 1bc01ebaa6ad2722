#include "stream/links.h"

#include "base/clock.h"

struct rip_link *rip_link_find(struct rip_links *io, uint64_t id) {
    for (uint32_t i = 0; i < io->count; i++) {
        if (io->links[i].id == id) {
            return &io->links[i];
        }
    }
    return NULL;
}

void rip_link_poll(struct rip_links *io, struct rip_link *link, uint32_t events) {
    if (events == link->events || link->fd < 0) {
        return;
    }
    int rc = rip_poller_change(&io->poller, link->fd, link->events, events, link->id);
    if (rc != 0 && link->result >= 0) {
        link->result = rc;
        events = 0;
    }
    link->events = events;
}

void rip_link_poll_ready_fd(struct rip_links *io, struct rip_link *link, int polls_ready) {
    uint32_t was = link->polls_ready ? RIP_POLL_IN : 0, events = polls_ready ? RIP_POLL_IN : 0;
    if (link->ready_fd >= 0 && rip_poller_change(&io->poller, link->ready_fd, was, events, link->id) == 0) {
        link->polls_ready = polls_ready;
    }
}

void rip_link_disconnect(struct rip_links *io, struct rip_link *link) {
    rip_link_poll(io, link, 0);
    rip_link_poll_ready_fd(io, link, 0);
    link->fd = -1;
    if (link->sender) {
        rip_sender_disconnect(link->sender);
    } else {
        rip_receiver_disconnect(link->receiver);
    }
}

void rip_link_step(struct rip_links *io, struct rip_link *link, uint32_t in_pull) {
    if (link->fd < 0 || rip_link_is_finished(link)) {
        return;
    }
    uint64_t before = link->receiver ? rip_receiver_next(link->receiver) : 0;
    link->result = link->sender ? rip_sender_step(link->sender) : rip_receiver_step(link->receiver);
    /* relaxed: a thread that arrives now checks after this one, which has the lock */
    if (link->receiver && (rip_receiver_next(link->receiver) != before || rip_link_is_finished(link)) &&
        atomic_load_explicit(&io->pulling, memory_order_relaxed) > in_pull) {
        rip_kick(io->getters_kick);
    }
    if (link->receiver && link->result >= 0 && link->prompt) {
        int rc = rip_receiver_ack(link->receiver, 1);
        link->result = rc < 0 ? rc : link->result;
    }
    uint32_t events = link->result == RIP_STEP_OUT ? RIP_POLL_IN | RIP_POLL_OUT : RIP_POLL_IN;
    rip_link_poll(io, link, rip_link_is_finished(link) || link->result == RIP_STEP_ROOM ? 0 : events);
    if (link->ready_fd >= 0 && link->result == RIP_STEP_IDLE) {
        rip_sender_update_fd(link->sender);
    }
    rip_link_poll_ready_fd(io, link, link->result == RIP_STEP_IDLE);
    if (rip_link_is_finished(link)) {
        rip_links_kick(io);
    }
}

int rip_links_pause(const struct rip_links *io) {
    uint64_t least = 0;
    for (uint32_t i = 0; i < io->count; i++) {
        uint64_t pause = rip_link_may_send(&io->links[i]) ? rip_sender_pause(io->links[i].sender) : 0;
        least = pause && (!least || pause < least) ? pause : least;
    }
    return least ? rip_to_ms(least) : -1;
}

void rip_links_note_lagging(struct rip_links *io) {
    uint32_t lagging = 0;
    uint64_t now = 0;
    for (uint32_t i = 0; i < io->count && !lagging; i++) {
        if (rip_link_may_send(&io->links[i]) && rip_pacing_is_long(io->links[i].sender)) {
            now = now ? now : rip_now();
            lagging = (uint32_t)rip_link_lags(&io->links[i], now);
        }
    }
    /* relaxed: only a hint */
    atomic_store_explicit(&io->calls.lagging, lagging, memory_order_relaxed);
}
