"""A node goes on asking for what it missed: when others come or go, and at its leisure."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from p2p.model.inputs import PeerDisconnected, TimerFired
from p2p.model.requests import AD_MARK_BYTES, ADS_KNOWN_MAX
from p2p.primitives.keys import Key
from p2p.primitives.signing import Verified
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.registry import Registry, RegistryParameters
from p2p.protocol.registry.interface import (
    PULL_TIMER,
    AdsReceived,
    AskAds,
    AskFailed,
    RegistryEffect,
)
from p2p.protocol.registry.table import AdTable, Allowance, Entry
from tests.protocol.registry_bench import (
    NOW,
    OTHERS,
    connect,
    hear,
    make_ad,
    new_registry,
    started_registry,
    timers,
)

PARAMETERS = RegistryParameters(asks_max=0, early_ms=())


def asks(effects: list[RegistryEffect]) -> list[AskAds]:
    return [effect for effect in effects if isinstance(effect, AskAds)]


def answer(registry: Registry, asked: AskAds, source: Registry, now_ms: int) -> list[AskAds]:
    page = source.page(asked.after, asked.count, asked.until, asked.known)
    ads = tuple(Verified(ad) for ad in page)
    return asks(registry.step(AdsReceived(asked.peer, ads), Millis(now_ms)))


def pulls(registry: Registry, from_ms: int, count: int) -> list[tuple[int, PeerId | None]]:
    """Fire the pull that is due and those that it sets; nobody knows anything. When, and whom."""
    found: list[tuple[int, PeerId | None]] = []
    at_ms = from_ms
    for _ in range(count):
        effects = registry.step(TimerFired(PULL_TIMER), Millis(at_ms))
        asked = asks(effects)
        found.append((at_ms, asked[0].peer if asked else None))
        if asked:
            registry.step(AdsReceived(asked[0].peer, ()), Millis(at_ms + 10))
        at_ms = timers(effects)[PULL_TIMER]
    return found


def test_questions_become_rarer_while_they_bring_nothing() -> None:
    registry = started_registry(PARAMETERS)
    first_ms = timers(connect(registry, OTHERS[0]))[PULL_TIMER]
    moments = [at_ms for at_ms, _ in pulls(registry, first_ms, 6)]
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    for gap, span in zip(gaps, (4_000, 8_000, 16_000, 16_000, 16_000), strict=True):
        assert span <= gap <= span * 5 // 4
    assert 2_000 <= first_ms - NOW <= 2_500


def test_a_new_neighbour_is_asked_first_and_soon() -> None:
    registry = started_registry(PARAMETERS)
    first_ms = timers(connect(registry, OTHERS[0]))[PULL_TIMER]
    last_ms, _ = pulls(registry, first_ms, 4)[-1]
    at_ms = timers(connect(registry, OTHERS[1], last_ms + 100))[PULL_TIMER]
    assert at_ms <= last_ms + 100 + 2_500
    assert [peer for _, peer in pulls(registry, at_ms, 1)] == [OTHERS[1].peer]


def test_a_new_neighbour_does_not_make_the_others_be_asked_more_often() -> None:
    registry = started_registry(PARAMETERS)
    first_ms = timers(connect(registry, OTHERS[0]))[PULL_TIMER]
    last_ms, _ = pulls(registry, first_ms, 4)[-1]
    at_ms = timers(connect(registry, OTHERS[1], last_ms + 100))[PULL_TIMER]
    (asked, _), (later, _) = pulls(registry, at_ms, 2)
    assert later - asked >= 16_000


def test_several_new_neighbours_are_asked_one_soon_after_the_other() -> None:
    registry = started_registry(PARAMETERS)
    at_ms = timers(connect(registry, OTHERS[0]))[PULL_TIMER]
    for other in OTHERS[1:3]:
        connect(registry, other)
    moments, peers = zip(*pulls(registry, at_ms, 3), strict=True)
    assert set(peers) == {other.peer for other in OTHERS[:3]}
    assert max(later - sooner for sooner, later in pairwise(moments)) <= 2_500


def test_who_lost_every_neighbour_asks_nobody() -> None:
    registry = started_registry(PARAMETERS)
    connect(registry, OTHERS[0])
    assert registry.step(PeerDisconnected(OTHERS[0].peer), Millis(NOW + 200)) == []
    assert registry.step(TimerFired(PULL_TIMER), Millis(NOW + 3_000)) == []


def test_a_neighbour_that_did_not_answer_is_asked_again_and_one_that_is_asked_is_not() -> None:
    registry = started_registry(PARAMETERS)
    at_ms = timers(connect(registry, OTHERS[0]))[PULL_TIMER]
    effects = registry.step(TimerFired(PULL_TIMER), Millis(at_ms))
    assert len(asks(effects)) == 1
    effects = registry.step(TimerFired(PULL_TIMER), Millis(timers(effects)[PULL_TIMER]))
    assert asks(effects) == []
    registry.step(AskFailed(OTHERS[0].peer), Millis(at_ms + 9_000))
    effects = registry.step(TimerFired(PULL_TIMER), Millis(timers(effects)[PULL_TIMER]))
    assert [one.peer for one in asks(effects)] == [OTHERS[0].peer]


def test_only_what_is_missing_comes_and_news_bring_the_next_question_sooner() -> None:
    registry, source = started_registry(PARAMETERS), new_registry()
    for key in OTHERS[:5]:
        hear(source, make_ad(key))
    for key in OTHERS[:3]:
        hear(registry, make_ad(key))
    first_ms = timers(connect(registry, OTHERS[5]))[PULL_TIMER]
    last_ms, _ = pulls(registry, first_ms, 4)[-1]
    effects = registry.step(TimerFired(PULL_TIMER), Millis(last_ms + 20_000))
    (asked,) = asks(effects)
    page = source.page(asked.after, asked.count, asked.until, asked.known)
    assert [ad.provider for ad in page] == [key.account for key in OTHERS[3:5]]
    took = registry.step(
        AdsReceived(asked.peer, tuple(Verified(ad) for ad in page)), Millis(last_ms + 20_100)
    )
    assert timers(took)[PULL_TIMER] <= last_ms + 20_100 + 2_500
    assert len(registry.ads()) == 6


def test_a_large_table_is_compared_range_by_range() -> None:
    """Both know 300 providers; each lacks some of the other's, before, between and after."""
    keys = sorted((Key(bytes([1, n % 256, n // 256]) + bytes(29)) for n in range(300)), key=account)
    registry, source = started_registry(PARAMETERS), new_registry()
    for number, key in enumerate(keys):
        if number % 50:
            hear(registry, make_ad(key))
        hear(source, make_ad(key))
    at_ms = timers(connect(registry, OTHERS[0]))[PULL_TIMER]
    queue = asks(registry.step(TimerFired(PULL_TIMER), Millis(at_ms)))
    sizes = []
    while queue:
        asked = queue.pop()
        sizes.append(len(asked.known) // 4)
        queue += answer(registry, asked, source, at_ms)
    assert sizes[0] == ADS_KNOWN_MAX
    assert len(sizes) == 2
    assert len(registry.ads()) == 301


def account(key: Key) -> bytes:
    return key.account


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3))), st.integers(0, 5))
def test_marks_follow_the_ads_of_a_table(steps: list[tuple[int, int]], after: int) -> None:
    """Given ads that come, are replaced and expire; then marks are those of the ads that stay."""
    table = AdTable(100)
    for number, seq in steps:
        ad = make_ad(OTHERS[number], seq=seq, ttl_s=30 * seq)
        entry = table.entry(OTHERS[number].account)
        if entry is None:
            table.put(Entry(ad, Allowance(NOW, gap_ms=1, burst_max=1)))
        elif seq == 1:
            table.drop_expired(Millis(NOW + 45_000))
        else:
            table.renew(entry, ad)
    above = [ad.value for ad in table.above(OTHERS[after].account, 4)]
    marks, last = table.marks(OTHERS[after].account, b"", 4)
    assert marks == b"".join(ad.signature[:AD_MARK_BYTES] for ad in above)
    assert last == (above[-1].provider if len(above) == 4 else b"")
    until = OTHERS[min(after + 2, 5)].account
    assert table.marks(OTHERS[after].account, until, 12)[0] == b"".join(
        ad.signature[:AD_MARK_BYTES] for ad in above if ad.provider <= until
    )
