"""File descriptors of objects that are passed to other processes: as arguments, or later through queues and pipes."""

import errno
from multiprocessing.reduction import DupFd

from .errors import SystemRefused


class Passed:
    """A file descriptor on its way to another process of the same program.

    With an argument of a new process it is inherited. Otherwise the receiver fetches it from the process that has sent
    it, once.
    """

    def __init__(self, fd: int) -> None:
        self._passed = DupFd(fd)

    def detach(self) -> int:
        """Return the file descriptor, in the process that has received this.

        Raises
        ------
        SystemRefused
            The sender has ended, or another process has received it already.
        """
        try:
            return self._passed.detach()
        except (FileNotFoundError, ConnectionError, EOFError) as error:
            raise SystemRefused(
                errno.ESRCH,
                "the process that has sent this object has ended, or another one has received it already: the sender "
                "must run until the object is received",
            ) from error
