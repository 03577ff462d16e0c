"""The registry: the life of our own ad, also after a lost disk or beside the same key elsewhere."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.ad import AD_TTL_S_MAX, Resources
from p2p.model.effects import Persist, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.offer import Offer
from p2p.model.persistence import Put, Table, number_key
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.codec import Malformed, encode
from p2p.primitives.signing import Ed25519Scheme, SignedKind, Verified
from p2p.primitives.units import MIB, Height, Millis
from p2p.protocol.registry import Need, RegistryParameters, Verdict
from p2p.protocol.registry.interface import (
    EXPIRE_TIMER,
    OFFER_KEY,
    RENEW_TIMER,
    SEQ_KEY,
    AddressesKnown,
    AdLearned,
    Judge,
    OfferChanged,
    PublishAd,
    RegistryEffect,
    Restored,
    SpaceMeasured,
)
from tests.protocol.registry_bench import (
    CHAIN,
    ME,
    NOW,
    OTHERS,
    SPACIOUS,
    connect,
    hear,
    make_ad,
    new_registry,
    published,
    started_registry,
    timers,
)

# ---- our own ad -----------------------------------------------------------------------------


def test_a_node_without_an_offer_says_where_it_is_and_accepts_nothing() -> None:
    registry = new_registry()
    effects = registry.step(AddressesKnown(("/ip4/127.0.0.1/tcp/1", "x" * 257)), NOW)
    (ad,) = published(effects)
    renew_ms = timers(effects)[RENEW_TIMER]
    assert effects == [
        Persist((Put(Table.OFFER, SEQ_KEY, number_key(1)),)),
        PublishAd(Verified(ad)),
        AdLearned(ME.account, 1, ("/ip4/127.0.0.1/tcp/1",)),
        SetTimer(RENEW_TIMER, Millis(renew_ms)),
        SetTimer(EXPIRE_TIMER, Millis(NOW + 3_600_000)),
    ]
    assert NOW + 1_080_000 <= renew_ms <= NOW + 1_200_000
    assert (ad.accepting, ad.addrs, ad.seq) == (False, ("/ip4/127.0.0.1/tcp/1",), 1)
    assert Ed25519Scheme().verify(
        ME.account, SignedKind.CAPACITY_AD, CHAIN, ad.body(), ad.signature
    )
    assert registry.get(ME.account) == Verified(ad)
    assert registry.find(Need(height=Height(1))) == []


def test_an_ad_is_renewed_as_often_as_its_node_wants() -> None:
    registry = started_registry(RegistryParameters(renew_ms_max=15_000))
    connect(registry, OTHERS[0])
    at_ms = NOW + 13_000
    effects = registry.step(TimerFired(RENEW_TIMER), Millis(at_ms))
    assert [ad.seq for ad in published(effects)] == [2]
    assert at_ms + 13_500 <= timers(effects)[RENEW_TIMER] <= at_ms + 15_000


def test_the_renewal_has_the_next_seq() -> None:
    registry = started_registry()
    effects = registry.step(TimerFired(RENEW_TIMER), Millis(NOW + 200_000))
    assert [ad.seq for ad in published(effects)] == [2]
    assert registry.get(ME.account) == Verified(published(effects)[0])


def test_a_changed_offer_is_durable_with_its_seq_before_it_leaves() -> None:
    registry = started_registry()
    effects = registry.step(OfferChanged(SPACIOUS), NOW)
    (ad,) = published(effects)
    assert effects[:2] == [
        Persist(
            (
                Put(Table.OFFER, OFFER_KEY, encode(SPACIOUS)),
                Put(Table.OFFER, SEQ_KEY, number_key(2)),
            )
        ),
        PublishAd(Verified(ad)),
    ]
    assert (ad.accepting, ad.resources) == (True, SPACIOUS.resources)
    assert registry.offer == SPACIOUS


@given(st.lists(st.sampled_from(["offer", "renew", "restart", "crash"]), max_size=30))
def test_no_restart_uses_a_seq_twice(happenings: list[str]) -> None:
    rows: dict[bytes, bytes] = {}
    seen: list[int] = []
    now_ms = NOW
    registry = new_registry()

    def carry_out(effects: list[RegistryEffect], *, crash: bool = False) -> None:
        for effect in effects:
            if isinstance(effect, PublishAd):
                if crash:
                    return
                seen.append(effect.ad.value.seq)
            elif isinstance(effect, Persist):
                rows.update({put.key: put.value for put in effect.writes if isinstance(put, Put)})

    carry_out(registry.step(AddressesKnown(()), now_ms))
    for happening in happenings:
        now_ms = Millis(now_ms + 10_000)
        if happening == "restart":
            registry = new_registry()
            registry.step(Restored(tuple(rows.items())), now_ms)
            carry_out(registry.step(AddressesKnown(()), now_ms))
        elif happening == "offer":
            carry_out(registry.step(OfferChanged(SPACIOUS), now_ms))
        else:
            carry_out(registry.step(TimerFired(RENEW_TIMER), now_ms), crash=happening == "crash")
    assert seen == sorted(set(seen))


def test_a_restart_goes_on_with_the_offer() -> None:
    registry = new_registry()
    rows = ((OFFER_KEY, encode(SPACIOUS)), (SEQ_KEY, number_key(41)), (b"other", b""))
    assert registry.step(Restored(rows), NOW) == []
    (ad,) = published(registry.step(AddressesKnown(()), NOW))
    assert (ad.seq, ad.accepting) == (42, True)


def test_a_damaged_row_of_our_own_disk_is_an_error() -> None:
    with pytest.raises(Malformed):
        new_registry().step(Restored(((OFFER_KEY, b"rubbish"),)), NOW)


@pytest.mark.parametrize(
    "offer",
    [
        Offer(ttl_s=29),
        Offer(ttl_s=AD_TTL_S_MAX + 1),
        Offer(region="x" * 65),
        Offer(blob_bytes_max=2**70),
        Offer(resources=Resources(storage_bytes_total=1, storage_bytes_free=2)),
    ],
)
def test_an_offer_out_of_bounds_is_refused(offer: Offer) -> None:
    registry = started_registry()
    (effect,) = registry.step(OfferChanged(offer), NOW)
    assert isinstance(effect, Rejected)
    assert effect.reason is Reason.OUT_OF_BOUNDS
    assert registry.offer == Offer()


def test_an_offer_that_changes_too_often_is_refused_for_a_while() -> None:
    registry = started_registry(RegistryParameters(offer_burst_max=2))
    assert published(registry.step(OfferChanged(SPACIOUS), NOW))
    assert published(registry.step(OfferChanged(SPACIOUS), NOW))
    (effect,) = registry.step(OfferChanged(Offer()), NOW)
    assert isinstance(effect, Rejected)
    assert effect.reason is Reason.TOO_MANY
    assert registry.offer == SPACIOUS
    assert published(registry.step(OfferChanged(Offer()), Millis(NOW + 4_000)))


def test_others_take_every_ad_of_an_operator_who_changes_as_often_as_allowed() -> None:
    registry, other = started_registry(), new_registry(key=OTHERS[0])
    verdicts = set()
    for second in range(120):
        now_ms = Millis(NOW + 1_000 * second)
        for ad in published(registry.step(OfferChanged(SPACIOUS), now_ms)):
            verdicts.add(hear(other, Verified(ad), now_ms)[0])
    assert verdicts == {Judge(Verdict.ACCEPT)}


def test_measured_space_bounds_what_is_offered() -> None:
    registry = new_registry()
    registry.step(SpaceMeasured(7 * MIB), NOW)
    (ad,) = published(registry.step(OfferChanged(SPACIOUS), NOW))
    assert ad.resources.storage_bytes_free == 7 * MIB
    registry.step(SpaceMeasured(700 * MIB), NOW)
    (ad,) = published(registry.step(TimerFired(RENEW_TIMER), NOW))
    assert ad.resources.storage_bytes_free == 100 * MIB


@pytest.mark.parametrize(
    ("free_mib", "worth_an_ad"), [(95, False), (94, True), (100, False), (0, True)]
)
def test_space_is_advertised_anew_when_a_twentieth_of_it_changed(
    free_mib: int, worth_an_ad: bool
) -> None:
    registry = new_registry()
    registry.step(OfferChanged(SPACIOUS), NOW)
    effects = registry.step(SpaceMeasured(free_mib * MIB), Millis(NOW + 60_000))
    assert len(published(effects)) == worth_an_ad


def test_changes_wait_for_the_gap_since_the_last_ad() -> None:
    registry = new_registry()
    registry.step(OfferChanged(SPACIOUS), NOW)
    soon = SetTimer(RENEW_TIMER, Millis(NOW + 10_000))
    assert registry.step(SpaceMeasured(0), Millis(NOW + 1)) == [soon]
    assert registry.step(SpaceMeasured(50 * MIB), Millis(NOW + 2)) == []
    (ad,) = published(registry.step(TimerFired(RENEW_TIMER), Millis(NOW + 10_000)))
    assert ad.resources.storage_bytes_free == 50 * MIB


def test_the_first_space_of_a_small_offer_is_worth_an_ad() -> None:
    registry = new_registry()
    offer = msgspec.structs.replace(
        SPACIOUS, resources=Resources(storage_bytes_total=100 * MIB, storage_bytes_free=0)
    )
    registry.step(OfferChanged(offer), NOW)
    (ad,) = published(registry.step(SpaceMeasured(1), Millis(NOW + 60_000)))
    assert ad.resources.storage_bytes_free == 1


def test_new_addresses_are_advertised_and_known_ones_are_not() -> None:
    registry = started_registry()
    later = Millis(NOW + 10_000)
    assert registry.step(AddressesKnown(("/ip4/127.0.0.1/tcp/1",)), later) == []
    (ad,) = published(registry.step(AddressesKnown(("/ip4/127.0.0.1/tcp/9",)), later))
    assert ad.addrs == ("/ip4/127.0.0.1/tcp/9",)


def test_an_unknown_timer_is_an_error() -> None:
    with pytest.raises(ValueError, match="no timer"):
        new_registry().step(TimerFired("sync/poll"), NOW)


# ---- a lost disk, or a key that runs twice ----------------------------------------------------


def test_a_node_that_lost_its_disk_goes_on_above_what_others_saw() -> None:
    registry = started_registry()
    later = Millis(NOW + 10_000)
    effects = hear(registry, make_ad(ME, seq=7), later)
    assert effects[:2] == [
        Judge(Verdict.IGNORE, Reason.OUTDATED),
        Persist((Put(Table.OFFER, SEQ_KEY, number_key(7)),)),
    ]
    assert [ad.seq for ad in published(effects)] == [8]


def test_an_echo_of_our_own_ads_is_ignored() -> None:
    registry = started_registry()
    own = registry.get(ME.account)
    assert own is not None
    outdated = [Judge(Verdict.IGNORE, Reason.OUTDATED)]
    assert hear(registry, own) == outdated
    restarted = new_registry()
    restarted.step(Restored(((SEQ_KEY, number_key(5)),)), NOW)
    assert hear(restarted, make_ad(ME, seq=5)) == outdated
    assert hear(restarted, make_ad(ME, seq=4)) == outdated


def test_before_the_start_a_greater_seq_of_ours_is_noted_and_nothing_published() -> None:
    registry = new_registry()
    assert hear(registry, make_ad(ME, seq=7)) == [
        Judge(Verdict.IGNORE, Reason.OUTDATED),
        Persist((Put(Table.OFFER, SEQ_KEY, number_key(7)),)),
    ]
    assert [ad.seq for ad in published(registry.step(AddressesKnown(()), NOW))] == [8]
