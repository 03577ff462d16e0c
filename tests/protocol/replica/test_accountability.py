"""Evidence in a whole replica: found among late votes, told, judged, put into a block, punished."""

import msgspec

from p2p.model.ad import sign_ad
from p2p.model.block import Block
from p2p.model.evidence import DoubleVote, Evidence
from p2p.model.ledger import rules_of
from p2p.model.rejection import Reason
from p2p.model.topic import Topic
from p2p.model.vote import Vote, VoteKind, sign_vote
from p2p.primitives.codec import encode
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Signer
from p2p.primitives.units import Height, Millis, Round
from p2p.protocol.interface import EvidenceFound, PeerPenalized, StakeSlashed
from p2p.protocol.ledger import build_block
from tests.protocol.ledger import lies
from tests.protocol.ledger.chain import Chain
from tests.protocol.replica.bench import CHAIN, STRANGER, Bench, certify, events, published, vote
from tests.protocol.replica.test_chain import following, others

RED, BLUE = digest(b"red"), digest(b"blue")


def told(bench: Bench, *votes: Vote) -> list[object]:
    """What a node says of votes that a neighbour passes on."""
    found: list[object] = []
    for one in votes:
        found += events(bench.hear(others(bench)[0].peer, Topic.VOTES, one))
    return [event for event in found if not isinstance(event, PeerPenalized)]


def proof(key: Key, *, reporter: Key = STRANGER, height: int = 1) -> Evidence:
    pair = DoubleVote(vote(key, RED, height=height), vote(key, BLUE, height=height))
    return Evidence(pair, reporter.account)


def test_a_forgotten_lock_is_found_told_and_slashed_by_the_next_block() -> None:
    bench = following()
    liar = others(bench)[1]
    precommit = vote(liar, RED, kind=VoteKind.PRECOMMIT, round_=1)
    assert told(bench, precommit) == []
    effects = bench.hear(liar.peer, Topic.VOTES, vote(liar, BLUE, round_=3))
    assert EvidenceFound("amnesia", liar.account, Height(1)) in events(effects)
    (sent,) = published([*effects, *bench.drain()], Topic.EVIDENCE)
    (waiting,) = bench.replica.mempool.evidence
    assert sent == encode(waiting)
    assert waiting.reporter == bench.key.account
    block = certify(with_evidence(bench, waiting))
    slashed = [
        event
        for event in events(bench.hear(liar.peer, Topic.BLOCKS, block))
        if isinstance(event, StakeSlashed)
    ]
    assert [event.row.offender for event in slashed] == [liar.account]
    assert bench.state.accounts[liar.account].jailed_until > 0
    assert bench.replica.mempool.evidence == ()


def with_evidence(bench: Bench, evidence: Evidence) -> Block:
    """The next block, which holds this evidence."""
    executed = build_block(
        bench.state,
        rules_of(bench.genesis),
        proposer=bench.proposer().account,
        time_ms=Millis(bench.now_ms + 1),
        transactions=(),
        receipts=(),
        evidence=(evidence,),
    )
    assert executed.block.evidence == (evidence,)
    return executed.block


def test_a_prevote_that_its_valid_round_explains_is_no_amnesia() -> None:
    bench = following()
    honest = others(bench)[1]
    precommit = vote(honest, RED, kind=VoteKind.PRECOMMIT, round_=1)
    later = msgspec.structs.replace(
        vote(honest, BLUE, round_=3), valid_round=Round(2), signature=b""
    )
    assert told(bench, precommit, sign_vote(later, Ed25519Signer(honest))) == []


def test_a_late_second_vote_of_a_past_height_is_verified_and_found_and_others_are_not() -> None:
    bench = following()
    liar = others(bench)[1]
    assert told(bench, vote(liar, RED, round_=2)) == []
    bench.hear(liar.peer, Topic.BLOCKS, certify(bench.build(bench.proposer()).block))
    assert bench.state.height == 1
    bench.open_height()
    late = vote(liar, BLUE, round_=2)
    assert bench.replica.admits(late) is None
    assert bench.replica.admits(vote(liar, None, round_=5)) is Reason.OUTDATED
    assert EvidenceFound("double_vote", liar.account, Height(1)) in told(bench, late)
    assert bench.replica.admits(vote(liar, None, round_=2)) is Reason.OUTDATED


def test_evidence_of_others_is_passed_on_once_and_waits() -> None:
    bench = following()
    liar, *_ = others(bench)
    peers = others(bench)
    first = proof(liar)
    effects = [*bench.hear(peers[1].peer, Topic.EVIDENCE, first), *bench.drain()]
    assert published(effects, Topic.EVIDENCE) == [encode(first)]
    assert bench.replica.mempool.evidence == (first,)
    again = proof(liar, reporter=peers[2])
    effects = [*bench.hear(peers[2].peer, Topic.EVIDENCE, again), *bench.drain()]
    assert published(effects, Topic.EVIDENCE) == []
    assert [event for event in events(effects) if isinstance(event, PeerPenalized)] == []


def test_false_evidence_is_its_senders_fault_and_pointless_evidence_nobodys() -> None:
    bench = following()
    liar, sender, _ = others(bench)
    same = vote(liar, RED)
    no_lie = Evidence(DoubleVote(same, same), sender.account)
    false = msgspec.structs.replace(vote(liar, BLUE), signature=bytes(64))
    forged = Evidence(DoubleVote(vote(liar, RED), false), sender.account)
    reasons = []
    for value in (no_lie, forged, proof(STRANGER), proof(liar, height=9)):
        heard = events(bench.hear(sender.peer, Topic.EVIDENCE, value))
        reasons.append([event.reason for event in heard if isinstance(event, PeerPenalized)])
    assert reasons == [[Reason.NO_CONTRADICTION], [Reason.BAD_SIGNATURE], [], []]
    assert bench.replica.mempool.evidence == ()


def test_two_ads_of_one_seq_are_evidence() -> None:
    bench = following()
    liar = others(bench)[0]
    bare = lies.ad(Chain(), 0, issued_ms=int(bench.now_ms))
    mine = msgspec.structs.replace(bare, chain_id=CHAIN, provider=liar.account)
    first = sign_ad(mine, Ed25519Signer(liar))
    second = sign_ad(msgspec.structs.replace(mine, region="there"), Ed25519Signer(liar))
    bench.hear(liar.peer, Topic.ADS, first)
    found = events(bench.hear(liar.peer, Topic.ADS, second))
    assert EvidenceFound("double_ad", liar.account, Height(1)) in found
