"""Invalid arguments and files raise a clear error at once, and leave no files."""

import asyncio
import dataclasses
import datetime
import enum
import errno
import os
import pickle
import queue
import socket
import struct
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from conftest import directory_of

import ringipc
from ringipc import (
    Barrier,
    ChannelNotFound,
    Consumer,
    Corrupt,
    Incompatible,
    Lock,
    Message,
    Producer,
    RingError,
    Semaphore,
    SystemRefused,
)
from ringipc.cli import main


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "/abs", ".hidden", "x" * 201, "a\0b", "é" * 101])
def test_an_invalid_name_is_refused(name: str) -> None:
    for make in (Producer, Consumer):
        with pytest.raises(ValueError, match="the channel's name"):
            make(name)


def test_a_name_has_up_to_200_bytes_of_any_kind() -> None:
    for name in ("x" * 200, "with space", "ünïcode", "a:b|c;$(d)", "-rf"):
        with Producer(name, capacity=4096) as producer, Consumer(name, timeout=0) as consumer:
            producer.put(b"a")
            assert consumer.get_nowait() == b"a"


@pytest.mark.parametrize("name", [None, 3, b"bytes", Path("p")])
def test_a_name_must_be_a_str(name: Any) -> None:
    for make in (Producer, Consumer):
        with pytest.raises(TypeError, match="the channel must be a name, a URL, a Channel or an endpoint"):
            make(name)


def test_a_group_must_have_a_name(producer: Producer) -> None:
    for group in ("", "x" * 48, "a\0"):
        with pytest.raises(ValueError, match="the group's name"):
            Consumer("c", group=group)
    with Consumer("c", group="x" * 47):
        pass


@pytest.mark.parametrize("capacity", ["", "many", "64 MiBs", "-1", "1e3", 0, -1, 1 << 60, "65 TiB"])
def test_an_invalid_capacity_is_refused(capacity: Any) -> None:
    with pytest.raises(ValueError, match="capacity must be"):
        Producer("c", capacity=capacity)


@pytest.mark.parametrize("capacity", [None, 1.5, True, b"1"])
def test_a_capacity_of_the_wrong_type_is_refused(capacity: Any) -> None:
    with pytest.raises(TypeError, match="capacity must be"):
        Producer("c", capacity=capacity)


@pytest.mark.parametrize("number", [True, False, "1", 1.5, b"1"], ids=repr)
def test_a_count_that_is_not_an_integer_is_refused(producer: Producer, consumer: Consumer, number: Any) -> None:
    makers: dict[str, Callable[[], object]] = {
        "slots must be a number of messages": lambda: Producer("other", slots=number),
        "value must be a number of units": lambda: Semaphore("s", number),
        "parties must be a number of handles": lambda: Barrier("b", number),
        "max must be a number of messages, .* get_many": lambda: consumer.get_many(number, timeout=0),
    }
    semaphore = Semaphore()
    makers["n must be a number of units, .* acquire"] = lambda: semaphore.acquire(number)
    if isinstance(number, bool):
        makers["share_with must be"] = lambda: Producer("other", share_with=number)
    for text, make in makers.items():
        with pytest.raises(TypeError, match=rf"^{text}"):
            make()
    semaphore.close()


def test_a_count_takes_integers_of_any_type(producer: Producer, consumer: Consumer) -> None:
    int64: Any = np.int64
    producer.put_many([b"a", b"b"])
    assert consumer.get_many(int64(1)) == [b"a"]
    assert consumer.get_many(10**30) == [b"b"]
    with Producer("other", slots=int64(4)) as other:
        assert other.stats.slots == 4
    semaphore = Semaphore(value=np.uint8(2))  # type: ignore[arg-type]
    assert semaphore.acquire(int64(2))
    with pytest.raises(ValueError, match="n must be from 1 to 2147483647, not 10000000"):
        semaphore.acquire(10**30)
    semaphore.close()


def test_sizes_may_have_units() -> None:
    for text, size in (
        ("1", 4096),
        ("4097", 8192),
        ("8 KiB", 8192),
        ("0.5MiB", 1 << 19),
        ("1 MB", 1_003_520),
        ("9kb", 12288),
    ):
        with Producer("c", capacity=text) as producer:
            assert producer.stats.capacity == size


def test_invalid_options_are_refused(producer: Producer) -> None:
    options: list[dict[str, Any]] = [{"slots": 0}, {"slots": 1 << 27}, {"wait": "fast"}]
    for option in options:
        with pytest.raises(ValueError, match=str(next(iter(option.values())))):
            Producer("other", **option)
    for option in ({"wait": "fast"}, {"start": "middle"}):
        with pytest.raises(ValueError, match=next(iter(option.values()))):
            Consumer("c", **option)  # type: ignore[arg-type]


def test_a_capacity_beyond_the_space_is_refused_at_once(base: str) -> None:
    space = os.statvfs(base)
    size = space.f_blocks * space.f_frsize + (1 << 20)
    with pytest.raises(SystemRefused, match=f"channel 'c': a lane of {size} bytes: No space left") as caught:
        Producer("c", capacity=size, preallocate=True)
    assert caught.value.errno == errno.ENOSPC
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, RingError)


def test_opening_a_missing_channel_raises_channel_not_found() -> None:
    with pytest.raises(ChannelNotFound) as caught:
        Consumer("c", timeout=0.05)
    assert caught.value.filename == "c"
    assert isinstance(caught.value, FileNotFoundError)


def test_a_missing_base_directory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGIPC_DIR", "/no/such/directory")
    for make in (Producer, Consumer):
        with pytest.raises(SystemRefused, match="RINGIPC_DIR"):
            make("c")


def test_a_base_directory_that_is_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("RINGIPC_DIR", str(tmp_path / "file"))
    for make in (Producer, Consumer):
        with pytest.raises(SystemRefused, match="RINGIPC_DIR"):
            make("c")


def plant(base: str, name: str, content: bytes) -> None:
    path = directory_of(base, name) / "control"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(content)


def clear(base: str, name: str) -> None:
    path = directory_of(base, name) / "control"
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()


def good_control(base: str) -> bytes:
    with Producer("good", capacity=4096), Consumer("good"):
        return (directory_of(base, "good") / "control").read_bytes()


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 151552, b"not a channel " * 20_000])
def test_a_file_that_is_not_a_channel_is_refused(base: str, content: bytes) -> None:
    plant(base, "c", content)
    for make in (Producer, Consumer):
        with pytest.raises(Corrupt, match="channel 'c'"):
            make("c")
    clear(base, "c")


def test_a_truncated_channel_is_refused(base: str) -> None:
    good = good_control(base)
    for size in (23, 24, 4096, len(good) - 1):
        plant(base, "c", good[:size])
        with pytest.raises(Corrupt):
            Consumer("c")
        clear(base, "c")


def test_a_channel_of_another_version_is_refused_with_both_numbers(base: str) -> None:
    good = bytearray(good_control(base))
    good[8:12] = struct.pack("<I", 99)
    plant(base, "c", bytes(good))
    for make in (Producer, Consumer):
        with pytest.raises(Incompatible, match="another layout in memory"):
            make("c")
    clear(base, "c")


def test_a_symbolic_link_in_place_of_a_channel_is_refused(base: str, tmp_path: Path) -> None:
    path = directory_of(base)
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path)
    for make in (Producer, Consumer):
        with pytest.raises(SystemRefused):
            make("c")
    path.unlink()
    path.parent.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a directory")
def test_a_directory_that_another_user_made_is_refused(base: str) -> None:
    planted = Path(base, f"ringipc-{os.geteuid()}")
    planted.mkdir(mode=0o777)
    os.chown(planted, 12345, 12345)
    for kind in (Producer, Semaphore, Lock):
        with pytest.raises(SystemRefused) as caught:
            kind("c")
        assert caught.value.errno == errno.EPERM
    planted.rmdir()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_no_other_user_can_read_the_files(base: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        with Producer("c", capacity=4096) as producer, Consumer("c", shared=True) as consumer, Lock("l"):
            consumer.fileno()
            producer.put(b"")
            for where, _, names in os.walk(Path(base, f"ringipc-{os.geteuid()}")):
                assert os.stat(where).st_mode & 0o777 == 0o700
                for name in names:
                    assert os.stat(os.path.join(where, name)).st_mode & 0o777 == 0o600, name
    finally:
        os.umask(before)


def in_a_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


def test_a_limit_on_the_size_of_files_is_reported_at_once(base: str) -> None:
    said = in_a_process("""
import errno, resource, ringipc
resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
try:
    ringipc.Producer("c", capacity="8 MiB")
except ringipc.SystemRefused as error:
    print(errno.errorcode[error.errno])
with ringipc.Producer("c", capacity=4096) as producer, ringipc.Consumer("c") as consumer:
    producer.put(b"small ones work")
    print(consumer.get())
""")
    assert said == "EFBIG\nb'small ones work'\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an unprivileged user")
def test_a_directory_that_cannot_be_written_is_reported_at_once(base: str) -> None:
    os.chmod(base, 0o755)
    said = in_a_process("""
import errno, os, ringipc
os.setuid(12345)
for make in (lambda: ringipc.Producer("c"), lambda: ringipc.Lock("l"), lambda: ringipc.Channel.open("c")):
    try:
        make()
    except ringipc.RingError as error:
        print(type(error).__name__, errno.errorcode[error.errno])
""")
    assert said == "SystemRefused EACCES\nSystemRefused EACCES\nChannelNotFound ENOENT\n"


def test_a_damaged_lane_is_refused_field_by_field(base: str) -> None:
    for at, value in ((0, 0), (16, 0), (24, 1), (40, 3), (40, 0), (48, 1), (48, 1 << 60), (56, 64), (88, 3)):
        with Producer("c", capacity=4096, slots=4):
            lane = directory_of(base) / "lane-0"
            with lane.open("r+b") as file:
                file.seek(at)
                file.write(struct.pack("<Q", value))
            with pytest.raises(Corrupt):
                Consumer("c")
        ringipc.Channel.open("c").remove()


def test_damaged_descriptors_are_refused(base: str) -> None:
    place, size, bytes_kind = 4096 + 16, 4096 + 24, 1 << 48
    for at, value in ((place, bytes_kind | 8192), (place, bytes_kind | 1), (size, 1 << 40)):
        with Producer("c", capacity=4096, slots=4) as producer, Consumer("c") as consumer:
            producer.put(b"a")
            with (directory_of(base) / "lane-0").open("r+b") as file:
                file.seek(at)
                file.write(struct.pack("<Q", value))
            with pytest.raises(Corrupt, match="channel 'c'"):
                consumer.get(timeout=1)


HEADERS = [
    struct.pack("<HBBI", 0, 1, 0, 3) + struct.pack("<Q", 4) + b"<f4",
    struct.pack("<HBBI", 9, 1, 0, 3) + struct.pack("<Q", 4) + b"<f4",
    struct.pack("<HBBI", 1, 255, 0, 3) + struct.pack("<Q", 4) + b"<f4",
    struct.pack("<HBBI", 1, 1, 0, 2**32 - 1) + struct.pack("<Q", 4) + b"<f4",
    struct.pack("<HBBI", 1, 1, 0, 3) + struct.pack("<Q", 5) + b"<f4",
    struct.pack("<HBBI", 1, 1, 0, 3) + struct.pack("<Q", 2**62 + 4) + b"<f4",
    struct.pack("<HBBI", 1, 2, 0, 3) + struct.pack("<QQ", 2**33, 2**33) + b"<f4",
    struct.pack("<HBBI", 1, 2, 0, 3) + struct.pack("<QQ", 0, 2**63) + b"<f4",
    struct.pack("<HBBI", 1, 1, 0, 2) + struct.pack("<Q", 2) + b"|O",
    struct.pack("<HBBI", 1, 1, 0, 3) + struct.pack("<Q", 4) + b"wat",
    struct.pack("<HBBI", 1, 1, 0, 3) + struct.pack("<Q", 1) + b"|a4",  # NumPy accepts it with a warning
    struct.pack("<HBBI", 1, 1, 0, 3) + struct.pack("<Q", 4) + b"\xff\xfe\xfd",
    struct.pack("<HBBI", 1, 0, 0, 14) + b'["<f4",[2,2]]'.ljust(14),
    struct.pack("<HBBI", 1, 0, 0, 16) + b'{"names":["a"]}'.ljust(16),
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_damaged_array_is_refused_and_skipped(base: str, header: bytes) -> None:
    with Producer("c", capacity=4096, slots=4) as producer, Consumer("c") as consumer:
        producer.put(header.ljust(64, b"\0") + bytes(16))
        producer.put(b"next")
        with (directory_of(base) / "lane-0").open("r+b") as file:
            file.seek(4096 + 16 + 6)
            file.write(b"\x02")  # the kind of an array
        with pytest.raises(Corrupt, match=r"^channel 'c': "):
            consumer.get(timeout=1)
        assert consumer.get(timeout=1) == b"next"
        assert consumer.stats.held == 0


def test_a_message_of_unknown_kind_is_refused_and_skipped(base: str) -> None:
    with Producer("c", capacity=4096, slots=4) as producer, Consumer("c") as consumer:
        producer.put_many([b"a", b"b"])
        with (directory_of(base) / "lane-0").open("r+b") as file:
            file.seek(4096 + 16 + 6)
            file.write(b"\x63")
        with pytest.raises(Corrupt, match="unknown kind 99"):
            consumer.get(timeout=1)
        assert consumer.get_many(5, timeout=1) == [b"b"]


def test_handles_cannot_be_pickled(producer: Producer, consumer: Consumer) -> None:
    producer.put(b"a")
    with consumer.message() as message, pytest.raises(TypeError, match="payload"):
        pickle.dumps(message)
    assert not hasattr(message, "__setstate_cython__")
    for handle in (producer, consumer):
        with pytest.raises(TypeError, match="give the other process the channel's name"):
            pickle.dumps(handle)


def test_no_message_can_be_forged(producer: Producer, consumer: Consumer) -> None:
    import copy
    import pickle

    from ringipc import _core

    assert not [name for name in dir(_core) if name.startswith("__pyx_unpickle")]
    for thing in vars(_core).values():
        assert not hasattr(thing, "__setstate_cython__"), thing
    producer.put(b"a")
    with consumer.message() as message:
        for forge in (pickle.dumps, copy.copy):
            with pytest.raises(TypeError, match="a Message cannot be pickled"):
                forge(message)
    with pytest.raises(TypeError, match=r"only Consumer\.message\(\) makes"):
        Message()


def test_an_object_that_is_not_an_io_loop_is_refused(producer: Producer, consumer: Consumer) -> None:
    for handle in (producer, consumer):
        for what in (1, None, datetime.datetime_CAPI):
            with pytest.raises(TypeError, match="IoLoop"):
                handle._set_io_loop(what)  # type: ignore[arg-type]


UNOPENED = """
from ringipc import Closed, Consumer, Event, Producer
from ringipc._core import IoLoop

p, c, e = (kind.__new__(kind) for kind in (Producer, Consumer, Event))
p._link = c._link = None
for call in (
    lambda: p._declare(b"g"), lambda: p._commit(1, 1, 1), lambda: p._counts(), lambda: p._abort(),
    lambda: p._put_from([b""], 0, 0), lambda: p._begin_memory(1, 0),
    lambda: p.flush(0), lambda: p._close(False), lambda: p._begin_close(), lambda: c._counts(),
    lambda: c._begin_close(), lambda: c._close(False, True), lambda: c._notify(1, None),
    lambda: c._pick(c.get, None, None),
    lambda: e.close(), lambda: e._descriptor(), lambda: e.is_set(), lambda: repr(e), lambda: IoLoop.__new__(IoLoop),
):
    try:
        call()
    except (Closed, TypeError):
        pass
"""


def test_private_calls_on_unopened_handles_do_not_crash() -> None:
    subprocess.run([sys.executable, "-c", UNOPENED], check=True, timeout=20)


def test_every_error_is_a_ring_error_and_a_standard_one() -> None:
    standard: dict[type[Exception], tuple[type[Exception], ...]] = {
        ringipc.TimedOut: (TimeoutError,),
        ringipc.Full: (ringipc.TimedOut, TimeoutError, queue.Full),
        ringipc.Empty: (ringipc.TimedOut, TimeoutError, queue.Empty),
        ringipc.MessagesLost: (ConnectionError,),
        ringipc.EndOfStream: (EOFError,),
        ringipc.Closed: (ValueError,),
        ringipc.ProducerDied: (RuntimeError,),
        ringipc.BrokenBarrier: (threading.BrokenBarrierError,),
        ringipc.MessageTooLarge: (ValueError,),
        ringipc.GroupNotFound: (KeyError,),
        ringipc.ReservationOpen: (RuntimeError,),
        ringipc.ChannelNotFound: (FileNotFoundError,),
        ringipc.UnsafeMessage: (TypeError,),
        ringipc.SystemRefused: (OSError,),
    }
    for name in ringipc.__all__:
        thing = getattr(ringipc, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, RingError)
            assert thing.__doc__
            assert all(issubclass(thing, base) for base in standard.get(thing, ()))
    assert not issubclass(ringipc.TimedOut, (queue.Full, queue.Empty))


@pytest.mark.parametrize(
    ("name", "url"),
    [("tcp:127.0.0.1:5000", "tcp://127.0.0.1:5000"), ("unix:/run/q", "unix:///run/q"), ("fifo:/q", "fifo:///q")],
)
def test_a_name_that_looks_like_a_url_is_refused(name: str, url: str) -> None:
    for make in (Producer, Consumer):
        with pytest.raises(ValueError, match=f"^the channel '{name}' looks like a URL: write '{url}'$"):
            make(name)


async def open_in_task(channel: str) -> Consumer:
    return await Consumer.aopen(channel, timeout=0.3)


@pytest.mark.parametrize(
    "open_consumer",
    [lambda name: Consumer(name, timeout=0.3), lambda name: asyncio.run(open_in_task(name))],
    ids=["Consumer", "aopen"],
)
def test_waiting_for_a_missing_channel_is_logged_once_with_similar_names(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, base: str, open_consumer: Callable[[str], object]
) -> None:
    monkeypatch.setattr("ringipc.transports.long_wait.LOG_AFTER", 0.05)
    with Producer("camera", capacity=4096), Producer("other", capacity=4096), pytest.raises(ChannelNotFound):
        open_consumer("camra")
    with pytest.raises(ChannelNotFound):
        open_consumer("typo")
    where = f"{base}/ringipc-{os.geteuid()}"
    assert [record.getMessage() for record in caplog.records] == [
        f"waiting for a producer to create channel 'camra' in {where}, where similar names are 'camera' (is the name "
        "right, and RINGIPC_DIR the same?)",
        f"waiting for a producer to create channel 'typo' in {where} (is the name right, and RINGIPC_DIR the same?)",
    ]


@pytest.mark.parametrize("kind", ["tcp", "fifo"])
def test_waiting_for_a_peer_that_does_not_come_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, base: str, kind: str
) -> None:
    monkeypatch.setattr("ringipc.transports.long_wait.LOG_AFTER", 0.05)
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{bound.getsockname()[1]}" if kind == "tcp" else f"fifo://{base}/fifo"
        with pytest.raises(ChannelNotFound):
            Consumer(url, timeout=0.3)
    Path(f"{base}/fifo").unlink(missing_ok=True)
    what = "somebody to listen at" if kind == "tcp" else "a producer to open"
    assert [record.getMessage() for record in caplog.records] == [f"waiting for {what} {url}"]


def test_a_number_in_place_of_a_name_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"not 4; write Semaphore\(value=4\) for an anonymous one"):
        Semaphore(4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"not 4; write Barrier\(parties=4\) for an anonymous one"):
        Barrier(4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"the lock's name must be a str, not 4$"):
        Lock(4)  # type: ignore[arg-type]


def test_an_invalid_selection_is_refused_at_once(consumer: Consumer) -> None:
    for get in (consumer.get, consumer.message):
        for number in (2**40, -1, [1, 2**40]):
            with pytest.raises(OverflowError, match=r"type must be from 0 to 2\*\*32 - 1, not"):
                get(0, type=number)
        for types in ([1, "a"], 1.5):
            with pytest.raises(TypeError, match="type must be an int, several ints, or"):
                get(0, type=types)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="where must be callable, not 3"):
            get(0, where=3)  # type: ignore[arg-type]


def test_put_many_refuses_one_message_in_place_of_a_list(producer: Producer, consumer: Consumer) -> None:
    for message in ({"a": 1}, np.arange(3)):
        with pytest.raises(TypeError, match=r"put\(\) sends one dict or array"):
            producer.put_many(message)
    assert producer.stats.messages == 0


def test_a_file_descriptor_that_is_not_of_a_channel_is_refused() -> None:
    with open(os.devnull) as other:
        with pytest.raises(Corrupt, match=f"^file descriptor {other.fileno()} is not of an anonymous channel"):
            ringipc.Channel.from_fd(other.fileno())
    with pytest.raises(SystemRefused, match="file descriptor 999 is not open"):
        ringipc.Channel.open("fd:999")
    channel = ringipc.Channel.anonymous()
    channel.close()
    with pytest.raises(ringipc.Closed, match=r"^this anonymous channel is closed$"):
        channel.fileno()


def test_an_option_that_is_not_a_bool_is_refused(producer: Producer) -> None:
    for option in ("shared", "durable", "copy", "pickle"):
        with pytest.raises(TypeError, match=f"{option} must be True or False, not 'no'"):
            Consumer("c", **{option: "no"})  # type: ignore[arg-type]
    for option in ("preallocate", "pickle"):
        with pytest.raises(TypeError, match=f"{option} must be True or False, not 1"):
            Producer("c", **{option: 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="undo must be True or False, not 1"):
        Semaphore(undo=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r'^start must be "oldest" or "newest", not 3$'):
        Consumer("c", start=3)  # type: ignore[arg-type]


def test_the_channel_and_the_group_of_a_handle_are_read_only(producer: Producer, consumer: Consumer) -> None:
    for handle, attribute in ((producer, "channel"), (consumer, "channel"), (consumer, "group")):
        with pytest.raises(AttributeError):
            setattr(handle, attribute, "other")
    assert (producer.channel, consumer.channel, consumer.group) == ("c", "c", "default")


@dataclasses.dataclass
class Point:
    x: int


class Named(NamedTuple):
    x: int


class Structured(msgspec.Struct):
    x: int


class Day(datetime.date): ...


class Level(enum.IntEnum):
    HIGH = 1


class Text(str): ...


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (OrderedDict(a=1), r"'OrderedDict' object cannot be sent as it is: put dict\(\) of it, or say"),
        ([Point(1)], r"at \[0\]: 'Point' object cannot be sent as it is: put dataclasses.asdict\(\) of it, or say"),
        ([Named(1)], r"put its ._asdict\(\), or tuple\(\) of it, or say"),
        ([Structured(1)], r"put msgspec.structs.asdict\(\) of it, or say"),
        (Day(2026, 1, 2), r"put its .isoformat\(\), or say"),
        ({1}, "put a list of it, or say"),
        (Level.HIGH, "put its .value, or say"),
        (Path("a"), r"put os.fspath\(\) of it, or say"),
        (1j, r"put np.complex128\(\) of it, or say"),
        (Text("a"), r"put str\(\) of it, or say"),
        (lambda: None, "cannot be sent as it is: say pickle=True"),
    ],
    ids=str,
)
def test_a_message_that_cannot_be_sent_is_refused_with_a_conversion(
    producer: Producer, message: object, advice: str
) -> None:
    with pytest.raises(ringipc.UnsafeMessage, match=advice):
        producer.put(message)


def test_a_reservation_reports_whether_it_was_put() -> None:
    with (
        Producer("r", capacity=4096, slots=1, overflow="drop-new") as producer,
        Consumer("r") as consumer,
    ):
        puts: list[bool | None] = []
        for _ in range(2):
            reservation = producer.reserve(3)
            assert reservation.was_put is None
            with reservation as array:
                array[:] = 1
            puts.append(reservation.was_put)
        assert puts == [True, False]
        consumer.get()
        with pytest.raises(OSError), reservation:
            raise OSError
        assert reservation.was_put is False


def test_the_command_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"ringipc {ringipc.__version__}\n"
