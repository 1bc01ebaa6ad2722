"""Managers with the interface of `multiprocessing.managers`: a process that serves objects to others.

The server listens on a Unix socket, or at an address of TCP, with the authentication of the standard library, whose
managers can connect to it, and the reverse. Over a Unix socket each thread of a client passes rings to the server, in
which its calls and their results go through shared memory.
"""

import contextlib
import functools
import os
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing import managers as standard
from multiprocessing import util
from multiprocessing.context import AuthenticationError
from multiprocessing.managers import Namespace, RemoteError, Token
from multiprocessing.process import current_process
from traceback import format_exc
from typing import Any

from .. import errors
from .._arguments import Wait, checked_choice
from .._facts import WAITS
from ..transports.unix import peer_of
from . import _served, connection
from ._ring_connection import RingConnection, pass_rings
from ._standard import fall_back

__all__ = ["BaseManager", "BaseProxy", "Namespace", "RemoteError", "SharedMemoryManager", "SyncManager", "Token"]

_Standard: Any = standard  # for type checkers, which do not know what subclasses use
_SERIALIZERS = "ringipc-"  # with the name of a way to wait: the names of our serializers
_NOTHING: tuple[None, tuple[()], None] = (None, (), None)
_CLOSED = "#CLOSED"  # the name of a method: the client closes the connection
dispatch = _Standard.dispatch
SharedMemoryManager = standard.SharedMemoryManager


class _Listener(connection.Listener):
    """Accepts clients; at an address of bytes, which is that of a named manager, those of this user only."""

    def __init__(self, address: Any = None, backlog: int = 1) -> None:
        super().__init__(address, backlog=backlog)
        self._is_named = isinstance(address, bytes)

    def accept(self) -> Any:
        accepted = super().accept()
        if self._is_named and _user_of(accepted) != os.geteuid():
            accepted.close()
            raise OSError("a client of another user is refused")
        return accepted


def _connect(address: Any, *, authkey: bytes | None = None) -> Any:
    """Connect to a server, as `Client`; at an address of bytes the server must be of this user."""
    conn = connection.Client(address, authkey=authkey)
    if isinstance(address, bytes) and _user_of(conn) != os.geteuid():
        conn.close()
        raise AuthenticationError("a manager of this name belongs to another user")
    return conn


def _user_of(conn: Any) -> int:
    with socket.socket(fileno=os.dup(conn.fileno())) as sock:
        return peer_of(sock)[1]


for _wait in WAITS:
    _Standard.listener_client[_SERIALIZERS + _wait] = (_Listener, _connect)


def _wait_of(serializer: str) -> Wait | None:
    """Return how a serializer waits in rings; None: it uses none."""
    wait: Any = serializer.removeprefix(_SERIALIZERS)
    return wait if wait != serializer else None


class _Calls(RingConnection):
    """A connection between one thread of a client and the thread that serves it.

    Both have their ends for themselves. So the end of the stream means that the other one is gone, and no call has to
    look at the socket.
    """

    def __init__(self, accepted: Any, wait: Wait, *, is_client: bool) -> None:
        """Take the socket of a connection. The client passes rings to the server."""
        with socket.socket(fileno=os.dup(accepted.fileno())) as sock:
            rings = pass_rings(sock, wait) if is_client else None
            super().__init__(sock.detach(), rings, wait)
        if is_client:
            super().send(None)
        super().recv()  # so the other one has opened its ends
        if not is_client:
            super().send(None)
        self.put_now = self._get_producer().put_nowait
        self.get_now = self._get_consumer().get
        # Not in forked children, which only drop what their parent has. At exit when nobody calls any more.
        self._say_closed = util.Finalize(self, _say_closed, (self.put_now,), exitpriority=-100) if is_client else None

    def send(self, obj: Any) -> None:
        try:
            self.put_now(obj)
        except (errors.Full, errors.Closed, errors.UnsafeMessage):
            super().send(obj)

    def recv(self) -> Any:
        try:
            return self.get_now()
        except errors.EndOfStream:
            raise EOFError from None
        except errors.Closed:
            raise OSError("handle is closed") from None

    def _close(self) -> None:
        if self._say_closed is not None:
            self._say_closed()
        super()._close()


def _say_closed(put: Callable[[Any], Any]) -> None:
    with contextlib.suppress(errors.Full, errors.Closed):  # the server is gone
        put((None, _CLOSED, (), {}))


class _Requests:
    """A client's connection whose `recv` answers the usual requests, and returns the others."""

    def __init__(self, conn: Any, objects: dict[str, Any]) -> None:
        is_ring = isinstance(conn, _Calls)
        self._recv = conn.get_now if is_ring else conn.recv
        self._put = conn.put_now if is_ring else conn.send
        self._objects = objects
        self.send = conn.send
        self.close = conn.close
        self.lost = is_ring  # until the client says that it closes it

    def recv(self) -> Any:
        recv, put, objects = self._recv, self._put, self._objects
        while True:
            try:
                request = recv()
            except (OSError, errors.EndOfStream):
                raise EOFError from None
            ident, name, args, kwds = request
            if name == _CLOSED:
                self.lost = False
                raise EOFError
            obj, exposed, types = objects.get(ident, _NOTHING)
            function = getattr(obj, name, None) if name in exposed and not (types and name in types) else None
            if function is None:
                return request
            try:
                message = "#RETURN", function(*args, **kwds)
            except Exception as error:  # noqa: BLE001  # the client raises it
                message = "#ERROR", error
            try:
                put(message)
            except Exception:  # noqa: BLE001  # again, with all checks
                self._answer(message)

    def _answer(self, message: tuple[str, Any]) -> None:
        try:
            self.send(message)
        except OSError:
            raise EOFError from None
        except Exception:  # noqa: BLE001  # of any kind: the result cannot be pickled
            self.send(("#UNSERIALIZABLE", format_exc()))


class Server(_Standard.Server):  # type: ignore[misc]
    """The server in the process of a manager."""

    public = [*_Standard.Server.public, "accept_rings", "named"]  # noqa: RUF012  # as in the class above

    def __init__(self, registry: Any, address: Any, authkey: bytes, serializer: str) -> None:
        super().__init__(registry, address, authkey, serializer)
        self._wait = _wait_of(serializer)
        self._named: dict[str, tuple[str, str, tuple[str, ...]]] = {}
        self._naming = threading.Lock()

    def accept_rings(self, c: Any, name: str) -> None:
        """Serve a thread of a client, which is about to pass rings."""
        threading.current_thread().name = name
        c.send(("#RETURN", None))
        with _Calls(c, self._wait or "block", is_client=False) as calls:
            self.serve_client(calls)

    def serve_client(self, conn: Any) -> None:
        """Serve a thread of a client until it ends. If it is lost, as it was killed, release its locks."""
        requests = _Requests(conn, self.id_to_obj)
        try:
            super().serve_client(requests)
        finally:
            if requests.lost:
                _served.release_all()

    def named(self, c: Any, name: str, typeid: str, /, *args: Any, **kwds: Any) -> tuple[str, tuple[str, ...]]:
        """Return the object of this name, which is created if there is none, and stays as long as the server."""
        with self._naming:
            if name not in self._named:
                self._named[name] = (typeid, *self.create(c, typeid, *args, **kwds))
            its_type, ident, exposed = self._named[name]
            if its_type != typeid:
                raise TypeError(f"the object {name!r} is a {its_type}, not a {typeid}")
            self.incref(c, ident)
            return ident, exposed


class BaseProxy(_Standard.BaseProxy):  # type: ignore[misc]
    """Base of proxies: calls methods of an object in the process of a manager."""

    def _connect(self) -> None:
        wait = _wait_of(self._serializer)
        conn = self._Client(self._token.address, authkey=self._authkey)
        name = f"{current_process().name}|{threading.current_thread().name}".removesuffix("|MainThread")
        if wait is not None and isinstance(self._token.address, str | bytes):
            try:
                dispatch(conn, None, "accept_rings", (name,))
                self._tls.connection = _Calls(conn, wait, is_client=True)
                conn.close()
                return
            except RemoteError:  # a server of the standard library: it has closed the connection
                conn = self._Client(self._token.address, authkey=self._authkey)
        dispatch(conn, None, "accept_connection", (name,))
        self._tls.connection = conn

    def _callmethod(self, methodname: str, args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006  # not changed
        """Call a method of the object, and return a copy of the result."""
        calls: Any = getattr(self._tls, "connection", None)
        put, get = getattr(calls, "put_now", None), getattr(calls, "get_now", None)
        if put is None or get is None:  # there is no connection yet, or it has no rings
            return super()._callmethod(methodname, args, kwds)
        try:
            put((self._id, methodname, args, kwds))
        except (errors.Full, errors.Closed, errors.UnsafeMessage):  # nothing is sent: again, with all checks
            return super()._callmethod(methodname, args, kwds)
        try:
            kind, result = get()
        except errors.EndOfStream:
            raise EOFError from None
        except BaseException:  # for example Ctrl-C: the next call must not get the answer that is still to come
            del self._tls.connection
            calls.close()
            raise
        if kind == "#RETURN":
            return result
        if kind == "#PROXY":
            exposed, token = result
            token.address = self._token.address  # as this process reaches the server
            return _proxy_of(self._manager, self._serializer, self._authkey, token, exposed)
        try:
            raise _Standard.convert_to_error(kind, result)
        finally:
            del result  # it may be an exception, which would refer to this frame

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (function, token, serializer, kwds) = super().__reduce__()
        if function is _Standard.AutoProxy:
            function = AutoProxy
        elif (of := type(self).__dict__.get("_of")) is not None:
            function = functools.partial(_rebuilt, of)
        return rebuild, (function, token, serializer, kwds)


def _proxy_of(manager: Any, serializer: str, authkey: bytes, token: Any, exposed: Any) -> Any:
    """Return a proxy of an object that the server has counted one reference to, which the proxy takes over."""
    proxy = manager._registry[token.typeid][-1](token, serializer, manager=manager, authkey=authkey, exposed=exposed)
    with manager._Client(token.address, authkey=authkey) as conn:
        dispatch(conn, None, "decref", (token.id,))
    return proxy


@functools.cache
def _through_rings(proxytype: Any, /) -> Any:
    """Return a proxy type like this one of the standard library, with our `BaseProxy`."""
    return type(proxytype.__name__, (BaseProxy, proxytype), {"_of": proxytype, "__module__": __name__})


def _rebuilt(proxytype: Any, *args: Any, **kwds: Any) -> Any:
    return _through_rings(proxytype)(*args, **kwds)


def MakeProxyType(name: str, exposed: Sequence[str]) -> Any:
    """Return a proxy type with these methods."""
    return _through_rings(_Standard.MakeProxyType(name, exposed))


def AutoProxy(
    token: Any,
    serializer: str,
    manager: Any = None,
    authkey: bytes | None = None,
    exposed: Any = None,
    incref: bool = True,
    manager_owned: bool = False,
) -> Any:
    """Return a proxy with the methods that the server exposes of an object."""
    if authkey is None:
        authkey = current_process().authkey if manager is None else manager._authkey
    if exposed is None:
        conn = _Standard.listener_client[serializer][1](token.address, authkey=authkey)
        try:
            exposed = dispatch(conn, None, "get_methods", (token,))
        finally:
            conn.close()
    proxy = MakeProxyType(f"AutoProxy[{token.typeid}]", exposed)(
        token, serializer, manager=manager, authkey=authkey, incref=incref, manager_owned=manager_owned
    )
    proxy._isauto = True
    return proxy


class BaseManager(_Standard.BaseManager):  # type: ignore[misc]
    """Starts a process that serves objects, or connects to one; see `multiprocessing.managers.BaseManager`.

    Parameters
    ----------
    address
        Where the server listens: a path, or a host and a port. None: one is chosen.
    authkey
        A key that clients have to know. None: that of this process, which its children have too.
    serializer
        "pickle", or "xmlrpclib" as in the standard library.
    ctx
        The context whose processes are used. None: the default.
    wait
        How both sides wait in rings: "block" sleeps; "adaptive" spins for up to 200 microseconds while that has been
        succeeding; "spin" spins all the time, and is the quickest if each process has a processor.
    **options
        Others of the standard library: shutdown_timeout.
    """

    _Server = Server

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        *,
        wait: Wait = "block",
        **options: Any,
    ) -> None:
        checked_choice("wait", wait, WAITS)
        if serializer == "pickle":
            serializer = _SERIALIZERS + wait
        super().__init__(address, authkey, serializer, ctx, **options)

    def get_server(self) -> Any:
        """Return a server for `serve_forever` in this process."""
        server = super().get_server()  # it checks the state
        server.listener.close()
        return self._Server(self._registry, server.address, self._authkey, self._serializer)

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., Any] | None = None,
        proxytype: Any = None,
        exposed: Any = None,
        method_to_typeid: Any = None,
        create_method: bool = True,
    ) -> None:
        """Register a type of objects, and add the method that creates one; as in the standard library."""
        if proxytype is None:
            proxytype = AutoProxy
        elif isinstance(proxytype, type) and not issubclass(proxytype, BaseProxy):
            proxytype = _through_rings(proxytype)  # type: ignore[arg-type]
        super().register(typeid, callable, proxytype, exposed, method_to_typeid, create_method)

    def named(self, name: str, typeid: str, /, *args: Any, **kwds: Any) -> Any:
        """Return a proxy of the object that has this name, for every process that asks.

        Parameters
        ----------
        name
            Any text.
        typeid
            The registered type, for example "dict". If there is no such object, it is created with these arguments.

        Raises
        ------
        RemoteError
            The object is of another type, or it cannot be created.
        """
        assert self._state.value == _Standard.State.STARTED, "server not yet started"
        with self._Client(self._address, authkey=self._authkey) as conn:
            ident, exposed = dispatch(conn, None, "named", (name, typeid, *args), kwds)
        token = Token(typeid, self._address, ident)
        return _proxy_of(self, self._serializer, self._authkey, token, exposed)

    def shutdown(self) -> None:
        """Stop the server, if this manager has started it."""


class SyncManager(BaseManager, _Standard.SyncManager):  # type: ignore[misc]
    """A manager of dicts, lists, namespaces, queues, values, arrays, pools, and what synchronizes threads.

    A client that is killed with a Lock, RLock or Condition releases it, if it is on this machine.
    """


_SERVED: dict[str, Any] = {"Lock": _served.Lock, "RLock": _served.RLock, "Condition": _served.Condition}
for _typeid, (_callable, _exposed, _types, _proxytype) in _Standard.SyncManager._registry.items():
    SyncManager.register(
        _typeid,
        _SERVED.get(_typeid, _callable),
        None if _proxytype is _Standard.AutoProxy else _proxytype,
        _exposed,
        _types,
        hasattr(_Standard.SyncManager, _typeid),
    )

_get = fall_back(__name__)


def __getattr__(name: str) -> Any:
    """Return a name of the standard library; proxy types with our `BaseProxy`."""
    found: Any = _get(name)
    is_proxy = isinstance(found, type) and issubclass(found, _Standard.BaseProxy)
    return _through_rings(found) if is_proxy else found
