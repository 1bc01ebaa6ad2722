"""Two processes meet: on which terms, and the greeting up to where they trust each other."""

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from ..errors import AuthenticationError, Corrupt
from . import tcp, unix
from .admission import checked_key, meet
from .tls import Tunnel
from .url import Url, parse
from .wire import PATIENCE, Wire


@dataclass(frozen=True, slots=True)
class Terms:
    """Where to meet, and who may."""

    url: Url
    key: bytes | None
    tls: ssl.SSLContext | None
    users: frozenset[int]

    @classmethod
    def of(cls, url: str, key: bytes | None, tls: ssl.SSLContext | None, users: Iterable[int]) -> Self:
        parsed = parse(url)
        users = frozenset(users)
        if parsed.scheme not in ("unix", "tcp"):
            raise ValueError(f"{url!r} is no socket's; there are unix:///path, unix://@name and tcp://host:port")
        if parsed.scheme == "unix" and tls is not None:
            raise ValueError(f"{url!r}: tls= is for tcp://, a Unix socket does not leave the machine")
        if parsed.scheme == "tcp" and users:
            raise ValueError(f"{url!r}: users= is for unix://, TCP does not say whose the other side is")
        return cls(parsed, checked_key(key), tls, users | {os.geteuid()})


@contextlib.contextmanager
def greeted(terms: Terms, connection: socket.socket, *, listens: bool) -> Iterator[tuple[socket.socket, Wire]]:
    """The greeting up to where both sides know that they may speak; if it or the body fails, the socket is closed."""
    ready, tunnel = connection, None
    wire = Wire(connection, time.monotonic() + PATIENCE)
    stranger = ""
    try:
        if terms.url.scheme == "unix":
            tcp.roomy(connection)
            stranger = unix.stranger(connection, terms.users)
        else:
            tcp.attend(connection)
        if terms.tls is not None:
            tunnel = Tunnel(connection, wire, terms.tls, host=None if listens else terms.url.host)
            ready = tunnel.plain
            wire = Wire(ready, wire.end)
        meet(wire, listens=listens, key=terms.key, stranger=stranger)
        yield ready, wire
        ready.settimeout(None)
    except BaseException as error:
        ready.close()
        if isinstance(error, Corrupt) and tunnel is not None and tunnel.failure:
            raise AuthenticationError(tunnel.failure) from None  # that is why it went silent
        raise
