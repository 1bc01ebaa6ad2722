"""A ring between processes: an anonymous channel, and the handles of this process on it."""

import os
import threading
import weakref
from typing import Any

from .. import _atexit, errors
from .._arguments import Wait
from .._core import Consumer, Producer
from ..channel import Channel

_CAPACITY = 4 << 30  # bytes of a lane, and of the longest object; memory is allocated as objects need it
_SLOTS = 8192  # a pipe holds no more messages; programs put so many and join the process before they get
_rings: "weakref.WeakSet[Ring]" = weakref.WeakSet()  # of this process


def _open_producer(channel: Channel, wait: Wait) -> Producer:
    return Producer(channel, lane="shared", capacity=_CAPACITY, slots=_SLOTS, pickle=True, wait=wait)


def _open_consumer(channel: Channel, wait: Wait, copy: bool) -> Consumer:
    consumer = Consumer(
        channel,
        group="readers",
        shared=True,
        durable=True,
        order="time",  # one lane ends when all its writers have closed, and others may begin another one
        producers=None,
        deaths="skip",
        copy=copy,
        pickle=True,
        wait=wait,
    )
    consumer._done_at_once = True
    return consumer


def _forget_handles() -> None:
    """Forget the handles of the parent, in a forked child: they are not this process's."""
    for ring in list(_rings):
        ring._reset()


os.register_at_fork(after_in_child=_forget_handles)


class Ring:
    """Objects from any number of processes to any number of others, each to one of them.

    Each process opens its handles when it needs them first. Processes that come and go, or are killed, stop no other,
    and leave what they have put. The handles are open at exit until all finalizers of `multiprocessing` have run.

    Parameters
    ----------
    copy
        False: arrays that come out are views of the ring.
    wait
        How this process and those that it passes the ring to wait.
    producers
        The stream ends when this many processes have put and have closed or died. None: it never ends.
    """

    _producer: Producer | None
    _consumer: Consumer | None

    def __init__(
        self,
        channel: Channel | None = None,
        *,
        copy: bool = True,
        wait: Wait = "adaptive",
        producers: int | None = None,
    ) -> None:
        self._channel = channel if channel is not None else Channel.anonymous()
        self._copy = copy
        self._wait: Wait = wait
        self._producers = producers
        _rings.add(self)
        self._reset()

    def _reset(self) -> None:
        """Be as in a process that has just received this ring."""
        self._producer = None
        self._consumer = None
        self._opening = threading.Lock()  # held while handles are opened and closed
        self._reads = True  # the reading end is open
        self._writes = True

    def __getstate__(self) -> Any:
        return self._channel, self._copy, self._wait, self._producers

    def __setstate__(self, state: Any) -> None:
        self._channel, self._copy, self._wait, self._producers = state
        _rings.add(self)
        self._reset()

    def send(self, obj: Any) -> None:
        """Send an object; wait while there is no room.

        Raises
        ------
        OSError
            The writing end is closed in this process.
        Exception
            The object cannot be pickled: what its pickling has raised.
        """
        try:
            (self._producer or self._get_producer()).put(obj)
        except errors.UnsafeMessage as error:
            raise (error.__cause__ or error) from None

    def _get_producer(self) -> Producer:
        with self._opening:
            if not self._writes:
                raise OSError("handle is closed")
            if self._producer is None:
                self._producer = _open_producer(self._channel, self._wait)
                self._own(self._producer)
            return self._producer

    def _get_consumer(self) -> Consumer:
        with self._opening:
            if not self._reads:
                raise OSError("handle is closed")
            if self._consumer is None:
                self._consumer = _open_consumer(self._channel, self._wait, self._copy)
                self._consumer._expect(self._producers if self._writes else 1, True)
                self._own(self._consumer)
            return self._consumer

    def _own(self, handle: Producer | Consumer) -> None:
        _atexit.close_last(handle)  # finalizers of multiprocessing may use it

    def close_ends(self) -> None:
        self.close_reader()
        self.close_writer()

    def close_reader(self) -> None:
        with self._opening:
            self._reads = False
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def close_writer(self) -> None:
        """Close the producer. Then the stream ends for this process when all others that have put have closed."""
        with self._opening:
            self._writes = False
            producer, self._producer = self._producer, None
            if self._consumer is not None:
                self._consumer._expect(1, True)
        if producer is not None:
            producer.close()
