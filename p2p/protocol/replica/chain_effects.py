"""What the chain of one node orders, and what it tells the rest of the replica."""

from typing import assert_never

import msgspec

from p2p.model.block import Block, CommittedBlock
from p2p.model.effects import CancelTimer, Penalize, Persist, SetTimer
from p2p.model.evidence import SlashRow
from p2p.model.ledger import State
from p2p.model.topic import Topic
from p2p.model.vote import Proposal, ProposedBlock, Vote
from p2p.protocol.consensus import interface as consensus
from p2p.protocol.interface import Committed, EquivocationFound, Notify


class Publish(msgspec.Struct, frozen=True):
    """Gossip a value of ours."""

    topic: Topic
    value: Vote | ProposedBlock | CommittedBlock


class BlockCommitted(msgspec.Struct, frozen=True):
    """A block is final; the rest of the replica follows."""

    block: Block
    before: State
    state: State
    slashes: tuple[SlashRow, ...] = ()


class Contradicted(msgspec.Struct, frozen=True):
    """One signer's two messages of one slot, as consensus found them."""

    first: Vote | Proposal
    second: Vote | Proposal


class StateInstalled(msgspec.Struct, frozen=True):
    """The chain goes on from a later state, whose blocks this node never saw."""

    before: State
    state: State


ChainEffect = (
    StateInstalled
    | Persist
    | SetTimer
    | CancelTimer
    | Penalize
    | Notify
    | Publish
    | Contradicted
    | BlockCommitted
)


def committed_event(committed: CommittedBlock) -> Notify:
    """Tell whoever watches of a final block."""
    block, certificate = committed.block, committed.certificate
    return Notify(
        Committed(
            block.header.height,
            certificate.header_digest,
            block.header.state_root,
            block.header.time_ms,
            certificate.round,
            len(block.transactions),
            len(block.receipts),
        )
    )


def equivocation_event(found: consensus.EquivocationFound) -> Notify:
    """Tell whoever watches of two messages of one slot."""
    first = found.first
    match first:
        case Vote():
            what, validator = first.kind.name.lower(), first.validator
        case Proposal():
            what, validator = "proposal", first.proposer
        case _:
            assert_never(first)
    return Notify(EquivocationFound(validator, first.height, first.round, what))
