"""Statements about a moment of a run: `height >= 3`, `round >= 1`, `caught_up`.

A moment is a `Sample`, taken at regular intervals; `always` must hold in each, `eventually` in one
after everything was healed, `sometimes` in any (if not, the run did not test what it was for).
"""

import difflib
import operator
import re
from collections.abc import Callable
from typing import Final

import msgspec

from sim_harness.scenario.schema import Comparison


class Sample(msgspec.Struct, frozen=True):
    """What can be said of a moment; of the honest nodes that run, unless said otherwise."""

    at_ms: int
    """Since the start."""
    height: int = 0
    """Committed by all of them; 0 when none runs."""
    height_max: int = 0
    round: int = 0
    """The highest round entered by any of them since the last sample."""
    up: int = 0
    """How many run."""
    peers: int = 0
    """Connections of the one with the fewest."""
    mesh: int = 0
    """Peers in the mesh of ads of the one with the fewest; 0 when it has none."""
    mesh_max: int = 0
    """The same of the one with the most."""
    ads: int = 0
    """Ads known to the one that knows the fewest."""
    crashes: int = 0
    """Ends of processes so far."""
    stops: int = 0
    """Of these, how many ended by themselves."""
    mended: int = 0
    """Damaged rows that were found at starts and mended, so far."""
    caught_up: int = 0
    """1 when all of them are at one height."""
    lag: int = 0
    """Heights that the last one is behind the first."""
    idle: int = 0
    """Whole seconds since anybody committed a height."""
    files: int = 0
    """Added and held by as many providers as were wanted, so far."""
    slashed: int = 0
    """Liars that lost stake in a block that one of them committed, so far."""
    bytes_sent: int = 0
    """Of gossip, by all nodes so far."""


QUANTITIES: Final = tuple(
    field.name for field in msgspec.structs.fields(Sample) if field.name != "at_ms"
)
OPERATORS: Final[dict[str, Callable[[int, int], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM: Final = re.compile(r"([a-z_]+)(?:\s*(>=|<=|==|>|<)\s*(\d{1,12}))?")


def parse_comparison(text: str) -> Comparison:
    """A statement. Raises ValueError."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a statement such as 'height >= 3', not {text!r}")
    if match[1] not in QUANTITIES:
        near = difflib.get_close_matches(match[1], QUANTITIES, 1)
        known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(QUANTITIES)}"
        raise ValueError(f"unknown quantity {match[1]!r}; {known}")
    if match[2] is None:
        return Comparison(match[1])
    return Comparison(match[1], match[2], int(match[3]))


def holds(statement: Comparison, sample: Sample) -> bool:
    """Whether a statement is true of a moment."""
    value: int = getattr(sample, statement.quantity)
    return OPERATORS[statement.operator](value, statement.number)
