"""Nobody gets in who does not belong: one version, a user who is admitted, and the same key on both sides.

With a key each side sends 32 random bytes; then the one who connects, and only when its proof is right the one who
listens, sends HMAC-SHA256(key, its role, both numbers). The role keeps what one side said from being sent back to it as
an answer; the fresh numbers keep it from being used again. The key is for the greeting only: it does not encrypt or
sign what follows (TLS does).
"""

import hmac
import secrets
import struct

from ..errors import AuthenticationError, Corrupt, Incompatible
from .wire import Wire

MAGIC = b"ringipc\0"
VERSION = 1
SHORTEST_KEY = 16

_U32 = struct.Struct("<I")
_NONCE = 32
_PROOF = 32
_NO, _YES = b"\0", b"\1"
_LISTENER, _CONNECTOR = b"ringipc 1 listener", b"ringipc 1 connector"


def checked_key(key: bytes | None) -> bytes | None:
    if key is None:
        return None
    if not isinstance(key, bytes):
        raise TypeError(f"key must be bytes, not {type(key).__name__}")
    if len(key) < SHORTEST_KEY:
        raise ValueError(
            f"key must have at least {SHORTEST_KEY} bytes, not {len(key)}; secrets.token_bytes(32) makes one"
        )
    return key


def meet(wire: Wire, *, listens: bool, key: bytes | None, stranger: str = "") -> None:
    """Makes sure of the other side before anything that it says is taken for true.

    Parameters
    ----------
    stranger
        Why the other side's user is not admitted, if so.

    Raises
    ------
    Incompatible, AuthenticationError, Corrupt
    """
    other = "the one who connects" if listens else "the listener"
    opening = MAGIC + _U32.pack(VERSION) + _U32.pack(key is not None)
    wire.send(opening + (_NO if stranger else _YES))
    if stranger:
        raise AuthenticationError(stranger)
    if (first := wire.receive(1)) != MAGIC[:1] or first + wire.receive(len(MAGIC) - 1) != MAGIC:
        raise Corrupt(f"{other} does not speak ringipc (or one side has tls= and the other has not)")
    (version,) = _U32.unpack(wire.receive(_U32.size))
    if version != VERSION:
        raise Incompatible(f"{other} speaks version {version} of the protocol, this side {VERSION}; use one ringipc")
    (keyed,) = _U32.unpack(wire.receive(_U32.size))
    if keyed > 1:
        raise Corrupt(f"{other} asks for something that is not known: {keyed}")
    if wire.receive(1) != _YES:
        raise AuthenticationError(f"{other} does not admit the user of this process; users= widens whom it does")
    if keyed != (key is not None):
        raise AuthenticationError(f"{other} has {'a key and this side none' if keyed else 'no key and this side one'}")
    if key is not None:
        (_challenge_first if listens else _answer_first)(wire, key)


def _proof(key: bytes, role: bytes, connectors: bytes, listeners: bytes) -> bytes:
    return hmac.digest(key, role + connectors + listeners, "sha256")


def _challenge_first(wire: Wire, key: bytes) -> None:
    mine = secrets.token_bytes(_NONCE)
    wire.send(mine)
    theirs = wire.receive(_NONCE)
    if not hmac.compare_digest(wire.receive(_PROOF), _proof(key, _CONNECTOR, theirs, mine)):
        wire.send(_NO)
        raise AuthenticationError("the one who connects has another key")
    wire.send(_YES + _proof(key, _LISTENER, theirs, mine))
    if wire.receive(1) != _YES:
        raise AuthenticationError("the one who connects has another key, as it says")


def _answer_first(wire: Wire, key: bytes) -> None:
    mine = secrets.token_bytes(_NONCE)
    wire.send(mine)
    theirs = wire.receive(_NONCE)
    wire.send(_proof(key, _CONNECTOR, mine, theirs))
    if wire.receive(1) != _YES:
        raise AuthenticationError("the listener has another key")
    if not hmac.compare_digest(wire.receive(_PROOF), _proof(key, _LISTENER, mine, theirs)):
        wire.send(_NO)
        raise AuthenticationError("the listener cannot prove that it has the key")
    wire.send(_YES)
