"""withholder: lets few have its proposal, and then its votes and its block too, if asked to."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import ClassVar

import msgspec

from p2p.model.block import CommittedBlock
from p2p.model.requests import Blocks, Request, Response, RoundMessages
from p2p.model.rpc import Message
from p2p.model.topic import Topic
from p2p.model.vote import Proposal, ProposedBlock, Vote, VoteKind
from p2p.primitives.units import Millis, PeerId
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.forging import read_consensus


@dataclass
class Withholder(Adversary):
    """Chooses, by lot for every round, which honest validators hear of it."""

    kind: ClassVar[str] = "withholder"
    few: int = 1
    """Honest validators that get its proposal."""
    ballots: int = -1
    """Honest validators, the first of those, that get its precommits; -1: all."""
    blocks: bool = False
    """Whether it keeps committed blocks to itself."""

    def say(self, peer: PeerId, message: Message, now_ms: Millis) -> Iterable[Message]:
        if self._is_kept(peer, message):
            self.deeds["messages kept back"] += 1
            return ()
        return (message,)

    def answer(
        self, peer: PeerId, request: Request, response: Response | None, now_ms: Millis
    ) -> Response | None:
        match response:
            case RoundMessages(votes=votes, proposal=proposed):
                said = tuple(vote for vote in votes if not self._keeps(peer, vote))
                kept = proposed is not None and self._keeps(peer, proposed)
                return RoundMessages(said, None if kept else proposed)
            case Blocks() if self.blocks:
                return msgspec.structs.replace(response, blocks=())
            case _:
                return response

    def _is_kept(self, peer: PeerId, message: Message) -> bool:
        if message.topic == self.topic(Topic.BLOCKS):
            return self.blocks
        if message.topic != self.topic(Topic.VOTES):
            return False
        value = read_consensus(message)
        return value is not None and self._keeps(peer, value)

    def _keeps(self, peer: PeerId, value: Vote | ProposedBlock | CommittedBlock) -> bool:
        match value:
            case ProposedBlock(proposal=Proposal(proposer=self.account) as proposal):
                return peer not in self._chosen(proposal.height, proposal.round)[: self.few]
            case Vote(validator=self.account, kind=VoteKind.PRECOMMIT) if self.ballots >= 0:
                return peer not in self._chosen(value.height, value.round)[: self.ballots]
            case _:
                return False

    def _chosen(self, height: int, round_: int) -> list[PeerId]:
        honest = [one.key.peer for one in self.world.validators if self.world.is_honest(one)]
        Random(f"{self.world.seed} {height} {round_}").shuffle(honest)
        return honest
