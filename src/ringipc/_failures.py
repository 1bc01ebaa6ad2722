"""The exceptions for error codes of the C core."""

import errno
import logging
import os
from typing import NoReturn

from . import _facts, _names, _shortage, errors

_log = logging.getLogger("ringipc")


def check_base() -> None:
    """Check that the directory for all names exists, as otherwise no channel could ever be created.

    Raises
    ------
    SystemRefused
        RINGIPC_DIR (or TMPDIR) does not name a directory.
    """
    path = os.fsdecode(_facts.base())
    if not os.path.isdir(path):
        variable = "RINGIPC_DIR" if os.environ.get("RINGIPC_DIR") else "TMPDIR"
        raise errors.SystemRefused(errno.ENOTDIR, f"{variable} names no directory", path)


def named(error: errors.RingError, channel: object) -> errors.RingError:
    """Put the channel at the beginning of the text of an error, and return the error."""
    error.args = (f"channel {channel!r}: {error}",)
    return error


def full_table(number: int) -> str:
    """Return which table of a channel is full and what to do, for EXFULL, ENOSR and EUSERS; else an empty text."""
    match number:
        case errno.EXFULL:
            return (
                f"it has {_facts.MAX_LANES} lanes, the maximum; close producers, and let every group read the messages "
                "of those that have closed or died (if the channel has no members: ringipc clean --messages)"
            )
        case errno.ENOSR:
            return (
                f"it has {_facts.MAX_GROUPS} groups, the maximum; close consumers, or remove a durable or declared "
                "group (remove_group)"
            )
        case errno.EUSERS:
            return f"it has {_facts.MAX_CONSUMERS} consumers, the maximum; close some"
    return ""


def fail(
    rc: int, channel: object, detail: str = "", shortage: _shortage.Shortage = _shortage.NOTHING, remedy: str = ""
) -> NoReturn:
    """Raise the exception for a negative errno of a channel, which is a name, a URL or a `Channel`.

    Parameters
    ----------
    detail
        Which handle is closed, what is damaged, or what there was no room for.
    shortage
        How much room was needed.
    remedy
        What would need less room, as a part of a sentence.
    """
    number = -rc
    name = str(channel)
    what = f"channel {channel!r}"
    core_name = _core_name_of(channel)
    path = None if core_name is None else _names.path_of(core_name)
    match number:
        case errno.ESHUTDOWN:
            raise errors.Closed(f"{what}: this {detail or 'handle'} is closed")
        case errno.ECHILD:
            raise errors.Closed(
                f"{what}: this {detail or 'handle'} belongs to the parent process; open another one after the fork"
            )
        case errno.ENOENT:
            raise errors.ChannelNotFound(number, "no producer has created this channel yet", name)
        case errno.EBADMSG:
            remove = f", remove it (ringipc clean, or Channel.open({name!r}).remove(); its directory is {path})"
            raise errors.Corrupt(
                f"{what}: {detail or 'a file'} is malformed; close all handles of the channel{remove if path else ''} "
                "and create it again"
            )
        case errno.EEXIST:
            raise errors.Incompatible(
                f"{what}: its shared lane has another capacity, number of slots, overflow or preallocate; give all "
                "producers of the lane the same"
            )
        case errno.EPROTOTYPE:
            raise errors.Incompatible(
                f"{what}: this is the name of a semaphore, lock, event, barrier, latest value or shared array; choose "
                "another name"
            )
        case errno.EPROTONOSUPPORT:
            remove = f"; to discard its messages: Channel.open({name!r}).remove()"
            raise errors.Incompatible(
                f"{what} was created by a ringipc with another layout in memory (this one has version {_facts.ABI}); "
                f"use the same version on both sides, or another channel{remove if path else ''}"
            )
        case errno.EAGAIN:
            raise errors.SystemRefused(number, f"{what}: {_shortage.locked(core_name)}", name)
        case errno.EXFULL | errno.ENOSR | errno.EUSERS:
            raise errors.TableFull(f"{what} is full: {full_table(number)}, or use another channel")
    if number in (errno.ENOSPC, errno.EFBIG) and shortage[2]:
        detail, remedy = "its tables", ""
    raise errors.SystemRefused(number, system_text(number, what, core_name, shortage, detail, remedy), name)


def fail_sync_open(
    rc: int, what: str, name: str | None, value: object, passed: bool, shortage: _shortage.Shortage
) -> NoReturn:
    """Raise the exception for a negative errno of opening a semaphore, lock, event, barrier or the like.

    Parameters
    ----------
    what
        "semaphore", "lock", "event", "barrier", "latest value" or "shared array".
    name
        None: it is anonymous.
    value
        The initial value that was asked for.
    passed
        Whether another process has passed it.
    shortage
        How much room was needed.
    """
    subject = _sync_subject(what, name)
    match -rc:
        case errno.ENOENT if passed:
            raise errors.Closed(
                f"{subject} ended before this process opened it: keep the handle open until then, or pass an anonymous "
                "one"
            )
        case errno.ENOENT:
            raise errors.SystemRefused(-rc, f"{subject} does not exist, and only its owner can create it", name)
        case errno.EPROTOTYPE:
            raise errors.Incompatible(f"{subject}: the name is already used for something else; choose another name")
        case errno.EEXIST if what == "latest value":
            raise errors.Incompatible(
                f"{subject} exists with a capacity of less than {value} bytes; give the capacity to whoever opens it "
                "first"
            )
        case errno.EEXIST:
            raise errors.Incompatible(
                f"{subject} exists with an initial value other than {value}; omit the value to open it as it is"
            )
        case errno.EPROTONOSUPPORT:
            raise errors.Incompatible(
                f"{subject} was created by a ringipc with another layout in memory (this one has version "
                f"{_facts.ABI}); use the same version on both sides, or another name"
            )
    _raise_for_sync(-rc, what, name, shortage)


def fail_memory_open(
    rc: int, what: str, name: str | None, path: str | None, size: int, shortage: _shortage.Shortage
) -> NoReturn:
    """Raise the exception for a negative errno of opening a shared array, or other shared memory.

    Parameters
    ----------
    path
        Of its file; None: it has none.
    size
        In bytes, if it was to be created; negative: it had to exist. The other parameters are those of
        `fail_sync_open`.
    """
    subject = _sync_subject(what, name, path)
    match -rc:
        case errno.ENOENT if size < 0 and (name is not None or path is not None):
            raise errors.SystemRefused(-rc, f"{subject} does not exist; give shape and dtype to make it", path or name)
        case errno.EEXIST:
            raise errors.Incompatible(f"{subject} exists with another shape or dtype; omit both to open it as it is")
    if path is not None:
        _raise_for_path(-rc, subject, path, shortage)
    fail_sync_open(rc, what, name, None, size < 0, shortage)


def _raise_for_path(number: int, subject: str, path: str, shortage: _shortage.Shortage) -> NoReturn:
    match number:
        case errno.EBADMSG:
            raise errors.Corrupt(f"{subject}: the file is not one of a shared array, or is malformed")
        case errno.EOPNOTSUPP:
            text = "its file system does not support O_TMPFILE; choose another directory"
        case errno.ENOSPC if shortage[0]:
            text = f"{shortage[0]} bytes are needed and {shortage[1]} are free on its file system"
        case _:
            text = os.strerror(number)
    raise errors.SystemRefused(number, f"{subject}: {text}", path)


def fail_sync(
    rc: int, what: str, name: str | None, timeout: object, shortage: _shortage.Shortage, path: str | None = None
) -> NoReturn:
    """Raise the exception for a negative errno of a semaphore, lock, event, barrier or the like that is open.

    Parameters
    ----------
    timeout
        Seconds, of a wait.
    path
        Of the file of a shared array. The other parameters are those of `fail_sync_open`.
    """
    subject = _sync_subject(what, name, path)
    match -rc:
        case errno.ESHUTDOWN:
            raise errors.Closed(f"{subject} is closed")
        case errno.ENOENT:
            raise errors.Closed(f"{subject} ended before this forked process used it; open another one")
        case errno.EXFULL:
            raise errors.TableFull(
                f"{subject}: {_facts.MAX_WAITERS} threads wait for it, the maximum; let fewer threads wait at once, or "
                "try again with timeout=0"
            )
        case errno.EOVERFLOW:
            raise OverflowError(f"{subject} would have more than {_facts.MAX_UNITS} units")
        case errno.EPERM:
            raise RuntimeError(f"{subject} cannot be released: this handle has not acquired it")
        case errno.EPIPE:
            raise errors.BrokenBarrier(f"{subject} is broken: a party timed out, was killed or called abort; reset it")
        case errno.ETIMEDOUT:
            raise errors.BrokenBarrier(f"{subject}: not all parties arrived within {timeout} s; reset it to go on")
    if path is not None:
        _raise_for_path(-rc, subject, path, shortage)
    _raise_for_sync(-rc, what, name, shortage)


def named_value(error: errors.RingError, name: str | None) -> errors.RingError:
    """Put the name of a latest value at the beginning of the text of an error, and return the error."""
    error.args = (f"{_sync_subject('latest value', name)}: {error}",)
    return error


def value_too_large(name: str | None, length: int, capacity: int) -> errors.MessageTooLarge:
    """Return the exception for a value of length bytes that cannot be set."""
    return errors.MessageTooLarge(
        f"{_sync_subject('latest value', name)}: a value of {length} bytes is longer than its capacity of {capacity}; "
        "open it with a larger one"
    )


def no_value(name: str | None, timeout: object, newer_than: int) -> errors.Empty:
    """Return the exception for a latest value that has no newer value than this seq."""
    newer = f"a value newer than seq {newer_than}" if newer_than else "a value"
    return errors.Empty(f"{_sync_subject('latest value', name)}: nobody has set {newer} {within(timeout)}")


def misfit_value(name: str | None, content: str, target: str) -> str:
    """Return the text of the error for a value that does not fit into an array."""
    return f"{_sync_subject('latest value', name)}: the value is {content}, which does not fit into {target}"


def _sync_subject(what: str, name: str | None, path: str | None = None) -> str:
    if path is not None:
        return f"{what} {path!r}"
    return f"this {what}" if name is None else f"{what} {name!r}"


def _raise_for_sync(number: int, what: str, name: str | None, shortage: _shortage.Shortage) -> NoReturn:
    subject = _sync_subject(what, name)
    core_name = None if name is None else _names.checked_name(name, what)
    match number:
        case errno.EUSERS:
            raise errors.TableFull(f"{subject} has {_facts.MAX_HANDLES} handles, the maximum; close some")
        case errno.EBADMSG:
            where = "" if core_name is None else f" (ringipc clean; its directory is {_names.path_of(core_name)})"
            raise errors.Corrupt(
                f"{subject}: its file is malformed; close all handles, remove it{where} and create it again"
            )
    raise errors.SystemRefused(number, system_text(number, subject, core_name, shortage), name)


def _core_name_of(channel: object) -> bytes | None:
    """Return the name of a channel in the form for the C core; None if it has no name."""
    if not isinstance(channel, str) or channel.startswith(("fd:", "pipe:")):
        return None
    try:
        return _names.checked_name(channel)
    except ValueError:  # a URL with another scheme
        return None


def system_text(
    number: int, what: str, core_name: bytes | None, shortage: _shortage.Shortage, detail: str = "", remedy: str = ""
) -> str:
    """Return the text of a `SystemRefused`. core_name: the name in the form for the C core; None: anonymous."""
    text = f"{what}: {detail + ': ' if detail else ''}{os.strerror(number)}"
    why = _shortage.explain(number, core_name, shortage, remedy)
    if why:
        return f"{text}: {why}"
    return text if core_name is None else f"{text} ({_names.path_of(core_name)})"


def within(timeout: object) -> str:
    """Return the words for a timeout."""
    return f"within {timeout} s" if timeout else "now"


def too_large(channel: object, length: object, longest: int) -> errors.MessageTooLarge:
    """Return the exception for a message of length bytes, which its producer may never send."""
    return errors.MessageTooLarge(
        f"channel {channel!r}: a message of {length} bytes is longer than {longest} bytes, the longest that this "
        f"producer sends; send it in parts, or make the producer with a larger max_message= (a shared lane: capacity=)"
    )


def fail_producer(
    channel: object, rc: int, detail: object, shortage: _shortage.Shortage, *, longest: int, why: str
) -> NoReturn:
    """Raise the exception for a negative errno of a call of a producer.

    Parameters
    ----------
    detail
        The length of the message, or the timeout.
    longest
        How long a message of this producer can be, in bytes.
    why
        What `why_full` returns, if the time is up.
    """
    match -rc:
        case errno.EMSGSIZE:
            raise too_large(channel, detail, longest)
        case errno.ENOSPC | errno.ENOMEM | errno.EDQUOT:
            fail(rc, channel, f"memory for a message of {detail} bytes", shortage)
        case errno.ETIMEDOUT | errno.EAGAIN:
            raise errors.Full(f"channel {channel!r}: no room {within(detail)}: {why}")
    details = {errno.ESHUTDOWN: "producer", errno.ECHILD: "producer", errno.EBADMSG: "a group's cursor"}
    fail(rc, channel, details.get(-rc, ""))


def why_full(
    lacks: str, group: str, shared: bool, has_members: bool, pid: int, messages: int, size: int, kept: int
) -> str:
    """Return which group keeps a lane full, or has not finished it, and which process its member is.

    Parameters
    ----------
    lacks
        What the group has not done with the messages: ``"released"`` or ``"acknowledged"``.
    """
    if messages == 0 and kept:
        return f"consumers (of group {group!r}, for example) still look at {kept} messages, which leave no room"
    if messages == 0:
        return "another thread has a reservation open on this producer"
    have = f"{messages} messages ({size} bytes)"
    if not group:
        return f"{have} wait for a consumer; no group exists"
    if not has_members:
        return f"group {group!r} (without a member now) has not {lacks} {have}"
    if not pid:
        return f"group {group!r} has not {lacks} {have}, and no member has taken the oldest"
    who = f"pid {pid}, this process itself" if pid == os.getpid() else f"pid {pid}"
    if shared:
        return f"group {group!r} has not {lacks} {have}; its member that holds the oldest is {who}"
    return f"group {group!r} ({who}) has not {lacks} {have}"


def log_unread(channel: object, group: str, why: str) -> None:
    """Log that a put waits for a group that nobody reads.

    Parameters
    ----------
    group
        Its name; empty: there is no group yet.
    why
        What keeps the lane full, as `why_full` says it.
    """
    what = f"open a consumer of it, or remove it (Channel.remove_group({group!r}))" if group else "open a consumer"
    _log.warning("channel %r: a put waits for room: %s; %s", channel, why, what)


CLAIMS = "the claims of its group on a lane"
FEWER_SLOTS = "make producers with fewer slots="


def fail_consumer_open(
    rc: int, holder: int, channel: object, group: str, shared: bool, shortage: _shortage.Shortage
) -> NoReturn:
    """Raise the exception for a negative errno of opening a consumer.

    Parameters
    ----------
    holder
        The pid of the member of an exclusive group; with -EEXIST, the flags of the group.
    shared
        The argument of the consumer that was to be opened.
    """
    if rc == -errno.EBUSY:
        who, rest = f"pid {holder}", "give this consumer another group"
        if holder == os.getpid():
            who = f"this process, pid {holder},"
            rest = f"close its consumer; if it is closed, delete the views that it has returned; or {rest}"
        raise errors.GroupBusy(f"channel {channel!r}: group {group!r} is exclusive, and {who} is its member; {rest}")
    if rc == -errno.EEXIST:
        kind, option = ("exclusive" if shared else "shared"), f"shared={not shared}"
        if bool(holder & _facts.SHARED) == shared:
            overflow = "drop-old" if holder & _facts.GROUP_OVERFLOWS["drop-old"] else "block"
            kind, option = f'made with overflow="{overflow}"', f'overflow="{overflow}"'
        raise errors.Incompatible(
            f"channel {channel!r}: group {group!r} is {kind}; open this consumer with {option}, "
            "or give this consumer another group"
        )
    no_room = rc in (-errno.ENOSPC, -errno.EFBIG)
    fail(rc, channel, CLAIMS if no_room else "", shortage, FEWER_SLOTS)


def fail_consumer(
    channel: object, group: str, rc: int, detail: object, shortage: _shortage.Shortage, *, why: str
) -> NoReturn:
    """Raise the exception for a negative errno of a call of a consumer.

    Parameters
    ----------
    detail
        The timeout, a pid, or what is damaged.
    why
        What `why_empty` returns, if the time is up.
    """
    match -rc:
        case errno.ETIMEDOUT | errno.EAGAIN:
            within = f" within {detail} s" if detail else ""
            raise errors.Empty(f"channel {channel!r}: no message for group {group!r}{within}{why}")
        case errno.ENODATA:
            raise errors.EndOfStream(f"channel {channel!r}: every producer has closed, and all messages are read")
        case errno.ECONNABORTED:
            raise errors.ProducerFailed(
                f"channel {channel!r}: the producer with pid {detail} failed: an exception left its with block, or it "
                "was closed with failed=True; all of its messages are read"
            )
        case errno.EOWNERDEAD:
            raise errors.ProducerDied(
                f"channel {channel!r}: the producer with pid {detail} died without closing; all of its messages are "
                "read"
            )
        case errno.ESHUTDOWN if detail == "message":
            raise errors.Closed(f"channel {channel!r}: this message has been released")
        case errno.EBADMSG:
            fail(rc, channel, detail if isinstance(detail, str) else "a lane")
    details = {errno.ESHUTDOWN: "consumer", errno.ECHILD: "consumer", errno.ENOSPC: CLAIMS, errno.EFBIG: CLAIMS}
    fail(rc, channel, details.get(-rc, ""), shortage, FEWER_SLOTS)


def why_empty(works: int, held: int, pid: int) -> str:
    """Return why a consumer itself prevents that it gets messages, as a part of a sentence; empty if it does not."""
    if pid:
        return (
            f"; this consumer itself holds {held} messages, and the lane of the producer with pid {pid} is full: "
            "release them, or copy what you keep (copy=True)"
        )
    if works:
        messages, them = ("message", "it") if works == 1 else ("messages", "them")
        return (
            f"; this consumer has {works} {messages} in work: get again in the thread or task that got {them}, or "
            f"release {them}"
        )
    return ""
