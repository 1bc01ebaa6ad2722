"""Connections over a socket or a pipe, with the protocol of the standard library."""

import io
import os
import pickle
import struct
from collections.abc import Callable
from multiprocessing import connection as standard
from multiprocessing.connection import wait
from multiprocessing.context import BufferTooShort
from multiprocessing.reduction import DupFd
from time import monotonic as _now
from typing import Any

from ..codecs.pickled import reducer_of

_AT_ONCE = 65536  # bytes that are read in one call; more are read into their place
_HEAD = struct.Struct("!i")
_LONG_HEAD = struct.Struct("!iQ")
_LENGTH = struct.Struct("!Q")
_LONGEST = 0x7FFFFFFF  # bytes of a message whose length is in _HEAD

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


def dumps(obj: Any) -> bytes:
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
        self._send_bytes(dumps(obj))

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


def adopted(connection: Any) -> Any:
    """Return a connection of this module for one of the standard library, whose handle it takes over."""
    own = Connection(connection.fileno(), connection.readable, connection.writable)
    connection._handle = None
    return own
