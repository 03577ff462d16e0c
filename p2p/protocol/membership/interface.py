"""What the membership hears, and what it orders."""

from typing import Final

import msgspec

from p2p.model.effects import Dial, HangUp, Persist, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.rejection import Reason
from p2p.model.requests import PeerRecord
from p2p.primitives.units import AccountId, PeerId

TICK_TIMER: Final = "membership/tick"


class MembershipParameters(msgspec.Struct, frozen=True):
    """Bounds and spans of the membership; local, not agreed on by the chain.

    Raises ValueError when there are more explicit peers than room for sought ones.
    """

    peers_target: int = 8
    """Connections below which the node looks for more."""
    peers_max: int = 80
    """Connections kept: a validator is asked for one by many that are none."""
    sought_max: int = 32
    """Of these, how many may go to wanted accounts; `peers_target` are left for others."""
    outbound_min: int = 4
    """Connections of the node's own random choosing, whoever else connects: they keep it in touch
    with the honest network while somebody surrounds it."""
    outbound_max: int = 5
    """Own choices above this are let go, at random: exploring replaces them bit by bit."""
    surplus_max: int = 4
    """Connections above `peers_max` before any is hung up."""
    grace_ms: int = 10_000
    """A newcomer is not hung up before it could ask for peers, up to twice `peers_max`. Of a
    connection of our own that ends sooner, the dial counts as failed."""
    crowded_grace_ms: int = 1_500
    """In a crowd of twice `peers_max`, a guest gives way to a newcomer after this: many that come
    at once through few seeds take turns there, to learn of one another."""
    dials_max: int = 4
    """Dials under way."""
    dial_ms_max: int = 60_000
    """A dial without any answer is forgotten."""
    backoff_ms_min: int = 1_000
    backoff_ms_max: int = 60_000
    wanted_backoff_ms_max: int = 8_000
    """Wanted accounts, and anybody while the node is alone, are tried again sooner."""
    start_spread_ms: int = 1_000
    """Nodes started together tick apart."""
    tick_ms: int = 1_000
    """Between looks at the connections while some are missing."""
    tick_idle_ms: int = 10_000
    ask_ms: int = 30_000
    """Between questions for peers; also how long a neighbour that did not answer is spared."""
    ask_fast_ms: int = 2_000
    """The same while connections or addresses are missing; doubles while nothing new is learned,
    so that a network smaller than the target comes to rest."""
    explore_ms: int = 120_000
    """Between connections to a random stranger: what joins halves that each had enough peers."""
    book_max: int = 1_000
    """Peers in the address book."""
    hearsay_max: int = 64
    """Peers in the book that one neighbour's word alone put there."""
    failures_max: int = 3
    """Peers that failed so often in a row are recommended to nobody, and may leave the book."""
    persist_ms: int = 5_000
    """Between writes of the book."""
    rows_max: int = 64
    """Rows in one write."""
    penalty_max: int = 100
    """Points at which a peer is hung up and banned."""
    penalty_decay_ms: int = 1_000
    """One point is forgiven in this time."""
    ban_ms: int = 600_000
    direct: tuple[AccountId, ...] = ()
    """Explicit peers: sought before all others, never shown out, never banned."""
    bans_max: int = 1_000
    """Bans, and peers with penalty points."""

    def __post_init__(self) -> None:
        room = min(self.sought_max, self.peers_max - self.peers_target)
        if self.direct and len(self.direct) > room:
            raise ValueError("direct must be at most sought_max, peers_max - peers_target accounts")


# ---- inputs ---------------------------------------------------------------------------------


class Restored(msgspec.Struct, frozen=True):
    """Rows of `Table.PEERS` that an earlier run left."""

    rows: tuple[tuple[bytes, bytes], ...]


class Started(msgspec.Struct, frozen=True):
    """The node runs; these peers are configured."""

    seeds: tuple[PeerRecord, ...]


class DialFailed(msgspec.Struct, frozen=True):
    """A dial that was ordered came to nothing."""

    peer: PeerId


class PeersLearned(msgspec.Struct, frozen=True):
    """A neighbour's answer to `AskPeers`."""

    peer: PeerId
    records: tuple[PeerRecord, ...]


class AdLearned(msgspec.Struct, frozen=True):
    """A provider signed where it can be reached."""

    provider: AccountId
    addresses: tuple[str, ...]


class WantedChanged(msgspec.Struct, frozen=True):
    """Accounts to be connected to: the validators, while we are one. Replaces the list before."""

    accounts: tuple[AccountId, ...]


class Misbehaved(msgspec.Struct, frozen=True):
    """A peer was at fault."""

    peer: PeerId
    reason: Reason


MembershipInput = (
    Restored
    | Started
    | PeerConnected
    | PeerDisconnected
    | DialFailed
    | PeersLearned
    | AdLearned
    | WantedChanged
    | Misbehaved
    | RequestFailed
    | TimerFired
)

# ---- effects --------------------------------------------------------------------------------


class AskPeers(msgspec.Struct, frozen=True):
    """Ask a neighbour for peers. `PeersLearned` or `RequestFailed` of this peer follows."""

    peer: PeerId
    wanted: tuple[AccountId, ...]


MembershipEffect = Dial | HangUp | AskPeers | Persist | SetTimer
