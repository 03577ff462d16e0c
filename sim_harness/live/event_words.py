"""Events of nodes as bytes and back: what travels to the harness and stands in its log."""

from typing import Final

import msgspec

from p2p.protocol.interface import (
    AdLearned,
    Committed,
    EquivocationFound,
    Event,
    InvariantViolated,
    PeerPenalized,
    RoundStarted,
)

_KINDS: Final[dict[str, type[Event]]] = {
    kind.__name__: kind
    for kind in (
        AdLearned,
        Committed,
        EquivocationFound,
        InvariantViolated,
        PeerPenalized,
        RoundStarted,
    )
}


def pack_event(event: Event) -> bytes:
    """An event without its name."""
    return msgspec.msgpack.encode(event)


def unpack_event(kind: str, data: bytes) -> Event:
    """The event of this name. Raises msgspec.DecodeError, KeyError."""
    return msgspec.msgpack.decode(data, type=_KINDS[kind])
