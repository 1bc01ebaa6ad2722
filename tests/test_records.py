"""Records and objects are received as they were put, arrays as views, and pickle only if both sides allow it."""

import array
import collections
import contextlib
import dataclasses
import datetime
import enum
import fractions
import importlib.metadata
import inspect
import mmap
import re
import struct
import zoneinfo
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import msgspec
import numpy as np
import pytest
from conftest import Start, called_deep
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringipc import Consumer, Corrupt, Message, MessageTooLarge, Producer, SystemRefused, UnsafeMessage, codecs
from ringipc.codecs import multipart, pickled
from ringipc.codecs.record import KIND as RECORD_KIND

ARRAY_KIND = 2  # RIP_ARRAY in csrc/ringipc.h

OFFSETS = st.none() | st.integers(-1439, 1439).map(lambda m: datetime.timezone(datetime.timedelta(minutes=m)))
ZONED: st.SearchStrategy[Any] = st.datetimes(timezones=OFFSETS) | st.times(timezones=OFFSETS)
TIMES = st.dates() | st.timedeltas() | ZONED.map(lambda time: time.replace(fold=0))
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary() | TIMES
KEYS = st.text() | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.none() | st.binary()
ARRAYS = hnp.arrays(hnp.scalar_dtypes() | hnp.array_dtypes(), hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
RECORDS = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Whether both are equal and of the same types; nan equals itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool(a.tobytes() == b.tobytes())
    if isinstance(a, dict):
        return list(map(type, a)) == list(map(type, b)) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (datetime.date, datetime.time)):  # equal ones can have different offsets
        return repr(a) == repr(b)
    return struct.pack("<d", a) == struct.pack("<d", b) if isinstance(a, float) else bool(a == b)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=RECORDS.filter(lambda r: not isinstance(r, (np.ndarray, bytes))))
def test_any_record_is_received_unchanged(producer: Producer, consumer: Consumer, record: Any) -> None:
    producer.put(record)
    assert same(consumer.get(timeout=0), record)


def test_the_arrays_of_a_record_are_aligned_views_that_keep_its_memory(producer: Producer, consumer: Consumer) -> None:
    record: dict[str, Any] = {
        "frame": np.arange(12, dtype="u1").reshape(3, 4),
        "points": [np.ones((5, 3), "f4"), (np.float64(2.5), np.datetime64("2026-01-02"))],
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "every second": np.arange(10)[::2],
        "swapped": np.arange(3, dtype=">i2"),
        "many": np.zeros((100_000,), "u1"),
    }
    producer.put(record)
    got = consumer.get()
    assert same(got["frame"], record["frame"])
    assert got["points"][1] == record["points"][1]
    assert type(got["points"][1][0]) is np.float64
    assert got["columns"].flags.f_contiguous
    for name in ("frame", "columns", "every second", "swapped", "many"):
        view = got[name]
        assert np.array_equal(view, record[name])
        assert view.__array_interface__["data"][0] % 64 == 0
        assert not view.flags.writeable
    del view, got["frame"], got["points"], got["columns"], got["every second"], got["swapped"]
    assert consumer.stats.held == 1
    assert producer.stats.backlog == 1
    got.clear()
    assert producer.stats.backlog == 0


def test_a_record_without_arrays_is_released_at_once(producer: Producer, consumer: Consumer) -> None:
    producer.put({"a": 1})
    assert consumer.get() == {"a": 1}
    assert producer.stats.backlog == 0


def test_times_are_received_alone_and_beside_arrays(producer: Producer, consumer: Consumer) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    for time in (moment, moment.date(), moment.time(), moment.replace(tzinfo=None), datetime.timedelta(1, 2, 3)):
        producer.put(time)
        producer.put({"time": time, "frame": np.zeros(2), "pair": (time, 1)})
        assert same(consumer.get(timeout=0), time)
        record = consumer.get(timeout=0)
        assert same(record["time"], time)
        assert same(record["pair"], (time, 1))
        del record


class Detection(msgspec.Struct):
    label: str
    box: np.ndarray[Any, Any]


@dataclasses.dataclass
class Scene:
    taken: datetime.datetime
    detections: list[Detection]


def test_the_fields_of_own_classes_become_their_objects_again_without_a_copy(
    producer: Producer, consumer: Consumer
) -> None:
    taken = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    scene = Scene(taken, [Detection("cat", np.arange(4.0))])
    producer.put({**vars(scene), "detections": [msgspec.structs.asdict(one) for one in scene.detections]})
    record = consumer.get(timeout=0)
    got = msgspec.convert(record, Scene)
    assert got.taken == taken
    assert got.detections[0].label == "cat"
    assert got.detections[0].box is record["detections"][0]["box"]
    producer.put(Point(1, np.arange(3))._asdict())
    assert Point(**consumer.get(timeout=0)).y.tolist() == [0, 1, 2]


def test_copy_applies_to_the_arrays_of_records(producer: Producer) -> None:
    with Consumer("c", copy=True) as consumer:
        producer.put([np.arange(3)])
        (copied,) = consumer.get()
        assert copied.flags.writeable
        assert producer.stats.backlog == 0


BUFFERS: list[Any] = [bytearray(b"ab"), memoryview(b"abcd")[::2], array.array("h", [1, 2]), memoryview(b"")]


def test_buffers_are_received_as_bytes_alone_and_in_a_record(producer: Producer, consumer: Consumer) -> None:
    expected = [bytes(memoryview(buffer)) for buffer in BUFFERS]
    producer.put(BUFFERS)
    assert consumer.get() == expected
    producer.put_many(BUFFERS)
    assert consumer.get_many(9) == expected


def test_with_pickle_buffers_keep_their_type_alone_and_in_a_record(
    picklers: tuple[Producer, Consumer],
) -> None:
    producer, consumer = picklers
    expected = [bytes(buffer) if type(buffer) is memoryview else buffer for buffer in BUFFERS]
    producer.put(BUFFERS)
    producer.put([*BUFFERS, {1}])
    producer.put_many(BUFFERS)
    for got in (consumer.get(), consumer.get()[:-1], consumer.get_many(9)):
        assert got == expected
        assert list(map(type, got)) == [bytearray, bytes, array.array, bytes]


Point = collections.namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 1


class LeapSecond(datetime.datetime): ...


def cycle() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    "record",
    [
        [Point(1, 2)],
        {"a": collections.OrderedDict()},
        [Colour.RED],
        [datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))],
        [datetime.datetime(2026, 1, 1, fold=1)],
        [datetime.time(12, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "CET"))],
        [LeapSecond(2026, 1, 1)],
        [{1}],
        [fractions.Fraction(1, 2)],
        {(1, 2): 3},
        [1 << 64],
        [np.array([None])],
        [np.ma.masked_array([1], [True])],
        cycle(),
    ],
    ids=lambda r: repr(r)[:30],
)
def test_values_that_would_change_on_the_way_are_refused(producer: Producer, consumer: Consumer, record: Any) -> None:
    with pytest.raises(UnsafeMessage):
        producer.put(record)
    producer.put(b"next")
    assert consumer.get(timeout=0) == b"next"


class Plot:
    def __array__(self) -> None: ...


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (
            {"pose": [1, 2, object()]},
            r"at \['pose'\]\[2\]: 'object' object cannot be sent as it is: say pickle=True on both sides",
        ),
        ({"dets": [(1, {"when": {3}})]}, r"at \['dets'\]\[0\]\[1\]\['when'\]: 'set' object"),
        ([0, {"a": 1 << 64}], r"at \[1\]\['a'\]: an int must lie between -2\*\*63 and 2\*\*64 - 1: say pickle=True"),
        ([{"a": 0, 1 << 64: 1}], r"at \[0\]: an int must lie"),
        (1 << 64, "^channel 'c': an int must lie"),
        ((1, "\udce9"), r"at \[1\]: the str '\\udce9' has surrogates.* os.fsencode\(\)"),
        ("\udce9", "^channel 'c': the str"),
        ({"\udce9": 1}, "^channel 'c': the str"),
        ({"x": {(1, 2): 3}}, r"at \['x'\]: the key \(1, 2\) is not None"),
        ({"a": np.array([None])}, r"at \['a'\]: an array of dtype object"),
        (
            [Plot()],
            r"at \[0\]: 'Plot' object cannot be sent as it is: put np.asarray\(\) of it, or say",
        ),
        (
            Plot(),
            r"^channel 'c': 'Plot' object cannot be sent as it is: put np.asarray\(\) of it, or say",
        ),
        (
            {"when": datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))},
            r"at \['when'\]: the time zone or fold of .*Berlin.* put its .astimezone\(datetime.timezone.utc\)",
        ),
        (object(), r"^channel 'c': 'object' object cannot be sent as it is: say pickle=True on both sides"),
    ],
    ids=lambda r: repr(r)[:30],
)
def test_a_refusal_says_where_the_value_is_and_what_to_do(producer: Producer, record: Any, text: str) -> None:
    with pytest.raises(UnsafeMessage, match=text):
        producer.put(record)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (np.ma.masked_array([1], [True]), "the mask"),
        (np.array([None]), "an array of dtype object"),
        (object(), "'object' object"),
        ([object()], r"at \[0\]: 'object' object"),
        (cycle(), r"at \[0\].*: dicts, lists and tuples are nested more than 100"),
    ],
    ids=lambda r: repr(r)[:30],
)
def test_a_refusal_names_the_channel(producer: Producer, message: Any, text: str) -> None:
    with pytest.raises(UnsafeMessage, match=rf"^channel 'c': {text}"):
        producer.put(message)


def test_errors_of_pickle_name_the_channel(picklers: tuple[Producer, Consumer]) -> None:
    producer, consumer = picklers
    with pytest.raises(UnsafeMessage, match=r"^channel 'p': 'function' object cannot be pickled"):
        producer.put(lambda: None)
    for kind, data in (pickled.KIND, b"?"), (pickled.KIND_OF_PARTS, struct.pack("<QQ", 1, 0) + b"?"):
        Parts(producer).put(kind, data)
        with pytest.raises(Corrupt, match=r"^channel 'p': malformed object"):
            consumer.get()


def test_bytes_of_4_gib_in_a_record_are_refused() -> None:
    zeros = bytes(1 << 32)  # zero pages take no memory until they are read
    with Producer("p", max_message="1 GiB") as producer:
        with pytest.raises(UnsafeMessage, match=r"at \[0\]: bytes of 4 GiB or more: put memoryview\(\)"):
            producer.put([zeros])
        with pytest.raises(MessageTooLarge):
            producer.put([memoryview(zeros)])


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS: list[Callable[[Any], Any]] = [lambda v: (v,), lambda v: [v], lambda v: {"a": v}, lambda v: [(v, {"a": v})]]


@pytest.mark.parametrize("wrap", WRAPS[:3], ids=["tuple", "list", "dict"])
def test_get_can_read_what_put_accepts_at_any_depth(
    producer: Producer, consumer: Consumer, wrap: Callable[[Any], Any]
) -> None:
    for depth in (1, 99, 100):
        producer.put(nested(depth, wrap))
        assert repr(consumer.get(timeout=0)) == repr(nested(depth, wrap))
    producer.put(nested(100, wrap))
    frames = len(inspect.stack())
    got = called_deep(lambda: consumer.get(timeout=0), 850 - frames)  # Python allows 1000 frames
    assert repr(got) == repr(nested(100, wrap))
    for depth in (101, 332, 400, 498, 900, 10_000):
        with pytest.raises(UnsafeMessage, match="nested more than 100 deep"):
            producer.put(nested(depth, wrap))
    with pytest.raises(UnsafeMessage, match=r"the rest of this thread's stack: flatten it, .*setrecursionlimit"):
        called_deep(lambda: producer.put(nested(90, wrap)), 900 - frames)
    producer.put(b"next")
    assert consumer.get(timeout=0) == b"next"


def test_too_little_stack_is_not_reported_as_damage(producer: Producer, consumer: Consumer) -> None:
    producer.put(nested(100, lambda v: [v]))
    with pytest.raises(RecursionError):
        called_deep(lambda: consumer.get(timeout=0), 930 - len(inspect.stack()))


def test_tuples_of_tuples_are_received_unchanged(producer: Producer, consumer: Consumer) -> None:
    record = ((), (1, (2, [(), ({"a": (3,)},)]), (np.float32(1), b"x")), {"b": ((4,), (4,))})
    producer.put(record)
    got = consumer.get()
    assert repr(got) == repr(record)


def test_an_array_that_is_larger_than_memory_is_refused_before_it_is_copied(
    producer: Producer, consumer: Consumer, picklers: tuple[Producer, Consumer]
) -> None:
    large: Any = np.broadcast_to(np.float64(1), 1 << 36)  # half a TiB
    endless: Any = np.broadcast_to(np.float64(1), (1 << 60) - 1)
    messages: list[Any] = [large, {"a": large}, [memoryview(large)], (1, [large] * 5), [endless] * 2, [endless] * 5]
    for sender in (producer, picklers[0]):
        for message in messages:
            with pytest.raises((MessageTooLarge, SystemRefused), match=r"longer than|memory for a message of"):
                sender.put(message)
    producer.put(b"next")
    assert consumer.get(timeout=0) == b"next"


def test_msgspec_comes_with_the_package() -> None:
    assert any(re.match(r"msgspec\b(?!.*extra)", text) for text in importlib.metadata.requires("ringipc") or ())


def test_records_work_with_every_call(producer: Producer, consumer: Consumer) -> None:
    producer.put_many([{"k": k, "a": np.full(3, k)} for k in range(6)], type=4)
    assert consumer.get(type=4)["k"] == 0
    assert consumer.get(where=lambda m: m.payload["k"] == 3)["a"].tolist() == [3, 3, 3]
    with consumer.message() as message:
        assert message.payload["k"] == 1
    assert [record["k"] for record in consumer.get_many(9)] == [2, 4, 5]
    producer.put("text")
    assert consumer.latest() == "text"
    assert producer.stats.backlog == 0


# ---- objects ----


class Frame:
    def __init__(self, image: np.ndarray[Any, Any], name: str) -> None:
        self.image = image
        self.name = name


def test_arrays_of_pickled_objects_are_views_of_the_ring(picklers: tuple[Producer, Consumer]) -> None:
    producer, consumer = picklers
    producer.put(Frame(np.arange(1000.0), "a"))
    frame = consumer.get()
    assert frame.name == "a"
    assert np.array_equal(frame.image, np.arange(1000.0))
    assert not frame.image.flags.writeable
    assert frame.image.__array_interface__["data"][0] % 64 == 0
    assert producer.stats.backlog == 1
    del frame
    assert producer.stats.backlog == 0
    values: list[Any] = [
        Point(1, 2),
        {1, 2},
        [1 << 70],
        np.array([None, 1], dtype=object),
        Colour.RED,
        datetime.date(2026, 1, 2),
    ]
    for value in values:
        producer.put(value)
        got = consumer.get(timeout=0)
        assert type(got) is type(value)
        assert np.array_equal(got, value) if isinstance(value, np.ndarray) else got == value
    producer.put(np.ma.masked_array([1, 2], [True, False]))
    assert consumer.get(timeout=0).mask.tolist() == [True, False]
    producer.put({"a": np.arange(3)})
    assert consumer.message(timeout=0).payload["a"].tolist() == [0, 1, 2]
    with pytest.raises(UnsafeMessage, match="cannot be pickled"):
        producer.put(lambda: None)


STRANGE: list[Any] = [
    "\udce9",
    1 << 64,
    -(1 << 70),
    ["\udce9", {"\udce9": 1 << 64}],
    {(1, 2): 3},
    collections.OrderedDict(a=1),
    nested(300, lambda v: (v,)),
    np.dtype([("a", "f4")]),
]


@pytest.mark.parametrize("value", STRANGE, ids=lambda v: repr(v)[:30])
def test_any_value_that_pickle_accepts_is_received(picklers: tuple[Producer, Consumer], value: Any) -> None:
    producer, consumer = picklers
    for message in (value, {"a": value}, [value, {1}]):
        producer.put(message)
        got = consumer.get(timeout=0)
        assert type(got) is type(message)
        assert repr(got) == repr(message)


def test_shared_references_stay_shared_and_are_sent_once(picklers: tuple[Producer, Consumer]) -> None:
    producer, consumer = picklers
    doubled: Any = [0]
    for _ in range(200):
        doubled = [doubled, doubled]
    producer.put(doubled)
    got = consumer.get()
    assert got[0] is got[1]
    assert got[0][0] is got[1][1]
    image = np.arange(10_000)
    before = producer.stats.bytes
    producer.put({"a": image, "b": [image, image], "c": (image[::2],)})
    assert producer.stats.bytes - before < 2 * image.nbytes
    got = consumer.get()
    assert got["a"] is got["b"][0] is got["b"][1]
    assert np.array_equal(got["a"], image)
    del got
    circle: Any = {"text": "round"}
    circle["again"] = [circle]
    producer.put(circle)
    got = consumer.get()
    assert got["again"][0] is got
    del got["again"]


ANY_ORDER: list[Any] = [
    np.arange(12).reshape(3, 4),
    np.asfortranarray(np.arange(12).reshape(3, 4)),
    np.arange(12).reshape(3, 4)[::2, ::-1],
    np.broadcast_to(np.float32(2), (3, 4)),
    np.arange(3).astype("M8[s]"),
    np.array(["a", "bc"]),
    np.array(5),
    np.zeros((0, 3)),
    np.arange(4).astype(">i2"),
    np.zeros(2, [("x", "f4"), ("y", "i8")])[["y"]],
]


@pytest.mark.parametrize("array", ANY_ORDER, ids=lambda a: f"{a.dtype}{a.shape}")
def test_the_arrays_of_objects_are_views_whatever_their_order(picklers: tuple[Producer, Consumer], array: Any) -> None:
    producer, consumer = picklers
    producer.put([{1}, array])
    got = consumer.get()[1]
    assert same(got, array)
    assert got.flags.f_contiguous == (array.flags.f_contiguous or array.size < 2)
    assert not got.flags.owndata
    assert not got.flags.writeable
    assert got.__array_interface__["data"][0] % 64 == 0
    assert consumer.stats.held == 1
    del got
    assert consumer.stats.held == 0
    with Consumer("p", group="copies", start="oldest", pickle=True, copy=True) as copies:
        producer.put([{1}, array])
        assert copies.get()[1].flags.writeable


def test_a_consumer_that_does_not_unpickle_reads_bytes_and_arrays_only(picklers: tuple[Producer, Consumer]) -> None:
    producer, _ = picklers
    with Consumer("p", group="careful") as careful:
        producer.put_many([b"a", np.arange(3), memoryview(b"b"), {"a": 1}, 1, bytearray(b"c")])
        assert careful.get() == b"a"
        assert careful.get().tolist() == [0, 1, 2]
        assert careful.get() == b"b"
        for _ in range(3):
            with pytest.raises(UnsafeMessage, match="is a pickled object; open the consumer with pickle=True if"):
                careful.get()


class Refuses:
    def __reduce__(self) -> Any:
        raise KeyError("no")


def test_any_error_in_pickling_is_reported_as_a_refusal(picklers: tuple[Producer, Consumer]) -> None:
    producer, _ = picklers
    with pytest.raises(UnsafeMessage, match="'Refuses' object cannot be pickled: 'no'"):
        producer.put(Refuses())
    with pytest.raises(UnsafeMessage, match=r"nested too deeply to be pickled: flatten it, .*setrecursionlimit"):
        producer.put(nested(10_000, lambda v: [v]))
    with mmap.mmap(-1, 10) as mapped, pytest.raises(UnsafeMessage, match=r"put np.asarray\(\) or memoryview\(\) of it"):
        producer.put(mapped)


def test_copied_objects_can_be_written_to(picklers: tuple[Producer, Consumer]) -> None:
    producer, _ = picklers
    with Consumer("p", group="copies", pickle=True, copy=True) as consumer:
        producer.put(Frame(np.zeros(3), ""))
        consumer.get().image[:] = 1


def test_an_object_needs_the_consent_of_both_sides() -> None:
    with Producer("c", capacity="1 MiB", pickle=True) as producer, Consumer("c") as consumer:
        producer.put_many([b"before", Frame(np.zeros(1), ""), b"after"])
        assert consumer.get_many(9) == [b"before"]
        with pytest.raises(UnsafeMessage, match="pickle=True if you trust"):
            consumer.get(timeout=0)
        assert consumer.get(timeout=0) == b"after"  # the unreadable message was skipped
    with Producer("c", capacity="1 MiB") as producer, Consumer("c", pickle=True):
        with pytest.raises(UnsafeMessage, match="pickle=True"):
            producer.put(Frame(np.zeros(1), ""))


# ---- another kind of message ----


class Fractions:
    """A codec, as the modules of ringipc.codecs define it."""

    KINDS = (6,)
    TYPES: frozenset[type] = frozenset({fractions.Fraction})

    def encode(self, message: fractions.Fraction) -> multipart.Parts:
        return multipart.join(6, str(message).encode(), [])

    def decode(self, kind: int, message: memoryview, copy: bool, tensors: bool) -> fractions.Fraction:
        return fractions.Fraction(bytes(multipart.split(message)[0]).decode())


def test_a_kind_of_message_is_added_by_a_codec_in_the_table(
    producer: Producer, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = fractions.Fraction(1, 2)
    with pytest.raises(UnsafeMessage):
        producer.put(half)
    monkeypatch.setattr(codecs, "CODECS", (*codecs.CODECS, Fractions()))
    monkeypatch.setattr(codecs, "_BY_KIND", {kind: codec for codec in codecs.CODECS for kind in codec.KINDS})
    monkeypatch.setattr(codecs, "_BY_TYPE", {type: codec for codec in codecs.CODECS for type in codec.TYPES})
    producer.put(half)
    assert consumer.get(timeout=0) == half


# ---- damage ----


class Parts:
    """A producer that writes any bytes as a message of any kind."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    def put(self, kind: int, data: bytes) -> None:
        from ringipc.codecs.multipart import Parts

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ringipc.codecs.encode", lambda message, pickle: Parts(kind, data, []))
            self.producer.put(memoryview(b""))  # encoded by that function also with pickle=True


HEAD = struct.pack("<QQQ", 1, 1, 8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<QQ", 9, 0),
        struct.pack("<QQ", 0, 1 << 61),
        struct.pack("<QQQ", 0, 1, 1 << 60),
        HEAD + b"\xc0",
        struct.pack("<QQ", 1, 0) + b"\xc0" + b"more",
        struct.pack("<QQ", 1, 0) + b"\xc1",
        struct.pack("<QQ", 3, 0) + b"\xd4\x09\x00",
        struct.pack("<QQ", 3, 0) + b"\xd4\x01\x00",
        struct.pack("<QQ", 3, 0) + b"\xd4\x03\x00",
        struct.pack("<QQ", 3, 0) + b"\xd4\x04\x00",
        struct.pack("<QQ", 2, 0) + b"\xc1\x90",
        struct.pack("<QQ", 6, 0) + b"\xc1\x92\xc4\x01\x05\xc0",
        struct.pack("<QQ", 9, 0) + b"\xc1\x92\xc4\x01\x05\xc4\x01\x05\xc0"[:9],
        struct.pack("<QQ", 10, 0) + b"\xc1\x92\xc4\x01\x90\xc4\x03\xd4\x03\x07",
    ],
    ids=lambda d: d.hex()[:40],
)
def test_a_malformed_record_is_reported_as_damage(producer: Producer, consumer: Consumer, data: bytes) -> None:
    Parts(producer).put(RECORD_KIND, data)
    with pytest.raises(Corrupt, match=r"^channel 'c': "):
        consumer.get(timeout=0)
    producer.put([1])
    assert consumer.get(timeout=0) == [1]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_record_is_at_most_an_error(producer: Producer, consumer: Consumer, data: Any) -> None:
    from ringipc.codecs.record import encode

    times = [datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), datetime.time(3), datetime.timedelta(4)]
    values = [{"a": (1, ("text",), b"bytes")}, np.arange(4), np.float32(1), (np.zeros((2, 2)),), bytearray(9), times]
    parts = encode(values)
    raw = bytearray(parts.head)
    for block in parts.blocks:
        raw += bytes(-len(raw) % 64) + block.tobytes()
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(parts.head) - 1))] = data.draw(st.integers(0, 255))
    Parts(producer).put(RECORD_KIND, bytes(raw))
    with contextlib.suppress(Corrupt):
        consumer.get(timeout=0)
    assert consumer.stats.held == 0


def test_an_array_without_a_header_is_damage_after_one_with_a_long_one(producer: Producer, consumer: Consumer) -> None:
    fields = np.dtype([(f"a field with a long name, {i}", "i4") for i in range(4)])
    for _ in range(2):
        producer.put(np.zeros(2, fields))
        assert consumer.get(timeout=0).dtype == fields
        Parts(producer).put(ARRAY_KIND, b"")
        with pytest.raises(Corrupt):
            consumer.get(timeout=0)


# ---- DLPack ----


class Tensor:
    """The interface of a tensor of another library."""

    def __init__(self, array: np.ndarray[Any, Any], device: tuple[int, int] = (1, 0)) -> None:
        self.array = array
        self.device = device

    def __dlpack__(self, **options: Any) -> Any:
        if self.device[0] != 1:
            raise BufferError("not in CPU memory")
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def test_a_tensor_is_put_as_an_array(producer: Producer, consumer: Consumer) -> None:
    producer.put(Tensor(np.arange(6.0).reshape(2, 3)))
    assert consumer.get().tolist() == [[0, 1, 2], [3, 4, 5]]
    producer.put({"weights": Tensor(np.arange(6)[::2])})
    assert consumer.get()["weights"].tolist() == [0, 2, 4]
    with pytest.raises(UnsafeMessage, match="CPU memory"):
        producer.put(Tensor(np.zeros(1), device=(2, 0)))


def test_a_view_is_passed_to_other_libraries_without_a_copy(producer: Producer, consumer: Consumer) -> None:
    producer.put(np.arange(100.0))
    view = consumer.get()
    assert memoryview(view).readonly
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":  # older versions of NumPy do not export read-only arrays
        again = np.from_dlpack(view)
        assert again.__array_interface__["data"] == view.__array_interface__["data"]
        del view
        assert producer.stats.backlog == 1
        del again
    else:
        del view
    assert producer.stats.backlog == 0


class TensorWithBuffer(Tensor):
    def __buffer__(self, flags: int) -> memoryview:
        array: Any = self.array
        return memoryview(array)


def test_a_tensor_with_a_buffer_keeps_its_shape(producer: Producer, consumer: Consumer) -> None:
    producer.put(TensorWithBuffer(np.arange(6.0).reshape(2, 3)))
    assert consumer.get().shape == (2, 3)


def test_jax_arrays_are_put_and_got(producer: Producer, consumer: Consumer) -> None:
    jnp = pytest.importorskip("jax.numpy")
    producer.put({"weights": jnp.arange(6.0).reshape(2, 3)})
    producer.put(jnp.arange(3))
    assert jnp.asarray(consumer.get()["weights"]).sum() == 15
    assert jnp.asarray(consumer.get()).tolist() == [0, 1, 2]


def test_arrow_buffers_and_arrays_are_put_and_got(producer: Producer, consumer: Consumer) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    producer.put(pyarrow.py_buffer(b"arrow"))
    assert consumer.get() == b"arrow"
    producer.put(pyarrow.array([1, 2, 3]))
    assert pyarrow.array(consumer.get()).to_pylist() == [1, 2, 3]


def send(count: int) -> None:
    with Producer("r", capacity="1 MiB", slots=16, pickle=True) as producer:
        for k in range(count):
            producer.put({"k": k, "a": np.full(k % 50, k), "t": (k, str(k))}, timeout=30)
            producer.put(Frame(np.full(10, k), str(k)), timeout=30)


def test_records_and_objects_pass_between_processes(start: Start) -> None:
    start(send, 500)
    with Consumer("r", pickle=True, timeout=30) as consumer:
        for k in range(500):
            record: Any = consumer.get(timeout=30)
            assert record["k"] == k
            assert record["t"] == (k, str(k))
            assert record["a"].tolist() == [k] * (k % 50)
            frame: Any = consumer.get(timeout=30)
            assert (frame.name, frame.image.tolist()) == (str(k), [k] * 10)
        del record, frame


def test_a_message_of_unknown_kind_is_reported_as_damage(producer: Producer, consumer: Consumer) -> None:
    Parts(producer).put(9, b"data")
    message: Message = consumer.message()
    with pytest.raises(Corrupt, match="unknown kind 9"):
        message.payload  # noqa: B018
    message.release()
