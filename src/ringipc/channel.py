"""Channels: inspecting and removing them without joining, and making anonymous ones."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from . import _failures, _names, _shortage, errors
from ._core import DURABLE, LOSSY, SHARED, channel_fd, inspect_channel, last_shortage, remove, remove_group
from ._passing import Passed

_REMOVABLE = (-errno.EBADMSG, -errno.EPROTONOSUPPORT)  # damaged, or of another version: `remove` still works
State = Literal["live", "ended", "dead", "failed"]
_STATES: dict[int, State] = {1: "live", 2: "ended", 3: "dead", 4: "failed"}


@dataclass(frozen=True, slots=True)
class Lane:
    """One producer's lane.

    Attributes
    ----------
    id
        As in `Message.lane_id`.
    pid
        Of the producer.
    state
        "live"; or "ended", "dead" or "failed" if the producer has closed, died or failed, and some group has not read
        the lane to its end.
    messages
        Number of messages put so far.
    backlog
        Number of messages that some group has not released; without any group, those that wait for the first one.
    """

    id: int
    pid: int
    state: State
    messages: int
    backlog: int


@dataclass(frozen=True, slots=True)
class Group:
    """One group of consumers.

    Attributes
    ----------
    name, shared, durable
        As given to its members. A declared group is shared once a shared member has joined, and durable if
        a member made it so; else it ends when nobody has the channel open and its messages are done.
    overflow
        As given to its members: "block" or "drop-old".
    pids
        Of its members.
    backlog
        Number of messages that it has not released.
    """

    name: str
    shared: bool
    durable: bool
    overflow: Literal["block", "drop-old"]
    pids: list[int]
    backlog: int


class Channel:
    """A channel, to inspect or to pass to other processes. Made by `open`, `anonymous` or `from_fd`.

    A `Channel` is not a member of the channel. Every attribute is read from the channel at each access.

    An **anonymous** channel has no name and no file. It exists in memory while some process has a `Channel`, a
    producer, a consumer or a file descriptor of it. Give it to `Producer` and `Consumer` instead of a name; pass it to
    other processes as an argument (`multiprocessing`, any start method), or pass its file descriptor (`fileno`). If the
    members are processes of different users or pid namespaces, a pollfd (`Consumer.fileno`) can become readable up to
    0.6 s late.

    Attributes
    ----------
    name
        None for an anonymous channel.

    Examples
    --------
    >>> import ringipc
    >>> channel = ringipc.Channel.anonymous()
    >>> with ringipc.Producer(channel, capacity="1 MiB") as producer, ringipc.Consumer(channel) as consumer:
    ...     producer.put(b"between us")
    ...     consumer.get()
    True
    b'between us'
    >>> channel.close()
    """

    name: str | None
    _fd = -1  # of an anonymous channel, until `close`

    def __init__(self) -> None:
        raise TypeError("use Channel.open(name) for an existing channel, or Channel.anonymous() to make one")

    @classmethod
    def _make(cls, name: str | None, fd: int = -1) -> Self:
        channel = cls.__new__(cls)
        channel.name = name
        channel._fd = fd
        return channel

    @classmethod
    def _adopt(cls, fd: int) -> Self:
        """Return an anonymous channel for a file descriptor, which it owns from now on. A negative errno raises."""
        channel = cls._make(None, fd)
        if fd < 0:
            _failures.fail(fd, channel, shortage=last_shortage())
        return channel

    @classmethod
    def open(cls, name: str) -> Self:
        """Open a channel that exists, to inspect or remove it without joining it.

        Parameters
        ----------
        name
            Of the channel. A damaged channel, or one of an incompatible version, can be opened to remove it.

        Raises
        ------
        ChannelNotFound
            There is no such channel.
        SystemRefused
            It cannot be read; for example, a process that is stopped has had its tables locked for a second. Every
            attribute and method can raise this too.

        Examples
        --------
        >>> import ringipc
        >>> with ringipc.Producer("seen", capacity="1 MiB", groups=["later"]) as producer:
        ...     producer.put(b"kept for the group")
        ...     [(group.name, group.backlog) for group in ringipc.Channel.open("seen").groups]
        True
        [('later', 1)]
        >>> ringipc.Channel.open("seen").remove()
        """
        core_name = _names.checked_name(name)
        if core_name.startswith(b"fd:"):
            return cls.from_fd(int(core_name[3:]))
        _failures.check_base()
        channel = cls._make(name)
        rc = inspect_channel(core_name)[0]
        if rc < 0 and rc not in _REMOVABLE:
            _failures.fail(rc, name)
        return channel

    @classmethod
    def anonymous(cls) -> Self:
        """Create an anonymous channel.

        Raises
        ------
        SystemRefused
            There is no memory, or no file descriptor is free.
        """
        return cls._adopt(channel_fd())

    @classmethod
    def from_fd(cls, fd: int) -> Self:
        """Open the anonymous channel of a file descriptor that another process has passed. It is duplicated.

        Raises
        ------
        Corrupt, Incompatible, SystemRefused
            The descriptor is not of an anonymous channel, or cannot be duplicated.
        """
        try:
            duplicate = os.dup(fd)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise errors.SystemRefused(error.errno, f"file descriptor {fd} is not open") from None
            duplicate = -(error.errno or errno.EINVAL)
        channel = cls._adopt(duplicate)
        code = inspect_channel(channel._core_name)[0]
        if code in (-errno.EBADMSG, -errno.ENOENT):
            raise errors.Corrupt(f"file descriptor {fd} is not of an anonymous channel, or its channel is damaged")
        if code < 0:
            _failures.fail(code, channel)
        return channel

    @property
    def _core_name(self) -> bytes:
        """The name for the C core."""
        return _names.checked_name(self.name) if self.name is not None else b"fd:%d" % self.fileno()

    @property
    def _subject(self) -> "str | Channel":
        """The channel as errors name it."""
        return self if self.name is None else self.name

    def fileno(self) -> int:
        """Return the file descriptor of an anonymous channel. It belongs to this object and is the same until `close`.

        Raises
        ------
        ValueError
            The channel has a name: pass the name to the other process.
        """
        if self.name is not None:
            raise ValueError(
                f"channel {self.name!r} has a name and no file descriptor: pass the name to the other process"
            )
        if self._fd < 0:
            raise errors.Closed("this anonymous channel is closed")
        return self._fd

    def close(self) -> None:
        """Close the file descriptor of an anonymous channel. Members are not affected. Closing again does nothing."""
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
        """Pass the channel to another process: by name, or as a file descriptor through `multiprocessing`."""
        if self.name is not None:
            return Channel.open, (self.name,)
        return _take_passed, (Passed(self.fileno()),)

    def _inspect(
        self,
    ) -> tuple[list[tuple[int, int, int, int, int]], list[tuple[bytes, int, int]], list[tuple[int, int]], bool]:
        rc, lanes, groups, members, end_waits = inspect_channel(self._core_name)
        if rc < 0:
            _failures.fail(rc, self._subject)
        return lanes, groups, members, end_waits

    @property
    def lanes(self) -> list[Lane]:
        """The lanes, in no particular order."""
        lanes, _, _, _ = self._inspect()
        return [Lane(id, pid, _STATES[state], messages, backlog) for id, pid, state, messages, backlog in lanes]

    @property
    def groups(self) -> list[Group]:
        """The groups, including those without members."""
        _, groups, members, _ = self._inspect()
        return [
            Group(
                name=name.decode(errors="surrogateescape"),
                shared=bool(flags & SHARED),
                durable=bool(flags & DURABLE),
                overflow="drop-old" if flags & LOSSY else "block",
                pids=[pid for pid, group in members if group == index],
                backlog=backlog,
            )
            for index, (name, flags, backlog) in enumerate(groups)
        ]

    @property
    def pids(self) -> list[int]:
        """The pids of the members: one entry for each producer and each consumer."""
        return [pid for pid, _ in self._inspect()[2]]

    @property
    def end_waits(self) -> bool:
        """Whether the end of the stream still has to be delivered.

        True if every producer has closed, and the first consumer, or the first member of a declared group, is still to
        get the end of the stream after the messages before it.
        """
        return self._inspect()[3]

    def remove(self) -> None:
        """Remove the channel with all its messages. An anonymous channel can be used again.

        A channel with a name is removed even if it is damaged or of another version.

        Raises
        ------
        ChannelBusy
            The channel has members.
        SystemRefused
            The directory of a damaged channel has files that do not belong to ringipc; or as for `open`.
        """
        rc, pid = remove(self._core_name)
        if rc == -errno.EBUSY:
            pids = [pid] if pid else _shortage.holders(self._core_name)
            who = f"pid {', '.join(map(str, pids))}" if pids else "a process that is not visible from here"
            raise errors.ChannelBusy(
                f"channel {self._subject!r} cannot be removed while it has members: {who}; close them first"
            )
        if rc < 0:
            _failures.fail(rc, self._subject, shortage=last_shortage())

    def remove_group(self, group: str) -> None:
        """Remove a group without members, for example a durable one. No messages are kept for it from then on.

        Raises
        ------
        GroupBusy
            The group has members.
        GroupNotFound
            There is no such group. A `KeyError`.
        """
        rc, pid = remove_group(self._core_name, _names.checked_name(group, "group"))
        if rc == -errno.EBUSY:
            raise errors.GroupBusy(
                f"channel {self._subject!r}: pid {pid} is a member of group {group!r}; close it first"
            )
        if rc == -errno.ENOENT:
            self._inspect()  # raises ChannelNotFound if there is no channel
            raise errors.GroupNotFound(f"channel {self._subject!r} has no group {group!r}")
        if rc < 0:
            _failures.fail(rc, self._subject)

    def __repr__(self) -> str:
        if self.name is not None:
            return f"<Channel {self.name!r}>"
        return f"<anonymous Channel, {f'file descriptor {self._fd}' if self._fd >= 0 else 'closed'}>"


def _take_passed(passed: Passed) -> Channel:
    return Channel._adopt(passed.detach())


def core_name_of(channel: str | Channel) -> bytes:
    """Return a channel argument of a user, as the name for the C core."""
    if isinstance(channel, Channel):
        return channel._core_name
    core_name = _names.checked_name(channel)
    if not core_name.startswith(b"fd:"):
        _failures.check_base()
        # requests without members: nobody waits for the replies any more
        if _is_service(core_name) and remove(core_name + _names.REQUESTS)[0] not in (0, -errno.ENOENT):
            raise errors.Incompatible(
                f"channel {channel!r}: this is the name of a service; open a Server or Client of it, or choose another "
                "name for the channel"
            )
    return core_name


def _is_service(core_name: bytes) -> bool:
    requests = core_name + _names.REQUESTS
    if not os.path.exists(_names.path_of(requests)):
        return False
    rc, _, groups, _, _ = inspect_channel(requests)
    return rc == 0 and [name for name, _, _ in groups] == [_names.SERVERS.encode()]
