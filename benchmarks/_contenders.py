"""The contenders that ringipc is compared with, each with the same four methods: put, get, put_many and get_many.

All queues except ringipc's have about the same depth: DEPTH messages of 64 bytes, or FRAMES large ones, few enough to
stay in the cache. Other settings are the defaults. If another setting is faster for a contender, its class says so.
"""

import ctypes
import importlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import ringipc
from ringipc._arguments import Wait

from . import _harness
from ._harness import Contender, Crowd, Loop, Missing, Opener

DEPTH = 1024
FRAMES = 4

Frame = npt.NDArray[Any]


class Transport(Protocol):
    """A transport is passed to both processes; each opens its end, which has put or get, and put_many or get_many."""

    @property
    def sender(self) -> Opener: ...
    @property
    def receiver(self) -> Opener: ...


@dataclass(frozen=True)
class Ring:
    """ringipc, with its default settings if no others are given."""

    wait: Wait = "adaptive"
    capacity: int = 64 << 20
    slots: int = 1024
    group: str = "default"
    shared: bool = False
    channel: str = field(default_factory=lambda: _harness.unique("ring"))

    def sender(self) -> ringipc.Producer:
        return ringipc.Producer(self.channel, capacity=self.capacity, slots=self.slots, wait=self.wait)

    def receiver(self) -> ringipc.Consumer:
        return ringipc.Consumer(self.channel, group=self.group, shared=self.shared, wait=self.wait)


class StandardQueue:
    """multiprocessing.Queue: it pickles, and a thread in the producer writes into a pipe."""

    def __init__(self, depth: int) -> None:
        self._queue = _harness.SPAWN.Queue(depth)

    @contextmanager
    def sender(self) -> Iterator[Any]:
        yield self._queue

    receiver = sender


class StandardPipe:
    """multiprocessing.Pipe, with its methods for bytes, in both directions."""

    def __init__(self) -> None:
        self._first, self._second = _harness.SPAWN.Pipe()

    @contextmanager
    def sender(self) -> Iterator[Any]:
        yield SimpleNamespace(put=self._first.send_bytes, get=self._first.recv_bytes)

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        yield SimpleNamespace(put=self._second.send_bytes, get=self._second.recv_bytes)


@dataclass(frozen=True)
class ZeroMQ:
    """pyzmq, PUSH to PULL over ipc (an abstract Unix socket). pyzmq does not copy arrays like frame.

    With broadcast it is PUB to SUB without drops (XPUB_NODROP). Several senders connect to a receiver that binds.
    """

    depth: int  # depth of the queue of each side; the default of ZeroMQ is 1000
    frame: Frame | None = None
    broadcast: bool = False
    receiver_binds: bool = False
    address: str = field(default_factory=lambda: f"ipc://@{_harness.unique('zmq')}")

    @contextmanager
    def sender(self) -> Iterator[Any]:
        import zmq

        with zmq.Context() as context, context.socket(zmq.XPUB if self.broadcast else zmq.PUSH) as socket:
            socket.sndhwm = self.depth
            if self.broadcast:
                socket.xpub_nodrop = True
            (socket.connect if self.receiver_binds else socket.bind)(self.address)
            if self.frame is None:
                yield SimpleNamespace(put=socket.send)
            else:
                yield SimpleNamespace(put=lambda frame: socket.send(frame, copy=False))

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        import zmq

        def get_frame() -> Frame:
            return np.frombuffer(socket.recv(copy=False).buffer, dtype).reshape(shape)

        with zmq.Context() as context, context.socket(zmq.SUB if self.broadcast else zmq.PULL) as socket:
            socket.rcvhwm = self.depth
            if self.broadcast:
                socket.subscribe(b"")
            (socket.bind if self.receiver_binds else socket.connect)(self.address)
            if self.frame is None:
                yield SimpleNamespace(get=socket.recv)
            else:
                dtype, shape = self.frame.dtype, self.frame.shape
                yield SimpleNamespace(get=get_frame)


def _as_it_is(message: bytes) -> bytes:
    return message


def _array_from(dtype: np.dtype[Any], shape: tuple[int, ...], data: memoryview) -> Frame:
    return np.frombuffer(bytes(data), dtype).reshape(shape)


class FasterFifo:
    """faster-fifo, with serialisers that only copy: its default, pickle, is slower. The depth is in bytes."""

    def __init__(self, depth: int, frame: Frame | None = None) -> None:
        importlib.import_module("faster_fifo_reduction")  # so that it can be passed to a spawned process
        dumps, loads = (
            (_as_it_is, bytes)
            if frame is None
            else (np.ndarray.tobytes, partial(_array_from, frame.dtype, frame.shape))
        )
        self._queue = importlib.import_module("faster_fifo").Queue(depth, loads=loads, dumps=dumps)

    @contextmanager
    def sender(self) -> Iterator[Any]:
        yield self._queue

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        queue = self._queue
        yield SimpleNamespace(get=queue.get, get_many=lambda most: queue.get_many(max_messages_to_get=most))


@dataclass(frozen=True)
class Iceoryx2:
    """The Python binding of iceoryx2, publish to subscribe, without drops.

    It has no call that waits for a sample, so both sides spin. A message is copied into a loaned sample. Bytes are
    copied out of it; a frame is viewed in place.
    """

    depth: int  # samples in the subscriber's queue
    size: int  # bytes, of the longest message
    frame: Frame | None = None
    name: str = field(default_factory=lambda: _harness.unique("iceoryx2"))

    @contextmanager
    def _service(self) -> Iterator[Any]:
        import iceoryx2 as iox2

        iox2.set_log_level(iox2.LogLevel.Error)
        config = iox2.config.default()
        config.global_cfg.prefix = iox2.FileName.new(self.name)
        config.global_cfg.root_path = iox2.Path.new(str(self.root))
        node = iox2.NodeBuilder.new().config(config).create(iox2.ServiceType.Ipc)
        yield (
            node.service_builder(iox2.ServiceName.new(self.name))
            .publish_subscribe(iox2.Slice[ctypes.c_uint8])
            .max_publishers(1)
            .max_subscribers(1)
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(self.depth)
            .open_or_create()
        )

    @property
    def root(self) -> Path:
        return Path(tempfile.gettempdir()) / self.name

    @contextmanager
    def sender(self) -> Iterator[Any]:
        import iceoryx2 as iox2

        def put(message: Any, size: int, address: Any) -> None:
            sample = publisher.loan_slice_uninit(size)
            ctypes.memmove(sample.payload_ptr, address, size)
            sample.assume_init().send()

        with self._service() as service:
            retry = iox2.BackpressureStrategy.RetryUntilDelivered
            publisher = (
                service.publisher_builder().initial_max_slice_len(self.size).backpressure_strategy(retry).create()
            )
            if self.frame is None:
                yield SimpleNamespace(put=lambda message: put(message, len(message), message))
            else:
                yield SimpleNamespace(put=lambda frame: put(frame, frame.nbytes, frame.ctypes.data))

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        def wait() -> Any:
            while (sample := receive()) is None:
                pass
            return sample

        def get_bytes() -> bytes:
            sample = wait()
            return ctypes.string_at(sample.payload_ptr, sample.header.number_of_elements)

        def get_frame() -> Frame:
            sample = wait()
            payload: Any = (ctypes.c_uint8 * sample.header.number_of_elements).from_address(sample.payload_ptr)
            payload.sample = sample  # keeps the sample as long as the array
            return np.frombuffer(payload, dtype).reshape(shape)

        with self._service() as service:
            receive: Callable[[], Any] = service.subscriber_builder().create().receive
            if self.frame is None:
                yield SimpleNamespace(get=get_bytes)
            else:
                dtype, shape = self.frame.dtype, self.frame.shape
                yield SimpleNamespace(get=get_frame)


@dataclass(frozen=True)
class Cloudtoid:
    """cloudtoid-interprocess, with its queue in memory like the others.

    Its send never waits, and its receive may sleep. Here both sides spin: that is 1.6 times as fast as sleeping.
    """

    depth: int  # bytes
    name: str = field(default_factory=lambda: _harness.unique("cloudtoid"))

    @property
    def root(self) -> Path:
        root = Path("/dev/shm") / self.name
        root.mkdir(exist_ok=True)
        return root

    @contextmanager
    def sender(self) -> Iterator[Any]:
        from cloudtoid_interprocess import Publisher

        def put(message: bytes) -> None:
            while not try_send(message):
                pass

        with Publisher(self.name, self.depth, self.root) as publisher:
            try_send = publisher.try_send
            yield SimpleNamespace(put=put)

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        from cloudtoid_interprocess import Subscriber

        def get() -> bytes:
            message: bytes | None = try_receive()
            while message is None:
                message = try_receive()
            return message

        with Subscriber(self.name, self.depth, self.root) as subscriber:
            try_receive = subscriber.try_receive
            yield SimpleNamespace(get=get)


class Copies:
    """A queue for each receiver: the sender puts every message into all of them."""

    def __init__(self, queues: Sequence[Transport]) -> None:
        self.queues = queues

    @contextmanager
    def sender(self) -> Iterator[Any]:
        with ExitStack() as stack:
            puts = [stack.enter_context(queue.sender()).put for queue in self.queues]

            def put(message: Any) -> None:
                for put_one in puts:
                    put_one(message)

            yield SimpleNamespace(put=put)


def if_installed(module: str, name: str, make: Callable[[], Contender]) -> Contender | Missing:
    return make() if importlib.util.find_spec(module) else Missing(name, "not installed")


def between(name: str, pair: tuple[int, int], transport: Transport, send: Loop, receive: Loop) -> Crowd:
    return Crowd(name, [(pair[0], transport.sender, send), (pair[1], transport.receiver, receive)])
