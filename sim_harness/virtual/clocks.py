"""A node's own clock: the product's `SteadyClock` over a wall clock that may be wrong.

Monotonic time runs at `1 + drift`, too: a crystal that is off is off for both. An offset that
comes or goes is a jump of the wall clock; the node's clock jumps ahead at once, and slows down
until it is behind, as it does live.
"""

from typing import Final

from p2p.node.clock import SteadyClock
from p2p.primitives.units import Millis
from sim_harness.virtual.heap import MICROS_PER_MS, EventHeap

MICROS: Final = 1_000_000
AGAIN_US: Final = MICROS_PER_MS
"""A timer that came too early by the node's clock looks again after at least this."""


class SkewedClock:
    """Milliseconds as one node sees them; without skew it agrees with the world's."""

    def __init__(self, heap: EventHeap) -> None:
        self._heap = heap
        self._offset_us = 0
        self._drift_ppm = 0
        self._from_us = heap.now_us
        self._drifted_us = 0
        """What drift amounted to until `_from_us`."""
        self._steady: SteadyClock | None = None

    @property
    def error_ms(self) -> int:
        """How far the node is ahead of the world."""
        return self.now_ms() - self._heap.now_ms

    def now_ms(self) -> Millis:
        """The node's time."""
        if self._steady is None:
            return Millis(self._heap.now_us // MICROS_PER_MS)
        return self._steady.now_ms()

    def skew(self, *, offset_us: int, drift_ppm: int) -> None:
        """Set the wall clock apart from the world's by an offset and, from now on, a drift."""
        if self._steady is None:
            self._steady = SteadyClock(self._wall_s, self._monotonic_s)
        self._drifted_us = self._drift_us()
        self._from_us = self._heap.now_us
        self._offset_us, self._drift_ppm = offset_us, drift_ppm

    def correct(self) -> None:
        """The wall clock is set right."""
        self.skew(offset_us=0, drift_ppm=0)
        self._drifted_us = 0

    def restart(self) -> None:
        """A new process: its clock begins at the wall clock."""
        if self._steady is not None:
            self._steady = SteadyClock(self._wall_s, self._monotonic_s)

    def wait_us(self, at_ms: Millis) -> int:
        """How long from now until the node's clock may show a moment; it may still be early."""
        if self._steady is None:
            return at_ms * MICROS_PER_MS - self._heap.now_us
        left_us = (at_ms - self.now_ms()) * MICROS_PER_MS
        return 0 if left_us <= 0 else max(left_us, AGAIN_US)

    def _drift_us(self) -> int:
        return self._drifted_us + (self._heap.now_us - self._from_us) * self._drift_ppm // MICROS

    def _wall_s(self) -> float:
        return (self._heap.now_us + self._offset_us + self._drift_us()) / MICROS

    def _monotonic_s(self) -> float:
        return (self._heap.now_us + self._drift_us()) / MICROS
