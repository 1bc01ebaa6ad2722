#include "sync/lock_word.h"

/* A waiter leaves without the lock. */
static int leave(union rip_word *word, int rc) {
    rip_word_give_up(word);
    return rc;
}

int rip_word_acquire(struct rip_sync *s, union rip_word *word, enum rip_recursion recursion, uint64_t deadline) {
    struct rip_watch watch;
    int rc = rip_sync_check(s), fd = s->handle.mapping.fd;
    rc = rc ? rc : rip_word_try(word, rip_word_me(s), recursion, fd, 1);
    if (rc == -EAGAIN && deadline == 0) {
        return -ETIMEDOUT;
    }
    for (int waited = 1; rc == -EAGAIN;) {
        rip_word_watch(s, word, rip_word_load(word), RIP_WORD_WAITERS, &watch);
        /* looks for the dead once in a slice */
        rc = rip_word_try(word, rip_word_me(s), recursion, fd, waited != 1);
        if (rc != -EAGAIN) {
            return rc;
        }
        if (waited == -ETIMEDOUT) {
            return leave(word, waited);
        }
        waited = rip_watch_wait(&watch, deadline);
        int closed = rip_handle_check(&s->handle);
        if (closed || (waited < 0 && waited != -ETIMEDOUT)) {
            return leave(word, closed ? closed : waited);
        }
    }
    return rc;
}
