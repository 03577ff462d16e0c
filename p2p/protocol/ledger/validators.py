"""Validator sets: the largest bonds decide, two heights after they were bonded.

The set of height h + 1 is chosen after block h - 1, so that the header of block h can already name
it, and a light client that trusts h knows who signs h + 1.
"""

from collections.abc import Mapping

from p2p.model.block import Validator, ValidatorSet
from p2p.model.ledger import Account
from p2p.primitives.units import AccountId


def largest_bonds(accounts: Mapping[AccountId, Account], *, validators_max: int) -> ValidatorSet:
    """The `validators_max` accounts with most stake that are not jailed.

    Equal stakes by account id upwards. Nobody votes without stake, so no power is zero.
    """
    bonded = [
        (-account.bonded, key)
        for key, account in accounts.items()
        if account.bonded > 0 and not account.jailed_until
    ]
    bonded.sort()
    return ValidatorSet(
        tuple(Validator(key, accounts[key].bonded) for _, key in bonded[:validators_max])
    )
