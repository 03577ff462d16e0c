"""equivocator: tells one half of the network one thing, and the other half another."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import ClassVar

from p2p.model.block import Block, CommittedBlock
from p2p.model.requests import Blocks, Request, Response, RoundMessages
from p2p.model.rpc import Message
from p2p.model.topic import Topic
from p2p.model.vote import ProposedBlock, Vote, VoteKind
from p2p.primitives.digests import digest
from p2p.primitives.units import AccountId, Digest, Millis, PeerId
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.forging import (
    other_block,
    propose,
    read_block,
    read_consensus,
    vote_for,
)

MESSAGES_MAX = 4_096
"""Messages whose other side it remembers; it would make the same ones again."""
Slot = tuple[int, int]
"""Height and round."""


@dataclass
class Equivocator(Adversary):
    """Makes two proposals when it is its turn, and two votes whenever there are two values.

    All equivocators of a ring vote for both blocks of any of them, each on its side, and keep what
    one side decided from the other: at more than a third of the power that is a fork.
    """

    kind: ClassVar[str] = "equivocator"
    proposals: bool = True
    """Whether it makes two proposals."""
    ballots: bool = True
    """Whether it votes twice."""
    nils: bool = True
    """Whether it votes twice where there is one block: for it, and for nil."""
    shuffled: bool = False
    """Whether the halves are drawn anew for every round, and for its precommits once more."""
    pairs: dict[Slot, tuple[Digest, Digest]] = field(default_factory=dict, init=False)
    """Its two blocks of each of its rounds, by side."""
    _twins: dict[Slot, tuple[ProposedBlock, ProposedBlock]] = field(
        default_factory=dict, init=False
    )
    _read: dict[bytes, Vote | ProposedBlock | None] = field(default_factory=dict, init=False)
    _said: dict[tuple[bytes, int], Message] = field(default_factory=dict, init=False)
    """What a side hears instead of a message, by its id and the side."""

    def say(self, peer: PeerId, message: Message, now_ms: Millis) -> Iterable[Message]:
        if message.topic == self.topic(Topic.BLOCKS):
            return () if self._is_secret(read_block(message), peer) else (message,)
        if message.topic != self.topic(Topic.VOTES):
            return (message,)
        if message.id not in self._read:
            if len(self._read) >= MESSAGES_MAX:
                self._read.clear()
                self._said.clear()
            self._read[message.id] = read_consensus(message)
        value = self._read[message.id]
        if value is None:
            return (message,)
        key = (message.id, self._side(peer, value))
        if key not in self._said:
            self._said[key] = self._twisted(message, value, key[1])
        return (self._said[key],)

    def answer(
        self, peer: PeerId, request: Request, response: Response | None, now_ms: Millis
    ) -> Response | None:
        match response:
            case Blocks(blocks=blocks):
                told = takewhile(lambda one: not self._is_secret(one, peer), blocks)
                return Blocks(tuple(told))
            case RoundMessages(votes=votes, proposal=proposal):
                said = tuple(self._vote(vote, self._side(peer, vote)) for vote in votes)
                if proposal is not None:
                    proposal = self._proposed(proposal, self._side(peer, proposal))
                return RoundMessages(said, proposal)
            case _:
                return response

    def _side(self, peer: PeerId, value: Vote | ProposedBlock) -> int:
        if not self.shuffled or not self.is_honest(peer):
            return self.side(peer)
        about = value if isinstance(value, Vote) else value.proposal
        is_last = isinstance(value, Vote) and value.kind is VoteKind.PRECOMMIT
        lot = digest(b"side %d %d %d " % (about.height, about.round, is_last), peer)
        return lot[0] & 1

    def _is_secret(self, committed: CommittedBlock | None, peer: PeerId) -> bool:
        """Whether a block was decided on side 0 of a round in which the peer's has another."""
        if committed is None:
            return False
        pair = self._pair((committed.certificate.height, committed.certificate.round))
        is_told = self.side(peer) == 0 and not self.shuffled
        is_first = pair is not None and committed.certificate.header_digest == pair[0]
        return is_first and not is_told and self.is_honest(peer)

    def _twisted(self, message: Message, value: Vote | ProposedBlock, side: int) -> Message:
        twisted = (
            self._vote(value, side) if isinstance(value, Vote) else self._proposed(value, side)
        )
        return message if twisted is value else self.message(Topic.VOTES, twisted)

    # ---- votes -------------------------------------------------------------------------------

    def _vote(self, vote: Vote, side: int) -> Vote:
        member = self._member(vote.validator)
        if member is None or not self.ballots:
            return vote
        wanted = self._value(vote, side)
        if wanted == vote.header_digest:
            return vote
        self.deeds["second votes"] += 1
        return vote_for(vote, wanted, member.signer)

    def _value(self, vote: Vote, side: int) -> Digest | None:
        pair = self._pair((vote.height, vote.round))
        if pair is not None:
            return pair[side]
        if side == 0 or not self.nils:
            return vote.header_digest
        return None if vote.header_digest is not None else self._seen_value(vote)

    def _seen_value(self, vote: Vote) -> Digest | None:
        """A block that was proposed, where this one voted nil."""
        summary = self.core.chain.round_request()
        names = () if summary is None else summary.summary.proposals
        return next((name.header_digest for name in names if name.round == vote.round), None)

    def _pair(self, slot: Slot) -> tuple[Digest, Digest] | None:
        known = (one.pairs.get(slot) for one in self.ring if isinstance(one, Equivocator))
        return next((pair for pair in known if pair is not None), None)

    def _member(self, account: AccountId) -> Adversary | None:
        return next((one for one in self.ring if one.account == account), None)

    # ---- proposals ---------------------------------------------------------------------------

    def _proposed(self, proposed: ProposedBlock, side: int) -> ProposedBlock:
        proposal = proposed.proposal
        own = proposal.proposer == self.account and proposal.valid_round < 0
        if not own or not self.proposals:
            return proposed
        slot = (proposal.height, proposal.round)
        if slot not in self._twins:
            self.deeds["second proposals"] += 1
            other = propose(self._other_block(proposed.block), self.signer, round_=proposal.round)
            self._twins[slot] = (proposed, other)
            self.pairs[slot] = (proposal.header_digest, other.proposal.header_digest)
        return self._twins[slot][side]

    def _other_block(self, block: Block) -> Block:
        return other_block(
            self.world.genesis,
            self.core.state,
            proposer=self.account,
            time_ms=block.header.time_ms + 1,
        )
