"""Authentication by a key that both sides know.

Each side sends 32 random bytes, the nonce. Then the side that connects, and only if its proof is right the listener,
sends HMAC-SHA256(key, its role, both nonces). The role keeps a proof from being sent back to its maker as an answer,
the fresh nonces from being replayed. The key guards the greeting only: it neither encrypts nor signs what follows (TLS
does).
"""

import hmac
import secrets

from ..errors import AuthenticationError
from .wire import SocketWire

NO, YES = b"\0", b"\1"

_NONCE = 32
_PROOF = 32
_LISTENER, _CONNECTOR = b"ringipc 1 listener", b"ringipc 1 connector"


def authenticate(wire: SocketWire, key: bytes, *, binds: bool) -> None:
    """Prove to the peer that this side knows the key, and make the peer prove it.

    Raises
    ------
    AuthenticationError
        The peer has another key.
    """
    (_challenge_first if binds else _answer_first)(wire, key)


def _proof(key: bytes, role: bytes, connectors: bytes, listeners: bytes) -> bytes:
    return hmac.digest(key, role + connectors + listeners, "sha256")


def _challenge_first(wire: SocketWire, key: bytes) -> None:
    mine = secrets.token_bytes(_NONCE)
    wire.send(mine)
    theirs = wire.receive(_NONCE)
    if not hmac.compare_digest(wire.receive(_PROOF), _proof(key, _CONNECTOR, theirs, mine)):
        wire.send(NO)
        raise AuthenticationError("the peer that connects has another key")
    wire.send(YES + _proof(key, _LISTENER, theirs, mine))
    if wire.receive(1) != YES:
        raise AuthenticationError("the peer that connects rejected this side's proof: it has another key")


def _answer_first(wire: SocketWire, key: bytes) -> None:
    mine = secrets.token_bytes(_NONCE)
    wire.send(mine)
    theirs = wire.receive(_NONCE)
    wire.send(_proof(key, _CONNECTOR, mine, theirs))
    if wire.receive(1) != YES:
        raise AuthenticationError("the listener has another key")
    if not hmac.compare_digest(wire.receive(_PROOF), _proof(key, _LISTENER, mine, theirs)):
        wire.send(NO)
        raise AuthenticationError("the listener cannot prove that it has the key")
    wire.send(YES)
