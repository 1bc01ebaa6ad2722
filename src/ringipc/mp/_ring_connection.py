"""Connections over rings in shared memory, with a Unix socket beside them."""

import errno
import io
import os
import pickle
import select
import socket
import threading
from collections.abc import Callable
from multiprocessing import connection as standard
from multiprocessing.connection import wait
from time import monotonic as _now
from typing import Any

from .. import errors
from .._arguments import Wait
from .._core import Consumer, Producer
from .._passing import Passed
from ..channel import Channel
from ._ring import Ring
from ._stream_connection import dumps

PEER_SECONDS = 10.0  # that a peer has to prove that it knows the key, and to pass its rings
_SLICE = 0.5  # seconds of a wait in a ring until the next look at the peer
_SHORT_SLICE = 0.05  # the same, where only the socket can tell that the peer is gone
CHECK_EVERY = 0.001  # seconds in which `send` over rings may miss that the peer is gone
_MARK = b"ringipc rings"  # comes with the file descriptors of the rings

_Rings = tuple[Ring | None, Ring | None]  # to receive from, and to send to
_Base: Any = standard._ConnectionBase  # for type checkers, which do not know what subclasses use


class _Bytes:
    """Bytes that were sent as an object. Messages that come out as bytes were sent by `send_bytes`."""

    __slots__ = ("value",)

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _Bytes, (self.value,)


class RingConnection(_Base):  # type: ignore[misc]
    """A connection over rings in shared memory, one for each direction, with the methods of `Connection`.

    A Unix socket beside the rings tells when the other end is gone: when all processes that had it have closed it or
    have ended, however that was. `send` notices this within a millisecond, `recv` after half a second at most. `fileno`
    returns a file descriptor to wait for, not that of the socket.
    """

    def __init__(self, handle: int, rings: _Rings | None, wait: Wait) -> None:
        """rings: None: the peer passes them over the socket. wait: how to wait in these."""
        receiving, sending = rings or (None, None)
        super().__init__(handle, not rings or receiving is not None, not rings or sending is not None)
        self._wait: Wait = wait
        self._receiving = receiving
        self._sending = sending
        self._awaits_rings = rings is None
        self._lock = threading.Lock()  # held while the rings are received
        self._deadline: float | None = None  # as in Connection
        self._slice = _SLICE
        self._look_at = 0.0  # when `send` has to look at the peer again
        self._epoll: select.epoll | None = None
        self._polled: Consumer | None = None  # the consumer in it

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        self._check_closed()
        self._await_rings()
        return _rebuild_ring, (Passed(self._handle), (self._receiving, self._sending), self._wait)

    def _await_rings(self) -> None:
        """Receive the rings, if this connection was accepted and has not received them yet."""
        with self._lock:
            if self._awaits_rings:
                self._receiving, self._sending = _receive_rings(self._handle, self._wait)
                self._awaits_rings = False

    def _get_consumer(self) -> Consumer:
        if self._awaits_rings:
            self._await_rings()
        ring = self._receiving
        if ring is None:
            raise OSError("handle is closed")
        return ring._consumer or ring._get_consumer()

    def _get_producer(self) -> Producer:
        if self._awaits_rings:
            self._await_rings()
        ring = self._sending
        if ring is None:
            raise OSError("handle is closed")
        return ring._producer or ring._get_producer()

    def _close(self) -> None:
        os.close(self._handle)  # first: a peer that finds the end of the stream then looks at the socket
        if self._epoll is not None:
            self._epoll.close()
        for ring in (self._receiving, self._sending):
            if ring is not None:
                ring.close_ends()
        self._receiving = self._sending = None

    def _is_alone(self) -> bool:
        """Return whether the other end is gone."""
        self._check_closed()
        poller = select.poll()
        poller.register(self._handle, 0)
        return bool(poller.poll(0))

    def send(self, obj: Any) -> None:
        """Send an object, which is pickled; its arrays are copied once.

        Raises
        ------
        BrokenPipeError
            The other end is gone.
        """
        ring = self._sending
        if ring is not None and ring._producer is not None and type(obj) is not bytes and _now() < self._look_at:
            try:
                ring._producer.put_nowait(obj)
                return
            except (errors.Full, errors.Closed, errors.UnsafeMessage):
                pass  # again, with all checks
        self._check_closed()
        self._check_writable()
        self._put(_Bytes(obj) if type(obj) is bytes else obj)

    def _send_bytes(self, buf: Any) -> None:
        self._put(memoryview(buf))

    def _put(self, message: Any) -> None:
        producer = self._get_producer()
        try:
            while True:
                if self._is_alone():
                    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
                self._look_at = _now() + CHECK_EVERY
                try:
                    producer.put(message, _SLICE)
                    return
                except errors.Full:
                    pass
        except errors.Closed:  # by another thread
            raise OSError("handle is closed") from None
        except errors.UnsafeMessage as error:
            raise (error.__cause__ or error) from None

    def recv(self) -> Any:
        """Receive an object.

        Raises
        ------
        EOFError
            The other end is gone, and there is nothing left to receive.
        """
        self._check_closed()
        self._check_readable()
        message = self._get()
        if type(message) is bytes:
            return pickle.loads(message)
        return message.value if type(message) is _Bytes else message

    def _recv_bytes(self, maxsize: int | None = None) -> io.BytesIO | None:
        message = self._get()
        if type(message) is not bytes:
            message = dumps(message.value if type(message) is _Bytes else message)
        if maxsize is not None and len(message) > maxsize:
            return None
        received = io.BytesIO()
        received.write(message)
        return received

    def _get(self) -> Any:
        consumer = self._get_consumer()
        while True:
            try:
                return consumer.get(self._slice if self._deadline is None else self._left())
            except errors.EndOfStream:
                self._ignore_ends(consumer)
            except errors.Empty:
                if self._deadline is not None and _now() >= self._deadline:
                    raise TimeoutError("the peer did not answer in time") from None
            except errors.Closed:  # by another thread
                raise OSError("handle is closed") from None
            if self._is_alone():
                try:
                    return consumer.get_nowait()  # it may have been sent before the look at the socket
                except (errors.Empty, errors.EndOfStream):
                    raise EOFError from None

    def _left(self) -> float:
        """Return how long a look into the ring may wait, when there is a deadline."""
        assert self._deadline is not None
        return max(min(self._slice, self._deadline - _now()), 0)

    def _ignore_ends(self, consumer: Consumer) -> None:
        """Let only the socket tell that the other end is gone: other processes may have it, and not have sent yet."""
        consumer._expect(None, True)
        self._slice = _SHORT_SLICE

    def _poll(self, timeout: float | None) -> bool:
        consumer = self._get_consumer()
        deadline = None if timeout is None else _now() + timeout
        while not consumer.stats.backlog and not self._is_alone():
            left = None if deadline is None else deadline - _now()
            if left is not None and left <= 0:
                return False
            wait([self], left)
        return True

    def fileno(self) -> int:
        """Return a file descriptor that is readable while there is something to receive, or the other end is gone."""
        self._check_closed()
        if not self._readable:
            return int(self._handle)
        consumer = self._get_consumer()
        if self._polled is not consumer:  # also in a forked child
            self._ignore_ends(consumer)  # else it would be readable, and `recv` would wait
            epoll = select.epoll()
            epoll.register(consumer.fileno(), select.EPOLLIN)
            epoll.register(self._handle, 0)  # the end of the peer is always reported
            self._epoll, self._polled = epoll, consumer
        assert self._epoll is not None
        consumer.fileno()  # brings its readiness up to date
        return self._epoll.fileno()


def _rebuild_ring(passed: Any, rings: _Rings, wait: Wait) -> RingConnection:
    return RingConnection(passed.detach(), rings, wait)


def _receive_rings(handle: int, wait: Wait) -> _Rings:
    """Return the rings that the peer passes over a socket: to receive from, and to send to.

    Raises
    ------
    EOFError
        The peer has closed.
    OSError
        It passes something else, or nothing in time.
    """
    fds: list[int] = []
    sock = socket.socket(fileno=handle)
    try:
        sock.settimeout(PEER_SECONDS)
        data, fds, _, _ = socket.recv_fds(sock, len(_MARK), 2)
        sock.settimeout(None)
        if not data:
            raise EOFError
        if data != _MARK or len(fds) != 2:
            raise OSError("the peer of this connection is not a client of the family 'ring'")
        return rings_on(Channel.from_fd(fds[0]), Channel.from_fd(fds[1]), wait)
    except errors.Corrupt as error:
        raise OSError(f"the peer of this connection has passed something else than rings: {error}") from None
    finally:
        sock.detach()
        for fd in fds:
            os.close(fd)


def rings_on(receiving: Channel | None, sending: Channel | None, wait: Wait) -> _Rings:
    """Return the rings of one end of a connection."""
    return _ring_on(receiving, wait), _ring_on(sending, wait)


def _ring_on(channel: Channel | None, wait: Wait) -> Ring | None:
    return None if channel is None else Ring(channel, wait=wait, producers=1)


def pass_rings(sock: socket.socket, wait: Wait) -> _Rings:
    """Pass new rings to the peer of a Unix socket, which makes a `RingConnection` without any. Return this end's."""
    there, back = Channel.anonymous(), Channel.anonymous()
    socket.send_fds(sock, [_MARK], [there.fileno(), back.fileno()])
    return rings_on(back, there, wait)
