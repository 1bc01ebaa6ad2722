# Which messages are acknowledged when: a message in work is taken and not acknowledged. Only groups that keep claims
# (shared or durable) need this. An acknowledged message is not redelivered even if views on it are alive.

cdef extern from "Python.h":
    PyThreadState *PyThreadState_Get()
    uint64_t PyThreadState_GetID(PyThreadState *)  # never used again, unlike the ident of a thread

cdef enum:  # workers: threads have ids of the interpreter, tasks numbers of _readiness.py, and there are these two
    NO_WORKER = 0
    A_MESSAGE = -1  # a Message, which any thread or task may release

cdef struct Work:  # a message in work, in the list of its consumer if the group keeps claims
    rip_rx *lane
    uint64_t seq
    uint64_t worker  # NO_WORKER: it is not in work
    Work *before
    Work *after


cdef enum at_end:  # what to do with a message that is no longer referred to
    RELEASE
    REQUEUE  # no work on it has started
    REDELIVER  # work on it has started, and is not complete


cdef object running_loop = None  # asyncio._get_running_loop: a cheap check before the search for a task


cdef uint64_t current_worker(Consumer consumer) except NO_WORKER:
    """Return the number of the caller: the task of an event loop, or else the thread."""
    global running_loop
    cdef uint64_t task = 0
    if running_loop is None and "asyncio" in imported:  # None while another thread imports it
        running_loop = getattr(imported["asyncio"], "_get_running_loop", None)
    if running_loop is not None and running_loop() is not None or "trio" in imported:
        task = _readiness.task_number()
    return task if task else PyThreadState_GetID(PyThreadState_Get())


cdef inline int give_out(Consumer consumer, Hold hold) except -1:
    """Note that `get` returns a view: its message is acknowledged when this worker gets again."""
    if consumer.c.claims:
        enlist(consumer, hold, current_worker(consumer))
    return 0


cdef void enlist(Consumer consumer, Hold hold, uint64_t worker) noexcept:
    """Add a message to the list of messages in work."""
    hold.work = Work(hold.lane, hold.seq, worker, NULL, consumer.works)
    if consumer.works is not NULL:
        consumer.works.before = &hold.work
    consumer.works = &hold.work
    if consumer.c.leaving and worker != <uint64_t>A_MESSAGE:  # another thread has closed the consumer
        end_work(consumer, &hold.work)


cdef void unlist(Consumer consumer, Work *work) noexcept:
    """Remove a message from the list of messages in work."""
    if work.before is not NULL:
        work.before.after = work.after
    else:
        consumer.works = work.after
    if work.after is not NULL:
        work.after.before = work.before
    work.worker = NO_WORKER


cdef void end_work(Consumer consumer, Work *work) noexcept:
    """Acknowledge a message. Views on it may still be alive."""
    unlist(consumer, work)
    if rip_handle_check(&consumer.c.ch.handle) == 0:
        rip_rx_ack(work.lane, work.seq)


cdef void end_works(Consumer consumer, uint64_t worker) noexcept:
    """Acknowledge the messages of a worker; NO_WORKER: of all workers, but not those of `Message` objects."""
    cdef Work *work = consumer.works
    cdef Work *after
    while work is not NULL:
        after = work.after
        if work.worker == worker or worker == NO_WORKER and work.worker != <uint64_t>A_MESSAGE:
            end_work(consumer, work)
        work = after


cdef void end_message(Consumer consumer, Hold hold) noexcept:
    """Acknowledge the message of a `Message`, if that has not been done."""
    if hold.work.worker == <uint64_t>A_MESSAGE:
        end_work(consumer, &hold.work)
