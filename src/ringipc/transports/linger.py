"""How long a producer that closes waits for its messages to be taken, and what it logs meanwhile."""

import logging
import math
import time
from collections.abc import Callable

_log = logging.getLogger("ringipc")

_WARN_AFTER = 1.0  # seconds without progress after which a producer that closes logs whom it waits for


class Linger:
    """How long a producer that closes waits for its messages to be taken.

    Parameters
    ----------
    url
        Of the link.
    seconds
        Time after the last progress; None waits for ever.
    interrupted
        The wait was interrupted before: now there is none.
    """

    def __init__(self, url: str, seconds: float | None, *, interrupted: bool) -> None:
        self._url = url
        self._interrupted = interrupted
        self._seconds = math.inf if seconds is None else seconds
        self._since = time.monotonic()  # the last progress
        self._left: object = None
        self._warned = False
        self._over = False

    def lasts(self, left: object, count: int, why: Callable[[], str]) -> bool:
        """Return whether to wait on.

        Parameters
        ----------
        left
            The work that is left; if it differs from that of the last call, there was progress.
        count
            The number of messages in it.
        why
            Returns the reason why it is not done.
        """
        if self._interrupted:
            return False
        now = time.monotonic()
        if left != self._left:
            self._left, self._since = left, now
        self._over = now - self._since >= self._seconds
        if now - self._since >= _WARN_AFTER and not self._warned and not self._over:
            self._warned = True
            limit = "" if self._seconds == math.inf else f", for up to {self._seconds:g} s"
            _log.warning("%s: close() waits%s (linger=): %s: %s", self._url, limit, _counted(count, "left"), why())
        return not self._over

    def lost(self, count: int, why: Callable[[], str]) -> str:
        """Return the error for so many messages that were not taken; nothing if there are none."""
        if count <= 0:
            return ""
        after = f" after {self._seconds:g} s without progress (linger=)" if self._over else ""
        before = "close() was interrupted: " if self._interrupted else ""
        return f"{before}{_counted(count, 'lost')}{after}: {why()}"


def _counted(count: int, what: str) -> str:
    return f"{count} message{'s are' if count != 1 else ' is'} {what}"
