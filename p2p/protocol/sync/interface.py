"""What the sync hears, and what it orders."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from p2p.model.block import CommittedBlock
from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.rejection import Reason
from p2p.model.requests import BLOCKS_COUNT_MAX, Status
from p2p.primitives.units import Height, PeerId

POLL_TIMER: Final = "sync/poll"
DEADLINE_TIMER: Final = "sync/deadline"


class SyncParameters(msgspec.Struct, frozen=True):
    """Bounds and spans of the sync; local, except that `epoch_ms` is the chain's."""

    epoch_ms: int = 5_000
    """What a height is expected to take."""
    poll_ms: int = 5_000
    """Between questions for a random neighbour's height."""
    quiet_ms_max: int = 7_500
    """After a block nobody is asked for half an epoch more than the next one takes, or this."""
    poll_fast_ms: int = 1_000
    """The same while behind, or while nothing was committed for two epochs."""
    grace_ms: int = 1_000
    """One block behind, gossip is given this long to bring it."""
    range_max: Annotated[int, Meta(ge=1, le=BLOCKS_COUNT_MAX)] = 16
    """Blocks asked for at once."""
    asks_max: int = 2
    """Neighbours asked side by side, each for another range."""
    ranges_max: int = 4
    """Ranges asked for, or held until those below arrive: each answer is 1 MiB at most."""
    deadline_ms: int = 10_000
    """A range without an answer is asked of another."""
    cool_ms_min: int = 1_000
    """How long a peer that failed is left out; doubles with every failure in a row."""
    cool_ms_max: int = 60_000
    faults_max: int = 3
    """Failures in a row after which a peer's claim counts no more towards the target."""


# ---- inputs ---------------------------------------------------------------------------------


class HeightCommitted(msgspec.Struct, frozen=True):
    """A block is final here, by consensus or by sync."""

    height: Height


class HeightSeen(msgspec.Struct, frozen=True):
    """A peer passed on proof that a block of this height exists."""

    peer: PeerId
    height: Height


class StatusReceived(msgspec.Struct, frozen=True):
    """A neighbour of this chain says where it is."""

    peer: PeerId
    status: Status


class BlocksReceived(msgspec.Struct, frozen=True):
    """The answer to `AskBlocks` of this id; certificate signatures are verified."""

    request_id: int
    peer: PeerId
    blocks: tuple[CommittedBlock, ...]


class BlockApplied(msgspec.Struct, frozen=True):
    """The replica committed a block of `ApplyBlocks`, or had it already."""

    height: Height


class BlockRefused(msgspec.Struct, frozen=True):
    """The replica found a block of `ApplyBlocks` false; it dropped those after it."""

    height: Height
    peer: PeerId
    reason: Reason


class Paused(msgspec.Struct, frozen=True):
    """Ask for no blocks until told otherwise: a snapshot is under way."""

    paused: bool


SyncInput = (
    Paused
    | HeightCommitted
    | HeightSeen
    | PeerConnected
    | PeerDisconnected
    | StatusReceived
    | BlocksReceived
    | BlockApplied
    | BlockRefused
    | RequestFailed
    | TimerFired
)

# ---- effects --------------------------------------------------------------------------------


class AskStatus(msgspec.Struct, frozen=True):
    """Ask a neighbour where it is. `StatusReceived` may follow."""

    peer: PeerId


class AskBlocks(msgspec.Struct, frozen=True):
    """Ask a neighbour for a range. `BlocksReceived` or `RequestFailed` of this id follows."""

    request_id: int
    peer: PeerId
    from_height: Height
    count: int


class ApplyBlocks(msgspec.Struct, frozen=True):
    """Check and commit these blocks, upwards from our height plus one.

    Each is answered by `BlockApplied`, or the first false one by `BlockRefused`.
    """

    peer: PeerId
    blocks: tuple[CommittedBlock, ...]


SyncEffect = AskStatus | AskBlocks | ApplyBlocks | Penalize | SetTimer
