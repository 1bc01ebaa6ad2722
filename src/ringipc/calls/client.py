"""Clients of a service."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from .. import _arguments, _facts, errors
from .._arguments import Wait
from .._core import CallingEnd, check_timeout
from ..channel import Channel
from ..transports.endpoint import Endpoint, SocketEndpoint
from ..transports.long_wait import LOG_AFTER
from .connection import Connection
from .handle import Handle
from .service import check_service

_log = logging.getLogger("ringipc")
_POLL_EVERY = 0.01  # seconds, for a server that is not there yet
_clients: weakref.WeakSet[Client] = weakref.WeakSet()


class Client(Handle, CallingEnd):
    """Calls the servers of a service: sends requests, and receives a reply to each.

    Clients and servers may start in any order. A client waits for the first server. From then on, when no server is
    left, calls raise `NoServer` at once, until there is a server again. Threads and tasks may share a client. A forked
    child may use the client of its parent: it connects for itself.

    Parameters
    ----------
    service
        The name of a service; an anonymous `Channel` that is passed to the servers too; or the address of a server, as
        a URL or what `tcp` or `unix` return. As for `Server`.
    capacity, slots
        How many bytes and how many requests of this client can be on the way; see `Producer`. Further ones wait.
    copy
        True: arrays in replies are the caller's own. False: they are read-only views of shared memory, and cost no
        copy. If views of more than four replies of a server are kept, all its later replies stay in memory too.
    pickle
        True: send any object, and receive any object and the exceptions of handlers as they are. The servers need
        pickle=True too. Use it only if both sides trust each other: unpickling can run any code.
    wait
        How calls wait for their replies; see `Producer`.

    Examples
    --------
    >>> import threading, ringipc
    >>> server = ringipc.Server("square")
    >>> thread = threading.Thread(target=server.serve, args=[lambda x: x * x])
    >>> thread.start()
    >>> with ringipc.Client("square") as client:
    ...     client.call(7)
    49
    >>> server.close(); thread.join()
    """

    def __init__(
        self,
        service: str | Channel | Endpoint,
        *,
        capacity: int | str = "64 MiB",
        slots: int = 1024,
        copy: bool = True,
        pickle: bool = False,
        wait: Wait = "adaptive",
    ) -> None:
        self._service = check_service(service, binds=False)
        self.service = service
        _arguments.size_in_bytes(capacity)
        _arguments.checked_count(slots, "slots", "requests", 1, 1 << 26)
        _arguments.checked_choice("wait", wait, _facts.WAITS)
        for option, value in {"copy": copy, "pickle": pickle}.items():
            _arguments.checked_bool(option, value)
        self._options: dict[str, Any] = {
            "capacity": capacity,
            "slots": slots,
            "copy": copy,
            "pickle": pickle,
            "wait": wait,
        }
        self._connection: Connection | None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._had_server = False
        self._closed = False
        self._connecting = threading.Lock()
        _clients.add(self)

    # ---- connecting ----

    def _connect(self) -> Connection:
        """Return the connection, or make another one if it has ended. It may have no server yet."""
        with self._connecting:
            if self._closed:
                raise errors.Closed(f"service {self.service!r}: the client is closed")
            connection = self._connection
            if connection is None or connection.failure is not None:
                if self._finalizer is not None:
                    self._finalizer.detach()
                connection = self._connection = Connection(self._service, **self._options)
                self._finalizer = weakref.finalize(self, connection.close)
                self._finalizer.atexit = False  # at exit the handles are closed by themselves
            return connection

    def _find_server(self) -> bool:
        """Connect, and return whether there is a server."""
        try:
            connection = self._connect()
        except errors.ChannelNotFound:  # nobody listens there yet
            return False
        if connection.has_server():
            return True
        if isinstance(self._service, SocketEndpoint):
            connection.check_servers()  # the next server listens anew
        return False

    def _pauses(self, deadline: float, had_server: bool, *, patient: bool = False) -> Iterator[float]:
        """Yield the seconds to sleep before each further attempt to find a server, until one should not wait any more.

        had_server: the value of `_had_server` before the first attempt. patient: wait even if there was a server.
        """
        log_at = time.monotonic() + LOG_AFTER
        while True:
            now = time.monotonic()
            if self._had_server and not patient:
                if had_server:
                    raise errors.NoServer(f"service {self.service!r}: no server is left")
                had_server = True  # another thread has found it since the last attempt
                yield 0
                continue
            if now >= deadline:
                raise errors.TimedOut(f"service {self.service!r}: no server was opened in time")
            if now >= log_at:
                log_at = math.inf
                _log.warning("waiting for a server of %r (is the name right, and RINGIPC_DIR the same?)", self.service)
            yield min(_POLL_EVERY, deadline - now)

    def _connected(self, deadline: float, *, patient: bool = False) -> Connection:
        """Return the connection to a service that has a server, or had one a moment ago."""
        connection = self._connection
        if connection is not None and connection.failure is None and self._had_server and not patient:
            return connection
        pauses = self._pauses(deadline, self._had_server, patient=patient)
        while not self._find_server():
            time.sleep(next(pauses))
        return self._found()

    def _found(self) -> Connection:
        self._had_server = True
        connection = self._connect()
        connection.allow_steps()
        return connection

    async def _aconnected(self) -> Connection:
        connection = self._connection
        if connection is not None and connection.failure is None and self._had_server:
            return connection
        import asyncio  # here, because it loads ssl

        pauses = self._pauses(math.inf, self._had_server)
        while not await asyncio.to_thread(self._find_server):
            await asyncio.sleep(next(pauses))
        return self._found()

    def wait_for_server(self, timeout: float | None = None) -> None:
        """Wait until the service has a server, also if it had one before.

        Raises
        ------
        TimedOut
            There was none within timeout seconds.
        """
        self._connected(_deadline(timeout), patient=True)

    # ---- calling ----

    def _call(self, request: object, seconds: float) -> Any:
        """Call where that takes more than one step."""
        deadline = time.monotonic() + seconds
        return self._connected(deadline).request(request, deadline)

    def submit(self, request: object, *, timeout: float | None = None) -> Future[Any]:
        """Send a request, and return a future for its reply. It raises what `call` does.

        Cancelling the future discards the reply.

        Parameters
        ----------
        timeout
            Seconds to wait for a first server, and while `slots` requests of this client are on the way; None waits
            for ever. The wait for the reply is the future's: ``future.result(timeout)``.

        Raises
        ------
        TimedOut
            The request could not be sent within the timeout.
        NoServer, UnsafeMessage, MessageTooLarge, SystemRefused, Closed
            As in `call`.
        """
        deadline = _deadline(timeout)
        future: Future[Any] = Future()
        self._connected(deadline).submit(request, future, deadline)
        return future

    async def acall(self, request: object) -> Any:
        """Send a request, and return what the server replies, like `call`, in a task of asyncio. Other tasks run.

        Use the event loop's own timeouts. The reply for a cancelled task is discarded.
        """
        import asyncio  # here, because it loads ssl

        future: Future[Any] = Future()
        await (await self._aconnected()).asubmit(request, future)
        return await asyncio.wrap_future(future)

    def map(self, requests: Iterable[object], *, timeout: float | None = None, buffersize: int = 64) -> Iterator[Any]:
        """Send requests, and iterate over their replies in the same order.

        Parameters
        ----------
        timeout
            Seconds to wait for each reply, and for room for each request.
        buffersize
            How many requests may be sent before the reply to the first of them is asked for.

        Raises
        ------
        As in `call`, where the reply to the request would come; this ends the iteration.
        """
        check_timeout(timeout)
        size = _arguments.checked_count(buffersize, "buffersize", "requests", 1, 1 << 26)
        return self._map(iter(requests), timeout, size)

    def _map(self, requests: Iterator[object], timeout: float | None, size: int) -> Iterator[Any]:
        futures: deque[Future[Any]] = deque()
        try:
            for request in requests:
                futures.append(self.submit(request, timeout=timeout))
                if len(futures) == size:
                    yield self._result(futures.popleft(), timeout)
            while futures:
                yield self._result(futures.popleft(), timeout)
        finally:
            for future in futures:
                future.cancel()

    def _result(self, future: Future[Any], timeout: float | None) -> Any:
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done():  # the handler raised it
                raise
            future.cancel()
            raise errors.TimedOut(f"service {self.service!r}: no reply within {timeout} s") from None

    # ---- the end ----

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    def close(self) -> None:
        """Close the client. Futures without a result are cancelled; calls of other threads raise `Closed`."""
        self._closed = True
        with self._connecting:
            connection = self._connection
        if connection is not None:
            connection.close()

    def _leave_to_parent(self) -> None:
        """Forget the parent's connection, in a forked child."""
        self._connecting = threading.Lock()
        self._connection = None
        if self._finalizer is not None:
            self._finalizer.detach()


def _deadline(timeout: float | None) -> float:
    check_timeout(timeout)
    return math.inf if timeout is None else time.monotonic() + timeout


def _in_child() -> None:
    for client in list(_clients):
        client._leave_to_parent()


os.register_at_fork(after_in_child=_in_child)
