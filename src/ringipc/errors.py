"""What can go wrong, one class each; all of them are a `RingError`, and the standard exception that comes nearest."""

import inspect
import queue
import threading


class RingError(Exception):
    """Anything that a channel refuses or reports."""

    # `inspect.signature` finds none for exceptions that are made as the built-in ones are.
    __signature__ = inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])


class Full(RingError, queue.Full):
    """No room came free in time; the text names the group that keeps the lane from moving on."""


class Empty(RingError, queue.Empty):
    """No message came in time."""


class EndOfStream(RingError, EOFError):
    """Every producer has closed, and all that they put is read."""


class Closed(RingError, ValueError):
    """This producer, consumer or message is closed, or belongs to the process that this one was forked from."""


class ProducerDied(RingError, RuntimeError):
    """A producer's process ended without closing; all that it had put is read. Raised once for each.

    It is no end: getting, or iterating, may go on, and does so with what other producers put. (A RuntimeError, as
    `concurrent.futures.BrokenExecutor` is; not an EOFError, which stands for an orderly end.)
    """


class BrokenBarrier(RingError, threading.BrokenBarrierError):
    """Somebody who was to come to the barrier gave up, was killed, or broke it."""


class ChannelBusy(RingError):
    """Somebody takes part in the channel that is to be removed."""


class GroupBusy(RingError):
    """The group is exclusive and has a member that lives."""


class TableFull(RingError):
    """A channel has as many lanes, groups or members as it takes, or a semaphore or the like as many handles."""


class MessageTooLarge(RingError, ValueError):
    """The message takes more bytes than the lane has."""


class ChannelNotFound(RingError, FileNotFoundError):
    """No producer has made the channel."""


class Incompatible(RingError):
    """The channel was made by a version of ringipc with another layout in memory."""


class Corrupt(RingError):
    """The files of a channel, or a message, are damaged, or were never ringipc's."""


class AuthenticationError(RingError, PermissionError):
    """The peer of a connection has another key, is a user who is not admitted, or has a certificate not trusted."""


class UnsafeMessage(RingError, TypeError):
    """The message, or something in it, could cross only as a pickle, which one side does not allow, or not at all."""


class SystemRefused(RingError, OSError):
    """The operating system said no: out of space, out of descriptors, not permitted.

    An `OSError`: `errno` says what, and `filename` of what. The text says how much there is of it, and what to do.
    """
