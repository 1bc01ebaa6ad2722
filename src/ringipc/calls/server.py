"""Servers of a service, and the requests that they take."""

from __future__ import annotations

import inspect
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .. import _arguments, _names, _readiness, errors
from .._arguments import Wait
from .._core import Consumer, Message, answer
from ..channel import Channel
from ..transports.endpoint import Endpoint, SocketEndpoint
from .callers import SWEEP_EVERY, Caller, Callers
from .handle import Handle
from .protocol import FAILED, encode_failure, encode_server_died
from .service import check_service, open_consumer, requests_of

if TYPE_CHECKING:
    from ..transports.link import ConsumerLink

_log = logging.getLogger("ringipc")
_MOST_ERRORS = 10  # in the place of requests, each within a second of the last one: then the server raises the error


class Request:
    """A request that this server has taken. Reply to it once, in any thread or task.

    If it is deleted without a reply, another server gets it, or this one again; see `Server`.

    Attributes
    ----------
    payload
        What the client has sent. Arrays are views of shared memory, unless the server has copy=True.
    deliveries : int
        How often it was given to a server, this time included. If it is more than 1, a server has died with it or left
        it unanswered, and may have handled it in part or whole.
    """

    __slots__ = ("_caller", "_message", "_server", "deliveries", "payload")

    _caller: Caller
    _message: Message | None
    _server: Server
    payload: Any
    deliveries: int

    def __init__(self) -> None:
        raise TypeError("only a Server makes a Request")

    @classmethod
    def _make(cls, server: Server, message: Message, caller: Caller) -> Self:
        request = cls.__new__(cls)
        request._message = None  # until all is well
        request._server = server
        request._caller = caller
        request.deliveries = message.deliveries
        request.payload = message.payload
        request._message = message
        return request

    def reply(self, result: object = None) -> None:
        """Send the result to the caller. This does not wait for the caller to read it.

        Raises
        ------
        UnsafeMessage, MessageTooLarge, SystemRefused
            The result cannot be sent, as in `Producer.put`. Reply with something else, or call `fail`.
        Closed
            There was a reply already.
        """
        self._send(result, 0)

    def fail(self, error: BaseException) -> None:
        """Let the call raise an exception in the caller: `RemoteError`, or error itself with pickle=True.

        Raises
        ------
        Closed
            There was a reply already.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception, not {error!r}")
        self._send(encode_failure(error, pickled=self._server._pickle), FAILED)

    def _send(self, payload: object, failed: int) -> None:
        message = self._message
        if message is None:
            raise errors.Closed(f"service {self._server.service!r}: this request has been answered")
        self._caller.send(payload, message.type | failed, message)
        self._message = self.payload = None

    def __del__(self) -> None:
        message = getattr(self, "_message", None)
        if message is not None:
            self.payload = None  # a view of it would delay what follows
            message.requeue()


class Server(Handle):
    """Answers the requests of clients. Each request goes to one of the servers of its service.

    Iterate over the server to get requests, or give `serve` a function. If a server is killed, or leaves requests
    unanswered, others get them; so a request can be handled more than once. Threads may share a server.

    Parameters
    ----------
    service
        A name, at most 175 bytes; an anonymous `Channel` that is passed to the clients too; or an address to listen at:
        a URL ("unix:///path", "unix://@name" or "tcp://host:port"), or what `unix` or `tcp` return.
    capacity, slots
        How many bytes and how many replies can be on the way to each client; see `Producer`.
    max_deliveries
        How often (1 to 63 times) a request is given to a server. After that the call raises `ServerDied`.
    copy
        False: arrays in requests are read-only views of shared memory. If views of more than 64 requests of a client
        are kept after the reply, all its later requests stay in memory too. True: they are copies.
    pickle
        True: receive and send any object, and send exceptions of handlers as they are. Clients need pickle=True too.
        Use it only if both sides trust each other: unpickling can run any code.
    wait
        How to wait for requests; see `Producer`.

    Attributes
    ----------
    service
        As it was given; for an address, its URL with the port.

    Examples
    --------
    >>> import threading, ringipc
    >>> server = ringipc.Server("echo")
    >>> def answer():
    ...     for request in server:
    ...         request.reply(request.payload)
    >>> thread = threading.Thread(target=answer)
    >>> thread.start()
    >>> with ringipc.Client("echo") as client:
    ...     client.call({"a": 1})
    {'a': 1}
    >>> server.close(); thread.join()
    """

    def __init__(
        self,
        service: str | Channel | Endpoint,
        *,
        capacity: int | str = "64 MiB",
        slots: int = 1024,
        max_deliveries: int = 3,
        copy: bool = False,
        pickle: bool = False,
        wait: Wait = "adaptive",
    ) -> None:
        target = check_service(service, binds=True)
        size = _arguments.size_in_bytes(capacity), _arguments.checked_count(slots, "slots", "replies", 1, 1 << 26)
        self._max_deliveries = _arguments.checked_count(max_deliveries, "max_deliveries", "deliveries", 1, 63)
        for option, value in {"copy": copy, "pickle": pickle}.items():
            _arguments.checked_bool(option, value)
        self._pickle = pickle
        options: dict[str, Any] = {
            "group": _names.SERVERS,
            "shared": True,
            "producers": None,
            "copy": copy or None,
            "pickle": pickle,
            "wait": wait,
        }
        self._link: ConsumerLink | None = None
        if isinstance(target, SocketEndpoint):
            from .sockets import ServerAddress

            self._requests = Consumer(ServerAddress(target, *size), **options)
            self._link = self._requests._link
            assert self._link is not None
            target = self._link.channel
        else:
            self._requests = open_consumer(requests_of(target), **options)
        self.service = service if self._link is None else self._link.url  # with the port
        self._callers = Callers(target, self._link, capacity=size[0], slots=size[1], pickle=pickle, wait=wait)
        self._lock = threading.Lock()
        self._open = True
        self._errors = 0  # in quick succession, in the place of requests
        self._failed_at = -math.inf
        self._serving = 1  # how many blocks may still reply: those of `serve` and `aserve`; 1 more until `close`
        self._callers.sweep(at_once=True)

    # ---- requests ----

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Request:
        while True:
            try:
                message = self._requests.message(SWEEP_EVERY)
            except errors.RingError as error:
                if self._goes_on_after(error):
                    continue
                raise StopIteration from None
            request = self._accept(message)
            if request is not None:
                return request

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Request:
        while True:
            try:
                message = await self._next()
            except (errors.RingError, TimeoutError) as error:
                if self._goes_on_after(error):
                    continue
                raise StopAsyncIteration from None
            request = self._accept(message)
            if request is not None:
                return request

    async def _next(self) -> Message:
        import asyncio  # here, because it loads ssl

        try:
            return self._requests.message(0)
        except errors.Empty:
            return await asyncio.wait_for(self._requests.amessage(), SWEEP_EVERY)

    def _goes_on_after(self, error: Exception) -> bool:
        """Handle what is raised in the place of a request. Return False if the server is closed."""
        if isinstance(error, errors.Closed):
            return False
        if not isinstance(error, TimeoutError | errors.ProducerFailed):  # a request that is lost, or a lane that waits
            now = time.monotonic()
            self._errors = self._errors + 1 if now < self._failed_at + SWEEP_EVERY else 1
            self._failed_at = now
            if self._errors == _MOST_ERRORS:
                raise error  # it lasts
            _log.warning("%s", error)
        self._callers.sweep()
        return True

    def _accept(self, message: Message) -> Request | None:
        """Return a request; None if nobody waits for its reply, or it is answered already."""
        caller = self._callers.get(message)
        if caller is None:
            message.release()
            return None
        if message.deliveries > self._max_deliveries:
            text = f"{self._max_deliveries} servers have died with this request, or left it unanswered"
            caller.send(encode_server_died(text), message.type | FAILED, message)
            return None
        try:
            return Request._make(self, message, caller)
        except (errors.UnsafeMessage, errors.Corrupt) as error:
            caller.send(encode_failure(error, pickled=False), message.type | FAILED, message)
            return None

    # ---- serving ----

    def serve(self, handler: Callable[[Any], object], *, threads: int = 1) -> None:
        """Answer each request with what the handler returns for its payload, until the server is closed.

        An exception of the handler is raised in the caller. If another thread closes the server, the handlers that run
        end and are answered first. After Ctrl-C the request goes to another server.

        Parameters
        ----------
        handler
            Called with the payload of a request, in one of the threads.
        threads
            How many requests to handle at once. One: in this thread.
        """
        _arguments.checked_callable("handler", handler)
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__):
            raise TypeError(f"handler must be a function that returns the reply, not the async {handler!r}: use aserve")
        _arguments.checked_count(threads, "threads", "threads", 1, 1 << 16)
        if threads == 1:
            return self._work(handler)
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self._work(handler)
            except BaseException as failure:  # noqa: BLE001  it is raised in the thread that called serve
                failures.append(failure)
                self._requests.close()

        workers = [threading.Thread(target=work, name=f"ringipc {self.service}", daemon=True) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except BaseException:
            self._requests.close()
            raise
        if failures:
            raise failures[0]

    def _work(self, handler: Callable[[Any], object]) -> None:
        with self._replying():
            while True:
                try:
                    left = answer(self._requests, self._callers.by_lane, handler, SWEEP_EVERY)
                except errors.RingError as error:
                    if self._goes_on_after(error):
                        continue
                    return
                if left is None:
                    self._callers.sweep()
                else:
                    self._complete(handler, *left)
                del left  # its views end before this thread waits

    def _complete(self, handler: Callable[[Any], object], message: Message, step: str, outcome: Any) -> None:
        """Do what `answer` has left to do."""
        if step == "handle":
            request = self._accept(message)
            if request is not None:
                self._handle(handler, request)
            return
        caller = self._callers.get(message)
        if caller is None:
            message.release()
        elif step == "reply":
            try:
                caller.send(outcome, message.type, message)
            except errors.RingError as error:
                caller.send(encode_failure(error, pickled=self._pickle), message.type | FAILED, message)
        elif isinstance(outcome, errors.Closed):  # this server is closed, or the client is gone
            message.requeue()
        else:
            caller.send(encode_failure(outcome, pickled=self._pickle), message.type | FAILED, message)

    def _handle(self, handler: Callable[[Any], object], request: Request) -> None:
        try:
            request.reply(handler(request.payload))
        except Exception as error:  # noqa: BLE001  it is raised in the caller
            request.fail(error)

    @contextmanager
    def _replying(self) -> Iterator[None]:
        """A block that may reply after another thread or task has closed the server."""
        with self._lock:
            self._serving += 1
        try:
            yield
        finally:
            self._end_replying()

    def _end_replying(self) -> None:
        with self._lock:
            self._serving -= 1
            last = self._serving == 0
        if last:
            self._callers.close()
            if self._link is not None:
                self._link.abandon()

    async def aserve(self, handler: Callable[[Any], Awaitable[object]], *, tasks: int = 100) -> None:
        """Answer each request with what the handler returns for its payload, in a task of asyncio.

        Parameters
        ----------
        handler
            An async function, called with the payload of a request.
        tasks
            The most requests to handle at once; each has a task of its own.
        """
        import asyncio  # here, because it loads ssl

        _arguments.checked_callable("handler", handler)
        room = asyncio.Semaphore(_arguments.checked_count(tasks, "tasks", "tasks", 1, 1 << 26))

        async def work(request: Request) -> None:
            try:
                request.reply(await handler(request.payload))
            except Exception as error:  # noqa: BLE001  it is raised in the caller
                request.fail(error)
            finally:
                room.release()

        with self._replying():
            async with asyncio.TaskGroup() as group:
                await room.acquire()
                async for request in self:
                    group.create_task(work(request))
                    del request
                    await room.acquire()

    # ---- the end ----

    @property
    def closed(self) -> bool:
        """True after `close`, and in a forked child."""
        return self._requests.closed

    def close(self) -> None:
        """Leave the service. Closing again does nothing.

        Requests that handlers of `serve` and `aserve` are at work on are answered. Others go to other servers.
        """
        self._requests.close()
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            self._end_replying()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _readiness.leave(self, kind, error, trace)
