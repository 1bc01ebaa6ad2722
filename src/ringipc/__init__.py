"""Move NumPy arrays, bytes and records between processes through a ring in shared memory."""

from ._core import Barrier, Event, Lock, Message, Semaphore
from .channel import Channel, Group, Lane
from .consumer import Consumer, ConsumerStats
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
    Incompatible,
    MessageTooLarge,
    ProducerDied,
    RingError,
    SystemRefused,
    TableFull,
    TimedOut,
    UnsafeMessage,
)
from .producer import Producer, ProducerStats, Reservation
from .transports.endpoint import Endpoint
from .transports.pipe import PipeEnd, fifo, pair
from .transports.tcp import tcp
from .transports.unix import unix

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "Barrier",
    "BrokenBarrier",
    "Channel",
    "ChannelBusy",
    "ChannelNotFound",
    "Closed",
    "Consumer",
    "ConsumerStats",
    "Corrupt",
    "Empty",
    "EndOfStream",
    "Endpoint",
    "Event",
    "Full",
    "Group",
    "GroupBusy",
    "Incompatible",
    "Lane",
    "Lock",
    "Message",
    "MessageTooLarge",
    "PipeEnd",
    "Producer",
    "ProducerDied",
    "ProducerStats",
    "Reservation",
    "RingError",
    "Semaphore",
    "SystemRefused",
    "TableFull",
    "TimedOut",
    "UnsafeMessage",
    "fifo",
    "pair",
    "tcp",
    "unix",
]
