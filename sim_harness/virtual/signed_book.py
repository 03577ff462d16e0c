"""Every vote and proposal that left any node of a world: who ever said two things in one slot?

Honest nodes pass on only what they verified, so a message that left one was truly signed; what
leaves a liar counts when an honest node passes it on. The book compares statements, not bytes:
the same vote signed twice is one statement.
"""

from collections.abc import Container
from typing import Final

from p2p.model.block import Certificate
from p2p.model.parameters import PROPOSAL_BYTES_MAX
from p2p.model.requests import Blocks, Response, RoundMessages
from p2p.model.rpc import MessageId, Rpc
from p2p.model.topic import Topic, topic_name
from p2p.model.vote import Proposal, ProposedBlock, Vote, certificate_votes
from p2p.primitives.codec import decode
from p2p.primitives.units import AccountId, Digest, Height, Round

_PROPOSAL: Final = "proposal"

Slot = tuple[AccountId, Height, Round, str]
"""Signer, height, round, and the kind of vote or "proposal"."""
Statement = tuple[Digest | None, int]
"""Header digest and valid round."""


class SignedBook:
    """The first statement of every slot, and the conflicts found."""

    def __init__(self, chain_id: Digest, *, excused: Container[AccountId] = ()) -> None:
        self.conflicts: list[str] = []
        self.lies: list[str] = []
        """Conflicts of those who are excused: adversaries."""
        self.carried = 0
        """Proposals of a value that had a valid round: what locks are for."""
        self._excused = excused
        self._topic = topic_name(Topic.VOTES, chain_id)
        self._said: dict[Slot, Statement] = {}
        self._seen: set[MessageId] = set()
        self._last: dict[AccountId, Height] = {}

    def __len__(self) -> int:
        return len(self._said)

    def slots(self) -> list[Slot]:
        """Every slot that something was said in, in the order of the first words."""
        return list(self._said)

    def last_height(self, signer: AccountId) -> Height:
        """The greatest height that a signer spoke at; 0 if it never did."""
        return self._last.get(signer, Height(0))

    def proposers(self) -> list[tuple[Height, Round, AccountId]]:
        """Who proposed, by height and round."""
        slots = [
            (height, round_, who) for who, height, round_, what in self._said if what == _PROPOSAL
        ]
        return sorted(slots)

    def note_rpc(self, rpc: Rpc) -> None:
        """Gossip leaves a node."""
        for message in rpc.publish:
            if message.topic != self._topic or message.id in self._seen:
                continue
            self._seen.add(message.id)
            value = decode(message.data, Vote | ProposedBlock, bytes_max=PROPOSAL_BYTES_MAX)  # type: ignore[arg-type]
            self.note(value.proposal if isinstance(value, ProposedBlock) else value)

    def note_response(self, response: Response) -> None:
        """The answer to a neighbour's question leaves a node."""
        match response:
            case RoundMessages(votes=votes, proposal=proposed):
                for vote in votes:
                    self.note(vote)
                if proposed is not None:
                    self.note(proposed.proposal)
            case Blocks(blocks=blocks):
                for committed in blocks:
                    self.note_certificate(committed.certificate)
            case _:
                pass

    def note_certificate(self, certificate: Certificate) -> None:
        """Precommits gathered into a proof."""
        for vote in certificate_votes(certificate):
            self.note(vote)

    def note(self, message: Vote | Proposal) -> None:
        """One signed message."""
        if isinstance(message, Vote):
            slot = (message.validator, message.height, message.round, message.kind.name.lower())
            statement = message.stand
        else:
            slot = (message.proposer, message.height, message.round, _PROPOSAL)
            statement = (message.header_digest, message.valid_round)
            self.carried += message.valid_round >= 0
        self._last[slot[0]] = max(slot[1], self._last.get(slot[0], Height(0)))
        first = self._said.setdefault(slot, statement)
        if first != statement:
            who, height, round_, what = slot
            found = self.lies if who in self._excused else self.conflicts
            found.append(f"{who.hex()[:8]} signed two {what}s at {height}/{round_}")
