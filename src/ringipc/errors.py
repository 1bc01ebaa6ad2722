"""All exceptions. Each is a `RingError`, and also the closest standard exception."""

import inspect
import queue
import threading


class RingError(Exception):
    """Any exception of this package."""

    # Without this `inspect.signature` fails for subclasses of built-in exceptions.
    __signature__ = inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])


class TimedOut(RingError, TimeoutError):
    """The timeout passed before the operation was complete."""


class Full(TimedOut, queue.Full):
    """There was no room for the message within the timeout. The text names the group that keeps the lane full."""


class Empty(TimedOut, queue.Empty):
    """No message arrived, or no value was set, within the timeout."""


class MessagesLost(RingError, ConnectionError):
    """`close` gave up messages that nobody had taken over a connection. The text says how many, and why."""


class EndOfStream(RingError, EOFError):
    """As many producers as the consumer expects have come, all have closed, and all their messages have been read."""


class Closed(RingError, ValueError):
    """The handle or message is closed, or belongs to the process that this one was forked from."""


class ProducerFailed(RingError, RuntimeError):
    """A producer has closed because of an error, and all its messages have been read. Raised once per producer.

    An exception has left its with block, or it was closed with ``close(failed=True)``. The stream has not ended: call
    `get`, or iterate, again to receive the messages of the other producers. (This is a RuntimeError, like
    `concurrent.futures.BrokenExecutor`. EOFError stands for an orderly end.)
    """


class ProducerDied(ProducerFailed):
    """A producer's process ended without closing, and all its messages have been read. Otherwise as `ProducerFailed`.

    ``except ProducerFailed`` catches both.
    """


class NoServer(RingError, ConnectionError):
    """No server of the service is left, so the request is not answered. It may have been handled in part."""


class ServerDied(RingError, RuntimeError):
    """Every server that took the request died, or left it unanswered, and it is not given to another one."""


class RemoteError(RingError):
    """The handler of the request raised an exception. The cause of this one shows the traceback there.

    Attributes
    ----------
    type : str
        The class of that exception, with its module unless that is builtins.
    traceback : str
        The traceback in the server.
    """

    type: str = ""
    traceback: str = ""


class BrokenBarrier(RingError, threading.BrokenBarrierError):
    """A party timed out, was killed or called `abort`, so the barrier cannot be passed until it is reset."""


class ChannelBusy(RingError):
    """The channel cannot be removed, because it has members."""


class GroupBusy(RingError):
    """The group is exclusive and has a live member already; or the group to remove has members."""


class GroupNotFound(RingError, KeyError):
    """The channel has no group of this name."""

    __str__ = Exception.__str__  # that of KeyError puts the text in quotes


class LockNotOwned(RuntimeError, AssertionError):
    """This thread releases a recursive lock that it has not acquired.

    It is what the recursive locks of `threading` raise (RuntimeError), and those of `multiprocessing` (AssertionError).
    """


class ReservationOpen(RingError, RuntimeError):
    """This thread has a reservation open on the producer, and can put nothing before it leaves the with block."""


class TableFull(RingError):
    """A table is full: lanes, groups or members of a channel; handles of a semaphore, lock, event or barrier.

    Of a latest value only those handles count that have set it.
    """


class MessageTooLarge(RingError, ValueError):
    """The message is longer than `max_message` of its producer, or the value than the capacity of its `Latest`."""


class ChannelNotFound(RingError, FileNotFoundError):
    """The channel does not exist: no producer has created it."""


class Incompatible(RingError):
    """The channel was created by an incompatible version, or with other settings than the ones asked for."""


class Corrupt(RingError):
    """A file or a message is malformed."""


class AuthenticationError(RingError, PermissionError):
    """The peer of a connection has another key, is a user who is not admitted, or has a certificate not trusted."""


class UnsafeMessage(RingError, TypeError):
    """The message, or a part of it, can be sent only as a pickle, which one side does not allow, or not at all."""


class SystemRefused(RingError, OSError):
    """The operating system refused: out of space or file descriptors, permission denied.

    An `OSError`: see `errno` and `filename`. The text says what is needed, what is available and what to do.
    """
