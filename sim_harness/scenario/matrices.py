"""Files of round trips, as PlanetLab's: a row of milliseconds a place, separated by blanks.

    0     24.0  88.5     row i, column j: from place i to place j and back
    24.0  0     -        - or nan: nobody measured it
    88.5  71.0  0        blank lines do not count, nor what follows a #

What was not measured is the round trip measured the other way; where there is none either, the
shortest way over one other place, there and back again. What no way leads to is an error.
"""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Final

from sim_harness.virtual.heap import MICROS_PER_MS

PLACES_MAX: Final = 10_000
"""Rows of a file."""
ROUND_TRIP_MS_MAX: Final = 600_000
"""Longer ones are a file in another unit."""
_MISSING: Final = ("-", "nan")

Measured = Sequence[Sequence[int | None]]


def read_matrix(path: Path) -> list[list[int]]:
    """One-way microseconds from place to place: half of a file's round trips in milliseconds.

    Raises ValueError.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    rows: list[list[int | None]] = []
    for number, line in enumerate(lines, 1):
        cells = line.partition("#")[0].split()
        if not cells:
            continue
        try:
            rows.append([_one_way_us(cell) for cell in cells])
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    if len(rows) > PLACES_MAX:
        raise ValueError(f"{path} has {len(rows)} rows, more than {PLACES_MAX}")
    if not rows or any(len(row) != len(rows) for row in rows):
        raise ValueError(f"{path} is not a square of round trips: {len(rows)} rows")
    return [
        [_known(path, rows, row, column) for column in range(len(rows))] for row in range(len(rows))
    ]


def _one_way_us(cell: str) -> int | None:
    if cell.lower() in _MISSING:
        return None
    try:
        round_trip_ms = float(cell)
    except ValueError:
        raise ValueError("not a row of milliseconds") from None
    if round_trip_ms < 0:
        raise ValueError(f"a negative round trip: {cell}; one that nobody measured is -")
    if not isfinite(round_trip_ms) or round_trip_ms > ROUND_TRIP_MS_MAX:
        raise ValueError(f"a round trip of more than {ROUND_TRIP_MS_MAX} ms: {cell}")
    return int(round_trip_ms * MICROS_PER_MS / 2)


def _known(path: Path, rows: Measured, row: int, column: int) -> int:
    found = _either_way(rows, row, column)
    if found is not None:
        return found
    if row == column:
        return 0
    ways = [
        first + second
        for via in range(len(rows))
        if via not in (row, column)
        and (first := _either_way(rows, row, via)) is not None
        and (second := _either_way(rows, via, column)) is not None
    ]
    if not ways:
        raise ValueError(f"{path}: nothing leads from place {row + 1} to place {column + 1}")
    return min(ways)


def _either_way(rows: Measured, row: int, column: int) -> int | None:
    measured = rows[row][column]
    return rows[column][row] if measured is None else measured
