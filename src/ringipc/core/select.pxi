# Selecting messages by type or by a condition.

cdef bytes types_of(object type, rip_filter *filter):
    """Fill in filter from a type argument. It points into the result, which the caller keeps alive."""
    filter.lowest = isinstance(type, str)
    filter.count = 0
    if filter.lowest and type != "lowest":
        raise ValueError(f'type must be an int, several ints, or "lowest", not {type!r}')
    if type is None or filter.lowest:
        return b""
    wanted_types = tuple(type) if isinstance(type, Iterable) else (type,)
    try:
        types = packed("I", wanted_types)
    except OverflowError:
        raise OverflowError(f"type must be from 0 to 2**32 - 1, not {type!r}") from None
    except TypeError:
        raise TypeError(f'type must be an int, several ints, or "lowest", not {type!r}') from None
    if not types:
        raise ValueError("type names no type: give an int, or several")
    cdef bytes memory = types.tobytes()
    filter.count = <uint32_t>len(types)
    filter.types = <const uint32_t *>PyBytes_AS_STRING(memory)
    return memory


cdef int select_type(Consumer consumer, rip_message *message, double seconds, object type) except -1:
    """Take a message of a type. Return as `Consumer.peek`."""
    cdef rip_filter filter
    cdef bytes _types = types_of(type, &filter)  # filter points into it
    if consumer.c is not NULL:
        rip_select_begin(consumer.c, &filter)
    return consumer.wait(0, rip_rx_select, &filter, message, seconds)


cdef Message select_where(Consumer consumer, object timeout, object type, object where):
    """Take a message of a type for which where returns true."""
    cdef rip_message message
    cdef rip_filter filter
    cdef uint64_t deadline = deadline_of(seconds_of(timeout))
    cdef Message candidate
    cdef int rc
    cdef bytes _types = types_of(type, &filter)
    if not callable(where):
        raise TypeError(f"where must be callable, not {where!r}")
    if filter.lowest:
        raise ValueError('type="lowest" cannot be combined with where')
    if consumer.c is not NULL:
        rip_select_begin(consumer.c, &filter)
    while True:
        rc = consumer.wait(0, rip_rx_find, &filter, &message, seconds_until(deadline))
        if rc:
            consumer.fail(rc, timeout)
        # where reads the message in the lane before it is taken. If taking succeeds, the message was unchanged.
        candidate = wrap_message(consumer, &message)
        consumer.c.watches += 1  # its lane stays mapped while other threads use this consumer
        try:
            liked = where(candidate)
            if liked and rip_handle_check(&consumer.c.ch.handle) == 0 and rip_rx_try(consumer.c, &message):
                if message.redelivered >= consumer.limit:
                    bury(consumer, &message, True)
                    continue
                candidate._deliveries = message.redelivered + 1
                candidate._missed = message.missed
                take_charge(consumer, candidate, message.lane)
                return candidate
        except Exception as error:
            if rip_handle_check(&consumer.c.ch.handle) == 0:
                if (candidate.unreadable and not isinstance(error, (MemoryError, RecursionError))
                        and rip_rx_try(consumer.c, &message)):  # skip it, as `get` does without where
                    rip_rx_release(message.lane, message.seq)
                    consumer.settle()
                elif not rip_rx_is_there(&message):
                    continue  # another member had taken it, so where may have read anything
            candidate.release()  # else the exception would keep the message in the lane
            raise
        finally:
            consumer.c.watches -= 1
        candidate.release()
