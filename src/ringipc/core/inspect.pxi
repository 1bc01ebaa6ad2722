# Inspecting, removing and cleaning up channels, without joining them.

NEWEST = RIP_NEWEST
SHARED = RIP_SHARED
DURABLE = RIP_DURABLE
LOSSY = RIP_LOSSY
BY_TIME = RIP_BY_TIME


def inspect_channel(bytes channel):
    """Inspect a channel without joining it.

    Return 0 or a negative errno; the lanes (id, pid, state, messages, backlog); the groups (name, flags, backlog); the
    members (pid, group; the group of a producer is -1); and whether the end of the stream waits for a consumer.
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
    """Remove a channel without members. Return 0 or a negative errno, and the pid of a member if there is one."""
    cdef const char *name = channel
    cdef int32_t holder = 0
    cdef int rc
    with nogil:
        rc = rip_remove(name, &holder)
    return rc, holder


def clean_channel(bytes channel):
    """Remove a channel that nobody needs. Return 1 if it is removed, 0 if it is kept, or a negative errno."""
    cdef const char *name = channel
    cdef int rc
    with nogil:
        rc = rip_clean_up(name)
    return rc


def directory():
    """Return a new file descriptor of this user's directory of named channels, or a negative errno."""
    return rip_directory()


def channel_fd():
    """Create an anonymous channel. Return a new file descriptor of it, or a negative errno."""
    return rip_channel_fd()


def remove_group(bytes channel, bytes group):
    """End a group without members. Return 0 or a negative errno, and the pid of a member if there is one."""
    cdef const char *name = channel
    cdef const char *group_name = group
    cdef int32_t holder = 0
    cdef int rc
    with nogil:
        rc = rip_remove_group(name, group_name, &holder)
    return rc, holder
