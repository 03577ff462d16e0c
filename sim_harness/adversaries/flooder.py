"""flooder: as much as it can, of everything that costs its receivers memory or work."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from p2p.model.ad import CapacityAd, sign_ad
from p2p.model.requests import BlocksRequest
from p2p.model.rpc import IHave, Message, MessageId, Rpc, SendRpc
from p2p.model.topic import Topic
from p2p.model.vote import VoteKind
from p2p.primitives.digests import digest
from p2p.primitives.units import Height, Millis, PeerId
from p2p.protocol.interface import ReplicaEffect, SendRequest
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.forging import fresh_vote, noise, other_block, propose

ROUNDS_NEAR = 8
"""Rounds of its proposals out of turn."""


@dataclass
class Flooder(Adversary):
    """Sends `burst` messages of each sort to every peer, ten times a second.

    Proposals go to one peer each, so that the others hear them from an honest one: whoever punishes
    what another passes on in good faith is led to punish the honest.
    """

    kind: ClassVar[str] = "flooder"
    tick_ms: ClassVar[int] = 100
    burst: int = 8
    what: tuple[str, ...] = (
        "far_votes",
        "next_votes",
        "proposals",
        "ads",
        "ids",
        "grafts",
        "questions",
        "junk",
    )
    """Sorts. Of these, only junk is false whatever the receiver knows."""
    _ticks: int = field(default=0, init=False)
    _ad_seq: int = field(default=1 << 20, init=False)

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        self._ticks += 1
        for sort in self.what:
            messages = self._sorts[sort](self)
            if sort == "proposals":
                yield from self._scattered(messages)
                continue
            for peer in self.honest_peers():
                yield from self._to(peer, sort, messages)

    def _scattered(self, messages: list[Message]) -> Iterator[ReplicaEffect]:
        peers = self.honest_peers()
        for message in messages if peers else ():
            self.deeds["proposals"] += 1
            yield self.send(self.draws.choice(peers), message)

    def _to(self, peer: PeerId, sort: str, messages: list[Message]) -> Iterator[ReplicaEffect]:
        self.deeds[sort] += 1
        if messages:
            yield self.send(peer, *messages)
        elif sort == "ids":
            ids = tuple(MessageId(noise(self.draws, 20)) for _ in range(64 * self.burst))
            yield SendRpc(peer, Rpc(ihave=(IHave(self.topic(Topic.ADS), ids),)))
        elif sort == "grafts":
            yield SendRpc(peer, Rpc(graft=tuple(self.topic(topic) for topic in Topic)))
        elif sort == "questions":
            for _ in range(self.burst):
                yield SendRequest(self.new_id(), peer, BlocksRequest(Height(1), 64), 5_000)

    # ---- sorts -------------------------------------------------------------------------------

    def _far_votes(self) -> list[Message]:
        """Votes for rounds that nobody will see."""
        return self._votes(self.core.chain.height, rounds=1 << 20)

    def _next_votes(self) -> list[Message]:
        """Votes for the height that is not open yet."""
        return self._votes(self.core.chain.height + 1, rounds=64)

    def _votes(self, height: int, *, rounds: int) -> list[Message]:
        return [
            self.message(
                Topic.VOTES,
                fresh_vote(
                    self.world.genesis.chain_id,
                    self.draws.choice(list(VoteKind)),
                    height,
                    self.draws.randrange(1, rounds),
                    digest(noise(self.draws)),
                    self.signer,
                ),
            )
            for _ in range(self.burst)
        ]

    def _proposals(self) -> list[Message]:
        """Valid blocks of the next height, proposed out of turn."""
        if self.account not in self.core.chain.powers:
            return []
        return [self._proposal(number) for number in range(self.burst)]

    def _proposal(self, number: int) -> Message:
        state = self.core.state
        time_ms = state.time_ms + 1 + self._ticks * self.burst + number
        block = other_block(self.world.genesis, state, proposer=self.account, time_ms=time_ms)
        round_ = self.draws.randrange(ROUNDS_NEAR)
        return self.message(Topic.VOTES, propose(block, self.signer, round_=round_))

    def _ads(self) -> list[Message]:
        """Its own ad, renewed all the time."""
        ad = self.core.registry.get(self.account)
        return [] if ad is None else [self._ad(ad.value) for _ in range(self.burst)]

    def _ad(self, ad: CapacityAd) -> Message:
        self._ad_seq += 1
        newer = msgspec.structs.replace(ad, seq=self._ad_seq, signature=b"")
        return self.message(Topic.ADS, sign_ad(newer, self.signer))

    def _junk(self) -> list[Message]:
        """Bytes that are no message at all."""
        topics = [self.topic(topic) for topic in Topic]
        return [
            Message(self.draws.choice(topics), noise(self.draws, 200)) for _ in range(self.burst)
        ]

    def _nothing(self) -> list[Message]:
        return []

    _sorts: ClassVar[dict[str, Callable[["Flooder"], list[Message]]]] = {
        "far_votes": _far_votes,
        "next_votes": _next_votes,
        "proposals": _proposals,
        "ads": _ads,
        "ids": _nothing,
        "grafts": _nothing,
        "questions": _nothing,
        "junk": _junk,
    }
