"""TLS behind a plain descriptor: a thread moves the bytes between the connection and one end of a pair of sockets."""

import contextlib
import os
import select
import socket
import ssl
import threading
import time

from ..errors import AuthenticationError, Corrupt, RingError
from . import tcp
from .forks import own_pair
from .wire import Wire

_CHUNK = 256 << 10
_LINGER = 5.0  # seconds that a peer has to end, too, once the plain end is closed and all is sent
_LOOK = 2.0  # seconds between looks whether the peer's machine still answers
_GONE = select.POLLHUP | select.POLLERR
_ALERT = bytes.fromhex("15030100020246")  # fatal: protocol version


class Tunnel:
    """A TLS connection, made when this returns.

    Attributes
    ----------
    plain
        The end that carries in clear what is sent and received. To close it, or half of it, closes as much of the
        connection.
    failure
        Why TLS has ended the connection, if it has.
    """

    def __init__(self, raw: socket.socket, wire: Wire, context: ssl.SSLContext, *, host: str | None) -> None:
        """Takes the connection over; `host`, the listener's name, makes this the side that connects."""
        self.failure = ""
        self._raw = raw
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_side=host is None, server_hostname=host)
        self._greet(wire)
        self._outward = bytearray(self._going.read())  # enciphered, for the connection
        self._inward = bytearray()  # in clear, for the plain end
        self._sending = True  # the plain end has not closed its half
        self._receiving = True  # the peer has not closed its half
        self._abandoned = False  # the plain end is closed altogether: nobody reads what comes
        self.plain, self._near = own_pair()
        for end in self.plain, self._near:
            tcp.roomy(end)
        raw.setblocking(False)
        self._near.setblocking(False)
        threading.Thread(target=self._run, name="ringipc tls", daemon=True).start()

    def _greet(self, wire: Wire) -> None:
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                wire.send(self._going.read())
                self._coming.write(wire.some(_CHUNK))
            except ssl.SSLError as error:
                wire.send(self._going.read() or _ALERT)  # who speaks no TLS is to hear something, too
                raise refusal(error) from None

    def _run(self) -> None:
        with self._raw, self._near:
            try:
                self._move()
            except ssl.SSLError as error:
                self.failure = str(refusal(error))
                with contextlib.suppress(OSError):
                    self._raw.send(self._going.read())  # the alert
            except OSError:
                return  # it broke: the plain end is closed, and who reads it sees that

    def _move(self) -> None:
        poller = select.poll()
        told = False
        while True:
            self._decrypt()
            self._outward += self._going.read()
            received = not self._receiving and not self._inward
            if received and not told:
                self._near.shutdown(socket.SHUT_WR)
                told = True
            if not self._sending and not self._outward and (received or self._abandoned):
                return None if received else self._linger()
            self._watch(poller)
            ready = dict(poller.poll(_LOOK * 1000))
            if not ready and tcp.unanswered(self._raw):
                raise TimeoutError("the peer does not answer any more")
            self._serve_near(ready.get(self._near.fileno(), 0))
            self._serve_raw(ready.get(self._raw.fileno(), 0))

    def _watch(self, poller: select.poll) -> None:
        """Asks for what can be done now. No more is read before what was read is passed on: so little is kept.

        The end of a socket is told whether asked for or not; while something else must come first, it is not looked at.
        """
        near = select.POLLIN * (self._sending and not self._outward) | select.POLLOUT * bool(self._inward)
        raw = select.POLLIN * (self._receiving and not self._inward) | select.POLLOUT * bool(self._outward)
        for which, events, heeded in (
            (self._near, near, not self._sending and not self._abandoned),
            (self._raw, raw, not self._receiving),
        ):
            poller.register(which, events)
            if not events and not heeded:
                poller.unregister(which)

    def _serve_near(self, events: int) -> None:
        try:
            if events & select.POLLOUT and self._inward:
                del self._inward[: self._near.send(self._inward)]
            if events & select.POLLIN:
                self._encrypt(self._near.recv(_CHUNK))
            elif events & _GONE and not self._sending:
                self._abandoned = True
        except BlockingIOError:
            pass
        except ConnectionError:  # it was closed with something unread in it, or before all was written to it
            self._abandoned = True
            self._encrypt(self._rest())
        if self._abandoned:
            self._inward.clear()

    def _rest(self) -> bytes:
        try:
            return self._near.recv(_CHUNK)
        except ConnectionError:
            return b""

    def _serve_raw(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            if events & select.POLLOUT:
                del self._outward[: self._raw.send(self._outward)]
            if events & select.POLLIN:
                data = self._raw.recv(_CHUNK)
                if not data:
                    raise ConnectionError("the peer is gone without an end")
                self._coming.write(data)
            elif events & _GONE:
                raise ConnectionError(os.strerror(self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))

    def _encrypt(self, data: bytes) -> None:
        if data:
            view = memoryview(data)
            while view:
                view = view[self._tls.write(view) :]
        elif self._sending:
            self._sending = False
            # Says that no more comes, and would read the peer's own end: all that has come is deciphered before.
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.unwrap()

    def _decrypt(self) -> None:
        while self._receiving:
            try:
                data = self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                self._receiving = False
            elif not self._abandoned:
                self._inward += data

    def _linger(self) -> None:
        """Lets the peer take what was sent: to close with something unread would throw it away."""
        self._raw.shutdown(socket.SHUT_WR)
        end = time.monotonic() + _LINGER
        while (left := end - time.monotonic()) > 0:
            self._raw.settimeout(left)
            if not self._raw.recv(_CHUNK):
                return


def refusal(error: ssl.SSLError) -> RingError:
    """What an error of TLS means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return AuthenticationError(f"TLS: the other side's certificate is not trusted: {error.verify_message}")
    if "ALERT" in (error.reason or ""):
        return AuthenticationError(f"TLS: the other side refused this one: {error.reason}")
    return Corrupt(f"TLS: {error.reason or error}; do both sides have tls=?")
