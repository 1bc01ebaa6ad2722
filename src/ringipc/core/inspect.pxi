# What the core calls things, and looking at a channel without taking part in it.

cdef extern from "Python.h":
    ctypedef struct PyMethodDef:
        pass
    ctypedef struct PyMethodDescrObject:
        PyMethodDef *d_method
    object PyDescr_NewMethod(PyTypeObject *, PyMethodDef *)

NEWEST = RIP_NEWEST
SHARED = RIP_SHARED
DURABLE = RIP_DURABLE

METHOD = type(str.upper)


def own_methods(cls):
    """For a class: makes the methods that it inherits from a class in C its own.

    CPython's specializing interpreter (PEP 659) calls a C method directly only where the object's type is the one that
    the method's descriptor names. An inherited method takes a longer way, half as long again as an empty call.
    """
    for base in cls.__mro__:
        for name, method in list(vars(base).items()):
            if type(method) is METHOD and getattr(cls, name) is method:
                setattr(cls, name, PyDescr_NewMethod(<PyTypeObject *>cls, (<PyMethodDescrObject *>method).d_method))
    return cls


def inspect_channel(bytes channel):
    """0 or an error code; lanes: id, pid, state, messages, backlog; groups: name, how, backlog; members: pid, group.

    A producer's group is -1. Last, whether the end of the stream waits for somebody to be told of it.
    """
    cdef rip_inspection there
    cdef const char *name = channel
    cdef int rc
    with nogil:
        rc = rip_inspect(name, &there)
    lanes = [(lane.id, lane.pid, lane.state, lane.messages, lane.backlog) for lane in there.lane[:there.lanes]]
    groups = [(<bytes>group.name, group.how, group.backlog) for group in there.group[:there.groups]]
    members = [(member.pid, member.group) for member in there.member[:there.members]]
    return rc, lanes, groups, members, there.end_waits != 0


def remove(bytes channel):
    """0, or an error code and the pid of somebody who takes part."""
    cdef const char *name = channel
    cdef int32_t holder = 0
    cdef int rc
    with nogil:
        rc = rip_remove(name, &holder)
    return rc, holder


def clean_channel(bytes channel):
    """1 when what was left of the channel has been removed, 0 when there is a reason to keep it, or an error code."""
    cdef const char *name = channel
    cdef int rc
    with nogil:
        rc = rip_clean_up(name)
    return rc


def directory():
    """A descriptor of the directory in which all names are, for the caller to close, or an error code."""
    return rip_directory()


def channel_fd():
    """The descriptor of a new channel without a name, for the caller to close, or an error code."""
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
