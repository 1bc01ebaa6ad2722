# Iteration over messages, each of which is in work until the next one.

cdef class Messages:
    """An iterator over `Message` objects, from `Consumer.messages`."""

    cdef Consumer consumer
    cdef object type
    cdef object where
    cdef Message current

    def __init__(self):
        raise TypeError("only Consumer.messages() makes Messages")

    def __del__(self):
        if self.current is not None:
            self.current.finish(RELEASE if self.current.unreadable else REDELIVER)

    cdef void acknowledge(self) noexcept:
        """Acknowledge the message of the previous step."""
        current, self.current = self.current, None
        if current is not None:
            current.release()

    def __iter__(self):
        return self

    def __next__(self):
        self.acknowledge()
        try:
            self.current = self.consumer.message(type=self.type, where=self.where)
        except errors.EndOfStream:
            raise StopIteration from None
        return self.current

    def __aiter__(self):
        return self

    def __anext__(self):
        return self._anext()

    async def _anext(self):
        self.acknowledge()
        try:
            self.current = await self.consumer.amessage(type=self.type, where=self.where)
        except errors.EndOfStream:
            raise StopAsyncIteration from None
        return self.current


set_signature(Messages, lambda messages: None)


cdef Messages new_messages(Consumer consumer, object type, object where):
    cdef Messages messages = Messages.__new__(Messages)
    messages.consumer = consumer
    messages.type = type
    messages.where = where
    return messages
