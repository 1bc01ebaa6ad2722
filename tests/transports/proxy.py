"""A network that fails on request."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class Proxy:
    """Passes bytes between the peers that connect to it and the port behind it."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._cut_after = -1  # bytes until the connection breaks; -1: never
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.down = False
        self.cuts = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._start(self._accept)

    def _start(self, what: object, *args: object) -> None:
        thread = threading.Thread(target=what, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listening.accept()[0]
            except OSError:
                return
            if self.down:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._behind))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._ends += [near, far]
            self._start(self._pass, near, far, True)
            self._start(self._pass, far, near, False)

    def _pass(self, of: socket.socket, to: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := of.recv(1 << 16):
                with self._lock:
                    cut = self._cut_after >= 0 and len(data) >= self._cut_after
                    if self._cut_after >= 0:
                        data, self._cut_after = (
                            (data[: self._cut_after], -1) if cut else (data, self._cut_after - len(data))
                        )
                to.sendall(data)
                if cut:
                    self.cuts += 1
                    break
        for end in of, to:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut_after(self, count: int) -> None:
        """Break the connection after this number of further bytes, in either direction."""
        with self._lock:
            self._cut_after = count

    def cut(self) -> None:
        with self._lock:
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for end in self._ends:
            end.close()
        self._listening.close()


@contextlib.contextmanager
def before(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
