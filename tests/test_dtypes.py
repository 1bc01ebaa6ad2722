"""Dtypes, scalars, subclasses and buffers are received with their types, or refused with advice."""

import ctypes
import gc
import re
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Start

import ringipc
from ringipc import Consumer, Producer, UnsafeMessage
from ringipc.codecs import dtypes

INNER = [("x", "f4"), ("y", "f4")]
Part = Callable[[Any], Any]
RENAMED: dict[
    str, tuple[Callable[[], np.dtype[Any]], Part]
] = {  # a dtype, and how to find its part that has fields to rename
    "flat": (lambda: np.dtype(INNER), lambda dtype: dtype),
    "nested": (lambda: np.dtype([("pose", INNER), ("t", "f8")]), lambda dtype: dtype["pose"]),
    "outer": (lambda: np.dtype([("pose", INNER), ("t", "f8")]), lambda dtype: dtype),
    "array of them": (lambda: np.dtype([("t", "f8"), ("poses", INNER, (2,))]), lambda dtype: dtype["poses"].base),
    "titled": (lambda: np.dtype([(("title", "pose"), INNER), ("t", "f8")]), lambda dtype: dtype["pose"]),
}
Wrap = Callable[[Any], Any]
ALONE_OR_NOT = pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [(lambda a: a, lambda m: m), (lambda a: {"a": a}, lambda m: m["a"])],
    ids=["alone", "in a record"],
)


# ---- dtypes, whose fields can be renamed in place ----


@ALONE_OR_NOT
@pytest.mark.parametrize("kind", RENAMED)
def test_fields_renamed_after_a_put_have_their_new_names_in_the_next(
    producer: Producer, consumer: Consumer, kind: str, wrap: Wrap, unwrap: Wrap
) -> None:
    make, part = RENAMED[kind]
    a = np.zeros(1, make())
    producer.put(wrap(a))
    part(a.dtype).names = ("u", "v")
    producer.put(wrap(a))
    first, second = unwrap(consumer.get()).dtype, unwrap(consumer.get()).dtype
    assert first == make()
    assert part(first).names != ("u", "v")
    assert part(second).names == ("u", "v")
    assert second == a.dtype


@ALONE_OR_NOT
@pytest.mark.parametrize("kind", RENAMED)
def test_renaming_the_fields_of_a_received_array_renames_nothing_else(
    producer: Producer, consumer: Consumer, kind: str, wrap: Wrap, unwrap: Wrap
) -> None:
    make, part = RENAMED[kind]
    a = np.zeros(1, make())
    with Consumer("c", group="other") as other:
        for _ in range(3):
            producer.put(wrap(a))
        before, renamed = unwrap(consumer.get()), unwrap(consumer.get())
        part(renamed.dtype).names = ("u", "v")
        assert part(renamed.dtype).names == ("u", "v")
        for got in (before, unwrap(consumer.get()), unwrap(other.get())):
            assert got.dtype == a.dtype == make()
            assert got.dtype.fields == make().fields
        del before, renamed, got


@ALONE_OR_NOT
@pytest.mark.parametrize("kind", RENAMED)
def test_the_dtype_of_forwarded_arrays_is_encoded_once(
    producer: Producer, consumer: Consumer, monkeypatch: pytest.MonkeyPatch, kind: str, wrap: Wrap, unwrap: Wrap
) -> None:
    make, part = RENAMED[kind]
    described = []
    write = dtypes._write

    def note(dtype: np.dtype[Any]) -> bytes:
        described.append(dtype)
        return write(dtype)

    monkeypatch.setattr(dtypes, "_write", note)
    others = np.zeros(1, [("other", "i4")])
    for message in (wrap(np.zeros(1, make())), wrap(others)):
        producer.put(message)
    for _ in range(8):
        producer.put(wrap(unwrap(consumer.get())))
    assert len(described) <= 4  # each dtype that was put, and the first received one of each
    renamed = unwrap(consumer.get())
    part(renamed.dtype).names = ("u", "v")
    producer.put(wrap(renamed))
    consumer.get()
    got = unwrap(consumer.get()).dtype
    assert part(got).names == ("u", "v")
    assert got == renamed.dtype
    del renamed


def test_dtypes_that_share_names_or_fields_are_kept_apart(producer: Producer, consumer: Consumer) -> None:
    dtype = np.dtype([("x", "i4"), ("t", "M8[s]")])
    names: Any = dtype.names
    alike: list[Any] = [
        dtype,
        np.dtype({"names": names, "formats": ["f4", "M8[s]"], "offsets": [0, 4]}),
        np.dtype({"names": names, "formats": ["i4", "M8[1000ms]"], "offsets": [0, 4]}),
        np.dtype({"names": names, "formats": ["i4", "M8[s]"], "offsets": [8, 0]}),
        np.dtype({"names": names, "formats": ["i4", "M8[s]"], "offsets": [0, 4], "itemsize": 32}),
        np.dtype({"names": names, "formats": ["i4", "M8[s]"], "offsets": [0, 8]}, align=True),
        np.dtype({"names": names, "formats": ["i4", "M8[s]"], "offsets": [0, 8]}),
        np.dtype({"names": names, "formats": ["i4", "M8[s]"], "offsets": [0, 4], "titles": ["title", None]}),
        np.dtype({"names": names, "formats": [[("a", "i4")], "M8[s]"], "offsets": [0, 4]}),
        np.dtype({"names": names, "formats": [[("b", "i4")], "M8[s]"], "offsets": [0, 4]}),
        np.dtype({"names": names, "formats": [("i1", 4), "M8[s]"], "offsets": [0, 4]}),
        np.dtype({"names": names, "formats": [("i1", (2, 2)), "M8[s]"], "offsets": [0, 4]}),
    ]
    assert all(other.names is names for other in alike)
    for _ in range(2):
        for wanted in alike:
            for message in (np.zeros(1, wanted), [np.zeros(1, wanted)]):
                producer.put(message)
                got = consumer.get()
                dtype = got.dtype if isinstance(got, np.ndarray) else got[0].dtype
                assert repr(dtype) == repr(wanted)
                assert dtype.fields == wanted.fields
                assert dtype.isalignedstruct == wanted.isalignedstruct
                del got


def test_additions_to_a_received_dtype_are_refused(producer: Producer, consumer: Consumer) -> None:
    a = np.zeros(1, INNER)
    producer.put(a)
    got = consumer.get()
    producer.put(got)
    for dtype in (a.dtype, got.dtype):
        for changed in (np.dtype(dtype, metadata={"unit": "mV"}), np.dtype((np.record, dtype))):
            for message in (np.zeros(1, changed), [np.zeros(1, changed)]):
                with pytest.raises(UnsafeMessage, match=r"metadata|'record'"):
                    producer.put(message)
    del got


def test_a_reserved_array_has_the_present_names_of_the_fields(producer: Producer, consumer: Consumer) -> None:
    dtype = np.dtype(INNER)
    producer.put(np.zeros(1, dtype))
    dtype.names = ("u", "v")
    with producer.reserve(1, dtype) as frame:
        frame[:] = 1
    consumer.get()
    assert consumer.get().dtype.names == ("u", "v")


def put_and_rename(count: int) -> None:
    with Producer("r", capacity="1 MiB", groups=["default"]) as producer:
        a = np.zeros(1, INNER)
        for k in range(count):
            a.dtype.names = (f"x{k}", f"y{k}")
            producer.put(a)


def test_renamed_fields_between_processes(start: Start) -> None:
    start(put_and_rename, 20)
    with Consumer("r", timeout=30) as consumer:
        for k in range(20):
            got = consumer.get(timeout=30)
            assert got.dtype.names == (f"x{k}", f"y{k}")
            got.dtype.names = ("u", "v")
        del got


def test_a_unit_is_not_replaced_by_an_equal_one(producer: Producer, consumer: Consumer) -> None:
    for unit in ("M8[1000ms]", "M8[s]", "M8[1000ms]"):
        producer.put(np.zeros(1, unit))
        producer.put([np.zeros(1, unit)])
        assert consumer.get().dtype.str == np.dtype(unit).str
        assert consumer.get()[0].dtype.str == np.dtype(unit).str


METADATA = [
    np.dtype("f4", metadata={"unit": "mV"}),
    np.dtype([("x", np.dtype("f4", metadata={"unit": "mV"}))]),
    np.dtype(INNER, metadata={"frame": "map"}),
]


@pytest.mark.parametrize("dtype", METADATA, ids=str)
def test_metadata_is_never_lost_silently(
    producer: Producer, consumer: Consumer, picklers: tuple[Producer, Consumer], dtype: np.dtype[Any]
) -> None:
    a = np.ones(2, dtype)
    bare: Any = np.zeros(2, np.dtype([(name, "f4") for name in dtype.names] if dtype.names else "f4"))
    assert bare.dtype == dtype  # NumPy ignores the difference
    producer.put(bare)
    for message in (a, [a]):
        with pytest.raises(UnsafeMessage, match=r"metadata .* put array.view\(\) .* pickle=True"):
            producer.put(message)
    producer.put(bare)
    assert consumer.get().dtype == consumer.get().dtype == bare.dtype
    for reserving in (producer, picklers[0]):
        with pytest.raises(
            UnsafeMessage, match=r"channel '.': the metadata .*: reserve an array of .*, or put an array"
        ):
            reserving.reserve(1, dtype).__enter__()
    producer, consumer = picklers
    for message in (a, [a]):
        producer.put(message)
        got = consumer.get()
        assert repr(got[0].dtype if message is not a else got.dtype) == repr(dtype)
        at = got if message is a else got[0]
        assert at.dtype.metadata == dtype.metadata
        assert not at.flags.owndata
        del got, at


def test_a_refused_reservation_says_what_can_be_reserved(
    producer: Producer, picklers: tuple[Producer, Consumer]
) -> None:
    for reserving in (producer, picklers[0]):
        for dtype, advice in (
            (np.dtype("O"), "holds Python objects: put an array of your own, with pickle=True on both sides"),
            (np.dtype((np.record, INNER)), "'void': reserve an array of a plain dtype, or put an array of your own"),
            (np.dtype([((b"title", "x"), "f4")]), "all str: reserve an array of a dtype without them, or put an"),
        ):
            with pytest.raises(UnsafeMessage, match=f"^channel '.': .*{advice}"):
                reserving.reserve(2, dtype).__enter__()


def test_a_dtype_of_another_package_needs_pickle(
    producer: Producer, consumer: Consumer, picklers: tuple[Producer, Consumer]
) -> None:
    from numpy._core._rational_tests import rational  # type: ignore[import-not-found,unused-ignore]

    dtype: np.dtype[Any] = np.dtype(rational)
    a = np.ones(3, dtype)
    for message in (a, [a], np.ones(3, np.dtype(dtype, metadata={"u": 1})), a):
        with pytest.raises(UnsafeMessage, match=r"put array.view\(\) .* pickle=True"):
            producer.put(message)
    producer.put(a.view(f"V{dtype.itemsize}"))
    assert consumer.get().view(dtype).tolist() == a.tolist()
    producer, consumer = picklers
    messages: list[Any] = [a, {"a": a}, a]
    for message in messages:
        producer.put(message)
        got = consumer.get()
        got = got["a"] if isinstance(got, dict) else got
        assert got.dtype == dtype
        assert got.tolist() == a.tolist()
        del got


ML_DTYPES = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "int4", "complex32", "bcomplex32"]


def ml_dtype(name: str) -> np.dtype[Any]:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    if not hasattr(ml_dtypes, name):
        pytest.skip(f"this version of ml_dtypes has no {name}")
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


@pytest.mark.parametrize("name", ML_DTYPES)
def test_a_dtype_of_ml_dtypes_is_kept(
    producer: Producer, consumer: Consumer, picklers: tuple[Producer, Consumer], name: str
) -> None:
    dtype = ml_dtype(name)
    a = np.arange(600).astype(np.bool_).astype(dtype).reshape(2, 300)
    fields = np.zeros(2, [("weight", dtype), ("count", "i4")])
    for sender, receiver in ((producer, consumer), picklers):
        for array in (a, a[:, ::2], np.asfortranarray(a), a[0, :3], fields):
            sender.put_many([array, {"a": array}, [array, {"more": 1}]])
            alone, inner, (other, _) = receiver.get_many(3)
            for got in (alone, inner["a"], other):
                assert got.dtype == dtype if array is not fields else got.dtype == fields.dtype
                assert got.tolist() == array.tolist()
            del alone, inner, other, got
        sender.put([a[0, 1]])
        (scalar,) = receiver.get()
        assert type(scalar) is dtype.type
        assert scalar == a[0, 1]
    with producer.reserve(4, dtype) as frame:
        frame[:] = 1
    assert consumer.get().tolist() == np.ones(4, dtype).tolist()
    with ringipc.Latest("l") as latest:
        latest.set(a)
        assert latest.get().dtype == dtype
    with pytest.raises(UnsafeMessage, match="metadata"):
        producer.put(np.ones(3, np.dtype(dtype, metadata={"u": 1})))


def read_without_ml_dtypes() -> None:
    sys.modules["ml_dtypes"] = None  # type: ignore[assignment]  # as if it were not installed
    with Consumer("weights") as consumer, Producer("errors", capacity="1 MiB") as errors:
        for get in (consumer.get, consumer.get, lambda: consumer.get_into(np.zeros(3)), consumer.get):
            try:
                errors.put(str(get()))
            except UnsafeMessage as error:
                errors.put(f"refused: {error}")


def test_a_consumer_without_ml_dtypes_says_what_it_needs(start: Start) -> None:
    array = np.ones(3, ml_dtype("bfloat16"))
    with Producer("weights", capacity="1 MiB") as producer:
        producer.put_many([array, {"a": array}, array, "next"])
        start(read_without_ml_dtypes)
        with Consumer("errors", timeout=30) as errors:
            for _ in range(3):
                assert re.match(
                    r"refused: channel 'weights': the dtype bfloat16 .* needs the package ml_dtypes \(pip install",
                    errors.get(timeout=30),
                )
            assert errors.get(timeout=30) == "next"


@pytest.mark.parametrize("code", [b"ml:float9_e9", b"ml:finfo", b"ml:uint8", b"ml:np", b"ml:"])
def test_a_name_that_ml_dtypes_does_not_have_is_refused(code: bytes) -> None:
    pytest.importorskip("ml_dtypes")
    with pytest.raises(UnsafeMessage, match=r"is not in the installed ml_dtypes"):
        dtypes.decode_dtype(code)


def test_the_type_of_elements_is_not_lost(producer: Producer, picklers: tuple[Producer, Consumer]) -> None:
    a: Any = np.zeros(2, np.dtype((np.record, [("x", "f4")])))
    with pytest.raises(UnsafeMessage, match="'record'"):
        producer.put(a)
    with pytest.raises(UnsafeMessage, match="'record'"):
        producer.put([a[0]])
    producer, consumer = picklers
    producer.put(a)
    assert consumer.get()[0].x == 0


def test_titles_that_are_not_text_are_refused(producer: Producer, picklers: tuple[Producer, Consumer]) -> None:
    dtype: Any = [((b"title", "x"), INNER)]
    a = np.zeros(1, dtype)
    with pytest.raises(UnsafeMessage, match=r"titles .* are not all str"):
        producer.put(a)
    producer, consumer = picklers
    producer.put(a)
    assert consumer.get().dtype == a.dtype


def test_a_dtype_nested_too_deeply_is_refused_at_put(producer: Producer, consumer: Consumer) -> None:
    dtype: Any = "f4"
    for _ in range(600):
        dtype = np.dtype([("x", dtype)])
    with pytest.raises(UnsafeMessage, match="nested too deeply"):
        producer.put(np.zeros(1, dtype))
    producer.put(b"next")
    assert consumer.get(timeout=0) == b"next"


# ---- scalars and subclasses ----

SCALARS = [
    np.float64(1.5),
    np.int8(-3),
    np.bool_(True),
    np.datetime64("2001-02-03"),
    np.str_("abc"),
    np.bytes_(b"abc"),
    np.complex64(1j),
    np.void(b"abc"),
    np.ones(1, INNER)[0],
]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: type(s).__name__)
def test_a_numpy_scalar_is_received_as_a_numpy_scalar(
    producer: Producer, consumer: Consumer, picklers: tuple[Producer, Consumer], scalar: Any
) -> None:
    for sender, receiver in ((producer, consumer), picklers):
        sender.put_many([scalar, [scalar]])
        got = receiver.get_many(2)
        for value in (got[0], got[1][0]):
            assert type(value) is type(scalar)
            assert value == scalar
            assert value.dtype == scalar.dtype
        del value, got


class Volts(np.ndarray[Any, Any]):
    unit = "V"

    def __array_finalize__(self, other: Any) -> None:
        self.unit = getattr(other, "unit", "V")

    def __reduce__(self) -> Any:
        reduced: Any = super().__reduce__()
        return (*reduced[:2], (reduced[2], self.unit))

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state[0])
        self.unit = state[1]


class Metres(np.float64):
    pass


def volts() -> Any:
    a: Any = np.arange(3.0).view(Volts)
    a.unit = "mV"
    return a


SUBCLASSES = [volts(), np.ones((1, 2)).view(np.matrix), np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])]


@pytest.mark.parametrize("value", SUBCLASSES, ids=lambda v: type(v).__name__)
def test_an_array_of_a_subclass_is_refused_or_keeps_its_type(
    producer: Producer, picklers: tuple[Producer, Consumer], value: Any
) -> None:
    for message in (value, {"v": value}):
        with pytest.raises(UnsafeMessage, match=f"'{type(value).__name__}' object would be received as .* pickle=True"):
            producer.put(message)
    producer, consumer = picklers
    for message in (value, {"v": value}, {"v": value, "a set": {1}}):
        producer.put(message)
        got = consumer.get()
        got = got["v"] if isinstance(got, dict) else got
        assert type(got) is type(value)
        assert np.array_equal(got, value)
        assert getattr(got, "unit", "") == getattr(value, "unit", "")


def test_a_scalar_of_a_subclass_is_refused(producer: Producer) -> None:  # NumPy pickles it as its own scalar
    for message in (Metres(2), [Metres(2)]):
        with pytest.raises(UnsafeMessage, match="'Metres' object would be received as 'float64'"):
            producer.put(message)


# ---- buffers and pointers ----


class Position(ctypes.Structure):
    _fields_ = [("Pos", ctypes.c_double), ("Z", ctypes.c_int), ("O", ctypes.c_int)]


class Name(ctypes.Structure):
    _fields_ = [("length", ctypes.c_int), ("text", ctypes.c_char_p)]


class Packed(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = Name._fields_


class Either(ctypes.Union):
    _fields_ = Name._fields_


POINTERS = [
    (ctypes.c_char_p * 1)(b"secret"),
    (ctypes.c_wchar_p * 1)("secret"),
    (ctypes.c_void_p * 2)(1, 2),
    ctypes.CFUNCTYPE(None)(),
    ctypes.pointer(Position()),
    ctypes.py_object(1),
    Name(6, b"secret"),
    Packed(6, b"secret"),
    Either(6),
    (Packed * 2)(),
    ((Either * 2) * 2)(),
    memoryview(Either(6)),
    memoryview(np.array([None])),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("pointers", POINTERS, ids=lambda p: type(p).__name__)
def test_pointers_never_cross(producer: Producer, picklers: tuple[Producer, Consumer], pointers: Any) -> None:
    for message in (pointers, [pointers]):
        with pytest.raises(UnsafeMessage, match="has pointers"):
            producer.put(message)
        if type(pointers) is not ctypes.py_object:
            with pytest.raises(UnsafeMessage, match="pointers"):
                picklers[0].put(message)


NO_POINTERS = [
    Position(1, 2, 3),
    (Position * 2)(),
    (ctypes.c_wchar * 3)("a", "b", "c"),
    memoryview(np.zeros(2, [("Pos", "f4"), ("O", "i4"), ("&z", "u1")])),  # type: ignore[arg-type]
    memoryview(np.zeros(2, "c16")),  # type: ignore[arg-type]
    memoryview(np.zeros((2, 3), "c8").T),  # type: ignore[arg-type]
]


def test_a_ctypes_class_is_searched_for_pointers_once_and_not_kept_alive(
    producer: Producer, consumer: Consumer
) -> None:
    made = []

    class Block(ctypes.Structure):
        _fields_ = [("data", ctypes.c_ubyte * 64)]

        def __new__(cls, *args: Any) -> Any:
            made.append(cls)
            return super().__new__(cls)

    class Hidden(ctypes.Structure):
        _fields_ = Name._fields_

        def __reduce__(self) -> Any:
            return Hidden, ()

    block = Block()
    made.clear()
    for _ in range(3):
        producer.put(block)
        assert consumer.get() == bytes(64)
        with pytest.raises(UnsafeMessage, match="has pointers"):
            producer.put(Hidden())
    assert len(made) <= 1
    kept = weakref.ref(Block)
    del block, Block
    made.clear()
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("data", NO_POINTERS, ids=lambda d: type(d).__name__)
def test_field_names_are_not_mistaken_for_pointers(producer: Producer, consumer: Consumer, data: Any) -> None:
    producer.put(data)
    assert consumer.get() == memoryview(data).tobytes()
    producer.put([data])
    assert consumer.get() == [memoryview(data).tobytes()]


class Broken:
    def __dlpack__(self, **options: Any) -> Any:
        raise KeyError("device")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def test_a_tensor_that_does_not_become_an_array_is_refused(
    producer: Producer, picklers: tuple[Producer, Consumer]
) -> None:
    with pytest.raises(UnsafeMessage, match=r"'Broken' object .*: 'device'; move it to the CPU"):
        producer.put(Broken())
    with pytest.raises(UnsafeMessage, match=r"at \['t'\]: this .* does not give an array in CPU memory: 'device'"):
        producer.put({"t": Broken()})
    producer, consumer = picklers
    producer.put(Broken())
    assert type(consumer.get()) is Broken


NO_MEMORY = """
import _testcapi, ringipc
producer = ringipc.Producer("m", capacity="1 MiB"); consumer = ringipc.Consumer("m")
view = memoryview(bytes(range(200)) * 100)[::2]
expected = view.tobytes()
for _ in range(20):  # so that one-time allocations are done
    producer.put(view)
    consumer.get()
failed = went_in = 0
for after in range(30):
    _testcapi.set_nomemory(after, after + 1)
    try:
        producer.put(view)
        went_in += 1
    except MemoryError:
        failed += 1
    finally:
        _testcapi.remove_mem_hooks()
producer.close()
got = list(consumer)
assert got == [expected] * went_in, "something else came out"
assert failed, "nothing failed"
"""


def test_a_strided_buffer_is_put_whole_or_not_at_all_without_memory(base: str) -> None:
    pytest.importorskip("_testcapi")
    done = subprocess.run([sys.executable, "-c", NO_MEMORY], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
