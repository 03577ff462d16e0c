"""Whom a node dials: seeds, its own choices, and when it tries again."""

import pytest

from p2p.model.effects import Dial, HangUp, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.primitives.units import Millis
from p2p.protocol.membership import Membership, MembershipParameters
from p2p.protocol.membership.interface import (
    TICK_TIMER,
    AdLearned,
    DialFailed,
    PeersLearned,
    Started,
    WantedChanged,
)
from tests.protocol.membership.kit import (
    ME,
    NOW,
    RSA,
    Bench,
    account,
    address,
    dialled,
    peer,
    record,
    records,
    waits_after_failures,
)


def test_the_first_tick_is_drawn_and_dials_the_seeds() -> None:
    bench = Bench(start=False)
    (timer,) = bench.machine.step(Started((record(1), record(ME))), Millis(NOW))
    assert isinstance(timer, SetTimer)
    assert timer.key == TICK_TIMER
    assert NOW <= timer.at_ms <= NOW + 1_000
    assert bench.machine.book_size == 1
    effects = bench.machine.step(TimerFired(TICK_TIMER), Millis(timer.at_ms))
    next_ms = effects[-1].at_ms if isinstance(effects[-1], SetTimer) else 0
    assert effects == [Dial(peer(1), (address(1),)), SetTimer(TICK_TIMER, Millis(next_ms))]
    assert 875 <= next_ms - timer.at_ms <= 1_125


def test_nodes_started_together_tick_apart() -> None:
    firsts = set()
    for number in range(64):
        machine = Membership(peer(number), seed=number.to_bytes(4))
        (timer,) = machine.step(Started(()), Millis(NOW))
        assert isinstance(timer, SetTimer)
        firsts.add(timer.at_ms)
    assert len(firsts) > 50


def test_before_the_start_nothing_is_dialled_or_asked() -> None:
    bench = Bench(start=False)
    assert bench.tell(PeersLearned(peer(9), records(1, 5))) == []
    assert bench.connect(1) == []
    assert bench.tell(WantedChanged((account(2),))) == []


def test_dials_under_way_are_bounded_and_follow_one_another() -> None:
    bench = Bench(*range(1, 20))
    first = dialled(bench.tick())
    assert len(set(first)) == 4
    assert bench.tick() == []
    (effect,) = bench.tell(DialFailed(first[0]))
    assert isinstance(effect, Dial)
    assert effect.peer not in first


def test_a_dial_without_an_answer_is_forgotten() -> None:
    bench = Bench(1)
    assert dialled(bench.tick()) == [peer(1)]
    assert dialled(bench.tick(59_000)) == []
    assert dialled(bench.tick(1_000)) == []
    assert dialled(bench.tick(2_000)) == [peer(1)]


def test_an_answer_to_no_dial_changes_nothing() -> None:
    bench = Bench()
    assert (
        bench.tell(DialFailed(peer(5)), PeerDisconnected(peer(5)), RequestFailed(1, peer(5))) == []
    )


def test_failures_are_waited_out_twice_as_long_each_time() -> None:
    bench = Bench(1)
    bench.tell(PeerConnected(RSA, outbound=False, address=""), DialFailed(peer(1)))
    bench.now_ms += 60_000  # Not alone, so backoffs hold in full.
    waits = waits_after_failures(bench, 8)
    for wait_ms, span_ms in zip(waits, [2_000, 4_000, 8_000, 16_000, 32_000], strict=False):
        assert span_ms * 3 // 4 <= wait_ms <= span_ms * 5 // 4 + 100
    assert 45_000 <= min(waits[5:]) <= max(waits) <= 75_100


def test_a_node_that_is_alone_tries_again_sooner() -> None:
    assert max(waits_after_failures(Bench(1), 12)) <= 8_100


def test_own_choices_are_drawn_from_tried_and_untried_alike() -> None:
    """Given one peer reached before and 60 names from a talker; half the dials go to the one."""
    hits = 0
    for seed in range(60):
        machine = Membership(peer(ME), MembershipParameters(dials_max=1), seed=bytes([seed]))
        machine.step(Started((record(1),)), Millis(NOW))
        machine.step(PeersLearned(peer(999), records(100, 32)), Millis(NOW))
        machine.step(PeersLearned(peer(998), records(200, 28)), Millis(NOW))
        effects = machine.step(TimerFired(TICK_TIMER), Millis(NOW + 1_000))
        already = machine.step(DialFailed(peer(1)), Millis(NOW + 1_000))
        hits += peer(1) in dialled(effects) or dialled(already) != []
    assert 18 <= hits <= 42


def test_who_connects_to_us_does_not_replace_our_own_choices() -> None:
    bench = Bench(*range(1, 20))
    dials = [one for number in range(100, 130) for one in dialled(bench.connect(number))]
    assert len(dials) == 4
    assert set(dials) <= {peer(number) for number in range(1, 20)}


def test_neither_ourselves_nor_who_is_connected_is_dialled() -> None:
    bench = Bench(1)
    bench.connect(1)
    bench.tell(
        PeersLearned(peer(1), (record(ME), record(1))), AdLearned(account(ME), (address(ME),))
    )
    assert bench.machine.book_size == 1
    assert dialled(bench.tick()) == []


def test_a_connection_to_ourselves_is_hung_up() -> None:
    bench = Bench()
    assert bench.connect(ME, outbound=True) == [HangUp(peer(ME), "this is ourselves")]
    assert bench.machine.connected == []


def hang_up_soon(bench: Bench, after_ms: int) -> int:
    """Let peer 1 take our dial and end it; how long until we dial again."""
    bench.connect(1, outbound=True)
    bench.tick(after_ms)
    bench.disconnect(1)
    since_ms = bench.now_ms
    while not dialled(bench.tick(100)):
        pass
    return bench.now_ms - since_ms


def test_a_connection_that_ends_at_once_counts_as_a_failed_dial() -> None:
    bench = Bench(1)
    bench.tell(PeerConnected(RSA, outbound=False, address=""))
    assert hang_up_soon(bench, 9_999) <= 1_350
    assert hang_up_soon(bench, 9_999) >= 1_500
    assert hang_up_soon(bench, 9_999) >= 3_000
    assert hang_up_soon(bench, 10_000) <= 1_350
    assert hang_up_soon(bench, 9_999) <= 1_350


def test_a_connection_that_ended_is_dialled_again_after_a_moment() -> None:
    bench = Bench(1)
    bench.tick()
    bench.connect(1, outbound=True)
    bench.now_ms += 60_000
    timers = bench.machine.step(PeerDisconnected(peer(1)), Millis(bench.now_ms))
    assert all(isinstance(effect, SetTimer) for effect in timers)
    assert dialled(bench.tick(500)) == []
    assert dialled(bench.tick(700)) == [peer(1)]


def test_the_next_tick_comes_sooner_when_a_connection_is_lost() -> None:
    bench = Bench(peers_target=1, outbound_min=1)
    bench.connect(1, outbound=True)
    effects = bench.machine.step(TimerFired(TICK_TIMER), Millis(bench.now_ms))
    assert [effect.at_ms - NOW > 4_000 for effect in effects if isinstance(effect, SetTimer)] == [
        True
    ]
    (timer,) = bench.machine.step(PeerDisconnected(peer(1)), Millis(bench.now_ms + 20))
    assert isinstance(timer, SetTimer)
    assert timer.at_ms <= NOW + 20 + 1_125


def test_peers_with_another_kind_of_key_may_connect_and_are_not_in_the_book() -> None:
    bench = Bench()
    bench.tell(PeerConnected(RSA, outbound=True, address="/ip4/127.0.0.1/tcp/1"))
    assert bench.machine.connected == [RSA]
    assert bench.machine.book_size == 0
    bench.tick(60_000)
    bench.tell(PeerDisconnected(RSA))
    assert bench.machine.connected == []


def test_a_guest_that_the_book_does_not_know_may_leave() -> None:
    bench = Bench()
    bench.connect(5)
    bench.disconnect(5)
    assert (bench.machine.connected, bench.machine.book_size) == ([], 0)


def test_an_unknown_timer_is_an_error() -> None:
    with pytest.raises(ValueError, match="no timer"):
        Bench().tell(TimerFired("sync/poll"))
