"""Adding a file: replicas on their way, each slot trying providers until one took the blob."""

from collections.abc import Callable
from typing import Final

import trio

from p2p.model.blob import Manifest
from p2p.node.blobs.dealing import Dealer
from p2p.node.blobs.local import SourceFile
from p2p.node.blobs.results import Failure, Placement, Progress, Report, Stage
from p2p.node.blobs.session import SESSION_FAULTS, describe
from p2p.node.blobs.wallet import NoFunds
from p2p.primitives.keys import account_text
from p2p.primitives.units import AccountId
from p2p.protocol.service import Candidate, Wanted, next_provider, rank_providers

UNTIL_SLACK: Final = 2
"""Epochs that may pass between two adds of one file before it is stored anew."""


def candidates(dealer: Dealer, wanted: Wanted) -> list[Candidate]:
    """Providers that could take a blob, best first."""
    state = dealer.node.replica.state
    ads = [
        (ad.value, account.quality if account is not None else 0)
        for ad in dealer.node.replica.registry.ads()
        for account in [state.accounts.get(ad.value.provider)]
    ]
    return list(rank_providers(ads, wanted))


class Placing:
    """Replicas of one blob on their way."""

    def __init__(
        self,
        dealer: Dealer,
        source: SourceFile,
        manifest: Manifest,
        wanted: Wanted,
        progress: Report,
    ) -> None:
        self.placements: list[Placement] = []
        self.failures: list[Failure] = []
        self._dealer = dealer
        self._source = source
        self._manifest = manifest
        self._wanted = wanted
        self._progress = progress
        self._left = candidates(dealer, wanted)
        self._regions: list[str] = []
        self._fault: OSError | None = None

    async def run(self, replicas: int) -> None:
        """Fill the slots. Raises OSError when the file cannot be read."""
        self._count_held()
        async with trio.open_nursery() as nursery:
            for _ in range(replicas - len(self.placements)):
                nursery.start_soon(self._fill_slot, nursery.cancel_scope)
        if self._fault is not None:
            raise self._fault

    def _count_held(self) -> None:
        """Replicas from before, held for long enough, are not paid for twice."""
        until = self._wanted.epoch + self._wanted.epochs
        replica = self._dealer.node.replica
        for held in replica.channels.obligations.of_blob(self._wanted.blob):
            if held.consumer != self._wanted.consumer or held.until_epoch + UNTIL_SLACK < until:
                continue
            if held.provider in [one.provider for one in self.placements]:
                continue  # the same copy, owed on a second channel
            ad = replica.registry.get(held.provider)
            region = ad.value.region if ad is not None else ""
            self._regions.append(region)
            self._left = [one for one in self._left if one.ad.provider != held.provider]
            self.placements.append(
                Placement(held.provider, region, held.channel, 0, held.until_epoch)
            )

    async def _fill_slot(self, scope: trio.CancelScope) -> None:
        while (candidate := next_provider(self._left, self._regions)) is not None:
            self._left.remove(candidate)
            self._regions.append(candidate.ad.region)
            try:
                placement = await self._dealer.place(
                    candidate,
                    self._source,
                    self._manifest,
                    self._wanted,
                    self._reporter(candidate.ad.provider),
                )
            except (*SESSION_FAULTS, NoFunds) as error:
                self._regions.remove(candidate.ad.region)
                self.failures.append(Failure(candidate.ad.provider, describe(error)))
                if not self._source.is_unchanged():
                    self._left.clear()
                continue
            except OSError as error:
                self._fault = error
                scope.cancel()
                return
            self.placements.append(placement)
            return

    def _reporter(self, provider: AccountId) -> Callable[[int], None]:
        done = 0
        total = self._manifest.size_bytes

        def moved(count: int) -> None:
            nonlocal done
            done = min(total, done + count * self._manifest.chunk_bytes)
            self._progress(Progress(Stage.PLACING, done, total, provider))

        return moved

    def why_nobody(self) -> str:
        """One sentence about why no replica could be placed."""
        path = self._source.path
        if not self._source.is_unchanged():
            return f"{path} changed while it was being added; add it again"
        if not self.failures:
            return (
                f"{path} could not be placed: no known provider accepts "
                f"{self._manifest.size_bytes} bytes for {self._wanted.epochs} epochs"
            )
        last = self.failures[-1]
        return (
            f"{path} could not be placed: {len(self.failures)} providers were tried, the last, "
            f"{account_text(last.provider)}, said: {last.why}"
        )
