"""File descriptors that are sent over Unix sockets (SCM_RIGHTS): the channel itself, instead of a stream."""

import os
import socket

from ..errors import Corrupt

_MARK = b"ring"
_SECONDS = 5.0  # that the peer has for each step


def send_descriptor(connection: socket.socket, fd: int) -> None:
    """Send a file descriptor, and wait until the peer has it and has closed the connection."""
    connection.settimeout(_SECONDS)
    socket.send_fds(connection, [_MARK], [fd])
    connection.recv(1)


def receive_descriptor(connection: socket.socket) -> int:
    """Return the file descriptor that the peer sends.

    Raises
    ------
    Corrupt
        It sends something else, or nothing.
    """
    connection.settimeout(_SECONDS)
    try:
        data, fds, _, _ = socket.recv_fds(connection, len(_MARK), 1)
    except OSError as error:
        raise Corrupt(f"the peer did not send its channel: {error}") from error
    if data != _MARK or len(fds) != 1:
        for fd in fds:
            os.close(fd)
        raise Corrupt("the peer sent something else than its channel")
    return fds[0]
