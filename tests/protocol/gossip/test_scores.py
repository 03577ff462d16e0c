"""Peer scoring, rule by rule; names say the section of gossipsub-v1.1.md that a test is from."""

import msgspec
import pytest

from p2p.model.effects import Penalize
from p2p.model.inputs import PeerConnected
from p2p.model.rejection import Reason
from p2p.model.rpc import IHave, Message, PeerInfo, Prune, Rpc
from p2p.primitives.units import PeerId
from p2p.protocol.gossip import (
    GossipParameters,
    ScoreParameters,
    ScoreReport,
    SuggestPeers,
    TopicReport,
    TopicScore,
    Verdict,
)
from tests.protocol.gossip.kit import (
    OTHER,
    Bench,
    T,
    announce,
    grafted,
    name,
    names,
    offered,
    pruned,
    receivers,
    sent,
)

A, B, C = names(3)
ADDRESS = "/ip4/10.0.0.1/tcp/4001"


def rules(**changes: float) -> TopicScore:
    """Everything switched off but what a test is about."""
    off = TopicScore(
        time_in_mesh_weight=0.0,
        first_deliveries_weight=0.0,
        mesh_deliveries_weight=0.0,
        mesh_failure_weight=0.0,
        invalid_weight=0.0,
    )
    return msgspec.structs.replace(off, **changes)


def scored(topic: TopicScore | None = None, **changes: object) -> Bench:
    """A machine with these rules, in a topic."""
    scores = ScoreParameters(topic=topic or rules(), **changes)  # type: ignore[arg-type]
    return Bench(GossipParameters(scores=scores), topics=(T,))


def report(bench: Bench, peer: PeerId = A) -> ScoreReport:
    found = bench.gossip.score_report(peer)
    assert found is not None
    return found


def in_topic(bench: Bench, peer: PeerId = A) -> TopicReport:
    return report(bench, peer).topics[T]


def message(number: int) -> Message:
    return Message(T, b"message %d" % number)


def linked(bench: Bench, *peers: PeerId) -> Bench:
    """Peers in the mesh."""
    bench.connect(*peers)
    bench.graft(*peers)
    return bench


# ---- the score function ---------------------------------------------------------------------


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


# ---- scores that outlive a connection -------------------------------------------------------


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


# ---- score thresholds -----------------------------------------------------------------------


def test_v11_score_thresholds_below_zero_a_peer_leaves_the_mesh_and_is_not_grafted() -> None:
    bench = linked(scored(), A)
    bench.scores[A] = -1
    assert pruned(bench.heartbeat()) == {A}
    assert bench.gossip.mesh(T) == ()
    bench.heartbeat(70)
    assert bench.gossip.mesh(T) == ()
    assert pruned(bench.graft(A)) == {A}


def test_v11_score_thresholds_no_peers_are_named_to_or_from_a_peer_below_zero() -> None:
    parameters = GossipParameters(degree=1, degree_low=1, degree_high=1, degree_out=0)
    bench = Bench(parameters, topics=(T,), scores={C: -1})
    linked(bench, A)
    bench.connect(B)
    (told,) = sent(bench.graft(B))[B].prune
    assert told.peers == (PeerInfo(A),)
    bench.connect(C)
    (told,) = sent(bench.graft(C))[C].prune
    assert told.peers == ()


@pytest.mark.parametrize(("points", "is_heard"), [(-10, True), (-10.2, False)])
def test_v11_score_thresholds_gossip_stops_below_the_gossip_threshold(
    points: float, *, is_heard: bool
) -> None:
    bench = Bench(topics=(T,))
    bench.connect(*names(8, start=10))
    bench.connect(A)
    bench.heartbeat()
    bench.scores[A] = points  # type: ignore[assignment]
    bench.heartbeat()
    bench.accept(name(10), message(1))
    hears = A in offered(bench.heartbeat(), message(1))
    asks = sent(bench.receive(A, Rpc(ihave=(IHave(T, (message(2).id,)),))))
    gets = receivers(bench.receive(A, Rpc(iwant=(message(1).id,))), message(1))
    assert (hears, bool(asks), bool(gets)) == (is_heard,) * 3


@pytest.mark.parametrize(("points", "gets"), [(-50, True), (-50.01, False)])
def test_v11_score_thresholds_own_messages_stop_below_the_publish_threshold(
    points: float, *, gets: bool
) -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.scores[A] = points  # type: ignore[assignment]
    assert (A in receivers(bench.publish(message(1)), message(1))) == gets


@pytest.mark.parametrize(("points", "is_heard"), [(-80, True), (-81, False)])
def test_v11_score_thresholds_below_the_graylist_threshold_every_rpc_is_ignored(
    points: float, *, is_heard: bool
) -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.scores[A] = points  # type: ignore[assignment]
    assert bool(bench.message(A, message(1))) == is_heard
    bench.receive(A, announce("new"))
    assert (A in bench.gossip.peers("new")) == is_heard
    assert bench.gossip.counters.graylisted == (0 if is_heard else 2)
    blamed = Penalize(A, Reason.GRAYLISTED) in bench.heartbeat()
    assert blamed == (not is_heard)


@pytest.mark.parametrize(("points", "is_believed"), [(4.99, False), (5, True)])
def test_v11_score_thresholds_suggested_peers_are_believed_from_the_px_threshold_on(
    points: float, *, is_believed: bool
) -> None:
    bench = linked(Bench(topics=(T,)), A)
    bench.scores[A] = points  # type: ignore[assignment]
    effects = bench.receive(A, Rpc(prune=(Prune(T, 60, (PeerInfo(B),)),)))
    assert effects == ([SuggestPeers(A, T, (B,))] if is_believed else [])


# ---- opportunistic grafting -----------------------------------------------------------------


def test_v11_opportunistic_grafting_a_poor_mesh_takes_in_two_that_are_better() -> None:
    good, poor, dull = names(3, start=20), names(4), names(2, start=30)
    bench = Bench(topics=(T,), scores=dict.fromkeys(good, 3))
    linked(bench, *poor)
    bench.connect(*dull, *good)
    assert not any(grafted(bench.heartbeat()) for _ in range(60))
    found = grafted(bench.heartbeat())
    assert len(found) == 2
    assert found < set(good)


def test_v11_opportunistic_grafting_a_good_mesh_stays_as_it_is() -> None:
    good, members = names(3, start=20), names(4)
    bench = Bench(topics=(T,), scores={**dict.fromkeys(good, 9), **dict.fromkeys(members, 3)})
    linked(bench, *members)
    bench.connect(*good)
    assert not any(grafted(bench.heartbeat()) for _ in range(65))


# ---- explicit peering agreements ------------------------------------------------------------

DIRECT = GossipParameters(direct_peers=(C,))


def test_v11_explicit_peering_every_valid_message_goes_to_explicit_peers_outside_the_mesh() -> None:
    bench = linked(Bench(DIRECT, topics=(T,)), A)
    bench.connect(B, C)
    bench.heartbeat()
    assert C not in bench.gossip.mesh(T)
    assert C in receivers(bench.accept(A, message(1)), message(1))
    large = Message(T, bytes(20_000))
    assert C in receivers(bench.publish(large), large)
    assert C not in offered(bench.heartbeat(), message(1))


def test_v11_explicit_peering_rpcs_are_always_accepted_and_never_judged() -> None:
    bench = Bench(DIRECT, topics=(T,), scores={C: -1_000})
    bench.connect(C)
    assert bench.message(C, message(1))
    assert bench.gossip.score(C) == 0.0


def test_v11_explicit_peering_a_graft_of_an_explicit_peer_is_answered_with_prune() -> None:
    bench = Bench(DIRECT, topics=(T,))
    bench.connect(C)
    assert pruned(bench.graft(C)) == {C}
    assert bench.gossip.mesh(T) == ()


# ---- parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"gossip_threshold": 0.0},
        {"publish_threshold": -5.0},
        {"graylist_threshold": -50.0},
        {"px_threshold": -1.0},
        {"opportunistic_threshold": -1.0},
        {"application_weight": -1.0},
        {"colocation_weight": 1.0},
        {"colocation_threshold": 0},
        {"behaviour_weight": 1.0},
        {"behaviour_decay": 1.0},
        {"decay_ms": 0},
    ],
)
def test_v11_overview_of_new_parameters_bad_ones_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ScoreParameters(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"first_deliveries_weight": -1.0},
        {"invalid_weight": 1.0},
        {"mesh_deliveries_decay": 0.0},
        {"mesh_deliveries_cap": 1.0},
        {"time_in_mesh_quantum_ms": 0},
    ],
)
def test_v11_overview_of_new_parameters_bad_topics_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        TopicScore(**bad)  # type: ignore[arg-type]


def test_explicit_peers_must_fit_among_the_peers() -> None:
    with pytest.raises(ValueError, match="direct_peers"):
        GossipParameters(direct_peers=(A, B), peers_max=1)
