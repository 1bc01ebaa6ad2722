"""What clients and servers agree on: groups, types of messages, and how a failure is sent as a reply."""

import pickle
import traceback
from typing import Any

from .. import errors

CLIENT = "client"  # the group of the client, in its channel of replies

FAILED = 1 << 31  # set in the type of a reply, which is otherwise that of its request: it describes a failure


class RemoteTraceback(Exception):
    """The cause of an exception from a server: the traceback there, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


def encode_failure(error: BaseException, *, pickled: bool) -> object:
    """Return the payload of a reply that raises this exception in the caller.

    Without pickled only texts are sent. An exception that cannot be pickled is sent in that way too.
    """
    kind = type(error)
    described = {
        "type": kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}",
        "text": str(error),
        "traceback": '\n"""\n' + "".join(traceback.format_exception(error)) + '"""',
    }
    if pickled:
        try:
            described["pickle"] = pickle.dumps(error)  # type: ignore[assignment]
        except Exception as failure:  # noqa: BLE001  user classes raise anything; the text is sent
            described["traceback"] += f"\n(the exception could not be pickled: {failure})"
    return described


def encode_server_died(text: str) -> object:
    """Return the payload of a reply that raises `ServerDied` in the caller."""
    return {"type": "", "text": text, "traceback": ""}


def decode_failure(payload: Any, service: object, *, pickled: bool) -> BaseException:
    """Return the exception that the payload of a failed reply describes."""
    try:
        kind, text, trace = payload["type"], payload["text"], payload["traceback"]
        data = payload.get("pickle") if pickled else None
    except (TypeError, KeyError, AttributeError):
        return errors.Corrupt(f"service {service!r}: a reply is malformed: {payload!r:.200}")
    if not kind:
        return errors.ServerDied(f"service {service!r}: {text}")
    if data is not None:
        try:
            error = pickle.loads(data)
        except Exception as failure:  # noqa: BLE001  user classes raise anything
            trace += f"\n(the exception could not be unpickled: {failure})"
        else:
            if isinstance(error, BaseException):
                error.__cause__ = RemoteTraceback(trace)
                return error
    remote = errors.RemoteError(f"{kind}: {text}" if text else kind)
    remote.type, remote.traceback = kind, trace
    remote.__cause__ = RemoteTraceback(trace)
    return remote
