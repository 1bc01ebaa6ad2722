# Which messages are done when: a message in work is taken and not acknowledged. Only groups that keep claims (shared or
# durable) need this. What `get` gives out, a copy or a view, is done when the same worker gets again. Until then the
# message stays in its lane, so that it can be redelivered. When it is done it is released if no view on it is alive,
# else acknowledged: it is not redelivered, and the last view releases it. In other groups, what `get` gives out is done
# at once; so it is in a consumer that has _done_at_once.

cdef extern from "Python.h":
    PyThreadState *PyThreadState_Get()
    uint64_t PyThreadState_GetID(PyThreadState *)  # never used again, unlike the ident of a thread

cdef enum:  # workers: threads have ids of the interpreter, tasks numbers of _readiness.py, and there are these two
    NO_WORKER = 0  # all workers
    A_MESSAGE = -1  # a Message, which any thread or task may release

cdef struct Work:  # a message in work, in the list of its consumer if the group keeps claims
    rip_rx *lane
    uint64_t seq
    uint64_t length
    uint64_t worker
    PyObject *hold  # the Hold of views on the message, or of its `Message`; NULL: a copy was given out
    Work *before
    Work *after


cdef enum at_end:  # what to do with a message that is no longer referred to
    RELEASE
    REQUEUE  # no work on it has started
    REDELIVER  # work on it has started, and is not complete


cdef dict modules = imported  # typed, for quick look-ups
cdef object running_loop = None  # asyncio._get_running_loop: a cheap check before the search for a task


cdef uint64_t current_worker(Consumer consumer) except NO_WORKER:
    """Return the number of the caller: the task of an event loop, or else the thread."""
    global running_loop
    cdef uint64_t task = 0
    if running_loop is None and "asyncio" in modules:  # None while another thread imports it
        running_loop = getattr(modules["asyncio"], "_get_running_loop", None)
    if running_loop is not None and running_loop() is not None or "trio" in modules:
        task = _readiness.task_number()
    return task if task else PyThreadState_GetID(PyThreadState_Get())


cdef inline int begin_get(Consumer consumer) except -1:
    """Note that this worker gets: what it has got before is done."""
    consumer.worker = current_worker(consumer)
    consumer.thread = PyThreadState_Get()
    if consumer.works is not NULL:
        end_works(consumer, consumer.worker)
    return 0


cdef inline uint64_t getter(Consumer consumer) except NO_WORKER:
    """Return the number of the caller, which has called `begin_get`."""
    # a call of `get` stays in its thread and task, but another thread may have called `begin_get` meanwhile
    return consumer.worker if consumer.thread == PyThreadState_Get() else current_worker(consumer)


cdef inline int give_out(Consumer consumer, Hold hold) except -1:
    """Note that `get` returns what a Hold keeps, or a copy of it: it is done when this worker gets again."""
    if consumer.lists_works():
        enlist(consumer, hold.lane, hold.seq, hold.length, <PyObject *>hold, getter(consumer))
    elif consumer.c.claims and Py_REFCNT(<PyObject *>hold) == 1:
        pass  # no view is alive: the caller is about to release it
    elif rip_handle_check(&consumer.c.ch.handle) == 0:
        rip_rx_ack(hold.lane, hold.seq)  # a view that lives on holds nothing else back
    return 0


cdef inline int give_out_copy(Consumer consumer, const rip_message *message, bint publish) except -1:
    """Note that `get` returns a copy of a message: in a group without claims it is done, and is released."""
    if consumer.lists_works():
        enlist(consumer, message.lane, message.seq, message.length, NULL, getter(consumer))
    else:
        rip_rx_release_only(message.lane, message.seq)
        if publish:
            rip_rx_publish_cursor(message.lane)
    return 0


cdef int pass_on(Consumer consumer, Hold hold) except -1:
    """Make this worker responsible for a message in place of its `Message`: it is done when the worker gets again."""
    if hold.work is not NULL:
        hold.work.worker = getter(consumer)
        if consumer.c.leaving or consumer._done_at_once:  # another thread may have closed the consumer
            end_work(consumer, hold.work)
    return 0


cdef void enlist(
    Consumer consumer, rip_rx *lane, uint64_t seq, uint64_t length, PyObject *hold, uint64_t worker
) noexcept:
    """Add a message to the list of messages in work."""
    cdef Work *work = consumer.spare_works
    if work is not NULL:
        consumer.spare_works = work.after
    else:
        work = <Work *>PyMem_Malloc(sizeof(Work))
        if work is NULL:  # the message stays taken, and is redelivered when the consumer has left
            return
    work[0] = Work(lane, seq, length, worker, hold, consumer.last_work, NULL)
    if consumer.last_work is not NULL:
        consumer.last_work.after = work
    else:
        consumer.works = work
    consumer.last_work = work
    if hold is not NULL:
        (<Hold>hold).work = work
    if cython.unlikely(consumer.c.leaving and worker != <uint64_t>A_MESSAGE):  # another thread has closed the consumer
        end_work(consumer, work)


cdef void unlist(Consumer consumer, Work *work) noexcept:
    """Remove a message from the list of messages in work."""
    if work.before is not NULL:
        work.before.after = work.after
    else:
        consumer.works = work.after
    if work.after is not NULL:
        work.after.before = work.before
    else:
        consumer.last_work = work.before
    if work.hold is not NULL:
        (<Hold>work.hold).work = NULL
    work.after = consumer.spare_works
    consumer.spare_works = work


cdef void end_work(Consumer consumer, Work *work) noexcept:
    """End the work on a message: it is done, unless an exception has closed the consumer; then it is given back."""
    cdef rip_message message
    cdef bint viewed = work.hold is not NULL
    if consumer.gives_back and viewed:
        (<Hold>work.hold).end = REDELIVER  # when the last view is gone
    elif rip_handle_check(&consumer.c.ch.handle) != 0:
        pass  # the consumer has left its group, and so has given back all that it had taken
    elif consumer.gives_back:
        message.lane, message.seq, message.length = work.lane, work.seq, work.length
        rip_rx_redeliver(consumer.c, &message)
    elif viewed:
        rip_rx_ack(work.lane, work.seq)
    else:
        rip_rx_release(work.lane, work.seq)
    unlist(consumer, work)


cdef void end_works(Consumer consumer, uint64_t worker) noexcept:
    """End the work of a worker; NO_WORKER: of all workers, but not that of `Message` objects."""
    cdef Work *work = consumer.works
    cdef Work *after
    while work is not NULL:
        after = work.after
        if work.worker == worker or worker == NO_WORKER and work.worker != <uint64_t>A_MESSAGE:
            end_work(consumer, work)
        work = after


cdef void end_message(Consumer consumer, Hold hold) noexcept:
    """Acknowledge the message of a `Message`, if it is still responsible for it."""
    if hold.lane is not NULL and not consumer.c.claims and rip_handle_check(&consumer.c.ch.handle) == 0:
        rip_rx_ack(hold.lane, hold.seq)
    if hold.work is not NULL and hold.work.worker == <uint64_t>A_MESSAGE:
        if rip_handle_check(&consumer.c.ch.handle) == 0:
            rip_rx_ack(hold.lane, hold.seq)
        unlist(consumer, hold.work)


cdef void free_works(Work *work) noexcept:
    """Free the entries of a list."""
    cdef Work *after
    while work is not NULL:
        after = work.after
        PyMem_Free(work)
        work = after
