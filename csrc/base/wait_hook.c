#include "base/wait_hook.h"

#include <errno.h>

static rip_before_wait *before; /* both are set before the first handle is opened: no lock is needed */
static rip_after_wait *after;

void rip_on_wait(rip_before_wait *before_wait, rip_after_wait *after_wait) {
    before = before_wait;
    after = after_wait;
}

int rip_has_wait_hook(void) { return after != NULL; }

void rip_wait_begin(struct rip_waiting *waiting) {
    if (before) {
        before(waiting);
    }
}

int rip_wait_end(struct rip_waiting *waiting, int rc) {
    if (!after) {
        return rc;
    }
    return after(waiting) ? -EINTR : rc == -EINTR ? 0 : rc;
}
