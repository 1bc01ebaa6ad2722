"""The clients of a server, each with a producer in its channel of replies."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from .. import errors
from .._core import Message, Producer, ReplyEnd
from ..channel import Channel
from . import reply_channel
from .protocol import CLIENT, FAILED, encode_failure

if TYPE_CHECKING:
    from ..transports.link import ConsumerLink

_log = logging.getLogger("ringipc")
SWEEP_EVERY = 1.0  # seconds between two searches for clients that are gone
_CHECK_EVERY = 0.5  # seconds for which a full lane is waited for before the client is checked
_LINGER = 5.0  # seconds for which a server that closes waits for a client at the other end of a connection
_CLIENT = CLIENT.encode()


class Caller(ReplyEnd):
    """A client that has sent requests to this server.

    Replies for which there is no room in its lane wait here, and a thread sends them. So a client that does not read
    holds up no server. The requests stay in work until then, so the client bounds their number (its ``slots=``).
    """

    def __init__(self, replies: Producer) -> None:
        super().__init__(replies)
        self._waiting: deque[tuple[object, int, Message]] = deque()
        self._lock = threading.Lock()
        self._sends = False  # a thread sends what waits

    def send(self, reply: object, type: int, request: Message) -> None:
        """Send the reply to a request, now or later, and release the request.

        Raises
        ------
        UnsafeMessage, MessageTooLarge, SystemRefused
            As in `Producer.put`. Nothing is sent.
        """
        try:
            self.replies.put_nowait(reply, type=type)
        except errors.Full:
            reply = self.replies._copy_of(reply)  # handlers use arrays again
        except errors.Closed:
            return request.requeue()  # this server is closed, or the client is gone, which another one will find
        else:
            return request.release()
        with self._lock:
            self._waiting.append((reply, type, request))
            if self._sends:
                return
            self._sends = True
        threading.Thread(target=self._send_waiting, name="ringipc replies", daemon=True).start()

    def _send_waiting(self) -> None:
        while True:
            with self._lock:
                self._sends = bool(self._waiting)
                if not self._sends:
                    return
                reply, type, request = self._waiting[0]
            try:
                self.replies.put(reply, _CHECK_EVERY, type=type)
            except errors.Full:
                if self.is_there():
                    continue
            except errors.Closed:  # as above
                while self._waiting:
                    self._waiting.popleft()[2].requeue()
                continue
            except errors.RingError as error:  # no memory
                if not type & FAILED:
                    self._waiting[0] = encode_failure(error, pickled=self.replies._pickle), type | FAILED, request
                    continue
                _log.warning("a reply was not sent: %s", error)
            request.release()
            self._waiting.popleft()
            del reply, request

    def is_there(self) -> bool:
        try:
            return self.replies._has_consumer(_CLIENT)
        except errors.Closed:
            return False

    def flush(self) -> None:
        """Wait until the client has all replies. Over a connection they would be lost with it."""
        try:
            self.replies.flush(_LINGER)
        except errors.TimedOut as error:
            if self.is_there():
                _log.warning("replies are lost: %s", error)

    def close(self) -> None:
        self.replies.close()


class Callers:
    """The callers of a server.

    Attributes
    ----------
    by_lane
        By the ids of their lanes of requests.
    """

    def __init__(self, service: str | Channel, link: ConsumerLink | None, **options: Any) -> None:
        self._service = service
        self._link = link  # to clients at the other ends of connections
        self._options = options
        self.by_lane: dict[int, Caller | None] = {}  # None: it was gone when a request of it was taken
        self._lock = threading.Lock()
        self._swept = time.monotonic()

    def get(self, message: Message) -> Caller | None:
        """Return the caller whose request this is; None if it is gone: nobody waits for the reply."""
        try:
            return self.by_lane[message.lane_id]
        except KeyError:
            return self._open(message)

    def _open(self, message: Message) -> Caller | None:
        self.sweep()
        with self._lock:
            if message.lane_id in self.by_lane:
                return self.by_lane[message.lane_id]
            caller = None
            label = message._label
            replies = reply_channel.find(self._service, label)
            if not label:
                _log.warning(
                    "%r: messages of pid %d are discarded: no Client put them", self._service, message.producer_pid
                )
            if replies is not None:
                producer = Producer(replies, **self._options)
                if self._link is not None:
                    producer._set_io_loop(self._link.io_loop)
                caller = Caller(producer)
                if isinstance(replies, Channel):
                    replies.close()
                if not caller.is_there():
                    caller.close()
                    caller = None
            self.by_lane[message.lane_id] = caller
            return caller

    def sweep(self, *, at_once: bool = False) -> None:
        """Close what belongs to clients that are gone, if that has not been done lately."""
        now = time.monotonic()
        if now < self._swept + SWEEP_EVERY and not at_once:
            return
        self._swept = now
        for lane_id, caller in list(self.by_lane.items()):
            if caller is None or not caller.is_there():
                self.by_lane.pop(lane_id, None)
                if caller is not None:
                    caller.close()
        reply_channel.remove_abandoned(self._service)

    def close(self) -> None:
        """Close everything. Replies that were sent can still be received."""
        with self._lock:
            callers, self.by_lane = self.by_lane, {}
        for caller in callers.values():
            if caller is not None:
                if self._link is not None:
                    caller.flush()
                caller.close()
        reply_channel.remove_abandoned(self._service)
