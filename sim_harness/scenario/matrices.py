"""Files of round trips: one row of milliseconds a place, separated by blanks, as PlanetLab's."""

from pathlib import Path

from sim_harness.virtual.heap import MICROS_PER_MS


def read_matrix(path: Path) -> list[list[int]]:
    """One-way microseconds from place to place: half of a file's round trips in milliseconds.

    Raises ValueError.
    """
    rows = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            rows.append([int(float(cell) * MICROS_PER_MS / 2) for cell in line.split()])
        except (ValueError, OverflowError):
            raise ValueError(f"{path}:{number}: not a row of milliseconds") from None
    if not rows or any(len(row) != len(rows) for row in rows):
        raise ValueError(f"{path} is not a square of round trips: {len(rows)} rows")
    if any(cell < 0 for row in rows for cell in row):
        raise ValueError(f"{path} holds a negative round trip")
    return rows
