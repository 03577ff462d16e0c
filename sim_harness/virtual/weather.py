"""What lies on links besides distance: delay, loss and narrow uplinks, as rules that come and go.

Loss is what a program sees of it over TCP. A message is packets; a lost packet comes again after a
retransmission timeout, twice as long each time, or after a round trip when later packets show the
gap. A packet that stays lost for `SILENCE_US` breaks the connection, since pings go unanswered.

A rule costs a look for every message while it stands, and nothing when there is none.
"""

from collections.abc import Iterable
from random import Random
from typing import Final

from sim_harness.virtual.cuts import Direction

PACKET_BYTES: Final = 1_448
"""Payload of a TCP segment on Ethernet."""
RETRANSMISSION_US: Final = 200_000
"""Linux's smallest retransmission timeout, beyond the round trip."""
GAP_PACKETS: Final = 3
"""Later packets that show a gap (duplicate acknowledgements), so that the sender need not wait."""
TRIES_MAX: Final = 12


class Rule:
    """One hindrance on what some nodes send, receive or both.

    Args:
        nodes: whom it concerns.
        direction: their sending, their receiving, or both.
        delay_us: added to every message.
        jitter_us: drawn on top of that.
        loss: share of packets lost, below 1.
        bytes_per_second: of each such node's uplink; None leaves it.
    """

    __slots__ = ("_direction", "_nodes", "bytes_per_second", "delay_us", "jitter_us", "loss")

    def __init__(
        self,
        nodes: Iterable[int],
        direction: Direction = Direction.BOTH,
        *,
        delay_us: int = 0,
        jitter_us: int = 0,
        loss: float = 0.0,
        bytes_per_second: int | None = None,
    ) -> None:
        if not 0 <= loss < 1:
            raise ValueError(f"a loss of {loss} leaves nothing")
        self._nodes = frozenset(nodes)
        self._direction = direction
        self.delay_us = delay_us
        self.jitter_us = jitter_us
        self.loss = loss
        self.bytes_per_second = bytes_per_second

    def concerns(self, source: int, target: int) -> bool:
        """Whether a message from one node to another is hindered."""
        leaves = self._direction is not Direction.IN and source in self._nodes
        return leaves or (self._direction is not Direction.OUT and target in self._nodes)

    def is_uplink_of(self, source: int) -> bool:
        """Whether it narrows this node's uplink."""
        return self.bytes_per_second is not None and source in self._nodes


class Weather:
    """The rules that stand at present. Every draw comes from its own stream."""

    def __init__(self, draws: Random) -> None:
        self.rules: list[Rule] = []
        self.retransmissions = 0
        """Packets lost so far."""
        self._draws = draws

    def add(self, rule: Rule) -> None:
        """From now on."""
        self.rules.append(rule)

    def remove(self, rule: Rule) -> None:
        """No longer. Raises ValueError when it does not stand."""
        self.rules.remove(rule)

    def extra_us(self, source: int, target: int) -> int:
        """Delay beyond the distance."""
        extra_us = 0
        for rule in self.rules:
            if rule.concerns(source, target):
                extra_us += rule.delay_us
                if rule.jitter_us:
                    extra_us += self._draws.randint(0, rule.jitter_us)
        return extra_us

    def uplink(self, source: int, bytes_per_second: int) -> int:
        """A node's uplink under the narrowest rule."""
        for rule in self.rules:
            if rule.is_uplink_of(source) and rule.bytes_per_second is not None:
                bytes_per_second = min(bytes_per_second, rule.bytes_per_second)
        return bytes_per_second

    def repeated_us(self, source: int, target: int, *, size: int, round_trip_us: int) -> int:
        """How much later a message is complete because packets of it were lost."""
        arrives = 1.0
        for rule in self.rules:
            if rule.loss and rule.concerns(source, target):
                arrives *= 1 - rule.loss
        if arrives == 1.0:
            return 0
        packets = max(1, -(-size // PACKET_BYTES))  # Even nothing is framed.
        return max(
            self._packet_us(1 - arrives, packets - number, round_trip_us)
            for number in range(1, packets + 1)
        )

    def _packet_us(self, loss: float, followers: int, round_trip_us: int) -> int:
        """How much later one packet comes, with so many behind it."""
        late_us, timeout_us = 0, RETRANSMISSION_US + round_trip_us
        for tried in range(TRIES_MAX):
            if self._draws.random() >= loss:
                break
            self.retransmissions += 1
            if tried == 0 and followers >= GAP_PACKETS:
                late_us += round_trip_us
                continue
            late_us += timeout_us
            timeout_us *= 2
        return late_us
