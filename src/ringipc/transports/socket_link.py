"""Links over sockets: peers, by their sessions, and how they reconnect.

A producer's link has a member in the channel for each consumer at the other end of a connection; a consumer's link has
a lane for each producer. So groups, back-pressure, selection and everything else are the channel's. The channel is an
anonymous one of this process; or, if a producer has a fallback, the channel of the producer.
"""

import contextlib
import dataclasses
import errno
import os
import secrets
import socket
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .. import _readiness, errors
from .._core import DURABLE, LOSSY, NEWEST, SHARED, STEP_END
from ..channel import Channel
from .address import SocketAddress
from .connections import Listener, connect
from .descriptors import receive_descriptor, send_descriptor
from .handshake import Hello, Welcome, boot_id
from .link import Link, log
from .refusals import raise_refusal

# Seconds in which a broken connection must be made again; then the peer counts as dead.
RECONNECT_SECONDS = 0.5  # of a producer's connection
_CONSUMER_RECONNECT_SECONDS = 1.0  # of a consumer's: the consumer is to give up first
_PAUSE = 0.2  # seconds between attempts to reconnect
_AFTER_END = 1.0  # seconds between the end of a stream and the search for another: so the end is noticed
_WATCH_EVERY = 0.25  # seconds
_REMEMBERED = 1000  # sessions that have ended


@dataclass(slots=True)
class Peer:
    """The handle at the other end of a connection, or of one that broke."""

    id: int  # in the I/O loop
    session: bytes
    group: str
    connection: socket.socket | None = None
    ordinal: int = 0  # of the connection: 1 is the first
    until: float | None = None  # if the connection is broken: when the peer is given up (time.monotonic)


class SocketLink(Link):
    """What the links of producers and consumers have in common."""

    is_producer: bool

    def __init__(
        self, address: SocketAddress, transport: str, channel: Channel, *, timeout: float | None, spin: bool
    ) -> None:
        super().__init__(str(address), transport, channel, spin=spin)
        self._address = address
        self._binds = self.is_producer if address.bind is None else address.bind
        self._timeout = timeout
        self._session = secrets.token_bytes(16)
        self._changed = threading.Condition(threading.RLock())
        self._peers: dict[bytes, Peer] = {}
        self._ended_sessions: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._last = b""  # the session of the last listener, where this side connects
        self._reconnecting = False
        self._ending = False  # a producer's: nothing more will be put
        self._listener: Listener | None = None
        self._local: Listener | None = None  # for peers on this machine, to which the channel can be passed
        loops = (self._run_io, self._watch_peers) if address.can_reconnect else (self._run_io,)
        self._threads = [threading.Thread(target=loop, name=f"ringipc {self.url}", daemon=True) for loop in loops]

    def open(self) -> None:
        for thread in self._threads:
            thread.start()
        try:
            if not self._binds:
                return self._connect(self._timeout)
            self._listener = Listener(self._address, admit=self._admit, refused=self._log_refusal)
            self.url = self._listener.url
            local = self._address.local_address() if self._passes_ring() else None
            if local is not None:
                self._local = Listener(local, admit=partial(self._admit, local=True), refused=self._log_refusal)
                self._local.start()
            self._listener.start()
        except BaseException:
            self.abandon()
            raise

    # ---- what producers and consumers do differently ----

    def _refusal(self, hello: Hello) -> str:
        """Return why this listener is not for the side that connects; empty if it is."""
        kind = "producer" if self.is_producer else "consumer"
        return f"a {kind} listens there, and {kind}s cannot connect to it" if hello.producer == self.is_producer else ""

    @abstractmethod
    def _join(self, hello: Hello) -> Peer | Welcome:
        """Return a new peer, or the refusal."""

    @abstractmethod
    def _resume(self, peer: Peer, hello: Hello) -> tuple[int, int]:
        """Return the number of messages that this side has, and of the one that it sends next, on a new connection."""

    def _can_resume(self, peer: Peer, hello: Hello) -> bool:
        """Return whether a peer that reconnects can continue where it was."""
        return True

    @abstractmethod
    def _connect(self, timeout: float | None) -> None: ...

    def _lane_size(self) -> tuple[int, int]:
        """Return the bytes and messages of the lane for what this side sends."""
        return 0, 0

    # ---- greetings ----

    def _hello(self, following: int = 0, group: str = "", flags: int = 0) -> Hello:
        capacity, slots = self._lane_size()
        return Hello(
            producer=self.is_producer,
            pid=os.getpid(),
            session=self._session,
            next=following,
            group=group,
            shared=bool(flags & SHARED),
            durable=bool(flags & DURABLE),
            lossy=bool(flags & LOSSY),
            newest=bool(flags & NEWEST),
            maps=self._address.shares_memory() and not self._reconnecting,
            capacity=capacity,
            slots=slots,
            boot=boot_id(),
        )

    def _welcome(self, following: int = 0, *, local: str = "", passes: bool = False) -> Welcome:
        capacity, slots = self._lane_size()
        return Welcome(0, local, os.getpid(), self._session, following, passes, capacity, slots, boot_id())

    def _refuse(self, error: int, text: str) -> Welcome:
        return Welcome(error, text, os.getpid(), self._session, 0, False, 0, 0, boot_id())

    def _passes_ring(self) -> bool:
        return self._address.shares_memory() and self.channel.name is None

    def _admit(self, hello: Hello, local: bool = False) -> tuple[Welcome, Callable[[socket.socket], None]]:
        with self._changed:
            if self._closed:
                return self._refuse(errno.ESHUTDOWN, "it is being closed"), _close
            refusal = self._refusal(hello)
            if refusal:
                return self._refuse(errno.EPROTO, refusal), _close
            if hello.maps and hello.boot == boot_id():
                if local or (self._address.passes_descriptors and self._passes_ring()):
                    return self._welcome(passes=True), self._pass_ring
                if self._local is not None:
                    return self._welcome(local=self._local.url), _close
            peer = self._peers.get(hello.session)
            if hello.session in self._ended_sessions or (self._ending and peer is not None and peer.until is None):
                return self._refuse(errno.ESHUTDOWN, "the stream has ended"), _close
            if peer is not None and not self._can_resume(peer, hello):
                self._remove(peer)
                peer = None
            if peer is None:
                joined = self._join(hello)
                if isinstance(joined, Welcome):
                    return joined, _close
                peer = self._peers[hello.session] = joined
            received, sends = self._resume(peer, hello)
            return self._welcome(received), partial(self._set_connection, peer, sends)

    def _log_refusal(self, error: errors.RingError) -> None:
        # As text: a log record would keep the exception, and its frames.
        log.warning("%s: a peer was refused: %s", self.url, str(error))

    def _greet_listener(self, hello: Hello, timeout: float | None) -> tuple[socket.socket, Welcome]:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(end - time.monotonic(), 0)
            connection, welcome = connect(self._address, hello, timeout=left)
            if welcome.text and not welcome.error and hello.maps:  # it says where on this machine it passes the channel
                connection.close()
                passed = self._greet_local_listener(welcome.text, hello)
                if passed is not None:
                    return passed
                hello = dataclasses.replace(hello, maps=False)
                continue
            if not welcome.error:
                return connection, welcome
            if welcome.error != errno.ESHUTDOWN:  # else another one will soon listen there
                raise_refusal(self.url, welcome)
            if end is not None and time.monotonic() >= end:
                raise errors.ChannelNotFound(errno.ENOENT, welcome.text, self.url)
            _readiness.pause(_PAUSE / 4)

    def _greet_local_listener(self, url: str, hello: Hello) -> tuple[socket.socket, Welcome] | None:
        """Connect to a local socket of the listener, for its channel. Return None if it refuses this process."""
        address = self._address.local_address_from(url)
        if address is None:
            return None
        try:
            connection, welcome = connect(address, hello, timeout=0)
        except errors.RingError:
            return None
        if welcome.passes and not welcome.error:
            return connection, welcome
        connection.close()
        return None

    # ---- passing the channel instead of a connection ----

    def _pass_ring(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            send_descriptor(connection, self.channel.fileno())
        with self._changed:
            self._changed.notify_all()

    def _receive_ring(self, connection: socket.socket) -> None:
        """Open the channel that the peer passes. The I/O loop and this link then have nothing left to do."""
        with connection:
            fd = receive_descriptor(connection)
        try:
            self.channel = Channel.from_fd(fd)
        finally:
            os.close(fd)
        self.transport = "ring"
        self.abandon()

    # ---- connections ----

    def _set_connection(self, peer: Peer, sends: int, connection: socket.socket) -> None:
        """Give a peer its connection, the first or another one."""
        with self._changed:
            if self._closed or self._peers.get(peer.session) is not peer:
                return connection.close()
            peer.until = None
            old, peer.connection = peer.connection, connection
            peer.ordinal = self.io_loop.connect(peer.id, connection.fileno(), sends)
            if old is not None:
                old.close()
            if peer.ordinal < 0:
                self._remove(peer)
                self._start_reconnecting()
            self._changed.notify_all()

    def _run_io(self) -> None:
        """Run the I/O loop in its thread."""
        for id, ordinal, why in iter(self.io_loop.run, None):
            with self._changed:
                peer = next((each for each in self._peers.values() if each.id == id), None)
                if peer is not None and peer.ordinal == ordinal:  # else it has another connection already
                    self._connection_ended(peer, why)
                self._changed.notify_all()

    def _connection_ended(self, peer: Peer, why: int) -> None:
        if peer.connection is not None:
            peer.connection.close()
            peer.connection = None
        if why == STEP_END:
            self._ended_sessions.append(peer.session)
        if why == STEP_END or self._closed or not self._may_resume(why):
            self._remove(peer)
        else:
            peer.until = time.monotonic() + (_CONSUMER_RECONNECT_SECONDS if self.is_producer else RECONNECT_SECONDS)
        self._start_reconnecting(0 if why != STEP_END else _AFTER_END)

    def _may_resume(self, why: int) -> bool:
        """Return whether a peer may reconnect: networks fail, but on one machine a connection ends with its peer."""
        return self._address.can_reconnect and why != -errno.EBADMSG

    def _watch_peers(self) -> None:
        """Remove peers that have not reconnected in time, and break connections to machines that do not answer.

        The kernel alone would take 15 minutes to break them.
        """
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for peer in list(self._peers.values()):
                    if peer.until is not None and now >= peer.until:
                        self._remove(peer)
                        self._changed.notify_all()
                    elif peer.connection is not None and self._address.peer_is_silent(peer.connection):
                        with contextlib.suppress(OSError):
                            peer.connection.shutdown(socket.SHUT_RDWR)
                self._changed.wait(_WATCH_EVERY)

    def _remove(self, peer: Peer) -> None:
        self._peers.pop(peer.session, None)
        self.io_loop.remove(peer.id)
        if peer.connection is not None:
            peer.connection.close()
            peer.connection = None

    def _start_reconnecting(self, pause: float = 0) -> None:
        if self._binds or self._closed:
            return
        try:
            threading.Thread(target=self._reconnect, args=[pause], name=f"ringipc {self.url}", daemon=True).start()
        except RuntimeError as error:
            self._fail(errors.SystemRefused(errno.EAGAIN, f"{self.url}: not reconnected: {error}", self.url))

    def _reconnect(self, pause: float) -> None:
        self._reconnecting = True
        with self._changed:
            self._changed.wait_for(lambda: self._closed, pause)
        while not self._closed:
            try:
                return self._connect(_PAUSE)
            except errors.ChannelNotFound:
                continue
            except (errors.AuthenticationError, errors.GroupBusy, errors.Incompatible) as error:
                log.warning("%s: not reconnected: %s", self.url, str(error))
                return self._fail(error)
            except (errors.RingError, OSError):  # another program listens there, or the listener is just closing
                time.sleep(_PAUSE)

    # ---- the end ----

    def abandon(self) -> None:
        if self._pid != os.getpid():
            return
        with self._changed:
            self._closed = True
            for peer in list(self._peers.values()):
                self._remove(peer)
            self._changed.notify_all()
        for listener in (self._listener, self._local):
            if listener is not None:
                listener.close()
        self.io_loop.stop()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join()


def _close(connection: socket.socket) -> None:
    connection.close()
