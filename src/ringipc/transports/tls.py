"""TLS below a plain socket: a thread moves the bytes between the connection and one end of a pair of sockets."""

import contextlib
import os
import select
import socket
import ssl
import threading
import time

from ..errors import AuthenticationError, Corrupt, RingError
from .forks import pair_closed_in_children
from .sockets import enlarge_buffers, is_unanswered
from .wire import SocketWire

_CHUNK = 256 << 10
_LINGER = 5.0  # seconds that the peer has to close, too, once the plain end is closed and all is sent
_CHECK_EVERY = 2.0  # seconds between checks whether the peer's machine still answers
_GONE = select.POLLHUP | select.POLLERR
_ALERT = bytes.fromhex("15030100020246")  # fatal: protocol version


class Tunnel:
    """A TLS connection; its handshake is done when the constructor returns.

    Attributes
    ----------
    plain
        The end that carries the plain text. Closing it, or half of it, closes as much of the connection.
    failure
        The reason if TLS has ended the connection; else empty.
    """

    def __init__(self, raw: socket.socket, wire: SocketWire, context: ssl.SSLContext, *, host: str | None) -> None:
        """Take the connection over. host is the listener's name on the side that connects, None on the listener's."""
        self.failure = ""
        self._raw = raw
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_side=host is None, server_hostname=host)
        self._handshake(wire)
        self._outward = bytearray(self._going.read())  # encrypted, for the connection
        self._inward = bytearray()  # decrypted, for the plain end
        self._sending = True  # the plain end has not closed its half
        self._receiving = True  # the peer has not closed its half
        self._abandoned = False  # both halves of the plain end are closed: nobody reads what comes
        self.plain, self._near = pair_closed_in_children()
        for end in self.plain, self._near:
            enlarge_buffers(end)
        raw.setblocking(False)
        self._near.setblocking(False)
        threading.Thread(target=self._run, name="ringipc tls", daemon=True).start()

    def _handshake(self, wire: SocketWire) -> None:
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                wire.send(self._going.read())
                self._coming.write(wire.some(_CHUNK))
            except ssl.SSLError as error:
                wire.send(self._going.read() or _ALERT)  # a peer without TLS gets an alert, too
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
                return  # it broke: the plain end is closed, and its reader finds that

    def _move(self) -> None:
        poller = select.poll()
        ended = False
        while True:
            self._decrypt()
            self._outward += self._going.read()
            received = not self._receiving and not self._inward
            if received and not ended:
                self._near.shutdown(socket.SHUT_WR)
                ended = True
            if not self._sending and not self._outward and (received or self._abandoned):
                return None if received else self._linger()
            self._watch(poller)
            ready = dict(poller.poll(_CHECK_EVERY * 1000))
            if not ready and is_unanswered(self._raw):
                raise TimeoutError("the peer does not answer")
            self._serve_near(ready.get(self._near.fileno(), 0))
            self._serve_raw(ready.get(self._raw.fileno(), 0))

    def _watch(self, poller: select.poll) -> None:
        """Poll for what can be done now. Nothing is read before what was read is passed on, so buffers stay small.

        poll reports the end of a socket always; where that is to be handled later, the socket is not polled.
        """
        near = select.POLLIN * (self._sending and not self._outward) | select.POLLOUT * bool(self._inward)
        raw = select.POLLIN * (self._receiving and not self._inward) | select.POLLOUT * bool(self._outward)
        for which, events, end_matters in (
            (self._near, near, not self._sending and not self._abandoned),
            (self._raw, raw, not self._receiving),
        ):
            poller.register(which, events)
            if not events and not end_matters:
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
        except ConnectionError:  # closed with unread data, or before all was written
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
                    raise ConnectionError("the peer closed the connection without a TLS end")
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
            # Sends close_notify, and would read the peer's: all that has come was decrypted before.
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
        """Wait until the peer has read everything: a close with unread data would discard what was sent."""
        self._raw.shutdown(socket.SHUT_WR)
        end = time.monotonic() + _LINGER
        while (left := end - time.monotonic()) > 0:
            self._raw.settimeout(left)
            if not self._raw.recv(_CHUNK):
                return


def refusal(error: ssl.SSLError) -> RingError:
    """Return the exception for an error of TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return AuthenticationError(f"TLS: the peer's certificate is not trusted: {error.verify_message}")
    if "ALERT" in (error.reason or ""):
        return AuthenticationError(f"TLS: the peer refused this side: {error.reason}")
    return Corrupt(f"TLS: {error.reason or error}; do both sides have tls=?")
