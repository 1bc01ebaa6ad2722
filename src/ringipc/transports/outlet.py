"""A producer's link: where its messages go on to consumers."""

import errno
import os

from .. import errors
from .._core import DURABLE, NEWEST, SHARED
from ..channel import Channel, code_of
from .base import OutgoingLink, Patience, refused
from .handshake import Hello, Welcome
from .link import Link, Peer, raise_refusal
from .options import Options
from .url import Url

_AT_ONCE = 4  # messages that a member of a shared group has at a time, so that the others get theirs


class Outlet(Link, OutgoingLink):
    """A producer's: a member of its channel for each consumer."""

    is_producer = True

    def __init__(
        self,
        url: Url,
        options: Options,
        channel: Channel,
        capacity: int,
        slots: int,
        *,
        spin: bool,
    ) -> None:
        super().__init__(url, options, channel, spin=spin)
        self._lane = capacity, slots

    def _size(self) -> tuple[int, int]:
        return self._lane

    def _member(self, session: bytes, group: str, how: int) -> Peer | Welcome:
        for peer in list(self._peers.values()):  # one that is broken makes place for another
            if peer.group == group and peer.connection is None and peer.turn and not how & SHARED:
                self._remove(peer)
        window = _AT_ONCE if how & SHARED else 0
        others = self.channel.name is not None  # beside us there may be other producers
        id, holder = self.pump.join(code_of(self.channel), os.fsencode(group), how, window, True, others)
        if id == -errno.EBUSY:
            return self._refuse(errno.EBUSY, f"group {group!r} is exclusive, and pid {holder} is its member")
        if id == -errno.EEXIST:
            return self._refuse(errno.EEXIST, f"group {group!r} is there, shared or exclusive, unlike this consumer")
        if id < 0:
            return self._refuse(-id, refused(id))
        return Peer(id, session, group)

    def _join(self, hello: Hello) -> Peer | Welcome:
        how = SHARED * hello.shared | DURABLE * hello.durable | NEWEST * hello.newest
        return self._member(hello.session, hello.group, how)

    def _next(self, peer: Peer, hello: Hello) -> tuple[int, int]:
        return (hello.next, hello.next) if peer.turn else (0, 0)

    def _is_of_use(self, peer: Peer, hello: Hello) -> bool:
        return not peer.turn or self.pump.can(peer.id, hello.next)

    def _connect(self, timeout: float | None) -> None:
        capacity, slots = self._lane
        connection, welcome = self._meet(self._hello(capacity=capacity, slots=slots), timeout)
        if welcome.passes:
            return self._take_ring(connection)
        with self._changed:
            if self._closed:
                return connection.close()
            peer = self._peers.get(welcome.session)
            if peer is None:
                for other in list(self._peers.values()):  # a listener that has begun anew has none of the old messages
                    self._remove(other)
                joined = self._member(welcome.session, "default", 0)
                if isinstance(joined, Welcome):
                    connection.close()
                    raise_refusal(self.url, joined)
                peer = self._peers[welcome.session] = joined
            self._take(peer, welcome.next, connection)

    def _close(self, patience: Patience) -> str:
        self._ending = True
        self.pump.push()
        if self.transport == "ring":
            return ""
        try:
            with self._changed:
                left = self._left()
                while left and not self._closed and patience.lasts(left, _count(left), self._why_left):
                    self._changed.wait(0.02)
                    left = self._left()
                lost = patience.lost(_count(left), self._why_left)
        except Exception:
            self.abandon()
            raise
        self.abandon()  # but not after Ctrl-C: closing can be tried again
        return lost

    def _why_left(self) -> str:
        connected = {peer.group for peer in self._peers.values()}
        if self.channel.name is None:
            behind = {group.name for group in self.channel.groups if group.backlog}
        else:
            behind = connected
        missing = ", ".join(map(repr, sorted(behind - connected)))
        if missing or not behind:
            return f"no consumer{f' of group {missing}' if missing else ''} is connected"
        return f"group {', '.join(map(repr, sorted(behind)))} did not take all"

    def _left(self) -> list[tuple[int, int]]:
        """What is still to be taken, and how far each peer is."""
        peers = [peer for peer in self._peers.values() if peer.connection is not None]
        there = [(0, self.pump.progress(peer.id)) for peer in peers]
        if self.channel.name is not None:
            return there if self._left_of_ring(peers) else []
        lanes = self.channel.lanes  # of this producer alone
        if not lanes and not there:
            return []
        waiting = [group.backlog for group in self.channel.groups] or [lane.backlog for lane in lanes]
        mine = len(self._peers) + any(lane.state == "live" for lane in lanes)  # a producer that is just being let go
        only_here = len(self.channel.pids) <= mine  # else somebody else has the ring
        return [(max(waiting, default=0), 0), *there] if there or only_here else []

    def _left_of_ring(self, peers: list[Peer]) -> bool:
        """Of a ring that others may go on with: once our peers have had all, their streams end."""
        try:
            backlogs = {group.name: group.backlog for group in self.channel.groups}
        except errors.ChannelNotFound:  # it has gone with its last member
            return False
        if not any(backlogs.get(peer.group, 0) for peer in peers):
            self.pump.finish()
        return bool(peers)


def _count(left: list[tuple[int, int]]) -> int:
    """The messages in what `_left` says."""
    return sum(count for count, _ in left)
