"""Events in virtual time, and the digest that says whether two runs were the same.

The heap is keyed (time, sequence): events of one moment happen in the order in which they were
planned. Every event that is carried out goes into a running SHA-256, so that equal digests mean
equal runs, in another process and under another PYTHONHASHSEED. Events are hashed some hundred at
a time, since hashing each costs as much as many an event.
"""

from collections.abc import Callable, Sized
from hashlib import sha256
from heapq import heapify, heappop, heappush
from typing import Final

from p2p.primitives.codec import encode
from p2p.primitives.units import Millis

MICROS_PER_MS = 1_000
SLOT_BITS: Final = 14
"""Events are kept by slots of 16 ms, and only those of the present slot are in order: a heap of a
hundred thousand timers costs more than what they do."""
TRAIL_MAX: Final = 256
"""Events that wait for being hashed together."""

What = bytes | tuple[object, ...]
"""What an event was, for the digest: bytes, or numbers, texts and bytes in a fixed order."""
Act = Callable[[], What]
"""An event."""
Watch = Callable[[int, str, What], None]
"""Hears the moment in microseconds, the kind of an event, and what it was."""


_Planned = tuple[int, int, str, Act]
"""When, its number, its kind, and what it does."""
_ONE_EVENT: Final = (None,)


class EventHeap:
    """A virtual clock in whole microseconds, and what is going to happen."""

    __slots__ = (
        "_digest",
        "_later",
        "_near",
        "_sequence",
        "_slot",
        "_slots",
        "_trail",
        "events",
        "now_us",
        "watch",
    )

    def __init__(self, start_ms: int) -> None:
        self.now_us = start_ms * MICROS_PER_MS
        self.events = 0
        self.watch: Watch | None = None
        """Whom to tell of every event that was carried out: logs, replays."""
        self._sequence = 0
        self._slot = self.now_us >> SLOT_BITS
        """The present slot."""
        self._near: list[_Planned] = []
        """What happens in the present slot, as a heap."""
        self._later: dict[int, list[_Planned]] = {}
        """What happens in each later slot, in the order of planning."""
        self._slots: list[int] = []
        """The later slots, as a heap."""
        self._digest = sha256()
        self._trail: list[tuple[int, str, What]] = []

    @property
    def now_ms(self) -> Millis:
        """The moment in whole milliseconds, as nodes see it."""
        return Millis(self.now_us // MICROS_PER_MS)

    @property
    def next_us(self) -> int | None:
        """When the next event happens."""
        if self._near:
            return self._near[0][0]
        return min(self._later[self._slots[0]])[0] if self._slots else None

    @property
    def digest(self) -> str:
        """Of every event so far, in hex."""
        hashed = self._digest.copy()
        hashed.update(_bytes_of(self._trail))
        return hashed.hexdigest()

    def at(self, time_us: int, kind: str, act: Act) -> None:
        """Plan an event; a time past means now. `act` returns what it was, for the digest."""
        self._sequence = sequence = self._sequence + 1
        when_us = self.now_us
        when_us = max(when_us, time_us)
        slot = when_us >> SLOT_BITS
        if slot <= self._slot:
            heappush(self._near, (when_us, sequence, kind, act))
        elif slot in self._later:
            self._later[slot].append((when_us, sequence, kind, act))
        else:
            self._later[slot] = [(when_us, sequence, kind, act)]
            heappush(self._slots, slot)

    def after(self, delay_us: int, kind: str, act: Act) -> None:
        """Plan an event some time from now."""
        self.at(self.now_us + delay_us, kind, act)

    def run(
        self, until_us: int, *, stop: Sized = (), or_stop: Sized = (), news: Sized = ()
    ) -> bool:
        """Let events happen up to a moment; False when one of these held something before it.

        They are looked at after every event.
        """
        near, trail = self._near, self._trail
        while True:
            if not near:
                if not self._slots or self._slots[0] << SLOT_BITS > until_us:
                    return True
                self._slot = heappop(self._slots)
                near = self._near = self._later.pop(self._slot)
                heapify(near)
            if near[0][0] > until_us:
                return True
            now_us, _, kind, act = heappop(near)
            self.now_us = now_us
            what = act()
            trail.append((now_us, kind, what))
            self.events += 1
            if self.watch is not None:
                self.watch(now_us, kind, what)
            if len(trail) >= TRAIL_MAX:
                self._digest.update(_bytes_of(trail))
                trail.clear()
            if stop or or_stop or news:
                return False

    def step(self) -> None:
        """Let the next event happen. Raises IndexError when there is none."""
        next_us = self.next_us
        if next_us is None:
            raise IndexError("nothing is going to happen")
        self.run(next_us, stop=_ONE_EVENT)


def _bytes_of(trail: list[tuple[int, str, What]]) -> bytes:
    """Hashed in lists of `TRAIL_MAX`, and the rest for who asks: who asks when changes nothing."""
    return encode(trail)
