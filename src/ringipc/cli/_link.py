"""The ways frames cross from one process to the next: a ring, or a multiprocessing.Queue, with the same few calls."""

import multiprocessing.queues
import queue
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from ..consumer import Consumer
from ..errors import ProducerDied
from ..producer import Producer
from ._frame import Record

DEPTH = 3  # frames that may wait in a link, besides the one that its reader has in hand
PATIENCE = 0.5  # seconds; only then is the parent looked at

Room = Callable[[], AbstractContextManager[Record]]
_T = TypeVar("_T")


def patiently(attempt: Callable[[], _T]) -> _T:
    """In a child process: makes an attempt that may time out, again and again for as long as the parent lives."""
    while True:
        try:
            return attempt()
        except (queue.Empty, queue.Full):
            parent = multiprocessing.parent_process()
            if parent is not None and not parent.is_alive():
                sys.exit(1)


@dataclass(frozen=True)
class Reader:
    """The receiving end.

    Attributes
    ----------
    get
        The next record. Takes a timeout in seconds; raises queue.Empty after it, EOFError at the stream's end, and
        where the writer died.
    backlog
        The number of frames that wait.
    """

    get: Callable[[float], Record]
    backlog: Callable[[], int]


class Link(Protocol):
    """Made by the parent, handed to the processes at its two ends."""

    def held(self) -> AbstractContextManager[None]:
        """For the parent: nothing of the link is left behind the with block, whatever has become of the two ends."""

    def writer(self) -> AbstractContextManager[Room]:
        """The sending end: with writer() as room, then for each frame with room() as record. A record is sent when its
        block is left, and the stream ends with the outer one. room waits while DEPTH frames wait."""

    def reader(self) -> AbstractContextManager[Reader]: ...


@dataclass(frozen=True)
class RingLink:
    """A ring: records are written and read in their place in shared memory."""

    channel: str
    dtype: np.dtype[Any]

    @contextmanager
    def held(self) -> Iterator[None]:
        try:
            yield
        finally:
            # The last member to leave a channel removes it. Those that were killed have not left: so be one, and leave.
            with Producer(self.channel, capacity=1), Consumer(self.channel, group="sweeper"):
                pass

    @contextmanager
    def writer(self) -> Iterator[Room]:
        header = 4096  # more than the ring takes to describe the dtype
        with Producer(self.channel, capacity=(DEPTH + 1) * (self.dtype.itemsize + header), slots=DEPTH + 1) as producer:

            @contextmanager
            def room() -> Iterator[Record]:
                with ExitStack() as stack:
                    record: Record = patiently(
                        lambda: stack.enter_context(producer.reserve((), self.dtype, timeout=PATIENCE))
                    )
                    yield record

            yield room

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        with Consumer(self.channel) as consumer:

            def get(timeout: float) -> Record:
                try:
                    record: Record = consumer.get(timeout)
                except ProducerDied as error:
                    raise EOFError("the writer died") from error
                return record

            yield Reader(get, lambda: consumer.stats.backlog)


@dataclass(frozen=True)
class QueueLink:
    """A multiprocessing.Queue: records are pickled, written to a pipe, read from it, and unpickled."""

    queue: "multiprocessing.queues.Queue[Record | None]"  # of maxsize DEPTH; None ends the stream
    dtype: np.dtype[Any]

    @contextmanager
    def held(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.queue.close()

    @contextmanager
    def writer(self) -> Iterator[Room]:
        @contextmanager
        def room() -> Iterator[Record]:
            record = np.empty((), self.dtype)  # a new one each time: the queue's thread pickles it later
            yield record
            patiently(lambda: self.queue.put(record, timeout=PATIENCE))

        try:
            yield room
        except BaseException:
            self.queue.cancel_join_thread()  # nobody may be left to read what is under way
            raise
        self.queue.put(None)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        def get(timeout: float) -> Record:
            try:
                record = self.queue.get(timeout=timeout)
            except OSError as error:
                raise EOFError("the writer died in the middle of a record") from error
            if record is None:
                raise EOFError("the stream has ended")
            return record

        # Our copy of the writing end would keep the pipe open when the writer is dead, and get would wait for ever.
        self.queue._writer.close()  # type: ignore[attr-defined]  # there is no public way
        yield Reader(get, self.queue.qsize)
