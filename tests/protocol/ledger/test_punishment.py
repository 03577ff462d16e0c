"""Punishment: what a lie costs, once, for as long as it can be brought, whoever brings it."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.evidence import (
    EVIDENCE_PER_BLOCK_MAX,
    DoubleReceipt,
    DoubleVote,
    Evidence,
    SlashRow,
    offence_id,
)
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import Bond, Transfer, Unbond, Unjail
from p2p.primitives.units import Amount
from tests.protocol.ledger.chain import Chain, account, genesis
from tests.protocol.ledger.lies import (
    BLUE,
    RED,
    amnesia,
    double_ad,
    double_proposal,
    double_receipt,
    double_vote,
    told,
    vote,
)

BONDS = (600_000, 300_000, 100_000)


def big_chain(**overrides: int) -> Chain:
    return Chain(genesis(bonds=BONDS, overrides=overrides))


@pytest.mark.parametrize(
    ("lie", "taken", "jails"),
    [
        (lambda chain: double_vote(chain, 0), 30_000, True),
        (lambda chain: double_proposal(chain, 0), 30_000, True),
        (lambda chain: amnesia(chain, 0), 30_000, True),
        (lambda chain: double_receipt(chain, 0, 4, guilty=0), 60_000, False),
        (lambda chain: double_receipt(chain, 4, 0, guilty=0), 60_000, False),
        (lambda chain: double_ad(chain, 0), 6_000, False),
    ],
)
def test_each_kind_costs_its_share_and_pays_a_twentieth_of_it(
    lie: Callable[[Chain], Evidence], taken: int, jails: bool
) -> None:
    chain = big_chain()
    evidence = lie(chain)
    built = chain.commit_all(evidence=[evidence])
    owner = chain.state.accounts[account(0)]
    assert owner.bonded == 600_000 - taken
    assert chain.balance(5) == 1_000_000 + taken // 20
    assert built.block.header.burned == taken - taken // 20
    assert owner.jailed_until == (51 if jails else 0)
    voters = [one.account for one in chain.state.next_validators.validators]
    assert (account(0) in voters) == (not jails)
    assert built.slashes == (
        SlashRow(
            height=built.state.height,
            kind=built.slashes[0].kind,
            offender=account(0),
            offence=offence_id(evidence.offence),
            slashed=Amount(taken),
            rewarded=Amount(taken // 20),
            burned=Amount(taken - taken // 20),
            reporter=account(5),
            jailed_until=owner.jailed_until,
        ),
    )


def test_stake_on_its_way_back_is_slashed_with_the_rest_and_rounded_up_each() -> None:
    chain = Chain(genesis(bonds=(1_000, 101)))
    chain.commit_all(transactions=[chain.transaction(1, Unbond(Amount(21)))])
    chain.commit_all(transactions=[chain.transaction(1, Unbond(Amount(40)))])
    built = chain.commit_all(evidence=[double_vote(chain, 1)])
    # 5 % of 40, 21 and 40, each rounded up.
    assert built.slashes[0].slashed == 2 + 2 + 2
    assert [entry.amount for entry in chain.state.unbonding] == [19, 38]
    assert chain.state.accounts[account(1)].bonded == 38


def test_stake_that_was_all_slashed_leaves_the_queue() -> None:
    chain = Chain(genesis(bonds=(1_000, 1), overrides={"slash_double_vote": 10_000}))
    chain.commit_all(transactions=[chain.transaction(1, Unbond(Amount(1)))])
    chain.commit_all(evidence=[double_vote(chain, 1)])
    assert chain.state.unbonding == ()
    assert chain.refusal(evidence=[double_vote(chain, 1)]) == Rejected(Reason.NO_STAKE)


def test_an_offence_is_punished_once_whoever_shows_it_and_by_which_votes() -> None:
    chain = big_chain()
    chain.commit_all(evidence=[double_vote(chain, 0)])
    same = double_vote(chain, 0, height=1, round_=3, reporter=4)
    assert chain.refusal(evidence=[same]) == Rejected(Reason.PUNISHED)
    swapped = DoubleVote(vote(chain, 0, None, height=1), vote(chain, 0, RED, height=1))
    assert chain.refusal(evidence=[told(swapped)]) == Rejected(Reason.PUNISHED)
    twice = [double_vote(chain, 1), double_vote(chain, 1, round_=1)]
    assert chain.refusal(evidence=twice) == Rejected(Reason.PUNISHED)
    # Another height, another kind or another validator is another offence.
    chain.commit_all(evidence=[double_vote(chain, 0), amnesia(chain, 0), double_vote(chain, 1)])


def test_evidence_is_taken_until_it_is_too_old_and_forgotten_right_after() -> None:
    overrides = {"evidence_age_epochs": 3, "unbonding_epochs": 4}
    chain = Chain(genesis(bonds=BONDS, overrides=overrides))
    chain.pass_epochs(4)
    late = double_vote(chain, 0, height=2)
    assert isinstance(chain.build(evidence=[late]).slashes[0], SlashRow)
    chain.commit_all(evidence=[late])
    assert [entry.until_height for entry in chain.state.punished] == [5]
    too_late = double_vote(chain, 1, height=2)
    assert chain.refusal(evidence=[too_late]) == Rejected(Reason.EXPIRED, "2, taken until 5")
    assert chain.commit(evidence=[too_late]).block.evidence == ()
    assert chain.state.punished == ()
    early = double_vote(chain, 1, height=8)
    assert chain.refusal(evidence=[early]) == Rejected(Reason.FROM_THE_FUTURE, "8, now is 7")


def test_who_unbonds_at_once_after_lying_still_pays_at_the_last_moment() -> None:
    overrides = {"evidence_age_epochs": 3, "unbonding_epochs": 4}
    chain = Chain(genesis(bonds=BONDS, overrides=overrides))
    leave = chain.transaction(0, Unbond(Amount(600_000)))
    chain.commit_all(transactions=[leave])
    # Its last vote counts at height 2; evidence of that is taken until block 5, which pays it out.
    chain.pass_epochs(3)
    built = chain.commit_all(evidence=[double_vote(chain, 0, height=2)])
    assert built.slashes[0].slashed == 30_000
    assert chain.balance(0) == 1_000_000 - 10 + 570_000


def test_unbonding_must_outlast_evidence() -> None:
    with pytest.raises(ValueError, match="unbonding_epochs is 3, and must be more than"):
        Chain(genesis(overrides={"evidence_age_epochs": 3, "unbonding_epochs": 3}))


def test_ads_are_judged_by_time() -> None:
    chain = Chain(genesis(bonds=BONDS, overrides={"evidence_age_ms": 2_000}))
    tomorrow = double_ad(chain, 0, issued_ms=1_001)
    reason = Rejected(Reason.FROM_THE_FUTURE, "1001, now is 1000")
    assert chain.refusal(evidence=[tomorrow]) == reason
    chain.commit_all(evidence=[double_ad(chain, 0)])
    assert [entry.until_ms for entry in chain.state.punished] == [3_000]
    assert chain.refusal(evidence=[double_ad(chain, 0)]) == Rejected(Reason.PUNISHED)
    chain.pass_epochs(2)
    old = double_ad(chain, 1)
    assert chain.state.time_ms == 4_000
    assert chain.refusal(evidence=[old]) == Rejected(Reason.EXPIRED, "1000, taken until 3000")
    assert chain.state.punished != ()
    chain.commit()
    assert chain.state.punished == ()


def test_what_does_not_contradict_is_refused() -> None:
    chain = big_chain()
    first = vote(chain, 0, RED)
    again = msgspec.structs.replace(first, signature=b"another" * 9)
    refused = chain.refusal(evidence=[told(DoubleVote(first, again))])
    assert refused == Rejected(Reason.NO_CONTRADICTION, "not two votes of one slot")
    stranger = double_receipt(chain, 0, 1, guilty=2)
    assert chain.refusal(evidence=[stranger]).reason is Reason.NO_CONTRADICTION
    foreign = msgspec.structs.replace(first, chain_id=BLUE, header_digest=BLUE)
    refused = chain.refusal(evidence=[told(DoubleVote(first, foreign))])
    assert refused == Rejected(Reason.WRONG_CHAIN)


def test_who_has_nothing_at_stake_has_nothing_to_lose() -> None:
    chain = big_chain()
    assert chain.refusal(evidence=[double_vote(chain, 4)]) == Rejected(Reason.NO_STAKE)
    assert chain.refusal(evidence=[double_vote(chain, 99)]) == Rejected(Reason.NO_STAKE)


def test_a_chain_that_takes_nothing_for_a_lie_takes_no_evidence_of_it() -> None:
    chain = big_chain(slash_double_ad=0)
    assert chain.refusal(evidence=[double_ad(chain, 0)]).reason is Reason.NO_STAKE


def test_both_who_signed_two_receipts_are_punished_each_by_their_own_evidence() -> None:
    chain = big_chain()
    both = [double_receipt(chain, 0, 1, guilty=0), double_receipt(chain, 0, 1, guilty=1)]
    built = chain.commit_all(evidence=both)
    assert [row.offender for row in built.slashes] == [account(0), account(1)]
    first = both[0].offence
    assert isinstance(first, DoubleReceipt)
    other = msgspec.structs.replace(
        first, second=msgspec.structs.replace(first.second, amount=Amount(9))
    )
    assert chain.refusal(evidence=[told(other)]) == Rejected(Reason.PUNISHED)


def test_evidence_comes_before_transactions_so_nobody_leaves_in_its_block() -> None:
    chain = big_chain()
    leave = chain.transaction(0, Unbond(Amount(600_000)))
    part = chain.transaction(0, Unbond(Amount(570_000)))
    built = chain.commit(transactions=[leave, part], evidence=[double_vote(chain, 0)])
    assert built.block.transactions == (part,)


def test_a_block_names_a_bounded_number_of_liars() -> None:
    many = EVIDENCE_PER_BLOCK_MAX + 8
    chain = Chain(genesis(balances=(10,) * many, bonds=(1_000,) * many))
    lies = [double_vote(chain, number) for number in range(many)]
    built = chain.commit(evidence=lies)
    assert len(built.block.evidence) == EVIDENCE_PER_BLOCK_MAX
    rest = [lie for lie in lies if lie not in built.block.evidence]
    chain.commit_all(evidence=rest)


def test_evidence_fills_no_more_than_a_quarter_of_a_block() -> None:
    chain = Chain(genesis(bonds=(900,) * 6, overrides={"block_bytes_max": 4_096}))
    lies = [double_vote(chain, number) for number in range(6)]
    assert 0 < len(chain.commit(evidence=lies).block.evidence) < 6


# ---- jail ---------------------------------------------------------------------------------------


def test_jail_ends_when_its_time_is_over_and_the_owner_asks() -> None:
    chain = big_chain(jail_epochs=3)
    chain.commit_all(evidence=[double_vote(chain, 0)])
    out = chain.transaction(0, Unjail())
    assert chain.refusal(transactions=[out]) == Rejected(Reason.JAILED, "until block 4")
    chain.pass_epochs(2)
    chain.commit_all(transactions=[out])
    assert chain.state.next_validators.validators[0].account == account(0)
    assert chain.state.next_validators.validators[0].power == 570_000
    again = chain.transaction(0, Unjail())
    refused = Rejected(Reason.OUTDATED, "the account is not jailed")
    assert chain.refusal(transactions=[again]) == refused


def test_who_is_jailed_may_bond_and_unbond_but_not_vote() -> None:
    chain = big_chain()
    chain.commit_all(evidence=[double_vote(chain, 0)])
    chain.commit_all(transactions=[chain.transaction(0, Bond(Amount(100_000)))])
    assert account(0) not in [one.account for one in chain.state.next_validators.validators]
    chain.commit_all(transactions=[chain.transaction(0, Unbond(Amount(670_000)))])
    assert chain.state.accounts[account(0)].bonded == 0


# ---- nobody gains -------------------------------------------------------------------------------


def owned(chain: Chain, numbers: tuple[int, ...]) -> int:
    mine = {account(number) for number in numbers}
    accounts = [chain.state.accounts[one] for one in mine]
    queued = sum(entry.amount for entry in chain.state.unbonding if entry.account in mine)
    return sum(one.balance + one.bonded for one in accounts) + queued


@settings(max_examples=60)
@given(
    bonds=st.tuples(*[st.integers(1, 10_000_000)] * 3),
    rate=st.integers(1, 10_000),
    reporter=st.integers(0, 5),
    liars=st.lists(st.integers(0, 2), min_size=1, max_size=4),
)
def test_a_coalition_never_gains_by_reporting_itself(
    bonds: tuple[int, int, int], rate: int, reporter: int, liars: list[int]
) -> None:
    balances = (1_000_000,) * 6
    chain = Chain(genesis(balances=balances, bonds=bonds, overrides={"slash_double_vote": rate}))
    everybody = tuple(range(6))
    before = owned(chain, everybody)
    evidence = [
        double_vote(chain, liar, height=1, round_=index, reporter=reporter)
        for index, liar in enumerate(liars)
    ]
    built = chain.commit(evidence=evidence)
    lost = before - owned(chain, everybody)
    slashed = sum(row.slashed for row in built.slashes)
    assert lost == built.block.header.burned == before - chain.state.supply
    assert slashed > 0
    assert lost * 100 >= slashed * 95


def test_nobody_gains_by_passing_stake_on_between_lies() -> None:
    chain = big_chain()
    before = owned(chain, (0, 4, 5))
    pay = chain.transaction(0, Transfer(account(4), Amount(900_000)))
    chain.commit_all(transactions=[pay], evidence=[double_vote(chain, 0)])
    bond = chain.transaction(4, Bond(Amount(900_000)))
    chain.commit_all(transactions=[bond], evidence=[double_proposal(chain, 0)])
    chain.commit_all(evidence=[double_vote(chain, 4)])
    assert owned(chain, (0, 4, 5)) < before
