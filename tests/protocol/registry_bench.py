"""Registries, ads, and what a step came to, for tests of the registry."""

from p2p.model.ad import CapacityAd, Price, Resources, sign_ad
from p2p.model.effects import SetTimer
from p2p.model.inputs import PeerConnected
from p2p.model.offer import Offer
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Signer, Verified
from p2p.primitives.units import MIB, Digest, Millis
from p2p.protocol.registry import Registry, RegistryParameters, Verdict
from p2p.protocol.registry.interface import (
    AddressesKnown,
    AdLearned,
    AdReceived,
    Judge,
    PublishAd,
    RegistryEffect,
)

CHAIN = digest(b"chain")
NOW = Millis(1_000_000)
ME = Key(digest(b"me"))
OTHERS = sorted((Key(digest(b"other", bytes([n]))) for n in range(6)), key=lambda one: one.account)
SPACIOUS = Offer(
    resources=Resources(storage_bytes_total=100 * MIB, storage_bytes_free=100 * MIB),
    accepting=True,
)


def new_registry(parameters: RegistryParameters | None = None, key: Key = ME) -> Registry:
    return Registry(key.account, Ed25519Signer(key), CHAIN, parameters, seed=b"test")


def started_registry(parameters: RegistryParameters | None = None) -> Registry:
    registry = new_registry(parameters)
    registry.step(AddressesKnown(("/ip4/127.0.0.1/tcp/1",)), NOW)
    return registry


def make_ad(
    key: Key,
    *,
    seq: int = 1,
    issued_ms: int = NOW,
    ttl_s: int = 600,
    chain_id: Digest = CHAIN,
    region: str = "eu",
    price: Price | None = None,
    free: int = 10 * MIB,
    blob_bytes_max: int = 5 * MIB,
    accepting: bool = True,
    drain_epoch: int = 0,
    addrs: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/2",),
) -> Verified[CapacityAd]:
    ad = CapacityAd(
        chain_id=chain_id,
        provider=key.account,
        seq=seq,
        issued_ms=Millis(issued_ms),
        ttl_s=ttl_s,
        addrs=addrs,
        services=("blob/1",),
        region=region,
        resources=Resources(storage_bytes_total=10 * MIB, storage_bytes_free=free),
        price=price or Price(),
        blob_bytes_max=blob_bytes_max,
        accepting=accepting,
        drain_epoch=drain_epoch,
    )
    return Verified(sign_ad(ad, Ed25519Signer(key)))


def hear(registry: Registry, ad: Verified[CapacityAd], now_ms: int = NOW) -> list[RegistryEffect]:
    return registry.step(AdReceived(ad), Millis(now_ms))


def published(effects: list[RegistryEffect]) -> list[CapacityAd]:
    return [one.ad.value for one in effects if isinstance(one, PublishAd)]


def timers(effects: list[RegistryEffect]) -> dict[str, int]:
    return {one.key: one.at_ms for one in effects if isinstance(one, SetTimer)}


def marks(*ads: Verified[CapacityAd]) -> bytes:
    return b"".join(ad.value.signature[:4] for ad in ads)


def learned(ad: Verified[CapacityAd]) -> list[RegistryEffect]:
    value = ad.value
    return [Judge(Verdict.ACCEPT), AdLearned(value.provider, value.seq, value.addrs)]


def connect(registry: Registry, key: Key, now_ms: int = NOW) -> list[RegistryEffect]:
    return registry.step(PeerConnected(key.peer, outbound=True, address=""), Millis(now_ms))
