"""What the consensus driver is told, and what it orders.

The replica executes a proposed block before it reports the proposal, keeps the blocks by header
digest, and adds to every message its peer where one is to blame. Blocks cross this face as opaque
bytes only to survive a crash in the journal.
"""

import msgspec

from p2p.model.block import Certificate, ValidatorSet
from p2p.model.effects import CancelTimer, Penalize, Persist, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.vote import Proposal, Vote
from p2p.primitives.signing import Verified
from p2p.primitives.units import Digest, Height, PeerId, Round
from p2p.protocol.consensus.proposer import Proposers

# ------------------------------------------------------------------------------------- inputs


class JournalRestored(msgspec.Struct, frozen=True):
    """What a restart found on disk: `Table.JOURNAL` in key order, and META's `sign_state`.

    Comes once, before the first `HeightStarted`, which replays the journal if it is of its height.
    """

    entries: tuple[bytes, ...]
    sign_state: bytes | None


class HeightStarted(msgspec.Struct, frozen=True):
    """The block below is committed and it is time for this height."""

    height: Height
    validators: ValidatorSet
    proposers: Proposers
    next_validators: ValidatorSet = ValidatorSet(())
    """The set of the height after: whose early votes are kept for it."""


class ValueBuilt(msgspec.Struct, frozen=True):
    """The application's answer to `BuildValue`; None when it has nothing to propose."""

    height: Height
    round: Round
    header_digest: Digest | None
    block: bytes = b""


class ProposalReceived(msgspec.Struct, frozen=True):
    """A proposal whose block was executed; `valid` is the outcome.

    `timely` is this node's own judgement on a proposal without a valid round. It decides our
    prevote (L22) alone: a value that others found timely may still be locked and decided.
    """

    proposal: Verified[Proposal]
    valid: bool
    timely: bool = True
    block: bytes = b""
    peer: PeerId | None = None


class VoteReceived(msgspec.Struct, frozen=True):
    """One vote, from gossip."""

    vote: Verified[Vote]
    peer: PeerId | None = None


class VotesReceived(msgspec.Struct, frozen=True):
    """Votes together, from a neighbour who fills our gaps.

    Those that form a quorum for one value count even against a conflicting vote counted before.
    """

    votes: tuple[Verified[Vote], ...]
    peer: PeerId | None = None


class CertificateReceived(msgspec.Struct, frozen=True):
    """A commit certificate of the current height."""

    certificate: Verified[Certificate]
    peer: PeerId | None = None


ConsensusInput = (
    JournalRestored
    | HeightStarted
    | ValueBuilt
    | ProposalReceived
    | VoteReceived
    | VotesReceived
    | CertificateReceived
    | TimerFired
)


# ------------------------------------------------------------------------------------ effects


class BuildValue(msgspec.Struct, frozen=True):
    """Build a block and answer with `ValueBuilt`; asked once a round, again only after a crash."""

    height: Height
    round: Round


class BroadcastVote(msgspec.Struct, frozen=True):
    """Gossip our vote."""

    vote: Vote


class BroadcastProposal(msgspec.Struct, frozen=True):
    """Gossip our proposal, with the block that it names."""

    proposal: Proposal


class BlockRestored(msgspec.Struct, frozen=True):
    """A block of the open height that the journal kept; comes before anything that needs it."""

    header_digest: Digest
    block: bytes
    valid: bool


class Decided(msgspec.Struct, frozen=True):
    """The height is decided: commit the block. Nothing follows until the next `HeightStarted`."""

    height: Height
    round: Round
    header_digest: Digest
    certificate: Certificate


class EquivocationFound(msgspec.Struct, frozen=True):
    """One signer's two conflicting messages of one slot: evidence, found once a slot."""

    first: Vote | Proposal
    second: Vote | Proposal


ConsensusEffect = (
    Persist
    | BuildValue
    | BroadcastVote
    | BroadcastProposal
    | SetTimer
    | CancelTimer
    | BlockRestored
    | Decided
    | EquivocationFound
    | Penalize
)
