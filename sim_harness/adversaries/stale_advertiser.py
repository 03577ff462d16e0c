"""stale_advertiser: its ads are old, expired, of tomorrow, or two of one number."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from p2p.model.ad import CapacityAd, Resources, sign_ad
from p2p.model.rpc import Message
from p2p.model.topic import Topic
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.interface import ReplicaEffect
from sim_harness.adversaries.adversary import Adversary

TOMORROW_MS = 24 * 3_600_000


@dataclass
class StaleAdvertiser(Adversary):
    """Holds its own renewals back, and every few seconds sends each peer a bad ad instead."""

    kind: ClassVar[str] = "stale_advertiser"
    wants_vote: ClassVar[bool] = False
    tick_ms: ClassVar[int] = 3_000
    _first: CapacityAd | None = field(default=None, init=False)
    _turn: int = field(default=0, init=False)

    def say(self, peer: PeerId, message: Message, now_ms: Millis) -> Iterable[Message]:
        own = self.core.registry.get(self.account)
        if own is None or message != self.message(Topic.ADS, own.value):
            return (message,)
        self._first = self._first or own.value
        if own.value.seq == self._first.seq:
            return (message,)
        self.deeds["renewals kept back"] += 1
        return ()

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        if self._first is None:
            return
        sorts = (self._old, self._expired, self._of_tomorrow, self._boasts, self._two_of_one)
        sort = sorts[self._turn % len(sorts)]
        self._turn += 1
        for ad in sort(self._first, now_ms):
            self.deeds[sort.__name__.strip("_")] += 1
            yield from self.spread(self.message(Topic.ADS, ad))

    def _signed(self, ad: CapacityAd, **changes: object) -> CapacityAd:
        changed = msgspec.structs.replace(ad, signature=b"", **changes)
        return sign_ad(changed, self.signer)

    # ---- sorts -------------------------------------------------------------------------------

    def _old(self, first: CapacityAd, now_ms: Millis) -> Iterator[CapacityAd]:
        yield first

    def _expired(self, first: CapacityAd, now_ms: Millis) -> Iterator[CapacityAd]:
        seq = first.seq + 1_000 + self._turn
        yield self._signed(first, seq=seq, issued_ms=now_ms - TOMORROW_MS, ttl_s=1)

    def _of_tomorrow(self, first: CapacityAd, now_ms: Millis) -> Iterator[CapacityAd]:
        yield self._signed(first, seq=first.seq + 2_000, issued_ms=now_ms + TOMORROW_MS)

    def _boasts(self, first: CapacityAd, now_ms: Millis) -> Iterator[CapacityAd]:
        """More than any machine has: nothing says it is false, and it earns nothing."""
        huge = Resources(storage_bytes_total=1024**5, storage_bytes_free=1024**5)
        seq = first.seq + 1 + self._turn
        yield self._signed(first, seq=seq, issued_ms=now_ms, resources=huge, accepting=True)

    def _two_of_one(self, first: CapacityAd, now_ms: Millis) -> Iterator[CapacityAd]:
        seq = first.seq + 1 + self._turn
        for region in ("here", "there"):
            yield self._signed(first, seq=seq, issued_ms=now_ms, region=region)
