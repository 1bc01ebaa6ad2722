"""Links over sockets: a producer's, with a member of its channel per consumer, and a consumer's, with a lane per
producer."""

import errno
import os

from .. import errors
from .._core import BY_TIME, DURABLE, LOSSY, NEWEST, SHARED
from ..channel import Channel, core_name_of
from .address import SocketAddress
from .handshake import Hello, Welcome
from .linger import Linger
from .link import ConsumerLink, ProducerLink
from .refusals import lane_refused, raise_refusal, refused
from .socket_link import Peer, SocketLink

# Messages that a remote member has at a time: in a shared group so that the others get theirs, in a lossy group so that
# the oldest are lost and not the newest.
AT_ONCE = 4


class SocketProducerLink(SocketLink, ProducerLink):
    """A producer's link: a member of its channel for each consumer."""

    is_producer = True

    def __init__(
        self,
        address: SocketAddress,
        transport: str,
        channel: Channel,
        capacity: int,
        slots: int,
        *,
        timeout: float | None,
        spin: bool,
    ) -> None:
        super().__init__(address, transport, channel, timeout=timeout, spin=spin)
        self._size = capacity, slots

    def _lane_size(self) -> tuple[int, int]:
        return self._size

    def _member(self, session: bytes, group: str, flags: int) -> Peer | Welcome:
        for peer in list(self._peers.values()):  # a member whose connection is broken makes way for another
            if peer.group == group and peer.connection is None and peer.ordinal and not flags & SHARED:
                self._remove(peer)
        window = AT_ONCE if flags & (SHARED | LOSSY) else 0
        others = self.channel.name is not None  # there may be other producers in the channel
        flags |= BY_TIME * others  # they all share the one lane at the other end
        id, holder = self.io_loop.join(core_name_of(self.channel), os.fsencode(group), flags, window, True, others)
        if id == -errno.EBUSY:
            return self._refuse(errno.EBUSY, f"group {group!r} is exclusive, and pid {holder} is its member")
        if id == -errno.EEXIST:
            text = (
                f"group {group!r} exists with another shared= or overflow= than this consumer's; use the same in both"
            )
            return self._refuse(errno.EEXIST, text)
        if id < 0:
            return self._refuse(-id, refused(id))
        return Peer(id, session, group)

    def _join(self, hello: Hello) -> Peer | Welcome:
        flags = SHARED * hello.shared | DURABLE * hello.durable | LOSSY * hello.lossy | NEWEST * hello.newest
        return self._member(hello.session, hello.group, flags)

    def _resume(self, peer: Peer, hello: Hello) -> tuple[int, int]:
        return (hello.next, hello.next) if peer.ordinal else (0, 0)

    def _can_resume(self, peer: Peer, hello: Hello) -> bool:
        return not peer.ordinal or self.io_loop.can(peer.id, hello.next)

    def _connect(self, timeout: float | None) -> None:
        connection, welcome = self._greet_listener(self._hello(), timeout)
        if welcome.passes:
            return self._receive_ring(connection)
        with self._changed:
            if self._closed:
                return connection.close()
            peer = self._peers.get(welcome.session)
            if peer is None:
                for other in list(self._peers.values()):  # a new listener has none of the messages of the old one
                    self._remove(other)
                joined = self._member(welcome.session, "default", 0)
                if isinstance(joined, Welcome):
                    connection.close()
                    raise_refusal(self.url, joined)
                peer = self._peers[welcome.session] = joined
            self._set_connection(peer, welcome.next, connection)

    def _close(self, linger: Linger) -> str:
        self._ending = True
        self.io_loop.push()
        if self.transport == "ring":
            return ""
        try:
            with self._changed:
                left = self._left()
                while left and not self._closed and linger.lasts(left, _count(left), self._why_left):
                    self._changed.wait(0.02)
                    left = self._left()
                lost = linger.lost(_count(left), self._why_left)
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
        """Return the messages that are still to be taken, and the progress of each peer."""
        peers = [peer for peer in self._peers.values() if peer.connection is not None]
        progress = [(0, self.io_loop.progress(peer.id)) for peer in peers]
        if self.channel.name is not None:
            return progress if self._left_of_ring(peers) else []
        lanes = self.channel.lanes  # of this producer alone
        if not lanes and not progress:
            return []
        waiting = [group.backlog for group in self.channel.groups] or [lane.backlog for lane in lanes]
        mine = len(self._peers) + any(lane.state == "live" for lane in lanes)  # live: a producer that is being deleted
        only_here = len(self.channel.pids) <= mine  # else another process is in the channel
        return [(max(waiting, default=0), 0), *progress] if progress or only_here else []

    def _left_of_ring(self, peers: list[Peer]) -> bool:
        """End the streams of the peers once they have all messages. Other producers may continue in the channel."""
        try:
            backlogs = {group.name: group.backlog for group in self.channel.groups}
        except errors.ChannelNotFound:  # removed with its last member
            return False
        if not any(backlogs.get(peer.group, 0) for peer in peers):
            self.io_loop.finish()
        return bool(peers)


def _count(left: list[tuple[int, int]]) -> int:
    """Return the number of messages in what `_left` returns."""
    return sum(count for count, _ in left)


class SocketConsumerLink(SocketLink, ConsumerLink):
    """A consumer's link: a lane of its channel for each producer."""

    is_producer = False

    def __init__(
        self,
        address: SocketAddress,
        transport: str,
        channel: Channel,
        group: str,
        flags: int,
        *,
        timeout: float | None,
        spin: bool,
    ) -> None:
        super().__init__(address, transport, channel, timeout=timeout, spin=spin)
        self._group = group
        self._flags = flags
        # The consumer is alone in its channel. It keeps claims there if its group does: so the producer is informed of
        # what is acknowledged, and not only of what is released.
        self.flags = flags & (LOSSY | BY_TIME) | (SHARED if flags & (SHARED | DURABLE | LOSSY) else 0)

    def brings_all(self) -> bool:
        return super().brings_all() and not (self._binds and self._passes_ring())

    def _new_lane(self, said: Hello | Welcome, label: bytes = b"") -> Peer | Welcome:
        prompt = bool(self._flags & (SHARED | LOSSY))
        id = self._make_lane(said, two_way=True, prompt=prompt, label=label)
        if id < 0:
            return self._refuse(-id, lane_refused(said, id))
        return Peer(id, said.session, "")

    def _join(self, hello: Hello) -> Peer | Welcome:
        return self._new_lane(hello)

    def _resume(self, peer: Peer, hello: Hello) -> tuple[int, int]:
        self.io_loop.disconnect(peer.id)  # so that nothing more comes over the old connection after progress is read
        return self.io_loop.progress(peer.id), 0

    def _connect(self, timeout: float | None) -> None:
        with self._changed:
            last = self._peers.get(self._last)
            if last is not None:
                self.io_loop.disconnect(last.id)
            following = self.io_loop.progress(last.id) if last is not None else 0
        connection, welcome = self._greet_listener(self._hello(following, self._group, self._flags), timeout)
        if welcome.passes:
            self.flags = self._flags
            return self._receive_ring(connection)
        with self._changed:
            if self._closed:
                return connection.close()
            peer = self._peers.get(welcome.session)
            if peer is not None and (peer is not last or welcome.next != following):  # it has forgotten this session
                self._remove(peer)
                peer = None
            self._last = welcome.session
            if peer is None:
                joined = self._new_lane(welcome)
                if isinstance(joined, Welcome):
                    connection.close()
                    raise_refusal(self.url, joined)
                peer = self._peers[welcome.session] = joined
            self._set_connection(peer, 0, connection)
