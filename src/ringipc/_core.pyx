# distutils: language = c
"""The extension over the C core. It converts arguments, calls C without the GIL where a call can wait, and raises.

Each file of core/ has one class, or one idea that several classes share. The Python modules that it imports do not
import it.
"""

import collections
import os
from _thread import RLock as new_rlock  # recursive, as finalizers can unpickle too
from array import array as packed
from collections.abc import Iterable
from inspect import Signature, signature
from math import prod
from operator import index as index_of
from pickle import UnpicklingError, loads
from sys import modules as imported
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from ringipc import _arguments, _atexit, _facts, _failures, _names, _passing, _readiness, _upkeep, codecs, errors
from ringipc._latest_message import LatestMessage
from ringipc._reservation import BytesReservation, reservation
from ringipc._stats import ConsumerStats, ProducerStats
from ringipc.codecs import dtypes, multipart, pickled, record
from ringipc.codecs.multipart import Parts
from ringipc.codecs.tensors import to_tensor

cimport cython
cimport numpy as cnp
from cpython.buffer cimport (
    PyBUF_FULL_RO, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytearray cimport PyByteArray_CheckExact
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.memoryview cimport PyMemoryView_Check, PyMemoryView_FromObject
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.sequence cimport PySequence_Check, PySequence_GetItem
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport (
    EAGAIN, EBADMSG, ECHILD, EINTR, EINVAL, EMSGSIZE, ENOBUFS, ENODATA, EOVERFLOW, EPERM, EPIPE, ESHUTDOWN, ETIMEDOUT,
)
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

include "core/declarations.pxi"
include "core/facts.pxi"
include "core/wait.pxi"
include "core/arrays.pxi"
include "core/records.pxi"
include "core/inspect.pxi"
include "core/constructor.pxi"
include "core/io_loop.pxi"
include "core/objects.pxi"
include "core/write.pxi"
include "core/producer.pxi"
include "core/work.pxi"
include "core/hold.pxi"
include "core/dead.pxi"
include "core/copies.pxi"
include "core/read.pxi"
include "core/select.pxi"
include "core/into.pxi"
include "core/stack.pxi"
include "core/messages.pxi"
include "core/consumer.pxi"
include "core/shortcuts.pxi"
include "core/message.pxi"
include "core/exchange.pxi"
include "core/sync.pxi"
include "core/semaphore.pxi"
include "core/lock.pxi"
include "core/event.pxi"
include "core/barrier.pxi"
include "core/latest.pxi"
include "core/numbers.pxi"
include "core/heap.pxi"
include "core/words.pxi"
include "core/rlock.pxi"
include "core/memory.pxi"
include "core/value.pxi"

cnp.import_array()
rip_on_wait(before_wait, after_wait)
_atexit.call_before(_begin_exit)

(<TypeFields *>Producer).tp_name = "ringipc.Producer"
(<TypeFields *>Consumer).tp_name = "ringipc.Consumer"
(<TypeFields *>Message).tp_name = "ringipc.Message"
(<TypeFields *>Messages).tp_name = "ringipc.Messages"
(<TypeFields *>Semaphore).tp_name = "ringipc.Semaphore"
(<TypeFields *>Lock).tp_name = "ringipc.Lock"
(<TypeFields *>Event).tp_name = "ringipc.Event"
(<TypeFields *>Barrier).tp_name = "ringipc.Barrier"
(<TypeFields *>Latest).tp_name = "ringipc.Latest"
(<TypeFields *>RLock).tp_name = "ringipc.RLock"
(<TypeFields *>SharedArray).tp_name = "ringipc.SharedArray"
(<TypeFields *>Synchronized).tp_name = "ringipc.Synchronized"
(<TypeFields *>SynchronizedArray).tp_name = "ringipc.SynchronizedArray"
(<TypeFields *>SynchronizedString).tp_name = "ringipc.SynchronizedString"
