"""The pair formula: what one payment between a consumer and a provider is split into.

Two keys of one owner can sign anything, so fake volume has to lose money per unit. The bonus comes
out of the fee of the same payment and is capped by it: a wash trader pays at least the validators'
part, at any quality. A shared pool would pay it instead.
Source: design, section 6; invariants I5, I6 and I8.
"""

import msgspec

from p2p.model.parameters import Parameters
from p2p.primitives.units import BASIS_POINTS, AccountId, Amount, div_ceil, div_floor


class Split(msgspec.Struct, frozen=True):
    """Parts of a settled amount: received + validators + burned = amount."""

    fee: Amount
    """The network's share, of which `bonus` returns to the provider."""
    validators: Amount
    bonus: Amount
    burned: Amount
    received: Amount


def split(amount: int, *, quality: int, parameters: Parameters) -> Split:
    """The parts of `amount` for a provider of this quality (basis points)."""
    fee = min(amount, div_ceil(amount * parameters.fee_rate, BASIS_POINTS))
    validators = div_ceil(fee * parameters.validator_rate, BASIS_POINTS)
    cap = min(fee - validators, div_floor(fee * parameters.bonus_rate, BASIS_POINTS))
    bonus = div_floor(cap * quality, BASIS_POINTS)
    return Split(
        fee=Amount(fee),
        validators=Amount(validators),
        bonus=Amount(bonus),
        burned=Amount(fee - validators - bonus),
        received=Amount(amount - fee + bonus),
    )


def shares(pot: int, powers: dict[AccountId, int]) -> dict[AccountId, int]:
    """What each validator gets of `pot`, by power, rounded down; the rest is for burning."""
    total = sum(powers.values())
    return {account: div_floor(pot * power, total) for account, power in powers.items()}
