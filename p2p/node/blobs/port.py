"""What the blob service asks of its node: a part of `NodePort`, for tests to stand in."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from p2p.model.ad import CapacityAd
from p2p.model.ledger import State
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Rejected
from p2p.network.port import Transport
from p2p.primitives.signing import Verified
from p2p.primitives.units import AccountId, Digest, Millis
from p2p.protocol.interface import Command, Event
from p2p.protocol.receipts import Channels


class Addresses(Protocol):
    """Where accounts can be reached."""

    def addresses_of(self, account: AccountId) -> tuple[str, ...]:
        """Multiaddresses; none when unknown."""


class Ads(Addresses, Protocol):
    """The registry, to read."""

    def ads(self) -> Sequence[Verified[CapacityAd]]:
        """The newest ad of every provider, ours among them."""

    def get(self, provider: AccountId) -> Verified[CapacityAd] | None: ...


class ReplicaView(Protocol):
    """The replica, to read."""

    @property
    def state(self) -> State: ...

    @property
    def registry(self) -> Ads: ...

    @property
    def membership(self) -> Addresses: ...

    @property
    def channels(self) -> Channels: ...


class BlobVerifier(Protocol):
    """Where a peer's ads and receipts become `Verified`."""

    def ad(self, data: bytes) -> Verified[CapacityAd] | Rejected: ...

    def receipt(self, receipt: ServiceReceipt) -> Verified[ServiceReceipt] | Rejected: ...

    def receipt_consumer(self, receipt: ServiceReceipt) -> Verified[ServiceReceipt] | Rejected: ...


class BlobNode(Protocol):
    """The node, as the blob service sees it."""

    @property
    def account(self) -> AccountId: ...

    @property
    def chain_id(self) -> Digest: ...

    @property
    def transport(self) -> Transport: ...

    @property
    def verifier(self) -> BlobVerifier: ...

    @property
    def replica(self) -> ReplicaView: ...

    def now_ms(self) -> Millis: ...

    async def ask(self, command: Callable[[int], Command]) -> object: ...

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]: ...
