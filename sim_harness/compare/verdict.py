"""Two sources held against one another: what differs, how surely, and which one is better.

Runs of equal settings and seeds are held against one another, pair by pair, and then only they
count: medians over different settings would tell of the settings. A difference counts when the
95 % interval of the ratio leaves 1 out by more than `NOTABLE`: what is real but small is said, and
decides nothing.
"""

from statistics import median
from typing import Final, Literal

import msgspec

from sim_harness.compare.sources import LOWER_IS_BETTER, Key, Source
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
    """Second by first: of the medians, or the median of the pairs'."""
    interval: Interval | None
    pairs: int
    """Runs that were held against the run of the same settings and seed; 0: medians apart."""
    word: Word
    """What the second is."""


class Part(msgspec.Struct, frozen=True):
    """One measure of both, at one combination of settings."""

    settings: str
    measure: str
    unit: str
    ratio: float
    interval: Interval | None
    pairs: int
    word: Word


class Comparison(msgspec.Struct, frozen=True):
    """All measures, and the answer."""

    first: str
    second: str
    first_failed: str
    second_failed: str
    lines: tuple[Line, ...]
    verdict: str
    first_commit: str = ""
    second_commit: str = ""
    notes: tuple[str, ...] = ()
    """What one has to know to read it."""
    parts: tuple[Part, ...] = ()
    """The same by settings, where there are several."""


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
        one.commit,
        other.commit,
        _notes(one, other),
        _parts(one, other, lines),
    )


def _line(measure: str, unit: str, one: Source, other: Source) -> Line:
    first, second = one.samples[measure], other.samples[measure]
    pairs = list(pairs_of(measure, one, other).values())
    if len(pairs) >= PAIRS_MIN:
        first, second = [before for before, _ in pairs], [after for _, after in pairs]
        ratio, interval = _ratio(pairs), paired_interval(pairs)
    else:
        pairs, interval = [], ratio_interval(first, second)
        ratio = _ratio([(median(first), median(second))])
    below, above = summarize(first), summarize(second)
    return Line(measure, unit, below, above, ratio, interval, len(pairs), word_of(interval))


def word_of(interval: Interval | None) -> Word:
    """What an interval of a ratio claims."""
    if interval is None:
        return "unclear"
    if interval.high < 1 - NOTABLE:
        return "lower"
    if interval.low > 1 + NOTABLE:
        return "higher"
    within = interval.low >= 1 - NOTABLE and interval.high <= 1 + NOTABLE
    return "the same" if within else "unclear"


def pairs_of(measure: str, one: Source, other: Source) -> dict[Key, tuple[float, float]]:
    """What both measured at equal settings and seeds."""
    before, after = one.by_key.get(measure, {}), other.by_key.get(measure, {})
    return {key: (before[key], after[key]) for key in before if key in after}


def _ratio(pairs: list[tuple[float, float]]) -> float | None:
    ratios = [after / before for before, after in pairs if before]
    return median(ratios) if ratios else None


def _parts(one: Source, other: Source, lines: tuple[Line, ...]) -> tuple[Part, ...]:
    found = []
    for line in lines:
        groups: dict[str, list[tuple[float, float]]] = {}
        for key, pair in pairs_of(line.measure, one, other).items():
            groups.setdefault(key.settings, []).append(pair)
        for settings, pairs in groups.items():
            ratio, interval = _ratio(pairs), paired_interval(pairs)
            if len(groups) > 1 and ratio is not None:
                size, word = len(pairs), word_of(interval)
                part = Part(settings, line.measure, line.unit, ratio, interval, size, word)
                found.append(part)
    return tuple(found)


def _notes(one: Source, other: Source) -> tuple[str, ...]:
    notes = []
    if one.scenario and other.scenario and one.scenario != other.scenario:
        notes.append("the two sweeps ran different scenarios: what differs may be the scenario")
    if one.title and other.title and one.title != other.title:
        notes.append(f"A ran {one.title}, and B {other.title}: what differs may be the scenario")
    keys = [{key for found in side.by_key.values() for key in found} for side in (one, other)]
    shared = len(keys[0] & keys[1])
    if keys[0] and keys[1] and shared < max(map(len, keys)):
        counts = f"{len(keys[0])} of A and {len(keys[1])} of B"
        told = "only those count" if shared >= PAIRS_MIN else "too few: all of both count"
        notes.append(f"{shared} runs have equal settings and seeds, of {counts}: {told}")
    return tuple(notes)


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
