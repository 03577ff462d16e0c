"""The two divisions of money."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.primitives.units import div_ceil, div_floor

NUMBERS = st.integers(-(2**80), 2**80)


@given(NUMBERS, NUMBERS.filter(bool))
def test_divisions_round_the_exact_quotient(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert div_floor(numerator, denominator) == floor(exact)
    assert div_ceil(numerator, denominator) == ceil(exact)


@pytest.mark.parametrize("divide", [div_floor, div_ceil])
def test_nothing_divides_by_zero(divide: Callable[[int, int], int]) -> None:
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)
