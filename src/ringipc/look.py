"""Looking at a channel, and removing it, without taking part."""

import errno
from dataclasses import dataclass
from typing import Literal

from . import channel as _channel
from . import errors
from ._core import DURABLE, SHARED, look, remove, remove_group

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
    """

    id: int
    pid: int
    state: Literal["live", "ended", "dead"]
    messages: int


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
    """A channel as it looks from outside; `open` returns one. Every attribute is looked up anew.

    Raises
    ------
    ChannelNotFound
        It is not there, or not any more.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._code = _channel.checked_name(name)
        self._look()

    def _look(self) -> tuple[list[tuple[int, int, int, int]], list[tuple[bytes, int, int]], list[tuple[int, int]]]:
        code, lanes, groups, members = look(self._code)
        if code < 0:
            _channel.fail(code, self.name)
        return lanes, groups, members

    @property
    def lanes(self) -> list[Lane]:
        """The lanes that are there, in no order."""
        lanes, _, _ = self._look()
        return [Lane(id, pid, _STATES[state], messages) for id, pid, state, messages in lanes]

    @property
    def groups(self) -> list[Group]:
        """The groups that are there, those without members included."""
        _, groups, members = self._look()
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

    def remove(self) -> None:
        """Removes the channel with all the messages in it.

        Raises
        ------
        ChannelBusy
            Somebody takes part in it.
        """
        code, pid = remove(self._code)
        if code == -errno.EBUSY:
            raise errors.ChannelBusy(f"channel {self.name!r}: pid {pid} takes part in it; it must close, or end, first")
        if code < 0:
            _channel.fail(code, self.name)

    def remove_group(self, group: str) -> None:
        """Ends a group that has no members, a durable one for example: nothing is kept for it from then on.

        Raises
        ------
        GroupBusy
            It has members.
        KeyError
            There is no such group.
        """
        code, pid = remove_group(self._code, _channel.checked_name(group, "group"))
        if code == -errno.EBUSY:
            raise errors.GroupBusy(f"channel {self.name!r}: pid {pid} is a member of group {group!r}")
        if code == -errno.ENOENT:
            self._look()  # it may be the channel that is not there
            raise KeyError(group)
        if code < 0:
            _channel.fail(code, self.name)

    def __repr__(self) -> str:
        return f"<Channel {self.name!r}>"


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
    [('later', 1)]
    >>> ringipc.open("seen").remove()
    """
    _channel.check_base()
    return Channel(name)
