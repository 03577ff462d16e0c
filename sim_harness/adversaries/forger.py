"""forger: signs for others, and changes what others signed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from p2p.model.ad import sign_ad
from p2p.model.receipt import ServiceReceipt, sign_as_consumer, sign_as_provider
from p2p.model.topic import GossipValue, Topic
from p2p.model.transaction import Transaction, Transfer, sign_transaction
from p2p.model.vote import VoteKind
from p2p.primitives.units import AccountId, Amount, ChannelId, Millis
from p2p.protocol.interface import MessageVerified, ReplicaEffect, ReplicaInput
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.forging import (
    bitten,
    falsely_certified,
    fresh_vote,
    noise,
    other_block,
)

GREED = 1_000_000
"""Micro-tokens that a forgery moves to the forger."""


@dataclass
class Forger(Adversary):
    """Once a second, one forgery of the next sort to every peer that has not hung up yet."""

    kind: ClassVar[str] = "forger"
    tick_ms: ClassVar[int] = 1_000
    _turn: int = field(default=0, init=False)
    _heard: dict[ChannelId, ServiceReceipt] = field(default_factory=dict, init=False)

    def filter_inputs(self, item: ReplicaInput, now_ms: Millis) -> Iterable[ReplicaInput]:
        if isinstance(item, MessageVerified) and isinstance(item.value.value, ServiceReceipt):
            self._heard[item.value.value.channel] = item.value.value
        return (item,)

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        sorts = (self._ads, self._receipts, self._votes, self._blocks, self._transfers)
        sort = sorts[self._turn % len(sorts)]
        self._turn += 1
        for topic, value in sort(now_ms):
            self.deeds[f"forged {topic.value}"] += 1
            yield from self.spread(self.message(topic, value))

    def _victim(self) -> AccountId:
        return self.draws.choice(self.world.honest).key.account

    def _noise(self) -> bytes:
        return noise(self.draws)

    # ---- sorts -------------------------------------------------------------------------------

    def _ads(self, now_ms: Millis) -> Iterator[tuple[Topic, GossipValue]]:
        """An ad in another's name, under our signature and under none."""
        own = self.core.registry.get(self.account)
        if own is None:
            return
        ad = msgspec.structs.replace(
            own.value, provider=self._victim(), seq=1 << 30, addrs=(), signature=b""
        )
        yield Topic.ADS, sign_ad(ad, self.signer)
        yield Topic.ADS, msgspec.structs.replace(ad, signature=self._noise())

    def _receipts(self, now_ms: Millis) -> Iterator[tuple[Topic, GossipValue]]:
        """A receipt that nobody signed, and those that were heard, worth more."""
        yield Topic.RECEIPTS, self._invented()
        for heard in list(self._heard.values())[:3]:
            greedy = msgspec.structs.replace(heard, seq=heard.seq + 1, amount=heard.amount + 1)
            yield Topic.RECEIPTS, greedy
            signature = bitten(heard.provider_signature, self.draws)
            yield Topic.RECEIPTS, msgspec.structs.replace(heard, provider_signature=signature)

    def _invented(self) -> ServiceReceipt:
        """Work for a victim, on its channel if it has one, that only we sign."""
        channels = self.core.state.channels
        key = next(iter(channels), ChannelId(noise(self.draws, 32)))
        consumer = channels[key].consumer if key in channels else self._victim()
        receipt = ServiceReceipt(
            chain_id=self.world.genesis.chain_id,
            provider=self.account,
            consumer=consumer,
            channel=key,
            epoch=self.core.chain.height,
            seq=1 << 20,
            bytes_put=GREED,
            bytes_get=0,
            mib_epochs=0,
            amount=Amount(GREED),
            obligations_root=self.world.genesis.chain_id,
            ad_digest=self.world.genesis.chain_id,
        )
        return sign_as_provider(sign_as_consumer(receipt, self.signer), self.signer)

    def _votes(self, now_ms: Millis) -> Iterator[tuple[Topic, GossipValue]]:
        """A vote in another's name."""
        vote = fresh_vote(
            self.world.genesis.chain_id,
            VoteKind.PRECOMMIT,
            self.core.chain.height,
            0,
            self.core.state.header_digest,
            self.signer,
        )
        victim = self.draws.choice([*self.core.chain.powers])
        yield Topic.VOTES, msgspec.structs.replace(vote, validator=victim)

    def _blocks(self, now_ms: Millis) -> Iterator[tuple[Topic, GossipValue]]:
        """The next block, with a certificate of signatures that nobody made."""
        state = self.core.state
        block = other_block(
            self.world.genesis,
            state,
            proposer=self.draws.choice([*self.core.chain.powers]),
            time_ms=state.time_ms + 1,
        )
        yield Topic.BLOCKS, falsely_certified(block, [*self.core.chain.powers], self.draws)

    def _transfers(self, now_ms: Millis) -> Iterator[tuple[Topic, GossipValue]]:
        """Somebody's money, sent to us."""
        victim = self._victim()
        account = self.core.state.accounts[victim]
        transfer = Transaction(
            self.world.genesis.chain_id,
            victim,
            account.nonce,
            self.world.genesis.parameters.transaction_fee_min,
            Transfer(self.account, Amount(GREED)),
        )
        yield Topic.TRANSACTIONS, sign_transaction(transfer, self.signer)
