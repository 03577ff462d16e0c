"""The registry: verdicts on others' ads, room for them, search, and neighbours."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.ad import CapacityAd, Price
from p2p.model.effects import SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rejection import Reason
from p2p.primitives.digests import ZERO_DIGEST, digest
from p2p.primitives.keys import Key
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB, AccountId, Amount, Height, Millis
from p2p.protocol.registry import Need, Registry, RegistryParameters, Verdict
from p2p.protocol.registry.interface import (
    EXPIRE_TIMER,
    PULL_TIMER,
    RENEW_TIMER,
    AccountsBonded,
    AdConflictFound,
    AddressesKnown,
    AdDropped,
    AdLearned,
    AdsReceived,
    AskAds,
    Judge,
    RegistryInput,
)
from p2p.protocol.registry.table import spread_over_regions
from tests.protocol.registry_bench import (
    ME,
    NOW,
    OTHERS,
    connect,
    hear,
    learned,
    make_ad,
    marks,
    new_registry,
    started_registry,
    timers,
)

# ---- ads of others --------------------------------------------------------------------------


def test_a_new_ad_is_kept_and_its_expiry_watched() -> None:
    registry, ad = new_registry(), make_ad(OTHERS[0])
    assert hear(registry, ad) == [*learned(ad), SetTimer(EXPIRE_TIMER, Millis(NOW + 600_000))]
    assert registry.get(OTHERS[0].account) == ad
    assert registry.ads() == [ad]
    assert registry.addresses_of(OTHERS[0].account) == ad.value.addrs
    assert registry.get(OTHERS[1].account) is None
    assert registry.addresses_of(OTHERS[1].account) == ()


def test_a_higher_seq_replaces_and_a_lower_one_is_ignored() -> None:
    registry = new_registry()
    first, second, third = (make_ad(OTHERS[0], seq=seq) for seq in (1, 2, 3))
    hear(registry, second)
    assert hear(registry, first) == [Judge(Verdict.IGNORE, Reason.OUTDATED)]
    assert hear(registry, second) == [Judge(Verdict.IGNORE, Reason.OUTDATED)]
    assert hear(registry, third) == learned(third)
    assert registry.ads() == [third]


def test_one_seq_with_two_bodies_is_evidence_and_the_first_stays() -> None:
    registry = new_registry()
    first, second = make_ad(OTHERS[0], region="eu"), make_ad(OTHERS[0], region="us")
    third = make_ad(OTHERS[0], region="asia")
    hear(registry, first)
    assert hear(registry, second) == [
        Judge(Verdict.ACCEPT, Reason.EQUIVOCATION),
        AdConflictFound(first, second),
    ]
    assert hear(registry, third) == [Judge(Verdict.IGNORE, Reason.EQUIVOCATION)]
    assert registry.get(OTHERS[0].account) == first


def test_a_provider_in_conflict_gets_no_business_until_its_next_ad() -> None:
    registry, need = new_registry(), Need(height=Height(1))
    hear(registry, make_ad(OTHERS[0], region="eu"))
    hear(registry, make_ad(OTHERS[0], region="us"))
    assert registry.find(need) == []
    clean = make_ad(OTHERS[0], seq=2)
    hear(registry, clean)
    assert registry.find(need) == [clean]


@pytest.mark.parametrize(
    ("ad", "verdict", "reason"),
    [
        (make_ad(OTHERS[0], chain_id=ZERO_DIGEST), Verdict.REJECT, Reason.WRONG_CHAIN),
        (make_ad(OTHERS[0], issued_ms=NOW - 600_000), Verdict.IGNORE, Reason.EXPIRED),
        (make_ad(OTHERS[0], issued_ms=NOW + 60_001), Verdict.IGNORE, Reason.FROM_THE_FUTURE),
    ],
)
def test_an_ad_that_cannot_be_used_changes_nothing(
    ad: Verified[CapacityAd], verdict: Verdict, reason: Reason
) -> None:
    registry = new_registry()
    assert hear(registry, ad) == [Judge(verdict, reason)]
    assert registry.ads() == []


def test_an_ad_dated_a_little_ahead_is_kept() -> None:
    registry, ad = new_registry(), make_ad(OTHERS[0], issued_ms=NOW + 60_000)
    assert hear(registry, ad)[0] == Judge(Verdict.ACCEPT)


def test_a_provider_that_floods_is_ignored_until_time_has_passed() -> None:
    registry = new_registry(RegistryParameters(ad_burst_max=2, ad_gap_ms=1_000))
    verdicts = [hear(registry, make_ad(OTHERS[0], seq=seq))[0] for seq in (1, 2, 3)]
    assert verdicts == [
        Judge(Verdict.ACCEPT),
        Judge(Verdict.ACCEPT),
        Judge(Verdict.IGNORE, Reason.TOO_MANY),
    ]
    assert hear(registry, make_ad(OTHERS[0], seq=4), NOW + 999)[0] != Judge(Verdict.ACCEPT)
    assert hear(registry, make_ad(OTHERS[0], seq=5), NOW + 1_000)[0] == Judge(Verdict.ACCEPT)


def test_expired_ads_are_dropped_by_the_timer() -> None:
    registry = new_registry()
    hear(registry, make_ad(OTHERS[0], ttl_s=10))
    hear(registry, make_ad(OTHERS[1], ttl_s=30))
    assert registry.step(TimerFired(EXPIRE_TIMER), Millis(NOW + 10_000)) == [
        AdDropped(OTHERS[0].account, Reason.EXPIRED),
        SetTimer(EXPIRE_TIMER, Millis(NOW + 30_000)),
    ]
    assert registry.step(TimerFired(EXPIRE_TIMER), Millis(NOW + 30_000)) == [
        AdDropped(OTHERS[1].account, Reason.EXPIRED)
    ]
    assert registry.ads() == []


def test_searches_for_expired_ads_keep_a_distance() -> None:
    registry = new_registry()
    hear(registry, make_ad(OTHERS[0], ttl_s=10))
    hear(registry, make_ad(OTHERS[1], ttl_s=10, issued_ms=NOW + 1))
    effects = registry.step(TimerFired(EXPIRE_TIMER), Millis(NOW + 10_000))
    assert effects[-1] == SetTimer(EXPIRE_TIMER, Millis(NOW + 11_000))


def test_an_earlier_expiry_sets_the_timer_anew() -> None:
    registry = new_registry()
    hear(registry, make_ad(OTHERS[0], ttl_s=100))
    assert timers(hear(registry, make_ad(OTHERS[1], ttl_s=50))) == {EXPIRE_TIMER: NOW + 50_000}
    assert timers(hear(registry, make_ad(OTHERS[2], ttl_s=70))) == {}


# ---- room -----------------------------------------------------------------------------------


def full_registry() -> Registry:
    registry = new_registry(RegistryParameters(ads_max=2))
    registry.step(AccountsBonded((OTHERS[0].account, OTHERS[3].account)), NOW)
    hear(registry, make_ad(OTHERS[0], ttl_s=50))
    hear(registry, make_ad(OTHERS[1], ttl_s=100))
    return registry


def test_a_full_table_refuses_strangers() -> None:
    registry = full_registry()
    assert hear(registry, make_ad(OTHERS[2])) == [Judge(Verdict.IGNORE, Reason.TOO_MANY)]
    assert len(registry.ads()) == 2


def test_one_at_stake_takes_a_strangers_place_and_never_that_of_another_at_stake() -> None:
    registry = full_registry()
    bonded = make_ad(OTHERS[3])
    assert hear(registry, bonded) == [
        *learned(bonded),
        AdDropped(OTHERS[1].account, Reason.TOO_MANY),
    ]
    registry.step(AccountsBonded(tuple(one.account for one in OTHERS)), NOW)
    assert hear(registry, make_ad(OTHERS[4])) == [Judge(Verdict.IGNORE, Reason.TOO_MANY)]


def test_of_strangers_the_one_whose_ad_expires_first_makes_room() -> None:
    registry = new_registry(RegistryParameters(ads_max=3))
    registry.step(AccountsBonded((OTHERS[3].account,)), NOW)
    for key, ttl_s in zip(OTHERS[:3], (100, 50, 70), strict=True):
        hear(registry, make_ad(key, ttl_s=ttl_s))
    assert hear(registry, make_ad(OTHERS[3]))[-1] == AdDropped(OTHERS[1].account, Reason.TOO_MANY)


def test_our_own_ad_finds_room_in_a_full_table() -> None:
    registry = full_registry()
    effects = registry.step(AddressesKnown(()), NOW)
    assert AdDropped(OTHERS[1].account, Reason.TOO_MANY) in effects
    bonded = full_registry()
    bonded.step(AccountsBonded(tuple(one.account for one in OTHERS)), NOW)
    bonded.step(AddressesKnown(()), NOW)
    assert len(bonded.ads()) == 3


KEYS = [Key(digest(b"many", bytes([n]))) for n in range(12)]
BODIES = {
    (n, seq, region): make_ad(KEYS[n], seq=seq, ttl_s=20 + n, region=region)
    for n in range(12)
    for seq in (1, 2)
    for region in ("eu", "us")
}


@given(
    heard=st.lists(st.sampled_from(sorted(BODIES)), max_size=40),
    bonded=st.sets(st.integers(0, 11), max_size=3),
)
def test_strangers_never_push_out_whoever_has_something_at_stake(
    heard: list[tuple[int, int, str]], bonded: set[int]
) -> None:
    registry = new_registry(RegistryParameters(ads_max=4))
    registry.step(AccountsBonded(tuple(KEYS[n].account for n in sorted(bonded))), NOW)
    seqs: dict[int, int] = {}
    for key in heard:
        hear(registry, BODIES[key])
        held = [ad.value for ad in registry.ads()]
        assert len(held) <= 4
        assert held == sorted(held, key=lambda ad: ad.provider)
        if key[0] in bonded:
            seqs[key[0]] = max(seqs.get(key[0], 0), key[1])
        for n, seq in seqs.items():
            kept = registry.get(KEYS[n].account)
            assert kept is not None
            assert kept.value.seq == seq


# ---- search ---------------------------------------------------------------------------------


def found(registry: Registry, need: Need) -> list[AccountId]:
    return [ad.value.provider for ad in registry.find(need)]


def test_find_sorts_by_the_cost_of_the_use() -> None:
    registry = new_registry()
    dear_to_read = Price(Amount(1), Amount(50), Amount(1))
    dear_to_keep = Price(Amount(1), Amount(1), Amount(50))
    hear(registry, make_ad(OTHERS[0], price=dear_to_read))
    hear(registry, make_ad(OTHERS[1], price=dear_to_keep))
    reader = Need(height=Height(1), blob_bytes=MIB, epochs=1, reads=9)
    keeper = Need(height=Height(1), blob_bytes=MIB, epochs=9, reads=1)
    assert found(registry, reader) == [OTHERS[1].account, OTHERS[0].account]
    assert found(registry, keeper) == [OTHERS[0].account, OTHERS[1].account]
    capped = msgspec.structs.replace(reader, cost_max=Amount(60))
    assert found(registry, capped) == [OTHERS[1].account]


def test_salts_spread_consumers_over_equal_providers() -> None:
    registry = new_registry()
    for key in OTHERS:
        hear(registry, make_ad(key))
    firsts = {found(registry, Need(height=Height(1), salt=bytes([n])))[0] for n in range(40)}
    assert len(firsts) == len(OTHERS)


@pytest.mark.parametrize(
    "ad",
    [
        make_ad(OTHERS[0], accepting=False),
        make_ad(OTHERS[0], drain_epoch=7),
        make_ad(OTHERS[0], addrs=()),
        make_ad(OTHERS[0], blob_bytes_max=MIB - 1),
        make_ad(OTHERS[0], free=MIB - 1),
        make_ad(OTHERS[0], region="us"),
        make_ad(ME),
        make_ad(OTHERS[1]),
    ],
)
def test_find_leaves_out_who_cannot_serve(ad: Verified[CapacityAd]) -> None:
    registry = new_registry()
    hear(registry, ad)
    need = Need(
        height=Height(7),
        blob_bytes=MIB,
        region="eu",
        service="blob/1",
        exclude=(OTHERS[1].account,),
    )
    assert found(registry, need) == []
    assert found(registry, msgspec.structs.replace(need, service="compute/1")) == []


def test_a_drain_still_to_come_and_another_service_decide() -> None:
    registry = new_registry()
    hear(registry, make_ad(OTHERS[0], drain_epoch=8))
    need = Need(height=Height(7), service="blob/1")
    assert found(registry, need) == [OTHERS[0].account]
    assert found(registry, msgspec.structs.replace(need, service="compute/1")) == []


def test_distinct_regions_come_first() -> None:
    registry = new_registry()
    for key, region, price in zip(OTHERS, ["eu", "eu", "us", "us", "asia"], range(5), strict=False):
        hear(registry, make_ad(key, region=region, price=Price(Amount(price))))
    need = Need(height=Height(1), blob_bytes=MIB)
    spread = registry.find(need, distinct_regions=True)
    assert [ad.value.region for ad in spread] == ["eu", "us", "asia", "eu", "us"]
    assert spread == spread_over_regions(registry.find(need))


# ---- neighbours -----------------------------------------------------------------------------


def test_an_ad_published_to_nobody_is_repeated_after_the_first_connection() -> None:
    registry = started_registry()
    effects = connect(registry, OTHERS[0], NOW + 100)
    at_ms = timers(effects)[RENEW_TIMER]
    assert NOW + 1_100 <= at_ms <= NOW + 2_100
    known = marks(*registry.ads())
    assert effects == [
        SetTimer(PULL_TIMER, Millis(timers(effects)[PULL_TIMER])),
        AskAds(OTHERS[0].peer, b"", 64, known=known),
        SetTimer(RENEW_TIMER, Millis(at_ms)),
    ]
    again = connect(registry, OTHERS[1], NOW + 200)
    assert again == [AskAds(OTHERS[1].peer, b"", 64, known=known)]
    registry.step(TimerFired(RENEW_TIMER), Millis(at_ms))
    assert timers(connect(registry, OTHERS[2], NOW + 300)) == {}


def test_only_the_first_neighbours_are_asked_until_the_node_was_alone_again() -> None:
    registry = started_registry(RegistryParameters(asks_max=2))
    asked = [
        key.peer for key in OTHERS if any(isinstance(e, AskAds) for e in connect(registry, key))
    ]
    assert asked == [OTHERS[0].peer, OTHERS[1].peer]
    for key in OTHERS:
        registry.step(PeerDisconnected(key.peer), NOW)
    again = AskAds(OTHERS[5].peer, b"", 64, known=marks(*registry.ads()))
    assert again in connect(registry, OTHERS[5])


def test_pages_are_asked_for_while_they_are_full_and_rise() -> None:
    registry = started_registry(RegistryParameters(page_max=2))
    peer = OTHERS[5].peer
    mine = [ad for ad in registry.ads() if ad.value.provider > OTHERS[1].account]
    connect(registry, OTHERS[5])
    ads = [make_ad(key) for key in OTHERS[:5]]
    effects = registry.step(AdsReceived(peer, tuple(ads[:2])), NOW)
    assert effects == [
        AdLearned(OTHERS[0].account, 1, ads[0].value.addrs),
        SetTimer(EXPIRE_TIMER, Millis(ads[0].value.expires_ms)),
        AdLearned(OTHERS[1].account, 1, ads[1].value.addrs),
        AskAds(peer, OTHERS[1].account, 2, known=marks(*mine)),
    ]
    assert registry.step(AdsReceived(peer, tuple(ads[:2])), NOW) == []
    assert registry.step(AdsReceived(peer, tuple(ads[2:4])), NOW) == []
    assert len(registry.ads()) == 3


def test_a_short_page_is_the_last_and_pages_are_fewer_than_can_be_kept() -> None:
    registry = started_registry(RegistryParameters(page_max=2, ads_max=4))
    peer = OTHERS[5].peer
    connect(registry, OTHERS[5])
    ads = [make_ad(key) for key in OTHERS[:5]]
    asks = [
        effect
        for start in (0, 2, 4)
        for effect in registry.step(AdsReceived(peer, tuple(ads[start : start + 2])), NOW)
        if isinstance(effect, AskAds)
    ]
    assert [(ask.peer, ask.after, ask.count) for ask in asks] == [(peer, OTHERS[1].account, 2)]


def test_two_registries_converge_by_pages() -> None:
    parameters = RegistryParameters(page_max=2)
    full, empty = new_registry(parameters), new_registry(parameters)
    for key in OTHERS:
        hear(full, make_ad(key))
    queue: list[RegistryInput] = [PeerConnected(OTHERS[0].peer, outbound=True, address="")]
    while queue:
        for effect in empty.step(queue.pop(), NOW):
            if isinstance(effect, AskAds):
                asked = effect.after, effect.count, effect.until, effect.known
                page = tuple(Verified(ad) for ad in full.page(*asked))
                queue.append(AdsReceived(effect.peer, page))
    assert empty.ads() == full.ads()
    assert full.page(OTHERS[4].account, 9) == (full.ads()[5].value,)
