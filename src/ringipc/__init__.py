"""Move NumPy arrays and bytes between processes through a ring in shared memory."""

from ._core import Message
from .consumer import Consumer, ConsumerStats
from .errors import (
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
    UnsafeMessage,
)
from .producer import Producer, ProducerStats, Reservation

__version__ = "0.1.0"

__all__ = [
    "ChannelNotFound",
    "Closed",
    "Consumer",
    "ConsumerStats",
    "Corrupt",
    "Empty",
    "EndOfStream",
    "Full",
    "GroupBusy",
    "Incompatible",
    "Message",
    "MessageTooLarge",
    "Producer",
    "ProducerDied",
    "ProducerStats",
    "Reservation",
    "RingError",
    "SystemRefused",
    "UnsafeMessage",
]
