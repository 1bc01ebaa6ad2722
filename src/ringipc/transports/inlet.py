"""A consumer's link: where its messages come from."""

from .._core import DURABLE, SHARED
from ..channel import Channel
from .base import lane_refused
from .handshake import Hello, Welcome
from .link import Link, Peer, raise_refusal
from .options import Options
from .url import Url


class Inlet(Link):
    """A consumer's: a lane of its channel for each producer."""

    is_producer = False

    def __init__(self, url: Url, options: Options, channel: Channel, group: str, how: int, *, spin: bool) -> None:
        super().__init__(url, options, channel, spin=spin)
        self._group = group
        self._how = how
        # Of the consumer in its channel, which is its own. It keeps claims where the group does: so the producer is
        # told of what is done with, and not only of what is let go.
        self.how = SHARED if how & (SHARED | DURABLE) else 0

    def _new_lane(self, said: Hello | Welcome) -> Peer | Welcome:
        id = self._make_lane(said, two_way=True, prompt=bool(self._how & SHARED))
        if id < 0:
            return self._refuse(-id, lane_refused(said, id))
        return Peer(id, said.session, "")

    def _join(self, hello: Hello) -> Peer | Welcome:
        return self._new_lane(hello)

    def _next(self, peer: Peer, hello: Hello) -> tuple[int, int]:
        self.pump.disconnect(peer.id)  # nothing more comes by the old connection: what we tell is what we have
        return self.pump.progress(peer.id), 0

    def _connect(self, timeout: float | None) -> None:
        with self._changed:
            last = self._peers.get(self._last)
            if last is not None:
                self.pump.disconnect(last.id)
            following = self.pump.progress(last.id) if last is not None else 0
        connection, welcome = self._meet(self._hello(following, self._group, self._how), timeout)
        if welcome.passes:
            self.how = self._how
            return self._take_ring(connection)
        with self._changed:
            if self._closed:
                return connection.close()
            peer = self._peers.get(welcome.session)
            if peer is not None and (peer is not last or welcome.next != following):  # it does not know us any more
                self._remove(peer)
                peer = None
            self._last = welcome.session
            if peer is None:
                joined = self._new_lane(welcome)
                if isinstance(joined, Welcome):
                    connection.close()
                    raise_refusal(self.url, joined)
                peer = self._peers[welcome.session] = joined
            self._take(peer, 0, connection)

    def close(self) -> None:
        """After the consumer has left: tells the producers."""
        self.abandon()
