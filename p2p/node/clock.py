"""The node's clock: Unix time that never runs backwards.

Timers and block times share one clock. It follows the monotonic clock from its start; when the wall
clock turns out ahead it jumps there, and when behind it runs at half speed until they meet.
"""

import time
from collections.abc import Callable
from typing import Final

from p2p.primitives.units import Millis

TOLERANCE_MS: Final = 100
"""Differences below this are left alone: reading two clocks is not atomic."""


class SteadyClock:
    """Milliseconds of Unix time, monotone."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last_s = monotonic()
        self._now_ms = wall() * 1000

    def now_ms(self) -> Millis:
        """The moment, in whole milliseconds."""
        monotonic_s = self._monotonic()
        elapsed_ms = max(0.0, monotonic_s - self._last_s) * 1000
        self._last_s = monotonic_s
        ahead_ms = self._now_ms + elapsed_ms - self._wall() * 1000
        if ahead_ms < -TOLERANCE_MS:
            self._now_ms += elapsed_ms - ahead_ms
        elif ahead_ms > TOLERANCE_MS:
            self._now_ms += elapsed_ms / 2
        else:
            self._now_ms += elapsed_ms
        return Millis(int(self._now_ms))
