"""The ads of others and our own: at most one a provider, bounded in all.

Which ad stays when the table is full:

- an account with something at stake (bonded, or ourselves) always finds room: it takes the place of
  the account without stake whose ad expires first, and the loss is told (`AdDropped`);
- an account without stake finds room only where there is some; it never displaces anybody, so keys
  made for nothing cannot push out whoever was here;
- an account at stake is never displaced.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from p2p.model.ad import CapacityAd
from p2p.model.requests import AD_MARK_BYTES
from p2p.primitives.digests import digest
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB, AccountId, Amount, Millis, div_ceil
from p2p.protocol.registry.interface import Need


class Allowance:
    """Room for `burst_max` events at once and one more every `gap_ms`."""

    __slots__ = ("_at_ms", "_burst_max", "_gap_ms", "_spare_ms")

    def __init__(self, now_ms: Millis, *, gap_ms: int, burst_max: int) -> None:
        self._gap_ms, self._burst_max = gap_ms, burst_max
        self._spare_ms, self._at_ms = gap_ms * burst_max, now_ms

    def take(self, now_ms: Millis) -> bool:
        """Use up one event; False when there is none left, which uses up nothing."""
        elapsed_ms = max(0, now_ms - self._at_ms)
        spare_ms = min(self._gap_ms * self._burst_max, self._spare_ms + elapsed_ms)
        if spare_ms < self._gap_ms:
            return False
        self._spare_ms, self._at_ms = spare_ms - self._gap_ms, now_ms
        return True


class Entry:
    """A provider's newest ad."""

    __slots__ = ("ad", "allowance", "in_conflict")

    def __init__(self, ad: Verified[CapacityAd], allowance: Allowance) -> None:
        self.ad = ad
        self.allowance = allowance
        self.in_conflict = False
        """Its provider signed another ad of the same seq: it is offered to nobody."""


class AdTable:
    """Entries by provider."""

    def __init__(self, ads_max: int) -> None:
        self._ads_max = ads_max
        self._entries: dict[AccountId, Entry] = {}
        self._ordered: list[AccountId] = []
        """The providers, sorted."""
        self._marks = bytearray()
        """The beginning of each one's signature, in that order."""

    def entry(self, provider: AccountId) -> Entry | None:
        """The provider's entry."""
        return self._entries.get(provider)

    def put(self, entry: Entry) -> None:
        """Add an entry, or replace the provider's."""
        provider = entry.ad.value.provider
        at = bisect_left(self._ordered, provider)
        if provider not in self._entries:
            self._ordered.insert(at, provider)
            self._marks[at * AD_MARK_BYTES : at * AD_MARK_BYTES] = bytes(AD_MARK_BYTES)
        self._entries[provider] = entry
        self._mark(at, entry.ad)

    def renew(self, entry: Entry, ad: Verified[CapacityAd]) -> None:
        """A provider's newer ad takes the place of one that is here."""
        entry.ad, entry.in_conflict = ad, False
        self._mark(bisect_left(self._ordered, ad.value.provider), ad)

    def _mark(self, at: int, ad: Verified[CapacityAd]) -> None:
        mark = ad.value.signature[:AD_MARK_BYTES].ljust(AD_MARK_BYTES, b"\0")
        self._marks[at * AD_MARK_BYTES : (at + 1) * AD_MARK_BYTES] = mark

    def marks(self, after: bytes, until: bytes, count: int) -> tuple[bytes, bytes]:
        """Marks of the first providers above `after`, up to `until` if one is named.

        With the last of these providers, empty when there are fewer than `count`.
        """
        start = bisect_right(self._ordered, after)
        end = bisect_right(self._ordered, until) if until else len(self._ordered)
        last = b""
        if end - start >= count:
            end = start + count
            last = self._ordered[end - 1]
        return bytes(self._marks[start * AD_MARK_BYTES : end * AD_MARK_BYTES]), last

    def is_full(self) -> bool:
        """Whether a new provider would be one too many."""
        return len(self._entries) >= self._ads_max

    def make_room(self, staked: frozenset[AccountId]) -> AccountId | None:
        """Drop the provider without stake whose ad expires first, and name it."""
        strangers = [account for account in self._entries if account not in staked]
        if not strangers:
            return None
        first = min(strangers, key=lambda one: (self._entries[one].ad.value.expires_ms, one))
        self._drop(first)
        return first

    def drop_expired(self, now_ms: Millis) -> list[AccountId]:
        """Drop what has expired, by provider."""
        gone = [
            provider
            for provider, entry in self._entries.items()
            if entry.ad.value.expires_ms <= now_ms
        ]
        for provider in gone:
            self._drop(provider)
        return sorted(gone)

    def first_expiry_ms(self) -> Millis | None:
        """When the next ad expires."""
        moments = [entry.ad.value.expires_ms for entry in self._entries.values()]
        return Millis(min(moments)) if moments else None

    def ads(self) -> list[Verified[CapacityAd]]:
        """All ads, by provider."""
        return [self._entries[provider].ad for provider in self._ordered]

    def above(self, after: bytes, count: int) -> list[Verified[CapacityAd]]:
        """The first ads of providers above `after`, by provider."""
        start = bisect_right(self._ordered, after)
        return [self._entries[one].ad for one in self._ordered[start : start + count]]

    def find(self, need: Need) -> list[Verified[CapacityAd]]:
        """Ads that meet a need, cheapest first; equal costs by digest of salt and provider."""
        excluded = frozenset(need.exclude)
        found = [
            entry.ad
            for provider, entry in self._entries.items()
            if not entry.in_conflict and provider not in excluded and meets(entry.ad.value, need)
        ]
        return sorted(found, key=lambda ad: _rank(ad.value, need))

    def _drop(self, provider: AccountId) -> None:
        del self._entries[provider]
        at = bisect_left(self._ordered, provider)
        del self._ordered[at]
        del self._marks[at * AD_MARK_BYTES : (at + 1) * AD_MARK_BYTES]


def cost(ad: CapacityAd, need: Need) -> Amount:
    """What the use that `need` describes costs at this provider, in micro-tokens."""
    return ad.price.amount(
        bytes_put=need.blob_bytes,
        bytes_get=need.blob_bytes * need.reads,
        mib_epochs=div_ceil(need.blob_bytes, MIB) * need.epochs,
    )


def meets(ad: CapacityAd, need: Need) -> bool:
    """Whether the provider takes new work of this kind now."""
    draining = 0 < ad.drain_epoch <= need.height
    return (
        ad.accepting
        and not draining
        and bool(ad.addrs)
        and need.blob_bytes <= ad.blob_bytes_max
        and need.blob_bytes <= ad.resources.storage_bytes_free
        and (need.region is None or need.region == ad.region)
        and (need.service is None or need.service in ad.services)
        and (need.cost_max is None or cost(ad, need) <= need.cost_max)
    )


def spread_over_regions(ads: Iterable[Verified[CapacityAd]]) -> list[Verified[CapacityAd]]:
    """The first ad of every region, then the second of every region, and so on, in given order."""
    seen: dict[str, int] = {}
    ranked: list[tuple[int, int]] = []
    listed = list(ads)
    for index, ad in enumerate(listed):
        turn = seen.get(ad.value.region, 0)
        seen[ad.value.region] = turn + 1
        ranked.append((turn, index))
    return [listed[index] for _, index in sorted(ranked)]


def _rank(ad: CapacityAd, need: Need) -> tuple[int, bytes]:
    return cost(ad, need), digest(need.salt, ad.provider)
