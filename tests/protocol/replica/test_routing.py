"""Every input reaches its machine, and every order the world."""

import pytest

from p2p.model.ad import CapacityAd
from p2p.model.commands import DropObligation, Reply
from p2p.model.effects import Dial, HangUp, Persist
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.offer import Offer
from p2p.model.rejection import Reason, Rejected
from p2p.model.requests import PeerRecord
from p2p.model.rpc import RpcSent, SendRpc
from p2p.model.topic import Topic
from p2p.model.transaction import Bond, Transaction, Transfer
from p2p.primitives.codec import decode
from p2p.primitives.keys import peer_text
from p2p.primitives.units import Amount, BlobId, ChannelId
from p2p.protocol.interface import (
    AdLearned,
    ChangeOffer,
    DialFailed,
    NeighboursFound,
    PeerMisbehaved,
    PeerPenalized,
    SpaceMeasured,
    Started,
    SubmitTransaction,
)
from tests.protocol.replica.bench import (
    ADDRESS,
    CHAIN,
    OBSERVER,
    STRANGER,
    VALIDATORS,
    Bench,
    certify,
    events,
    published,
)


def test_a_start_sets_one_timer_for_every_machine_that_needs_one() -> None:
    bench = Bench(VALIDATORS[0]).start()
    assert sorted(bench.timers) == [
        "chain/height",
        "gossip/heartbeat",
        "membership/tick",
        "registry/expire",
        "registry/renew",
        "replica/gaps",
    ]


def test_a_validator_subscribes_to_what_validators_hear_and_an_observer_does_not() -> None:
    everyone = {Topic.ADS, Topic.BLOCKS}
    for key, expected in ((OBSERVER, everyone), (VALIDATORS[0], set(Topic))):
        replica = Bench(key).start().replica
        names = replica.gossip.topics
        assert {topic for topic in Topic if any(f"/{topic.value}/" in name for name in names)} == (
            expected
        )


def test_seeds_are_dialled_at_the_first_tick() -> None:
    bench = Bench().start()
    assert Dial(VALIDATORS[0].peer, (ADDRESS,)) in bench.fire("membership/tick")


def test_the_outcome_of_a_dial_reaches_the_membership() -> None:
    bench = Bench().start()
    bench.fire("membership/tick")
    assert bench.step(DialFailed(VALIDATORS[0].peer)) == []
    bench.step(PeerConnected(VALIDATORS[0].peer, outbound=True, address=ADDRESS))
    assert bench.replica.membership.connected == [VALIDATORS[0].peer]
    bench.step(PeerDisconnected(VALIDATORS[0].peer, "gone"))
    assert bench.replica.membership.connected == []
    assert bench.replica.gossip.sizes()["peers"] == 0


def test_every_timer_goes_to_the_machine_that_set_it() -> None:
    bench = Bench(VALIDATORS[0]).start()
    bench.connect(*VALIDATORS[1:])
    for key in list(bench.timers):
        bench.fire(key)
    bench.step(TimerFired("consensus/propose"))
    with pytest.raises(ValueError, match="nobody set the timer 'kettle/boils'"):
        bench.step(TimerFired("kettle/boils"))


def test_a_peer_that_the_shell_caught_is_penalised_and_in_the_end_banned() -> None:
    bench = Bench().start()
    bench.connect(STRANGER)
    caught = PeerMisbehaved(STRANGER.peer, Reason.MALFORMED, "not protobuf")
    told = PeerPenalized(STRANGER.peer, Reason.MALFORMED, "not protobuf")
    assert events(bench.step(caught)) == [told]
    effects = bench.step(caught)
    assert events(effects) == [told]
    assert HangUp(STRANGER.peer, "banned: not a well-formed message") in effects


def test_what_was_sent_lets_the_next_rpc_leave() -> None:
    bench = Bench().start()
    bench.step(PeerConnected(STRANGER.peer, outbound=False, address=ADDRESS))
    assert bench.step(RpcSent(STRANGER.peer)) == []
    assert bench.step(RpcSent(VALIDATORS[3].peer)) == [], "of a peer that is gone"


# ---- commands


def submit(
    bench: Bench, action: Transfer | Bond, fee: int | None = None
) -> tuple[object, list[bytes]]:
    effects = bench.step(SubmitTransaction(3, action, None if fee is None else Amount(fee)))
    (reply,) = [effect for effect in effects if isinstance(effect, Reply)]
    assert reply.ticket == 3
    return reply.result, published(effects, Topic.TRANSACTIONS)


def test_a_transaction_is_signed_pooled_published_and_answered() -> None:
    bench = Bench().start()
    bench.connect(VALIDATORS[0])
    result, sent = submit(bench, Transfer(STRANGER.account, Amount(5)))
    assert isinstance(result, Transaction)
    assert result.fee == bench.genesis.parameters.transaction_fee_min
    assert [decode(data, Transaction, bytes_max=4096) for data in sent] == [result]
    again, _ = submit(bench, Transfer(STRANGER.account, Amount(5)), fee=20)
    assert isinstance(again, Transaction)
    assert (again.nonce, again.fee) == (1, 20)


def test_a_transaction_that_no_block_can_take_is_refused_and_not_published() -> None:
    bench = Bench().start()
    bench.connect(VALIDATORS[0])
    for action, fee, reason in (
        (Transfer(STRANGER.account, Amount(10**9)), None, Reason.INSUFFICIENT_FUNDS),
        (Transfer(STRANGER.account, Amount(5)), 1, Reason.FEE_TOO_LOW),
        (Transfer(STRANGER.account, Amount(0)), None, Reason.ZERO_AMOUNT),
    ):
        result, sent = submit(bench, action, fee)
        assert isinstance(result, Rejected)
        assert (result.reason, sent) == (reason, [])


def test_a_full_pool_ignores_what_it_might_take_later() -> None:
    bench = Bench().start()
    results = [submit(bench, Transfer(STRANGER.account, Amount(1)))[0] for _ in range(200)]
    refused = [result for result in results if isinstance(result, Rejected)]
    assert refused, "a sender's place in the pool is bounded"
    assert {result.reason for result in refused} == {Reason.TOO_MANY}


def test_our_pending_transaction_is_published_again_every_few_blocks() -> None:
    """A publisher that knew no validator would else wait for ever."""
    bench = Bench().start()
    transaction, sent = submit(bench, Transfer(STRANGER.account, Amount(5)))
    assert sent == [], "nobody to tell"
    bench.connect(VALIDATORS[0])
    repeated: list[list[bytes]] = []
    for _ in range(6):
        for _ in range(2):  # Heartbeats end the time in which gossip itself offers it.
            bench.fire("gossip/heartbeat")
            bench.step(RpcSent(VALIDATORS[0].peer))
        effects = bench.hear(VALIDATORS[0].peer, Topic.BLOCKS, certify(bench.build().block))
        bench.step(RpcSent(VALIDATORS[0].peer))
        repeated.append(published(effects, Topic.TRANSACTIONS))
    assert [len(data) for data in repeated] == [0, 0, 1, 0, 0, 1]
    assert decode(repeated[2][0], Transaction, bytes_max=4096) == transaction


def test_an_offer_is_answered_with_itself_and_advertised() -> None:
    bench = Bench().start()
    bench.connect(VALIDATORS[0])
    bench.step(RpcSent(VALIDATORS[0].peer))
    effects = bench.step(ChangeOffer(9, Offer(region="eu", accepting=True)))
    assert Reply(9, Offer(region="eu", accepting=True)) in effects
    assert isinstance(effects[0], Persist), "the number of an ad is durable before the ad leaves"
    ad = decode(published(effects, Topic.ADS)[-1], CapacityAd, bytes_max=4096)
    assert (ad.region, ad.provider) == ("eu", OBSERVER.account)
    assert AdLearned(OBSERVER.account, ad.seq) in events(effects)


def test_an_offer_out_of_bounds_is_refused() -> None:
    bench = Bench().start()
    (reply,) = bench.step(ChangeOffer(9, Offer(ttl_s=1)))
    assert isinstance(reply, Reply)
    assert isinstance(reply.result, Rejected)
    assert reply.result.reason is Reason.OUT_OF_BOUNDS


def test_measured_space_reaches_the_registry_and_receipt_commands_the_channels() -> None:
    bench = Bench().start()
    assert bench.step(SpaceMeasured(10**9)) == []
    drop = DropObligation(4, BlobId(bytes(32)), ChannelId(bytes(32)))
    assert bench.step(drop) == [Reply(4, False)]


# ---- questions that nobody asked


def test_the_failure_of_an_unknown_request_is_no_news() -> None:
    bench = Bench().start()
    assert bench.step(RequestFailed(10**6, STRANGER.peer)) == []


def test_a_chain_id_is_the_genesis_digest() -> None:
    assert Bench().replica.chain_id == CHAIN
    assert Bench().replica.account == OBSERVER.account
    assert Bench().replica.peer == OBSERVER.peer


def test_what_is_gossiped_to_nobody_is_not_sent() -> None:
    effects = Bench().step(Started((ADDRESS,)))
    assert not [effect for effect in effects if isinstance(effect, SendRpc)]


def test_peers_that_the_local_network_names_are_dialled() -> None:
    bench = Bench(OBSERVER).start()
    peer = STRANGER.peer
    address = f"/ip4/10.9.9.9/tcp/4001/p2p/{peer_text(peer)}"
    effects = bench.step(NeighboursFound((PeerRecord(STRANGER.account, (address,)),)))
    assert Dial(peer, (address,)) in effects
