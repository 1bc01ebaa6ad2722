"""Brings two processes together over a socket; once they trust each other, others move the messages."""

import contextlib
import dataclasses
import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Self

from ..errors import ChannelNotFound, Corrupt, RingError, SystemRefused
from . import handshake, tcp, unix
from .forks import own
from .handshake import Hello, Welcome
from .meeting import Terms, greeted
from .reach import reach
from .wire import PATIENCE, Gone

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1  # seconds between attempts to connect
_MOST_GREETINGS = 32  # at once
_LEAST_PATIENCE = 1.0  # seconds of a greeting before it is broken off for another
_BACKLOG = 128
_MOMENT = 0.05  # seconds until descriptors, memory or threads may have come free

Admit = Callable[[Hello], tuple[Welcome, Callable[[socket.socket], None]]]


def connect(
    url: str,
    hello: Hello,
    *,
    key: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    users: Iterable[int] = (),
    timeout: float | None = None,
) -> tuple[socket.socket, Welcome]:
    """Meets the listener, and waits for one.

    Parameters
    ----------
    key
        At least 16 bytes that both sides know; without it TCP goes no farther than this machine.
    tls
        Its `check_hostname` and `verify_mode` say how much of the listener's certificate is checked.
    users
        The uids that a listener at a Unix socket may have, beside this process's own.
    timeout
        Seconds to wait for a listener; None waits for ever. A greeting that has begun has 5 s of its own.

    Returns
    -------
    The socket, blocking and without a timeout, and what the listener said. If that is an error the socket is closed.

    Raises
    ------
    ChannelNotFound
        Nobody has listened.
    AuthenticationError, Incompatible
    Corrupt
        What listens is no ringipc, or does not end its greeting in time.
    """
    terms = Terms.of(url, key, tls, users)
    end = None if timeout is None else time.monotonic() + timeout
    pause = _SHORTEST_PAUSE
    while True:
        left = PATIENCE if end is None else min(PATIENCE, end - time.monotonic())
        with contextlib.suppress(Gone):  # it has closed, or died, since it was reached
            connection = reach(terms, max(left, _MOMENT))
            if connection is not None:
                return _introduce(terms, connection, hello)
        if end is not None:
            pause = min(pause, end - time.monotonic())
            if pause <= 0:
                raise ChannelNotFound(errno.ENOENT, "nobody listens there", url)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _introduce(terms: Terms, connection: socket.socket, hello: Hello) -> tuple[socket.socket, Welcome]:
    with greeted(terms, connection, listens=False) as (ready, wire):
        handshake.send(wire, hello)
        welcome = handshake.receive_welcome(wire)
    if welcome.error:
        ready.close()
    return ready, welcome


class Listener:
    """Admits who connects; each greeting has a thread of its own, so that nobody waits for one who is slow.

    Parameters
    ----------
    url
        Port 0 takes any that is free; `url` then says which.
    admit
        Called with each `Hello`, in any thread. Its `Welcome` is sent; then, if that is no error, what it returned
        beside it is called, once in any case, with the socket: blocking, without a timeout, and at its end if the other
        side is gone by then. After `close` one last call may still be under way.
    key, tls, users
        As for `connect`. A key also keeps out this machine's other users, whom TCP cannot tell apart.
    refused
        Called with why somebody was not admitted, in any thread.

    Raises
    ------
    SystemRefused
        Somebody listens there, or something is there that is no socket.
    ValueError
        The URL can be reached from elsewhere, and there is no key.
    """

    def __init__(
        self,
        url: str,
        *,
        admit: Admit,
        key: bytes | None = None,
        tls: ssl.SSLContext | None = None,
        users: Iterable[int] = (),
        refused: Callable[[RingError], None] | None = None,
    ) -> None:
        self._terms = Terms.of(url, key, tls, users)
        self._admit = admit
        self._refused = refused
        self._place: unix.Place | None = None
        try:
            if self._terms.url.scheme == "unix":
                self._place = unix.Place(self._terms.url, private=self._terms.users == {os.geteuid()}, backlog=_BACKLOG)
                self._socket = self._place.socket
            else:
                self._socket = tcp.listen(self._terms.url, keyed=key is not None, backlog=_BACKLOG)
        except RingError:
            raise
        except OSError as error:
            text = "somebody listens there" if error.errno == errno.EADDRINUSE else error.strerror
            raise SystemRefused(error.errno, text, url) from None
        self._socket.setblocking(False)
        self.url = url
        if self._terms.url.scheme == "tcp":
            self.url = str(dataclasses.replace(self._terms.url, port=self._socket.getsockname()[1]))
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._closed = False
        self._greetings: dict[socket.socket, float] = {}  # since when
        self._thread = threading.Thread(target=self._accept, name=f"ringipc {self.url}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends at once, greetings too. What was handed over stays."""
        if self._pid != os.getpid():
            return  # the fork closed what was inherited; all else is the parent's
        with self._changed:
            if self._closed:
                return
            self._closed = True
            for connection in self._greetings:
                _break_off(connection)
            self._changed.notify_all()
        if self._place is not None:
            self._place.leave()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _accept(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        while self._room():
            poller.poll()
            try:
                connection = own(lambda: self._socket.accept()[0])
                try:
                    self._begin(connection)
                except BaseException:
                    connection.close()
                    raise
            except BlockingIOError:  # the one who came is gone again
                continue
            except (OSError, RuntimeError):  # no descriptor, no memory, no thread; or a network that failed
                self._rest()

    def _room(self) -> bool:
        """Waits until another greeting may begin, breaking off the oldest if it takes long; False once closed."""
        with self._changed:
            while not self._closed and len(self._greetings) >= _MOST_GREETINGS:
                oldest, since = next(iter(self._greetings.items()))
                if not self._changed.wait(max(since + _LEAST_PATIENCE - time.monotonic(), 0)):
                    _break_off(oldest)
                    self._changed.wait(_MOMENT)
            return not self._closed

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, _MOMENT)

    def _begin(self, connection: socket.socket) -> None:
        with self._changed:
            if self._closed:
                return connection.close()
            self._greetings[connection] = time.monotonic()
        try:
            threading.Thread(target=self._greet, args=(connection,), name="ringipc greeting", daemon=True).start()
        except BaseException:
            self._end(connection)
            raise

    def _end(self, connection: socket.socket) -> bool:
        """The greeting is over; whether the listener still listens."""
        with self._changed:
            self._greetings.pop(connection, None)
            self._changed.notify_all()
            return not self._closed

    def _greet(self, connection: socket.socket) -> None:
        try:
            with greeted(self._terms, connection, listens=True) as (ready, wire):
                hello = handshake.receive_hello(wire)
                if not self._end(connection):
                    raise Gone("the listener has closed")
                welcome, take = self._admit(hello)
                try:
                    handshake.send(wire, welcome)
                except Corrupt:  # admitted all the same: who takes it sees the end
                    ready.shutdown(socket.SHUT_RDWR)
            if welcome.error:
                ready.close()
            else:
                take(ready)
        except Gone:
            pass
        except RingError as error:
            if self._refused is not None and not self._closed:  # else it was we who broke it off
                self._refused(error)
        finally:
            self._end(connection)


def _break_off(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
