# Messages that a group has delivered max_deliveries times: they are moved to the dead letters, or dropped.

cdef enum:
    NO_LIMIT = 256  # more than any rip_message.redelivered

cdef int bury(Consumer consumer, rip_message *message, bint taken) except -1:
    """Take a message, which this member has claimed, out of the queue. If that fails, the message stays in it.

    It is moved before it is released. So if this process is killed in between, another member moves it again.
    """
    cdef bint moved = False
    if not taken:
        rip_rx_take(consumer.c, message)
    consumer.holds += 1  # a close() in another thread leaves the lane mapped, and the message taken
    try:
        move(consumer, message)
        moved = True
    finally:
        if moved:
            consumer.c.taken -= 1  # it was not got
            consumer.c.bytes -= message.length
            consumer.dead += 1
            consumer.let_go(message.lane, message.seq)
        else:
            consumer.let_back(message.lane, message.seq, message.length, False)
    return 0


cdef int move(Consumer consumer, const rip_message *message) except -1:
    """Put a message into the dead letters, if there are any, and log the first one."""
    cdef Producer letters = consumer.letters
    cdef bint kept = False
    if consumer.dead_letters is not None:
        if letters is None:
            letters = Producer(consumer.dead_letters, capacity=message.lane.capacity, overflow="drop-new")
            consumer.letters = letters
        kept = letters.forward(message.data, message.length, message.type, message.kind)
    if consumer.dead == 0:
        import logging
        logging.getLogger("ringipc").warning(
            "channel %r: message %d of the producer with pid %d was delivered %d times to group %r and is not done; "
            "it was %s; later ones are only counted (stats.dead)",
            str(consumer.channel), message.seq, 0 if message.lane.shared else message.lane.pid, message.redelivered,
            consumer.group,
            f"moved to {str(consumer.dead_letters)!r}" if kept else "dropped"
        )
    return 0
