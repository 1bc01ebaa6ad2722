"""Unix sockets: the user at the other end, and a path that one listener at a time owns."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

from ..errors import SystemRefused
from .address import Listening
from .endpoint import SocketEndpoint, check_path
from .forks import closed_in_children
from .sockets import connected, enlarge_buffers

_CREDENTIALS = struct.Struct("iII")  # struct ucred
_LONGEST_PATH = 107  # bytes; sockaddr_un has 108, with the NUL
_LOCK_SECONDS = 5.0  # that another listener may hold the lock on the directory


def unix(path: str, *, bind: bool | None = None, key: bytes | None = None, users: Iterable[int] = ()) -> Unix:
    """Return a Unix socket to give to `Producer` and `Consumer` as the channel.

    Parameters
    ----------
    path
        Absolute, at most 107 bytes; or "@name", an abstract socket, which is not a file; or a URL of either. The file
        is there while somebody listens.
    bind
        True: bind the path and listen, for any number of peers. False: connect to a listener. None: a producer binds, a
        consumer connects.
    key
        At least 16 bytes that both sides know, for mutual authentication (HMAC-SHA256 challenge and response).
    users
        The uids that are admitted, beside this process's own. On both sides: a peer of another user must be named.

    Raises
    ------
    ValueError
        The path is relative, too long, or names a directory; or the key is shorter than 16 bytes.

    Examples
    --------
    >>> import os, ringipc
    >>> where = ringipc.unix(f"@example-{os.getpid()}")
    >>> with ringipc.Producer(where) as producer, ringipc.Consumer(where) as consumer:
    ...     producer.put(b"through a socket")
    ...     consumer.get()
    True
    b'through a socket'
    """
    if isinstance(path, str):
        path = path.removeprefix("unix://")
    return Unix(path, bind=bind, key=key, users=_checked_users(users))


@dataclass(frozen=True, slots=True)
class Unix(SocketEndpoint):
    """A Unix socket.

    Attributes
    ----------
    path
        Absolute, or "@name" for an abstract socket.
    users
        The uids that are admitted, beside this process's own.
    """

    path: str
    users: frozenset[int] = field(default=frozenset(), kw_only=True)

    scheme = "unix"
    form = "unix:///path or unix://@name"
    passes_descriptors = True

    def __post_init__(self) -> None:
        SocketEndpoint.__post_init__(self)
        if not isinstance(self.path, str) or not self.path.startswith("@"):
            check_path(self.path)
        elif self.path == "@":
            raise ValueError(f"{self.path!r} has no name after the @")
        if len(os.fsencode(self.path)) > _LONGEST_PATH:
            raise ValueError(f"{self.path!r}: the path of a Unix socket has at most {_LONGEST_PATH} bytes")

    @classmethod
    def from_url(cls, url: str) -> Self:
        return cls(url.removeprefix("unix://"))

    def __str__(self) -> str:
        return f"unix://{self.path}"

    def listen(self, backlog: int) -> Listening:
        return SocketPath(self, backlog)

    def connect(self, seconds: float) -> socket.socket | None:
        return connected(_make(), self._address(), str(self), seconds)

    def _address(self) -> str:
        return "\0" + self.path[1:] if self.path.startswith("@") else self.path

    def prepare(self, connection: socket.socket) -> None:
        enlarge_buffers(connection)

    def peer_refusal(self, connection: socket.socket) -> str:
        """Check the uid of the peer (SO_PEERCRED). Root is a user like others."""
        pid, uid = peer_of(connection)
        if uid == os.geteuid() or uid in self.users:
            return ""
        return f"process {pid} at the other end belongs to user {uid}, who is not admitted; users= admits more users"


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return the pid and the uid of the process at the other end of a Unix socket (SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid


class SocketPath(Listening):
    """A socket that listens at a path; the file exists only while somebody can connect to it.

    Listeners in one directory exclude each other by a lock on the directory itself, which dies with its holder and
    leaves no file. Under the lock a free name is linked, which fails if somebody else makes the file meanwhile; a
    socket that nobody listens at is renamed over, which no other listener can be doing.
    """

    def __init__(self, endpoint: Unix, backlog: int) -> None:
        super().__init__(_make(), str(endpoint))
        self._path = endpoint.path
        self._directory, self._name = os.path.split(endpoint.path)
        self._made: tuple[int, int] | None = None  # device and inode
        try:
            if endpoint.path.startswith("@"):
                self.socket.bind(endpoint._address())
                self.socket.listen(backlog)
            else:
                self._bind(0o666 if endpoint.users - {os.geteuid()} else 0o600, backlog)
        except BaseException:
            self.socket.close()
            raise

    def _bind(self, mode: int, backlog: int) -> None:
        temporary = f".ringipc-{os.geteuid()}"
        with self._directory_lock() as directory:
            # Through the directory's descriptor: else the temporary path could be too long where the real one is not.
            reach = f"/proc/self/fd/{directory}"
            with contextlib.suppress(FileNotFoundError):  # left by a listener that was killed below
                os.unlink(temporary, dir_fd=directory)
            self.socket.bind(f"{reach}/{temporary}")
            try:
                os.chmod(temporary, mode, dir_fd=directory)
                self.socket.listen(backlog)
                made = os.lstat(temporary, dir_fd=directory)
                try:
                    os.link(temporary, self._name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
                except FileExistsError:
                    self._refuse_unless_dead(f"{reach}/{self._name}")
                    os.rename(temporary, self._name, src_dir_fd=directory, dst_dir_fd=directory)
                self._made = made.st_dev, made.st_ino
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)

    @contextlib.contextmanager
    def _directory_lock(self) -> Iterator[int]:
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            end = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise SystemRefused(
                            errno.EAGAIN, "another process keeps the directory locked (flock)", self._directory
                        ) from None
                    time.sleep(0.01)
            yield directory
        finally:
            os.close(directory)

    def _refuse_unless_dead(self, reach: str) -> None:
        if not stat.S_ISSOCK(os.lstat(reach).st_mode):
            raise SystemRefused(errno.EEXIST, "the path exists and is not a socket", self._path)
        with _make() as probe:
            probe.setblocking(False)
            number = probe.connect_ex(reach)
        # A listener with a full backlog (EAGAIN) or of another socket type (EPROTOTYPE) is alive, too.
        if number in (0, errno.EAGAIN, errno.EPROTOTYPE):
            raise SystemRefused(errno.EADDRINUSE, "the address is in use by another listener", self._path)
        if number != errno.ECONNREFUSED:
            raise SystemRefused(
                number, f"a socket is there, and whether it is in use is unknown: {os.strerror(number)}", self._path
            )

    def remove(self) -> None:
        """Remove the file if it is still this listener's."""
        if self._made is None:
            return
        with contextlib.suppress(OSError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._made:
                os.unlink(self._path)
        self._made = None


def _make() -> socket.socket:
    return closed_in_children(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))


def _checked_users(users: Iterable[int]) -> frozenset[int]:
    try:
        checked = frozenset(users)
    except TypeError:
        raise TypeError(f"users must be a collection of uids, such as [1001], not {users!r}") from None
    for uid in checked:
        if isinstance(uid, bool) or not isinstance(uid, int):
            raise TypeError(f"users must be uids, such as [1001], not {uid!r}")
    return checked
