"""The end that gets."""

import errno
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeVar

from . import _atexit, _failures, _names, aio, codecs, errors, transports
from ._arguments import WAITS, Wait
from ._core import DURABLE, NEWEST, SHARED, BaseConsumer, Message, check_timeout, own_methods, wanted
from .channel import Channel
from .codecs import dtypes
from .transports.endpoint import Endpoint

if TYPE_CHECKING:
    import numpy as np

    from ._core import Payload, Types, Where

_T = TypeVar("_T")
STARTS: dict[str, int] = {"oldest": 0, "newest": NEWEST}

_CLAIMS = "the claims of its group on a lane"
_FEWER = "make producers with fewer slots="


@dataclass(frozen=True, slots=True)
class ConsumerStats:
    """How a consumer fares.

    Attributes
    ----------
    messages, bytes
        Got so far; bytes counts the headers of arrays too.
    missed
        Messages that the group has lost since this consumer came, because a lane was full and drops messages.
    backlog
        Messages put and not yet got.
    held
        Messages that views keep in the ring.
    lanes
        Producers whose messages it reads.
    waits, waited
        How often `get` had to wait, and for how many seconds in all.
    transport
        The way that was chosen: "ring", "unix", "tcp", "pipe" or "fifo".
    """

    messages: int
    bytes: int
    missed: int
    backlog: int
    held: int
    lanes: int
    waits: int
    waited: float
    transport: str


@own_methods
class Consumer(BaseConsumer):
    """A member of a group; every group sees every message of every producer of a channel, each producer's in order.

    Threads may share it: each message goes to one of them. Iterating over it gets message after message, as `get` does,
    to the end of the stream. If a producer's process dies, the loop raises `ProducerDied`, once, after all that it had
    put; another loop goes on with what the other producers put.

    Parameters
    ----------
    channel
        Its name: a producer makes it. Or a `Channel`, a URL, or an endpoint; see `Producer`.
    group
        At most 47 bytes. Every group sees every message.
    shared
        False: the group is exclusive, this consumer its one member. True: its members compete, and each message goes to
        one of them, a work queue. What a member has in work when it dies, or ends without `close`, goes to the others.
        A view is in work until the thread or task that got it gets again, or until `close`, and a `Message` until its
        block ends. So to hand a message to another thread or task, take it with `message` (or `amessage`) and release
        it there: a view counts as done at your next get. Views may be kept beyond that.
    durable
        True: the group stays when its last member has gone, and all that is put waits for the next one, which goes on
        where the group stood; what was in work comes again, marked as redelivered. A durable group ends with
        ``ringipc.Channel.open(channel).remove_group(group)``. Taking a message costs a compare-and-swap more.
    start
        Where a new group begins: at the "oldest" message still there, or after the "newest".
    copy
        None: bytes are copied out, arrays are views. True: all are copied. False: all are views, bytes as a memoryview.
        A view is read-only, and keeps its message in the ring until the last reference to it is gone, slices included.
        What ignores that it is read-only crashes: an in-place operation on a torch tensor made of a view (``.clone()``
        it first, or copy=True), or ``np.add.at``. In a forked child a view may show another message later.
    pickle
        True: objects are unpickled. Only for channels whose every producer you trust: a pickle can run any code.
    wait
        How `get` waits; see `Producer`.
    timeout
        Seconds to wait for the channel to be made, or for somebody who listens, or (one second at least) for a process
        that is stopped while it has the channel's tables locked; None waits for ever.
    fallback
        A socket, as a URL or an endpoint, the same as the producer's: used if the ring cannot be mapped, because it is
        another user's, or not visible from here.

    Raises
    ------
    ChannelNotFound
        There was no such channel within timeout seconds.
    GroupBusy
        The group is exclusive and has a member that lives.
    TableFull
        The channel has 32 groups, or 256 members, already.
    Incompatible, Corrupt, SystemRefused
        As for `Producer`.

    Examples
    --------
    >>> import ringipc
    >>> producer = ringipc.Producer("words", capacity="1 MiB")
    >>> consumer = ringipc.Consumer("words")
    >>> producer.put_many([b"to", b"be"])
    2
    >>> producer.close()
    >>> list(consumer)
    [b'to', b'be']
    >>> consumer.close()
    """

    def __init__(
        self,
        channel: str | Channel | Endpoint,
        *,
        group: str = "default",
        shared: bool = False,
        durable: bool = False,
        start: Literal["oldest", "newest"] = "oldest",
        copy: bool | None = None,
        pickle: bool = False,
        wait: Wait = "adaptive",
        timeout: float | None = None,
        fallback: str | Endpoint | None = None,
    ) -> None:
        group_name = _names.checked_name(group, "group")
        if wait not in WAITS or start not in STARTS:
            raise ValueError(
                f'wait must be "spin", "adaptive" or "block", start "oldest" or "newest", not {wait!r} and {start!r}'
            )
        self.channel = channel
        self.group = group
        self._pickle = pickle
        self._readiness = aio.Readiness()
        how = STARTS[start] | (SHARED if shared else 0) | (DURABLE if durable else 0)
        check_timeout(timeout)
        ring = transports.resolve(channel)
        code, holder, self._link = transports.attach_consumer(
            ring,
            transports.resolve_fallback(channel, ring, fallback, binds=False),
            group,
            how,
            timeout=timeout,
            spin=wait == "spin",
            attach=lambda name, how, left: self._open(name, group_name, how, WAITS[wait], copy, left),
        )
        if self._link is not None:
            self.channel = self._link.url  # with the port that was found
            weakref.finalize(self, self._link.forget).atexit = False  # there exits closes it
            if self._link.transport != "ring":
                self._attach(self._link.pump)
        if code == -errno.EBUSY:
            who, rest = f"pid {holder}", "give this consumer another group"
            if holder == os.getpid():
                who = f"this process, pid {holder},"
                rest = f"let go of views on messages of a consumer that is closed, close one that is open, or {rest}"
            raise errors.GroupBusy(
                f"channel {self.channel!r}: group {group!r} is exclusive, and {who} is its member; {rest}"
            )
        if code == -errno.EEXIST:
            kind = "exclusive" if shared else "shared"
            raise errors.Incompatible(
                f"channel {self.channel!r}: group {group!r} is {kind}; say shared={not shared}, "
                "or give this consumer another group"
            )
        if code < 0:
            no_room = code in (-errno.ENOSPC, -errno.EFBIG)
            _failures.fail(code, self.channel, _CLAIMS if no_room else "", wanted(), _FEWER)
        _atexit.close_at_exit(self)

    def _fail(self, code: int, detail: object) -> NoReturn:
        match -code:
            case errno.ETIMEDOUT | errno.EAGAIN:
                within = f" within {detail} s" if detail else ""
                raise errors.Empty(
                    f"channel {self.channel!r}: no message for group {self.group!r}{within}{self._why_empty()}"
                )
            case errno.ENODATA:
                raise errors.EndOfStream(f"channel {self.channel!r}: every producer has closed, and all is read")
            case errno.EOWNERDEAD:
                raise errors.ProducerDied(
                    f"channel {self.channel!r}: the producer with pid {detail} died without closing; all it put is read"
                )
            case errno.ESHUTDOWN if detail == "message":
                raise errors.Closed(f"channel {self.channel!r}: this message has been released")
            case errno.EBADMSG:
                _failures.fail(code, self.channel, detail if isinstance(detail, str) else "a lane")
        details = {errno.ESHUTDOWN: "consumer", errno.ECHILD: "consumer", errno.ENOSPC: _CLAIMS, errno.EFBIG: _CLAIMS}
        _failures.fail(code, self.channel, details.get(-code, ""), wanted(), _FEWER)

    def _why_empty(self) -> str:
        works, held, pid = self._blocks()
        if pid:
            return (
                f"; this consumer itself holds {held} messages, and the lane of the producer with pid {pid} is full: "
                "let go of them, or copy what you keep (copy=True)"
            )
        if works:
            messages, them = ("message", "it") if works == 1 else ("messages", "them")
            return (
                f"; this consumer has {works} {messages} in work: get again in the thread or task that got {them}, or "
                f"let go of {them}"
            )
        return ""

    def notify(self, signum: int | None, *, value: int | None = None) -> None:
        """Asks for a signal to this process when the next message comes: once, until asked again, as mq_notify(3) does.

        What is there already sends none; nor, in a shared group, does what goes to a member that waits in `get`. So ask
        first, then get until `Empty`, then wait. The end of the stream, and a producer that comes, send it too. A
        descriptor (`fileno`) is usually better: it cannot arrive in the middle of something else, it says what is so
        and not what was, and it tells of deaths; and of a sender that is killed just before it sends, or runs as
        another user or in another pid namespace, no signal comes.

        Parameters
        ----------
        signum
            For example ``signal.SIGUSR1``, or a real-time signal, ``signal.SIGRTMIN``, which queues. None takes the
            request back.
        value
            Comes with the signal (``si_value``) to handlers that see it; a C int. None: the sending producer's lane, as
            in `Message.lane_id`.

        Raises
        ------
        ValueError
            There is no such signal.
        Closed
            The consumer is closed, or belongs to the parent process.
        """
        if value is not None and not -(1 << 31) <= value < 1 << 31:
            raise ValueError(f"the value of a signal is a C int, not {value}")
        code = self._notify(0 if signum is None else signum, value)
        if code == -errno.EINVAL:
            raise ValueError(f"there is no signal {signum}")
        if code < 0:
            self._fail(code, None)

    async def aget(self, *, type: "Types" = None, where: "Where" = None) -> "Payload":
        """`get` for a task of an event loop: asyncio, uvloop, trio, anyio. Other tasks go on while it waits.

        A task that is cancelled has taken nothing. Use the event loop's own timeouts.

        Parameters
        ----------
        type, where
            As in `get`.

        Raises
        ------
        EndOfStream, ProducerDied, Corrupt, UnsafeMessage, MemoryError, RecursionError, SystemRefused, Closed
            As in `get`.
        """
        return await self._wait_for(self.get, type, where)

    async def amessage(self, *, type: "Types" = None, where: "Where" = None) -> Message:
        """`message` for a task of an event loop: what it returns may be handed to another task, and released there.

        Otherwise as `aget`.
        """
        return await self._wait_for(self.message, type, where)

    async def _wait_for(self, get: Callable[..., _T], type: "Types", where: "Where") -> _T:
        if type is None and where is None:
            while True:
                try:
                    return get(0)
                except errors.Empty:
                    await self._readiness.wait(self.fileno())
        fd = self.fileno()
        while True:
            try:
                return self._pick(get, type, where)
            except errors.Empty:
                if self._silenced:
                    self._readiness.wake_others()  # they may have been about to see what the descriptor said
                await self._readiness.wait(fd, picky=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "Payload":
        try:
            return await self.aget()
        except errors.EndOfStream:
            raise StopAsyncIteration from None

    _task = staticmethod(aio.task_number)

    def _decode_dtype(self, code: bytes, /) -> "np.dtype[Any]":
        try:
            return dtypes.decode_dtype(code)
        except errors.Corrupt as error:
            raise _failures.named(error, self.channel) from error.__cause__

    def _decode(self, kind: int, message: memoryview, copy: bool) -> object:
        try:
            return codecs.decode(kind, message, copy, self._pickle)
        except (errors.Corrupt, errors.UnsafeMessage) as error:
            raise _failures.named(error, self.channel) from error.__cause__

    @property
    def stats(self) -> ConsumerStats:
        """Counters, as of now."""
        return ConsumerStats(*self._counts(), transport=self._link.transport if self._link is not None else "ring")

    def close(self) -> None:
        """Leaves the group, once the last view on its messages is gone. Closing again does nothing.

        What its threads and tasks got as views is done then, unless an exception leaves the consumer's with block.

        If a signal's handler raises meanwhile (Ctrl-C), every other call finds the consumer closed, but it is still a
        member of its group: close it again, or let it be closed at exit.
        """
        self._end(exiting=False, clean=True)

    def _end(self, *, exiting: bool, clean: bool = False) -> None:
        code = self._refuse()  # first: whoever is woken finds it closed
        if code == 0:
            self._readiness.closing()
            code = self._close(exiting, clean)
        if self._link is not None:
            self._link.close()
        if code < 0 and code != -errno.ECHILD:
            _failures.fail(code, self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(exiting=False, clean=kind is None)

    def __repr__(self) -> str:
        closed = ", closed" if self.closed else ""
        return (
            f"<Consumer on channel {getattr(self, 'channel', None)!r}, group {getattr(self, 'group', None)!r}{closed}>"
        )
