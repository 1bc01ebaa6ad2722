"""Which way a handle's messages go: what its channel's name, URL or pipe, and its fallback, say."""

import dataclasses
import errno
import logging
import time
from collections.abc import Callable

from .. import errors
from ..look import Channel, code_of
from .inlet import Inlet
from .link import Options
from .outlet import Outlet
from .pipes import PipeEnd, PipeInlet, PipeLink, PipeOutlet
from .url import Url, parse

log = logging.getLogger("ringipc")

Where = str | Channel | PipeEnd

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
    url = parse(where)
    return url.name if url.scheme == "shm" else None


def _url_of(where: Where) -> tuple[Url, PipeEnd | None]:
    return (parse(str(where)), where) if isinstance(where, PipeEnd) else (parse(str(where)), None)


def producer_link(where: Where, options: Options, capacity: int, slots: int, *, spin: bool) -> Outlet | PipeOutlet:
    """Begun: it listens, or is connected. Its channel is where the producer's lane is to be."""
    url, end = _url_of(where)
    channel = Channel()
    link: Outlet | PipeOutlet
    if url.scheme in ("pipe", "fifo"):
        link = PipeOutlet(url, end, channel, capacity, slots, spin=spin)
    else:
        link = Outlet(url, options, channel, b"fd:%d" % channel.fileno(), capacity, slots, spin=spin)
    link.begin()
    _say(link)
    return link


def fallback_link(
    name: str, code: bytes, fallback: str, options: Options, capacity: int, slots: int, *, spin: bool
) -> Outlet:
    """Beside a ring that is there: for consumers that cannot map it."""
    link = Outlet(parse(fallback), options, Channel(name), code, capacity, slots, spin=spin)
    link.begin()
    return link


def find(
    where: Where,
    fallback: str | None,
    options: Options,
    group: str,
    how: int,
    *,
    spin: bool,
    attach: Callable[[bytes, int], tuple[int, int]],
) -> tuple[int, int, Inlet | PipeInlet | None]:
    """Attaches a consumer, waiting for a producer: what attach said at last, and the link if it is not the ring."""
    ring = ring_of(where)
    if ring is None:
        return _attach_link(_consumer_link(where, options, group, how, spin=spin), attach)
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    while True:
        code, holder = attach(code_of(ring), how)
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


def _attach_link(
    link: Inlet | PipeInlet, attach: Callable[[bytes, int], tuple[int, int]]
) -> tuple[int, int, Inlet | PipeInlet]:
    code, holder = attach(code_of(link.channel), link.how)
    if code < 0:
        link.abandon()
    return code, holder, link


def _consumer_link(where: Where, options: Options, group: str, how: int, *, spin: bool) -> Inlet | PipeInlet:
    """Begun. Its channel is where the consumer is to be a member: of this group if the ring was passed, else alone."""
    url, end = _url_of(where)
    channel = Channel()
    link: Inlet | PipeInlet
    if url.scheme in ("pipe", "fifo"):
        link = PipeInlet(url, end, channel, options.timeout, spin=spin)
    else:
        link = Inlet(url, options, channel, b"fd:%d" % channel.fileno(), group, how, spin=spin)
    link.begin()
    _say(link)
    return link


def _say(link: Outlet | Inlet | PipeLink) -> None:
    log.info("%s: by %s", link.url, link.transport)
