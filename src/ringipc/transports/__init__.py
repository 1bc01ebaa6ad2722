"""Transports: from the channel argument of a handle to what carries its messages.

A transport is an `Endpoint`, in a module of its own, with a line in the table below. What moves messages over
connections is imported only when a link is made.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .. import _names, errors
from ..channel import Channel, core_name_of
from .endpoint import Endpoint, SocketEndpoint
from .long_wait import LongWait
from .pipe import Fifo, Pipe
from .tcp import Tcp
from .unix import Unix

if TYPE_CHECKING:
    from .link import ConsumerLink, Link, ProducerLink

TRANSPORTS: dict[str, type[Endpoint]] = {
    "pipe": Pipe,
    "fifo": Fifo,
    "unix": Unix,
    "tcp": Tcp,
}  # by the scheme of their URLs

Attach = Callable[[bytes, int, float | None], tuple[int, int]]  # name, flags, seconds to wait for the table lock
_L = TypeVar("_L", bound="Link")

_log = logging.getLogger("ringipc")
_POLL_EVERY = 0.01  # seconds, for a channel that is not there yet
_NO_RING = (-errno.ENOENT, -errno.EACCES, -errno.EPERM)  # the channel does not exist, or belongs to another user


def resolve(where: str | Channel | Endpoint) -> str | Channel | Endpoint:
    """Return the channel argument of a handle as a name or a `Channel`, or as an endpoint.

    >>> resolve("camera"), resolve("tcp://[::1]:5000").host
    ('camera', '::1')

    Raises
    ------
    ValueError
        A URL is malformed, its scheme is unknown, or a name looks like a URL.
    """
    if isinstance(where, Channel | Endpoint):
        return where
    if not isinstance(where, str):
        raise TypeError(f"the channel must be a name, a URL, a Channel or an endpoint, not {where!r}")
    scheme, separator, rest = where.partition("://")
    if not separator:
        scheme, colon, rest = where.partition(":")
        if not colon or scheme not in TRANSPORTS:
            return where
        if scheme != "pipe":
            raise ValueError(f"the channel {where!r} looks like a URL: write {f'{scheme}://{rest}'!r}")
    if scheme not in TRANSPORTS:
        forms = ", ".join(each.form for each in TRANSPORTS.values())
        raise ValueError(
            f"{where!r}: the scheme {scheme!r} is not known; there are {forms}, and names without a scheme"
        )
    return TRANSPORTS[scheme].from_url(where)


def resolve_fallback(
    where: object, target: str | Channel | Endpoint, fallback: str | Endpoint | None, *, binds: bool
) -> SocketEndpoint | None:
    """Return the fallback endpoint of a handle whose channel has a name.

    Parameters
    ----------
    where
        The channel argument, for errors; target is what `resolve` has returned for it.
    binds
        Whether this handle listens there: a producer does, a consumer does not.

    Raises
    ------
    ValueError
        The channel has no name; or fallback is not a socket, or binds the wrong side.
    """
    if fallback is None:
        return None
    if not isinstance(target, str) or target.startswith("fd:"):
        raise ValueError(f"fallback= is for a channel that has a name, not for {where!r}")
    endpoint = resolve(fallback)
    if not isinstance(endpoint, SocketEndpoint):
        raise ValueError(f"fallback= must be a socket, unix:// or tcp://, not {fallback!r}")
    if endpoint.bind not in (None, binds):
        raise ValueError(f"{str(endpoint)!r}: a producer binds its fallback and consumers connect to it; omit bind=")
    return endpoint


def open_producer_link(
    endpoint: Endpoint, channel: Channel, capacity: int, slots: int, *, timeout: float | None, spin: bool
) -> ProducerLink:
    """Return a link in the channel of a producer that listens or is connected."""
    return _opened(endpoint.producer_link(channel, capacity, slots, timeout=timeout, spin=spin))


def attach_consumer(
    target: str | Channel | Endpoint,
    fallback: Endpoint | None,
    group: str,
    flags: int,
    *,
    timeout: float | None,
    spin: bool,
    attach: Attach,
) -> tuple[int, int, ConsumerLink | None]:
    """Join a channel for a consumer, through shared memory or by an endpoint, and wait for a producer.

    Returns
    -------
    What attach has returned, and the link if the messages come through one.
    """
    if isinstance(target, Endpoint):
        return _attach_by(target, group, flags, timeout=timeout, spin=spin, attach=attach)
    deadline = None if timeout is None else time.monotonic() + timeout
    wait = LongWait(lambda: _why_it_waits(target))
    while True:
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        rc, holder = attach(core_name_of(target), flags, left)
        if rc not in _NO_RING or (rc != -errno.ENOENT and fallback is None):
            return rc, holder, None
        if fallback is not None:
            try:
                return _attach_by(fallback, group, flags, timeout=0, spin=spin, attach=attach)
            except errors.ChannelNotFound:
                pass
        left = _POLL_EVERY if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return rc, holder, None
        wait.pause(min(_POLL_EVERY, left))


def _why_it_waits(target: str | Channel) -> str:
    """Return what a consumer waits for, with the names that its user may have meant."""
    import difflib  # here, because few programs need it

    directory, name = os.path.split(_names.path_of(core_name_of(target)))
    try:
        similar = difflib.get_close_matches(name, os.listdir(directory))
    except OSError:  # there is no channel at all, or another user owns them
        similar = []
    others = f", where similar names are {', '.join(map(repr, similar))}" if similar else ""
    return (
        f"waiting for a producer to create channel {str(target)!r} in {directory}{others} (is the name right, and "
        "RINGIPC_DIR the same?)"
    )


def _attach_by(
    endpoint: Endpoint, group: str, flags: int, *, timeout: float | None, spin: bool, attach: Attach
) -> tuple[int, int, ConsumerLink]:
    """Join the channel of a link: with the group if it was passed, else as the only member."""
    link = _opened(endpoint.consumer_link(Channel.anonymous(), group, flags, timeout=timeout, spin=spin))
    rc, holder = attach(core_name_of(link.channel), link.flags, None)
    if rc < 0:
        link.abandon()
    return rc, holder, link


def _opened(link: _L) -> _L:
    link.open()
    _log.info("%s: messages go by %s", link.url, link.transport)
    return link
