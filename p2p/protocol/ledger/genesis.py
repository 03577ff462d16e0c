"""The state before the first block."""

from p2p.model.ledger import SUPPLY_MAX, Account, State
from p2p.model.parameters import Genesis, parameters_fault
from p2p.model.proposer import initial_priorities
from p2p.primitives.units import Amount, Height
from p2p.protocol.ledger.validators import largest_bonds


def genesis_state(genesis: Genesis) -> State:
    """The state that a genesis states; its bonds decide heights 1 and 2.

    Raises:
        ValueError: an account twice, no validator, more supply than amounts can hold, or stake
            that leaves before evidence against it is too old.
    """
    accounts = {
        entry.account: Account(
            balance=entry.balance,
            bonded=entry.bonded,
            quality=genesis.parameters.quality_initial,
        )
        for entry in sorted(genesis.accounts, key=lambda entry: entry.account)
    }
    supply = sum(account.balance + account.bonded for account in accounts.values())
    validators = largest_bonds(accounts, validators_max=genesis.parameters.validators_max)
    if len(accounts) != len(genesis.accounts):
        raise ValueError("the genesis names an account twice")
    if not validators.validators:
        raise ValueError("the genesis has no validator: give an account a bond")
    if supply > SUPPLY_MAX:
        raise ValueError(f"the genesis holds {supply} micro-tokens, more than {SUPPLY_MAX}")
    fault = parameters_fault(genesis.parameters)
    if fault is not None:
        raise ValueError(fault)
    return State(
        height=Height(0),
        header_digest=genesis.chain_id,
        time_ms=genesis.time_ms,
        supply=Amount(supply),
        accounts=accounts,
        channels={},
        unbonding=(),
        validators=validators,
        next_validators=validators,
        priorities=initial_priorities(validators),
    )
