"""The service argument of clients and servers."""

from __future__ import annotations

import errno
import os
from typing import Any

from .. import _names, errors, transports
from .._core import Consumer, Producer, clean_channel
from ..channel import Channel
from ..transports.endpoint import Endpoint, SocketEndpoint
from . import reply_channel

Service = str | Channel | SocketEndpoint


def check_service(service: object, *, binds: bool) -> Service:
    """Return a service as a name, an anonymous channel, or the address of a socket.

    Parameters
    ----------
    binds
        Whether this side listens at the address of a socket: servers do.

    Raises
    ------
    TypeError, ValueError
        It is not a service, or not one for this side.
    """
    if not isinstance(service, str | Channel | Endpoint):
        raise TypeError(f"the service must be a name, a URL, a Channel or an endpoint, not {service!r}")
    target = transports.resolve(service)
    if isinstance(target, SocketEndpoint):
        if target.bind not in (None, binds):
            raise ValueError(f"{str(target)!r}: a server binds its address and clients connect to it; omit bind=")
        return target
    if isinstance(target, Endpoint):
        raise ValueError(f"{str(target)!r}: a pipe has one direction; a service needs a name, a Channel or a socket")
    if isinstance(target, str) and target.startswith("fd:"):
        return Channel.open(target)
    if isinstance(target, Channel) and target.name is None:
        return target
    name = target if isinstance(target, str) else str(target.name)
    reply_channel.check_name(name)
    return name


def requests_of(service: str | Channel) -> str | Channel:
    """Return the channel of requests of a service.

    Raises
    ------
    Incompatible
        The name of the service is that of something else.
    """
    if isinstance(service, Channel):
        return service
    core_name = _names.checked_name(service)
    if os.path.exists(_names.path_of(core_name)) and clean_channel(core_name) not in (1, -errno.ENOENT):
        raise errors.Incompatible(
            f"service {service!r}: this is the name of a channel, or of a semaphore or the like; choose another name "
            "for the service"
        )
    return service + _names.REQUESTS.decode()


def open_consumer(channel: str | Channel, **options: Any) -> Consumer:
    """Open a consumer, and create its channel if it does not exist."""
    creator = Producer(channel, capacity=1, slots=1)
    try:
        return Consumer(channel, **options)
    finally:
        creator._cancel_open()  # its stream leaves no trace
        creator.close()
