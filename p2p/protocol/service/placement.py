"""Where to put a blob: who is able, who is cheap, and how replicas are spread over regions."""

from collections.abc import Container, Iterable, Sequence

import msgspec

from p2p.model.ad import CapacityAd
from p2p.model.blob import BLOB_SERVICE
from p2p.primitives.digests import digest
from p2p.primitives.units import BASIS_POINTS, MIB, AccountId, Amount, BlobId, div_ceil


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be stored, by whom, and when."""

    blob: BlobId
    size_bytes: int
    epochs: int
    consumer: AccountId
    epoch: int
    now_ms: int
    price_max: Amount | None = None
    """Most that one replica may cost."""


class Candidate(msgspec.Struct, frozen=True):
    """An able provider and the price of one replica there."""

    ad: CapacityAd
    price: Amount
    quality: int = BASIS_POINTS


def rank_providers(ads: Iterable[tuple[CapacityAd, int]], wanted: Wanted) -> tuple[Candidate, ...]:
    """Able providers, best first.

    `ads` come with their provider's quality in basis points. Best is the lowest price for its
    quality, then the most free space in steps of powers of two (so that equals share the load),
    then a draw that depends on the blob: every consumer ranks the same blob alike.
    """
    able = [
        Candidate(ad, _price(ad, wanted), quality) for ad, quality in ads if _is_able(ad, wanted)
    ]
    if wanted.price_max is not None:
        able = [candidate for candidate in able if candidate.price <= wanted.price_max]
    return tuple(sorted(able, key=lambda candidate: _rank(candidate, wanted)))


def next_provider(ranked: Sequence[Candidate], regions_taken: Container[str]) -> Candidate | None:
    """The best candidate in a region without a replica, else the best of all.

    Providers that name no region count as one region, since nothing tells them apart.
    """
    for candidate in ranked:
        if candidate.ad.region not in regions_taken:
            return candidate
    return ranked[0] if ranked else None


def choose_providers(ranked: Sequence[Candidate], replicas: int) -> tuple[Candidate, ...]:
    """The first choice for each replica; fewer where there are not so many providers."""
    left = list(ranked)
    chosen: list[Candidate] = []
    regions: list[str] = []
    while left and len(chosen) < replicas:
        candidate = next_provider(left, regions)
        assert candidate is not None, "some are left"
        left.remove(candidate)
        chosen.append(candidate)
        regions.append(candidate.ad.region)
    return tuple(chosen)


def _is_able(ad: CapacityAd, wanted: Wanted) -> bool:
    drained = 0 < ad.drain_epoch < wanted.epoch + wanted.epochs
    return (
        ad.accepting
        and not drained
        and BLOB_SERVICE in ad.services
        and ad.provider != wanted.consumer
        and wanted.now_ms <= ad.expires_ms
        and wanted.size_bytes <= ad.blob_bytes_max
        and wanted.size_bytes <= ad.resources.storage_bytes_free
    )


def _price(ad: CapacityAd, wanted: Wanted) -> Amount:
    mib_epochs = div_ceil(wanted.size_bytes, MIB) * wanted.epochs
    return ad.price.amount(bytes_put=wanted.size_bytes, bytes_get=0, mib_epochs=mib_epochs)


def _rank(candidate: Candidate, wanted: Wanted) -> tuple[int, int, bytes]:
    quality = max(1, candidate.quality)
    free = candidate.ad.resources.storage_bytes_free.bit_length()
    draw = digest(b"placement", wanted.blob, candidate.ad.provider)
    return div_ceil(candidate.price * BASIS_POINTS, quality), -free, draw
