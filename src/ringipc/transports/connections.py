"""Connections: made to a listener, or accepted from peers. Both are greeted; then links move messages over them."""

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

from ..errors import AuthenticationError, ChannelNotFound, RingError, SystemRefused
from . import handshake
from .address import SocketAddress
from .forks import closed_in_children
from .handshake import Admit, Hello, Welcome
from .long_wait import LongWait
from .wire import GREETING_SECONDS, Gone

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1  # seconds between attempts to connect
_MOST_GREETINGS = 32  # at once
_SHORTEST_GREETING = 1.0  # seconds that a greeting may take before it is broken off in favour of another
_BACKLOG = 128
_MOMENT = 0.05  # seconds until descriptors, memory or threads may be available again


def connect(address: SocketAddress, hello: Hello, *, timeout: float | None) -> tuple[socket.socket, Welcome]:
    """Connect to the listener, or wait for one.

    Parameters
    ----------
    timeout
        Seconds to wait for a listener; None waits for ever. A greeting that has started has 5 s of its own.

    Returns
    -------
    The socket, blocking and without a timeout, and the listener's answer. If it refuses, the socket is closed.

    Raises
    ------
    ChannelNotFound
        Nobody has listened.
    AuthenticationError
        The sides do not admit each other: users, keys or certificates do not match.
    Incompatible
        The listener speaks another version of the protocol.
    Corrupt
        The listener does not speak ringipc, or does not finish its greeting in time.
    """
    end = None if timeout is None else time.monotonic() + timeout
    pause = _SHORTEST_PAUSE
    wait = LongWait(lambda: f"waiting for somebody to listen at {address}")
    while True:
        left = GREETING_SECONDS if end is None else min(GREETING_SECONDS, end - time.monotonic())
        with contextlib.suppress(Gone):  # it has closed, or died, since the connection was made
            connection = address.connect(max(left, _MOMENT))
            if connection is not None:
                try:
                    return handshake.introduce(address, connection, hello)
                except AuthenticationError as error:
                    raise AuthenticationError(f"{address}: {error}") from error.__cause__
        if end is not None:
            pause = min(pause, end - time.monotonic())
            if pause <= 0:
                raise ChannelNotFound(errno.ENOENT, "nobody listens there", str(address))
        wait.pause(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


class Listener:
    """Accepts connections. Each greeting has a thread of its own, so that a slow peer delays nobody.

    Parameters
    ----------
    address
        Where to listen.
    admit
        Called with each `Hello`, in any thread. Its `Welcome` is sent; then, if that is not a refusal, the function
        returned beside it is called, exactly once, with the socket: blocking, without a timeout, and at its end if the
        peer is gone by then. After `close` one last call may still be running.
    refused
        Called with the reason why a peer was refused, in any thread.

    Attributes
    ----------
    url
        Where it listens, with the port that was found.

    Raises
    ------
    SystemRefused
        The address is in use, or the path is not a socket.
    ValueError
        The address can be reached from other machines, and there is no key.
    """

    def __init__(
        self, address: SocketAddress, *, admit: Admit, refused: Callable[[RingError], None] | None = None
    ) -> None:
        self._address = address
        self._admit = admit
        self._refused = refused
        try:
            self._listening = address.listen(_BACKLOG)
        except RingError:
            raise
        except OSError as error:
            text = "the address is in use by another listener" if error.errno == errno.EADDRINUSE else error.strerror
            raise SystemRefused(error.errno, text, str(address)) from None
        self._socket = self._listening.socket
        self._socket.setblocking(False)
        self.url = self._listening.url
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._closed = False
        self._greetings: dict[socket.socket, float] = {}  # when each began (time.monotonic)
        self._thread = threading.Thread(target=self._accept, name=f"ringipc {self.url}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and break off greetings. Connections that were handed over stay open."""
        if self._pid != os.getpid():
            return  # the fork closed what was inherited; the rest is the parent's
        with self._changed:
            if self._closed:
                return
            self._closed = True
            for connection in self._greetings:
                _break_off(connection)
            self._changed.notify_all()
        self._listening.remove()
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
        while self._wait_for_room():
            poller.poll()
            try:
                connection = closed_in_children(lambda: self._socket.accept()[0])
                try:
                    self._start_greeting(connection)
                except BaseException:
                    connection.close()
                    raise
            except BlockingIOError:  # the peer is gone already
                continue
            except (OSError, RuntimeError):  # no descriptor, no memory, no thread; or the network failed
                self._pause()

    def _wait_for_room(self) -> bool:
        """Wait until another greeting may start; if that takes long, break off the oldest. Return False once closed."""
        with self._changed:
            while not self._closed and len(self._greetings) >= _MOST_GREETINGS:
                oldest, since = next(iter(self._greetings.items()))
                if not self._changed.wait(max(since + _SHORTEST_GREETING - time.monotonic(), 0)):
                    _break_off(oldest)
                    self._changed.wait(_MOMENT)
            return not self._closed

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, _MOMENT)

    def _start_greeting(self, connection: socket.socket) -> None:
        with self._changed:
            if self._closed:
                return connection.close()
            self._greetings[connection] = time.monotonic()
        try:
            threading.Thread(target=self._greet, args=(connection,), name="ringipc greeting", daemon=True).start()
        except BaseException:
            self._end_greeting(connection)
            raise

    def _end_greeting(self, connection: socket.socket) -> bool:
        """Remove a greeting. Return whether the listener still listens."""
        with self._changed:
            self._greetings.pop(connection, None)
            self._changed.notify_all()
            return not self._closed

    def _greet(self, connection: socket.socket) -> None:
        def admit(hello: Hello) -> tuple[Welcome, Callable[[socket.socket], None]]:
            if not self._end_greeting(connection):
                raise Gone("the listener has closed")
            return self._admit(hello)

        try:
            handshake.receive(self._address, connection, admit)
        except Gone:
            pass
        except RingError as error:
            if self._refused is not None and not self._closed:  # else the listener broke it off
                self._refused(error)
        finally:
            self._end_greeting(connection)


def _break_off(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
