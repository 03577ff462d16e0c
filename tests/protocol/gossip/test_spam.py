"""Spam protection of gossipsub v1.1, IDONTWANT of v1.2, and what goes beyond: mute peers."""

import msgspec
import pytest

from p2p.model.effects import Penalize
from p2p.model.rejection import Reason
from p2p.model.rpc import IHave, Message, MessageId, Prune, Rpc, RpcReceived, RpcSent
from p2p.primitives.units import Millis
from p2p.protocol.gossip import GossipParameters, PeerRated, ScoreParameters, SendRpc, TopicScore
from tests.protocol.gossip.kit import Bench, T, names, receivers, sent

A, B, C, D = names(4)
LARGE = Message(T, bytes(10_000))
SMALL = Message(T, b"small")


def bench_with(**scores: float) -> Bench:
    """One misdeed costs one point, its square for more."""
    exact = ScoreParameters(behaviour_threshold=0.0, behaviour_weight=-1.0)
    strict = msgspec.structs.replace(exact, **scores)
    return Bench(GossipParameters(scores=strict), topics=(T,))


def linked(bench: Bench) -> Bench:
    bench.connect(A, B, C)
    bench.graft(A, B, C)
    return bench


def unknown(number: int) -> MessageId:
    return MessageId(b"%020d" % number)


def behaviour(bench: Bench) -> float:
    report = bench.gossip.score_report(A)
    assert report is not None
    return report.behaviour


# ---- GRAFT ----------------------------------------------------------------------------------


def test_v11_spam_protection_a_graft_for_an_unknown_topic_is_ignored() -> None:
    bench = bench_with()
    bench.connect(A)
    assert bench.receive(A, Rpc(graft=("unknown",))) == []


def test_v11_backoff_a_graft_in_backoff_is_pruned_extends_it_and_is_penalised() -> None:
    bench = bench_with()
    bench.connect(A)
    bench.receive(A, Rpc(prune=(Prune(T, 60),)))
    bench.now_ms += 30_000
    effects = bench.graft(A)
    assert Penalize(A, Reason.BACKOFF, T) in effects
    assert sent(effects)[A].prune == (Prune(T, 60),)
    assert behaviour(bench) == -1.0
    bench.now_ms += 59_000
    assert Penalize(A, Reason.BACKOFF, T) in bench.graft(A)


def test_v11_backoff_a_graft_at_once_after_the_prune_counts_twice() -> None:
    bench = bench_with()
    bench.connect(A)
    bench.receive(A, Rpc(prune=(Prune(T, 60),)))
    bench.graft(A)
    assert behaviour(bench) == -4.0


# ---- IHAVE and broken promises --------------------------------------------------------------


def test_v11_broken_promises_are_misbehaviour_of_who_offered() -> None:
    bench = bench_with()
    bench.connect(A)
    bench.receive(A, Rpc(ihave=(IHave(T, (unknown(1), unknown(2))),)))
    bench.heartbeat(5)
    assert behaviour(bench) == pytest.approx(-1.0)
    assert bench.gossip.counters.promises_broken == 1
    bench.heartbeat(5)
    assert bench.gossip.counters.promises_broken == 1


def test_v11_broken_promises_a_message_that_comes_from_anybody_keeps_the_promise() -> None:
    bench = bench_with()
    bench.connect(A, B)
    bench.receive(A, Rpc(ihave=(IHave(T, (SMALL.id,)),)))
    bench.message(B, SMALL)
    bench.heartbeat(6)
    assert behaviour(bench) == 0.0


def test_broken_promises_are_not_held_against_anybody_while_we_slept() -> None:
    bench = bench_with()
    bench.connect(A)
    bench.heartbeat()
    bench.receive(A, Rpc(ihave=(IHave(T, (SMALL.id,)),)))
    bench.now_ms += 60_000
    bench.heartbeat()
    assert behaviour(bench) == 0.0
    bench.message(A, SMALL)
    bench.heartbeat(10)
    assert behaviour(bench) == 0.0


def test_promises_that_are_tracked_are_bounded() -> None:
    bench = Bench(GossipParameters(promises_max=2), topics=(T,))
    bench.connect(A)
    for number in range(5):
        bench.receive(A, Rpc(ihave=(IHave(T, (unknown(number),)),)))
    assert bench.gossip.sizes()["promises"] == 2


# ---- IWANT ----------------------------------------------------------------------------------


def test_v11_iwant_asking_for_one_message_again_and_again_is_misbehaviour() -> None:
    bench = bench_with()
    bench.connect(A, B)
    bench.accept(B, SMALL)
    answers = [
        SMALL in sent(bench.receive(A, Rpc(iwant=(SMALL.id,)))).get(A, Rpc()).publish
        for _ in range(5)
    ]
    assert answers == [True, True, True, False, False]
    assert behaviour(bench) == -4.0


def test_v11_iwant_asking_for_what_is_gone_is_no_fault() -> None:
    bench = bench_with()
    bench.connect(A)
    assert bench.receive(A, Rpc(iwant=(unknown(1),))) == []
    assert behaviour(bench) == 0.0


def test_iwant_below_the_gossip_threshold_repetitions_still_lead_to_the_graylist() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A, B)
    bench.accept(B, SMALL)
    for _ in range(13):
        bench.receive(A, Rpc(iwant=(SMALL.id,)))
    assert bench.gossip.score(A) < -80
    assert bench.gossip.counters.iwant_served == 3


# ---- IDONTWANT ------------------------------------------------------------------------------


def test_v12_idontwant_goes_to_the_mesh_at_the_first_sight_of_a_large_message() -> None:
    bench = linked(bench_with())
    effects = bench.message(A, LARGE)
    assert {peer: rpc.idontwant for peer, rpc in sent(effects).items()} == {
        B: (LARGE.id,),
        C: (LARGE.id,),
    }
    assert not any(rpc.idontwant for rpc in sent(bench.message(B, LARGE)).values())


def test_v12_idontwant_is_not_said_of_small_messages() -> None:
    assert sent(linked(bench_with()).message(A, SMALL)) == {}


def test_v12_idontwant_leaves_at_once_whatever_the_flush_delay_is() -> None:
    bench = linked(Bench(GossipParameters(flush_ms=50), topics=(T,)))
    for peer in (A, B, C):
        bench.step(RpcSent(peer))
    assert {peer for peer, rpc in sent(bench.message(A, LARGE)).items() if rpc.idontwant} == {B, C}


def test_v12_idontwant_its_message_is_not_forwarded_to_who_said_it() -> None:
    bench = linked(bench_with())
    bench.message(A, LARGE)
    bench.receive(B, Rpc(idontwant=(LARGE.id,)))
    assert receivers(bench.judge(LARGE), LARGE) == {C}


def test_v12_idontwant_takes_back_what_waits() -> None:
    bench = linked(bench_with())
    bench.acknowledge = False
    bench.publish(SMALL)  # is in flight
    bench.publish(LARGE)  # waits
    bench.receive(B, Rpc(idontwant=(LARGE.id,)))
    assert bench.step(RpcSent(B)) == []
    assert [effect.peer for effect in bench.step(RpcSent(C)) if isinstance(effect, SendRpc)] == [C]


def test_v12_idontwant_does_not_keep_us_from_answering_iwant() -> None:
    bench = linked(bench_with())
    bench.accept(A, LARGE)
    bench.receive(B, Rpc(idontwant=(LARGE.id,)))
    assert receivers(bench.receive(B, Rpc(iwant=(LARGE.id,))), LARGE) == {B}


def test_v12_idontwant_is_forgotten_after_some_heartbeats() -> None:
    bench = linked(bench_with())
    bench.receive(B, Rpc(idontwant=(LARGE.id,)))
    assert bench.gossip.sizes()["unwanted_ids"] == 1
    bench.heartbeat(3)
    assert bench.gossip.sizes()["unwanted_ids"] == 1
    bench.heartbeat()
    assert bench.gossip.sizes()["unwanted_ids"] == 0


def test_v12_idontwant_is_limited_each_heartbeat_and_more_is_misbehaviour() -> None:
    strict = ScoreParameters(behaviour_threshold=0.0, behaviour_weight=-1.0)
    bench = Bench(GossipParameters(idontwant_ids_max=3, scores=strict), topics=(T,))
    bench.connect(A)
    bench.receive(A, Rpc(idontwant=tuple(unknown(n) for n in range(3))))
    assert behaviour(bench) == 0.0
    bench.receive(A, Rpc(idontwant=(unknown(9),)))
    assert behaviour(bench) == -1.0
    assert bench.gossip.sizes()["unwanted_ids"] == 3
    bench.heartbeat()
    bench.receive(A, Rpc(idontwant=(unknown(9),)))
    assert bench.gossip.counters.idontwant_received == 5
    assert behaviour(bench) == pytest.approx(-1.0, abs=0.1)


# ---- mute peers -----------------------------------------------------------------------------

MUTE = ScoreParameters(topic=TopicScore(mute_messages=5, mute_ms=3_000, mute_failure=160.0))


def talk(bench: Bench, count: int) -> None:
    for number in range(count):
        bench.accept(B, Message(T, b"talk %d at %d" % (number, bench.now_ms)))
        bench.heartbeat()


def test_a_mesh_peer_that_never_says_a_word_is_graylisted() -> None:
    bench = linked(Bench(GossipParameters(scores=MUTE), topics=(T,)))
    bench.heartbeat()
    talk(bench, 12)
    assert bench.gossip.score(A) < -80
    assert bench.gossip.score(B) > 0
    assert bench.message(A, SMALL) == []


@pytest.mark.parametrize("word", ["a late copy", "an offer"])
def test_a_mesh_peer_that_says_anything_is_not_mute(word: str) -> None:
    bench = linked(Bench(GossipParameters(scores=MUTE), topics=(T,)))
    bench.accept(B, SMALL)
    for _ in range(5):
        talk(bench, 3)
        said = Rpc(publish=(SMALL,)) if word == "a late copy" else Rpc(ihave=(IHave(T, ()),))
        bench.step(RpcReceived(A, said))
    assert bench.gossip.score(A) >= 0


@pytest.mark.parametrize("answers", [True, False])
def test_who_hears_all_from_us_is_asked_before_it_counts_as_mute(*, answers: bool) -> None:
    rules = ScoreParameters(topic=TopicScore(mute_messages=20, mute_ms=15_000, mute_failure=160.0))
    bench = linked(Bench(GossipParameters(scores=rules), topics=(T,)))
    asked = 0
    for number in range(60):
        news = Message(T, b"news %d" % number)
        bench.accept(B, news)
        rpcs = sent(bench.heartbeat())
        if A in rpcs and rpcs[A].iwant:
            asked += 1
            assert rpcs[A].iwant == (news.id,)
            if answers:
                bench.message(A, news)
    assert asked
    assert (bench.gossip.score(A) < -80) == (not answers)


def test_in_a_silent_topic_and_while_we_sleep_nobody_is_mute() -> None:
    bench = linked(Bench(GossipParameters(scores=MUTE), topics=(T,)))
    bench.heartbeat(100)
    assert bench.gossip.score(A) >= 0
    talk(bench, 1)
    bench.now_ms += 600_000
    bench.accept(B, *[Message(T, b"backlog %d" % number) for number in range(9)])
    bench.heartbeat()
    assert bench.gossip.score(A) >= 0


@pytest.mark.parametrize("word", [False, True])
def test_silence_adds_up_over_stays_in_the_mesh_until_a_word_ends_it(*, word: bool) -> None:
    patient = ScoreParameters(topic=TopicScore(mute_messages=5, mute_ms=15_000))
    bench = linked(Bench(GossipParameters(scores=patient), topics=(T,)))
    talk(bench, 14)
    bench.disconnect(A)
    bench.heartbeat(62)  # what backoff there was is over
    bench.connect(A)
    if word:
        bench.receive(A, Rpc(ihave=(IHave(T, ()),)))
    bench.graft(A)
    talk(bench, 14)
    assert (bench.gossip.score(A) < -80) == (not word)


def test_ratings_of_strangers_are_not_kept() -> None:
    bench = bench_with()
    bench.gossip.step(PeerRated(D, -5.0), Millis(bench.now_ms))
    assert bench.gossip.rating(D) == 0.0
