"""A young node repeats its ad and its question: the first ones may have reached nobody."""

from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.primitives.units import Millis
from p2p.protocol.registry import Registry
from p2p.protocol.registry.interface import (
    RENEW_TIMER,
    AddressesKnown,
    AskAds,
    RegistryEffect,
    RegistryParameters,
)
from tests.protocol.registry_bench import (
    NOW,
    OTHERS,
    connect,
    new_registry,
    published,
    started_registry,
    timers,
)

EARLY_MS = (4_000, 16_000, 64_000)
PARAMETERS = RegistryParameters(early_ms=EARLY_MS)


def follow(registry: Registry, at_ms: int, count: int) -> list[tuple[int, list[RegistryEffect]]]:
    """Fire the renewal that is due, and each that it sets, so many times."""
    fired = []
    for _ in range(count):
        effects = registry.step(TimerFired(RENEW_TIMER), Millis(at_ms))
        fired.append((at_ms, effects))
        at_ms = timers(effects)[RENEW_TIMER]
    return [*fired, (at_ms, [])]


def asks(effects: list[RegistryEffect]) -> list[AskAds]:
    return [effect for effect in effects if isinstance(effect, AskAds)]


def test_an_ad_leaves_again_at_each_early_moment_and_then_at_a_third_of_its_life() -> None:
    registry = started_registry(RegistryParameters(asks_max=0, early_ms=EARLY_MS))
    effects = connect(registry, OTHERS[0])
    rounds = follow(registry, timers(effects)[RENEW_TIMER], 4)
    heard, *early, late = [at_ms - NOW for at_ms, _ in rounds]
    assert 1_000 <= heard <= 2_000
    for moment, span in zip(early, EARLY_MS, strict=True):
        assert span <= moment <= span * 5 // 4
    assert late - early[-1] > 150_000
    assert [len(published(effects)) for _, effects in rounds] == [1, 1, 1, 1, 0]
    # One neighbour is asked, once: its answer is still awaited at the next moment.
    assert [len(asks(effects)) for _, effects in rounds] == [0, 1, 0, 0, 0]


def test_an_ad_that_was_heard_before_a_time_alone_leaves_again_after_it() -> None:
    registry = started_registry(PARAMETERS)
    effects = connect(registry, OTHERS[0])
    last_ms = follow(registry, timers(effects)[RENEW_TIMER], 4)[-1][0]
    alone_ms = Millis(NOW + 90_000)
    registry.step(PeerDisconnected(OTHERS[0].peer), alone_ms)
    back = registry.step(PeerConnected(OTHERS[1].peer, outbound=True, address=""), alone_ms)
    at_ms = timers(back)[RENEW_TIMER]
    assert alone_ms + EARLY_MS[0] <= at_ms <= alone_ms + EARLY_MS[0] * 5 // 4 < last_ms


def test_a_second_neighbour_does_not_begin_the_early_moments_anew() -> None:
    registry = started_registry(PARAMETERS)
    effects = connect(registry, OTHERS[0])
    follow(registry, timers(effects)[RENEW_TIMER], 4)
    assert timers(connect(registry, OTHERS[1], NOW + 100_000)) == {}


def test_an_ad_that_nobody_could_hear_is_kept_back_where_that_is_wanted() -> None:
    registry = new_registry(RegistryParameters(publish_alone=False))
    assert published(registry.step(AddressesKnown(("/ip4/127.0.0.1/tcp/1",)), NOW)) == []
    assert [ad.value.seq for ad in registry.ads()] == [1]
    effects = connect(registry, OTHERS[0])
    (_, effects), _ = follow(registry, timers(effects)[RENEW_TIMER], 1)
    assert [ad.seq for ad in published(effects)] == [2]
