"""Managers: a process that serves dicts, lists and other objects to others."""

from typing import TYPE_CHECKING

from ._arguments import Wait
from ._core import Lock

if TYPE_CHECKING:
    from .mp.managers import SyncManager

_KEY = b"ringipc"  # of named managers; who may connect is decided by the user


def Manager(name: str | None = None, *, authkey: bytes | None = None, wait: Wait = "block") -> "SyncManager":
    """Return a manager of objects that processes share: `dict`, `list`, `Namespace`, `Queue`, `Lock` and others.

    The objects live in a process of their own, which is started with the start method of `multiprocessing`. It ends
    with the process that started it, or when that calls `shutdown`.

    Parameters
    ----------
    name
        For unrelated processes of this user on this machine: the first that asks starts the manager, the others
        connect to it. `manager.named` returns objects by name. None: the manager is for this process and those to
        which it passes objects.
    authkey
        A key that all have to know. None: none but the user, for a name; else that of this process.
    wait
        How both sides of a call wait: "block" sleeps; "adaptive" spins for up to 200 microseconds while that has been
        succeeding; "spin" spins all the time, and is the quickest if each process has a processor.

    Raises
    ------
    multiprocessing.AuthenticationError
        The manager of this name has another key, or is another user's.

    Examples
    --------
    >>> import ringipc
    >>> with ringipc.Manager("state") as manager:
    ...     state = manager.named("settings", "dict", speed=1)
    ...     state["speed"] += 1
    ...     print(state)
    {'speed': 2}
    """
    from .mp import connection
    from .mp.managers import SyncManager

    if name is None:
        manager = SyncManager(authkey=authkey, wait=wait)
        manager.start()
        return manager
    address = connection.abstract_address("manager", name)
    manager = SyncManager(address, authkey or _KEY, wait=wait)
    with Lock(f"{name}.starts") as lock:  # one process at a time looks and starts it
        try:
            manager.connect()
        except ConnectionRefusedError:
            manager.start()
    lock.close()
    return manager
