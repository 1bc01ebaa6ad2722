"""Tensors of torch go in and come out with their dtype, and can be written to."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import Start

from ringipc import Consumer, Producer, UnsafeMessage

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")

NUMPY_DTYPES = ["bool", "uint8", "uint16", "int64", "float16", "float32", "complex64"]
OTHER_DTYPES = [
    "bfloat16",
    "complex32",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
]


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def bits(tensor: Any) -> Any:
    """The elements of a tensor, as an array of their bytes."""
    import torch

    return tensor.flatten().contiguous().view(torch.uint8).numpy() if tensor.numel() else np.empty(0, "u1")


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and np.array_equal(bits(a), bits(b))


def tensor_of(torch: Any, name: str) -> Any:
    if not hasattr(torch, name):
        pytest.skip(f"this version of torch has no {name}")
    numbers = np.random.default_rng(1).integers(0, 2, 4 * 6 * 16, "u1")
    dtype = getattr(torch, name)
    return torch.from_numpy(numbers)[: 4 * 6 * dtype.itemsize].view(dtype).reshape(4, 6)


@pytest.mark.parametrize("name", NUMPY_DTYPES + OTHER_DTYPES)
@pytest.mark.parametrize("copy", [None, True, False])
def test_a_tensor_is_received_with_its_dtype(torch: Any, producer: Producer, name: str, copy: bool | None) -> None:
    whole = tensor_of(torch, name)
    with Consumer("c", arrays="torch", copy=copy) as consumer:
        for tensor in (whole, whole[::2, 1:4], whole.T, whole[0], whole[0, 0], whole[:0]):
            producer.put(tensor)
            producer.put({"a": tensor, "b": ([tensor], 1)})
            got, record = consumer.get(timeout=0), consumer.get(timeout=0)
            assert same(got, tensor)
            assert same(record["a"], tensor)
            assert same(record["b"][0][0], tensor)
            assert got.t().is_contiguous() == tensor.t().is_contiguous()
            if copy is not False:
                got.copy_(tensor)  # in shared memory, this would crash
                record["a"].copy_(tensor)
            del got, record
        assert consumer.stats.held == 0


def test_tensors_without_a_copy_keep_their_message(torch: Any, producer: Producer) -> None:
    with Consumer("c", arrays="torch", copy=False) as consumer:
        for message in (torch.arange(100.0), torch.arange(100.0, dtype=torch.bfloat16), [torch.arange(100.0)]):
            producer.put(message)
            got = consumer.get(timeout=0)
            tensor = got[0] if isinstance(got, list) else got
            assert tensor.data_ptr() % 64 == 0
            part = tensor[3:5]
            del got, tensor
            assert producer.stats.backlog == 1
            assert part.tolist() == [3, 4]
            del part
            assert producer.stats.backlog == 0


def test_tensors_come_out_of_every_call(torch: Any, producer: Producer) -> None:
    with Consumer("c", arrays="torch") as consumer:
        frames = [torch.full((2, 300), k, dtype=torch.bfloat16) for k in range(8)]
        producer.put_many([*frames, np.float32(2), b"bytes"])
        assert same(consumer.get(where=lambda m: m.payload[0, 0] == 1), frames[1])
        with consumer.message() as message:
            assert same(message.payload, frames[0])
        assert all(map(same, consumer.get_many(2), frames[2:4]))
        batch = consumer.get_many(4, stack=True)
        assert same(batch, torch.stack(frames[4:]))
        batch += 1
        assert consumer.get_many(2) == [np.float32(2), b"bytes"]
        producer.put_many(frames[:2])
        assert same(consumer.latest(), frames[1])
        producer.close()
        assert list(consumer) == []


def test_arrays_that_torch_cannot_have_stay_arrays(torch: Any, producer: Producer) -> None:
    arrays: list[Any] = [
        np.array(["text"]),
        np.array(["2026-01-02"], "M8[s]"),
        np.zeros(2, [("x", "f4")]),
        np.zeros(3, ">f4"),
    ]
    with Consumer("c", arrays="torch") as consumer:
        producer.put_many(arrays)
        producer.put([*arrays, np.arange(3)])
        for got in (consumer.get_many(4), consumer.get()[:4]):
            for array, wanted in zip(got, arrays, strict=True):
                assert isinstance(array, np.ndarray)
                assert array.dtype == wanted.dtype
                assert array.tolist() == wanted.tolist()


def test_ml_dtypes_and_torch_read_each_other(torch: Any, producer: Producer, consumer: Consumer) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with Consumer("c", group="torch", arrays="torch") as tensors:
        for name in OTHER_DTYPES:
            dtype = getattr(ml_dtypes, name, None)
            if dtype is None or not hasattr(torch, name):
                continue
            tensor = tensor_of(torch, name)
            producer.put(tensor)
            array = consumer.get(timeout=0)
            assert array.dtype == dtype
            assert array.tobytes() == bits(tensor).tobytes()
            producer.put({"a": array, "scalar": array[0, 0]})
            assert same(tensors.get(timeout=0), tensor)
            record = tensors.get(timeout=0)
            assert same(record["a"], tensor)
            assert type(record["scalar"]) is dtype
            consumer.get(timeout=0)


def test_a_tensor_whose_elements_are_not_in_memory_is_refused(torch: Any, producer: Producer) -> None:
    for tensor in (
        torch.zeros(2, requires_grad=True),
        torch.zeros(2, dtype=torch.bfloat16, requires_grad=True),
        torch.nn.Parameter(torch.zeros(2)),
        torch.zeros(2, device="meta"),
        torch.zeros(3).to_sparse(),
        torch.zeros(3, dtype=torch.bfloat16).to_sparse(),
        torch.zeros(2, dtype=torch.complex64).conj(),
    ):
        for message in (tensor, {"a": tensor}):
            with pytest.raises(UnsafeMessage, match=r"^channel 'c': .*move it to the CPU, detach it, or"):
                producer.put(message)


def echo() -> None:
    with (
        Consumer("there", arrays="torch", timeout=30) as consumer,
        Producer("back", capacity="1 MiB", groups=["default"]) as producer,
    ):
        for tensor in consumer:
            producer.put(tensor.mul_(2))


def test_a_tensor_passes_through_a_process_that_changes_it(torch: Any, start: Start) -> None:
    start(echo)
    with Producer("there", capacity="1 MiB", groups=["default"]) as producer:
        sent = [torch.arange(1000, dtype=torch.bfloat16), torch.arange(6.0).reshape(2, 3)]
        producer.put_many(sent)
    with Consumer("back", arrays="torch", timeout=30) as consumer:
        for tensor in sent:
            assert same(consumer.get(timeout=30), tensor * 2)


def test_torch_is_imported_only_by_a_consumer_that_returns_tensors() -> None:
    code = """
import sys, numpy as np, ringipc
with ringipc.Producer("c", capacity="1 MiB") as producer, ringipc.Consumer("c") as consumer:
    producer.put({"a": np.arange(3)})
    assert consumer.get()["a"].tolist() == [0, 1, 2]
    assert "torch" not in sys.modules
    sys.modules["torch"] = None  # as if it were not installed
    try:
        ringipc.Consumer("c", group="tensors", arrays="torch")
    except ImportError as error:
        assert "torch" in str(error)
    else:
        raise AssertionError
    assert [group.name for group in ringipc.Channel.open("c").groups] == ["default"]
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_another_kind_of_arrays_is_refused(producer: Producer) -> None:
    wrong: Any = "jax"
    with pytest.raises(ValueError, match='arrays must be "numpy" or "torch", not \'jax\''):
        Consumer("c", arrays=wrong)
