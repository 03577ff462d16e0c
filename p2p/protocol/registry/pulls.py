"""Pulling: what gossip or a partition lost is asked for, from one neighbour after the other.

    timer -> ask one neighbour, new ones first, what it has beyond the marks of ours
          -> news: again in `pull_ms_min`;  none or no answer: twice the span, up to `pull_ms_max`
    a neighbour comes -> it is asked within `pull_ms_min`, and the span stays

A question covers the next `ADS_KNOWN_MAX` providers that we know, and those between them; further
questions to the same neighbour follow its answers until all are covered.
"""

from p2p.model.ad import CapacityAd
from p2p.model.effects import SetTimer
from p2p.model.requests import AD_MARK_BYTES, ADS_KNOWN_MAX
from p2p.primitives.draws import Draws
from p2p.primitives.signing import Verified
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.registry.interface import PULL_TIMER, AskAds, RegistryParameters
from p2p.protocol.registry.table import AdTable

Order = AskAds | SetTimer


class Pulls:
    """Whom to ask for ads, when, and for which. Bounded by the number of neighbours."""

    def __init__(self, table: AdTable, parameters: RegistryParameters, draws: Draws) -> None:
        self._table, self._parameters, self._draws = table, parameters, draws
        self._neighbours: dict[PeerId, None] = {}
        self._fresh: dict[PeerId, None] = {}
        """Those that were asked nothing since they came."""
        self._asked: dict[PeerId, AskAds] = {}
        """What is asked now, by neighbour."""
        self._pages: dict[PeerId, int] = {}
        """How many answers of a neighbour came before the one awaited."""
        self._span_ms = parameters.pull_ms_min
        self._due_ms: Millis | None = None

    def is_asking(self, peer: PeerId) -> bool:
        """Whether an answer of this neighbour is awaited."""
        return peer in self._asked

    def met(self, peer: PeerId, now_ms: Millis) -> list[Order]:
        """A neighbour came: ask it before long."""
        self._neighbours[peer] = self._fresh[peer] = None
        return self._hasten(now_ms)

    def parted(self, peer: PeerId) -> None:
        """A neighbour went."""
        for known in (self._neighbours, self._fresh, self._pages):
            known.pop(peer, None)
        self._asked.pop(peer, None)

    def failed(self, peer: PeerId) -> None:
        """A neighbour did not answer: the next turn asks another, or the same again."""
        self._asked.pop(peer, None)
        self._pages.pop(peer, None)

    def soon(self, now_ms: Millis) -> list[Order]:
        """Something happened: ask somebody before long."""
        self._span_ms = self._parameters.pull_ms_min
        return self._hasten(now_ms)

    def fire(self, now_ms: Millis) -> list[Order]:
        """The time has come."""
        self._due_ms = None
        if not self._neighbours:
            return []
        self._span_ms = min(2 * self._span_ms, self._parameters.pull_ms_max)
        free = [peer for peer in self._fresh or self._neighbours if peer not in self._asked]
        asks = self.ask(self._draws.choice(free)) if free else []
        span_ms = self._parameters.pull_ms_min if self._fresh else self._span_ms
        return [*self._plan(now_ms, span_ms), *asks]

    def ask(self, peer: PeerId, *, after: bytes = b"", pages: int = 0) -> list[Order]:
        """For what we lack of providers above `after`."""
        self._fresh.pop(peer, None)
        known, until = self._table.marks(after, b"", ADS_KNOWN_MAX)
        order = AskAds(peer, after, self._parameters.page_max, until, known)
        self._asked[peer], self._pages[peer] = order, pages
        return [order]

    def answered(self, peer: PeerId, ads: tuple[Verified[CapacityAd], ...]) -> list[Order]:
        """After an awaited answer was taken in: ask on while there is more, it rises, and fits."""
        asked, pages = self._asked.pop(peer), self._pages.pop(peer, 0) + 1
        page_max = self._parameters.page_max
        # A full page goes on behind its last ad, any other behind what was asked about.
        after = ads[-1].value.provider if len(ads) >= page_max else asked.until
        if after > asked.after and pages * page_max < self._parameters.ads_max:
            return self.ask(peer, after=after, pages=pages)
        return []

    def _hasten(self, now_ms: Millis) -> list[Order]:
        span_ms = self._parameters.pull_ms_min
        is_soon = self._due_ms is not None and self._due_ms <= now_ms + span_ms * 5 // 4
        return [] if is_soon else self._plan(now_ms, span_ms)

    def _plan(self, now_ms: Millis, span_ms: int) -> list[Order]:
        late_ms = self._draws.below(span_ms // 4 + 1)
        self._due_ms = Millis(now_ms + span_ms + late_ms)
        return [SetTimer(PULL_TIMER, self._due_ms)]


def missing(
    table: AdTable, *, after: bytes, count: int, until: bytes, known: bytes
) -> list[CapacityAd]:
    """What a neighbour lacks of the providers above `after` and up to `until`, upwards."""
    if table.marks(after, until, ADS_KNOWN_MAX + 1)[0] == known:
        return []  # the usual case: it knows all that we know
    size = AD_MARK_BYTES
    marks = frozenset(known[at : at + size] for at in range(0, len(known), size))
    found: list[CapacityAd] = []
    while len(found) < count:
        chunk = table.above(after, ADS_KNOWN_MAX)
        for ad in chunk:
            after = ad.value.provider
            if (until and after > until) or len(found) >= count:
                return found
            if ad.value.signature[:size] not in marks:
                found.append(ad.value)
        if len(chunk) < ADS_KNOWN_MAX:
            break
    return found
