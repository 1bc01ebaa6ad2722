"""What a URL says: by which transport, and where."""

import ipaddress
import os
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["shm", "pipe", "fifo", "unix", "tcp"]

_KNOWN = "shm://name (or just a name), pipe:fd, fifo:///path, unix:///path, unix://@name, tcp://host:port"
_LONGEST_UNIX = 107  # sockaddr_un has 108, with the NUL


@dataclass(frozen=True, slots=True)
class Url:
    """A transport and a place; what does not belong to the scheme is empty.

    Attributes
    ----------
    name
        Of the ring (shm).
    fd
        A descriptor (pipe), or -1.
    path
        Absolute (fifo, unix), or "@name" for an abstract socket (unix).
    host, port
        Without brackets; port 0 lets a listener have any (tcp).
    """

    scheme: Scheme
    name: str = ""
    fd: int = -1
    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        match self.scheme:
            case "shm":
                return f"shm://{self.name}"
            case "pipe":
                return f"pipe:{self.fd}"
            case "tcp":
                return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"
        return f"{self.scheme}://{self.path}"


def parse(url: str) -> Url:
    """The parts of a URL.

    >>> parse("tcp://[::1]:5000").host, str(parse("camera"))
    ('::1', 'shm://camera')

    Raises
    ------
    ValueError
        It is none that is known, or says too little or too much; the text says what.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL must be a str, not {url!r}")
    if "\0" in url:
        raise ValueError(f"{url!r} has a NUL")
    if url.startswith("pipe:"):
        return Url("pipe", fd=_number(url[5:].removeprefix("//"), url, "descriptor", (1 << 31) - 1))
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "shm", url
    match scheme:
        case "shm":
            if not rest:
                raise ValueError(f"{url!r} has no name")
            return Url("shm", name=rest)
        case "fifo":
            return Url("fifo", path=_path(rest, url))
        case "unix":
            if len(os.fsencode(rest)) > _LONGEST_UNIX:
                raise ValueError(f"{url!r}: the path of a Unix socket has at most {_LONGEST_UNIX} bytes")
            if rest == "@":
                raise ValueError(f"{url!r} has no name after the @")
            return Url("unix", path=rest if rest.startswith("@") else _path(rest, url))
        case "tcp":
            return _tcp(rest, url)
    raise ValueError(f"{url!r}: {scheme!r} is not known; there are {_KNOWN}")


def _path(path: str, url: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{url!r}: the path must be absolute, as in {url.partition('://')[0]}:///run/camera")
    if path.endswith("/"):
        raise ValueError(f"{url!r}: the path names a directory")
    return path


def _tcp(rest: str, url: str) -> Url:
    if any(extra in rest for extra in "/?#@"):
        raise ValueError(f"{url!r} has more than a host and a port")
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        raise ValueError(f"{url!r} has no port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{url!r}: {host!r} is no IPv6 address") from None
    elif ":" in host or "[" in host or "]" in host:
        raise ValueError(f"{url!r}: an IPv6 address stands in brackets, as in tcp://[::1]:5000")
    if not host:
        raise ValueError(f"{url!r} has no host")
    return Url("tcp", host=host, port=_number(port, url, "port", 65535))


def _number(text: str, url: str, what: str, most: int) -> int:
    if not text:
        raise ValueError(f"{url!r} has no {what}")
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= most):
        raise ValueError(f"{url!r}: the {what} must be a number from 0 to {most}, not {text!r}")
    return int(text)
