"""Votes and proposals: what validators sign."""

from enum import IntEnum

import msgspec

from p2p.model.fields import (
    AccountField,
    DigestField,
    HeightField,
    RoundField,
    SignatureField,
    ValidRoundField,
)
from p2p.primitives.codec import Value, encode
from p2p.primitives.signing import SignedKind, Signer
from p2p.primitives.units import NO_ROUND, Digest, Round

Stand = tuple[Digest | None, Round]
"""What a vote says in its slot: the value (None is nil), and a prevote's valid round."""


class VoteKind(IntEnum):
    """The two votes of a round, in their order."""

    PREVOTE = 1
    PRECOMMIT = 2


class Vote(Value, frozen=True, tag="vote"):
    """One validator's vote for a header digest, or for nil (None).

    `valid_round` is what makes amnesia show: a prevote for a value states the round whose polka
    allows it, that of the proposal that it answers; -1 is none. Nil and precommits have none.
    """

    chain_id: DigestField
    kind: VoteKind
    height: HeightField
    round: RoundField
    header_digest: DigestField | None
    validator: AccountField
    valid_round: ValidRoundField = NO_ROUND
    signature: SignatureField = b""

    @property
    def stand(self) -> Stand:
        """What it says; two votes of one slot with other stands are a lie."""
        return (self.header_digest, self.valid_round)

    @property
    def is_sound(self) -> bool:
        """Whether some run of the rules signs it: a valid round is an earlier round's, of a value.

        Nobody counts another.
        """
        states_one = self.kind is VoteKind.PREVOTE and self.header_digest is not None
        return self.valid_round == NO_ROUND or (states_one and self.valid_round < self.round)

    def body(self) -> bytes:
        """The signed bytes: the vote without its signature."""
        return encode(msgspec.structs.replace(self, signature=b""))


class Proposal(Value, frozen=True, tag="proposal"):
    """A proposer's value for a round; `valid_round` is -1 or the round of its proof of lock."""

    chain_id: DigestField
    height: HeightField
    round: RoundField
    header_digest: DigestField
    valid_round: ValidRoundField
    proposer: AccountField
    signature: SignatureField = b""

    def body(self) -> bytes:
        """The signed bytes: the proposal without its signature."""
        return encode(msgspec.structs.replace(self, signature=b""))


def sign_vote(vote: Vote, signer: Signer) -> Vote:
    """The vote with its validator's signature."""
    signature = signer.sign(SignedKind.VOTE, vote.chain_id, vote.body())
    return msgspec.structs.replace(vote, signature=signature)


def sign_proposal(proposal: Proposal, signer: Signer) -> Proposal:
    """The proposal with its proposer's signature."""
    signature = signer.sign(SignedKind.PROPOSAL, proposal.chain_id, proposal.body())
    return msgspec.structs.replace(proposal, signature=signature)
