"""The membership: the book, the dials, what is too much, faults, and whole networks."""

from functools import cache
from heapq import heappop, heappush
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.effects import Dial, HangUp, Persist, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.persistence import Delete, Put, Table
from p2p.model.rejection import Reason
from p2p.model.requests import PEERS_COUNT_MAX, PeerRecord, PeersRequest
from p2p.primitives.codec import encode
from p2p.primitives.digests import digest
from p2p.primitives.keys import account_text, peer_id_of
from p2p.primitives.units import AccountId, Millis, PeerId
from p2p.protocol.membership import Membership, MembershipParameters
from p2p.protocol.membership.book import BookRow
from p2p.protocol.membership.interface import (
    TICK_TIMER,
    AdLearned,
    AskPeers,
    DialFailed,
    MembershipEffect,
    MembershipInput,
    Misbehaved,
    PeersLearned,
    Restored,
    Started,
    WantedChanged,
)

NOW = 1_000_000


@cache
def account(number: int) -> AccountId:
    return AccountId(digest(b"account", number.to_bytes(4)))


@cache
def peer(number: int) -> PeerId:
    return peer_id_of(account(number))


@cache
def address(number: int, port: int = 1) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{account_text(account(number))}"


def record(number: int, port: int = 1) -> PeerRecord:
    return PeerRecord(account(number), (address(number, port),))


def records(first: int, count: int) -> tuple[PeerRecord, ...]:
    return tuple(record(number) for number in range(first, first + count))


ME = 0
RSA = PeerId(b"\x12\x20" + digest(b"another kind of key"))


class Bench:
    """One membership with its clock, and hands to feed it."""

    def __init__(self, *seeds: int, start: bool = True, **parameters: int) -> None:
        changed = msgspec.structs.replace(MembershipParameters(), **parameters)
        self.machine = Membership(peer(ME), changed, seed=b"test")
        self.now_ms = NOW
        if start:
            self.tell(Started(tuple(record(number) for number in seeds)))

    def tell(self, *events: MembershipInput) -> list[MembershipEffect]:
        """Effects of these inputs, without the timers."""
        found: list[MembershipEffect] = []
        for event in events:
            effects = self.machine.step(event, Millis(self.now_ms))
            found += [effect for effect in effects if not isinstance(effect, SetTimer)]
        return found

    def tick(self, after_ms: int = 1_000) -> list[MembershipEffect]:
        self.now_ms += after_ms
        return self.tell(TimerFired(TICK_TIMER))

    def connect(self, number: int, *, outbound: bool = False) -> list[MembershipEffect]:
        text = address(number) if outbound else ""
        return self.tell(PeerConnected(peer(number), outbound=outbound, address=text))

    def disconnect(self, number: int) -> list[MembershipEffect]:
        return self.tell(PeerDisconnected(peer(number)))


def dialled(effects: list[MembershipEffect]) -> list[PeerId]:
    return [effect.peer for effect in effects if isinstance(effect, Dial)]


def hung_up(effects: list[MembershipEffect]) -> list[PeerId]:
    return [effect.peer for effect in effects if isinstance(effect, HangUp)]


def asked(effects: list[MembershipEffect]) -> list[AskPeers]:
    return [effect for effect in effects if isinstance(effect, AskPeers)]


# ---- start and dials ------------------------------------------------------------------------


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


def waits_after_failures(bench: Bench, count: int) -> list[int]:
    """How long after each failed dial of peer 1 it is dialled again."""
    waits = []
    assert dialled(bench.tick(0)) == [peer(1)]
    for _ in range(count):
        bench.tell(DialFailed(peer(1)))
        since_ms = bench.now_ms
        while not dialled(bench.tick(100)):
            pass
        waits.append(bench.now_ms - since_ms)
    return waits


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


# ---- wanted accounts ------------------------------------------------------------------------


def test_wanted_accounts_are_dialled_first_and_leave_a_slot_for_own_choices() -> None:
    bench = Bench(*range(1, 40))
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 11))))
    wanted = {peer(number) for number in range(1, 11)}
    assert [one in wanted for one in dialled(bench.tick())] == [True, True, True, False]


def test_wanted_accounts_are_sought_within_the_room_beside_the_target() -> None:
    bench = Bench(*range(1, 60), dials_max=60, outbound_min=0)
    bench.tell(WantedChanged(tuple(account(number) for number in range(ME, 60))))
    assert len(dialled(bench.tick())) == 32 - 8 + 1  # and one choice of our own


def test_who_is_sought_already_stays_sought() -> None:
    bench = Bench(*range(1, 60), dials_max=60, outbound_min=0)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 60))))
    first = dialled(bench.tick())
    bench.tell(WantedChanged(tuple(account(number) for number in range(59, 0, -1))))
    assert dialled(bench.tick()) == []
    assert len(first) == 24 + 1


def with_direct(*direct: int, known: int) -> Bench:
    """A node whose operator agreed with these on explicit peering."""
    bench = Bench(*range(1, known + 1), start=False)
    explicit = MembershipParameters(direct=tuple(account(number) for number in direct))
    bench.machine = Membership(peer(ME), explicit, seed=b"seed")
    bench.tell(Started(tuple(record(number) for number in range(1, known + 1))))
    return bench


def test_explicit_peers_are_sought_before_all_others_whoever_else_is_wanted() -> None:
    bench = with_direct(38, 39, known=40)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 31))))
    assert dialled(bench.tick())[:2] == [peer(38), peer(39)]


def test_explicit_peers_are_neither_banned_nor_shown_out() -> None:
    bench = with_direct(1, known=2)
    for number in (1, 2):
        bench.connect(number, outbound=True)
    assert bench.tell(Misbehaved(peer(1), Reason.WRONG_CHAIN)) == []
    assert hung_up(bench.tell(Misbehaved(peer(2), Reason.WRONG_CHAIN))) == [peer(2)]
    bench.tick(20_000)
    for number in range(100, 170):
        bench.connect(number)
    gone = [one for _ in range(5) for one in hung_up(bench.tick(20_000))]
    assert gone
    assert peer(1) not in gone


def test_more_explicit_peers_than_room_for_sought_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="direct must be at most"):
        MembershipParameters(direct=tuple(account(number) for number in range(25)))


def test_a_wanted_account_is_tried_again_within_seconds() -> None:
    bench = Bench(1)
    bench.tell(PeerConnected(RSA, outbound=False, address=""), DialFailed(peer(1)))
    bench.tell(WantedChanged((account(1),)))
    bench.now_ms += 60_000
    assert max(waits_after_failures(bench, 12)) <= 8_100


def test_addresses_of_wanted_accounts_are_asked_for_until_known() -> None:
    bench = Bench()
    bench.connect(5)
    bench.tell(WantedChanged((account(1),)))
    (question,) = asked(bench.tick(4_000))
    assert question == AskPeers(peer(5), (account(1),))
    assert dialled(bench.tell(PeersLearned(peer(5), (record(1),)))) == [peer(1)]
    assert [one.wanted for one in asked(bench.tick(4_000))] == [()]


def test_the_ad_of_a_wanted_account_hastens_the_next_tick() -> None:
    bench = Bench(peers_target=1, outbound_min=0)
    bench.connect(5)
    bench.tick()
    bench.tell(WantedChanged((account(1),)))
    (effects,) = [bench.tell(AdLearned(account(1), (address(1),)))]
    assert effects == []
    assert dialled(bench.tick()) == [peer(1)]
    bench.connect(1, outbound=True)
    assert bench.machine.step(AdLearned(account(1), (address(1, 2),)), Millis(bench.now_ms)) == []


# ---- too much -------------------------------------------------------------------------------


def test_guests_above_the_maximum_are_hung_up_youngest_first_after_their_grace() -> None:
    bench = Bench(outbound_min=0)
    for number in range(1, 38):
        bench.connect(number)
        bench.now_ms += 10
    assert hung_up(bench.tick(1_000)) == []
    assert hung_up(bench.tick(10_000)) == [peer(number) for number in (37, 36, 35, 34, 33)]
    assert len(bench.machine.connected) == 32


def test_some_guests_more_than_the_maximum_are_borne() -> None:
    bench = Bench(outbound_min=0)
    for number in range(1, 37):
        bench.connect(number)
    assert hung_up(bench.tick(60_000)) == []


def test_a_crowd_at_the_door_is_refused_at_once() -> None:
    bench = Bench(peers_max=10, peers_target=2, outbound_min=0)
    refused = [number for number in range(1, 25) if hung_up(bench.connect(number))]
    assert refused == [21, 22, 23, 24]


def test_in_a_crowd_who_could_ask_gives_way_to_a_newcomer_and_old_guests_stay() -> None:
    bench = Bench(peers_max=10, peers_target=2, outbound_min=0)
    for number in range(1, 21):
        bench.connect(number)
    bench.now_ms += MembershipParameters().crowded_grace_ms - 1
    assert hung_up(bench.connect(21)) == [peer(21)], "nobody had the time to ask"
    bench.now_ms += 1
    gone = [hung_up(bench.connect(number)) for number in range(22, 34)]
    assert gone[:10] == [[peer(number)] for number in range(11, 21)]
    assert gone[10:] == [[peer(32)], [peer(33)]], "newcomers, too, have their time"
    assert bench.machine.connected[:10] == [peer(number) for number in range(1, 11)]


def test_wanted_accounts_find_room_among_guests() -> None:
    bench = Bench(outbound_min=0)
    wanted = tuple(account(number) for number in range(100, 120))
    bench.tell(WantedChanged(wanted))
    for number in [*range(1, 17), *range(100, 120)]:
        bench.connect(number)
    assert hung_up(bench.tick(60_000)) == []
    bench.connect(17)
    assert hung_up(bench.tick(60_000)) == [peer(number) for number in (17, 16, 15, 14, 13)]


def test_a_wanted_account_that_is_not_sought_may_be_an_own_choice() -> None:
    """Given more wanted accounts than there is room for; the only one known is not left out."""
    bench = Bench(1, peers_max=3, peers_target=2)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 60))))
    assert dialled(bench.tick()) == [peer(1)]


def test_wanted_guests_that_are_not_sought_make_room_at_last() -> None:
    bench = Bench(peers_max=4, peers_target=2, surplus_max=0, outbound_min=0)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 9))))
    for number in range(1, 9):
        bench.connect(number)
    gone = hung_up(bench.tick(60_000))
    assert len(gone) == 4
    sought = [peer(number) for number in range(1, 9) if peer(number) not in gone]
    assert bench.machine.connected == sought


def test_sought_connections_are_never_hung_up_for_others() -> None:
    bench = Bench(peers_target=1, outbound_min=0, outbound_max=1)
    bench.tell(WantedChanged(tuple(account(number) for number in range(1, 6))))
    for number in range(1, 9):
        bench.connect(number, outbound=True)
    gone = hung_up(bench.tick(60_000))
    assert len(gone) == 2
    assert set(gone) < {peer(6), peer(7), peer(8)}


def test_connections_are_never_trimmed_below_the_target() -> None:
    bench = Bench(peers_target=3, outbound_min=0, outbound_max=0)
    for number in range(1, 7):
        bench.connect(number, outbound=True)
    hung = hung_up(bench.tick(60_000))
    assert len(hung) == 3
    assert len(bench.machine.connected) == 3


def test_a_strange_peer_is_explored_now_and_then_and_replaces_an_own_choice() -> None:
    bench = Bench(*range(1, 30), peers_target=4, outbound_min=4, outbound_max=4)
    for one in dialled(bench.tick()):
        bench.tell(PeerConnected(one, outbound=True, address=""))
    assert dialled(bench.tick()) == []
    (stranger,) = dialled(bench.tick(70_000))
    assert stranger not in bench.machine.connected
    bench.tell(PeerConnected(stranger, outbound=True, address=""))
    (gone,) = hung_up(bench.tick(1_000))
    assert gone != stranger
    bench.tell(PeerDisconnected(gone))
    assert len(bench.machine.connected) == 4
    assert dialled(bench.tick(10_000)) == []


# ---- faults ---------------------------------------------------------------------------------


def test_faults_add_up_to_a_ban_that_ends() -> None:
    bench = Bench(1)
    bench.connect(1)
    assert bench.tell(Misbehaved(peer(1), Reason.BAD_SIGNATURE)) == []
    assert bench.tell(Misbehaved(peer(1), Reason.BAD_SIGNATURE)) == [
        HangUp(peer(1), "banned: its signature does not verify")
    ]
    assert bench.machine.connected == []
    bench.disconnect(1)
    assert dialled(bench.tick(300_000)) == []
    assert bench.connect(1) == [HangUp(peer(1), "banned")]
    bench.disconnect(1)
    assert dialled(bench.tick(300_000)) == [peer(1)]
    bench.tell(DialFailed(peer(1)))
    assert hung_up(bench.connect(1)) == []


def test_faults_are_forgiven_with_time() -> None:
    bench = Bench()
    bench.connect(1)
    for _ in range(20):
        assert bench.tell(Misbehaved(peer(1), Reason.BAD_ROOT)) == []
        bench.now_ms += 20_000


def test_a_peer_of_another_chain_is_banned_at_once_even_when_it_has_left() -> None:
    bench = Bench()
    assert bench.tell(Misbehaved(peer(1), Reason.WRONG_CHAIN)) == []
    assert bench.connect(1) == [HangUp(peer(1), "banned")]


def test_points_and_bans_are_bounded() -> None:
    bench = Bench(bans_max=3)
    for number in range(1, 6):
        bench.tell(Misbehaved(peer(number), Reason.BAD_SIGNATURE))
    bench.tell(Misbehaved(peer(1), Reason.BAD_SIGNATURE))
    assert hung_up(bench.connect(1)) == []  # Its first points had made room.
    for number in range(1, 6):
        bench.tell(Misbehaved(peer(number), Reason.WRONG_CHAIN))
    assert [bool(hung_up(bench.connect(number))) for number in range(2, 6)] == [
        False,
        True,
        True,
        True,
    ]


def test_a_peer_that_names_impossible_addresses_is_at_fault() -> None:
    bench = Bench()
    bench.connect(9)
    false = PeerRecord(account(1), (address(2),))
    assert hung_up(bench.tell(PeersLearned(peer(9), (false,)))) == []
    assert hung_up(bench.tell(PeersLearned(peer(9), (false,)))) == [peer(9)]
    assert bench.machine.book_size == 0


# ---- questions ------------------------------------------------------------------------------


def ask_times(bench: Bench, ticks: int, *, answer: bool = False) -> list[int]:
    times = []
    for number in range(ticks):
        if asked(bench.tick(500)):
            times.append(bench.now_ms)
            if answer:
                bench.tell(PeersLearned(peer(9), (record(1_000 + number),)))
    return times


def test_questions_come_fast_while_they_help_and_slowly_when_not() -> None:
    bench = Bench()
    bench.connect(9)
    helped = ask_times(bench, 40, answer=True)
    assert max(b - a for a, b in pairwise(helped)) <= 2_000
    idle = ask_times(bench, 400)
    assert max(b - a for a, b in pairwise(idle)) == 30_000


def test_a_neighbour_that_does_not_answer_is_spared_for_a_while() -> None:
    bench = Bench()
    bench.connect(8)
    bench.connect(9)
    bench.tell(RequestFailed(1, peer(8)))
    found = {one.peer for _ in range(28) for one in asked(bench.tick(1_000))}
    assert found == {peer(9)}
    bench.tell(RequestFailed(2, peer(9)))
    bench.tell(PeersLearned(peer(9), (record(1),)))
    assert [one.peer for one in asked(bench.tick(29_999))] == [peer(8)]


def test_nobody_is_asked_when_all_are_silent() -> None:
    bench = Bench()
    bench.connect(8)
    bench.tell(RequestFailed(1, peer(8)))
    assert asked(bench.tick(20_000)) == []


def test_an_answer_names_whom_was_asked_for_and_a_random_sample() -> None:
    bench = Bench(*range(1, 101))
    request = PeersRequest((account(50), account(7), account(50), account(777)))
    answer = bench.machine.peers_for(request, peer(3))
    assert [one.account for one in answer.records[:2]] == [account(50), account(7)]
    accounts = [one.account for one in answer.records]
    assert len(set(accounts)) == len(accounts) == PEERS_COUNT_MAX
    assert account(3) not in accounts
    assert bench.machine.peers_for(request, peer(3)) == answer
    assert bench.machine.peers_for(request, peer(4)) != answer
    bench.tick()
    assert bench.machine.peers_for(request, peer(3)) != answer


def test_hearsay_and_who_fails_are_recommended_to_nobody() -> None:
    bench = Bench(1)
    bench.tell(PeersLearned(peer(9), (record(2),)), AdLearned(account(3), (address(3),)))
    for _ in range(3):
        while peer(1) not in dialled(bench.tick(1_000)):
            bench.tell(DialFailed(peer(2)), DialFailed(peer(3)))
        bench.tell(DialFailed(peer(1)))
    wanted = PeersRequest((account(1), account(2)))
    assert bench.machine.peers_for(wanted, peer(9)).records == ()
    bench.connect(3, outbound=True)
    bench.tick(10_000)
    assert bench.machine.peers_for(wanted, peer(9)).records == (record(3),)


# ---- the book -------------------------------------------------------------------------------


def test_the_address_that_was_reached_comes_first_and_hearsay_last() -> None:
    bench = Bench()
    bench.tell(AdLearned(account(1), (address(1, 1), address(1, 2))))
    bench.tell(PeersLearned(peer(9), (record(1, 3),)))
    bench.tell(PeerConnected(peer(1), outbound=True, address=address(1, 2)))
    assert bench.machine.addresses_of(account(1)) == (
        address(1, 2),
        address(1, 1),
        address(1, 3),
    )
    bench.tell(AdLearned(account(1), (address(1, 2),)))
    assert len(bench.machine.addresses_of(account(1))) == 3
    bench.tell(AdLearned(account(1), (address(1, 4),)))
    assert bench.machine.addresses_of(account(1)) == (address(1, 4), address(1, 2))
    assert bench.machine.addresses_of(account(2)) == ()


def test_a_connection_outside_the_book_or_at_an_odd_address_does_no_harm() -> None:
    bench = Bench(1)
    bench.tell(PeerConnected(peer(1), outbound=True, address="/ip4/127.0.0.1/tcp/7"))
    bench.connect(2, outbound=True)
    bench.tick(10_000)
    assert bench.machine.addresses_of(account(1)) == (address(1),)
    assert bench.machine.book_size == 1


def test_a_seed_that_is_in_the_book_already_stays_with_all_its_addresses() -> None:
    bench = Bench(start=False)
    bench.tell(Restored(((account(1), row(1)),)), Started((record(1, 5),)))
    assert bench.machine.addresses_of(account(1)) == (address(1, 5), address(1, 1))


def test_a_row_that_was_written_lately_is_not_written_again() -> None:
    bench = Bench(1)
    bench.connect(1, outbound=True)
    bench.tick(6_000)
    bench.disconnect(1)
    bench.connect(1, outbound=True)
    assert persisted(bench.tick(6_000)) == []


def test_an_ad_replaces_hearsay_and_an_ad_without_addresses_says_nothing() -> None:
    bench = Bench()
    bench.tell(PeersLearned(peer(9), (record(1, 3),)))
    bench.tell(AdLearned(account(1), ()), AdLearned(account(2), (address(3),)))
    assert bench.machine.addresses_of(account(1)) == (address(1, 3),)
    assert bench.machine.peers_for(PeersRequest(), peer(8)).records == ()
    bench.tell(AdLearned(account(1), (address(1, 1),)))
    assert bench.machine.addresses_of(account(1)) == (address(1, 1),)


def test_hearsay_that_failed_gives_way_to_other_hearsay() -> None:
    bench = Bench()
    ports = tuple(address(1, port) for port in range(8))
    bench.tell(PeersLearned(peer(9), (PeerRecord(account(1), ports),)))
    bench.tell(PeersLearned(peer(8), (record(1, 99),)))
    assert address(1, 99) not in bench.machine.addresses_of(account(1))
    for _ in range(3):
        bench.tick(10_000)
        bench.tell(DialFailed(peer(1)))
    bench.tell(PeersLearned(peer(8), (record(1, 99),)))
    assert bench.machine.addresses_of(account(1))[0] == address(1, 99)


def test_one_talker_fills_a_small_part_of_the_book() -> None:
    bench = Bench()
    for number in range(20):
        bench.tell(PeersLearned(peer(9), records(100 + 32 * number, 32)))
    assert bench.machine.book_size == 64
    bench.tell(PeersLearned(peer(8), records(5_000, 32)))
    assert bench.machine.book_size == 96
    bench.tell(WantedChanged((account(9_000),)))
    bench.tell(PeersLearned(peer(9), (record(9_000),)))
    assert bench.machine.book_size == 97


def test_a_full_book_keeps_the_worthier() -> None:
    bench = Bench(1, book_max=3)
    bench.tell(AdLearned(account(2), (address(2),)), PeersLearned(peer(9), (record(3),)))
    bench.tell(PeersLearned(peer(9), (record(4),)))
    assert bench.machine.addresses_of(account(4)) == ()
    bench.tell(AdLearned(account(5), (address(5),)))  # in the place of the hearsay
    bench.tell(AdLearned(account(6), (address(6),)))  # finds nobody worth less
    known = [number for number in range(1, 9) if bench.machine.addresses_of(account(number))]
    assert known == [1, 2, 5]
    bench.tell(WantedChanged((account(7), account(8), account(2))))
    bench.tell(PeersLearned(peer(9), (record(7),)))  # wanted: in the place of 5
    bench.tell(AdLearned(account(8), (address(8),)))  # nobody is left who may go
    known = [number for number in range(1, 9) if bench.machine.addresses_of(account(number))]
    assert known == [1, 2, 7]


def test_a_full_book_lets_go_of_who_has_been_failing_longest() -> None:
    bench = Bench(book_max=3, dials_max=1, backoff_ms_max=1_000)
    for number in (1, 2, 3):
        bench.tell(AdLearned(account(number), (address(number),)))
    failed: list[PeerId] = []
    due = dialled(bench.tick())
    while any(failed.count(peer(number)) < 3 for number in (1, 2, 3)):
        failed += due
        bench.now_ms += 400
        due = [one for each in due for one in dialled(bench.tell(DialFailed(each)))]
        due += dialled(bench.tick())
    bench.tell(PeersLearned(peer(9), (record(4),)))
    gone = [peer(number) for number in (1, 2, 3) if not bench.machine.addresses_of(account(number))]
    assert gone == failed[:1]


@given(
    st.lists(
        st.tuples(st.sampled_from(["ad", "hearsay", "dial", "fail", "row"]), st.integers(1, 40)),
        max_size=80,
    )
)
def test_the_book_is_bounded_and_keeps_its_seeds(news: list[tuple[str, int]]) -> None:
    bench = Bench(1, 2, book_max=6, hearsay_max=4)
    for kind, number in news:
        match kind:
            case "ad":
                bench.tell(AdLearned(account(number), (address(number),)))
            case "hearsay":
                bench.tell(PeersLearned(peer(90 + number % 3), records(number, 3)))
            case "dial":
                bench.tick(3_000)
            case "row":
                bench.tell(Restored(((account(number), row(number)),)))
            case _:
                bench.tell(DialFailed(peer(number)))
        assert bench.machine.book_size <= 6
        assert bench.machine.addresses_of(account(1))
        assert bench.machine.addresses_of(account(2))


# ---- the disk -------------------------------------------------------------------------------


def row(number: int, connected_ms: int = 0) -> bytes:
    return encode(BookRow((address(number),), Millis(connected_ms)))


def persisted(effects: list[MembershipEffect]) -> list[Persist]:
    return [effect for effect in effects if isinstance(effect, Persist)]


def test_what_is_worth_it_is_written_sparsely() -> None:
    bench = Bench()
    bench.tell(AdLearned(account(1), (address(1),)), PeersLearned(peer(9), (record(2),)))
    assert persisted(bench.tick(1_000)) == []
    assert persisted(bench.tick(5_000)) == [
        Persist((Put(Table.PEERS, account(1), row(1)),)),
    ]
    assert persisted(bench.tick(6_000)) == []
    bench.connect(2, outbound=True)
    reached_ms = bench.now_ms
    assert persisted(bench.tick(6_000)) == [
        Persist((Put(Table.PEERS, account(2), row(2, reached_ms)),))
    ]
    bench.connect(2, outbound=True)
    assert persisted(bench.tick(6_000)) == []


def test_writes_are_bounded_and_the_rest_follows() -> None:
    bench = Bench(rows_max=2)
    for number in (1, 2, 3):
        bench.tell(AdLearned(account(number), (address(number),)))
    counts = [len(one.writes) for _ in range(3) for one in persisted(bench.tick(6_000))]
    assert counts == [2, 1]


def test_who_leaves_the_book_leaves_the_disk() -> None:
    bench = Bench(book_max=1)
    bench.tell(AdLearned(account(1), (address(1),)))
    assert persisted(bench.tick(6_000)) == [Persist((Put(Table.PEERS, account(1), row(1)),))]
    bench.tell(WantedChanged((account(2),)), AdLearned(account(2), (address(2),)))
    assert persisted(bench.tick(6_000)) == [
        Persist((Delete(Table.PEERS, account(1)), Put(Table.PEERS, account(2), row(2))))
    ]


def test_a_restart_goes_on_with_the_book_and_forgets_what_it_cannot_read_or_hold() -> None:
    bench = Bench(start=False, book_max=2)
    rows = [(account(n), row(n, connected_ms=n - 1)) for n in (1, 2, 3)]
    rows += [(account(4), b"rubbish"), (account(ME), row(ME))]
    bench.tell(Restored(tuple(rows)), Started(()))
    assert bench.machine.book_size == 2
    assert persisted(bench.tick(6_000)) == [
        Persist(tuple(Delete(Table.PEERS, account(n)) for n in (3, 4, ME)))
    ]
    answer = bench.machine.peers_for(PeersRequest((account(1), account(2))), peer(9))
    assert answer.records == (record(1), record(2))


# ---- networks -------------------------------------------------------------------------------


class Network:
    """Memberships that dial, answer and part over perfect links, in virtual time.

    Signed addresses spread as ads do: soon after a node's first connection, to all that it can
    reach by then; who comes later has to ask.
    """

    AD_MS = 2_000

    def __init__(
        self,
        count: int,
        *,
        validators: int = 0,
        seed: bytes = b"net",
        parameters: MembershipParameters | None = None,
    ) -> None:
        self.now_ms = NOW
        self.sequence = 0
        self.queue: list[tuple[int, int, int, MembershipInput | None]] = []
        self.timers: dict[int, int] = {}
        self.links: set[frozenset[int]] = set()
        self.down: set[int] = set()
        self.sides: list[set[int]] = []
        self.numbers = {peer(number): number for number in range(count)}
        self.announced: set[int] = set()
        self.dials = 0
        self.nodes: list[Membership] = []
        wanted = tuple(account(number) for number in range(validators))
        for number in range(count):
            node = Membership(peer(number), parameters, seed=seed + number.to_bytes(4))
            self.nodes.append(node)
            self.later(number, Started((record(0),)), 0)
            if number < validators:
                self.later(number, WantedChanged(wanted), 0)

    def later(self, number: int, event: MembershipInput | None, delay_ms: int) -> None:
        self.sequence += 1
        heappush(self.queue, (self.now_ms + delay_ms, self.sequence, number, event))

    def can_meet(self, one: int, other: int) -> bool:
        apart = any((one in side) != (other in side) for side in self.sides)
        return one != other and not apart and not {one, other} & self.down

    def run(self, span_ms: int) -> None:
        end_ms = self.now_ms + span_ms
        while self.queue and self.queue[0][0] <= end_ms:
            at_ms, _, number, event = heappop(self.queue)
            self.now_ms = at_ms
            if number in self.down:
                continue
            if event is None:
                self.announce(number)
                continue
            if isinstance(event, TimerFired):
                if self.timers.get(number) != at_ms:
                    continue
                del self.timers[number]
            for effect in self.nodes[number].step(event, Millis(at_ms)):
                self.carry_out(number, effect)
        self.now_ms = end_ms

    def carry_out(self, number: int, effect: MembershipEffect) -> None:
        match effect:
            case SetTimer(key=key, at_ms=at_ms):
                self.timers[number] = at_ms
                self.later(number, TimerFired(key), at_ms - self.now_ms)
            case Dial(peer=whom, addresses=addresses):
                self.dial(number, self.numbers[whom], addresses)
            case HangUp(peer=whom):
                self.cut(number, self.numbers[whom])
            case AskPeers(peer=whom, wanted=wanted):
                answerer = self.numbers[whom]
                answer = self.nodes[answerer].peers_for(PeersRequest(wanted), peer(number))
                if self.can_meet(number, answerer):
                    self.later(number, PeersLearned(whom, answer.records), 20)
                else:
                    self.later(number, RequestFailed(0, whom), 5_000)
            case Persist():
                pass

    def dial(self, number: int, other: int, addresses: tuple[str, ...]) -> None:
        assert number != other
        self.dials += 1
        link = frozenset((number, other))
        if not self.can_meet(number, other):
            self.later(number, DialFailed(peer(other)), 1_000)
        elif link not in self.links:
            self.links.add(link)
            self.later(number, PeerConnected(peer(other), True, addresses[0]), 20)
            self.later(other, PeerConnected(peer(number), False, ""), 20)
            for one in (number, other):
                if one not in self.announced:
                    self.announced.add(one)
                    self.later(one, None, self.AD_MS)

    def announce(self, number: int) -> None:
        """Gossip an ad to whoever is within reach by then."""
        ad = AdLearned(account(number), (address(number),))
        for other in sorted(self.reach(number)):
            self.later(other, ad, 100)

    def cut(self, one: int, other: int) -> None:
        link = frozenset((one, other))
        if link in self.links:
            self.links.remove(link)
            self.later(one, PeerDisconnected(peer(other)), 1)
            self.later(other, PeerDisconnected(peer(one)), 1)

    def kill(self, number: int) -> None:
        for link in sorted(self.links, key=sorted):
            if number in link:
                self.cut(*sorted(link))
        self.down.add(number)

    def part(self, side: set[int]) -> None:
        self.sides.append(side)
        for link in sorted(self.links, key=sorted):
            one, other = sorted(link)
            if not self.can_meet(one, other):
                self.cut(one, other)

    def neighbours(self, number: int) -> set[int]:
        return {one for link in self.links if number in link for one in link} - {number}

    def reach(self, number: int) -> set[int]:
        reached, edge = {number}, [number]
        while edge:
            for one in sorted(self.neighbours(edge.pop()) - reached):
                reached.add(one)
                edge.append(one)
        return reached


def test_sixty_four_nodes_with_one_seed_find_one_another() -> None:
    network = Network(64)
    network.run(30_000)
    degrees = [len(network.neighbours(number)) for number in range(64)]
    assert min(degrees) >= 8
    assert max(degrees[1:]) <= 36
    assert network.reach(0) == set(range(64))
    assert network.dials < 64 * 12
    network.run(120_000)
    assert len(network.neighbours(0)) <= 36
    assert min(len(network.neighbours(number)) for number in range(64)) >= 8


def test_a_network_outlives_its_only_seed() -> None:
    network = Network(30)
    network.run(20_000)
    network.kill(0)
    network.run(20_000)
    assert network.reach(1) == set(range(1, 30))
    assert min(len(network.neighbours(number)) for number in range(1, 30)) >= 8
    for number in (3, 4, 5, 6, 7):
        network.kill(number)
    network.run(20_000)
    assert network.reach(1) == {1, 2, *range(8, 30)}


def test_validators_are_connected_to_one_another() -> None:
    network = Network(40, validators=10)
    network.run(20_000)
    for number in range(10):
        assert network.neighbours(number) >= set(range(10)) - {number}
    network.part({0, 1, 2})
    network.run(60_000)
    assert network.reach(5) == set(range(3, 40))
    network.sides.clear()
    network.run(12_000)
    for number in range(10):
        assert network.neighbours(number) >= set(range(10)) - {number}


def test_halves_that_each_had_enough_peers_join_after_a_partition() -> None:
    network = Network(40)
    network.run(30_000)
    network.part(set(range(20)))
    network.run(120_000)
    assert network.reach(0) == set(range(20))
    assert network.reach(39) == set(range(20, 40))
    network.sides.clear()
    network.run(20_000)
    assert network.reach(0) == set(range(40))


def test_a_small_network_comes_to_rest() -> None:
    network = Network(4)
    network.run(60_000)
    dials = network.dials
    assert all(len(network.neighbours(number)) == 3 for number in range(4))
    network.run(600_000)
    assert network.dials == dials
    assert all(len(network.neighbours(number)) == 3 for number in range(4))


@settings(max_examples=30)
@given(st.binary(max_size=3), st.integers(2, 14), st.integers(0, 14))
def test_any_small_network_is_one_network_soon(seed: bytes, count: int, validators: int) -> None:
    parameters = MembershipParameters(peers_max=6, peers_target=3, outbound_min=2, outbound_max=3)
    network = Network(count, validators=min(validators, count), seed=seed, parameters=parameters)
    network.run(40_000)
    assert network.reach(0) == set(range(count))


def test_a_crowd_of_false_names_does_not_surround_a_node() -> None:
    """Given 500 false names from a neighbour; own choices still reach those met before."""
    bench = Bench(*range(1, 9), outbound_min=4, peers_target=4)
    for one in dialled(bench.tick()):
        bench.tell(PeerConnected(one, outbound=True, address=""))
    for number in range(16):
        bench.tell(PeersLearned(peer(900 + number), records(1_000 + 32 * number, 32)))
    for number in range(100, 132):
        bench.connect(number)
    honest = {peer(number) for number in range(1, 9)}
    own = [one for one in bench.machine.connected if one in honest]
    assert len(own) == 4
    bench.tick(60_000)
    assert len([one for one in bench.machine.connected if one in honest]) == 4
