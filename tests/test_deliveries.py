"""How often a message is delivered."""

import os
import signal

import pytest
from conftest import Start

import ringipc
from ringipc import Consumer, Producer


def take_and_die(channel: str) -> None:
    with Consumer(channel, group="work", shared=True, durable=True).message(timeout=20):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("channel", ["c", "tcp"])
def test_deliveries_are_counted_over_kills_and_requeues(start: Start, channel: str) -> None:
    where = "c" if channel == "c" else "tcp://127.0.0.1:0"
    with Producer(where, capacity="1 MiB", groups=["work"]) as producer:
        where = str(producer.channel)
        producer.put(b"poison")
        for _ in range(2):
            start(take_and_die, where).join(20)
        with Consumer(where, group="work", shared=True) as consumer:
            for deliveries in 3, 4:
                message = consumer.message(timeout=20)
                assert (message.deliveries, message.redelivered) == (deliveries, True)
                message.requeue()
            with consumer.message(timeout=20) as message:
                assert message.deliveries == 5
            producer.put(b"another")
            with consumer.message(timeout=20) as message:
                assert (message.deliveries, message.redelivered) == (1, False)
    if channel == "c":
        ringipc.Channel.open("c").remove()


def test_a_message_that_could_not_be_delivered_counts_no_delivery(producer: Producer) -> None:
    with Consumer("c", shared=True) as consumer:
        producer.put(b"12345")
        with pytest.raises(ValueError, match="was not taken"):
            consumer.get_into(bytearray(3))
        with consumer.message() as message:
            assert (message.deliveries, message.redelivered) == (1, False)


def test_a_durable_group_counts_deliveries_from_member_to_member(producer: Producer) -> None:
    producer.put(b"1")
    for deliveries in range(1, 4):
        with Consumer("c", durable=True) as consumer:
            message = consumer.message(timeout=0)
            assert message.deliveries == deliveries
            message.requeue()
    ringipc.Channel.open("c").remove_group("default")
