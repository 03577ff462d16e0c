"""Evidence that waits: one of an offence, what costs most first, nothing that no block takes."""

import msgspec

from p2p.model.evidence import DoubleVote, Evidence
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.signing import Verified
from p2p.protocol.mempool import (
    Accepted,
    BlockCommitted,
    EvidenceReceived,
    Ignored,
    Mempool,
    MempoolLimits,
    Verdict,
)
from tests.protocol.ledger.chain import Chain, account, genesis
from tests.protocol.ledger.lies import (
    BLUE,
    RED,
    double_ad,
    double_vote,
    told,
    vote,
)


def chain_of(*bonds: int, **overrides: int) -> Chain:
    return Chain(genesis(bonds=bonds or (600, 300, 100), overrides=overrides))


def pool(chain: Chain, **limits: int) -> Mempool:
    return Mempool(chain.rules, chain.state, MempoolLimits(**limits))


def offer(mempool: Mempool, evidence: Evidence) -> Verdict:
    (verdict,) = mempool.step(EvidenceReceived(Verified(evidence)))
    return verdict


def test_one_proof_of_an_offence_waits_whoever_found_it() -> None:
    chain = chain_of()
    mempool = pool(chain)
    first = double_vote(chain, 0)
    assert offer(mempool, first) == Accepted()
    assert offer(mempool, double_vote(chain, 0, round_=4, reporter=3)) == Ignored(Reason.OUTDATED)
    assert mempool.evidence == (first,)
    assert mempool.evidence_of(account(5)) == (first,)
    assert mempool.evidence_of(account(3)) == ()


def test_what_no_state_would_take_is_its_senders_fault_and_the_rest_is_not() -> None:
    chain = chain_of(evidence_age_epochs=3, unbonding_epochs=4)
    chain.pass_epochs(8)
    mempool = pool(chain)
    same = told(DoubleVote(vote(chain, 0, RED), vote(chain, 0, RED)))
    assert isinstance(offer(mempool, same), Rejected)
    foreign = vote(chain, 0, BLUE)
    foreign = msgspec.structs.replace(foreign, chain_id=BLUE)
    assert isinstance(offer(mempool, told(DoubleVote(foreign, foreign))), Rejected)
    old = Ignored(Reason.EXPIRED, "5, taken until 8")
    assert offer(mempool, double_vote(chain, 0, height=5)) == old
    early = Ignored(Reason.FROM_THE_FUTURE, "11, now is 10")
    assert offer(mempool, double_vote(chain, 0, height=11)) == early
    assert offer(mempool, double_vote(chain, 4)) == Ignored(Reason.NO_STAKE)
    assert mempool.screen(double_vote(chain, 4)) == Ignored(Reason.NO_STAKE)
    assert mempool.screen(double_vote(chain, 0)) is None
    assert mempool.evidence == ()


def test_what_is_a_little_early_waits_until_a_block_may_take_it() -> None:
    chain = chain_of()
    mempool = pool(chain)
    lie, ad = double_vote(chain, 0, height=2), double_ad(chain, 1, issued_ms=1_500)
    assert offer(mempool, lie) == offer(mempool, ad) == Accepted()
    assert mempool.candidates(bytes_max=10_000).evidence == ()
    chain.commit()
    mempool.step(BlockCommitted(chain.state))
    assert mempool.candidates(bytes_max=10_000).evidence == (lie, ad)


def test_candidates_come_by_what_they_cost_and_leave_when_punished() -> None:
    chain = chain_of()
    mempool = pool(chain)
    lies = [double_vote(chain, 2), double_vote(chain, 0), double_vote(chain, 1)]
    assert [offer(mempool, lie) for lie in lies] == [Accepted()] * 3
    waiting = mempool.candidates(bytes_max=10_000).evidence
    assert waiting == (lies[1], lies[2], lies[0])
    chain.commit_all(evidence=waiting[:2])
    mempool.step(BlockCommitted(chain.state))
    assert mempool.evidence == (lies[0],)
    assert offer(mempool, lies[1]) == Ignored(Reason.PUNISHED)


def test_what_became_too_old_leaves() -> None:
    chain = chain_of(evidence_age_epochs=2, unbonding_epochs=3)
    mempool = pool(chain)
    offer(mempool, double_vote(chain, 0))
    for _ in range(3):
        assert mempool.evidence
        chain.commit()
        mempool.step(BlockCommitted(chain.state))
    assert mempool.evidence == ()


def test_a_full_pool_keeps_what_costs_liars_most() -> None:
    chain = chain_of(600, 300, 100, 50)
    mempool = pool(chain, evidence_max=2)
    small, large, larger, least = (double_vote(chain, number) for number in (2, 1, 0, 3))
    assert offer(mempool, small) == Accepted()
    assert offer(mempool, large) == Accepted()
    assert offer(mempool, larger) == Accepted()
    full = Ignored(Reason.TOO_MANY, "it costs too little for a full mempool")
    assert offer(mempool, least) == full
    assert mempool.evidence == (larger, large)
