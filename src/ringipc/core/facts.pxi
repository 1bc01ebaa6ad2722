# Limits and functions of the C core for the Python modules below the extension.

_facts.ABI = RIP_ABI
_facts.MAX_CHANNEL_NAME = RIP_MAX_CHANNEL_NAME
_facts.MAX_GROUP_NAME = RIP_MAX_GROUP_NAME
_facts.MAX_LANES = RIP_MAX_LANES
_facts.MAX_GROUPS = RIP_MAX_GROUPS
_facts.MAX_CONSUMERS = RIP_MAX_CONSUMERS
_facts.MAX_HANDLES = RIP_MAX_HANDLES
_facts.MAX_WAITERS = RIP_MAX_WAITERS
_facts.MAX_UNITS = RIP_MAX_UNITS
_facts.LARGEST_REMOTE = RIP_LARGEST_REMOTE

_facts.WAITS = {"spin": RIP_WAIT_SPIN, "adaptive": RIP_WAIT_ADAPTIVE, "block": RIP_WAIT_BLOCK}
_facts.OVERFLOWS = {"block": RIP_BLOCK, "drop-new": RIP_DROP_NEW, "drop-old": RIP_DROP_OLD}
_facts.GROUP_OVERFLOWS = {"block": 0, "drop-old": RIP_LOSSY}
_facts.SHARED = RIP_SHARED
_facts.ORDERS = {"lane": 0, "time": RIP_BY_TIME}
_facts.STARTS = {"oldest": RIP_OLDEST, "newest": RIP_NEWEST}


def base():
    """Return the directory in which each user has a directory of named channels."""
    return <bytes>rip_base()


def lock_holder(int control):
    """Return the pid of the process that has the table lock of a control file (an open fd); 0 if none is visible."""
    cdef int32_t pid
    with nogil:
        pid = rip_lock_holder(control)
    return pid


_facts.base = base
_facts.lock_holder = lock_holder
