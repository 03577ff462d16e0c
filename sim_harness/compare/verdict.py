"""Two sources held against one another: what differs, how surely, and which one is better.

A difference counts when the 95 % interval of the ratio of medians leaves 1 out, and when it is
larger than `NOTABLE`: what is real but small is said, and decides nothing.
"""

from typing import Final, Literal

import msgspec

from sim_harness.compare.sources import LOWER_IS_BETTER, Source
from sim_harness.compare.statistics import (
    Interval,
    Summary,
    paired_interval,
    ratio_interval,
    summarize,
)

NOTABLE: Final = 0.05
PAIRS_MIN: Final = 3

Word = Literal["lower", "higher", "the same", "unclear"]


class Line(msgspec.Struct, frozen=True):
    """One measure of both."""

    measure: str
    unit: str
    first: Summary
    second: Summary
    ratio: float | None
    """Second by first, of the medians."""
    interval: Interval | None
    pairs: int
    """Runs that were held against the run of the same settings and seed; 0: medians apart."""
    word: Word
    """What the second is."""


class Comparison(msgspec.Struct, frozen=True):
    """All measures, and the answer."""

    first: str
    second: str
    first_failed: str
    second_failed: str
    lines: tuple[Line, ...]
    verdict: str


def compare(one: Source, other: Source) -> Comparison:
    """Hold `other` against `one`."""
    lines = tuple(
        _line(measure, unit, one, other)
        for measure, unit in LOWER_IS_BETTER.items()
        if measure in one.samples and measure in other.samples
    )
    return Comparison(
        one.name,
        other.name,
        f"{one.failed} of {one.runs}",
        f"{other.failed} of {other.runs}",
        lines,
        _verdict(one, other, lines),
    )


def _line(measure: str, unit: str, one: Source, other: Source) -> Line:
    first, second = one.samples[measure], other.samples[measure]
    before, after = one.by_key.get(measure, {}), other.by_key.get(measure, {})
    pairs = [(before[key], after[key]) for key in before if key in after]
    if len(pairs) >= PAIRS_MIN:
        interval = paired_interval(pairs)
    else:
        pairs, interval = [], ratio_interval(first, second)
    below, above = summarize(first), summarize(second)
    ratio = above.p50 / below.p50 if below.p50 else None
    return Line(measure, unit, below, above, ratio, interval, len(pairs), _word(interval))


def _word(interval: Interval | None) -> Word:
    if interval is None:
        return "unclear"
    if interval.high < 1 - NOTABLE:
        return "lower"
    if interval.low > 1 + NOTABLE:
        return "higher"
    within = interval.low >= 1 - NOTABLE and interval.high <= 1 + NOTABLE
    return "the same" if within else "unclear"


def _verdict(one: Source, other: Source, lines: tuple[Line, ...]) -> str:
    if other.failed and not one.failed:
        return f"worse: {other.failed} of {other.runs} runs failed, and none before"
    if one.failed and not other.failed:
        return f"better: no run failed, and {one.failed} of {one.runs} did before"
    higher = [line.measure for line in lines if line.word == "higher"]
    lower = [line.measure for line in lines if line.word == "lower"]
    if higher and lower:
        return f"mixed: {', '.join(lower)} fell, {', '.join(higher)} rose"
    if higher:
        return f"worse: {', '.join(higher)} rose"
    if lower:
        return f"better: {', '.join(lower)} fell"
    return "no difference shown"
