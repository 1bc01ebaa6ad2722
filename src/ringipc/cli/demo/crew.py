"""The child processes of the demo, seen from the parent: starts them, reads their reports and ends them."""

import multiprocessing as mp
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self

from .work import Decoded, Failed, Finished, Ready, child

_POLL_INTERVAL = 0.05  # seconds
_GRACE = 3.0  # seconds in which children have to exit after the end of the stream


class RunFailed(Exception):
    """The run failed; the text says why."""


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C. A process that is started meanwhile keeps ignoring it: Ctrl-C is for its parent."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Crew:
    """Child processes that work together. The end of the with block kills those that still run.

    Attributes
    ----------
    decoded
        Number of frames that the source has decoded, and its maximum.
    finished
        The reports of finished processes, by name.
    """

    def __init__(self) -> None:
        self._context = mp.get_context("spawn")
        self._members: dict[str, tuple[SpawnProcess, Connection]] = {}
        self._ready: set[str] = set()
        self.decoded = (0, 0)
        self.finished: dict[str, Finished] = {}

    def start(self, name: str, job: Callable[..., None], *arguments: Any) -> None:
        """Start a process that runs job(control, *arguments)."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=child, name=name, args=(job, theirs, *arguments), daemon=True)
        with _ignoring_interrupts():
            process.start()
        theirs.close()
        self._members[name] = process, ours

    def poll(self) -> None:
        """Read the reports of the children.

        Raises
        ------
        RunFailed
            One of them reports an error, or has died.
        """
        for name, (process, control) in self._members.items():
            dead = process.exitcode  # read before the last reports
            with suppress(EOFError, ConnectionResetError):  # there are no more reports
                while control.poll():
                    self._handle(name, control.recv())
            if dead is not None and dead < 0:
                raise RunFailed(
                    f"the {name} process (pid {process.pid}) was killed by signal {signal.Signals(-dead).name}"
                )
            if dead:
                raise RunFailed(f"the {name} process (pid {process.pid}) ended with status {dead}")

    def _handle(self, name: str, message: object) -> None:
        match message:
            case Decoded(done, total):
                self.decoded = done, total
            case Ready():
                self._ready.add(name)
            case Finished():
                self.finished[name] = message
            case Failed(text):
                raise RunFailed(f"{name}: {text}")

    def await_ready(self, watch: Callable[[], None]) -> None:
        """Wait until all are ready; call watch repeatedly."""
        while self._ready != set(self._members):
            self.poll()
            watch()
            time.sleep(_POLL_INTERVAL)

    def go(self, name: str) -> None:
        """Let a process start that waits for this."""
        self._members[name][1].send(None)

    def await_end(self) -> None:
        """Wait until all have exited, as they do after the end of the stream."""
        late = time.monotonic() + _GRACE
        while any(process.exitcode is None for process, _ in self._members.values()):
            self.poll()
            if time.monotonic() > late:
                raise RunFailed("the stream has ended, but some process has not exited")
            time.sleep(_POLL_INTERVAL)
        self.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _ignoring_interrupts():
            for process, control in self._members.values():
                process.kill()  # does nothing if it has exited
                process.join()
                control.close()
