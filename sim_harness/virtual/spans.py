"""Spans of virtual time, as scenarios say them."""

from p2p.primitives.units import Millis


def millis(count: float) -> Millis:
    """So many milliseconds."""
    return Millis(int(count))


def seconds(count: float) -> Millis:
    """So many seconds."""
    return Millis(int(count * 1_000))


def minutes(count: float) -> Millis:
    """So many minutes."""
    return Millis(int(count * 60_000))
