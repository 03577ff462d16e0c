"""A small deterministic random stream for machines, which may not throw dice.

A machine is given a seed when it is built; the same seed and inputs give the same choices in every
world and on every Python. splitmix64 (Steele, Lea, Flood 2014): not for secrets.
"""

from collections.abc import Iterable, MutableSequence, Sequence
from typing import TypeVar

from p2p.primitives.digests import digest

T = TypeVar("T")

_MASK = 2**64 - 1


class Draws:
    """A stream of choices named by its seed parts."""

    __slots__ = ("_state",)

    def __init__(self, *seed: bytes) -> None:
        lengths = b"".join(len(part).to_bytes(4) for part in seed)
        self._state = int.from_bytes(digest(lengths, *seed)[:8])

    def next_u64(self) -> int:
        """A number below 2**64."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, bound: int) -> int:
        """A number in [0, bound). Raises ValueError for an empty range."""
        if bound <= 0:
            raise ValueError("an empty range has no number")
        return self.next_u64() % bound

    def choice(self, items: Sequence[T]) -> T:
        """One of the items. Raises ValueError when there is none."""
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Reorder in place (Fisher and Yates)."""
        for index in range(len(items) - 1, 0, -1):
            other = self.below(index + 1)
            items[index], items[other] = items[other], items[index]

    def sample(self, items: Iterable[T], count: int) -> list[T]:
        """Up to `count` distinct items, in drawn order. Give it an ordered iterable."""
        pool = list(items)
        size = len(pool)
        count = max(0, min(count, size))
        for index in range(min(count, size - 1)):
            other = index + self.next_u64() % (size - index)
            pool[index], pool[other] = pool[other], pool[index]
        return pool[:count]
