# What the core calls things, and looking at a channel without taking part in it.

NEWEST = RIP_NEWEST
SHARED = RIP_SHARED
DURABLE = RIP_DURABLE


def inspect_channel(bytes channel):
    """0 or an error code; lanes: id, pid, state, messages, backlog; groups: name, flags, backlog; members: pid, group.

    A producer's group is -1. Last, whether the end of the stream still has to be delivered.
    """
    cdef rip_inspection there
    cdef const char *name = channel
    cdef int rc
    with nogil:
        rc = rip_inspect(name, &there)
    lanes = [(lane.id, lane.pid, lane.state, lane.messages, lane.backlog) for lane in there.lane[:there.lanes]]
    groups = [(<bytes>group.name, group.flags, group.backlog) for group in there.group[:there.groups]]
    members = [(member.pid, member.group) for member in there.member[:there.members]]
    return rc, lanes, groups, members, there.end_waits != 0


def remove(bytes channel):
    """0, or an error code and the pid of a member."""
    cdef const char *name = channel
    cdef int32_t holder = 0
    cdef int rc
    with nogil:
        rc = rip_remove(name, &holder)
    return rc, holder


def clean_channel(bytes channel):
    """1 if the channel had no members and has been removed, 0 if there is a reason to keep it, or an error code."""
    cdef const char *name = channel
    cdef int rc
    with nogil:
        rc = rip_clean_up(name)
    return rc


def directory():
    """A file descriptor of the directory of names, for the caller to close, or an error code."""
    return rip_directory()


def channel_fd():
    """The file descriptor of a new anonymous channel, for the caller to close, or an error code."""
    return rip_channel_fd()


def remove_group(bytes channel, bytes group):
    """0, or an error code and the pid of a member."""
    cdef const char *name = channel
    cdef const char *group_name = group
    cdef int32_t holder = 0
    cdef int rc
    with nogil:
        rc = rip_remove_group(name, group_name, &holder)
    return rc, holder
