"""Named one-shot timers over a heap; a replaced or cancelled timer never fires."""

import heapq

from p2p.primitives.units import Millis


class Timers:
    """At most one pending moment per key."""

    def __init__(self) -> None:
        self._due_ms: dict[str, Millis] = {}
        self._heap: list[tuple[Millis, int, str]] = []
        self._sequence = 0

    def set(self, key: str, at_ms: Millis) -> None:
        """Fire `key` at a moment, instead of when it was set for."""
        self._due_ms[key] = at_ms
        self._sequence += 1
        heapq.heappush(self._heap, (at_ms, self._sequence, key))

    def cancel(self, key: str) -> None:
        """Forget a timer; unknown keys are fine."""
        self._due_ms.pop(key, None)

    def next_ms(self) -> Millis | None:
        """The earliest pending moment."""
        while self._heap:
            at_ms, _, key = self._heap[0]
            if self._due_ms.get(key) == at_ms:
                return at_ms
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now_ms: Millis) -> str | None:
        """The key of one timer that is due, which is then no longer pending."""
        at_ms = self.next_ms()
        if at_ms is None or at_ms > now_ms:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due_ms[key]
        return key
