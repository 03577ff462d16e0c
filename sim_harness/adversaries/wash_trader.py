"""wash_trader: pays its own accounts for work that nobody did, and hopes for the bonus.

Every puppet is a key of the trader's: it opens a channel to it, signs receipts with both keys, and
publishes them. `profit` counts all its accounts together, so what one pays the other is nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from p2p.model.ledger import State
from p2p.model.receipt import ServiceReceipt, sign_as_consumer, sign_as_provider
from p2p.model.topic import Topic
from p2p.model.transaction import ChannelOpen, channel_id
from p2p.primitives.digests import digest
from p2p.primitives.signing import Signer
from p2p.primitives.units import MIB, AccountId, Amount, ChannelId, Millis
from p2p.protocol.interface import ReplicaEffect, SubmitTransaction
from sim_harness.adversaries.adversary import Adversary


@dataclass
class WashTrader(Adversary):
    """Invents `volume` micro-tokens of work for every puppet in every epoch."""

    kind: ClassVar[str] = "wash_trader"
    wants_vote: ClassVar[bool] = False
    tick_ms: ClassVar[int] = 1_000
    volume: int = 100_000
    puppets: int = 2
    deposit: int = 50_000_000
    _channels: dict[ChannelId, Signer] = field(default_factory=dict, init=False)
    _newest: dict[ChannelId, ServiceReceipt] = field(default_factory=dict, init=False)

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        if len(self._channels) < self.puppets:
            yield from self._open(now_ms)
        for channel, puppet in self._channels.items():
            known = self.core.state.channels.get(channel)
            newest = self._newest.get(channel)
            is_settled = known is not None and (newest is None or known.settled == newest.amount)
            if known is not None and is_settled and known.held >= self.volume:
                self.deeds["false receipts"] += 1
                receipt = self._receipt(channel, puppet, newest)
                self._newest[channel] = receipt
                yield from self.spread(self.message(Topic.RECEIPTS, receipt))

    def profit(self) -> int:
        """All its accounts now, less what it began with."""
        states = [one.replica.state for one in self.world.honest if one.replica is not None]
        state = max(states, key=_height)
        genesis = {one.account: one.balance + one.bonded for one in self.world.genesis.accounts}
        return sum(_wealth(state, own) - genesis.get(own, 0) for own in self._accounts())

    def _accounts(self) -> set[AccountId]:
        rings = [one for one in self.ring if isinstance(one, WashTrader)]
        puppets = {puppet.account for one in rings for puppet in one._channels.values()}
        return {one.account for one in rings} | puppets

    def _open(self, now_ms: Millis) -> list[ReplicaEffect]:
        """A channel to one more puppet."""
        number = len(self._channels)
        puppet = self.world.enroll(b"%d %d" % (self.node.index, number))
        nonce = self.core.mempool.next_nonce(self.account)
        chain_id = self.world.genesis.chain_id
        self._channels[channel_id(chain_id, self.account, nonce)] = puppet
        action = ChannelOpen(puppet.account, Amount(self.deposit))
        return self.core.drive(SubmitTransaction(self.new_id(), action), now_ms)

    def _receipt(
        self, channel: ChannelId, puppet: Signer, newest: ServiceReceipt | None
    ) -> ServiceReceipt:
        amount = self.volume + (newest.amount if newest else 0)
        draft = ServiceReceipt(
            chain_id=self.world.genesis.chain_id,
            provider=puppet.account,
            consumer=self.account,
            channel=channel,
            epoch=self.core.chain.height,
            seq=1 + (newest.seq if newest else 0),
            bytes_put=amount // 100 * MIB,
            bytes_get=0,
            mib_epochs=0,
            amount=Amount(amount),
            obligations_root=digest(b"nothing"),
            ad_digest=digest(b"no ad"),
        )
        return sign_as_provider(sign_as_consumer(draft, self.signer), puppet)


def _height(state: State) -> int:
    return state.height


def _wealth(state: State, account: AccountId) -> int:
    """Everything that is an account's: balance, stake, and what its channels hold."""
    own = state.accounts.get(account)
    unbonding = sum(entry.amount for entry in state.unbonding if entry.account == account)
    held = sum(one.held for one in state.channels.values() if one.consumer == account)
    return unbonding + held + (0 if own is None else own.balance + own.bonded)
