"""A socket for as long as the greeting lasts: what comes is bounded in length, and all of it in time."""

import socket
import time

from ..errors import Corrupt

PATIENCE = 5.0  # seconds for a whole greeting


class Gone(Corrupt):
    """The other side hung up without a word: nobody is there any more, or it only looked whether we are."""


class Wire:
    """Sends and receives until `end` (time.monotonic) and not a byte later."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection = connection
        self._heard = False
        self.end = end

    def send(self, data: bytes) -> None:
        """A connection that is gone is told by the next `receive`: what came before the end says more than the end."""
        try:
            self._connection.settimeout(self._left())
            self._connection.sendall(data)
        except TimeoutError:
            raise self._silent() from None
        except OSError:
            pass

    def some(self, most: int) -> bytes:
        """At least one byte."""
        try:
            self._connection.settimeout(self._left())
            data = self._connection.recv(most)
        except TimeoutError:
            raise self._silent() from None
        except OSError:
            data = b""
        if not data:
            raise (
                Corrupt("the other side hung up in the middle of the greeting")
                if self._heard
                else Gone("the other side hung up without a word")
            )
        self._heard = True
        return data

    def receive(self, size: int) -> bytes:
        data = self.some(size)
        while len(data) < size:
            data += self.some(size - len(data))
        return data

    def _left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise self._silent()
        return left

    def _silent(self) -> Corrupt:
        return Corrupt(f"the other side did not end its greeting within {PATIENCE:g} s; does it speak ringipc?")
