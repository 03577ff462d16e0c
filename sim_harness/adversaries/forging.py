"""What liars make: conflicting votes and blocks, values with signatures that nobody made."""

from random import Random

import msgspec

from p2p.model.block import Block, Certificate, CommitSignature, CommittedBlock
from p2p.model.ledger import State, rules_of
from p2p.model.parameters import COMMITTED_BYTES_MAX, PROPOSAL_BYTES_MAX, Genesis
from p2p.model.rpc import Message
from p2p.model.vote import Proposal, ProposedBlock, Vote, VoteKind, sign_proposal, sign_vote
from p2p.primitives.codec import Malformed, decode
from p2p.primitives.keys import SIGNATURE_BYTES
from p2p.primitives.signing import Signer
from p2p.primitives.units import NO_ROUND, AccountId, Digest, Height, Millis, Round
from p2p.protocol.ledger import build_block


def read_consensus(message: Message) -> Vote | ProposedBlock | None:
    """The vote or proposal in a message, if it is one."""
    try:
        return decode(message.data, Vote | ProposedBlock, bytes_max=PROPOSAL_BYTES_MAX)  # type: ignore[arg-type]
    except Malformed:
        return None


def read_block(message: Message) -> CommittedBlock | None:
    """The committed block in a message, if it is one."""
    try:
        return decode(message.data, CommittedBlock, bytes_max=COMMITTED_BYTES_MAX)
    except Malformed:
        return None


def vote_for(vote: Vote, header_digest: Digest | None, signer: Signer) -> Vote:
    """A vote for the same slot and another value, truly signed."""
    return sign_vote(
        msgspec.structs.replace(
            vote, header_digest=header_digest, valid_round=NO_ROUND, signature=b""
        ),
        signer,
    )


def fresh_vote(
    chain_id: Digest,
    kind: VoteKind,
    height: int,
    round_: int,
    header_digest: Digest | None,
    signer: Signer,
) -> Vote:
    """A truly signed vote, whatever the signer said before."""
    return sign_vote(
        Vote(chain_id, kind, Height(height), Round(round_), header_digest, signer.account), signer
    )


def other_block(genesis: Genesis, state: State, *, proposer: AccountId, time_ms: int) -> Block:
    """An empty block that follows a state: valid, and of any validator's name."""
    executed = build_block(
        state,
        rules_of(genesis),
        proposer=proposer,
        time_ms=Millis(max(time_ms, state.time_ms + 1)),  # Its clock may be behind.
        transactions=(),
        receipts=(),
    )
    return executed.block


def propose(block: Block, signer: Signer, *, round_: int, valid_round: int = -1) -> ProposedBlock:
    """A signed proposal of a block."""
    header = block.header
    proposal = Proposal(
        header.chain_id,
        header.height,
        Round(round_),
        header.digest(),
        Round(valid_round),
        signer.account,
    )
    return ProposedBlock(sign_proposal(proposal, signer), block)


def self_certified(block: Block, signer: Signer) -> CommittedBlock:
    """A block with a certificate that one true signature makes: no quorum."""
    header = block.header
    vote = fresh_vote(
        header.chain_id, VoteKind.PRECOMMIT, header.height, 0, header.digest(), signer
    )
    return _certified(block, (CommitSignature(signer.account, vote.signature),))


def falsely_certified(block: Block, accounts: list[AccountId], draws: Random) -> CommittedBlock:
    """A block with a certificate of everybody, in signatures that nobody made."""
    signatures = [CommitSignature(account, noise(draws)) for account in sorted(accounts)]
    return _certified(block, tuple(signatures))


def _certified(block: Block, signatures: tuple[CommitSignature, ...]) -> CommittedBlock:
    header = block.header
    return CommittedBlock(
        block,
        Certificate(header.chain_id, header.height, Round(0), header.digest(), signatures),
    )


def noise(draws: Random, size: int = SIGNATURE_BYTES) -> bytes:
    """Bytes that mean nothing."""
    return draws.randbytes(size)


def bitten(signature: bytes, draws: Random) -> bytes:
    """A signature with one bit changed."""
    place = draws.randrange(len(signature))
    bit = 1 << draws.randrange(8)
    return signature[:place] + bytes([signature[place] ^ bit]) + signature[place + 1 :]
