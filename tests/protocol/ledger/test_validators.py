"""Validator sets: who decides which height."""

import pytest

from p2p.model.block import Validator, ValidatorSet
from p2p.model.proposer import next_height
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import Bond, Unbond
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.units import Amount
from p2p.protocol.ledger.validators import largest_bonds
from tests.protocol.ledger.chain import Chain, account, genesis
from tests.protocol.ledger.lies import double_vote


def names(validators: ValidatorSet) -> list[bytes]:
    return [validator.account for validator in validators.validators]


def test_a_bond_in_block_h_votes_from_h_plus_2() -> None:
    chain = Chain()
    chain.commit_all(transactions=[chain.transaction(4, Bond(Amount(5_000)))])
    # After block 1 the set of height 2 stands since genesis; that of height 3 is new.
    assert account(4) not in names(chain.state.validators)
    assert chain.state.next_validators.validators[0] == Validator(account(4), Amount(5_000))
    second = chain.commit()
    assert second.block.header.next_validators_root == chain.state.validators.root()
    assert second.block.header.validators_root != chain.state.validators.root()
    third = chain.commit()
    assert third.block.header.validators_root == chain.state.validators.root()
    assert third.block.header.proposer == account(4)


def test_only_the_largest_bonds_vote() -> None:
    chain = Chain(genesis(bonds=(10, 30, 20), overrides={"validators_max": 2}))
    assert names(chain.state.validators) == [account(1), account(2)]
    chain.commit_all(transactions=[chain.transaction(0, Bond(Amount(15)))])
    assert names(chain.state.next_validators) == [account(1), account(0)]


def test_equal_bonds_stand_by_account() -> None:
    chain = Chain(genesis(bonds=(7, 7, 7, 7)))
    assert names(chain.state.validators) == sorted(account(number) for number in range(4))


def test_the_last_stake_cannot_leave_but_all_others_can() -> None:
    chain = Chain(genesis(bonds=(10, 5)))
    chain.commit_all(transactions=[chain.transaction(0, Unbond(Amount(10)))])
    last = chain.transaction(1, Unbond(Amount(5)))
    assert chain.refusal(transactions=[last]) == Rejected(Reason.LAST_STAKE)
    part = chain.transaction(1, Unbond(Amount(4)))
    chain.commit_all(transactions=[part])
    assert chain.state.next_validators.validators == (Validator(account(1), Amount(1)),)
    # Two cannot leave in one block either: the second would be the last.
    again = Chain(genesis(bonds=(10, 5)))
    both = [again.transaction(0, Unbond(Amount(10))), again.transaction(1, Unbond(Amount(5)))]
    assert again.refusal(transactions=both) == Rejected(Reason.LAST_STAKE)
    assert again.commit(transactions=both).block.transactions == (both[0],)


def test_the_last_voters_stay_when_all_stake_is_in_jail() -> None:
    chain = Chain(genesis(bonds=(10,)))
    chain.commit_all(evidence=[double_vote(chain, 0)])
    assert chain.state.accounts[account(0)].jailed_until == 51
    chain.pass_epochs(3)
    assert chain.state.validators.validators == (Validator(account(0), Amount(10)),)
    chain.commit_all(transactions=[chain.transaction(1, Bond(Amount(3)))])
    assert chain.state.next_validators.validators == (Validator(account(1), Amount(3)),)


def test_a_validator_set_knows_no_power_of_zero() -> None:
    data = encode(ValidatorSet((Validator(account(0), Amount(0)),)))
    with pytest.raises(Malformed):
        decode(data, ValidatorSet, bytes_max=100)
    with pytest.raises(ValueError, match="no validator"):
        Chain(genesis(bonds=(0, 0)))


def test_the_whole_set_may_change_in_two_blocks() -> None:
    chain = Chain(genesis(bonds=(10, 5)))
    arrivals = [chain.transaction(n, Bond(Amount(100 + n))) for n in (2, 3, 4)]
    chain.commit_all(transactions=arrivals)
    leaving = [chain.transaction(n, Unbond(Amount(10 if n == 0 else 5))) for n in (0, 1)]
    chain.commit_all(transactions=leaving)
    chain.commit()
    assert names(chain.state.validators) == [account(4), account(3), account(2)]
    assert chain.commit().block.header.proposer == account(4)


def test_priorities_take_one_turn_a_height_whatever_the_set_becomes() -> None:
    chain = Chain()
    for bond in (0, 4_000, 0, 0):
        before = chain.state
        orders = [chain.transaction(4, Bond(Amount(bond)))] if bond else []
        chain.commit_all(transactions=orders)
        assert chain.state.validators == before.next_validators
        assert chain.state.priorities == next_height(
            before.priorities, current=before.validators, following=before.next_validators
        )
    assert [entry.account for entry in chain.state.priorities.entries] == names(
        chain.state.validators
    )


def test_no_stake_elects_nobody() -> None:
    assert largest_bonds({}, validators_max=3) == ValidatorSet(())
