"""The greeting of a connection: how two processes authenticate each other, and what they then agree on.

::

    each side            "ringipc\\0", u32 version, u32 authentication (0: none, 1: key)    little-endian
    each side            u8 whether it admits the other's user
    with a key           see `auth`
    the connecting side  Hello, in a frame: u16 kind, u16 length
    the listener         Welcome, in a frame

Over a pipe, where nothing comes back, the producer sends what a side without a key that connects would send.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from ..errors import AuthenticationError, Corrupt, Incompatible
from .address import SocketAddress
from .auth import NO, YES, authenticate
from .tls import Tunnel
from .wire import GREETING_SECONDS, SocketWire, Wire

MAGIC = b"ringipc\0"
VERSION = 1
LONGEST = 1024  # bytes of a frame, its head included

_U32 = struct.Struct("<I")
_HEAD = struct.Struct("<HH")  # kind, bytes that follow
_HELLO = struct.Struct("<16s16sQQIIBB")  # session, boot, next, capacity, slots, pid, flags, length of the group's name
# session, boot, next, capacity, slots, pid, passes, error, length of the text
_WELCOME = struct.Struct("<16s16sQQIIBHH")
_PRODUCER, _SHARED, _DURABLE, _NEWEST, _MAPS, _LOSSY = 1, 2, 4, 8, 16, 32
_LONGEST_GROUP = 47
_LONGEST_TEXT = 500
_LARGEST_PID = (1 << 31) - 1
_LARGEST_ERRNO = 4095  # the kernel's own bound


def boot_id() -> bytes:
    """Return 16 bytes that identify this machine since its last boot; zeros if the kernel does not reveal them."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            found = bytes.fromhex(file.read().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)
    return found if len(found) == 16 else bytes(16)


def _check(session: bytes, boot: bytes, following: int, pid: int) -> None:
    if len(session) != 16 or len(boot) != 16:
        raise ValueError("session and boot must have 16 bytes")
    if not 0 <= following < 1 << 64:
        raise ValueError(f"next must be from 0 to 2**64 - 1, not {following}")
    if not 0 < pid <= _LARGEST_PID:
        raise ValueError(f"pid must be from 1 to 2**31 - 1, not {pid}")


@dataclass(frozen=True, slots=True)
class Hello:
    """What the side that connects says of itself.

    Attributes
    ----------
    producer
        True: the sender of this is a producer; False: a consumer.
    pid
        Its process id, in its own pid namespace.
    session
        16 random bytes that identify the handle; the same when it reconnects.
    next
        Number of messages of the listener's session that it has received.
    group, shared, durable, lossy, newest
        The options of a consumer; the group's name has at most 47 bytes of UTF-8.
    maps
        Whether it accepts the channel itself (a file descriptor) instead of a stream.
    capacity, slots
        Size of a producer's lane in bytes and in messages; 0 from a consumer.
    boot
        Identity of its machine, from `boot_id`.
    """

    producer: bool
    pid: int
    session: bytes
    boot: bytes
    next: int = 0
    group: str = ""
    shared: bool = False
    durable: bool = False
    lossy: bool = False
    newest: bool = False
    maps: bool = False
    capacity: int = 0
    slots: int = 0

    KIND = 1

    def encode(self) -> bytes:
        _check(self.session, self.boot, self.next, self.pid)
        group = self.group.encode("utf-8", "surrogateescape")
        if len(group) > _LONGEST_GROUP or b"\0" in group:
            raise ValueError(
                f"the group's name must have at most {_LONGEST_GROUP} bytes and no NUL, not {self.group!r}"
            )
        flags = _PRODUCER * self.producer | _SHARED * self.shared | _DURABLE * self.durable | _NEWEST * self.newest
        flags |= _MAPS * self.maps | _LOSSY * self.lossy
        fixed = _HELLO.pack(self.session, self.boot, self.next, self.capacity, self.slots, self.pid, flags, len(group))
        return fixed + group

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return what data encodes; raise `Corrupt` if `encode` cannot have made it."""
        if len(data) < _HELLO.size:
            raise Corrupt(f"a hello of {len(data)} bytes is too short")
        session, boot, following, capacity, slots, pid, flags, length = _HELLO.unpack_from(data)
        group = data[_HELLO.size :]
        if flags > _PRODUCER | _SHARED | _DURABLE | _NEWEST | _MAPS | _LOSSY:
            raise Corrupt(f"a hello has unknown flags: {flags:#x}")
        if length != len(group) or length > _LONGEST_GROUP or b"\0" in group:
            raise Corrupt(f"a hello of {len(data)} bytes claims a group's name of {length}")
        if not 0 < pid <= _LARGEST_PID:
            raise Corrupt(f"a hello claims the pid {pid}")
        return cls(
            producer=bool(flags & _PRODUCER),
            pid=pid,
            session=session,
            next=following,
            group=group.decode("utf-8", "surrogateescape"),
            shared=bool(flags & _SHARED),
            durable=bool(flags & _DURABLE),
            lossy=bool(flags & _LOSSY),
            newest=bool(flags & _NEWEST),
            maps=bool(flags & _MAPS),
            capacity=capacity,
            slots=slots,
            boot=boot,
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """The listener's answer.

    Attributes
    ----------
    error
        0, or the errno of a refusal.
    text
        The reason for a refusal, cut off after 500 bytes. Without a refusal: the URL of the Unix socket where the
        channel is passed to peers on this machine, or nothing.
    passes
        Whether the file descriptor of the channel follows, instead of a stream.
    pid, session, next, capacity, slots, boot
        As in `Hello`.
    """

    error: int
    text: str
    pid: int
    session: bytes
    next: int
    passes: bool
    capacity: int
    slots: int
    boot: bytes

    KIND = 2

    def encode(self) -> bytes:
        _check(self.session, self.boot, self.next, self.pid)
        if not 0 <= self.error <= _LARGEST_ERRNO:
            raise ValueError(f"error must be from 0 to {_LARGEST_ERRNO}, not {self.error}")
        text = self.text.encode("utf-8", "backslashreplace")[:_LONGEST_TEXT].decode("utf-8", "ignore").encode()
        fixed = _WELCOME.pack(
            self.session, self.boot, self.next, self.capacity, self.slots, self.pid, self.passes, self.error, len(text)
        )
        return fixed + text

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return what data encodes; raise `Corrupt` if `encode` cannot have made it."""
        if len(data) < _WELCOME.size:
            raise Corrupt(f"a welcome of {len(data)} bytes is too short")
        session, boot, following, capacity, slots, pid, passes, error, length = _WELCOME.unpack_from(data)
        if length != len(data) - _WELCOME.size or length > _LONGEST_TEXT:
            raise Corrupt(f"a welcome of {len(data)} bytes claims a text of {length}")
        if not 0 < pid <= _LARGEST_PID or error > _LARGEST_ERRNO or passes > 1:
            raise Corrupt(f"a welcome claims the pid {pid} and the error {error}")
        try:
            text = data[_WELCOME.size :].decode()
        except UnicodeDecodeError:
            raise Corrupt("a welcome has a text that is not UTF-8") from None
        return cls(error, text, pid, session, following, bool(passes), capacity, slots, boot)


Admit = Callable[[Hello], tuple[Welcome, Callable[[socket.socket], None]]]


def introduce(address: SocketAddress, connection: socket.socket, hello: Hello) -> tuple[socket.socket, Welcome]:
    """Make the greeting of the side that connects.

    Returns
    -------
    The socket to go on with, and the listener's answer. If that is a refusal the socket is closed.

    Raises
    ------
    AuthenticationError, Incompatible, Corrupt
        The connection is closed.
    """
    with _authenticated(address, connection, binds=False) as (ready, wire):
        wire.send(_frame(hello))
        welcome = Welcome.decode(_receive(wire, Welcome.KIND))
    if welcome.error:
        ready.close()
    return ready, welcome


def receive(address: SocketAddress, connection: socket.socket, admit: Admit) -> None:
    """Make the greeting of the listener, up to the call of what `admit` has returned; see `connections.Listener`.

    Raises
    ------
    AuthenticationError, Incompatible, Corrupt
        The connection is closed.
    """
    with _authenticated(address, connection, binds=True) as (ready, wire):
        welcome, take = admit(Hello.decode(_receive(wire, Hello.KIND)))
        try:
            wire.send(_frame(welcome))
        except Corrupt:  # it is admitted all the same, and its connection found broken later
            ready.shutdown(socket.SHUT_RDWR)
    if welcome.error:
        ready.close()
    else:
        take(ready)


def one_way(hello: Hello) -> bytes:
    """Return the whole greeting of a producer that writes into a pipe."""
    return _opening(keyed=False) + YES + _frame(hello)


def receive_one_way(wire: Wire) -> Hello:
    """Read the greeting that `one_way` has made.

    Raises
    ------
    AuthenticationError, Incompatible, Corrupt
    """
    _check_opening(wire, "the producer", keyed=False)
    return Hello.decode(_receive(wire, Hello.KIND))


@contextlib.contextmanager
def _authenticated(
    address: SocketAddress, connection: socket.socket, *, binds: bool
) -> Iterator[tuple[socket.socket, SocketWire]]:
    """Make the greeting until each side trusts the other. If it or the body fails, close the socket."""
    ready, tunnel = connection, None
    wire = SocketWire(connection, time.monotonic() + GREETING_SECONDS)
    try:
        address.prepare(connection)
        refusal = address.peer_refusal(connection)
        context = address.tls_context()
        if context is not None:
            tunnel = Tunnel(connection, wire, context, host=None if binds else address.server_name())
            ready = tunnel.plain
            wire = SocketWire(ready, wire.end)
        open_protocol(wire, binds=binds, key=address.key, refusal=refusal)
        yield ready, wire
        ready.settimeout(None)
    except BaseException as error:
        ready.close()
        if isinstance(error, Corrupt) and tunnel is not None and tunnel.failure:
            raise AuthenticationError(tunnel.failure) from None  # the reason why it went silent
        raise


def open_protocol(wire: SocketWire, *, binds: bool, key: bytes | None, refusal: str = "") -> None:
    """Check version, user and key, before anything else that the peer says is used.

    Parameters
    ----------
    refusal
        Why the peer's user is not admitted, or nothing.

    Raises
    ------
    AuthenticationError, Incompatible, Corrupt
    """
    wire.send(_opening(keyed=key is not None) + (NO if refusal else YES))
    if refusal:
        raise AuthenticationError(refusal)
    _check_opening(wire, "the peer that connects" if binds else "the listener", keyed=key is not None)
    if key is not None:
        authenticate(wire, key, binds=binds)


def _opening(*, keyed: bool) -> bytes:
    return MAGIC + _U32.pack(VERSION) + _U32.pack(keyed)


def _check_opening(wire: Wire, peer: str, *, keyed: bool) -> None:
    if (first := wire.receive(1)) != MAGIC[:1] or first + wire.receive(len(MAGIC) - 1) != MAGIC:
        raise Corrupt(f"{peer} does not speak ringipc (or one side has tls= and the other has not)")
    (version,) = _U32.unpack(wire.receive(_U32.size))
    if version != VERSION:
        raise Incompatible(f"{peer} speaks version {version} of the protocol, this side {VERSION}; use one ringipc")
    (authentication,) = _U32.unpack(wire.receive(_U32.size))
    if authentication > 1:
        raise Corrupt(f"{peer} asks for an unknown authentication: {authentication}")
    if wire.receive(1) != YES:
        raise AuthenticationError(f"{peer} does not admit the user of this process; its users= names whom it admits")
    if authentication != keyed:
        raise AuthenticationError(
            f"{peer} has {'a key and this side has none' if authentication else 'no key and this side has one'}; "
            "give both sides the same key="
        )


def _frame(said: Hello | Welcome) -> bytes:
    data = said.encode()
    return _HEAD.pack(said.KIND, len(data)) + data


def _receive(wire: Wire, expected: int) -> bytes:
    kind, length = _HEAD.unpack(wire.receive(_HEAD.size))
    if kind != expected or not 0 < length <= LONGEST - _HEAD.size:
        raise Corrupt(f"a frame of kind {kind} and {length} bytes came instead of one of kind {expected}")
    return wire.receive(length)
