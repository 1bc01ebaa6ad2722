"""Open producers and consumers: what `Producer(...)` and `Consumer(...)` do.

The classes themselves are in the extension module, which knows nothing of transports, so their constructors stand
above it.
"""

import errno
import importlib
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from . import _arguments, _atexit, _facts, _failures, _names, errors, transports
from ._arguments import Wait
from ._core import DURABLE, SHARED, Consumer, Producer, check_timeout, constructor, last_shortage
from .channel import Channel, core_name_of
from .transports.endpoint import Endpoint
from .transports.remote_lane import check_remote_lane

if TYPE_CHECKING:
    from .transports.link import ProducerLink

Overflow = Literal["block", "drop-new", "drop-old"]


@constructor(Producer)
def open_producer(
    producer: Producer,
    channel: str | Channel | Endpoint,
    *,
    capacity: int | str = "64 MiB",
    max_message: int | str | None = None,
    slots: int = 1024,
    overflow: Overflow = "block",
    groups: Iterable[str] = (),
    lane: Literal["own", "shared"] = "own",
    preallocate: bool = False,
    pickle: bool = False,
    wait: Wait = "adaptive",
    mode: int = _arguments.PRIVATE,
    share_with: str | int | None = None,
    fallback: str | Endpoint | None = None,
    timeout: float | None = None,
    linger: float | None = 30,
) -> None:
    if isinstance(groups, str):
        raise TypeError(f"groups must be a list of names, not the str {groups!r}")
    declared = [_names.checked_name(group, "group") for group in groups]
    size = _arguments.size_in_bytes(capacity)
    longest = None if max_message is None else _arguments.size_in_bytes(max_message, "max_message")
    if longest is not None and longest < size:
        raise ValueError(f"max_message must be at least capacity: {longest} bytes are less than {size}")
    slots = _arguments.checked_count(slots, "slots", "messages", 1, 1 << 26)
    overflow_code = _arguments.checked_choice("overflow", overflow, _facts.OVERFLOWS)
    shared = _arguments.checked_choice("lane", lane, {"own": 0, "shared": 1}) == 1
    if shared and longest is not None and longest > size:
        raise ValueError('max_message cannot exceed the capacity with lane="shared"; choose a larger capacity=')
    wait_code = _arguments.checked_choice("wait", wait, _facts.WAITS)
    _arguments.checked_bool("preallocate", preallocate)
    _arguments.checked_bool("pickle", pickle)
    access = _arguments.access(mode, share_with)
    spin = wait == "spin"
    check_timeout(timeout)
    check_timeout(linger, "linger")
    producer._linger = linger
    producer._link = None
    producer._transport = "ring"
    target = transports.resolve(channel)
    fallback_endpoint = transports.resolve_fallback(channel, target, fallback, binds=True)
    if shared and (fallback_endpoint is not None or isinstance(target, Endpoint)):
        raise ValueError(
            'lane="shared" is for channels in shared memory, and not for messages that go over a connection'
        )
    if fallback_endpoint is not None:
        check_remote_lane(str(fallback_endpoint), size, slots)
    if isinstance(target, Endpoint):
        own = Channel.anonymous()
        producer._link = transports.open_producer_link(target, own, size, slots, timeout=timeout, spin=spin)
        producer._transport = producer._link.transport
        target = producer._link.channel
    name = core_name_of(target)
    producer._name(channel if producer._link is None else producer._link.url)  # with the port
    producer._pickle = pickle
    rc = producer._open(name, size, slots, overflow_code, preallocate, shared, wait_code, *access)
    if rc < 0:
        if producer._link is not None:
            producer._link.abandon()
        needed, remedy = "", ""
        if rc == -errno.EFBIG or (rc == -errno.ENOSPC and preallocate):
            needed, remedy = f"a lane of {size} bytes", "choose a smaller capacity="
        elif rc == -errno.ENOSPC:
            needed, remedy = f"a lane's {slots} slots", "choose fewer slots="
        _failures.fail(rc, producer.channel, needed, last_shortage(), remedy)
    _atexit.close_at_exit(producer)
    if longest is not None:
        producer._set_longest(longest)
    if fallback_endpoint is not None:
        producer._link = _open_fallback(producer, fallback_endpoint, str(target), size, slots, spin)
    if producer._link is not None:
        weakref.finalize(producer, producer._link.linger, linger).atexit = False  # at exit, _atexit closes the producer
        if producer._link.transport != "ring":
            weak = weakref.ref(producer)
            producer._link.failed = lambda error: _cut_off(weak(), error)
            producer._set_io_loop(producer._link.io_loop)
    for group in declared:
        rc = producer._declare(group)
        if rc < 0:
            producer._cancel_open()
            producer.close()
            _failures.fail(rc, producer.channel)


def _cut_off(producer: Producer | None, error: errors.RingError) -> None:
    """Let a producer, if it still exists, raise an error from waits for room."""
    if producer is not None:
        producer._cut_off(error)


def _open_fallback(
    producer: Producer, fallback: Endpoint, ring: str, size: int, slots: int, spin: bool
) -> "ProducerLink":
    """Return the link of a producer to its fallback. If that fails, undo the opening of the producer."""
    try:
        return transports.open_producer_link(fallback, Channel.open(ring), size, slots, timeout=None, spin=spin)
    except BaseException:
        producer._cancel_open()
        producer._close(False)
        raise


@constructor(Consumer)
def open_consumer(
    consumer: Consumer,
    channel: str | Channel | Endpoint,
    *,
    group: str = "default",
    shared: bool = False,
    durable: bool = False,
    max_deliveries: int | None = None,
    dead_letters: str | Channel | Endpoint | None = None,
    overflow: Literal["block", "drop-old"] = "block",
    start: Literal["oldest", "newest"] = "oldest",
    order: Literal["lane", "time"] = "lane",
    producers: int | None = 1,
    deaths: Literal["raise", "skip"] = "raise",
    copy: bool | None = None,
    arrays: Literal["numpy", "torch"] = "numpy",
    pickle: bool = False,
    wait: Wait = "adaptive",
    timeout: float | None = None,
    fallback: str | Endpoint | None = None,
) -> None:
    group_name = _names.checked_name(group, "group")
    wait_code = _arguments.checked_choice("wait", wait, _facts.WAITS)
    start_code = _arguments.checked_choice("start", start, _facts.STARTS)
    order_code = _arguments.checked_choice("order", order, _facts.ORDERS)
    overflow_code = _arguments.checked_choice("overflow", overflow, _facts.GROUP_OVERFLOWS)
    for option, value in {"shared": shared, "durable": durable, "pickle": pickle}.items():
        _arguments.checked_bool(option, value)
    if copy is not None:
        _arguments.checked_bool("copy", copy)
    if _arguments.checked_choice("arrays", arrays, {"numpy": 0, "torch": 1}):
        importlib.import_module("torch")
        copy = copy is None or copy
    deaths_code = _arguments.checked_choice("deaths", deaths, {"raise": 0, "skip": 1})
    if producers is not None:
        producers = _arguments.checked_count(producers, "producers", "producers (or None)", 1, (1 << 32) - 2)
    if max_deliveries is not None:
        max_deliveries = _arguments.checked_count(max_deliveries, "max_deliveries", "deliveries (or None)", 1, 63)
    if dead_letters is not None:
        if max_deliveries is None:
            raise ValueError("dead_letters= needs max_deliveries=, the deliveries after which a message goes there")
        if dead_letters == channel:
            raise ValueError("dead_letters= must be another channel: here a message would come back for ever")
        transports.resolve(dead_letters)
    consumer._name(channel, group)
    consumer._pickle = pickle
    consumer._tensors = arrays == "torch"
    flags = start_code | order_code | overflow_code | (SHARED if shared else 0) | (DURABLE if durable else 0)
    check_timeout(timeout)
    target = transports.resolve(channel)
    rc, holder, consumer._link = transports.attach_consumer(
        target,
        transports.resolve_fallback(channel, target, fallback, binds=False),
        group,
        flags,
        timeout=timeout,
        spin=wait == "spin",
        attach=lambda name, flags, left: consumer._open(name, group_name, flags, wait_code, copy, left),
    )
    if consumer._link is not None:
        consumer._name(consumer._link.url, group)  # with the port
        weakref.finalize(consumer, consumer._link.forget).atexit = False  # at exit, _atexit closes the consumer
        if consumer._link.brings_all():
            consumer._set_io_loop(consumer._link.io_loop)
    if rc < 0:
        _failures.fail_consumer_open(rc, holder, consumer.channel, group, shared, last_shortage())
    if max_deliveries is not None and not consumer._limit_deliveries(max_deliveries, dead_letters):
        consumer.close()
        raise ValueError("max_deliveries= is for shared and durable groups: no other group delivers a message again")
    consumer._expect(producers, deaths_code == 1)
    _atexit.close_at_exit(consumer)
