"""Looking at a channel, and removing it, without taking part; and channels without a name."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from . import _failures, _names, _shortage, errors
from ._core import DURABLE, SHARED, channel_fd, inspect_channel, remove, remove_group, wanted

_ONLY_TO_BE_REMOVED = (-errno.EBADMSG, -errno.EPROTONOSUPPORT)  # damaged, or another version's
_STATES: dict[int, Literal["live", "ended", "dead"]] = {1: "live", 2: "ended", 3: "dead"}


@dataclass(frozen=True, slots=True)
class Lane:
    """One producer's lane.

    Attributes
    ----------
    id
        As in `Message.lane`.
    pid
        Of the producer.
    state
        "live"; or "ended" or "dead", when its producer has closed or died and some group has not read it to the end.
    messages
        Put so far.
    backlog
        Those that some group has not let go; where there is no group, those that wait for the first one.
    """

    id: int
    pid: int
    state: Literal["live", "ended", "dead"]
    messages: int
    backlog: int


@dataclass(frozen=True, slots=True)
class Group:
    """One group of consumers.

    Attributes
    ----------
    name, shared, durable
        As its members said; a group that was declared and that nobody has joined yet is neither shared nor durable.
    pids
        Of its members.
    backlog
        Messages that it has not let go.
    """

    name: str
    shared: bool
    durable: bool
    pids: list[int]
    backlog: int


class Channel:
    """A channel as it looks from outside; or, without a name, one that is made here and is no file anywhere.

    Every attribute is looked up anew. One without a name lives in memory alone, for as long as a `Channel`, a producer,
    a consumer or a descriptor of it is left in some process; when they are gone, however, nothing is left behind. Give
    it to `Producer` and `Consumer` in place of a name, and to other processes as an argument of theirs
    (`multiprocessing`, with any start method), or its descriptor (`fileno`) in any other way. It cannot be truncated by
    anybody. A descriptor to wait on (`Consumer.fileno`) that a process of another user or pid namespace should
    make readable becomes so up to 0.6 s later.

    Parameters
    ----------
    name
        Of a channel that is there, if only damaged, so that it can be removed. None: a new one, without a name. "fd:7":
        the one without a name that descriptor 7 is of, as `from_fd`.

    Raises
    ------
    ChannelNotFound
        It is not there, or not any more.
    Closed
        It has no name, and this has been closed.
    SystemRefused
        Another process has had its tables locked for a second, and is stopped most likely. Each look at it can say so.

    Examples
    --------
    >>> import ringipc
    >>> channel = ringipc.Channel()
    >>> with ringipc.Producer(channel, capacity="1 MiB") as producer, ringipc.Consumer(channel) as consumer:
    ...     producer.put(b"between us")
    ...     consumer.get()
    True
    b'between us'
    >>> channel.close()
    """

    _fd = -1  # of one without a name, while it is open

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        if name is None:
            self._hold(channel_fd())
            return
        code = _names.checked_name(name)
        if code.startswith(b"fd:"):
            self.name = None
            self._hold(_dup(int(code[3:])))
        there = inspect_channel(self._code)[0]
        if there < 0 and (self.name is None or there not in _ONLY_TO_BE_REMOVED):
            _failures.fail(there, self if self.name is None else self.name)

    @classmethod
    def from_fd(cls, fd: int) -> Self:
        """The channel without a name that a descriptor is of, which another process has passed on; it stays yours.

        Raises
        ------
        Corrupt, Incompatible, SystemRefused
            It is of something else.
        """
        return cls(f"fd:{fd}")

    def _hold(self, fd: int) -> None:
        if fd < 0:
            _failures.fail(fd, self, wanted=wanted())
        self._fd = fd

    @property
    def _code(self) -> bytes:
        """As the core takes it."""
        return _names.checked_name(self.name) if self.name is not None else b"fd:%d" % self.fileno()

    def fileno(self) -> int:
        """The descriptor of one without a name: it is this object's, and stays the same until `close`.

        Raises
        ------
        ValueError
            The channel has a name: that is what to give to another process.
        """
        if self.name is not None:
            raise ValueError(f"channel {self.name!r} has a name, and no descriptor: pass the name on")
        if self._fd < 0:
            raise errors.Closed(f"{self!r} is closed")
        return self._fd

    def close(self) -> None:
        """Lets go of one without a name; who takes part in it is not disturbed. Closing again does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """To another process: by name, or where there is none as a descriptor that `multiprocessing` passes on."""
        if self.name is not None:
            return Channel, (self.name,)
        from multiprocessing.reduction import DupFd

        return _take_passed, (DupFd(self.fileno()),)

    def _look(
        self,
    ) -> tuple[list[tuple[int, int, int, int, int]], list[tuple[bytes, int, int]], list[tuple[int, int]], bool]:
        code, lanes, groups, members, end_waits = inspect_channel(self._code)
        if code < 0:
            _failures.fail(code, self if self.name is None else self.name)
        return lanes, groups, members, end_waits

    @property
    def lanes(self) -> list[Lane]:
        """The lanes that are there, in no order."""
        lanes, _, _, _ = self._look()
        return [Lane(id, pid, _STATES[state], messages, backlog) for id, pid, state, messages, backlog in lanes]

    @property
    def groups(self) -> list[Group]:
        """The groups that are there, those without members included."""
        _, groups, members, _ = self._look()
        return [
            Group(
                name=name.decode(errors="surrogateescape"),
                shared=bool(how & SHARED),
                durable=bool(how & DURABLE),
                pids=[pid for pid, group in members if group == place],
                backlog=backlog,
            )
            for place, (name, how, backlog) in enumerate(groups)
        ]

    @property
    def pids(self) -> list[int]:
        """Of the processes that take part: one entry for each producer and each consumer."""
        return [pid for pid, _ in self._look()[2]]

    @property
    def end_waits(self) -> bool:
        """True: every producer has gone, and the end of the stream waits for a first consumer, or for one of a group
        that was declared, with what messages there are before it."""
        return self._look()[3]

    def remove(self) -> None:
        """Removes the channel with all the messages in it; one without a name can be used again.

        One with a name goes even if it is damaged, or another version's.

        Raises
        ------
        ChannelBusy
            Somebody takes part in it.
        SystemRefused
            Files that are none of ringipc's keep the directory of a damaged one; or as when one looks at it.
        """
        code, pid = remove(self._code)
        if code == -errno.EBUSY:
            pids = [pid] if pid else _shortage.holders(self._code)
            who = f"pid {', '.join(map(str, pids))} takes" if pids else "a process that is not seen from here takes"
            raise errors.ChannelBusy(f"{self._called()}: {who} part in it; it must close, or end, first")
        if code < 0:
            _failures.fail(code, self if self.name is None else self.name, wanted=wanted())

    def remove_group(self, group: str) -> None:
        """Ends a group that has no members, a durable one for example: nothing is kept for it from then on.

        Raises
        ------
        GroupBusy
            It has members.
        KeyError
            There is no such group.
        """
        code, pid = remove_group(self._code, _names.checked_name(group, "group"))
        if code == -errno.EBUSY:
            raise errors.GroupBusy(f"{self._called()}: pid {pid} is a member of group {group!r}")
        if code == -errno.ENOENT:
            self._look()  # it may be the channel that is not there
            raise KeyError(group)
        if code < 0:
            _failures.fail(code, self if self.name is None else self.name)

    def _called(self) -> str:
        return f"channel {self.name!r}" if self.name is not None else f"channel {self!r}"

    def __repr__(self) -> str:
        if self.name is not None:
            return f"<Channel {self.name!r}>"
        return f"<Channel without a name, {f'descriptor {self._fd}' if self._fd >= 0 else 'closed'}>"


class _Passed(Protocol):
    def detach(self) -> int: ...


def _dup(fd: int) -> int:
    try:
        return os.dup(fd)
    except OSError as error:
        return -(error.errno or errno.EBADF)


def _take_passed(passed: _Passed) -> Channel:
    fd = passed.detach()
    try:
        return Channel.from_fd(fd)
    finally:
        os.close(fd)


def code_of(channel: str | Channel) -> bytes:
    """What a user gives as a channel, as the core takes it."""
    if isinstance(channel, Channel):
        return channel._code
    code = _names.checked_name(channel)
    if not code.startswith(b"fd:"):
        _failures.check_base()
    return code


def open(name: str) -> Channel:
    """Looks at a channel without taking part in it.

    Parameters
    ----------
    name
        Of the channel.

    Raises
    ------
    ChannelNotFound
        It is not there.

    Examples
    --------
    >>> import ringipc
    >>> with ringipc.Producer("seen", capacity="1 MiB", groups=["later"]) as producer:
    ...     producer.put(b"kept for the group")
    ...     [(group.name, group.backlog) for group in ringipc.open("seen").groups]
    True
    [('later', 1)]
    >>> ringipc.open("seen").remove()
    """
    _failures.check_base()
    return Channel(name)
