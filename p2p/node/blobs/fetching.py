"""Fetching a blob: from one provider after another, each going on where the last one stopped."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import trio

from p2p.model.ad import CapacityAd
from p2p.node.blobs.deal import Shape
from p2p.node.blobs.dealing import Dealer
from p2p.node.blobs.local import TargetFile
from p2p.node.blobs.results import Failure, GetFailed, GetResult, Progress, Report, Stage
from p2p.node.blobs.session import SESSION_FAULTS, describe
from p2p.node.blobs.wallet import NoFunds
from p2p.primitives.keys import account_text
from p2p.primitives.units import AccountId, BlobId

ASKED_AT_ONCE_MAX: Final = 8
"""Providers asked in parallel whether they hold a blob."""
ASKED_MAX: Final = 256
FOUND_ENOUGH: Final = 4
"""Holders after which the search ends."""


class Holder(msgspec.Struct, frozen=True):
    """A provider that should hold the blob, and the size that it has."""

    ad: CapacityAd
    size_bytes: int


async def holders(dealer: Dealer, blob: BlobId) -> AsyncIterator[Holder]:
    """Providers to fetch from: those we placed it at, then whoever says that it holds it."""
    replica, account = dealer.node.replica, dealer.node.account
    placed = {
        held.provider: held.size_bytes
        for held in replica.channels.obligations.of_blob(blob)
        if held.consumer == account
    }
    for provider, size_bytes in placed.items():
        known = replica.registry.get(provider)
        if known is not None:
            yield Holder(known.value, size_bytes)
    others = [ad.value for ad in replica.registry.ads() if ad.value.provider not in placed]
    others = [ad for ad in others if ad.provider != account]
    for holder in await find(dealer, blob, others[:ASKED_MAX]):
        yield holder


async def find(dealer: Dealer, blob: BlobId, ads: Sequence[CapacityAd]) -> tuple[Holder, ...]:
    """Which of these providers hold a blob: the first few to answer, the cheapest first."""
    found: list[Holder] = []
    left = list(reversed(ads))

    async def ask(scope: trio.CancelScope) -> None:
        while left:
            ad = left.pop()
            manifest = await dealer.find(blob, ad)
            if manifest is not None:
                found.append(Holder(ad, manifest.size_bytes))
            if len(found) >= FOUND_ENOUGH:
                scope.cancel()

    with trio.move_on_after(dealer.limits.find_s):
        async with trio.open_nursery() as nursery:
            for _ in range(min(ASKED_AT_ONCE_MAX, len(left))):
                nursery.start_soon(ask, nursery.cancel_scope)
    return tuple(sorted(found, key=lambda one: (one.ad.price.per_mib_get, one.ad.provider)))


class Fetching:
    """A blob on its way back, from one provider after another."""

    def __init__(self, dealer: Dealer, blob: BlobId, target: TargetFile, progress: Report) -> None:
        self._dealer = dealer
        self._blob = blob
        self._target = target
        self._progress = progress
        self._shape: Shape | None = None
        self._next_chunk = 0
        self._paid = 0
        self._sources: list[tuple[AccountId, int]] = []
        self._failures: list[Failure] = []

    async def run(self) -> None:
        """Fetch it all. Raises GetFailed, OSError."""
        async for holder in holders(self._dealer, self._blob):
            ad, before = holder.ad, self._done_bytes()
            try:
                self._paid += await self._dealer.fetch(
                    ad,
                    self._blob,
                    rest_bytes=max(0, holder.size_bytes - before),
                    from_chunk=self._next_chunk,
                    shape=self._shape,
                    learned=self._learned,
                    write=self._target.write,
                    moved=self._moved,
                )
            except (*SESSION_FAULTS, NoFunds) as error:
                self._failures.append(Failure(ad.provider, describe(error)))
            if self._done_bytes() > before:
                self._sources.append((ad.provider, self._done_bytes() - before))
            if self._shape is not None and self._next_chunk == self._shape.manifest.chunks:
                return
        raise GetFailed(self._why())

    def result(self) -> GetResult:
        """What it came to."""
        return GetResult(
            self._blob,
            self._done_bytes(),
            self._paid,
            tuple(self._sources),
            tuple(self._failures),
        )

    def _learned(self, shape: Shape) -> None:
        self._shape = shape

    def _moved(self, count: int) -> None:
        assert self._shape is not None, "the shape comes before chunks"
        self._next_chunk += count
        total = self._shape.manifest.size_bytes
        self._progress(Progress(Stage.FETCHING, self._done_bytes(), total))

    def _done_bytes(self) -> int:
        if self._shape is None:
            return 0
        manifest = self._shape.manifest
        return min(self._next_chunk * manifest.chunk_bytes, manifest.size_bytes)

    def _why(self) -> str:
        blob = self._blob.hex()
        if not self._failures:
            return f"no known provider holds the blob {blob}"
        last = self._failures[-1]
        return (
            f"the blob {blob} could not be fetched: {len(self._failures)} providers were tried, "
            f"the last, {account_text(last.provider)}, said: {last.why}"
        )
