"""Fetching a blob: from one provider after another, each going on where the last one stopped."""

from collections.abc import Sequence
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


def placed(dealer: Dealer, blob: BlobId) -> tuple[Holder, ...]:
    """Providers that we placed a blob at, as first recorded."""
    replica, account = dealer.node.replica, dealer.node.account
    sizes = {
        held.provider: held.size_bytes
        for held in replica.channels.obligations.of_blob(blob)
        if held.consumer == account
    }
    ads = [replica.registry.get(provider) for provider in sizes]
    return tuple(Holder(ad.value, sizes[ad.value.provider]) for ad in ads if ad is not None)


async def find_others(dealer: Dealer, blob: BlobId) -> tuple[Holder, ...]:
    """Whoever else says that it holds a blob."""
    known = {holder.ad.provider for holder in placed(dealer, blob)} | {dealer.node.account}
    ads = [ad.value for ad in dealer.node.replica.registry.ads() if ad.value.provider not in known]
    return await find(dealer, blob, ads[:ASKED_MAX])


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
        for holder in placed(self._dealer, self._blob):
            if await self._fetch_from(holder):
                return
        for holder in await find_others(self._dealer, self._blob):
            if await self._fetch_from(holder):
                return
        raise GetFailed(self._why())

    async def _fetch_from(self, holder: Holder) -> bool:
        """Go on at one provider; whether the blob is whole then."""
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
        return self._shape is not None and self._next_chunk == self._shape.manifest.chunks

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
