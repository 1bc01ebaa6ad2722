"""As `multiprocessing.connection`: connections, listeners and clients.

The connections of `Pipe` and of the families of sockets speak the protocol of the standard library, so the other end
may be a connection of the standard library. Connections over rings move objects through shared memory: those of the
family "ring", and those of a `Pipe` with `wait`.
"""

import errno
import io
import itertools
import os
import pickle
import secrets
import select
import socket
import struct
import threading
from collections.abc import Callable
from hashlib import sha256
from multiprocessing import connection as standard
from multiprocessing.connection import answer_challenge, deliver_challenge, wait
from multiprocessing.context import AuthenticationError, BufferTooShort
from multiprocessing.reduction import DupFd
from time import monotonic as _now
from typing import Any

from .. import _names, errors
from .._arguments import Wait
from .._core import Consumer, Producer
from .._passing import Passed
from ..channel import Channel
from ..codecs.pickled import reducer_of
from ..transports.unix import peer_of
from ._ring import Ring
from ._standard import fall_back

__all__ = ["Client", "Listener", "Pipe", "wait"]

_SECONDS = 10.0  # that a peer has to prove that it knows the key, and to pass its rings
_SLICE = 0.5  # seconds of a wait in a ring until the next look at the peer
_SHORT_SLICE = 0.05  # the same, where only the socket can tell that the peer is gone
_CHECK_EVERY = 0.001  # seconds in which `send` over rings may miss that the peer is gone
_MARK = b"ringipc rings"  # comes with the file descriptors of the rings
_LONGEST_ADDRESS = 107  # bytes of the address of a Unix socket
_AT_ONCE = 65536  # bytes that are read in one call; more are read into their place
_HEAD = struct.Struct("!i")
_LONG_HEAD = struct.Struct("!iQ")
_LENGTH = struct.Struct("!Q")
_LONGEST = 0x7FFFFFFF  # bytes of a message whose length is in _HEAD

_Rings = tuple[Ring | None, Ring | None]  # to receive from, and to send to
_numbers = itertools.count()
_picklers: list["_Pickler"] = []  # that are not in use


class _Reducers:
    """The dispatch table of `ForkingPickler`, as it is at each look."""

    def __getitem__(self, kind: type) -> Callable[[Any], Any]:
        return reducer_of(kind)


class _Pickler:
    """A pickler that is used again: making one takes longer than pickling a small object."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.write = self.chunks.append
        pickler = pickle.Pickler(self)
        pickler.dispatch_table = _Reducers()  # type: ignore[assignment]  # any mapping
        self.dump = pickler.dump
        self.clear_memo = pickler.clear_memo


def _dumps(obj: Any) -> bytes:
    """Do what `ForkingPickler.dumps` does, faster."""
    try:
        pickler = _picklers.pop()  # not while another thread, or __reduce__ of an object, uses it
    except IndexError:
        pickler = _Pickler()
    pickler.dump(obj)
    chunks = pickler.chunks
    data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if len(data) < _AT_ONCE:
        pickler.clear_memo()
        chunks.clear()
        _picklers.append(pickler)
    return data


_Standard: Any = standard.Connection  # for type checkers, which do not know what subclasses use
_Base: Any = standard._ConnectionBase


class Connection(_Standard):  # type: ignore[misc]
    """A connection over a socket or a pipe, as `multiprocessing.connection.Connection`.

    It speaks the same protocol, and is quicker with small objects (its pickler is used again) and with large ones (they
    are read into their place).
    """

    _deadline: float | None = None  # of all reads; None: reads may wait for ever

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild, (DupFd(self.fileno()), self._readable, self._writable)

    def send(self, obj: Any) -> None:
        """Send an object, which is pickled."""
        self._check_closed()
        self._check_writable()
        self._send_bytes(_dumps(obj))

    def recv(self) -> Any:
        """Receive an object.

        Raises
        ------
        EOFError
            The other end is closed, and there is nothing left to receive.
        """
        self._check_closed()
        self._check_readable()
        return pickle.loads(self._read_message(None))

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive the bytes of a message.

        Raises
        ------
        EOFError
            The other end is closed, and there is nothing left to receive.
        OSError
            The message has more bytes than maxlength. Nothing can be received any more.
        """
        self._check_closed()
        self._check_readable()
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        data = self._read_message(maxlength)
        return data if type(data) is bytes else bytes(data)

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive the bytes of a message into a buffer, from an offset on. Return their number.

        Raises
        ------
        BufferTooShort
            The buffer is too short for the message, which is the argument of the exception.
        EOFError
            The other end is closed, and there is nothing left to receive.
        """
        self._check_closed()
        self._check_readable()
        with memoryview(buf) as whole, whole.cast("B") as room:
            if offset < 0:
                raise ValueError("negative offset")
            if offset > room.nbytes:
                raise ValueError("offset too large")
            size = self._read_length()
            if size > room.nbytes - offset:
                raise BufferTooShort(bytes(self._read(size)))
            with room[offset : offset + size] as place:
                self._fill(place, 0)
            return size

    def _send_bytes(self, buf: Any) -> None:
        size = len(buf)
        head = _HEAD.pack(size) if size <= _LONGEST else _LONG_HEAD.pack(-1, size)
        sent = os.writev(self._handle, (head, buf)) - len(head)
        if sent < 0:
            self._send(head[sent:])
            sent = 0
        if sent < size:
            with memoryview(buf) as whole:
                self._send(whole[sent:])

    def _recv_bytes(self, maxsize: int | None = None) -> io.BytesIO:
        received = io.BytesIO()
        received.write(self._read_message(maxsize))
        return received

    def _read_message(self, maxsize: int | None) -> bytes | bytearray:
        size = self._read_length()
        if maxsize is not None and size > maxsize:
            self._bad_message_length()
        return self._read(size)

    def _read_length(self) -> int:
        if self._deadline is not None:
            self._await(self._deadline)
        head = os.read(self._handle, 4)
        if len(head) < 4:
            if not head:
                raise EOFError
            head += self._read(4 - len(head))
        size: int = _HEAD.unpack(head)[0]
        return size if size != -1 else _LENGTH.unpack(self._read(8))[0]

    def _read(self, size: int) -> bytes | bytearray:
        """Read the rest of a message, or a part of it."""
        if size < 0:
            raise OSError("bad message length")
        if size <= _AT_ONCE:
            if self._deadline is not None:
                self._await(self._deadline)
            data = os.read(self._handle, size)
            if len(data) == size:
                return data
            if not data:
                raise OSError("got end of file during message")
        else:
            data = b""
        whole = bytearray(size)
        whole[: len(data)] = data
        with memoryview(whole) as place:
            self._fill(place, len(data))
        return whole

    def _fill(self, place: memoryview, at: int) -> None:
        """Read as many bytes as there is place for, from an index on."""
        while at < len(place):
            if self._deadline is not None:
                self._await(self._deadline)
            read = os.readv(self._handle, [place[at:]])
            if read == 0:
                raise OSError("got end of file during message")
            at += read

    def _await(self, deadline: float) -> None:
        if not wait([self], max(deadline - _now(), 0)):
            raise TimeoutError("the peer did not answer in time")


def _rebuild(passed: Any, readable: bool, writable: bool) -> Connection:
    return Connection(passed.detach(), readable, writable)


def _adopted(connection: Any) -> Any:
    """Return a connection of this module for one of the standard library, whose handle it takes over."""
    own = Connection(connection.fileno(), connection.readable, connection.writable)
    connection._handle = None
    return own


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
                self._look_at = _now() + _CHECK_EVERY
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
            message = _dumps(message.value if type(message) is _Bytes else message)
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
        sock.settimeout(_SECONDS)
        data, fds, _, _ = socket.recv_fds(sock, len(_MARK), 2)
        sock.settimeout(None)
        if not data:
            raise EOFError
        if data != _MARK or len(fds) != 2:
            raise OSError("the peer of this connection is not a client of the family 'ring'")
        return _rings_on(Channel.from_fd(fds[0]), Channel.from_fd(fds[1]), wait)
    except errors.Corrupt as error:
        raise OSError(f"the peer of this connection has passed something else than rings: {error}") from None
    finally:
        sock.detach()
        for fd in fds:
            os.close(fd)


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    one.setblocking(True)  # also where socket.setdefaulttimeout was called
    other.setblocking(True)
    return one, other


def Pipe(duplex: bool = True, *, wait: Wait | None = None) -> tuple[Any, Any]:
    """Return two connections that are connected with each other.

    Parameters
    ----------
    duplex
        False: the first can only receive, the second only send.
    wait
        None: they are connected by a socket or a pipe. "block", "adaptive" or "spin": by rings in shared memory, and
        this is how `recv` waits: it sleeps; it spins for up to 200 microseconds while that has been succeeding; it
        spins all the time. Rings are quicker, most of all with arrays; they use more file descriptors.

    Examples
    --------
    >>> from ringipc import mp
    >>> ours, theirs = mp.Pipe()
    >>> ours.send([1, "hello", None])
    >>> theirs.recv()
    [1, 'hello', None]
    """
    if wait is None:
        if not duplex:
            reading, writing = os.pipe()
            return Connection(reading, writable=False), Connection(writing, readable=False)
        one, other = _socket_pair()
        return Connection(one.detach()), Connection(other.detach())
    there, back = Channel.anonymous(), Channel.anonymous() if duplex else None
    one, other = _socket_pair()
    return (
        RingConnection(one.detach(), _rings_on(there, back, wait), wait),
        RingConnection(other.detach(), _rings_on(back, there, wait), wait),
    )


def _rings_on(receiving: Channel | None, sending: Channel | None, wait: Wait) -> _Rings:
    """Return the rings of one end of a connection."""
    return _ring_on(receiving, wait), _ring_on(sending, wait)


def _ring_on(channel: Channel | None, wait: Wait) -> Ring | None:
    return None if channel is None else Ring(channel, wait=wait, producers=1)


def abstract_address(what: str, name: str) -> bytes:
    """Return the abstract address of a Unix socket: nothing is left of it when it ends. what: kind of listener."""
    start = f"\0ringipc {what} ".encode()
    address = start + os.fsencode(_names.path_of(_names.checked_name(name, what)))
    return address if len(address) <= _LONGEST_ADDRESS else start + sha256(address).hexdigest().encode()


class _RingListener:
    """Listens for clients that pass rings. Takes the place of `multiprocessing.connection.SocketListener`."""

    def __init__(self, name: str | None, backlog: int, wait: Wait) -> None:
        self._address = name or f"listener-{os.getpid()}-{next(_numbers)}-{secrets.token_hex(8)}"
        self._last_accepted: Any = None
        self._wait = wait
        address = abstract_address("listener", self._address)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(True)
        try:
            self._socket.bind(address)
            self._socket.listen(backlog)
        except OSError:
            self._socket.close()
            raise

    def accept(self) -> RingConnection:
        while True:
            accepted, _ = self._socket.accept()
            if peer_of(accepted)[1] == os.geteuid():
                accepted.setblocking(True)
                return RingConnection(accepted.detach(), None, self._wait)
            accepted.close()

    def close(self) -> None:
        self._socket.close()


class Listener(standard.Listener):
    """Listens for connections, as `multiprocessing.connection.Listener`.

    Parameters
    ----------
    address
        A path (AF_UNIX), or a host and a port (AF_INET). For the family "ring" a name, for processes of this user on
        this machine. None: one is chosen.
    family
        "AF_UNIX", "AF_INET" or "ring". None: that of the address.
    backlog
        How many clients may wait to be accepted.
    authkey
        A key that the clients have to know. A client that does not prove this within 10 seconds is refused.
    wait
        With the family "ring": how connections wait, as for `Pipe`.
    """

    def __init__(
        self,
        address: Any = None,
        family: str | None = None,
        backlog: int = 1,
        authkey: bytes | None = None,
        *,
        wait: Wait = "block",
    ) -> None:
        _check_key(authkey)
        if family == "ring":
            self._listener: Any = _RingListener(address, backlog, wait)
            self._authkey = authkey
        else:
            super().__init__(address, family, backlog, authkey)

    def accept(self) -> Any:
        """Accept a client, and return the connection with it.

        Raises
        ------
        AuthenticationError
            The client does not know the key.
        EOFError, OSError
            It has sent something else, or has closed. The listener can accept others.
        """
        if self._listener is None:
            raise OSError("listener is closed")
        connection = self._listener.accept()
        if not isinstance(connection, RingConnection):
            connection = _adopted(connection)
        if self._authkey is not None:
            _authenticate(connection, self._authkey, deliver_challenge, answer_challenge)
        return connection


def Client(address: Any, family: str | None = None, authkey: bytes | None = None, *, wait: Wait = "block") -> Any:
    """Connect to a listener, and return the connection with it. The parameters are those of `Listener`.

    Raises
    ------
    AuthenticationError
        The keys differ, or the listener belongs to another user (family "ring").
    OSError
        Nobody listens.
    """
    _check_key(authkey)
    connection = _connect(address, wait) if family == "ring" else _adopted(standard.Client(address, family))
    if authkey is not None:
        _authenticate(connection, authkey, answer_challenge, deliver_challenge)
    return connection


def _connect(name: str, wait: Wait) -> RingConnection:
    """Connect to a listener of the family "ring", and pass rings to it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(True)
        sock.connect(abstract_address("listener", name))
        pid, uid = peer_of(sock)
        if uid != os.geteuid():
            raise AuthenticationError(f"the listener {name!r} belongs to user {uid} (process {pid})")
        rings = pass_rings(sock, wait)
        return RingConnection(sock.detach(), rings, wait)


def pass_rings(sock: socket.socket, wait: Wait) -> _Rings:
    """Pass new rings to the peer of a Unix socket, which makes a `RingConnection` without any. Return this end's."""
    there, back = Channel.anonymous(), Channel.anonymous()
    socket.send_fds(sock, [_MARK], [there.fileno(), back.fileno()])
    return _rings_on(back, there, wait)


def _check_key(authkey: bytes | None) -> None:
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")


def _authenticate(connection: Any, key: bytes, *steps: Callable[[Any, bytes], None]) -> None:
    """Prove that both sides know the key. Close the connection if they do not."""
    connection._deadline = _now() + _SECONDS
    try:
        for step in steps:
            step(connection, key)
    except TimeoutError as error:
        connection.close()
        raise AuthenticationError(str(error)) from None
    except AssertionError as error:  # Python 3.11: it did not send a challenge
        connection.close()
        raise AuthenticationError(f"the peer did not send a challenge: {error}") from None
    except BaseException:
        connection.close()
        raise
    connection._deadline = None


__getattr__ = fall_back(__name__)
