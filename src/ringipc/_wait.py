"""Wait until one of several handles is ready."""

import math
import select
import time
from collections.abc import Iterable
from typing import Any, TypeVar

from ._core import Consumer, Latest, Producer, check_timeout

_H = TypeVar("_H")  # an int, or what has fileno()
_SLICE = 0.5  # seconds until a handle is inspected again, as its peers may have died, or another thread has closed it


def wait(handles: Iterable[_H], timeout: float | None = None) -> list[_H]:
    """Wait until at least one of several handles is ready, like `multiprocessing.connection.wait`.

    A consumer is ready if it has something to get: a message, the end of the stream, or a death. A producer is ready if
    it has room for a message. So `get_nowait` or `put_nowait` does not raise `Empty` or `Full` then, unless somebody
    else is quicker: another thread, or another member of a shared group. A `Latest` is ready if there is a newer value
    than it has found last. If no handle is ready, what this thread or task got from the consumers is done, as at the
    next get.

    Parameters
    ----------
    handles
        Consumers, producers, latest values, and anything else with a ``fileno()`` that can be read from: a socket, a
        `multiprocessing.connection.Connection`; or a file descriptor, such as ``Process.sentinel``.
    timeout
        Seconds to wait; None waits for ever, 0 not at all.

    Returns
    -------
    The handles that are ready, in the order in which they were given. The list is empty if the time is up.

    Raises
    ------
    Closed
        A consumer, a producer or a `Latest` is closed, also if another thread closes it while this one waits.
    ValueError
        There are no handles, or another object is closed.

    Examples
    --------
    >>> import ringipc
    >>> with ringipc.Producer("both", capacity="1 MiB") as producer:
    ...     with ringipc.Consumer("both", group="a") as a, ringipc.Consumer("both", group="b") as b:
    ...         ringipc.wait([a, b], timeout=0)
    ...         producer.put(b"x")
    ...         ringipc.wait([a, b]) == [a, b]
    []
    True
    True
    """
    check_timeout(timeout)
    listed: list[Any] = list(handles)
    if not listed:
        raise ValueError("wait() needs at least one handle")
    end = math.inf if timeout is None else time.monotonic() + timeout
    own = any(isinstance(handle, Consumer | Producer | Latest) for handle in listed)
    in_work = [handle for handle in listed if isinstance(handle, Consumer)]
    while True:
        numbers = [handle if isinstance(handle, int) else handle.fileno() for handle in listed]  # raises Closed
        poller = select.poll()
        for number in numbers:
            poller.register(number, select.POLLIN)
        # The call of fileno() has brought descriptors up to date, so this does not see spurious readiness.
        ready = {number for number, _ in poller.poll(0)}
        if ready:
            return [handle for handle, number in zip(listed, numbers, strict=True) if number in ready]
        left = end - time.monotonic()
        if left <= 0:
            return []
        if in_work:  # before it sleeps
            for consumer in in_work:
                consumer._end_work()
            in_work = []
            continue
        left = min(left, _SLICE if own else left)
        poller.poll(None if left == math.inf else math.ceil(left * 1000))
