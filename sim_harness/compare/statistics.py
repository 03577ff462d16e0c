"""Medians, percentiles and intervals of confidence of a few measured values.

Intervals are percentile bootstraps: values are drawn again with replacement, by a seeded generator,
and the middle 95 % of what comes out is the interval. They assume nothing of a distribution; from
fewer than `COUNT_MIN` values nothing is claimed.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
"""

from collections.abc import Callable, Sequence
from random import Random
from statistics import median
from typing import Final

import msgspec

ROUNDS: Final = 2_000
COUNT_MIN: Final = 3
VALUES_MAX: Final = 5_000
"""Values that a bootstrap draws from; of more, an even selection."""
LEVEL: Final = 0.95
SEED: Final = 7


class Interval(msgspec.Struct, frozen=True):
    """Where a quantity lies, with 95 % confidence."""

    low: float
    high: float


class Summary(msgspec.Struct, frozen=True):
    """Some values of one kind."""

    count: int
    p50: float
    p95: float
    p99: float
    mean: float
    interval: Interval | None
    """Of the median."""


def percentile(ordered: Sequence[float], percent: int) -> float:
    """By rank, of sorted values: the smallest that so many percent do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else 0.0


def summarize(values: Sequence[float]) -> Summary:
    """Of any number of values."""
    if not values:
        return Summary(0, 0.0, 0.0, 0.0, 0.0, None)
    ordered = sorted(values)
    return Summary(
        len(ordered),
        percentile(ordered, 50),
        percentile(ordered, 95),
        percentile(ordered, 99),
        sum(ordered) / len(ordered),
        median_interval(ordered),
    )


def median_interval(values: Sequence[float]) -> Interval | None:
    """Of the median of a population that these were drawn from."""
    if len(values) < COUNT_MIN:
        return None
    chosen, draws = thinned(values), Random(SEED)
    return _middle(lambda: median(draws.choices(chosen, k=len(chosen))), len(chosen))


def ratio_interval(one: Sequence[float], other: Sequence[float]) -> Interval | None:
    """Of the median of `other` by the median of `one`, drawn apart."""
    if min(len(one), len(other)) < COUNT_MIN:
        return None
    first, second, draws = thinned(one), thinned(other), Random(SEED)

    def draw() -> float:
        below = median(draws.choices(first, k=len(first)))
        return median(draws.choices(second, k=len(second))) / below if below else float("inf")

    return _middle(draw, max(len(first), len(second)))


def paired_interval(pairs: Sequence[tuple[float, float]]) -> Interval | None:
    """Of the median ratio, second by first, of values that belong together: equal seeds."""
    ratios = [second / first for first, second in pairs if first]
    return median_interval(ratios)


def thinned(values: Sequence[float]) -> list[float]:
    """At most `VALUES_MAX` of them, evenly over the order."""
    if len(values) <= VALUES_MAX:
        return list(values)
    ordered = sorted(values)
    return [ordered[at * len(ordered) // VALUES_MAX] for at in range(VALUES_MAX)]


def _middle(draw: Callable[[], float], size: int) -> Interval:
    # Large samples vary little: fewer rounds tell as much in the same time.
    rounds = max(200, min(ROUNDS, 400_000 // max(1, size)))
    found = sorted(draw() for _ in range(rounds))
    tail = (1 - LEVEL) / 2
    return Interval(found[int(tail * rounds)], found[min(rounds - 1, int((1 - tail) * rounds))])
