"""The end that puts."""

import errno
import math
import operator
import os
import sys
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from . import _arguments, _atexit, _failures, _names, aio, codecs, errors, transports
from ._arguments import WAITS, Wait
from ._core import BaseProducer, check_timeout, own_methods, wanted
from .channel import Channel, code_of
from .codecs import dtypes
from .codecs.multipart import Parts
from .codecs.plain import Plain
from .transports.endpoint import Endpoint

if TYPE_CHECKING:
    from .transports.link import ProducerLink

Overflow = Literal["block", "drop-new", "drop-old"]
OVERFLOWS: dict[str, int] = {"block": 0, "drop-new": 1, "drop-old": 2}


def _break(producer: "Producer | None", error: errors.RingError) -> None:
    if producer is not None:
        producer._cut_off(error)


def _shape_of(shape: SupportsIndex | Sequence[SupportsIndex]) -> tuple[int, ...]:
    """The shape of an array, from what a user gives as one.

    >>> _shape_of(3), _shape_of([np.int64(2), 3])
    ((3,), (2, 3))
    """
    sizes: Any = shape
    try:
        made: tuple[int, ...] = (operator.index(sizes),)
    except TypeError:  # an array of several numbers says so here too
        try:
            made = tuple(map(operator.index, sizes))
        except TypeError:
            raise TypeError(f"shape must be an integer or a sequence of integers, not {shape!r}") from None
    if any(size < 0 for size in made):
        raise ValueError(f"shape must have sizes from 0 up, not {made}")
    return made


def _within(timeout: object) -> str:
    return f"within {timeout} s" if timeout else "now"


@dataclass(frozen=True, slots=True)
class ProducerStats:
    """How a producer fares.

    Attributes
    ----------
    messages, bytes
        Put so far; bytes counts the headers of arrays too.
    dropped
        Of those, how many were dropped to make room, once for each group that had not got them; with
        overflow="drop-old" only.
    refused
        Messages that were not put, because the lane was full; not with overflow="block".
    backlog, backlog_bytes
        What some group has not let go: messages, and bytes of the ring.
    slots, capacity
        The most that the lane holds: messages, and bytes.
    allocated
        Bytes that have memory so far, of capacity.
    waits, waited
        How often `put` had to wait for room, and for how many seconds in all.
    transport
        The way that was chosen: "ring", "unix", "tcp", "pipe" or "fifo".
    """

    messages: int
    bytes: int
    dropped: int
    refused: int
    backlog: int
    backlog_bytes: int
    slots: int
    capacity: int
    allocated: int
    waits: int
    waited: float
    transport: str


@own_methods
class Producer(BaseProducer):
    """One lane of a channel, and its only writer; makes the channel if it is not there.

    Threads may share it. A process that is killed leaves nothing half-written: a message is there whole, or not at all.

    Parameters
    ----------
    channel
        Its name: no slash, no leading dot or tilde, at most 200 bytes; or "~user/name", a channel that another user has
        made and shares. Or a `Channel`, without a name for example. Or an endpoint, where memory cannot be shared: an
        end of a `pair`; the URL "fifo:///path", "unix:///path", "unix://@name" or "tcp://host:port"; or, for options,
        what `tcp`, `unix` and `fifo` return. The attribute `channel` has the URL, with the port that was found.
    capacity
        The most bytes for messages in flight, as a number or as text ("64 MiB"); the longest message is this long.
        Memory is allocated as it is needed: a lane whose consumers keep up takes a few messages' worth.
    slots
        Messages in flight; rounded up to a power of two unless old ones are dropped. Each takes 32 bytes at once.
    overflow
        What a full lane does. "block" makes `put` wait. "drop-new" refuses what is put. "drop-old" drops the oldest
        messages that nobody looks at; only where the consumers' views leave no room is a new one refused. With these
        two `put` never waits. It returns False if it refused the message. `stats` counts what was lost, on both sides.
        Where there is no memory for more, the lane is full.
    groups
        Names of groups that are to miss nothing, though none of their members is there yet: what is put waits for them.
    preallocate
        True: all of capacity is allocated now, so that no `put` allocates any, or fails because there is none.
    pickle
        True: `put` takes any object that pickle takes, and all but bytes, memoryviews and arrays goes by pickle, and
        comes out as what it was. A consumer gets it only if it says pickle=True too: a pickle can make its reader run
        any code.
    wait
        How `put` waits for room: "spin" burns a core for the lowest latency, "block" sleeps at once, "adaptive" spins
        for as long as has paid lately, at most 200 microseconds, then sleeps.
    mode
        The permissions of the files, if this producer makes the channel: 0o600 keeps it to this user, 0o660 shares it
        with a group of users, 0o666 with everybody. They call it "~user/name", after the user who made it.
    share_with
        The group of users, by name or number, that mode 0o660 is for (and stands for).
    fallback
        A socket, as a URL or an endpoint, where consumers that cannot map the ring get its messages. They give the
        same fallback.
    timeout
        Seconds to wait for the listener, where this producer connects (``bind=False``); None waits for ever.
    linger
        Seconds that `close`, and the end of the program, wait after the last progress for messages that only this
        process has, because they go over connections and nobody has taken them yet. None waits for ever, 0 not at all.
        A producer that is let go without `close` lingers too, in a thread of its own. What is in the buffer of a pipe
        counts as taken, though nobody may ever read it.
        After a second a warning (logger "ringipc") says what it waits for. What is then left is lost, and said to be.

    Raises
    ------
    ChannelNotFound
        It is another user's, who has not made it; or nobody listened within timeout seconds.
    AuthenticationError
        The peer has another key, is another user, or has a certificate that is not trusted.
    TableFull
        The channel has 64 lanes, or 256 members, already; or it has 32 groups, and more are declared.
    SystemRefused
        There is no memory for its slots, or with preallocate for capacity, or the directory cannot be written: an
        `OSError`, whose `errno` says what.
    Incompatible, Corrupt
        The channel is there, but another version's, or no channel.

    Examples
    --------
    >>> import numpy as np, ringipc
    >>> with ringipc.Producer("frames", capacity="1 MiB") as producer, ringipc.Consumer("frames") as consumer:
    ...     producer.put(np.arange(3))
    ...     consumer.get()
    True
    array([0, 1, 2])
    """

    def __init__(
        self,
        channel: str | Channel | Endpoint,
        *,
        capacity: int | str = "64 MiB",
        slots: int = 1024,
        overflow: Overflow = "block",
        groups: Iterable[str] = (),
        preallocate: bool = False,
        pickle: bool = False,
        wait: Wait = "adaptive",
        mode: int = _arguments.PRIVATE,
        share_with: str | int | None = None,
        fallback: str | Endpoint | None = None,
        timeout: float | None = None,
        linger: float | None = 30,
    ) -> None:
        if isinstance(groups, str):
            raise TypeError(f"groups must be a list of names, not the str {groups!r}")
        declared = [_names.checked_name(group, "group") for group in groups]
        size = _arguments.size_in_bytes(capacity)
        slots = _arguments.checked_count(slots, "slots", "messages", 1, 1 << 26)
        if overflow not in OVERFLOWS:
            raise ValueError(f'overflow must be "block", "drop-new" or "drop-old", not {overflow!r}')
        if wait not in WAITS:
            raise ValueError(f'wait must be "spin", "adaptive" or "block", not {wait!r}')
        access = _arguments.access(mode, share_with)
        spin = wait == "spin"
        check_timeout(timeout)
        check_timeout(linger, "linger")
        self._linger = linger
        self._link: ProducerLink | None = None
        self._transport = "ring"
        ring = transports.resolve(channel)
        beside = transports.resolve_fallback(channel, ring, fallback, binds=True)
        if beside is not None:
            _arguments.check_remote_lane(str(beside), size, slots)
        if isinstance(ring, Endpoint):
            own = Channel.anonymous()
            self._link = transports.open_producer_link(ring, own, size, slots, timeout=timeout, spin=spin)
            self._transport = self._link.transport
            ring = self._link.channel
        name = code_of(ring)
        self.channel = channel if self._link is None else self._link.url  # with the port that was found
        self._pickle = pickle
        self._readiness = aio.Readiness()
        code = self._open(name, size, slots, OVERFLOWS[overflow], preallocate, WAITS[wait], *access)
        if code < 0:
            if self._link is not None:
                self._link.abandon()
            needed, remedy = "", ""
            if code == -errno.EFBIG or (code == -errno.ENOSPC and preallocate):
                needed, remedy = f"a lane of {size} bytes", "choose a smaller capacity="
            elif code == -errno.ENOSPC:
                needed, remedy = f"a lane's {slots} slots", "choose fewer slots="
            _failures.fail(code, self.channel, needed, wanted(), remedy)
        _atexit.close_at_exit(self)
        if beside is not None:
            self._link = self._open_beside(beside, str(ring), size, slots, spin)
        if self._link is not None:
            weakref.finalize(self, self._link.linger, linger).atexit = False  # there exits closes it
            if self._link.transport != "ring":
                me = weakref.ref(self)
                self._link.failed = lambda error: _break(me(), error)
                self._attach(self._link.pump)
        for group in declared:
            code = self._declare(group)
            if code < 0:
                self._undo()
                self.close()
                _failures.fail(code, self.channel)

    def _fail(self, code: int, detail: object) -> NoReturn:
        match -code:
            case errno.EMSGSIZE:
                raise errors.MessageTooLarge(
                    f"channel {self.channel!r}: a message of {detail} bytes is longer than the lane's capacity of "
                    f"{self.stats.capacity}; make the producer with a larger one"
                )
            case errno.ENOSPC | errno.ENOMEM | errno.EDQUOT:
                _failures.fail(code, self.channel, f"memory for a message of {detail} bytes", wanted())
            case errno.ETIMEDOUT | errno.EAGAIN:
                raise errors.Full(f"channel {self.channel!r}: no room {_within(detail)}: {self._why_full()}")
        details = {errno.ESHUTDOWN: "producer", errno.ECHILD: "producer", errno.EBADMSG: "a group's cursor"}
        _failures.fail(code, self.channel, details.get(-code, ""))

    def _open_beside(self, fallback: Endpoint, ring: str, size: int, slots: int, spin: bool) -> "ProducerLink":
        try:
            return transports.open_producer_link(fallback, Channel.open(ring), size, slots, timeout=None, spin=spin)
        except BaseException:
            self._undo()
            self._close(False)
            raise

    def _why_full(self) -> str:
        group, shared, has_members, pid, messages, size = self._gate()
        if self._link is not None and self._link.failure is not None:
            return str(self._link.failure)
        if messages == 0:
            return "another thread has a reservation open on this producer"
        have = f"{messages} messages ({size} bytes)"
        if not group:
            return f"{have} wait for a first consumer"
        if not has_members:
            return f"group {group!r} (without a member now) has not let go of {have}"
        if not pid:
            return f"group {group!r} has not let go of {have}, and no member has taken the oldest"
        who = f"pid {pid}, this process itself" if pid == os.getpid() else f"pid {pid}"
        if shared:
            return f"group {group!r} has not let go of {have}; its member that holds the oldest is {who}"
        return f"group {group!r} ({who}) has not let go of {have}"

    def _prepare(self, message: object) -> Plain | Parts:
        try:
            return codecs.encode(message, self._pickle)
        except errors.UnsafeMessage as error:
            raise _failures.named(error, self.channel) from error.__cause__

    def _encode_dtype(self, dtype: np.dtype[Any], reserving: bool, /) -> dtypes.Code:
        try:
            return dtypes.encode_dtype(dtype, reserving)
        except errors.UnsafeMessage as error:
            raise _failures.named(error, self.channel) from error.__cause__

    async def aput(self, message: object, *, type: int = 0) -> bool:
        """`put` for a task of an event loop: asyncio, uvloop, trio, anyio. Other tasks go on while it waits for room.

        A task that is cancelled has put nothing. Use the event loop's own timeouts.

        Returns
        -------
        bool
            Whether the message went in, as in `put`.

        Raises
        ------
        SystemRefused, MessageTooLarge, UnsafeMessage, Closed
            As in `put`.
        """
        while True:
            try:
                return self.put_nowait(message, type=type)
            except errors.Full:
                await self._readiness.wait(self.fileno())

    def reserve(
        self,
        shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: npt.DTypeLike = "u1",
        timeout: float | None = None,
        *,
        type: int = 0,
    ) -> "Reservation":
        """An array in its place in the ring, to be filled there: nothing is copied when it is put.

        It is put when the with block is left, and dropped if that is by an exception. Until then other threads wait
        with their puts. Where the lane is full and refuses messages (see overflow) there is still an array, of its own
        memory, which is dropped when the with block is left; `stats.refused` counts it.

        The array is read-only once it is put. Slices and other views taken of it are not: writing through one that is
        kept changes a message that others read.

        Parameters
        ----------
        shape, dtype
            Of the array, as `numpy.empty` takes them: shape is an integer or a sequence of integers, from 0 up. The
            array's elements are what the memory held before.
        timeout
            Seconds to wait for room, when the with block is entered; None waits for ever.
        type
            The message's type, 0 to 2**32 - 1.

        Raises
        ------
        TypeError, ValueError
            shape is no shape.
        Full, SystemRefused, MessageTooLarge, UnsafeMessage, Closed
            As in `put`, when the with block is entered. UnsafeMessage: dtype cannot be described to other processes.

        Examples
        --------
        >>> import ringipc
        >>> with ringipc.Producer("filled", capacity="1 MiB") as producer, ringipc.Consumer("filled") as consumer:
        ...     with producer.reserve((2, 2), "f4") as frame:
        ...         frame[:] = 7
        ...     consumer.get()
        array([[7., 7.],
               [7., 7.]], dtype=float32)
        """
        check_timeout(timeout)
        return Reservation(self, _shape_of(shape), np.dtype(dtype), timeout, type)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every group has released every message that was put.

        Raises
        ------
        TimedOut
            That did not happen within timeout seconds. The text names the group that holds messages.
        """
        if not self._flush(timeout):
            raise errors.TimedOut(f"channel {self.channel!r}: not flushed {_within(timeout)}: {self._why_full()}")

    @property
    def stats(self) -> ProducerStats:
        """Counters, as of now."""
        return ProducerStats(*self._counts(), transport=self._transport)

    def close(self) -> None:
        """Ends the stream. What was put stays for the groups to read. Closing again does nothing.

        If a signal's handler raises meanwhile (Ctrl-C), every other call finds the producer closed, but its stream has
        not ended yet: close it again, or let it be closed at exit, which then does not linger.

        Where messages go over connections it waits until the other sides have them, as `linger` says. A program that
        ends without closing does so too; then what is lost is told on stderr, and the exit status is 120.

        Raises
        ------
        Full
            Messages are left that nobody has taken, and that only this process has: they are lost. Where an exception
            leaves the with block, this is a note on it.
        """
        self._end(exiting=False)

    def _end(self, *, exiting: bool) -> None:
        code = self._refuse()  # first: whoever is woken finds it closed
        if code == 0:
            self._readiness.closing()
            code = self._close(exiting)
        lost = self._link.close(self._linger, at_end=exiting) if self._link is not None else ""
        if code < 0 and code != -errno.ECHILD:
            _failures.fail(code, self.channel)
        if lost:
            raise errors.Full(f"channel {self.channel!r}: {lost}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return self.close()
        try:
            self.close()
        except errors.RingError as lost:  # what went wrong first is what leaves the block
            error.add_note(str(lost))

    def __repr__(self) -> str:
        return f"<Producer on channel {getattr(self, 'channel', None)!r}{', closed' if self.closed else ''}>"


class Reservation:
    """What `Producer.reserve` returns: the with block's array, and when it is put."""

    __slots__ = ("_array", "_dtype", "_length", "_producer", "_shape", "_timeout", "_type")

    def __init__(
        self, producer: Producer, shape: tuple[int, ...], dtype: np.dtype[Any], timeout: float | None, type: int
    ) -> None:
        if dtype.subdtype is not None:
            raise ValueError(f"reserve takes no dtype with a shape in it: give the shape {dtype.shape} as the array's")
        if not 0 <= type < 1 << 32:
            raise OverflowError(f"type must be from 0 to 2**32 - 1, not {type}")
        self._producer = producer
        self._shape = shape
        self._dtype = dtype
        self._timeout = timeout
        self._type = type

    def __enter__(self) -> npt.NDArray[Any]:
        most = math.prod(size or 1 for size in self._shape) * max(self._dtype.itemsize, 1)
        if most > sys.maxsize:  # which NumPy does not take, even with a size of 0 among the others
            self._producer._fail(-errno.EMSGSIZE, most)
        size = math.prod(self._shape) * self._dtype.itemsize
        self._array, self._length = self._producer._begin(self._dtype, self._shape, size, self._timeout)
        return self._array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        array = self._array
        del self._array
        array.flags.writeable = False  # it belongs to the readers from here on
        if self._length is None:  # refused; this array was never in the ring
            return
        if kind is None:
            self._producer._commit(self._length, self._type)
        else:
            self._producer._abort()
