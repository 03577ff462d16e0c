"""The state before the first block."""

import pytest

from p2p.model.block import Validator, ValidatorSet
from p2p.model.ledger import SUPPLY_MAX, Account
from p2p.model.parameters import Genesis, GenesisAccount
from p2p.model.proposer import initial_priorities
from p2p.primitives.units import Amount
from p2p.protocol.ledger import genesis_state
from tests.protocol.ledger.chain import account, genesis


def test_genesis_accounts_and_bonds_become_the_first_state() -> None:
    start = genesis(balances=(5, 6, 7), bonds=(10, 30), overrides={"quality_initial": 9})
    state = genesis_state(start)
    voters = ValidatorSet((Validator(account(1), Amount(30)), Validator(account(0), Amount(10))))
    assert (state.height, state.time_ms, state.supply) == (0, 1_000, 58)
    assert state.header_digest == start.chain_id
    assert dict(state.accounts) == {
        account(0): Account(Amount(5), 0, Amount(10), 9),
        account(1): Account(Amount(6), 0, Amount(30), 9),
        account(2): Account(Amount(7), 0, Amount(0), 9),
    }
    assert state.validators == state.next_validators == voters
    assert state.priorities == initial_priorities(voters)
    assert (dict(state.channels), state.unbonding) == ({}, ())


def with_accounts(*accounts: GenesisAccount) -> Genesis:
    start = genesis()
    return Genesis(start.name, start.time_ms, start.parameters, accounts)


@pytest.mark.parametrize(
    ("accounts", "fault"),
    [
        ((GenesisAccount(account(0), Amount(1), Amount(1)),) * 2, "names an account twice"),
        ((GenesisAccount(account(0), Amount(1)),), "no validator"),
        (
            (
                GenesisAccount(account(0), Amount(SUPPLY_MAX), Amount(1)),
                GenesisAccount(account(1), Amount(0)),
            ),
            "more than",
        ),
    ],
)
def test_an_impossible_genesis_is_told_in_a_sentence(
    accounts: tuple[GenesisAccount, ...], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        genesis_state(with_accounts(*accounts))


def test_parameters_under_which_no_receipt_would_be_paid_are_refused() -> None:
    with pytest.raises(ValueError, match="receipt_late_epochs is 0, and must be 1 or more"):
        genesis_state(genesis(overrides={"receipt_late_epochs": 0}))
