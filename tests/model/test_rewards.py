"""The pair formula, against its statement and against whoever would cheat it."""

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.parameters import Parameters, with_overrides
from p2p.model.rewards import Split, shares, split
from p2p.primitives.units import AMOUNT_MAX, AccountId, Amount

AMOUNTS = st.one_of(st.integers(0, 5_000), st.integers(0, AMOUNT_MAX))
RATES = st.integers(0, 10_000)
QUALITIES = st.integers(0, 10_000)
PARAMETERS = st.builds(
    lambda fee, validator, bonus: with_overrides(
        Parameters(), {"fee_rate": fee, "validator_rate": validator, "bonus_rate": bonus}
    ),
    RATES,
    RATES,
    RATES,
)
DEFAULTS = Parameters()


@pytest.mark.parametrize(
    ("amount", "quality", "expected"),
    [
        (0, 10_000, (0, 0, 0, 0, 0)),
        (1, 10_000, (1, 1, 0, 0, 0)),
        (20, 10_000, (1, 1, 0, 0, 19)),
        (21, 10_000, (2, 1, 1, 0, 20)),
        (1_000_000, 0, (50_000, 5_000, 0, 45_000, 950_000)),
        (1_000_000, 6_000, (50_000, 5_000, 24_000, 21_000, 974_000)),
        (1_000_000, 10_000, (50_000, 5_000, 40_000, 5_000, 990_000)),
    ],
)
def test_worked_examples(amount: int, quality: int, expected: tuple[int, ...]) -> None:
    parts = split(amount, quality=quality, parameters=DEFAULTS)
    assert parts == Split(*(Amount(part) for part in expected))


@given(AMOUNTS, QUALITIES, PARAMETERS)
def test_it_is_the_formula_of_the_design(amount: int, quality: int, parameters: Parameters) -> None:
    def share(rate: int) -> Fraction:
        return Fraction(rate, 10_000)

    fee = min(amount, ceil(amount * share(parameters.fee_rate)))
    validators = ceil(fee * share(parameters.validator_rate))
    cap = min(fee - validators, floor(fee * share(parameters.bonus_rate)))
    bonus = floor(cap * share(quality))
    assert split(amount, quality=quality, parameters=parameters) == Split(
        fee=Amount(fee),
        validators=Amount(validators),
        bonus=Amount(bonus),
        burned=Amount(fee - validators - bonus),
        received=Amount(amount - fee + bonus),
    )


@given(AMOUNTS, QUALITIES, PARAMETERS)
def test_parts_sum_to_the_amount_and_none_is_negative(
    amount: int, quality: int, parameters: Parameters
) -> None:
    parts = split(amount, quality=quality, parameters=parameters)
    assert parts.received + parts.validators + parts.burned == amount
    assert min(parts.received, parts.validators, parts.burned, parts.bonus, parts.fee) >= 0


@given(AMOUNTS.filter(bool), QUALITIES)
def test_paying_oneself_loses_the_validators_part_and_what_burns(amount: int, quality: int) -> None:
    """I5: outside the committee a wash trader loses on every payment, at any quality."""
    parts = split(amount, quality=quality, parameters=DEFAULTS)
    assert amount - parts.received >= parts.validators >= 1


@given(AMOUNTS, AMOUNTS, QUALITIES, PARAMETERS)
def test_splitting_a_payment_never_gains(
    one: int, other: int, quality: int, parameters: Parameters
) -> None:
    """I6: two accounts, or two epochs, never receive more than one for the same work."""

    def received(amount: int) -> int:
        return split(amount, quality=quality, parameters=parameters).received

    assert received(one) + received(other) <= received(one + other)


@given(AMOUNTS, QUALITIES, QUALITIES, PARAMETERS)
def test_better_quality_never_pays_less(
    amount: int, one: int, other: int, parameters: Parameters
) -> None:
    low, high = sorted((one, other))
    assert (
        split(amount, quality=low, parameters=parameters).received
        <= split(amount, quality=high, parameters=parameters).received
    )


@given(AMOUNTS, AMOUNTS, QUALITIES, PARAMETERS)
def test_more_work_never_pays_less(
    one: int, other: int, quality: int, parameters: Parameters
) -> None:
    low, high = sorted((one, other))
    assert (
        split(low, quality=quality, parameters=parameters).received
        <= split(high, quality=quality, parameters=parameters).received
    )


@given(
    st.integers(0, AMOUNT_MAX),
    st.dictionaries(
        st.binary(min_size=32, max_size=32).map(AccountId), st.integers(1, 2**60), min_size=1
    ),
)
def test_shares_follow_power_and_never_exceed_the_pot(
    pot: int, powers: dict[AccountId, int]
) -> None:
    paid = shares(pot, powers)
    total = sum(powers.values())
    assert list(paid) == list(powers)
    assert 0 <= pot - sum(paid.values()) < len(powers)
    assert all(0 <= Fraction(pot * powers[key], total) - paid[key] < 1 for key in powers)
