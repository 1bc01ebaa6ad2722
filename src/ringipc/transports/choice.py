"""Which way a handle's messages go: what its channel's name, URL or pipe, and its fallback, say.

Whatever moves messages over connections is imported only where there are some.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .. import errors
from .._core import DURABLE, SHARED
from ..channel import Channel, code_of
from .options import Options, check_lane
from .pipe_end import PipeEnd

if TYPE_CHECKING:
    from .base import BaseLink
    from .inlet import Inlet
    from .outlet import Outlet
    from .pipes import PipeInlet, PipeOutlet
    from .url import Url

Where = str | Channel | PipeEnd
Attach = Callable[[bytes, int, float | None], tuple[int, int]]  # name, how, seconds to wait for the table lock
_L = TypeVar("_L", bound="BaseLink")

_log = logging.getLogger("ringipc")
_LOOK_EVERY = 0.01  # seconds, for a channel that is not there yet
_NO_RING = (-errno.ENOENT, -errno.EACCES, -errno.EPERM)  # not there, or not for us


def ring_of(where: Where) -> Channel | str | None:
    """The ring that it names, or None where it is another transport's."""
    if isinstance(where, Channel):
        return where
    if isinstance(where, PipeEnd):
        return None
    if not isinstance(where, str):
        raise TypeError(f"the channel's name must be a str, not {where!r}")
    if ":" not in where or where.startswith("fd:"):
        return where
    url = _parse(where)
    return url.name if url.scheme == "shm" else None


def check_fallback(where: Where, ring: Channel | str | None, fallback: str | None, options: Options) -> None:
    """A fallback stands beside a ring that others find by its name.

    Raises
    ------
    ValueError
        There is no such ring; or what is said about connections has none to be about.
    """
    if fallback is None:
        if ring is not None:
            options.check(where, None)
    elif not isinstance(ring, str) or ring.startswith("fd:"):
        raise ValueError(f"fallback= is for a ring that has a name, and {where!r} is none")
    elif _parse(fallback).scheme not in ("unix", "tcp"):
        raise ValueError(f"fallback= must be a socket, unix:// or tcp://, not {fallback!r}")


def _parse(where: Where) -> Url:
    from .url import parse

    return parse(str(where))


def producer_link(where: Where, options: Options, capacity: int, slots: int, *, spin: bool) -> Outlet | PipeOutlet:
    """Begun: it listens, or is connected. Its channel is where the producer's lane is to be."""
    url = _parse(where)
    options.check(where, url)
    check_lane(where, capacity, slots)
    if url.scheme in ("pipe", "fifo"):
        from .pipes import PipeOutlet

        end = where if isinstance(where, PipeEnd) else None
        return _begun(PipeOutlet(url, end, Channel(), capacity, slots, spin=spin))
    return _outlet(url, options, Channel(), capacity, slots, spin=spin)


def fallback_link(name: str, fallback: str, options: Options, capacity: int, slots: int, *, spin: bool) -> Outlet:
    """Beside a ring that is there: for consumers that cannot map it."""
    return _outlet(_parse(fallback), options, Channel(name), capacity, slots, spin=spin)


def _outlet(url: Url, options: Options, channel: Channel, capacity: int, slots: int, *, spin: bool) -> Outlet:
    from .outlet import Outlet

    return _begun(Outlet(url, options, channel, capacity, slots, spin=spin))


def find(
    where: Where,
    fallback: str | None,
    options: Options,
    group: str,
    how: int,
    *,
    spin: bool,
    attach: Attach,
) -> tuple[int, int, Inlet | PipeInlet | None]:
    """Attaches a consumer, waiting for a producer: what attach said at last, and the link if it is not the ring."""
    ring = ring_of(where)
    check_fallback(where, ring, fallback, options)
    if ring is None:
        return _attach_link(_consumer_link(where, options, group, how, spin=spin), attach)
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    while True:
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        code, holder = attach(code_of(ring), how, left)
        if code not in _NO_RING or (code != -errno.ENOENT and fallback is None):
            return code, holder, None
        if fallback is not None:
            try:
                at_once = dataclasses.replace(options, timeout=0)
                return _attach_link(_consumer_link(fallback, at_once, group, how, spin=spin), attach)
            except errors.ChannelNotFound:
                pass
        left = _LOOK_EVERY if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return code, holder, None
        time.sleep(min(_LOOK_EVERY, left))


def _attach_link(link: Inlet | PipeInlet, attach: Attach) -> tuple[int, int, Inlet | PipeInlet]:
    code, holder = attach(code_of(link.channel), link.how, None)
    if code < 0:
        link.abandon()
    return code, holder, link


def _consumer_link(where: Where, options: Options, group: str, how: int, *, spin: bool) -> Inlet | PipeInlet:
    """Begun. Its channel is where the consumer is to be a member: of this group if the ring was passed, else alone."""
    url = _parse(where)
    options.check(where, url)
    if url.scheme in ("pipe", "fifo"):
        from .pipes import PipeInlet

        if how & (SHARED | DURABLE):
            raise ValueError(f"{where!r} has one consumer: shared= and durable= are for rings and sockets")
        end = where if isinstance(where, PipeEnd) else None
        return _begun(PipeInlet(url, end, Channel(), options.timeout, spin=spin))
    from .inlet import Inlet

    return _begun(Inlet(url, options, Channel(), group, how, spin=spin))


def _begun(link: _L) -> _L:
    link.begin()
    _log.info("%s: by %s", link.url, link.transport)
    return link
