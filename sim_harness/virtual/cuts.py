"""Partitions: groups of nodes between which nothing passes, or nothing in one direction.

A cut knows its groups, not its pairs: it costs memory a node, and time only where something moves.
"""

from collections.abc import Sequence
from enum import Enum


class Direction(Enum):
    """Which way something is hindered, seen from the first group."""

    BOTH = "both"
    OUT = "out"
    """What the first group sends."""
    IN = "in"
    """What is sent to the first group."""


class Cut:
    """Groups that do not hear one another; `elsewhere` is the group of all nodes not named."""

    __slots__ = ("_direction", "_elsewhere", "_sides")

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        direction: Direction = Direction.BOTH,
        *,
        elsewhere: int | None = None,
    ) -> None:
        """Raises ValueError when a node is in two groups."""
        self._sides: dict[int, int] = {}
        self._direction = direction
        self._elsewhere = elsewhere
        for number, group in enumerate(groups):
            for index in group:
                if self._sides.setdefault(index, number) != number:
                    raise ValueError(f"node {index} is on two sides of a partition")

    def blocks(self, source: int, target: int) -> bool:
        """Whether what `source` sends does not reach `target`."""
        here = self._sides.get(source, self._elsewhere)
        there = self._sides.get(target, self._elsewhere)
        if here is None or there is None or here == there:
            return False
        if self._direction is Direction.BOTH:
            return True
        return (here if self._direction is Direction.OUT else there) == 0
