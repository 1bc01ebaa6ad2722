"""What two processes say when they meet, byte by byte.

::

    each side            "ringipc\\0", u32 version, u32 what it asks for (0: nothing, 1: the key)    little-endian
    each side            u8 whether it admits the other's user
    with a key           see `admission`
    the one who connects Hello, in a frame: u16 kind, u16 length
    the one who listens  Welcome, in a frame
"""

import struct
from dataclasses import dataclass
from typing import Self

from ..errors import Corrupt
from .wire import Wire

LONGEST = 1024  # of a frame, its head included

_HEAD = struct.Struct("<HH")  # kind, bytes that follow
_HELLO = struct.Struct("<16s16sQQIIBB")  # session, boot, next, capacity, slots, pid, flags, length of the group's name
_WELCOME = struct.Struct(
    "<16s16sQQIIBHH"
)  # session, boot, next, capacity, slots, pid, passes, error, length of the text
_PRODUCER, _SHARED, _DURABLE, _NEWEST, _MAPS = 1, 2, 4, 8, 16
_LONGEST_GROUP = 47
_LONGEST_TEXT = 500
_LARGEST_PID = (1 << 31) - 1
_LARGEST_ERRNO = 4095  # the kernel's own bound


def boot_id() -> bytes:
    """What tells one run of one machine from all others: 16 bytes, zeros where the kernel does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            code = bytes.fromhex(file.read().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)
    return code if len(code) == 16 else bytes(16)


def _check(session: bytes, boot: bytes, following: int, pid: int) -> None:
    if len(session) != 16 or len(boot) != 16:
        raise ValueError("session and boot must have 16 bytes")
    if not 0 <= following < 1 << 64:
        raise ValueError(f"next must be from 0 to 2**64 - 1, not {following}")
    if not 0 < pid <= _LARGEST_PID:
        raise ValueError(f"pid must be from 1 to 2**31 - 1, not {pid}")


@dataclass(frozen=True, slots=True)
class Hello:
    """Who connects.

    Attributes
    ----------
    producer
        Whether the speaker is one, and no consumer.
    pid
        Of the speaker, as it sees itself.
    session
        16 random bytes, the same when the same handle comes again.
    next
        How many messages of the session the speaker has.
    group, shared, durable, newest
        As the consumer was asked; at most 47 bytes of UTF-8.
    maps
        Whether the speaker takes a ring's descriptor instead of a stream.
    capacity, slots
        Of a producer's lane: bytes, and messages. 0 of a consumer.
    boot
        From `boot_id`.
    """

    producer: bool
    pid: int
    session: bytes
    boot: bytes
    next: int = 0
    group: str = ""
    shared: bool = False
    durable: bool = False
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
        flags |= _MAPS * self.maps
        fixed = _HELLO.pack(self.session, self.boot, self.next, self.capacity, self.slots, self.pid, flags, len(group))
        return fixed + group

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises `Corrupt` where `encode` cannot have made it."""
        if len(data) < _HELLO.size:
            raise Corrupt(f"a hello of {len(data)} bytes is too short")
        session, boot, following, capacity, slots, pid, flags, length = _HELLO.unpack_from(data)
        group = data[_HELLO.size :]
        if flags > _PRODUCER | _SHARED | _DURABLE | _NEWEST | _MAPS:
            raise Corrupt(f"a hello has flags that are not known: {flags:#x}")
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
            newest=bool(flags & _NEWEST),
            maps=bool(flags & _MAPS),
            capacity=capacity,
            slots=slots,
            boot=boot,
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the listener answers.

    Attributes
    ----------
    error
        0, or the errno of a refusal.
    text
        Why; what is over 500 bytes is cut off. Without an error: where on this machine the ring is passed, a URL, or
        nothing.
    passes
        Whether a ring's descriptor comes next, and no stream.
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
        """Raises `Corrupt` where `encode` cannot have made it."""
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
            raise Corrupt("a welcome has a text that is no UTF-8") from None
        return cls(error, text, pid, session, following, bool(passes), capacity, slots, boot)


def send(wire: Wire, said: Hello | Welcome) -> None:
    data = said.encode()
    wire.send(_HEAD.pack(said.KIND, len(data)) + data)


def receive_hello(wire: Wire) -> Hello:
    return Hello.decode(_receive(wire, Hello.KIND))


def receive_welcome(wire: Wire) -> Welcome:
    return Welcome.decode(_receive(wire, Welcome.KIND))


def _receive(wire: Wire, awaited: int) -> bytes:
    kind, length = _HEAD.unpack(wire.receive(_HEAD.size))
    if kind != awaited or not 0 < length <= LONGEST - _HEAD.size:
        raise Corrupt(f"a frame of kind {kind} and {length} bytes came where one of kind {awaited} was awaited")
    return wire.receive(length)
