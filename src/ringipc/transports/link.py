"""What joins a handle's channel to the handles of other processes: a pump, its thread, and who is connected.

A producer's link has a member in the channel for each consumer at the other end of a connection, a consumer's link a
lane for each producer. So groups, back-pressure, selection and all else are the channel's. The channel is one without a
name, of this process alone; or, where a producer has a ring and a fallback, that ring.
"""

import contextlib
import dataclasses
import errno
import logging
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext
from typing import NoReturn, TypedDict

from .. import errors
from .._core import DURABLE, NEWEST, SHARED, STEP_END
from ..channel import Channel
from . import ring
from .base import BaseLink
from .handshake import Hello, Welcome, boot_id
from .options import Options
from .sockets import Listener, connect
from .tcp import unanswered
from .url import Url

log = logging.getLogger("ringipc")

PATIENCE = 0.5  # seconds that a producer's connection that breaks has to come again; then it counts as dead
_LONGER = 1.0  # the same for a consumer's, who is to be the first to give up
_PAUSE = 0.2  # seconds between attempts to connect again
_AFTER_END = 1.0  # seconds after the end of a stream before another one is looked for: so the end is seen
_MIND_EVERY = 0.25  # seconds
_REMEMBERED = 1000  # sessions that have ended
_NEAR = "unix://@ringipc-"  # where the ring is passed to those who come by TCP


class _Terms(TypedDict):
    key: bytes | None
    tls: SSLContext | None
    users: frozenset[int]


@dataclass(slots=True)
class Peer:
    id: int  # in the pump
    session: bytes
    group: str
    connection: socket.socket | None = None
    turn: int = 0  # of the connection: so many have been before, and it
    until: float | None = None  # broken: when it is given up (time.monotonic)


class Link(BaseLink):
    """What both ends of a socket have: peers by their sessions, and the thread that moves their messages."""

    is_producer: bool

    def __init__(self, url: Url, options: Options, channel: Channel, *, spin: bool) -> None:
        super().__init__(url, channel, spin=spin)
        self._options = options
        self._session = secrets.token_bytes(16)
        self._changed = threading.Condition(threading.RLock())
        self._peers: dict[bytes, Peer] = {}
        self._over: deque[bytes] = deque(maxlen=_REMEMBERED)  # sessions that have come to their end
        self._last = b""  # the session that we were connected with, where we connect
        self._again = False
        self._ending = False  # a producer's: nothing more will be put
        self._listener: Listener | None = None
        self._near: Listener | None = None  # for those who come by TCP from this machine, and can have the ring
        whats = (self._tend, self._mind) if self._where.scheme == "tcp" else (self._tend,)
        self._threads = [threading.Thread(target=what, name=f"ringipc {self.url}", daemon=True) for what in whats]

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()
        try:
            if self._options.listen:
                self._listener = Listener(self.url, admit=self._admit, refused=self._refused, **self._terms())
                self.url = self._listener.url
                if self._where.scheme == "tcp" and self._options.tls is None and self._passes():
                    self._near = Listener(
                        f"{_NEAR}{secrets.token_hex(16)}",
                        admit=partial(self._admit, near=True),
                        key=self._options.key,
                        refused=self._refused,
                    )
                    self._near.start()
                self._listener.start()
            else:
                self._connect(self._options.timeout)
        except BaseException:
            self.abandon()
            raise

    def _terms(self) -> _Terms:
        return {"key": self._options.key, "tls": self._options.tls, "users": self._options.users}

    # ---- what the two ends do differently ----

    def _join(self, hello: Hello) -> Peer | Welcome:
        """A new peer, or why not."""
        raise NotImplementedError

    def _next(self, peer: Peer, hello: Hello) -> tuple[int, int]:
        """How many messages the peer's other side is told that we have, and from where we go on."""
        raise NotImplementedError

    def _is_of_use(self, peer: Peer, hello: Hello) -> bool:
        """Whether a peer that comes again can go on where it was."""
        return True

    def _connect(self, timeout: float | None) -> None:
        raise NotImplementedError

    # ---- listening ----

    def _hello(self, following: int = 0, group: str = "", how: int = 0, capacity: int = 0, slots: int = 0) -> Hello:
        return Hello(
            producer=self.is_producer,
            pid=os.getpid(),
            session=self._session,
            next=following,
            group=group,
            shared=bool(how & SHARED),
            durable=bool(how & DURABLE),
            newest=bool(how & NEWEST),
            maps=ring.may_pass(self._where.scheme) and self._options.tls is None and not self._again,
            capacity=capacity,
            slots=slots,
            boot=boot_id(),
        )

    def _welcome(
        self, following: int = 0, *, near: str = "", passes: bool = False, capacity: int = 0, slots: int = 0
    ) -> Welcome:
        return Welcome(0, near, os.getpid(), self._session, following, passes, capacity, slots, boot_id())

    def _refuse(self, error: int, text: str) -> Welcome:
        return Welcome(error, text, os.getpid(), self._session, 0, False, 0, 0, boot_id())

    def _size(self) -> tuple[int, int]:
        """Of the lane for what comes from here: bytes and messages, at least."""
        return 0, 0

    def _passes(self) -> bool:
        return ring.may_pass(self._where.scheme) and self.channel.name is None

    def _admit(self, hello: Hello, near: bool = False) -> tuple[Welcome, Callable[[socket.socket], None]]:
        with self._changed:
            if self._closed:
                return self._refuse(errno.ESHUTDOWN, "it is being closed"), _close
            if hello.producer == self.is_producer:
                kind = "producer" if self.is_producer else "consumer"
                return self._refuse(errno.EPROTO, f"a {kind} listens there, and no {kind}s can come to it"), _close
            capacity, slots = self._size()
            if hello.maps and hello.boot == boot_id():
                if near or (self._where.scheme == "unix" and self._passes()):
                    return self._welcome(passes=True, capacity=capacity, slots=slots), self._pass_ring
                if self._near is not None:
                    return self._welcome(near=self._near.url), _close
            peer = self._peers.get(hello.session)
            if hello.session in self._over or (self._ending and peer is not None and peer.until is None):
                return self._refuse(errno.ESHUTDOWN, "the stream has ended"), _close
            if peer is not None and not self._is_of_use(peer, hello):
                self._remove(peer)
                peer = None
            if peer is None:
                joined = self._join(hello)
                if isinstance(joined, Welcome):
                    return joined, _close
                peer = self._peers[hello.session] = joined
            told, goes_on = self._next(peer, hello)
            return self._welcome(told, capacity=capacity, slots=slots), partial(self._take, peer, goes_on)

    def _pass_ring(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            ring.give(connection, self.channel.fileno())
        with self._changed:
            self._changed.notify_all()

    def _take(self, peer: Peer, following: int, connection: socket.socket) -> None:
        """A peer's connection, the first or another one."""
        with self._changed:
            if self._closed or self._peers.get(peer.session) is not peer:
                return connection.close()
            peer.until = None
            old, peer.connection = peer.connection, connection
            peer.turn = self.pump.connect(peer.id, connection.fileno(), following)
            if old is not None:
                old.close()
            if peer.turn < 0:
                self._remove(peer)
                self._come_again()
            self._changed.notify_all()

    def _meet(self, hello: Hello, timeout: float | None) -> tuple[socket.socket, Welcome]:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(end - time.monotonic(), 0)
            connection, welcome = connect(self.url, hello, timeout=left, **self._terms())
            if not welcome.error and welcome.text:  # it is on this machine, and says where it passes the ring
                connection.close()
                passed = self._pass_near(welcome.text, hello)
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
            time.sleep(_PAUSE / 4)

    def _pass_near(self, url: str, hello: Hello) -> tuple[socket.socket, Welcome] | None:
        """None: not to us. It is another user's, or out of sight."""
        if not url.startswith(_NEAR):
            return None
        try:
            connection, welcome = connect(url, hello, key=self._options.key, timeout=0)
        except errors.RingError:
            return None
        if welcome.passes and not welcome.error:
            return connection, welcome
        connection.close()
        return None

    def _take_ring(self, connection: socket.socket) -> None:
        """In place of a connection: nothing is left to do for the pump, nor for us."""
        with connection:
            self.channel = ring.take(connection)
        self.transport = "ring"
        self.abandon()

    def _refused(self, error: errors.RingError) -> None:
        log.warning("%s: not admitted: %s", self.url, str(error))  # what is logged is kept, with its frames

    # ---- the thread ----

    def _tend(self) -> None:
        for id, turn, why in iter(self.pump.run, None):
            with self._changed:
                peer = next((each for each in self._peers.values() if each.id == id), None)
                if peer is not None and peer.turn == turn:  # else another connection has come meanwhile
                    self._ended(peer, why)
                self._changed.notify_all()

    def _ended(self, peer: Peer, why: int) -> None:
        if peer.connection is not None:
            peer.connection.close()
            peer.connection = None
        if why == STEP_END:
            self._over.append(peer.session)
        if why == STEP_END or self._closed or not self._may_come_again(why):
            self._remove(peer)
        else:
            peer.until = time.monotonic() + (_LONGER if self.is_producer else PATIENCE)
        self._come_again(0 if why != STEP_END else _AFTER_END)

    def _mind(self) -> None:
        """Gives up what is broken, and breaks what is silent, as the kernel alone would after a quarter of an hour."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for peer in list(self._peers.values()):
                    if peer.until is not None and now >= peer.until:
                        self._remove(peer)
                        self._changed.notify_all()
                    elif peer.connection is not None and self._options.tls is None and unanswered(peer.connection):
                        with contextlib.suppress(OSError):
                            peer.connection.shutdown(socket.SHUT_RDWR)
                self._changed.wait(_MIND_EVERY)

    def _come_again(self, pause: float = 0) -> None:
        if self._options.listen or self._closed:
            return
        try:
            threading.Thread(target=self._connect_again, args=[pause], name=f"ringipc {self.url}", daemon=True).start()
        except RuntimeError as error:
            self._fail(errors.SystemRefused(errno.EAGAIN, f"{self.url}: not connected again: {error}", self.url))

    def _may_come_again(self, why: int) -> bool:
        """A network can fail; what is on this machine has ended. What is no ringipc is let go at once."""
        return self._where.scheme == "tcp" and why != -errno.EBADMSG

    def _remove(self, peer: Peer) -> None:
        self._peers.pop(peer.session, None)
        self.pump.remove(peer.id)
        if peer.connection is not None:
            peer.connection.close()
            peer.connection = None

    def _connect_again(self, pause: float) -> None:
        self._again = True
        with self._changed:
            self._changed.wait_for(lambda: self._closed, pause)
        while not self._closed:
            try:
                return self._connect(_PAUSE)
            except errors.ChannelNotFound:
                continue
            except (errors.AuthenticationError, errors.GroupBusy, errors.Incompatible) as error:
                log.warning("%s: not connected again: %s", self.url, str(error))
                return self._fail(error)
            except (errors.RingError, OSError):  # somebody else listens there, or it is just closing
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
        for listener in (self._listener, self._near):
            if listener is not None:
                listener.close()
        self.pump.stop()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join()


def _close(connection: socket.socket) -> None:
    connection.close()


def raise_refusal(url: str, welcome: Welcome) -> NoReturn:
    text = f"{url}: {welcome.text}"
    match welcome.error:
        case errno.EBUSY:
            raise errors.GroupBusy(text)
        case errno.EEXIST | errno.EPROTO | errno.EMSGSIZE:
            raise errors.Incompatible(text)
        case errno.EXFULL | errno.ENOSR | errno.EUSERS:
            raise errors.TableFull(text)
    raise errors.SystemRefused(welcome.error, text, url)
