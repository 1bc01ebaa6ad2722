"""The connection of a client to a service: its requests in flight, and who receives their replies.

A thread that waits for a reply receives the replies of all (it leads), until it has its own; then another one that
waits takes over. So a call by a single thread is a put and a get in that thread. Replies that no thread waits for, of
futures and of calls whose time was up, are received by a thread of the connection, which exists only if there are any.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from .. import _names, errors
from .._arguments import Wait
from .._core import Consumer, Exchange, Message, Producer
from ..channel import Channel
from ..transports.endpoint import SocketEndpoint
from . import reply_channel
from .protocol import CLIENT, FAILED, decode_failure
from .service import Service, open_consumer, requests_of

_H = TypeVar("_H", Producer, Consumer, Channel)

CHECK_EVERY = 0.1  # seconds of waiting after which the servers are checked


class _Call:
    """A request in flight, for which a thread waits, or a future."""

    __slots__ = ("done", "error", "future", "reply", "wakes")

    def __init__(self, future: Future[Any] | None = None) -> None:
        self.future = future
        self.done = False
        self.reply: Any = None
        self.error: BaseException | None = None
        self.wakes: queue.SimpleQueue[None] | None = None  # of a thread that follows

    def finish(self, reply: Any, error: BaseException | None) -> None:
        future = self.future
        if future is None:
            self.reply, self.error, self.done = reply, error, True
            self.wake()
        elif future.set_running_or_notify_cancel():
            if error is None:
                future.set_result(reply)
            else:
                future.set_exception(error)

    def wake(self) -> None:
        if self.wakes is not None:
            self.wakes.put(None)


class Connection(Exchange):
    """A producer of requests and a consumer of replies. It ends for good when no server is left, or by `close`.

    A call by a thread while no other request is on the way is one step of the base class.

    Attributes
    ----------
    failure
        Returns a new exception that says why it has ended; None: it has not.
    """

    def __init__(
        self, service: Service, *, capacity: int | str, slots: int, copy: bool, pickle: bool, wait: Wait
    ) -> None:
        self.service = str(service) if isinstance(service, SocketEndpoint) else service
        self.failure: Callable[[], errors.RingError] | None = None
        self._pickle = pickle
        self._group = _names.SERVERS
        self._unattended: set[int] = set()  # the numbers of requests for which no thread waits
        self._has_unattended = threading.Event()
        self._thread: threading.Thread | None = None
        self._handles: list[Producer | Consumer | Channel] = []  # in the order in which they are closed
        requests: dict[str, Any] = {"capacity": capacity, "slots": slots, "pickle": pickle, "wait": wait, "linger": 0}
        replies: dict[str, Any] = {"copy": copy or None, "pickle": pickle, "wait": wait}
        try:
            if isinstance(service, SocketEndpoint):
                self._connect(service, requests, replies)
            else:
                self._replies, label = self._make_channel(service, replies)
                self._requests = self._opened(Producer(requests_of(service), **requests))
                self._requests._set_label(label)
        except BaseException:
            self._close_handles()
            raise

    def _opened(self, handle: _H) -> _H:
        self._handles.insert(0, handle)
        return handle

    def _make_channel(self, service: str | Channel, options: dict[str, Any]) -> tuple[Consumer, bytes]:
        """Make the channel of replies. Return its consumer, and the label for the lane of requests."""
        channel, label = reply_channel.create(service)
        if isinstance(channel, Channel):
            self._opened(channel)  # servers open it through this process
        return self._opened(open_consumer(channel, group=CLIENT, producers=None, **options)), label

    def _connect(self, service: SocketEndpoint, requests: dict[str, Any], replies: dict[str, Any]) -> None:
        from .sockets import ClientAddress

        address = ClientAddress(service)
        self._requests = self._opened(Producer(address, timeout=0, **requests))
        link = self._requests._link
        assert link is not None
        if link.transport == "ring":
            self._replies, label = self._make_channel(link.channel, replies)
            self._requests._set_label(label)
        else:
            self._group = "default"
            self._replies = self._opened(Consumer(address, group=CLIENT, timeout=0, **replies))

    # ---- calls ----

    def request(self, request: object, deadline: float) -> Any:
        """Send a request and return its reply.

        Parameters
        ----------
        deadline
            A time of `time.monotonic`.
        """
        call = _Call()
        type = self._register(call)
        self._put(request, type, deadline)
        return self._await(call, type, deadline)

    def submit(self, request: object, future: Future[Any], deadline: float) -> None:
        """Send a request, until a time of `time.monotonic`. Its reply becomes the result of the future."""
        type = self._register(_Call(future))
        self._leave_to_thread(type)
        self._put(request, type, deadline)
        future.add_done_callback(lambda done: self._discard(type) if done.cancelled() else None)

    async def asubmit(self, request: object, future: Future[Any]) -> None:
        """Send a request, like `submit`, in a task."""
        type = self._register(_Call(future))
        self._leave_to_thread(type)
        try:
            await self._requests.aput(request, type=type)
        except BaseException as error:
            self._forget(type)
            if isinstance(error, errors.Closed):
                raise self._failure_or_closed() from None
            raise
        future.add_done_callback(lambda done: self._discard(type) if done.cancelled() else None)

    def _register(self, call: _Call) -> int:
        type = self.next_type()
        self.calls[type] = call
        if self.failure is not None:  # checked afterwards: `fail` sets it first, and then ends the calls that are there
            raise self.failure()
        return type

    def _put(self, request: object, type: int, deadline: float) -> None:
        try:
            while True:
                try:
                    self._requests.put(request, _left(deadline), type=type)
                    return
                except errors.Full as full:
                    if time.monotonic() >= deadline:
                        raise errors.TimedOut(f"service {self.service!r}: the request was not sent: {full}") from None
                    self.check_servers()
        except BaseException as error:
            self._forget(type)
            if isinstance(error, errors.Closed):
                raise self._failure_or_closed() from None
            raise

    def _forget(self, type: int) -> None:
        """Remove a request that was not sent."""
        self.calls.pop(type, None)
        self._unattended.discard(type)

    def _discard(self, type: int) -> None:
        """Discard the reply of a request when it comes."""
        if type in self.calls:
            self.abandon(type)

    # ---- for the base class ----

    def abandon(self, type: int) -> None:
        """Discard the reply of a request, which may be unknown here, when it comes."""
        self.calls[type] = None
        self._leave_to_thread(type)

    def resume(self, type: int) -> _Call:
        """Expect the reply to a request that was sent. The caller leads."""
        call = self.calls[type] = _Call()
        return call

    def await_reply(self, call: _Call, type: int, seconds: float) -> Any:
        """Return the reply to a request that is expected."""
        return self._await(call, type, time.monotonic() + seconds)

    def promote(self) -> None:
        """Let what follows lead, if no thread leads."""
        if not self.is_led:
            with contextlib.suppress(IndexError):  # none follows any more
                self.followers.popleft().wake()

    # ---- receiving ----

    def _await(self, call: _Call, type: int, deadline: float) -> Any:
        try:
            if self.failure is not None:  # it has not ended a call that was registered just before
                raise self.failure()
            while not call.done:
                if self.is_led_here:  # a callback of a future calls
                    self._receive(deadline)
                elif self.try_lead():
                    try:
                        while not call.done:
                            self._receive(deadline)
                    finally:
                        self.end_lead()
                else:
                    self._follow(call, deadline)
        except BaseException:
            self._discard(type)
            raise
        if call.error is not None:
            try:
                raise call.error
            finally:
                del call  # else the error keeps this frame, and this frame the error
        return call.reply

    def _receive(self, deadline: float) -> None:
        """Receive a reply, or find out why there is none. The caller leads."""
        try:
            message = self._replies.message(_left(deadline))
        except errors.Empty:
            if time.monotonic() >= deadline:
                raise errors.TimedOut(f"service {self.service!r}: no reply in time") from None
            self.check_servers()
        except (errors.ProducerFailed, errors.EndOfStream):
            if self._group == _names.SERVERS:
                self.check_servers()
            else:  # the server, or the way to it
                self.fail(self._no_server)
        except errors.Closed:  # by another thread, or in a forked child
            if self.failure is None:
                self.fail(self._closed)
        except errors.RingError as error:
            text = str(error)
            self.fail(lambda: errors.Corrupt(f"service {self.service!r}: replies cannot be received: {text}"))
        else:
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        type = message.type & ~FAILED
        call = self.calls.pop(type, None)
        self._unattended.discard(type)
        reply, error = None, None
        if call is not None:
            try:
                reply = message.payload
                if message.type & FAILED:
                    error = decode_failure(reply, self.service, pickled=self._pickle)
            except Exception as unreadable:  # noqa: BLE001  it is raised in the caller
                error = unreadable
        message.release()
        if call is not None:
            call.finish(reply, error)

    def _follow(self, call: _Call, deadline: float) -> None:
        """Wait until the call is done, or this thread may lead."""
        if call.wakes is None:
            call.wakes = queue.SimpleQueue()
        self.followers.append(call)  # before `is_led` is read: `end_lead` looks for followers after it has changed it
        try:
            if self.is_led and not call.done:
                left = deadline - time.monotonic()
                call.wakes.get(timeout=None if left == math.inf else max(left, 0))
        except queue.Empty:
            raise errors.TimedOut(f"service {self.service!r}: no reply in time") from None
        finally:
            if call in self.followers:
                self.followers.remove(call)
            elif not self.is_led:  # this thread was woken to lead, and perhaps does not: another one must
                self.promote()

    # ---- requests for which no thread waits ----

    def _leave_to_thread(self, type: int) -> None:
        self._unattended.add(type)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"ringipc {self.service}", daemon=True)
            self._thread.start()
        if not self._has_unattended.is_set():
            self._has_unattended.set()

    def _run(self) -> None:
        own = _Call()
        while self.failure is None:
            self._has_unattended.wait()
            self._has_unattended.clear()
            while self._unattended and self.failure is None:
                if self.try_lead():
                    try:
                        while self._unattended and self.failure is None:
                            self._receive(math.inf)
                    finally:
                        self.end_lead()
                else:
                    self._follow(own, math.inf)

    # ---- servers, and the end ----

    def allow_steps(self) -> None:
        """Allow calls in one step: there is, or was, a server."""
        self._set_ends(self._requests, self._replies)

    def has_server(self) -> bool:
        try:
            return self._requests._has_consumer(self._group.encode())
        except errors.Closed:
            raise self._failure_or_closed() from None

    def check_servers(self) -> None:
        """End the connection if no server is left."""
        if not self.has_server():
            self.fail(self._no_server)

    def _no_server(self) -> errors.RingError:
        return errors.NoServer(f"service {self.service!r}: no server is left")

    def _closed(self) -> errors.RingError:
        return errors.Closed(f"service {self.service!r}: the client is closed")

    def _failure_or_closed(self) -> errors.RingError:
        return (self.failure or self._closed)()

    def fail(self, failure: Callable[[], errors.RingError]) -> None:
        """End the connection, and all calls with this exception."""
        if self.failure is not None:
            return
        self.failure = failure
        for type in list(self.calls):
            call = self.calls.pop(type, None)
            if call is not None:
                call.finish(None, failure())
        self._unattended.clear()
        self._has_unattended.set()
        self._close_handles()

    def close(self) -> None:
        """End the connection. Futures are cancelled; calls of other threads raise `Closed`."""
        for call in list(self.calls.values()):
            if call is not None and call.future is not None:
                call.future.cancel()
        self.fail(self._closed)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _close_handles(self) -> None:
        for handle in self._handles:
            if isinstance(handle, Producer):
                handle._cancel_open()  # a stream without a message leaves nothing behind
            with contextlib.suppress(errors.MessagesLost):  # requests that nobody waits for
                handle.close()


def _left(deadline: float) -> float:
    """Return the seconds to wait until the servers are checked, or until the deadline."""
    return min(max(deadline - time.monotonic(), 0), CHECK_EVERY)
