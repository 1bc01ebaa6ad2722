# What the extension uses of the C core, and of Python's C API without Cython's counting of references.

cdef extern from *:
    """
    #define owned(reference) (reference) /* a new reference becomes Cython's */
    static inline PyObject *given(PyObject *object) { return Py_NewRef(object); } /* one of Cython's, a new reference */
    """
    object owned(PyObject *)
    PyObject *given(object)


cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t)
    void PyErr_Clear()
    void Py_XDECREF(PyObject *)
    PyObject *new_reference "Py_NewRef"(PyObject *)


cdef extern from "<errno.h>" nogil:
    enum: EDEADLK  # missing in libc.errno


cdef extern from "ringipc.h" nogil:
    const uint64_t RIP_FOREVER
    enum rip_wait:
        RIP_WAIT_SPIN
        RIP_WAIT_ADAPTIVE
        RIP_WAIT_BLOCK
    uint64_t rip_now()
    struct rip_waiting:
        uint64_t since
        int control
        void *kept
    void rip_on_wait(void (*)(rip_waiting *) noexcept nogil, int (*)(rip_waiting *) except -EINTR nogil)
    struct rip_shortage:
        uint64_t bytes
        uint64_t free
        bint for_tables
    rip_shortage rip_last_shortage()


cdef extern from "base/common.h" nogil:
    enum: RIP_LINE


cdef extern from "base/wait.h" nogil:
    ctypedef unsigned int rip_word "_Atomic uint32_t"
    struct rip_watch:
        pass
    struct rip_spin:
        rip_wait mode
    int rip_sleep(rip_word *, uint32_t, uint64_t)


cdef extern from "store/table_lock.h" nogil:
    enum: RIP_TRY_ONLY, RIP_OPEN
    struct rip_mapping:
        int fd
    struct rip_handle:
        uint32_t state
        rip_mapping mapping
        uint64_t give_up
    int rip_handle_check(const rip_handle *)
    int rip_handle_begin_close(rip_handle *)
    void rip_handle_set_unattended(rip_handle *)
    int rip_await_lock(rip_handle *, uint64_t) except? -EINTR
    int quietly_await_lock "rip_await_lock"(rip_handle *, uint64_t)  # for a caller that cannot raise


cdef extern from "base/byte_lock.h" nogil:
    int32_t rip_lock_holder(int)


cdef extern from "ringipc.h" nogil:
    enum: RIP_ABI, RIP_MAX_LANES, RIP_MAX_GROUPS, RIP_MAX_CONSUMERS, RIP_MAX_MEMBERS
    enum: RIP_BYTES, RIP_ARRAY, RIP_RECORD, RIP_OBJECT, RIP_OBJECT_PARTS
    enum: RIP_MAX_NDIM, RIP_MAX_CHANNEL_NAME, RIP_MAX_GROUP_NAME
    enum: RIP_OLDEST, RIP_NEWEST, RIP_SHARED, RIP_DURABLE, RIP_LOSSY, RIP_BY_TIME, RIP_MAX_REDELIVERED
    struct rip_slowest:
        char group[48]
        uint32_t shared
        uint32_t members
        int32_t pid
        uint64_t messages
        uint64_t bytes
        uint32_t kept
    struct rip_message:
        const unsigned char *data
        uint64_t length
        uint64_t seq
        uint64_t ticks
        rip_rx *lane
        uint64_t missed
        uint32_t type
        uint8_t kind
        uint8_t redelivered
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
        RIP_DROP_NEW
        RIP_DROP_OLD
    enum: RIP_PREALLOCATE
    enum: RIP_SHARED_LANE
    int rip_producer_open(const char *, uint64_t, uint64_t, uint32_t, rip_wait, const rip_access *,
                          rip_producer **) except? -EINTR
    void rip_producer_undo(rip_producer *)
    void rip_producer_fail(rip_producer *)
    int rip_producer_close(rip_producer *)
    void rip_producer_free(rip_producer *)
    uint64_t rip_producer_backlog(rip_producer *)
    uint64_t rip_producer_bytes(rip_producer *)
    void rip_producer_slowest(rip_producer *, rip_slowest *)
    void rip_producer_unacked(rip_producer *, rip_slowest *)
    int rip_consumer_open(const char *, const char *, uint32_t, rip_wait, uint64_t, rip_consumer **,
                          int32_t *) except? -EINTR
    const uint32_t RIP_NO_END
    void rip_consumer_expect(rip_consumer *, uint32_t)
    void rip_consumer_skip_deaths(rip_consumer *)
    void rip_select_begin(rip_consumer *, rip_filter *)
    int rip_consumer_close(rip_consumer *)
    void rip_consumer_free(rip_consumer *)
    enum: RIP_MAX_LABEL
    void rip_message_label(const rip_rx *, char *)
    uint64_t rip_message_time(const rip_rx *, uint64_t)
    uint64_t rip_array_header_size(const rip_array *)
    void rip_array_write(const rip_array *, unsigned char *)
    int rip_array_read(rip_array *, const unsigned char *, uint64_t)
    int rip_array_check(const rip_array *, uint64_t, uint64_t)
    bint rip_array_matches(const rip_array *, const unsigned char *, uint64_t)
    int rip_consumer_fd(rip_consumer *)
    void rip_consumer_update_fd(rip_consumer *)
    int rip_consumer_rearm_fd(rip_consumer *)
    int rip_consumer_notify(rip_consumer *, int, const int32_t *)
    int rip_producer_fd(rip_producer *)
    void rip_producer_update_fd(rip_producer *)
    int rip_declare(rip_producer *, const char *)
    int rip_set_label(rip_producer *, const char *)
    int rip_set_longest(rip_producer *, uint64_t)
    int rip_has_consumer(rip_producer *, const char *)
    int rip_flush(rip_producer *, uint64_t) except? -EINTR
    struct rip_lane_info:
        uint64_t id
        int32_t pid
        uint32_t state
        uint64_t messages
        uint64_t backlog
    struct rip_group_info:
        char name[48]
        uint32_t flags
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


cdef extern from "ring/arena.h" nogil:
    struct rip_arena:
        uint64_t capacity
        uint64_t allocated


cdef extern from "ring/tx.h" nogil:
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
        uint32_t fill
        uint32_t cut_off
        uint64_t waits
        uint64_t waited
        uint16_t shared
        uint64_t others
        uint64_t longest
    void rip_tx_stamp(rip_producer *)
    void rip_tx_leave(rip_producer *)
    void rip_tx_commit(rip_producer *, uint64_t, uint32_t, uint8_t)
    void rip_tx_publish(rip_producer *)


cdef extern from "ring/large.h" nogil:
    uint64_t rip_large_bytes(const rip_producer *)


cdef extern from "ring/tx_room.h" nogil:
    bint rip_tx_has_room(const rip_producer *, uint64_t)
    bint rip_tx_can_put(rip_producer *, uint64_t)
    int rip_tx_reserve(rip_producer *, uint64_t, unsigned char **)
    void rip_tx_refuse(rip_producer *)


cdef extern from "ring/lane_lock.h" nogil:
    bint rip_lane_is_occupied(const rip_producer *)


cdef extern from "ring/rx.h" nogil:
    struct rip_rx:
        uint64_t next
        uint64_t released
        uint64_t capacity
        void *claims
        uint64_t id
        int32_t pid
        uint32_t shared
    struct rip_consumer:
        rip_channel ch
        rip_rx *lanes[128]
        uint32_t count
        uint32_t leaving
        uint32_t watches
        uint32_t claims
        int32_t died
        uint64_t deaths
        uint64_t taken
        uint64_t bytes
        uint64_t waits
        uint64_t waited
        int (*pull)(rip_io_loop *, const rip_watch *, uint64_t) noexcept nogil
        rip_io_loop *io_loop
    void rip_rx_ack(rip_rx *, uint64_t)
    void rip_rx_take(rip_consumer *, const rip_message *)
    void rip_rx_release_only(rip_rx *, uint64_t)
    void rip_rx_publish_cursor(rip_rx *)
    void rip_rx_release(rip_rx *, uint64_t)
    void rip_rx_release_acked(rip_rx *, uint64_t)


cdef extern from "ring/rx_state.h" nogil:
    uint64_t rip_rx_backlog(rip_consumer *)
    uint64_t rip_rx_missed(const rip_consumer *)
    int32_t rip_rx_blocks(const rip_consumer *)


cdef extern from "ring/rx_next.h" nogil:
    bint rip_rx_peek_near(rip_consumer *, rip_message *)
    bint rip_rx_spin(const rip_consumer *)
    void rip_rx_take_near(rip_consumer *, const rip_message *)
    int rip_rx_peek(rip_consumer *, rip_message *)
    int rip_rx_ready(rip_consumer *, rip_message *)


cdef extern from "ring/select.h" nogil:
    int rip_rx_select(rip_consumer *, rip_filter *, rip_message *)
    int rip_rx_find(rip_consumer *, rip_filter *, rip_message *)
    int rip_rx_try(rip_consumer *, rip_message *)
    bint rip_rx_is_there(const rip_message *)
    void rip_rx_requeue(rip_consumer *, const rip_message *, int)
    void rip_rx_redeliver(rip_consumer *, const rip_message *)


cdef extern from "ring/consumer.h" nogil:
    void rip_consumer_abandon(rip_consumer *)


cdef extern from "ring/put.h" nogil:
    enum: RIP_FILL_NONE, RIP_FILL_COPY, RIP_FILL_RESERVED
    void rip_tx_begin_fill(rip_producer *, int)
    void rip_tx_end_fill(rip_producer *)
    int rip_tx_wait_filled(rip_producer *, uint64_t) except? -EINTR
    int rip_tx_wait_reserve(rip_producer *, uint64_t, uint64_t, unsigned char **) except? -EINTR


cdef extern from "ring/get.h" nogil:
    ctypedef int rip_rx_getter(rip_consumer *, rip_filter *, rip_message *) noexcept nogil
    int rip_rx_next(rip_consumer *, rip_filter *, rip_message *)
    int rip_rx_newest(rip_consumer *, rip_filter *, rip_message *)
    int rip_rx_wait(rip_consumer *, rip_rx_getter *, rip_filter *, rip_message *, uint64_t) except? -EINTR


cdef extern from "stream/sender.h" nogil:
    struct rip_sender:
        pass
    enum: RIP_STEP_END
    int rip_sender_open(rip_consumer *, uint32_t, int, rip_sender **)
    int rip_sender_free(rip_sender *, int)


cdef extern from "stream/receiver.h" nogil:
    struct rip_receiver:
        pass
    int rip_receiver_open(const char *, uint64_t, uint64_t, int32_t, int, int, rip_receiver **) except? -EINTR
    int rip_receiver_set_label(rip_receiver *, const char *)
    void rip_receiver_free(rip_receiver *)


cdef extern from "stream/stream.h" nogil:
    const uint64_t RIP_LARGEST_REMOTE


cdef extern from "stream/io_loop.h" nogil:
    struct rip_io_loop:
        void (*push)(rip_io_loop *) noexcept nogil
        int (*pull)(rip_io_loop *, const rip_watch *, uint64_t) noexcept nogil
    struct rip_end:
        uint64_t id
        uint32_t ordinal
        int why
    bint rip_io_loop_needs_push(const rip_io_loop *)
    int rip_io_loop_open(int, rip_io_loop **)
    int rip_io_loop_add(rip_io_loop *, rip_sender *, rip_receiver *, int, uint64_t *)
    int rip_io_loop_run(rip_io_loop *, rip_end *)
    int rip_io_loop_connect(rip_io_loop *, uint64_t, int, uint64_t)
    void rip_io_loop_disconnect(rip_io_loop *, uint64_t)
    bint rip_io_loop_can(rip_io_loop *, uint64_t, uint64_t)
    void rip_io_loop_finish(rip_io_loop *)
    uint64_t rip_io_loop_progress(rip_io_loop *, uint64_t)
    void rip_io_loop_remove(rip_io_loop *, uint64_t)
    void rip_io_loop_stop(rip_io_loop *)
    void rip_io_loop_free(rip_io_loop *)


cdef extern from "ringipc.h" nogil:
    enum rip_sync_kind:
        RIP_SEMAPHORE
        RIP_LOCK
        RIP_EVENT
        RIP_BARRIER
        RIP_LATEST
        RIP_MEMORY
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
    int rip_semaphore_acquire(rip_sync *, uint32_t, uint64_t) except? -EINTR
    int rip_semaphore_release(rip_sync *, uint32_t)
    uint32_t rip_semaphore_value(const rip_sync *)
    int rip_event_set(rip_sync *)
    int rip_event_clear(rip_sync *)
    int rip_event_is_set(rip_sync *)
    int rip_event_wait(rip_sync *, uint64_t) except? -EINTR
    int rip_barrier_wait(rip_sync *, uint64_t) except? -EINTR
    int rip_barrier_abort(rip_sync *)
    int rip_barrier_reset(rip_sync *)
    int rip_barrier_waiting(rip_sync *)
    int rip_barrier_is_broken(rip_sync *)
    struct rip_value:
        const unsigned char *data
        uint64_t length
        uint64_t seq
        uint64_t ticks
        uint64_t word
        uint8_t kind
    uint64_t rip_latest_capacity(const rip_sync *)
    int rip_latest_begin(rip_sync *, uint64_t, uint64_t, unsigned char **) except? -EINTR
    uint64_t rip_latest_publish(rip_sync *, int, uint64_t, uint8_t)
    void rip_latest_cancel(rip_sync *, int)
    int rip_latest_peek(rip_sync *, rip_value *)
    int rip_latest_wait(rip_sync *, uint64_t, uint64_t, rip_value *) except? -EINTR
    bint rip_latest_is_whole(const rip_sync *, const rip_value *)
    uint64_t rip_latest_time(const rip_sync *, uint64_t)
    int rip_latest_fd(rip_sync *, uint64_t)
    bint rip_latest_update_fd(rip_sync *, uint64_t)


cdef extern from "sync/sync.h" nogil:
    enum: RIP_MAX_WAITERS
    struct rip_latest:
        uint32_t setting
        void *fd
    struct rip_sync:
        rip_handle handle
        uint32_t held
        rip_latest latest
    int rip_sync_check(rip_sync *)


cdef extern from "ringipc.h" nogil:
    struct rip_memory_wish:
        const char *path
        const void *description
        uint32_t description_length
    int rip_memory_open(const char *, int, int64_t, const rip_memory_wish *, rip_wait, rip_sync **) except? -EINTR
    void *rip_memory_data(const rip_sync *, uint64_t *)
    const void *rip_memory_description(const rip_sync *, uint32_t *)
    int rip_memory_flush(rip_sync *)
    int rip_memory_write(rip_sync *, const void *)
    int rip_memory_read(rip_sync *, void *)
    enum rip_number:
        RIP_INT8
        RIP_INT16
        RIP_INT32
        RIP_INT64
        RIP_FLOAT32
        RIP_FLOAT64
    uint64_t rip_number_load(const void *, rip_number)
    void rip_number_store(void *, rip_number, uint64_t)
    uint64_t rip_number_add(void *, rip_number, uint64_t)
    uint64_t rip_number_exchange(void *, rip_number, uint64_t)
    int rip_number_compare_exchange(void *, rip_number, uint64_t *, uint64_t)


cdef extern from "sync/memory.h" nogil:
    ctypedef union rip_lock_word "union rip_word":
        pass
    const int64_t RIP_MAX_MEMORY
    enum rip_recursion:
        RIP_NOT_RECURSIVE
        RIP_RECURSIVE
    int rip_word_enter(rip_sync *, rip_lock_word *, rip_recursion, uint64_t) except? -EINTR
    int rip_word_release(rip_sync *, rip_lock_word *)
    int rip_word_release_any(rip_sync *, rip_lock_word *)
    uint32_t rip_word_count(const rip_sync *, const rip_lock_word *)
    bint rip_word_is_held(const rip_lock_word *)
    bint rip_word_is_mine(const rip_sync *, const rip_lock_word *)
    bint rip_word_owner_died(const rip_lock_word *)
    rip_lock_word *rip_memory_lock(rip_sync *)
    int rip_word_pass_on(rip_sync *, rip_lock_word *)
    uint64_t rip_word_me(const rip_sync *)
    int rip_memory_mend(rip_sync *)
    void rip_memory_stop(rip_sync *)


cdef extern from "sync/count_word.h" nogil:
    void rip_count_start(rip_lock_word *, uint32_t)
    int rip_count_acquire(rip_sync *, rip_lock_word *, uint64_t) except? -EINTR
    int rip_count_release(rip_sync *, rip_lock_word *, uint32_t)
    uint32_t rip_count_units(const rip_lock_word *)


cdef extern from "sync/flag_word.h" nogil:
    int rip_flag_set(rip_sync *, rip_lock_word *)
    int rip_flag_clear(rip_sync *, rip_lock_word *)
    int rip_flag_wait(rip_sync *, rip_lock_word *, uint64_t, uint64_t) except? -EINTR
    uint64_t rip_flag_turn(const rip_lock_word *)
    int rip_flag_is_set(const rip_lock_word *)
    struct rip_condition:
        pass
    rip_lock_word *rip_condition_word(rip_condition *)
    uint64_t rip_condition_turn(const rip_condition *)
    uint64_t rip_condition_arrive(rip_condition *)
    int rip_condition_collect(rip_condition *, uint64_t)
    void rip_condition_leave(rip_condition *)
    void rip_condition_notify(rip_condition *, uint32_t)
    uint32_t rip_condition_waiting(const rip_condition *)
    uint32_t rip_condition_notified(const rip_condition *)
