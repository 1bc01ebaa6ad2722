"""A ring with a socket as fallback, for consumers that cannot map the ring."""

import os

import pytest
from conftest import Start

from ringipc import Consumer, GroupBusy, Producer


def see_from_elsewhere(url: str, elsewhere: str) -> None:
    os.environ["RINGIPC_DIR"] = elsewhere
    with pytest.raises(GroupBusy, match="near"):
        Consumer("c", fallback=url, timeout=5, group="near")
    with Consumer("c", fallback=url, timeout=10, group="far") as far:
        assert far.stats.transport == "unix"
        assert list(far) == [b"1", b"2"]


def test_a_ring_and_its_fallback_are_one_channel(base: str, start: Start) -> None:
    url = f"unix://{base}/socket"
    elsewhere = f"{base}/elsewhere"
    os.mkdir(elsewhere)
    with Producer("c", fallback=url, capacity="1 MiB", groups=["far"]) as producer:
        with Consumer("c", fallback=url, timeout=5, group="near") as near:
            assert near.stats.transport == "ring"
            producer.put_many([b"1", b"2"])
            child = start(see_from_elsewhere, url, elsewhere)
            assert [near.get(timeout=5), near.get(timeout=5)] == [b"1", b"2"]
            producer.flush(timeout=20)
            producer.close()
            child.join(10)
    os.rmdir(elsewhere)
