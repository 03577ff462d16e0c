"""Orders that more than one machine gives.

Effects are carried out in list order, and `Persist` is durable before anything after it leaves:
that one rule is the crash-safety of votes and receipts.
"""

import msgspec

from p2p.model.persistence import Write
from p2p.model.rejection import Reason
from p2p.primitives.units import Millis, PeerId


class SetTimer(msgspec.Struct, frozen=True):
    """Fire once at a moment; replaces the timer of the same key.

    Keys start with the machine's name.
    """

    key: str
    at_ms: Millis


class CancelTimer(msgspec.Struct, frozen=True):
    """Forget the timer of this key."""

    key: str


class Persist(msgspec.Struct, frozen=True):
    """Make these writes durable together, before any later effect leaves."""

    writes: tuple[Write, ...]


class Penalize(msgspec.Struct, frozen=True):
    """A peer is at fault; the membership decides what follows."""

    peer: PeerId
    reason: Reason
    detail: str = ""


class Dial(msgspec.Struct, frozen=True):
    """Try to connect to a peer; `PeerConnected` or `DialFailed` follows."""

    peer: PeerId
    addresses: tuple[str, ...]


class HangUp(msgspec.Struct, frozen=True):
    """Close the connection to a peer; `PeerDisconnected` follows."""

    peer: PeerId
    reason: str
