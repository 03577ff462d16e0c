"""replayer: says again what was said long ago, here and on another chain."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from p2p.model.rpc import Message, RpcReceived
from p2p.model.topic import Topic
from p2p.model.vote import VoteKind
from p2p.primitives.digests import digest
from p2p.primitives.units import Digest, Millis
from p2p.protocol.interface import ReplicaEffect, ReplicaInput
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.forging import fresh_vote

MESSAGES_MAX = 4_000
"""What it remembers."""
OTHER_CHAIN = Digest(digest(b"another chain, of the same validators"))


@dataclass
class Replayer(Adversary):
    """Every tick, `burst` old messages to every peer; now and then, votes of another chain."""

    kind: ClassVar[str] = "replayer"
    tick_ms: ClassVar[int] = 500
    burst: int = 8
    age_ms: int = 10_000
    """How old a message is before it is said again; peers forget what they saw after 120 s."""
    other_chain: bool = True
    """Whether it brings in votes from another chain, which no honest peer ever passes on."""
    _heard: deque[tuple[Millis, Message]] = field(default_factory=deque, init=False)
    _ticks: int = field(default=0, init=False)

    def filter_inputs(self, item: ReplicaInput, now_ms: Millis) -> Iterable[ReplicaInput]:
        if isinstance(item, RpcReceived):
            self._heard.extend((now_ms, message) for message in item.rpc.publish)
            while len(self._heard) > MESSAGES_MAX:
                self._heard.popleft()
        return (item,)

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        self._ticks += 1
        old = [message for at_ms, message in self._heard if at_ms <= now_ms - self.age_ms]
        for peer in self.honest_peers():
            again = self.draws.sample(old, min(self.burst, len(old)))
            self.deeds["old messages"] += len(again)
            if again:
                yield self.send(peer, *again)
        if self.other_chain and not self._ticks % 10:
            self.deeds["votes of another chain"] += 2
            yield from self.spread(*self._foreign_votes())

    def _foreign_votes(self) -> list[Message]:
        """A validator's vote on the other chain, as it is and passed off as one of this chain."""
        validator = self.draws.choice(self.world.validators)
        signer = self.world.signer_of(validator)
        height = self.core.chain.height
        vote = fresh_vote(OTHER_CHAIN, VoteKind.PREVOTE, height, 0, None, signer)
        passed_off = msgspec.structs.replace(vote, chain_id=self.world.genesis.chain_id)
        return [self.message(Topic.VOTES, one) for one in (vote, passed_off)]
