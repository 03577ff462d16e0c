"""Questions for peers, and answers."""

from itertools import pairwise

from p2p.model.inputs import RequestFailed
from p2p.model.requests import PEERS_COUNT_MAX, PeersRequest
from p2p.protocol.membership.interface import (
    AdLearned,
    DialFailed,
    PeersLearned,
)
from tests.protocol.membership.kit import Bench, account, address, asked, dialled, peer, record


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
