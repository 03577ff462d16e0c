"""Work and money in a virtual world: receipts through the replicas' own commands, and transfers.

    provider                              consumer
    a window of work is done  --Bill-->   StoreReceipt (the newest the provider has), SignReceipt
    AcceptReceipt             <--Pay--
    durable                   --Paid-->   StoreReceipt

Both parties remember in plain memory only what a process would: a crash forgets the window under
way. What was done is booked apart (`delivered`), to be compared with what was paid. Messages take
the latency between the nodes, and a partition or a crash loses them; each side then starts over.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from p2p.model.ad import CapacityAd
from p2p.model.commands import AcceptReceipt, SignReceipt, StoreReceipt, Work
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Rejected
from p2p.model.transaction import ChannelOpen, Transaction, Transfer, channel_id
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB, Amount, ChannelId, Height, Millis
from p2p.protocol.interface import SubmitTransaction

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World

DEPOSIT: Final = Amount(10_000_000)
WINDOW_MS: Final = Millis(400)
"""Between windows of a trade."""
PATIENCE_MS: Final = Millis(3_000)
"""A window that came no further in this time is begun anew."""
WINDOW_MIB_MAX: Final = 4
"""A window is drawn from 1 to this; at 100 micro-tokens a MiB."""
TRANSFER_MAX: Final = 1_000


class Trade:
    """One consumer that pays one provider, window by window, for as long as the world runs."""

    def __init__(
        self,
        world: "World",
        consumer: "VirtualNode",
        provider: "VirtualNode",
        *,
        every: Millis = WINDOW_MS,
    ) -> None:
        self.world = world
        self.consumer = consumer
        self.provider = provider
        self.channel: ChannelId | None = None
        self.delivered = 0
        """Price of all windows that the provider did, in micro-tokens."""
        self.window_price_max = 0
        self.refusals: list[Rejected] = []
        """What either party refused the other."""
        self.is_paused = False
        """No new work is done; what was done is still settled."""
        self._every = every
        self._draws = world.stream(f"trade {consumer.index} {provider.index}")
        self._owed = Work()
        """The provider's memory: done and not yet paid for."""
        self._owed_by = -1
        """The incarnation of the provider that remembers it."""
        self._turn = 0
        self._turn_ms = world.now_ms
        self._is_free = True
        self._opened_by = -1
        self._again()

    @property
    def settled(self) -> int:
        """What the ledger paid out of the channel, as the furthest node sees it."""
        states = [node.replica.state for node in self.world.nodes if node.replica is not None]
        latest = max(states, key=lambda state: state.height, default=None)
        known = latest is not None and self.channel is not None
        channel = latest.channels.get(self.channel) if known else None  # type: ignore[union-attr, arg-type]
        return 0 if channel is None else channel.settled

    @property
    def accepted(self) -> int:
        """What the provider's newest durable receipt is worth."""
        if self.channel is None or self.provider.replica is None:
            return 0
        newest = self.provider.replica.channels.newest(self.channel)
        return 0 if newest is None else newest.amount

    @property
    def promised(self) -> int:
        """What the consumer ever signed for."""
        if self.channel is None or self.consumer.replica is None:
            return 0
        return self.consumer.replica.channels.promised(self.channel)

    # ---- turns -------------------------------------------------------------------------------

    def _again(self) -> None:
        def turn() -> bytes:
            self._again()
            if self._is_free or self.world.now_ms >= self._turn_ms + PATIENCE_MS:
                self._begin()
            return b"%d %d" % (self.consumer.index, self.provider.index)

        self.world.heap.after(self._every * 1_000, "trade", turn)

    def _begin(self) -> None:
        self._turn += 1
        self._turn_ms, self._is_free = self.world.now_ms, False
        if self.channel is None or self._is_opening_lost():
            self._open()
        else:
            self._bill()

    def _carry(self, source: "VirtualNode", target: "VirtualNode", act: Callable[[], None]) -> None:
        """Take a message of this turn to the other party."""
        turn, links = self._turn, self.world.links
        incarnation = target.incarnation

        def arrive() -> bytes:
            same = target.incarnation == incarnation and self._turn == turn
            if same and target.is_up and not links.is_cut(source.index, target.index):
                act()
            return b"%d>%d" % (source.index, target.index)

        delay_us = links.delay_us(source.index, target.index)
        self.world.heap.after(delay_us, "trade message", arrive)

    def _refused(self, result: object) -> bool:
        if isinstance(result, Rejected):
            self.refusals.append(result)
            self._is_free = True
            return True
        return False

    # ---- the channel -------------------------------------------------------------------------

    def _is_opening_lost(self) -> bool:
        """Whether the consumer crashed with the opening in its pool alone."""
        # No ledger knows it: the consumer's alone may be one that is worked out again.
        states = [node.replica.state for node in self.world.nodes if node.replica is not None]
        lacks = all(self.channel not in state.channels for state in states)
        return lacks and self._opened_by != self.consumer.incarnation

    def _open(self) -> None:
        """The consumer opens the channel; its pool keeps the transaction alive."""
        if not self.consumer.is_up:
            return
        action = ChannelOpen(self.provider.key.account, DEPOSIT)

        def opened(result: object) -> None:
            if not self._refused(result) and isinstance(result, Transaction):
                self._opened_by = self.consumer.incarnation
                account, nonce = self.consumer.key.account, result.nonce
                self.channel = channel_id(self.world.genesis.chain_id, account, nonce)

        self.consumer.ask(lambda ticket: SubmitTransaction(ticket, action), opened)

    # ---- a window ----------------------------------------------------------------------------

    def _bill(self) -> None:
        """The provider works a window, unless one is unpaid, and asks for its pay."""
        provider, channel = self.provider, self.channel
        if provider.replica is None or channel is None:
            return
        if channel not in provider.replica.state.channels:
            return  # The opening is not committed yet.
        ad = provider.replica.registry.get(provider.key.account)
        if ad is None:
            return
        channels = provider.replica.channels
        stale = [one for one in channels.stale() if one.channel == channel]
        work = self._work(ad.value)
        if not work and not stale:
            self._is_free = True
            return
        epoch, newest = channels.epoch_wanted(channel), channels.newest(channel)
        self._carry(
            provider, self.consumer, lambda: self._pay(ad, work, epoch=epoch, newest=newest)
        )

    def _work(self, ad: CapacityAd) -> Work:
        """What is to be paid now: the window that this process did unpaid, or a new one."""
        if self._owed_by == self.provider.incarnation and self._owed:
            return self._owed
        if self.is_paused:
            return Work()
        work = Work(bytes_put=self._draws.randint(1, WINDOW_MIB_MAX) * MIB)
        price = ad.price.amount(bytes_put=work.bytes_put, bytes_get=0, mib_epochs=0)
        self.delivered += price
        self.window_price_max = max(self.window_price_max, price)
        self._owed, self._owed_by = work, self.provider.incarnation
        return work

    def _pay(
        self,
        ad: Verified[CapacityAd],
        work: Work,
        *,
        epoch: Height,
        newest: ServiceReceipt | None,
    ) -> None:
        consumer, channel = self.consumer, self.channel
        assert channel is not None, "a bill names its channel"

        def sign() -> None:
            consumer.ask(lambda ticket: SignReceipt(ticket, channel, ad, work, None, epoch), signed)

        def stored(_: object) -> None:
            # Refused when the consumer has it already: then it is no news.
            sign()

        def signed(result: object) -> None:
            if not self._refused(result) and isinstance(result, ServiceReceipt):
                self._carry(consumer, self.provider, lambda: self._accept(result, ad.value, work))

        if newest is None:
            sign()
        else:
            consumer.ask(lambda ticket: StoreReceipt(ticket, Verified(newest)), stored)

    def _accept(self, receipt: ServiceReceipt, ad: CapacityAd, work: Work) -> None:
        def accepted(result: object) -> None:
            if self._refused(result) or not isinstance(result, ServiceReceipt):
                return
            self._owed = Work()
            self._is_free = True
            self._carry(self.provider, self.consumer, lambda: self._store(result))

        self.provider.ask(
            lambda ticket: AcceptReceipt(ticket, Verified(receipt), ad, work), accepted
        )

    def _store(self, receipt: ServiceReceipt) -> None:
        self.consumer.ask(
            lambda ticket: StoreReceipt(ticket, Verified(receipt)), lambda result: None
        )


class Transfers:
    """Nodes that send one another small amounts, one after the other, at drawn moments."""

    def __init__(self, world: "World", *, every: Millis) -> None:
        self.sent: list[Transaction] = []
        self.is_paused = False
        self._world = world
        self._every = every
        self._draws = world.stream("transfers")
        self._plan()

    def _plan(self) -> None:
        delay_us = int(self._draws.expovariate(1 / self._every) * 1_000)
        self._world.heap.after(delay_us, "transfer", self._send)

    def _send(self) -> bytes:
        self._plan()
        if self.is_paused:
            return b"paused"
        source, target = self._draws.sample(self._world.nodes, 2)
        amount = Amount(self._draws.randint(1, TRANSFER_MAX))
        action = Transfer(target.key.account, amount)
        if source.is_up:
            source.ask(lambda ticket: SubmitTransaction(ticket, action), self._took)
        return b"%d>%d %d" % (source.index, target.index, amount)

    def _took(self, result: object) -> None:
        if isinstance(result, Transaction):
            self.sent.append(result)
