"""What a score leads to: thresholds and opportunistic grafting of gossipsub-v1.1.md."""

import pytest

from p2p.model.effects import Penalize
from p2p.model.rejection import Reason
from p2p.model.rpc import IHave, PeerInfo, Prune, Rpc
from p2p.protocol.gossip import (
    GossipParameters,
    SuggestPeers,
)
from tests.protocol.gossip.kit import (
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
from tests.protocol.gossip.scoring import (
    A,
    B,
    C,
    linked,
    message,
    scored,
)


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
