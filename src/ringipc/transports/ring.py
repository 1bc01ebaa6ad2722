"""The ring itself over a Unix socket: its descriptor is all that a process needs, wherever it runs on this machine.

Who comes by TCP from this machine is sent to such a socket (an abstract one, whose name only it is told).
"""

import os
import socket

from ..channel import Channel
from ..errors import Corrupt

_MARK = b"ring"
_PATIENCE = 5.0  # seconds


def may_pass(scheme: str) -> bool:
    """RINGIPC_RING=0 in the environment keeps this process to the stream, to find out what that does."""
    return scheme in ("unix", "tcp") and os.environ.get("RINGIPC_RING") != "0"


def give(connection: socket.socket, fd: int) -> None:
    connection.settimeout(_PATIENCE)
    socket.send_fds(connection, [_MARK], [fd])
    connection.recv(1)  # until the other side has it, and has closed


def take(connection: socket.socket) -> Channel:
    """The channel whose descriptor comes.

    Raises
    ------
    Corrupt
        None comes.
    """
    connection.settimeout(_PATIENCE)
    try:
        data, fds, _, _ = socket.recv_fds(connection, len(_MARK), 1)
    except OSError as error:
        raise Corrupt(f"the ring did not come: {error}") from error
    try:
        if data != _MARK or len(fds) != 1:
            raise Corrupt("something else came in place of a ring")
        return Channel.from_fd(fds[0])
    finally:
        for fd in fds:
            os.close(fd)
