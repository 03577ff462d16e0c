"""Keeps packets for a while: what netem would do, in a process, where the kernel has no netem.

    NFQUEUE -> draw (the virtual world's `Weather`) -> heap by due time -> accept
    its socket: rules as they change -> what was delayed so far; the end of the socket is its own

Nothing overtakes between two nodes. At most `PACKETS_MAX` wait; the kernel drops what comes beyond.
What waits when it ends is dropped by the kernel with its queue.
"""

import heapq
import itertools
import select
import socket
import sys
import time
from random import Random
from typing import Final, Protocol

import msgspec

from sim_harness.live.kernel.addresses import node_at
from sim_harness.live.kernel.rules import QUEUE
from sim_harness.live.messages import PACKET_BYTES_MAX, RuleSpec
from sim_harness.live.zygote_process import die_with_parent
from sim_harness.virtual.cuts import Direction
from sim_harness.virtual.weather import Rule, Weather

PACKETS_MAX: Final = 16_384
HEADER_BYTES: Final = 20
"""Of IP: all that is looked at."""
US: Final = 1_000_000


class Late(msgspec.Struct, frozen=True):
    """From now on these delays, and no others."""

    rules: tuple[RuleSpec, ...] = ()


class Delayed(msgspec.Struct, frozen=True):
    """What was delayed so far, in total."""

    packets: int = 0
    late_s: float = 0.0
    """From the queue to the verdict, summed over them."""
    asked_s: float = 0.0
    waiting: int = 0
    """Now."""


class QueuedPacket(Protocol):
    """A packet that waits for a verdict."""

    def get_payload(self) -> bytes:
        """Its first bytes."""

    def retain(self) -> None:
        """Keep it beyond the callback."""

    def accept(self) -> None:
        """Let it go on."""


class Delayer:
    """Packets under way, by when they are due; a clock's time is given, none is read."""

    def __init__(self, draws: Random) -> None:
        self._weather = Weather(draws)
        self._heap: list[tuple[float, int, float, QueuedPacket]] = []
        self._order = itertools.count()
        self._last_due_s: dict[tuple[int, int], float] = {}
        self._packets = 0
        self._late_s = 0.0
        self._asked_s = 0.0

    def obey(self, order: Late) -> Delayed:
        """Delay by these rules from now on; what was delayed so far."""
        self._weather.rules = [
            Rule(
                rule.nodes,
                Direction(rule.direction),
                delay_us=rule.delay_us,
                jitter_us=rule.jitter_us,
            )
            for rule in order.rules
        ]
        return Delayed(self._packets, self._late_s, self._asked_s, len(self._heap))

    def take(self, packet: QueuedPacket, now_s: float) -> None:
        """A packet came."""
        header = packet.get_payload()
        source, target = (node_at(int.from_bytes(header[start : start + 4])) for start in (12, 16))
        late_s = self._weather.extra_us(source, target) / US
        pair = (source, target)
        due_s = max(now_s + late_s, self._last_due_s.get(pair, 0.0))
        self._last_due_s[pair] = due_s
        self._asked_s += late_s
        packet.retain()
        heapq.heappush(self._heap, (due_s, next(self._order), now_s, packet))

    def release(self, now_s: float) -> None:
        """Let go what is due."""
        while self._heap and self._heap[0][0] <= now_s:
            _, _, came_s, packet = heapq.heappop(self._heap)
            packet.accept()
            self._packets += 1
            self._late_s += now_s - came_s

    def wait_s(self, now_s: float) -> float | None:
        """How long nothing is due; None: nothing waits."""
        return max(0.0, self._heap[0][0] - now_s) if self._heap else None


def main() -> None:
    """Serve the harness at the other end of the socket whose descriptor is the first argument."""
    from netfilterqueue import NetfilterQueue

    die_with_parent(int(sys.argv[2]))
    channel = socket.socket(fileno=int(sys.argv[1]))
    delayer = Delayer(Random(int(sys.argv[3])))
    queue = NetfilterQueue()
    queue.bind(
        QUEUE,
        lambda packet: delayer.take(packet, time.monotonic()),
        max_len=PACKETS_MAX,
        range=HEADER_BYTES,
    )
    decoder = msgspec.msgpack.Decoder(Late)
    channel.send(msgspec.msgpack.encode(Delayed()))
    while True:
        left_s = delayer.wait_s(time.monotonic())
        orders, packets = channel.fileno(), queue.get_fd()
        ready, _, _ = select.select([orders, packets], [], [], left_s)
        if packets in ready:
            queue.run(block=False)
        if orders in ready:
            data = channel.recv(PACKET_BYTES_MAX)
            if not data:
                return
            channel.send(msgspec.msgpack.encode(delayer.obey(decoder.decode(data))))
        delayer.release(time.monotonic())


if __name__ == "__main__":
    main()
