"""One consumer's dealings with one provider: blobs are stored window by window, for pay.

    consumer: open   -> provider: terms, newest receipt, debt -> both: the product's transfer
    consumer: chunks -> provider              over the uplink, one chunk at a time
    consumer: pay    -> provider: durable     -> consumer: paid; the next window, until the last

Both sides are the product's own transfer machines and receipts; the world moves bytes. No content
exists, only its length and digests. Whoever crashes forgets the transfer under way; a transfer that
gets no further is begun anew, with what is unpaid of the window before.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from p2p.model.ad import CapacityAd
from p2p.model.blob import Obligation
from p2p.model.commands import NO_WORK, AcceptReceipt, SignReceipt, Work
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Rejected
from p2p.primitives.signing import Verified
from p2p.primitives.units import ChannelId, Digest, Height
from p2p.protocol.service import (
    Aborted,
    AcceptPay,
    Began,
    ChunksMoved,
    CompleteBlob,
    ConsumerTransfer,
    Finish,
    KeepReceipt,
    MoveWindow,
    PaidReceived,
    PayAccepted,
    PayDeclined,
    PayReceived,
    Plan,
    ProviderTransfer,
    ReceiptSigned,
    RefusedReceived,
    SendPaid,
    SendPay,
    SendRefused,
    SignWindow,
    plan_put,
    total_work,
)
from p2p.protocol.service.transfers import ConsumerEffect, ProviderEffect
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.pair import Pair
from sim_harness.virtual.renewing import renew

if TYPE_CHECKING:
    from sim_harness.virtual.adding import Blob
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World

LOOK_MS: Final = 250
"""Between looks at whether there is something to do."""
STALL_MS: Final = 4_000
"""A dealing that got no further in this time is begun anew."""
TRIES_MAX: Final = 4
"""Transfers of one blob before the consumer looks for another provider."""
QUEUE_MAX: Final = 64

Ended = Callable[["Blob", "Line", bool], None]
"""A replica is held, or this provider is given up."""


class Line(Pair):
    """All dealings of one pair: one channel, one transfer at a time."""

    def __init__(
        self,
        world: "World",
        consumer: "VirtualNode",
        provider: "VirtualNode",
        *,
        window_bytes: int,
        epochs: int,
        ended: Ended,
    ) -> None:
        super().__init__(world, consumer, provider)
        self.delivered = 0
        """Price of all work that the provider did, in micro-tokens: paid, or lost in a crash."""
        self.window_price_max = 0
        self.breaks = 0
        """Transfers that ended early."""
        self._window_bytes, self._epochs, self._ended = window_bytes, epochs, ended
        self._queue: deque[Blob] = deque()
        self._tries = 0
        self._is_busy = False
        self._ad: Verified[CapacityAd] | None = None
        self._buying: ConsumerTransfer | None = None
        self._selling: ProviderTransfer | None = None
        self._owed = NO_WORK
        self._owed_by = -1
        """The incarnation of the provider that remembers what it is owed."""
        self._look()

    def put(self, blob: "Blob") -> bool:
        """Store a blob there, after those that wait; False when too many do."""
        if len(self._queue) >= QUEUE_MAX:
            return False
        self._queue.append(blob)
        return True

    def forget(self) -> None:
        """Nothing new is stored."""
        if self._is_busy:
            self._break()
        self._queue.clear()

    # ---- turns ---------------------------------------------------------------------------------

    def _look(self) -> None:
        def look() -> bytes:
            self._look()
            if self._is_busy and self.world.now_ms >= self.moved_ms + STALL_MS:
                self._break()
            if not self._is_busy:
                self._begin()
            return b"%d %d" % (self.consumer.index, self.provider.index)

        self.world.heap.after(LOOK_MS * MICROS_PER_MS, "line", look)

    def _begin(self) -> None:
        if not (self.consumer.is_up and self.provider.is_up):
            return
        stale = self.stale()
        if not (self._queue or stale):
            return
        self.turn += 1
        self._is_busy, self.moved_ms = True, self.world.now_ms
        if not self.channels or self.is_opening_lost():
            self.open_channel(self._rest)
        elif stale:
            renew(self, stale[0], self._free)
        else:
            self._ask_for_terms(self._queue[0])

    def _break(self) -> None:
        """The dealing under way is over; the provider remembers what it is owed."""
        if self._selling is not None:
            if self._owed_by == self.provider.incarnation:
                self._owed = self._selling.unpaid
            elif self._ad is not None:
                lost = _price(self._ad.value, self._selling.unpaid)
                self.delivered += lost
                self.window_price_max = max(self.window_price_max, lost)
        if self._buying is not None or self._selling is not None:
            self.breaks += 1
        self._free()
        if not self._queue:
            return
        self._tries += 1
        if self._tries >= TRIES_MAX:
            self._give_up()

    def _give_up(self) -> None:
        self._tries = 0
        self._ended(self._queue.popleft(), self, False)

    def _free(self) -> None:
        self.turn += 1
        self._is_busy = False
        self._buying = self._selling = None

    def _rest(self) -> None:
        self._is_busy = False

    # ---- agreeing ------------------------------------------------------------------------------

    def _ask_for_terms(self, blob: "Blob") -> None:
        replica = self.consumer.replica
        assert replica is not None, "it runs"
        channel, newest = self.channels[-1], replica.channels.newest(self.channels[-1])

        def asked() -> None:
            self.store(self.provider, newest, lambda: self._offer_terms(blob, channel))

        self.carry(self.consumer, self.provider, asked)

    def _offer_terms(self, blob: "Blob", channel: ChannelId) -> None:
        """The provider: an ad, an epoch, what it has and what it is owed."""
        replica = self.provider.replica
        if replica is None or channel not in replica.state.channels:
            # The opening is not committed here yet: asked again in a moment.
            self.carry(self.provider, self.consumer, self._free)
            return
        ad = replica.registry.get(self.provider.key.account)
        if ad is None or not ad.value.accepting:
            self._break()
            return
        plan = plan_put(blob.manifest, epochs=self._epochs, window_bytes=self._window_bytes)
        owed = self._owed if self._owed_by == self.provider.incarnation else NO_WORK
        newest = replica.channels.newest(channel)
        price = _price(ad.value, total_work(plan) + owed)
        if price + (newest.amount if newest else 0) > replica.state.channels[channel].deposit:
            self.carry(self.provider, self.consumer, self._spoil)
            return
        epoch = replica.channels.epoch_wanted(channel)
        adds = Obligation(
            blob=blob.manifest.blob,
            channel=channel,
            provider=self.provider.key.account,
            consumer=self.consumer.key.account,
            size_bytes=blob.manifest.size_bytes,
            until_epoch=epoch + self._epochs,
        )
        self._owed, self._owed_by = owed, self.provider.incarnation
        self._selling = ProviderTransfer(plan, owed=owed, adds=adds)
        self._sell(self._selling.step(Began()))
        root, known = replica.channels.root(channel, epoch), ad

        def agreed() -> None:
            self.store(
                self.consumer,
                newest,
                lambda: self._agree(known, plan, owed=owed, adds=adds, root=root, epoch=epoch),
            )

        self.carry(self.provider, self.consumer, agreed)

    def _agree(
        self,
        ad: Verified[CapacityAd],
        plan: Plan,
        *,
        owed: Work,
        adds: Obligation,
        root: Digest,
        epoch: Height,
    ) -> None:
        """The consumer: both must owe the same blobs, or another channel is needed."""
        replica = self.consumer.replica
        assert replica is not None, "it was asked"
        if replica.channels.root(adds.channel, epoch) != root:
            self._spoil()
            return
        self._ad = ad
        self._buying = ConsumerTransfer(plan, owed=owed, adds=adds)
        self._buy(self._buying.step(Began()))

    def _spoil(self) -> None:
        """Go on with another channel."""
        self._free()
        self.turn += 1
        self._is_busy = True
        self.open_channel(self._rest)

    # ---- windows -------------------------------------------------------------------------------

    def _buy(self, effects: list[ConsumerEffect]) -> None:
        for effect in effects:
            match effect:
                case MoveWindow(window=window):
                    last = window.first_chunk + window.chunk_count
                    self._move(window.first_chunk, last)
                case SignWindow():
                    self._sign(effect)
                case SendPay(receipt=receipt):
                    self.carry(
                        self.consumer,
                        self.provider,
                        lambda receipt=receipt: self._sell_on(PayReceived(receipt)),  # type: ignore[misc]
                    )
                case KeepReceipt(receipt=receipt):
                    self.store(self.consumer, receipt, lambda: None)
                case Finish():
                    self._tries = 0
                    blob = self._queue.popleft()
                    self._free()
                    self._ended(blob, self, True)
                case Aborted():
                    self._break()

    def _move(self, chunk: int, end: int) -> None:
        """Send chunks one after the other: what else the node sends finds its place between."""
        if self._buying is None or chunk >= end:
            return
        turn = self.turn
        size = self._buying.plan.manifest.chunk_size(chunk)
        leaves_us = self.carry(self.consumer, self.provider, self._take_chunk, size)

        def left() -> bytes:
            if self.turn == turn and self._buying is not None and self.consumer.is_up:
                self.moved_ms = self.world.now_ms
                self._buy(self._buying.step(ChunksMoved(1)))
                self._move(chunk + 1, end)
            return b"%d" % chunk

        self.world.heap.at(leaves_us, "chunk sent", left)

    def _take_chunk(self) -> None:
        self._sell_on(ChunksMoved(1))

    def _sign(self, order: SignWindow) -> None:
        ad, channel = self._ad, self.channels[-1]
        assert ad is not None, "terms were agreed on"

        def signed(result: object) -> None:
            if self._buying is None or not isinstance(result, ServiceReceipt):
                self._break()
                return
            self._buy(self._buying.step(ReceiptSigned(result)))

        self.ask(
            self.consumer,
            lambda ticket: SignReceipt(ticket, channel, ad, order.work, order.adds, order.epoch),
            signed,
        )

    def _sell_on(self, item: ChunksMoved | PayReceived | PayAccepted | PayDeclined) -> None:
        if self._selling is not None:
            self._sell(self._selling.step(item))

    def _sell(self, effects: list[ProviderEffect]) -> None:
        for effect in effects:
            match effect:
                case AcceptPay():
                    self._accept(effect)
                case SendPaid(receipt=receipt):
                    self._owed = NO_WORK
                    self._answer(PaidReceived(receipt))
                case SendRefused(reason=reason, detail=detail, epoch=epoch):
                    self._answer(RefusedReceived(reason, detail, epoch))
                case MoveWindow() | CompleteBlob() | Finish() | Aborted():
                    pass  # It waits for chunks; the consumer ends the dealing.

    def _accept(self, order: AcceptPay) -> None:
        replica = self.provider.replica
        assert replica is not None, "it was paid"
        ad = replica.registry.get(self.provider.key.account)
        assert ad is not None, "terms were agreed on"
        known = ad.value
        price = _price(known, order.work)
        self.window_price_max = max(self.window_price_max, price)
        turn = self.turn

        def accepted(result: object) -> None:
            running = self.provider.replica
            if isinstance(result, ServiceReceipt):
                self.delivered += price
                if self.turn != turn:
                    self._owed = NO_WORK  # It was durable when the dealing had broken off.
                    return
                self._sell_on(PayAccepted(result))
                return
            if self.turn != turn:
                return
            if isinstance(result, Rejected) and running is not None:
                self.refusals.append(result)
                epoch = running.channels.epoch_wanted(self.channels[-1])
                self._sell_on(PayDeclined(result, epoch))

        receipt = Verified(order.receipt)
        self.provider.ask(
            lambda ticket: AcceptReceipt(ticket, receipt, known, order.work, order.adds), accepted
        )

    def _answer(self, item: PaidReceived | RefusedReceived) -> None:
        def heard() -> None:
            if self._buying is not None:
                self._buy(self._buying.step(item))

        self.carry(self.provider, self.consumer, heard)


def _price(ad: CapacityAd, work: Work) -> int:
    return ad.price.amount(
        bytes_put=work.bytes_put, bytes_get=work.bytes_get, mib_epochs=work.mib_epochs
    )
