"""What each setting does: runs that differ in it alone, held against one another.

From the first value of a setting to its last, everything else and the seed being equal.
"""

from collections.abc import Iterable, Sequence

import msgspec

from sim_harness.compare.statistics import Interval, paired_interval
from sim_harness.compare.verdict import Word, word_of
from sim_harness.sweep.grid import Setting
from sim_harness.sweep.row import Row


class Effect(msgspec.Struct, frozen=True):
    """Of one setting on one measure."""

    key: str
    first: Setting
    last: Setting
    measure: str
    ratio: float
    """The median, of all pairs, of the measure at the last value by that at the first."""
    interval: Interval | None
    pairs: int
    word: Word
    """What the measure is at the last value."""


def effects(rows: Sequence[Row], measures: Iterable[str]) -> list[Effect]:
    """Of every setting that has several values, on every measure that was measured."""
    keys = list(rows[0].settings) if rows else []
    found = []
    for key in keys:
        values = list(dict.fromkeys(row.settings[key] for row in rows))
        if len(values) > 1:
            found += [
                effect
                for measure in measures
                if (effect := _effect(rows, key, values[0], values[-1], measure)) is not None
            ]
    return found


def _effect(
    rows: Sequence[Row], key: str, first: Setting, last: Setting, measure: str
) -> Effect | None:
    sides: dict[Setting, dict[object, float]] = {first: {}, last: {}}
    for row in rows:
        value, side = row.measures.get(measure), sides.get(row.settings[key])
        if value is not None and side is not None:
            rest = tuple(other for name, other in row.settings.items() if name != key)
            side[(rest, row.seed)] = value
    before, after = sides[first], sides[last]
    pairs = [(before[one], after[one]) for one in before if one in after and before[one]]
    if not pairs:
        return None
    ratios = sorted(second / one for one, second in pairs)
    interval = paired_interval(pairs)
    middle = ratios[(len(ratios) - 1) // 2]
    return Effect(key, first, last, measure, middle, interval, len(pairs), word_of(interval))
