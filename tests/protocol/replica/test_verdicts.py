"""What a gossiped message is worth, before its signatures are checked and after."""

import msgspec
import pytest

from p2p.model.ad import CapacityAd, sign_ad
from p2p.model.block import Certificate
from p2p.model.receipt import ServiceReceipt, sign_as_consumer, sign_as_provider
from p2p.model.rejection import Reason
from p2p.model.rpc import Message, Rpc, RpcReceived
from p2p.model.topic import GossipValue, Topic, topic_name
from p2p.model.transaction import Transaction, Transfer, sign_transaction
from p2p.model.vote import VoteKind
from p2p.primitives.keys import Key, peer_text
from p2p.primitives.signing import Ed25519Signer
from p2p.primitives.units import Amount, ChannelId, Digest, Height, Millis
from p2p.protocol.interface import AdLearned, Committed, InvariantViolated, PeerPenalized
from tests.protocol.replica.bench import (
    ADDRESS,
    CHAIN,
    STRANGER,
    VALIDATORS,
    Bench,
    certify,
    events,
    propose,
    published,
    requests,
    vote,
)

PEER, OTHER = VALIDATORS[1], VALIDATORS[2]


def listening(key: Key = VALIDATORS[0]) -> Bench:
    """A validator at height 1, open, with two neighbours that hear all of gossip."""
    bench = Bench(key).start()
    bench.connect(PEER, OTHER)
    bench.graft()
    bench.open_height()
    return bench


def blamed(bench: Bench, topic: Topic, value: GossipValue) -> Reason | None:
    """For what the sender of a value is blamed."""
    found = [
        one for one in events(bench.hear(PEER.peer, topic, value)) if isinstance(one, PeerPenalized)
    ]
    assert all(one.peer == PEER.peer for one in found)
    return found[0].reason if found else None


def ad_of(key: Key, bench: Bench, **changes: object) -> CapacityAd:
    replica = bench.replica
    own = replica.registry.get(bench.key.account)
    assert own is not None
    fresh = msgspec.structs.replace(own.value, provider=key.account, issued_ms=bench.now_ms)
    return sign_ad(msgspec.structs.replace(fresh, **changes), Ed25519Signer(key))


def transfer(key: Key, *, nonce: int = 0, fee: int = 10) -> Transaction:
    action = Transfer(STRANGER.account, Amount(1))
    draft = Transaction(CHAIN, key.account, nonce, Amount(fee), action)
    return sign_transaction(draft, Ed25519Signer(key))


# ---- form


def test_junk_and_broken_signatures_are_held_against_the_sender() -> None:
    bench = listening()
    junk = Message(topic_name(Topic.VOTES, CHAIN), b"junk")
    effects = bench.step(RpcReceived(PEER.peer, Rpc(publish=(junk,))))
    assert [type(event) for event in events(effects)] == [PeerPenalized]
    forged = msgspec.structs.replace(vote(OTHER, None), signature=bytes(64))
    assert blamed(bench, Topic.VOTES, forged) is Reason.BAD_SIGNATURE


def test_values_of_another_chain_are_held_against_the_sender() -> None:
    bench = listening()
    foreign = msgspec.structs.replace(vote(OTHER, None), chain_id=Digest(bytes(32)))
    assert blamed(bench, Topic.VOTES, foreign) is Reason.WRONG_CHAIN


# ---- votes and proposals


@pytest.mark.parametrize(
    ("height", "round_", "signer"), [(9, 0, OTHER), (1, 0, STRANGER), (2, 0, STRANGER)]
)
def test_votes_that_an_honest_peer_may_pass_on_are_dropped_without_blame(
    height: int, round_: int, signer: Key
) -> None:
    bench = listening()
    early = vote(signer, None, height=height, round_=round_)
    assert blamed(bench, Topic.VOTES, early) is None
    assert bench.replica.chain.driver.held() == (0, 0)


def test_a_good_vote_is_forwarded_and_counted() -> None:
    bench = listening()
    prevote = vote(OTHER, None)
    effects = bench.hear(PEER.peer, Topic.VOTES, prevote)
    assert len(published(effects, Topic.VOTES)) == 1
    assert bench.replica.chain.driver.held() == (1, 0)


def test_a_proposal_is_executed_and_voted_for() -> None:
    bench = listening()
    proposer = bench.proposer()
    if proposer is bench.key:
        bench = listening(VALIDATORS[3])
    block = bench.build().block
    effects = bench.hear(PEER.peer, Topic.VOTES, propose(bench.proposer(), block))
    assert len(published(effects, Topic.VOTES)) == 2, "the proposal, then our prevote"
    assert bench.replica.chain.candidate(block.header.digest()) == block


def test_a_proposal_whose_block_is_of_another_height_is_malformed() -> None:
    bench = listening()
    good = propose(PEER, bench.build(PEER).block)
    proposal = msgspec.structs.replace(good.proposal, height=Height(2))
    odd = msgspec.structs.replace(good, proposal=proposal)
    assert blamed(bench, Topic.VOTES, odd) is Reason.MALFORMED


def test_a_proposal_of_the_height_that_opens_next_waits_for_it() -> None:
    bench = Bench(VALIDATORS[0]).start()
    bench.connect(PEER, OTHER)
    bench.now_ms = Millis(bench.now_ms + 900)
    block = bench.build(bench.proposer()).block
    assert blamed(bench, Topic.VOTES, propose(bench.proposer(), block)) is None
    assert bench.replica.chain.candidate(block.header.digest()) is None
    bench.open_height()
    assert bench.replica.chain.candidate(block.header.digest()) == block


def test_a_proposal_of_a_far_height_is_dropped_without_blame() -> None:
    bench = Bench(VALIDATORS[0]).start()
    bench.connect(PEER, OTHER)
    block = bench.build(PEER).block
    header = msgspec.structs.replace(block.header, height=Height(7))
    far = propose(PEER, msgspec.structs.replace(block, header=header))
    assert blamed(bench, Topic.VOTES, far) is None


def test_a_proposal_out_of_turn_is_held_against_the_sender_before_its_height_opens_and_after() -> (
    None
):
    bench = Bench(VALIDATORS[0]).start()
    bench.connect(PEER, OTHER)
    wrong = next(key for key in VALIDATORS if key is not bench.proposer())
    out_of_turn = propose(wrong, bench.build(wrong).block)
    assert blamed(bench, Topic.VOTES, out_of_turn) is Reason.WRONG_PROPOSER
    opened = listening()
    assert blamed(opened, Topic.VOTES, out_of_turn) is Reason.WRONG_PROPOSER


# ---- blocks


def test_the_next_block_with_its_proof_is_committed_by_whoever_hears_it() -> None:
    for key in (VALIDATORS[0], STRANGER):
        bench = Bench(key).start()
        bench.connect(PEER, OTHER)
        bench.graft()
        block = bench.build(PEER).block
        effects = bench.hear(PEER.peer, Topic.BLOCKS, certify(block))
        committed = [event for event in events(effects) if isinstance(event, Committed)]
        assert [event.height for event in committed] == [1]
        assert bench.state.header_digest == block.header.digest()
        assert len(published(effects, Topic.BLOCKS)) == 1, "passed on to the other neighbour"
        assert blamed(bench, Topic.BLOCKS, certify(block, VALIDATORS[:3])) is None, "late, no fault"


def test_a_proof_of_too_few_is_held_against_the_sender() -> None:
    bench = listening()
    block = bench.build(PEER).block
    assert blamed(bench, Topic.BLOCKS, certify(block, VALIDATORS[:2])) is Reason.BAD_CERTIFICATE
    assert bench.state.height == 0


def test_a_proof_of_another_header_is_held_against_the_sender() -> None:
    bench = listening()
    committed = certify(bench.build(PEER).block)
    other = msgspec.structs.replace(committed.certificate, header_digest=Digest(bytes(32)))
    odd = msgspec.structs.replace(committed, certificate=other)
    assert blamed(bench, Topic.BLOCKS, odd) is Reason.BAD_CERTIFICATE


def test_a_block_from_the_future_is_a_hint_to_ask_its_sender_for_blocks() -> None:
    bench, ahead = listening(), listening()
    chain = []
    for _ in range(3):
        ahead.now_ms = Millis(ahead.now_ms + 1_000)
        chain.append(certify(ahead.build(PEER).block))
        ahead.hear(PEER.peer, Topic.BLOCKS, chain[-1])
    effects = bench.hear(PEER.peer, Topic.BLOCKS, chain[-1])
    assert [event for event in events(effects) if isinstance(event, PeerPenalized)] == []
    (asked,) = requests(effects)
    assert asked.peer == PEER.peer
    assert bench.replica.sync.target_height == 3


def test_a_block_of_the_future_that_none_of_our_validators_signed_is_not_even_verified() -> None:
    bench = listening()
    committed = certify(bench.build(PEER).block, [STRANGER])
    header = msgspec.structs.replace(committed.block.header, height=Height(50))
    block = msgspec.structs.replace(committed.block, header=header)
    far = msgspec.structs.replace(committed, block=block)
    assert bench.replica.admits(far) is Reason.WRONG_HEIGHT
    assert blamed(bench, Topic.BLOCKS, far) is None


def test_a_proven_block_that_our_rules_refuse_halts_the_node() -> None:
    """A quorum signed what does not follow: taking either side of that split may be wrong."""
    bench = listening()
    block = bench.build(PEER).block
    header = msgspec.structs.replace(block.header, state_root=Digest(bytes(32)))
    effects = bench.hear(
        PEER.peer, Topic.BLOCKS, certify(msgspec.structs.replace(block, header=header))
    )
    assert InvariantViolated("validity", Height(1), Reason.BAD_ROOT.value) in events(effects)
    assert bench.replica.chain.halted is not None
    assert bench.state.height == 0
    # It takes no part any more, whatever comes.
    assert bench.fire("consensus/propose") == [] if "consensus/propose" in bench.timers else True
    assert not published(bench.hear(PEER.peer, Topic.VOTES, vote(OTHER, None)), Topic.RECEIPTS)
    bench.hear(PEER.peer, Topic.BLOCKS, certify(block))
    assert bench.state.height == 0


# ---- money


def test_a_transaction_is_pooled_and_forwarded_or_judged_by_its_reason() -> None:
    bench = listening()
    effects = bench.hear(PEER.peer, Topic.TRANSACTIONS, transfer(OTHER))
    assert len(published(effects, Topic.TRANSACTIONS)) == 1
    assert blamed(bench, Topic.TRANSACTIONS, transfer(OTHER, nonce=900)) is None
    assert blamed(bench, Topic.TRANSACTIONS, transfer(VALIDATORS[3], fee=1)) is Reason.FEE_TOO_LOW


def test_a_receipt_of_an_unknown_channel_is_no_fault_of_its_sender() -> None:
    bench = listening()
    draft = ServiceReceipt(
        CHAIN,
        PEER.account,
        OTHER.account,
        ChannelId(bytes(32)),
        Height(1),
        1,
        1,
        0,
        0,
        Amount(1),
        Digest(bytes(32)),
        Digest(bytes(32)),
    )
    signed = sign_as_provider(sign_as_consumer(draft, Ed25519Signer(OTHER)), Ed25519Signer(PEER))
    assert blamed(bench, Topic.RECEIPTS, signed) is None


# ---- ads


def test_an_ad_is_kept_told_and_forwarded_and_an_old_one_ignored() -> None:
    bench = listening()
    address = f"{ADDRESS}/p2p/{peer_text(STRANGER.peer)}"
    effects = bench.hear(PEER.peer, Topic.ADS, ad_of(STRANGER, bench, seq=2, addrs=(address,)))
    assert AdLearned(STRANGER.account, 2) in events(effects)
    assert len(published(effects, Topic.ADS)) == 1
    assert blamed(bench, Topic.ADS, ad_of(STRANGER, bench, seq=1)) is None
    assert bench.replica.registry.get(STRANGER.account) is not None
    assert bench.replica.membership.addresses_of(STRANGER.account) == (address,)


def test_a_certificate_is_not_of_the_form_of_a_topic() -> None:
    bench = listening()
    certificate: Certificate = certify(bench.build(PEER).block).certificate
    assert blamed(bench, Topic.BLOCKS, certificate) is Reason.MALFORMED  # type: ignore[arg-type]
    precommit = vote(OTHER, None, kind=VoteKind.PRECOMMIT)
    assert blamed(bench, Topic.TRANSACTIONS, precommit) is Reason.MALFORMED
