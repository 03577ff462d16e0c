"""What tests of the sync share: blocks, peers, and what a step came to."""

from p2p.model.block import Block, Certificate, CommittedBlock, Header
from p2p.model.effects import SetTimer
from p2p.model.inputs import PeerConnected
from p2p.model.requests import Status
from p2p.primitives.digests import ZERO_DIGEST, digest
from p2p.primitives.units import AccountId, Amount, Height, Millis, PeerId, Round
from p2p.protocol.sync import Sync, SyncParameters
from p2p.protocol.sync.interface import (
    AskBlocks,
    AskStatus,
    BlockApplied,
    BlocksReceived,
    StatusReceived,
    SyncEffect,
    SyncInput,
)

NOW = Millis(1_000_000)
A, B, C, D = (PeerId(name) for name in (b"a", b"b", b"c", b"d"))
FALSE_ROOT = digest(b"false")


def block(height: int, *, certified: int | None = None, false: bool = False) -> CommittedBlock:
    header = Header(
        chain_id=ZERO_DIGEST,
        height=Height(height),
        time_ms=Millis(0),
        proposer=AccountId(bytes(32)),
        previous=ZERO_DIGEST,
        transactions_root=ZERO_DIGEST,
        receipts_root=ZERO_DIGEST,
        evidence_root=ZERO_DIGEST,
        rewards_root=ZERO_DIGEST,
        state_root=FALSE_ROOT if false else ZERO_DIGEST,
        validators_root=ZERO_DIGEST,
        next_validators_root=ZERO_DIGEST,
        minted=Amount(0),
        burned=Amount(0),
        supply=Amount(0),
        parameters_digest=ZERO_DIGEST,
    )
    proof = Height(height if certified is None else certified)
    certificate = Certificate(ZERO_DIGEST, proof, Round(0), ZERO_DIGEST, ())
    return CommittedBlock(Block(header, (), ()), certificate)


def blocks(first: int, last: int) -> tuple[CommittedBlock, ...]:
    return tuple(block(height) for height in range(first, last + 1))


def status(height: int, lowest: int = 1) -> Status:
    return Status(ZERO_DIGEST, Height(height), ZERO_DIGEST, Height(lowest))


def new_sync(height: int = 0, **parameters: int) -> Sync:
    return Sync(SyncParameters(**parameters), seed=b"test", height=Height(height))


def tell(sync: Sync, *events: SyncInput, at_ms: int = NOW) -> list[SyncEffect]:
    """Effects of these inputs, without the timers."""
    effects = [effect for event in events for effect in sync.step(event, Millis(at_ms))]
    return [effect for effect in effects if not isinstance(effect, SetTimer)]


def meet(sync: Sync, peer: PeerId, height: int, lowest: int = 1) -> list[SyncEffect]:
    connected = PeerConnected(peer, outbound=True, address="")
    effects = tell(sync, connected, StatusReceived(peer, status(height, lowest)))
    assert effects[0] == AskStatus(peer)
    return effects[1:]


def ask(request_id: int, peer: PeerId, first: int, count: int) -> AskBlocks:
    return AskBlocks(request_id, peer, Height(first), count)


def give(request_id: int, peer: PeerId, first: int, last: int) -> BlocksReceived:
    return BlocksReceived(request_id, peer, blocks(first, last))


def applied(first: int, last: int) -> list[SyncInput]:
    return [BlockApplied(Height(height)) for height in range(first, last + 1)]
