"""What the skin sees of the C core."""

from libc.errno cimport EINTR
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from ringipc._wait cimport rip_handle_check, rip_handle, rip_spin, rip_wait, rip_watch


cdef extern from "ringipc.h" nogil:
    enum: RIP_ABI, RIP_MAX_LANES, RIP_MAX_GROUPS, RIP_MAX_MEMBERS
    enum: RIP_BYTES, RIP_ARRAY, RIP_RECORD, RIP_OBJECT, RIP_MAX_NDIM, RIP_MAX_CHANNEL_NAME, RIP_MAX_GROUP_NAME
    enum: RIP_NEWEST, RIP_SHARED, RIP_DURABLE, RIP_REDELIVERED
    struct rip_slowest:
        char group[48]
        uint32_t shared
        uint32_t members
        int32_t pid
        uint64_t messages
        uint64_t bytes
    struct rip_message:
        const unsigned char *data
        uint64_t length
        uint64_t seq
        uint64_t ticks
        rip_rx *lane
        uint64_t missed
        uint32_t type
        uint8_t kind
        uint8_t flags
    struct rip_filter:
        const uint32_t *types
        uint32_t count
        uint32_t lowest
    struct rip_array:
        const char *dtype
        uint32_t dtype_length
        uint8_t ndim
        uint8_t fortran
        uint64_t shape[RIP_MAX_NDIM]
        uint64_t header
    struct rip_access:
        uint32_t mode
        uint32_t group
    enum rip_overflow:
        RIP_BLOCK
    enum: RIP_PREALLOCATE
    int rip_producer_open(const char *, uint64_t, uint64_t, uint32_t, rip_wait, const rip_access *,
                          rip_producer **) except? -EINTR
    void rip_producer_undo(rip_producer *)
    int rip_producer_close(rip_producer *)
    void rip_producer_free(rip_producer *)
    uint64_t rip_producer_backlog(rip_producer *)
    uint64_t rip_producer_bytes(rip_producer *)
    void rip_producer_slowest(rip_producer *, rip_slowest *)
    int rip_consumer_open(const char *, const char *, uint32_t, rip_wait, uint64_t, rip_consumer **,
                          int32_t *) except? -EINTR
    void rip_select_begin(rip_consumer *, rip_filter *)
    int rip_consumer_close(rip_consumer *)
    void rip_consumer_free(rip_consumer *)
    uint64_t rip_message_time(const rip_rx *, uint64_t)
    uint64_t rip_array_header_size(const rip_array *)
    void rip_array_write(const rip_array *, unsigned char *)
    int rip_array_read(rip_array *, const unsigned char *, uint64_t)
    int rip_array_check(const rip_array *, uint64_t, uint64_t)
    int rip_consumer_fd(rip_consumer *)
    void rip_consumer_update_fd(rip_consumer *)
    int rip_consumer_rearm_fd(rip_consumer *)
    int rip_consumer_notify(rip_consumer *, int, const int32_t *)
    int rip_producer_fd(rip_producer *)
    void rip_producer_update_fd(rip_producer *)
    int rip_declare(rip_producer *, const char *)
    struct rip_lane_info:
        uint64_t id
        int32_t pid
        uint32_t state "is"
        uint64_t messages
        uint64_t backlog
    struct rip_group_info:
        char name[48]
        uint32_t how
        uint64_t backlog
    struct rip_member_info:
        int32_t pid
        int32_t group
    struct rip_inspection:
        uint32_t lanes
        uint32_t groups
        uint32_t members
        uint32_t end_waits
        rip_lane_info lane[RIP_MAX_LANES]
        rip_group_info group[RIP_MAX_GROUPS]
        rip_member_info member[RIP_MAX_MEMBERS]
    int rip_inspect(const char *, rip_inspection *) except? -EINTR
    int rip_remove(const char *, int32_t *) except? -EINTR
    int rip_remove_group(const char *, const char *, int32_t *) except? -EINTR
    int rip_clean_up(const char *) except? -EINTR
    int rip_directory()
    const char *rip_base()
    int rip_channel_fd()


cdef extern from "channel/channel.h" nogil:
    struct rip_channel:
        rip_handle handle
        rip_spin spin
        void *pollfd
    void rip_reap_if_due(rip_channel *)


cdef extern from "ring/arena.h" nogil:
    struct rip_arena:
        uint64_t capacity
        uint64_t allocated


cdef extern from "ring/lane.h" nogil:
    struct rip_producer:
        rip_channel ch
        uint64_t slots
        uint64_t tail
        uint64_t published
        uint64_t bytes
        uint64_t wanted
        uint64_t keep
        uint64_t dropped
        uint64_t refused
        rip_overflow overflow
        rip_arena arena
    struct rip_rx:
        uint64_t next
        uint64_t released
        void *claims
        uint64_t id
        int32_t pid
    struct rip_consumer:
        rip_channel ch
        rip_rx *lanes[128]
        uint32_t count
        uint32_t watches
        uint32_t claims
        int32_t died
        uint64_t taken
        uint64_t bytes
    int rip_tx_reserve(rip_producer *, uint64_t, unsigned char **)
    void rip_tx_refuse(rip_producer *)
    void rip_tx_stamp(rip_producer *)
    void rip_tx_commit(rip_producer *, uint64_t, uint32_t, uint8_t)
    void rip_tx_publish(rip_producer *)
    void rip_room_watch(rip_producer *, rip_watch *)
    int rip_rx_peek(rip_consumer *, rip_message *)
    int rip_rx_pending(rip_consumer *)
    int rip_rx_spin(const rip_consumer *, unsigned)
    bint rip_may_sleep_briefly(const rip_consumer *)
    void rip_brief_sleep()
    int rip_rx_ready(rip_consumer *, rip_message *)
    int rip_rx_select(rip_consumer *, rip_filter *, rip_message *)
    int rip_rx_find(rip_consumer *, rip_filter *, rip_message *)
    int rip_rx_try(rip_consumer *, rip_message *)
    bint rip_rx_is_there(const rip_message *)
    void rip_rx_requeue(rip_consumer *, const rip_message *)
    void rip_rx_ack(rip_rx *, uint64_t)
    int rip_rx_latest(rip_consumer *, rip_message *)
    void rip_rx_take(rip_consumer *, const rip_message *)
    void rip_consumer_abandon(rip_consumer *)
    void rip_rx_release_only(rip_rx *, uint64_t)
    void rip_rx_publish_cursor(rip_rx *)
    void rip_rx_release(rip_rx *, uint64_t)
    uint64_t rip_rx_backlog(rip_consumer *)
    uint64_t rip_rx_missed(const rip_consumer *)
    int32_t rip_rx_blocks(const rip_consumer *)
    void rip_rx_pass_wakeup(rip_consumer *)
    void rip_message_watch(rip_consumer *, const rip_filter *, rip_watch *)
