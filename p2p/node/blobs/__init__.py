"""The blob service of a node: `BlobService` is all that the node needs to know."""

from p2p.network.port import MessageStream
from p2p.node.blobs.consumer import BlobConsumer
from p2p.node.blobs.dealing import ConsumerLimits
from p2p.node.blobs.port import BlobNode
from p2p.node.blobs.provider import BlobProvider, ProviderLimits
from p2p.node.blobs.upkeep import Renewer, Upkeep
from p2p.storage.blobs import BlobFiles


class BlobService:
    """Both sides of `/gigmesh/blob/1`."""

    def __init__(
        self,
        node: BlobNode,
        files: BlobFiles,
        *,
        provider_limits: ProviderLimits | None = None,
        consumer_limits: ConsumerLimits | None = None,
    ) -> None:
        """`files` may have no capacity: then this node provides nothing."""
        self.files = files
        self.consumer = BlobConsumer(node, consumer_limits)
        renewer = Renewer(node, self.consumer.dealer.wallet)
        self.provider = BlobProvider(node, files, provider_limits, on_renew=renewer.renew)
        self._upkeep = Upkeep(node, files, self.provider)

    async def serve(self, stream: MessageStream) -> None:
        """Answer one inbound stream. Raises nothing but cancellation."""
        await self.provider.serve(stream)

    async def run(self) -> None:
        """Follow the chain until cancelled; start it once the replica runs."""
        await self._upkeep.run()


__all__ = ["BlobConsumer", "BlobProvider", "BlobService", "ConsumerLimits", "ProviderLimits"]
