"""Links between two processes of the demo, with one interface: a channel, or a multiprocessing.Queue."""

import multiprocessing.queues
import queue
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from ..._core import Consumer, Producer
from ...errors import ProducerFailed
from .frame import Record

DEPTH = 3  # frames in a link, in addition to the one that its reader works on
PATIENCE = 0.5  # seconds between checks that the parent is alive

Room = Callable[[], AbstractContextManager[Record]]
_T = TypeVar("_T")


def patiently(attempt: Callable[[], _T]) -> _T:
    """Repeat an attempt that times out while the parent lives. For a child process."""
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
        The next record. Takes a timeout in seconds; raises queue.Empty after it, and EOFError at the end of the stream
        or if the writer failed or died. (The parent reads why from that process.)
    backlog
        Number of frames in the link.
    """

    get: Callable[[float], Record]
    backlog: Callable[[], int]


class Link(Protocol):
    """Made by the parent, which passes it to the processes at its two ends."""

    def held(self) -> AbstractContextManager[None]:
        """Remove the link at the end of the with block, however the two ends have ended. For the parent."""

    def writer(self) -> AbstractContextManager[Room]:
        """Return the sending end.

        Write with writer() as room, then for each frame with room() as record. A record is sent when its block ends,
        and the stream ends with the outer block. room waits while DEPTH frames are in the link.
        """

    def reader(self) -> AbstractContextManager[Reader]: ...


@dataclass(frozen=True)
class RingLink:
    """A channel: records are written and read in shared memory."""

    channel: str
    dtype: np.dtype[Any]

    @contextmanager
    def held(self) -> Iterator[None]:
        try:
            yield
        finally:
            # The last member to leave a channel removes it. Killed members have not left, so join and leave.
            with Producer(self.channel, capacity=1), Consumer(self.channel, group="cleanup"):
                pass

    @contextmanager
    def writer(self) -> Iterator[Room]:
        header = 4096  # more than the header of the message
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
                except ProducerFailed as error:
                    raise EOFError("the writer failed") from error
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
            record = np.empty((), self.dtype)  # a new one, because the queue's thread pickles it later
            yield record
            patiently(lambda: self.queue.put(record, timeout=PATIENCE))

        try:
            yield room
        except BaseException:
            self.queue.cancel_join_thread()  # the pipe may have no reader
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

        # With this copy of the writing end, get would wait for ever if the writer died.
        self.queue._writer.close()  # type: ignore[attr-defined]  # there is no public attribute
        yield Reader(get, self.queue.qsize)
