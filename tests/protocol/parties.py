"""A consumer, a provider and the ledger between them, for tests of receipts."""

import hashlib
from collections.abc import Mapping

import msgspec

from p2p.model.ad import CapacityAd, Price, Resources, sign_ad
from p2p.model.blob import BLOB_SERVICE, Obligation
from p2p.model.commands import AcceptReceipt, Reply, SignReceipt, StoreReceipt, Work
from p2p.model.effects import Persist
from p2p.model.ledger import Channel, Rules
from p2p.model.parameters import Parameters
from p2p.model.persistence import Delete, DeleteRange, Put, Table
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Rejected
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Signer, Verified
from p2p.primitives.units import AMOUNT_MAX, MIB, Amount, BlobId, ChannelId, Digest, Height, Millis
from p2p.protocol.receipts import (
    BlockCommitted,
    Channels,
    PublishReceipt,
    ReceiptsEffect,
    ReceiptsInput,
    Restored,
)

CHAIN = Digest(digest(b"chain of the tests"))
CHANNEL = ChannelId(digest(b"channel of the tests"))
NOW_MS = Millis(1_000_000)
PARAMETERS = Parameters()
RULES = Rules(chain_id=CHAIN, parameters=PARAMETERS, parameters_digest=digest(b"unused"))


def key_of(name: str) -> Key:
    return Key(hashlib.sha256(name.encode()).digest())


CONSUMER, PROVIDER, STRANGER = key_of("consumer"), key_of("provider"), key_of("stranger")


def ad_of(key: Key = PROVIDER, **changes: object) -> CapacityAd:
    ad = CapacityAd(
        chain_id=CHAIN,
        provider=key.account,
        seq=1,
        issued_ms=NOW_MS,
        ttl_s=600,
        addrs=("/ip4/127.0.0.1/tcp/4001",),
        services=(BLOB_SERVICE,),
        region="eu",
        resources=Resources(storage_bytes_total=1024 * MIB, storage_bytes_free=1024 * MIB),
        price=Price(),
        blob_bytes_max=1024 * MIB,
        accepting=True,
        drain_epoch=0,
    )
    return sign_ad(msgspec.structs.replace(ad, **changes), Ed25519Signer(key))


AD = ad_of()
WORST_RECEIPT = ServiceReceipt(
    chain_id=CHAIN,
    provider=PROVIDER.account,
    consumer=CONSUMER.account,
    channel=CHANNEL,
    epoch=Height(2**53),
    seq=2**53,
    bytes_put=2**53,
    bytes_get=2**53,
    mib_epochs=2**53,
    amount=Amount(AMOUNT_MAX),
    obligations_root=CHAIN,
    ad_digest=CHAIN,
    consumer_signature=bytes(64),
    provider_signature=bytes(64),
)
"""As long as a receipt gets."""


def obligation(name: bytes, *, until_epoch: int = 100, size_bytes: int = MIB) -> Obligation:
    return Obligation(
        blob=BlobId(digest(name)),
        channel=CHANNEL,
        provider=PROVIDER.account,
        consumer=CONSUMER.account,
        size_bytes=size_bytes,
        until_epoch=until_epoch,
    )


class Party:
    """A receipts machine over a disk that keeps what was persisted."""

    def __init__(self, key: Key, rules: Rules = RULES) -> None:
        self.key = key
        self.rules = rules
        self.disk: dict[Table, dict[bytes, bytes]] = {Table.RECEIPTS: {}, Table.OBLIGATIONS: {}}
        self.published: list[ServiceReceipt] = []
        self.height = Height(0)
        self.ledger: Mapping[ChannelId, Channel] = {}
        self.restart()

    def restart(self) -> None:
        """Lose all memory."""
        signer, parameters = Ed25519Signer(self.key), self.rules.parameters
        self.machine = Channels(self.key.account, signer, CHAIN, parameters)
        restored = Restored(
            self.height,
            self.ledger,
            tuple(sorted(self.disk[Table.RECEIPTS].items())),
            tuple(sorted(self.disk[Table.OBLIGATIONS].items())),
        )
        assert self.machine.step(restored, NOW_MS) == []

    def step(self, item: ReceiptsInput) -> list[ReceiptsEffect]:
        """Step and carry the effects out in order."""
        effects = self.machine.step(item, NOW_MS)
        for effect in effects:
            match effect:
                case Persist():
                    self.write(effect)
                case PublishReceipt(receipt=receipt):
                    self.published.append(receipt)
                case Reply(result=ServiceReceipt() as receipt):
                    stored = self.disk[Table.RECEIPTS][receipt.channel]
                    assert any(
                        signature in stored
                        for signature in (receipt.consumer_signature, receipt.provider_signature)
                        if signature
                    ), "a receipt leaves only when it is durable"
        return effects

    def write(self, persist: Persist) -> None:
        """Make writes durable."""
        for write in persist.writes:
            match write:
                case Put(table=table, key=key, value=value):
                    self.disk[table][key] = value
                case Delete(table=table, key=key):
                    self.disk[table].pop(key, None)
                case DeleteRange():
                    raise AssertionError("receipts delete by key")

    def ask(self, item: ReceiptsInput) -> object:
        """The result of a command."""
        last = self.step(item)[-1]
        assert isinstance(last, Reply)
        return last.result

    def commit(self, height: int, channels: Mapping[ChannelId, Channel]) -> list[ReceiptsEffect]:
        self.height, self.ledger = Height(height), channels
        return self.step(BlockCommitted(self.height, channels))

    def sign(
        self,
        work: Work,
        *,
        adds: Obligation | None = None,
        epoch: int | None = None,
        ad: CapacityAd = AD,
    ) -> ServiceReceipt | Rejected:
        asked = None if epoch is None else Height(epoch)
        result = self.ask(SignReceipt(1, CHANNEL, Verified(ad), work, adds, asked))
        assert isinstance(result, ServiceReceipt | Rejected)
        return result

    def accept(
        self,
        receipt: ServiceReceipt,
        work: Work,
        *,
        adds: Obligation | None = None,
        ad: CapacityAd = AD,
    ) -> ServiceReceipt | Rejected:
        result = self.ask(AcceptReceipt(2, Verified(receipt), ad, work, adds))
        assert isinstance(result, ServiceReceipt | Rejected)
        return result

    def store(self, receipt: ServiceReceipt) -> ServiceReceipt | Rejected:
        result = self.ask(StoreReceipt(3, Verified(receipt)))
        assert isinstance(result, ServiceReceipt | Rejected)
        return result


class Pair:
    """Both parties on one channel of a ledger that stands at height 9."""

    def __init__(self, deposit: int = 1_000_000, *, late_epochs: int = 2) -> None:
        parameters = Parameters(receipt_late_epochs=late_epochs)
        self.rules = msgspec.structs.replace(RULES, parameters=parameters)
        self.consumer, self.provider = Party(CONSUMER, self.rules), Party(PROVIDER, self.rules)
        self.channel = Channel(CONSUMER.account, PROVIDER.account, Amount(deposit))
        self.height = 9
        self.commit()

    def commit(self, **changes: object) -> list[ReceiptsEffect]:
        """One more block; what the provider does about it."""
        self.channel = msgspec.structs.replace(self.channel, **changes)
        channels = {CHANNEL: self.channel}
        self.consumer.commit(self.height, channels)
        effects = self.provider.commit(self.height, channels)
        self.height += 1
        return effects

    def pay(self, work: Work, *, adds: Obligation | None = None) -> ServiceReceipt:
        """One window paid without trouble."""
        promise = self.consumer.sign(work, adds=adds)
        assert isinstance(promise, ServiceReceipt), promise
        signed = self.provider.accept(promise, work, adds=adds)
        assert isinstance(signed, ServiceReceipt), signed
        assert self.consumer.store(signed) == signed
        return signed
