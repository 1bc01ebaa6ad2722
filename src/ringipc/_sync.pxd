"""What the skin sees of semaphores, locks, events and barriers."""

from libc.errno cimport EINTR
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from ringipc._wait cimport rip_handle, rip_wait, rip_watch


cdef extern from "ringipc.h" nogil:
    enum rip_sync_kind:
        RIP_SEMAPHORE
        RIP_LOCK
        RIP_EVENT
        RIP_BARRIER
    enum: RIP_MUST_BE, RIP_MAX_UNITS, RIP_MAX_PARTIES, RIP_MAX_HANDLES
    int rip_sync_open(const char *, int, rip_sync_kind, int64_t, int, rip_wait, rip_sync **) except? -EINTR
    int rip_sync_fd(rip_sync *)
    uint32_t rip_sync_value(const rip_sync *)
    int rip_sync_close(rip_sync *)
    void rip_sync_free(rip_sync *)
    struct rip_sync_info_at "rip_sync_info":
        uint32_t kind
        uint32_t handles
        int32_t pid[RIP_MAX_HANDLES]
    int rip_sync_info(const char *, rip_sync_info_at *) except? -EINTR
    int rip_sync_clean_up(const char *) except? -EINTR
    int rip_semaphore_release(rip_sync *, uint32_t)
    uint32_t rip_semaphore_value(const rip_sync *)
    int rip_event_set(rip_sync *)
    int rip_event_clear(rip_sync *)
    int rip_event_is_set(rip_sync *)
    int rip_barrier_abort(rip_sync *)
    int rip_barrier_reset(rip_sync *)
    int rip_barrier_waiting(rip_sync *)
    int rip_barrier_is_broken(rip_sync *)


cdef extern from "sync/sync.h" nogil:
    enum: RIP_MAX_WAITERS
    struct rip_sync:
        rip_handle handle
        uint32_t held
    struct rip_ticket:
        pass
    int rip_sync_check(rip_sync *)
    void rip_sync_reap_if_due(rip_sync *)
    void rip_sync_watch(rip_sync *, uint64_t, rip_watch *)
    uint64_t rip_sync_load(const rip_sync *)
    int rip_units_try(rip_sync *, uint32_t)
    int rip_ticket_take(rip_sync *, uint32_t, rip_ticket *)
    int rip_ticket_try(rip_sync *, rip_ticket *)
    void rip_ticket_cancel(rip_sync *, const rip_ticket *)
    void rip_ticket_watch(rip_sync *, const rip_ticket *, rip_watch *)
    int rip_event_is_over(const rip_sync *, uint64_t)
    int rip_barrier_arrive(rip_sync *, uint64_t *)
    int rip_barrier_is_over(const rip_sync *, uint64_t)
    void rip_barrier_give_up(rip_sync *, uint64_t)
