"""The messages of the greeting, byte by byte: invalid fields are not encoded, invalid bytes not decoded."""

import contextlib
import dataclasses
import os
import random
import socket
import time

import pytest
from greetings import HELLO, KEY, OPENING, frame, welcome

from ringipc import AuthenticationError, Corrupt, Incompatible, RingError
from ringipc.transports import handshake
from ringipc.transports.handshake import Hello, Welcome
from ringipc.transports.pipe_link import _PipeWire
from ringipc.transports.wire import SocketWire

FUZZ_SECONDS = float(os.environ.get("RINGIPC_FUZZ_SECONDS", "2"))


def test_invalid_fields_are_not_encoded() -> None:
    for wrong in (
        {"group": "x" * 48},
        {"group": "a\0b"},
        {"session": b""},
        {"boot": bytes(17)},
        {"pid": 0},
        {"next": -1},
        {"next": 1 << 64},
    ):
        with pytest.raises(ValueError):
            dataclasses.replace(HELLO, **wrong).encode()
    with pytest.raises(ValueError):
        welcome(error=-1).encode()
    long = Welcome.decode(welcome(1, "ü" * 251).encode())
    assert long.text == "ü" * 250
    assert len(frame(long)) < handshake.LONGEST


def test_only_valid_messages_are_decoded() -> None:
    chance = random.Random(1)
    seeds = [HELLO.encode(), dataclasses.replace(HELLO, group="").encode(), welcome(1, "ü" * 99).encode(), b""]
    whole = [OPENING + frame(HELLO), OPENING[:12] + b"\1\0\0\0\1" + bytes(65) + frame(welcome(3, "no"))]
    understood = 0
    end = time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < end:
        for _ in range(200):
            data = mutated(chance, chance.choice(seeds))
            for kind in Hello, Welcome:
                with contextlib.suppress(Corrupt):
                    assert kind.decode(data).encode() == data
                    understood += 1
        data = mutated(chance, chance.choice(whole))
        receive_by_socket(data, key=chance.choice([None, KEY]), binds=chance.random() < 0.5)
        receive_by_pipe(data)
    assert understood > 100


def mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = chance.randbytes(1)
            case 1:
                changed[at:at] = chance.randbytes(chance.randrange(600))
            case 2:
                del changed[at : at + chance.randrange(20)]
            case 3:
                del changed[at:]
    return bytes(changed)


def receive_by_socket(data: bytes, *, key: bytes | None, binds: bool) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(data)
        far.shutdown(socket.SHUT_WR)
        wire = SocketWire(near, time.monotonic() + 5)
        with contextlib.suppress(Corrupt, Incompatible, AuthenticationError):
            handshake.open_protocol(wire, binds=binds, key=key)
            kind = Hello if binds else Welcome
            kind.decode(handshake._receive(wire, kind.KIND))


def receive_by_pipe(data: bytes) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, data)
        os.close(writing)
        with contextlib.suppress(RingError):
            handshake.receive_one_way(_PipeWire(reading, lambda: False))
    finally:
        os.close(reading)
