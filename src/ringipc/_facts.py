"""Facts about the C core that the pure Python modules below it need. `ringipc._core` sets them when it is imported."""

from collections.abc import Callable

ABI: int  # version of the layout in shared memory

# Limits, as in csrc/ringipc.h.
MAX_CHANNEL_NAME: int  # bytes
MAX_GROUP_NAME: int  # bytes
MAX_LANES: int  # of a channel
MAX_GROUPS: int  # of a channel
MAX_CONSUMERS: int  # of a channel
MAX_HANDLES: int  # of a semaphore, lock, event or barrier
MAX_WAITERS: int  # threads that wait for units of a semaphore or lock
MAX_UNITS: int  # of a semaphore
LARGEST_REMOTE: int  # bytes, of the lane and of the messages of a producer at the other end of a connection

# The words of arguments, and their numbers in the C core.
WAITS: dict[str, int]
OVERFLOWS: dict[str, int]
GROUP_OVERFLOWS: dict[str, int]
SHARED: int  # a flag of a group
STARTS: dict[str, int]
ORDERS: dict[str, int]

base: Callable[[], bytes]  # the directory under which each user has a directory of named channels
lock_holder: Callable[[int], int]  # pid of the process that has locked the control file of this descriptor, or 0
