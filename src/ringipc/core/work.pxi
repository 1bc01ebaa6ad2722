# Messages in work: where the group keeps claims, a message that is done is not redelivered,
# though views on it are alive.

cdef extern from "Python.h":
    PyThreadState *PyThreadState_Get()
    uint64_t PyThreadState_GetID(PyThreadState *)  # unlike a thread's ident it is never used again

cdef enum:  # workers beside the threads, which have the interpreter's numbers, and tasks, numbered by _readiness.py
    NO_WORKER = 0
    A_MESSAGE = -1  # the block of a Message

cdef struct Work:  # a message in work; where the group keeps claims, all of a consumer's are in a list
    rip_rx *lane
    uint64_t seq
    uint64_t worker  # NO_WORKER: it is not in work
    Work *before
    Work *after


cdef enum at_end:  # what becomes of a message when nobody refers to it any more
    RELEASE
    REQUEUE  # no work on it has started
    REDELIVER  # work on it has started, and is not complete


cdef object running_loop = None  # asyncio's function, which says what is cheap to know before a task is looked for


cdef uint64_t current_worker(Consumer consumer) except NO_WORKER:
    """Who is calling: the task of an event loop, or else the thread."""
    global running_loop
    cdef uint64_t task = 0
    if running_loop is None and "asyncio" in imported:  # missing while another thread imports it
        running_loop = getattr(imported["asyncio"], "_get_running_loop", None)
    if running_loop is not None and running_loop() is not None or "trio" in imported:
        task = _readiness.task_number()
    return task if task else PyThreadState_GetID(PyThreadState_Get())


cdef inline int give_out(Consumer consumer, Hold hold) except -1:
    """A view on it is what `get` returns: it is done when this worker gets again."""
    if consumer.c.claims:
        enlist(consumer, hold, current_worker(consumer))
    return 0


cdef void enlist(Consumer consumer, Hold hold, uint64_t worker) noexcept:
    hold.work = Work(hold.lane, hold.seq, worker, NULL, consumer.works)
    if consumer.works is not NULL:
        consumer.works.before = &hold.work
    consumer.works = &hold.work
    if consumer.c.leaving and worker != <uint64_t>A_MESSAGE:  # closed meanwhile by another thread
        end_work(consumer, &hold.work)


cdef void unlist(Consumer consumer, Work *work) noexcept:
    if work.before is not NULL:
        work.before.after = work.after
    else:
        consumer.works = work.after
    if work.after is not NULL:
        work.after.before = work.before
    work.worker = NO_WORKER


cdef void end_work(Consumer consumer, Work *work) noexcept:
    """It is done; views on it may be alive."""
    unlist(consumer, work)
    if rip_handle_check(&consumer.c.ch.handle) == 0:
        rip_rx_ack(work.lane, work.seq)


cdef void end_works(Consumer consumer, uint64_t worker) noexcept:
    """What this worker was given is done; what all were given, if it is NO_WORKER. A Message ends by itself."""
    cdef Work *work = consumer.works
    cdef Work *after
    while work is not NULL:
        after = work.after
        if work.worker == worker or worker == NO_WORKER and work.worker != <uint64_t>A_MESSAGE:
            end_work(consumer, work)
        work = after


cdef void end_message(Consumer consumer, Hold hold) noexcept:
    """The block of a `Message` has ended."""
    if hold.work.worker == <uint64_t>A_MESSAGE:
        end_work(consumer, &hold.work)
