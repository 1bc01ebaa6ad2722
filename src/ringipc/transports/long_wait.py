"""A log message for a constructor that waits for long."""

import logging
import math
import time
from collections.abc import Callable

from .. import _readiness

_log = logging.getLogger("ringipc")
LOG_AFTER = 5.0  # seconds


class LongWait:
    """The wait of a constructor for its peer, in pauses. Logs once what it waits for.

    Parameters
    ----------
    what
        Returns that as a text.
    """

    def __init__(self, what: Callable[[], str]) -> None:
        self._what = what
        self._log_at = time.monotonic() + LOG_AFTER

    def pause(self, seconds: float) -> None:
        """Sleep, as `_readiness.pause`."""
        if time.monotonic() >= self._log_at:
            self._log_at = math.inf
            _log.warning("%s", self._what())
        _readiness.pause(seconds)
