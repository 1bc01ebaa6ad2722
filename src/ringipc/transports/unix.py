"""Unix sockets: who is at the other end, and a file that one listener at a time has."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator

from ..errors import SystemRefused
from .forks import own
from .url import Url

_CREDENTIALS = struct.Struct("iII")  # struct ucred
_PATIENCE = 5.0  # seconds that another listener may take to get its place in the same directory


def make() -> socket.socket:
    return own(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))


def address(url: Url) -> str:
    return "\0" + url.path[1:] if url.path.startswith("@") else url.path


def stranger(connection: socket.socket, users: frozenset[int]) -> str:
    """Why the user at the other end is not admitted, or nothing. Root is a user like others."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    if uid in users:
        return ""
    return f"process {pid} at the other end belongs to user {uid}, who is not admitted; users= widens who is"


class Place:
    """A socket that listens at a path; the file is there only while somebody can connect to it.

    Listeners that come to one directory take turns by a lock on the directory itself, which dies with its holder and
    leaves no file. Within it a name that nobody has is linked, which fails if somebody else makes it meanwhile; a
    socket that nobody listens at is renamed over, which no other listener can be doing.
    """

    def __init__(self, url: Url, *, private: bool, backlog: int) -> None:
        self._url = url
        self._directory, self._name = os.path.split(url.path)
        self._made: tuple[int, int] | None = None
        self.socket = make()
        try:
            if url.path.startswith("@"):
                self.socket.bind(address(url))
                self.socket.listen(backlog)
            else:
                self._take(0o600 if private else 0o666, backlog)
        except BaseException:
            self.socket.close()
            raise

    def _take(self, mode: int, backlog: int) -> None:
        temporary = f".ringipc-{os.geteuid()}"
        with self._turn() as directory:
            # By way of the directory's descriptor, or the temporary name could be too long where the real one is not.
            reach = f"/proc/self/fd/{directory}"
            with contextlib.suppress(FileNotFoundError):  # of one who was killed below
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
    def _turn(self) -> Iterator[int]:
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            end = time.monotonic() + _PATIENCE
            while True:
                try:
                    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise SystemRefused(
                            errno.EAGAIN, "somebody keeps the directory locked (flock)", self._directory
                        ) from None
                    time.sleep(0.01)
            yield directory
        finally:
            os.close(directory)

    def _refuse_unless_dead(self, reach: str) -> None:
        if not stat.S_ISSOCK(os.lstat(reach).st_mode):
            raise SystemRefused(errno.EEXIST, "something is there that is no socket", self._url.path)
        with make() as knock:
            knock.setblocking(False)
            code = knock.connect_ex(reach)
        # Those are alive, too, who have many to admit (EAGAIN) or a socket of another type (EPROTOTYPE).
        if code in (0, errno.EAGAIN, errno.EPROTOTYPE):
            raise SystemRefused(errno.EADDRINUSE, "somebody listens there", self._url.path)
        if code != errno.ECONNREFUSED:
            raise SystemRefused(code, f"a socket is there that cannot be tried: {os.strerror(code)}", self._url.path)

    def leave(self) -> None:
        """Removes the file if it is still ours; comes before the socket is closed, while nobody takes it over."""
        if self._made is None:
            return
        with contextlib.suppress(OSError):
            found = os.lstat(self._url.path)
            if (found.st_dev, found.st_ino) == self._made:
                os.unlink(self._url.path)
        self._made = None
