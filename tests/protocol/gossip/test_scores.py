"""The score function, rule by rule; names say the section of gossipsub-v1.1.md."""

import msgspec
import pytest

from p2p.model.inputs import PeerConnected
from p2p.model.rpc import Message, Prune, Rpc
from p2p.primitives.units import PeerId
from p2p.protocol.gossip import (
    ScoreReport,
    Verdict,
)
from tests.protocol.gossip.kit import (
    OTHER,
    Bench,
    T,
    name,
)
from tests.protocol.gossip.scoring import (
    A,
    B,
    C,
    in_topic,
    linked,
    message,
    report,
    rules,
    scored,
)


def test_v11_score_function_a_stranger_is_worth_nothing() -> None:
    bench = scored()
    bench.connect(A)
    assert report(bench) == ScoreReport(0.0, {}, 0.0, 0.0, 0.0)
    assert bench.gossip.score(name(9)) == 0.0
    assert bench.gossip.score_report(name(9)) is None


def test_v11_p1_time_in_mesh_counts_quanta_up_to_a_cap() -> None:
    bench = linked(
        scored(rules(time_in_mesh_weight=0.5, time_in_mesh_quantum_ms=2_000, time_in_mesh_cap=3.0)),
        A,
    )
    bench.heartbeat()
    found = []
    for _ in range(4):
        bench.heartbeat(2)
        found.append(in_topic(bench).time_in_mesh)
    assert found == [pytest.approx(n) for n in (0.75, 1.25, 1.5, 1.5)]


def test_v11_p1_time_outside_the_mesh_counts_nothing() -> None:
    bench = linked(scored(rules(time_in_mesh_weight=1.0)), A)
    bench.heartbeat(5)
    bench.receive(A, Rpc(prune=(Prune(T, 60),)))
    assert report(bench).score == 0.0


def test_v11_p2_the_first_to_deliver_is_rewarded_up_to_a_cap_and_nobody_else() -> None:
    bench = linked(scored(rules(first_deliveries_weight=1.0, first_deliveries_cap=2.0)), A)
    bench.connect(B)
    for number in range(3):
        bench.accept(A, message(number))
        bench.message(B, message(number))
    assert (report(bench).score, report(bench, B).score) == (2.0, 0.0)


def test_v11_parameter_decay_counters_are_multiplied_each_interval_and_end_at_zero() -> None:
    topic = rules(first_deliveries_weight=1.0, first_deliveries_decay=0.5)
    bench = scored(topic, decay_to_zero=0.2)
    bench.connect(A)
    bench.heartbeat()
    bench.accept(A, message(1))
    found = []
    for _ in range(3):
        found.append(report(bench).score)
        bench.heartbeat()
    assert found == [1.0, 0.5, 0.25]
    bench.heartbeat()
    bench.accept(A, message(2))  # 0.0625 was below decay_to_zero
    assert report(bench).score == 1.0


def busy(bench: Bench, source: PeerId, count: int, first: int = 0) -> None:
    """Messages of a peer, one a heartbeat."""
    for number in range(first, first + count):
        bench.accept(source, message(number))
        bench.heartbeat()


P3 = rules(
    mesh_deliveries_weight=-1.0,
    mesh_deliveries_decay=0.999999,
    mesh_deliveries_share=1.0,
    mesh_deliveries_threshold=4.0,
    mesh_deliveries_activation_ms=5_000,
    mute_messages=1_000_000,
)


def test_v11_p3_after_its_activation_a_deficit_costs_its_square() -> None:
    bench = linked(scored(P3), A, B)
    bench.heartbeat()
    busy(bench, B, 4)
    assert in_topic(bench).mesh_deliveries == 0.0
    bench.accept(B, message(10))
    bench.now_ms += 1_000
    bench.gossip._scores.beat(bench.now_ms)
    assert in_topic(bench).mesh_deliveries == pytest.approx(-16, abs=0.01)
    assert in_topic(bench, B).mesh_deliveries == 0.0


def test_p3_departs_where_nothing_is_said_nobody_is_to_blame() -> None:
    bench = linked(scored(P3), A)
    bench.heartbeat(100)
    assert report(bench).score == 0.0
    assert A in bench.gossip.mesh(T)


def test_v11_p3_copies_count_while_the_first_is_validated_and_within_the_window() -> None:
    window_ms = 1_000
    topic = msgspec.structs.replace(P3, mesh_deliveries_window_ms=window_ms)
    bench = linked(scored(topic), A, B, C)
    counts = bench.gossip._neighbours

    def delivered(peer: PeerId) -> float:
        neighbour = counts.get(peer)
        assert neighbour is not None
        return neighbour.standing.topics[T].mesh

    bench.message(A, message(1))
    bench.message(B, message(1))  # while it is validated
    bench.judge(message(1))
    bench.message(B, message(1))  # once a peer
    bench.now_ms += window_ms
    bench.message(C, message(1))
    assert [delivered(peer) for peer in (A, B, C)] == [1.0, 1.0, 1.0]
    bench.accept(A, message(2))
    bench.now_ms += window_ms + 1
    bench.message(C, message(2))
    assert [delivered(peer) for peer in (A, B, C)] == [2.0, 1.0, 1.0]


def test_v11_p3_our_own_messages_sent_back_to_us_count_nothing() -> None:
    bench = linked(scored(P3), A)
    bench.publish(message(1))
    bench.message(A, message(1))
    neighbour = bench.gossip._neighbours.get(A)
    assert neighbour is not None
    assert neighbour.standing.topics[T].mesh == 0.0


def test_v11_p3b_a_deficit_at_the_prune_stays_with_the_peer() -> None:
    topic = msgspec.structs.replace(P3, mesh_failure_weight=-2.0, mesh_failure_decay=0.5)
    bench = linked(scored(topic), A, B)
    busy(bench, B, 7)
    assert A not in bench.gossip.mesh(T)  # below 0, it was pruned
    first = in_topic(bench)
    assert first.mesh_deliveries == 0.0
    assert first.mesh_failures < -7
    bench.heartbeat()
    assert in_topic(bench).mesh_failures == pytest.approx(first.mesh_failures / 2)


def test_v11_p4_false_messages_cost_the_square_of_their_number_for_all_who_sent_them() -> None:
    bench = linked(scored(rules(invalid_weight=-1.0)), A, B, C)
    bench.message(A, message(1))
    bench.message(B, message(1))
    bench.judge(message(1), Verdict.REJECT)
    bench.message(C, message(1))  # known to be false by now
    bench.message(A, Message(T, b"signed", signed=True))
    assert [report(bench, peer).score for peer in (A, B, C)] == [-4.0, -1.0, -1.0]


def test_v11_extended_validators_an_ignored_message_is_nobodys_fault() -> None:
    bench = linked(scored(rules(invalid_weight=-1.0, first_deliveries_weight=1.0)), A)
    bench.message(A, message(1))
    bench.judge(message(1), Verdict.IGNORE)
    assert report(bench).score == 0.0


def test_v11_p5_the_application_may_say_what_it_thinks_of_a_peer() -> None:
    bench = scored(application_weight=2.0, application_decay=0.5)
    bench.connect(A)
    bench.scores[A] = -4
    bench.heartbeat()
    assert report(bench) == ScoreReport(-4.0, {}, -4.0, 0.0, 0.0)
    assert bench.gossip.rating(A) == -2.0
    assert bench.gossip.rating(B) == 0.0


@pytest.mark.parametrize(
    ("address", "penalty"),
    [
        ("/ip4/10.0.0.{}/tcp/4001", 0.0),
        ("/ip4/10.0.0.1/tcp/400{}", -12.0),
        ("/ip4/127.0.0.1/tcp/400{}", 0.0),
        ("/ip6/2001:db8::{}/tcp/4001", -12.0),
        ("/ip6/2001:db8:0:{}::1/tcp/4001", 0.0),
        ("/dns4/example.org/tcp/400{}", 0.0),
        ("/ip4/none/tcp/400{}", 0.0),
    ],
)
def test_v11_p6_peers_at_one_address_pay_the_square_of_the_surplus(
    address: str, penalty: float
) -> None:
    bench = scored(colocation_threshold=2, colocation_weight=-3.0)
    for number in range(4):
        bench.step(PeerConnected(name(number), outbound=False, address=address.format(number)))
    assert [report(bench, name(n)).colocation for n in range(4)] == [penalty] * 4
    assert bench.gossip.score(name(0)) == penalty
    bench.disconnect(name(3))
    assert bench.gossip.score(name(0)) == penalty / 4


def test_v11_p7_misbehaviour_above_the_threshold_costs_its_square() -> None:
    bench = linked(scored(behaviour_threshold=1.0, behaviour_weight=-1.0), A)
    bench.receive(A, Rpc(prune=(Prune(T, 60),)))
    bench.now_ms += 20_000
    found = []
    for _ in range(3):
        bench.graft(A)
        bench.now_ms += 20_000
        found.append(report(bench).score)
    assert found == [0.0, -1.0, -4.0]


def test_v11_topic_cap_good_work_counts_up_to_a_bound_and_bad_work_without() -> None:
    topic = rules(first_deliveries_weight=5.0, invalid_weight=-10.0)
    bench = scored(topic, topics_cap=12.0)
    bench.connect(A)
    for number in range(4):
        bench.accept(A, message(number))
    assert report(bench).score == 12.0
    for number in (4, 5):
        bench.message(A, message(number))
        bench.judge(message(number), Verdict.REJECT)
    assert report(bench).score == 20.0 - 40.0


def test_v11_score_function_topics_have_weights_and_rules_of_their_own() -> None:
    heavy = rules(weight=3.0, first_deliveries_weight=1.0)
    bench = scored(rules(first_deliveries_weight=1.0), topics={OTHER: heavy})
    bench.subscribe(OTHER)
    bench.connect(A, topics=(T, OTHER))
    bench.accept(A, message(1), Message(OTHER, b"other"))
    assert report(bench).score == 4.0


def test_scoring_switched_off_finds_everybody_alike() -> None:
    bench = linked(scored(rules(invalid_weight=-10.0), enabled=False), A)
    bench.message(A, message(1))
    bench.judge(message(1), Verdict.REJECT)
    assert bench.gossip.score(A) == 0.0
