"""Dealings of a consumer: connecting to providers and running one transfer with one of them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec

from p2p.model.ad import CapacityAd
from p2p.model.blob import WINDOW_BYTES, Find, Found, Manifest
from p2p.model.rejection import Reason
from p2p.network.port import MessageStream
from p2p.node.blobs.deal import Deal, DealLimits, Debts, Shape
from p2p.node.blobs.local import SourceFile
from p2p.node.blobs.port import BlobNode
from p2p.node.blobs.results import Placement
from p2p.node.blobs.session import SESSION_FAULTS, Refusal, exchange, open_session
from p2p.node.blobs.wallet import Wallet, WalletLimits
from p2p.primitives.keys import peer_id_of
from p2p.primitives.units import BlobId, ChannelId
from p2p.protocol.service import Candidate, Wanted

NAME_MAX: Final = 256

_CURABLE: Final = frozenset({Reason.OBLIGATIONS_DIFFER, Reason.OVERSPENT})


class ConsumerLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds and deadlines of the consuming side, in seconds."""

    deal: DealLimits = DealLimits()
    wallet: WalletLimits = WalletLimits()
    connect_s: float = 10.0
    find_s: float = 10.0


class Dealer:
    """A consumer's wallet, its memory of broken transfers, and its way to providers."""

    def __init__(self, node: BlobNode, limits: ConsumerLimits) -> None:
        self.node = node
        self.limits = limits
        self.wallet = Wallet(node, limits.wallet)
        self._debts = Debts()

    def stream(self, ad: CapacityAd) -> AbstractAsyncContextManager[MessageStream]:
        """A stream to the provider of an ad, connecting first. Raises TransportError."""
        return open_session(
            self.node.transport,
            peer_id_of(ad.provider),
            ad.addrs,
            deadline_s=self.limits.connect_s,
        )

    async def place(
        self,
        candidate: Candidate,
        source: SourceFile,
        manifest: Manifest,
        wanted: Wanted,
        moved: Callable[[int], None],
    ) -> Placement:
        """Put one replica at one provider. Raises a session fault, NoFunds."""
        ad = candidate.ad
        window = ad.price.amount(bytes_put=WINDOW_BYTES, bytes_get=0, mib_epochs=0)
        async with self.wallet.channel_to(ad.provider, candidate.price + window) as first:
            channel = first
            for last_try in (False, True):
                try:
                    async with self.stream(ad) as stream:
                        deal = self._deal(stream, channel, ad)
                        held = await deal.put(
                            manifest,
                            source.leaves,
                            epochs=wanted.epochs,
                            name=source.path.name[:NAME_MAX],
                            read=source.read,
                            moved=moved,
                        )
                        return Placement(
                            ad.provider, ad.region, channel, deal.paid, held.until_epoch
                        )
                except Refusal as error:
                    if error.refused.reason not in _CURABLE or last_try:
                        raise
                    # Another channel, or more on this one.
                    price = 2 * candidate.price + window
                    channel = await self.wallet.funded(ad.provider, price)
            raise AssertionError("the last try returns or raises")

    async def fetch(
        self,
        ad: CapacityAd,
        blob: BlobId,
        *,
        rest_bytes: int,
        from_chunk: int,
        shape: Shape | None,
        learned: Callable[[Shape], None],
        write: Callable[[Sequence[bytes]], None],
        moved: Callable[[int], None],
    ) -> int:
        """Fetch `rest_bytes` from one provider; what it cost. Raises a session fault, NoFunds."""
        window = ad.price.amount(bytes_put=0, bytes_get=WINDOW_BYTES, mib_epochs=0)
        price = window + ad.price.amount(bytes_put=0, bytes_get=rest_bytes, mib_epochs=0)
        async with (
            self.wallet.channel_to(ad.provider, price) as channel,
            self.stream(ad) as stream,
        ):
            deal = self._deal(stream, channel, ad)
            await deal.get(
                blob,
                from_chunk=from_chunk,
                shape=shape,
                learned=learned,
                write=write,
                moved=moved,
            )
            return deal.paid

    async def find(self, blob: BlobId, ad: CapacityAd) -> Manifest | None:
        """The blob's manifest, if this provider says that it holds the blob."""
        try:
            async with self.stream(ad) as stream:
                deadline_s = self.limits.deal.answer_s
                answer = await exchange(stream, Find(blob), deadline_s=deadline_s)
        except SESSION_FAULTS:
            return None
        if isinstance(answer, Found) and answer.manifest.blob == blob:
            return answer.manifest
        return None

    def _deal(self, stream: MessageStream, channel: ChannelId, ad: CapacityAd) -> Deal:
        return Deal(
            self.node,
            self.wallet,
            self._debts,
            self.limits.deal,
            stream=stream,
            channel=channel,
            ad=ad,
        )
