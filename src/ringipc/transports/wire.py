"""The bytes of a greeting: the protocol bounds their number, and a deadline the time that they take."""

import socket
import time
from abc import ABC, abstractmethod

from ..errors import Corrupt

GREETING_SECONDS = 5.0  # for a whole greeting


class Gone(Corrupt):
    """The peer closed before it sent anything: it died, or only probed whether somebody listens."""


class Wire(ABC):
    """What a greeting is read from, until `end` (time.monotonic)."""

    def __init__(self, end: float) -> None:
        self.end = end

    @abstractmethod
    def some(self, most: int) -> bytes:
        """Return at least one byte."""

    def receive(self, size: int) -> bytes:
        data = self.some(size)
        while len(data) < size:
            data += self.some(size - len(data))
        return data

    def left(self) -> float:
        """Return the seconds until the deadline.

        Raises
        ------
        Corrupt
            It has passed.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise self.too_late()
        return left

    def too_late(self) -> Corrupt:
        return Corrupt(f"the peer did not finish its greeting within {GREETING_SECONDS:g} s; does it speak ringipc?")


class SocketWire(Wire):
    """A socket, while the greeting lasts."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        super().__init__(end)
        self._connection = connection
        self._received = False

    def send(self, data: bytes) -> None:
        """Send data. The next `receive` reports a broken connection, after it has returned what came before."""
        try:
            self._connection.settimeout(self.left())
            self._connection.sendall(data)
        except TimeoutError:
            raise self.too_late() from None
        except OSError:
            pass

    def some(self, most: int) -> bytes:
        try:
            self._connection.settimeout(self.left())
            data = self._connection.recv(most)
        except TimeoutError:
            raise self.too_late() from None
        except OSError:
            data = b""
        if not data:
            raise (
                Corrupt("the peer hung up in the middle of the greeting")
                if self._received
                else Gone("the peer hung up before it sent anything")
            )
        self._received = True
        return data
