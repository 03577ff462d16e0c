"""One gossip workload in three kinds of virtual time, to compare what the schedulers cost.

The same machines (the product's `Gossip`, one a node), neighbours, latencies and messages run

- as callbacks on the virtual world's event heap;
- as trio tasks on a `MockClock`: a task a node that reads its inbox, a sleeping task an input that
  is under way;
- as a SimPy model: a process a node that reads its store, a process an input that is under way.

What is delivered is the same in all three, and checked. Each is written as one writes it there.
"""

import time
from collections.abc import Generator
from random import Random
from typing import Final

import msgspec
import simpy
import trio
import trio.testing

from p2p.model.effects import SetTimer
from p2p.model.inputs import PeerConnected, TimerFired
from p2p.model.rpc import Rpc, Subscription
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.gossip import (
    Gossip,
    GossipInput,
    GossipParameters,
    MessageValidated,
    Published,
    RpcReceived,
    RpcSent,
    SendRpc,
    Started,
    Subscribed,
    Validate,
    Verdict,
)
from sim_harness.virtual.heap import MICROS_PER_MS, EventHeap
from sim_harness.virtual.regions import REGIONS, latencies_of

NEIGHBOURS: Final = 8
SPAN_MS: Final = 20_000
MESSAGES: Final = 100
"""Published in the first half of the span, at drawn moments by drawn nodes."""
DATA_BYTES: Final = 300
TOPIC: Final = "/gigmesh/0badcafe/ads/1"

Due = tuple[int, int, GossipInput]
"""Milliseconds from now, node, what happens to it."""


class Network:
    """The machines, and what each input leads to elsewhere and later; nothing of time."""

    def __init__(self, nodes: int) -> None:
        draws = Random(7)
        self.handled = 0
        self._latency = latencies_of(REGIONS)
        self._names = [PeerId(b"peer %d" % index) for index in range(nodes)]
        self._indices = {name: index for index, name in enumerate(self._names)}
        self.machines = [Gossip(name, GossipParameters(), b"same") for name in self._names]
        hello = Rpc((Subscription(True, TOPIC),))
        for here in range(nodes):
            for there in draws.sample(range(nodes), NEIGHBOURS // 2):
                if here != there:
                    self._connect(here, there, hello, outbound=True)
                    self._connect(there, here, hello, outbound=False)
        self.first: list[Due] = [(1, index, Started()) for index in range(nodes)]
        self.first += [(2, index, Subscribed(TOPIC)) for index in range(nodes)]
        for number in range(MESSAGES):
            at_ms = draws.randrange(SPAN_MS // 4, SPAN_MS // 2)
            data = number.to_bytes(4) * (DATA_BYTES // 4)
            self.first.append((at_ms, draws.randrange(nodes), Published(TOPIC, data)))

    def _connect(self, here: int, there: int, hello: Rpc, *, outbound: bool) -> None:
        machine, peer = self.machines[here], self._names[there]
        machine.step(PeerConnected(peer, outbound=outbound, address=""), Millis(0))
        machine.step(RpcReceived(peer, hello), Millis(0))

    @property
    def delivered(self) -> int:
        """Messages that reached a node for the first time."""
        return sum(machine.counters.delivered for machine in self.machines)

    def handle(self, index: int, item: GossipInput, now_ms: int) -> list[Due]:
        """Let something happen to a node."""
        due: list[Due] = []
        machine = self.machines[index]
        waiting = [item]
        for one in waiting:
            self.handled += 1
            for effect in machine.step(one, Millis(now_ms)):
                match effect:
                    case SendRpc(peer=peer, rpc=rpc):
                        there = self._indices[peer]
                        delay_ms = self._latency(index, there) // MICROS_PER_MS
                        due.append((delay_ms, there, RpcReceived(self._names[index], rpc)))
                        waiting.append(RpcSent(peer))
                    case Validate(message_id=message_id):
                        waiting.append(MessageValidated(message_id, Verdict.ACCEPT))
                    case SetTimer(key=key, at_ms=at_ms):
                        due.append((at_ms - now_ms, index, TimerFired(key)))
                    case _:
                        pass
        return due


class Figures(msgspec.Struct, frozen=True):
    """What one kind of time took for the workload."""

    cpu_s: float
    events_per_s: float
    times_real: float
    delivered: int


def on_the_heap(network: Network) -> None:
    """Callbacks on the virtual world's heap."""
    heap = EventHeap(0)

    def plan(due: list[Due]) -> None:
        for delay_ms, index, item in due:

            def happen(index: int = index, item: GossipInput = item) -> tuple[int]:
                plan(network.handle(index, item, heap.now_ms))
                return (index,)

            heap.after(delay_ms * MICROS_PER_MS, "input", happen)

    plan(network.first)
    heap.run(SPAN_MS * MICROS_PER_MS)


def on_trio(network: Network) -> None:
    """Tasks on trio's mock clock."""

    async def main() -> None:
        start_s = trio.current_time()
        pipes = [trio.open_memory_channel[GossipInput](1_000_000) for _ in network.machines]

        async def arrive(delay_ms: int, index: int, item: GossipInput) -> None:
            await trio.sleep(delay_ms / 1_000)
            await pipes[index][0].send(item)

        async def live(index: int, nursery: trio.Nursery) -> None:
            async for item in pipes[index][1]:
                now_ms = round((trio.current_time() - start_s) * 1_000)
                for due in network.handle(index, item, now_ms):
                    nursery.start_soon(arrive, *due)

        with trio.move_on_after(SPAN_MS / 1_000):
            async with trio.open_nursery() as nursery:
                for index in range(len(network.machines)):
                    nursery.start_soon(live, index, nursery)
                for due in network.first:
                    nursery.start_soon(arrive, *due)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def on_simpy(network: Network) -> None:
    """Processes of SimPy."""
    environment = simpy.Environment()
    stores = [simpy.Store(environment) for _ in network.machines]

    def arrive(delay_ms: int, index: int, item: GossipInput) -> Generator[simpy.Event, None, None]:
        yield environment.timeout(delay_ms)
        yield stores[index].put(item)

    def live(index: int) -> Generator[simpy.Event, GossipInput, None]:
        while True:
            item = yield stores[index].get()
            for due in network.handle(index, item, int(environment.now)):
                environment.process(arrive(*due))

    for index in range(len(network.machines)):
        environment.process(live(index))
    for due in network.first:
        environment.process(arrive(*due))
    environment.run(until=SPAN_MS)


KINDS: Final = {"heap": on_the_heap, "trio": on_trio, "simpy": on_simpy}


def compare(nodes: int) -> dict[str, Figures]:
    """Run the workload once in every kind of time. Raises AssertionError when results differ."""
    figures: dict[str, Figures] = {}
    for name, run in KINDS.items():
        network = Network(nodes)
        start_s = time.process_time()
        run(network)
        cpu_s = time.process_time() - start_s
        figures[name] = Figures(
            cpu_s=cpu_s,
            events_per_s=network.handled / cpu_s,
            times_real=SPAN_MS / 1_000 / cpu_s,
            delivered=network.delivered,
        )
    assert {one.delivered for one in figures.values()} == {MESSAGES * (nodes - 1)}, figures
    return figures
