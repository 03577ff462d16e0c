"""Events in virtual time, and the digest that says whether two runs were the same.

The heap is keyed (time, sequence): events of one moment happen in the order in which they were
planned. Every event that is carried out goes into a running SHA-256, so that equal digests mean
equal runs, in another process and under another PYTHONHASHSEED. Events are hashed some hundred at
a time, since hashing each costs as much as many an event.
"""

import heapq
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from p2p.primitives.codec import encode
from p2p.primitives.units import Millis

MICROS_PER_MS = 1_000
TRAIL_MAX: Final = 256
"""Events that wait for being hashed together."""

What = bytes | tuple[object, ...]
"""What an event was, for the digest: bytes, or numbers, texts and bytes in a fixed order."""
Act = Callable[[], What]
"""An event."""
Watch = Callable[[int, str, What], None]
"""Hears the moment in microseconds, the kind of an event, and what it was."""


class EventHeap:
    """A virtual clock in whole microseconds, and what is going to happen."""

    __slots__ = ("_digest", "_heap", "_sequence", "_trail", "events", "now_us", "watch")

    def __init__(self, start_ms: int) -> None:
        self.now_us = start_ms * MICROS_PER_MS
        self.events = 0
        self.watch: Watch | None = None
        """Whom to tell of every event that was carried out: logs, replays."""
        self._sequence = 0
        self._heap: list[tuple[int, int, str, Act]] = []
        self._digest = sha256()
        self._trail: list[tuple[int, str, What]] = []

    @property
    def now_ms(self) -> Millis:
        """The moment in whole milliseconds, as nodes see it."""
        return Millis(self.now_us // MICROS_PER_MS)

    @property
    def next_us(self) -> int | None:
        """When the next event happens."""
        return self._heap[0][0] if self._heap else None

    @property
    def digest(self) -> str:
        """Of every event so far, in hex."""
        hashed = self._digest.copy()
        hashed.update(_bytes_of(self._trail))
        return hashed.hexdigest()

    def at(self, time_us: int, kind: str, act: Act) -> None:
        """Plan an event; a time past means now. `act` returns what it was, for the digest."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(time_us, self.now_us), self._sequence, kind, act))

    def after(self, delay_us: int, kind: str, act: Act) -> None:
        """Plan an event some time from now."""
        self.at(self.now_us + delay_us, kind, act)

    def step_until(self, until_us: int) -> bool:
        """Let the next event happen, if there is one up to a moment; whether there was."""
        if not self._heap or self._heap[0][0] > until_us:
            return False
        self.step()
        return True

    def step(self) -> None:
        """Let the next event happen. Raises IndexError when there is none."""
        now_us, _, kind, act = heapq.heappop(self._heap)
        self.now_us = now_us
        what = act()
        trail = self._trail
        trail.append((now_us, kind, what))
        self.events += 1
        if self.watch is not None:
            self.watch(now_us, kind, what)
        if len(trail) >= TRAIL_MAX:
            self._digest.update(_bytes_of(trail))
            trail.clear()


def _bytes_of(trail: list[tuple[int, str, What]]) -> bytes:
    """Without a count in front: how many are hashed at once must not show in the digest."""
    return b"".join(map(encode, trail))
