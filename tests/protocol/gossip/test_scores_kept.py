"""Scores that outlive a connection, and a clock that is set back."""

import pytest

from p2p.protocol.gossip import (
    Verdict,
)
from tests.protocol.gossip.kit import (
    name,
    names,
)
from tests.protocol.gossip.scoring import (
    A,
    B,
    linked,
    message,
    rules,
    scored,
)


def test_v11_peer_scoring_a_score_is_kept_when_the_peer_leaves_and_comes_back() -> None:
    bench = linked(scored(rules(invalid_weight=-1.0), retain_ms=10_000), A)
    bench.message(A, message(1))
    bench.judge(message(1), Verdict.REJECT)
    bench.heartbeat()
    before = bench.gossip.score(A)
    assert before == pytest.approx(-1.0, abs=0.01)
    bench.disconnect(A)
    assert bench.gossip.score(A) == before
    bench.connect(A)
    assert bench.gossip.score(A) == before
    bench.disconnect(A)
    bench.heartbeat(9)
    assert bench.gossip.score(A) < 0
    bench.heartbeat()
    assert bench.gossip.score(A) == 0.0


def test_scores_of_peers_that_left_are_bounded_and_the_worst_are_kept() -> None:
    bench = scored(rules(invalid_weight=-1.0), retained_max=2)
    bench.connect(*names(4))
    for number, count in enumerate((3, 1, 2, 0)):
        for one in range(count):
            bench.message(name(number), message(10 * number + one))
            bench.judge(message(10 * number + one), Verdict.REJECT)
    for peer in names(4):
        bench.disconnect(peer)
    assert [bench.gossip.score(peer) for peer in names(4)] == [-9.0, 0.0, -4.0, 0.0]
    assert bench.gossip.sizes()["retained_scores"] == 2


def test_a_false_message_counts_against_a_sender_that_left_meanwhile() -> None:
    bench = linked(scored(rules(invalid_weight=-1.0, first_deliveries_weight=1.0)), A, B)
    bench.accept(A, message(0))
    bench.message(A, message(1))
    bench.disconnect(A)
    bench.judge(message(1), Verdict.REJECT)
    assert bench.gossip.score(A) == 0.0  # 1 - 1


def test_a_clock_that_is_set_back_changes_no_score() -> None:
    bench = linked(scored(rules(time_in_mesh_weight=1.0)), A)
    bench.heartbeat(5)
    before = bench.gossip.score(A)
    bench.now_ms -= 3_600_000
    bench.heartbeat()
    assert bench.gossip.score(A) == before + 1.0
