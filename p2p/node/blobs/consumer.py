"""The consuming side: add a file at several providers, get it back from any of them."""

from pathlib import Path
from typing import Final

import trio

from p2p.model.blob import Obligation
from p2p.node.blobs.adding import Placing
from p2p.node.blobs.dealing import ConsumerLimits, Dealer
from p2p.node.blobs.fetching import Fetching
from p2p.node.blobs.local import SourceFile, TargetFile
from p2p.node.blobs.port import BlobNode
from p2p.node.blobs.results import (
    AddFailed,
    AddResult,
    GetFailed,
    GetResult,
    Progress,
    Report,
    Stage,
)
from p2p.primitives.units import Amount, BlobId
from p2p.protocol.service import Wanted

EPOCHS_DEFAULT: Final = 100
REPLICAS_MAX: Final = 32


def silent(_: Progress) -> None:
    """Report to nobody."""


class BlobConsumer:
    """Adds and gets blobs, paying from channels of this node."""

    def __init__(self, node: BlobNode, limits: ConsumerLimits | None = None) -> None:
        self._node = node
        self.dealer = Dealer(node, limits or ConsumerLimits())

    def ls(self) -> tuple[Obligation, ...]:
        """Replicas that providers hold for us, as recorded."""
        account = self._node.account
        return tuple(
            held for held in self._node.replica.channels.obligations if held.consumer == account
        )

    async def add(
        self,
        path: Path,
        *,
        replicas: int = 1,
        epochs: int = EPOCHS_DEFAULT,
        price_max: Amount | None = None,
        progress: Report = silent,
    ) -> AddResult:
        """Store a file at `replicas` providers for so many epochs.

        Returns:
            Who holds it; fewer than asked for, with the reasons, where not enough providers did.

        Raises:
            AddFailed: the file cannot be read, or nobody took it.
        """
        try:
            with SourceFile(path) as source:
                return await self._add(source, replicas, epochs, price_max, progress)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise AddFailed(f"{path} cannot be added: {why}") from error

    async def _add(
        self,
        source: SourceFile,
        replicas: int,
        epochs: int,
        price_max: Amount | None,
        progress: Report,
    ) -> AddResult:
        size = source.size_bytes
        manifest = await source.hash(lambda done: progress(Progress(Stage.HASHING, done, size)))
        wanted = Wanted(
            blob=manifest.blob,
            size_bytes=size,
            epochs=epochs,
            consumer=self._node.account,
            epoch=self._node.replica.channels.epoch,
            now_ms=self._node.now_ms(),
            price_max=price_max,
        )
        placing = Placing(self.dealer, source, manifest, wanted, progress)
        await placing.run(min(replicas, REPLICAS_MAX))
        if not placing.placements:
            raise AddFailed(placing.why_nobody())
        return AddResult(
            manifest.blob, size, replicas, tuple(placing.placements), tuple(placing.failures)
        )

    async def get(self, blob: BlobId, destination: Path, *, progress: Report = silent) -> GetResult:
        """Fetch a blob into a file, which appears when it is whole and checked.

        Raises:
            GetFailed: nobody who holds it sent it all, or the file cannot be written.
        """
        try:
            with TargetFile(destination) as target:
                fetching = Fetching(self.dealer, blob, target, progress)
                await fetching.run()
                await trio.to_thread.run_sync(target.complete)
                return fetching.result()
        except OSError as error:
            raise GetFailed(f"{destination} cannot be written: {error.strerror}") from error
