"""The demo's child processes as the parent sees them: started, listened to, and ended however the run ends."""

import multiprocessing as mp
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self

from ._work import Decoded, Failed, Finished, Ready, child

_LOOK_EVERY = 0.05  # seconds
_GRACE = 3.0  # seconds to end in, for children whose stream has ended


class RunFailed(Exception):
    """The run came to an end before its time; the text says why."""


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """For moments in which Ctrl-C must not strike. A process started in one stays deaf: Ctrl-C is for its parent."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Crew:
    """Child processes that work together. Leaving the with block kills those that are still there.

    Attributes
    ----------
    decoded
        How many frames the source has decoded, and how many it will at most.
    finished
        What those that are through have reported, by their names.
    """

    def __init__(self) -> None:
        self._context = mp.get_context("spawn")
        self._members: dict[str, tuple[SpawnProcess, Connection]] = {}
        self._ready: set[str] = set()
        self.decoded = (0, 0)
        self.finished: dict[str, Finished] = {}

    def start(self, name: str, job: Callable[..., None], *arguments: Any) -> None:
        """Starts a process that runs job(control, *arguments)."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=child, name=name, args=(job, theirs, *arguments), daemon=True)
        with _deaf_to_interrupts():
            process.start()
        theirs.close()
        self._members[name] = process, ours

    def look(self) -> None:
        """Takes in what the children have said.

        Raises
        ------
        RunFailed
            One of them reports an error, or is dead.
        """
        for name, (process, control) in self._members.items():
            dead = process.exitcode  # before its last words are read
            with suppress(EOFError, ConnectionResetError):  # it has said all that it will
                while control.poll():
                    self._heed(name, control.recv())
            if dead is not None and dead < 0:
                raise RunFailed(
                    f"the {name} process (pid {process.pid}) was killed by signal {signal.Signals(-dead).name}"
                )
            if dead:
                raise RunFailed(f"the {name} process (pid {process.pid}) ended with status {dead}")

    def _heed(self, name: str, message: object) -> None:
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
        """Waits until all can start, calling watch again and again."""
        while self._ready != set(self._members):
            self.look()
            watch()
            time.sleep(_LOOK_EVERY)

    def go(self, name: str) -> None:
        """Gives a process that waits for it the word to start."""
        self._members[name][1].send(None)

    def await_end(self) -> None:
        """Waits until all have ended in good order, as they do when the stream has ended."""
        late = time.monotonic() + _GRACE
        while any(process.exitcode is None for process, _ in self._members.values()):
            self.look()
            if time.monotonic() > late:
                raise RunFailed("the stream has ended, but not the processes")
            time.sleep(_LOOK_EVERY)
        self.look()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _deaf_to_interrupts():
            for process, control in self._members.values():
                process.kill()  # does nothing to one that has ended; what it held, others give back
                process.join()
                control.close()
