"""Move NumPy arrays, bytes and records between processes, through ring buffers in shared memory."""

from typing import TYPE_CHECKING, Any

from . import _opening  # noqa: F401  it registers what Producer() and Consumer() do
from ._core import (
    Barrier,
    Consumer,
    Event,
    Latest,
    Lock,
    Message,
    Messages,
    Producer,
    RLock,
    Semaphore,
    SharedArray,
    Synchronized,
    SynchronizedArray,
    SynchronizedString,
)
from ._include import get_include, get_sources
from ._latest_message import LatestMessage
from ._reservation import BytesReservation, EmptyArray, Reservation, empty
from ._stats import ConsumerStats, ProducerStats
from ._wait import wait
from .calls import Client, Request, Server
from .channel import Channel, Group, Lane
from .errors import (
    AuthenticationError,
    BrokenBarrier,
    ChannelBusy,
    ChannelNotFound,
    Closed,
    Corrupt,
    Empty,
    EndOfStream,
    Full,
    GroupBusy,
    GroupNotFound,
    Incompatible,
    MessagesLost,
    MessageTooLarge,
    NoServer,
    ProducerDied,
    ProducerFailed,
    RemoteError,
    ReservationOpen,
    RingError,
    ServerDied,
    SystemRefused,
    TableFull,
    TimedOut,
    UnsafeMessage,
)
from .manager import Manager
from .transports.endpoint import Endpoint
from .transports.pipe import PipeEnd, fifo, pair
from .transports.tcp import tcp
from .transports.unix import unix
from .values import Array, Value

if TYPE_CHECKING:
    from .executor import ProcessPoolExecutor

__version__ = "0.1.0"

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BrokenBarrier",
    "BytesReservation",
    "Channel",
    "ChannelBusy",
    "ChannelNotFound",
    "Client",
    "Closed",
    "Consumer",
    "ConsumerStats",
    "Corrupt",
    "Empty",
    "EmptyArray",
    "EndOfStream",
    "Endpoint",
    "Event",
    "Full",
    "Group",
    "GroupBusy",
    "GroupNotFound",
    "Incompatible",
    "Lane",
    "Latest",
    "LatestMessage",
    "Lock",
    "Manager",
    "Message",
    "MessageTooLarge",
    "Messages",
    "MessagesLost",
    "NoServer",
    "PipeEnd",
    "ProcessPoolExecutor",
    "Producer",
    "ProducerDied",
    "ProducerFailed",
    "ProducerStats",
    "RLock",
    "RemoteError",
    "Request",
    "Reservation",
    "ReservationOpen",
    "RingError",
    "Semaphore",
    "Server",
    "ServerDied",
    "SharedArray",
    "Synchronized",
    "SynchronizedArray",
    "SynchronizedString",
    "SystemRefused",
    "TableFull",
    "TimedOut",
    "UnsafeMessage",
    "Value",
    "empty",
    "fifo",
    "get_include",
    "get_sources",
    "pair",
    "tcp",
    "unix",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name == "ProcessPoolExecutor":  # not above: it imports much that most programs do not need
        from .executor import ProcessPoolExecutor

        return ProcessPoolExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
