"""How fast the virtual world is, from ten nodes to thousands, on one core.

    python -m benchmarks.world [--json] [--nodes 10,100,1000,5000]

Each size is a process of its own. Epochs last 5 s, nodes stand in the AWS regions, signatures are
keyed hashes; everybody advertises, some consumers pay windows of work, some accounts pay others.

- 10, 100 and 1,000 nodes: the start (from nothing until everybody has met and advertised), then
  `measured_s` of normal load, in windows of two epochs. `times_real` is of the whole, in CPU time
  of the one thread that runs; `best` is the fastest window, for machines that others use, too.
- 5,000 nodes: until all of them committed three heights, the start included.

Next to it one gossip workload in three kinds of virtual time: `benchmarks.same_gossip`.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from typing import Final

import msgspec

from benchmarks.same_gossip import compare
from p2p.model.parameters import Parameters
from p2p.primitives.units import KIB, Millis
from p2p.protocol.registry import RegistryParameters
from p2p.protocol.replica import NodeParameters
from sim_harness.virtual.conditions import height_at_least, height_min
from sim_harness.virtual.spans import minutes, seconds
from sim_harness.virtual.workload import Trade, Transfers
from sim_harness.virtual.world import World

SEED: Final = 1
EPOCH: Final = seconds(5)
WINDOW: Final = Millis(2 * EPOCH)
SAME_GOSSIP_NODES: Final = 100
RECEIPTS_PER_MINUTE: Final = 6
"""Windows of work that each consumer pays, one consumer for ten nodes and ten at most."""
TRANSFERS_PER_MINUTE: Final = 12
HEIGHTS: Final = 3
HEIGHTS_WITHIN: Final = minutes(3)


class Size(msgspec.Struct, frozen=True):
    """A world to measure. `measured_s` 0: run it to `HEIGHTS` instead."""

    nodes: int
    validators: int
    start_s: int
    measured_s: int
    heard_ms: int | None = None
    """Of the registry, where not its own: nodes that start in one second first meet, then advertise
    within as long again, once. Else each says it five times, mostly before it is connected."""


SIZES: Final = {
    size.nodes: size
    for size in (
        Size(10, 4, start_s=90, measured_s=120),
        Size(100, 10, start_s=90, measured_s=60),
        Size(1_000, 32, start_s=50, measured_s=30, heard_ms=10_000),
        Size(5_000, 32, start_s=0, measured_s=0, heard_ms=60_000),
    )
}


class Row(msgspec.Struct, frozen=True):
    """What one size came to."""

    nodes: int
    validators: int
    virtual_s: float
    """What was measured."""
    cpu_s: float
    times_real: float
    times_real_best: float
    events_per_s: float
    events_per_s_best: float
    peak_mib: float
    height: int
    """Which every node committed."""
    ads: float
    """That a node knows, on average."""
    start_virtual_s: float
    start_cpu_s: float


class Stopwatch:
    """CPU time and events of a world since it was made."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cpu_s = time.process_time()
        self._events = world.heap.events

    def read(self) -> tuple[float, int]:
        """Seconds and events so far."""
        return time.process_time() - self._cpu_s, self._world.heap.events - self._events


def make(size: Size) -> World:
    """The world, about to start."""
    registry = RegistryParameters()
    if size.heard_ms is not None:
        registry = msgspec.structs.replace(
            registry,
            heard_ms=size.heard_ms,
            publish_alone=False,
            pull_ms_min=size.heard_ms,
            pull_ms_max=max(size.heard_ms, registry.pull_ms_max),
            asks_max=0,
        )
    return World(
        seed=SEED,
        nodes=size.nodes,
        validators=size.validators,
        parameters=Parameters(epoch_ms=EPOCH),
        node_parameters=NodeParameters(registry=registry),
    )


def load(world: World) -> None:
    """Consumers pay providers, accounts pay accounts."""
    count = len(world.nodes)
    for number in range(min(10, count // 10)):
        consumer, provider = world.nodes[count - 1 - number], world.nodes[number]
        Trade(world, consumer, provider, every=Millis(minutes(1) // RECEIPTS_PER_MINUTE))
    Transfers(world, every=Millis(minutes(1) // TRANSFERS_PER_MINUTE))


def row(size: Size) -> Row:
    """Measure one size, in this process."""
    world = make(size)
    starting = Stopwatch(world)
    world.start()
    if size.measured_s:
        world.run_for(seconds(size.start_s))
        load(world)
        world.run_for(WINDOW)  # The channels open.
        start_s, start_cpu_s = size.start_s + WINDOW / 1_000, starting.read()[0]
        windows = []
        for _ in range(size.measured_s * 1_000 // WINDOW):
            watch = Stopwatch(world)
            world.run_for(WINDOW)
            windows.append((WINDOW / 1_000, *watch.read()))
    else:
        start_s = start_cpu_s = 0.0
        taken = world.run_until(height_at_least(HEIGHTS), within=HEIGHTS_WITHIN)
        windows = [(taken / 1_000, *starting.read())]
    world.check()
    virtual_s, cpu_s = sum(one[0] for one in windows), sum(one[1] for one in windows)
    ads = [len(one.replica.registry.ads()) for one in world.nodes if one.replica is not None]
    return Row(
        nodes=size.nodes,
        validators=size.validators,
        virtual_s=virtual_s,
        cpu_s=cpu_s,
        times_real=virtual_s / cpu_s,
        times_real_best=max(span_s / spent_s for span_s, spent_s, _ in windows),
        events_per_s=sum(one[2] for one in windows) / cpu_s,
        events_per_s_best=max(events / spent_s for _, spent_s, events in windows),
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB,
        height=height_min(world.nodes),
        ads=sum(ads) / len(ads),
        start_virtual_s=start_s,
        start_cpu_s=start_cpu_s,
    )


def row_elsewhere(nodes: int) -> Row:
    """Measure one size in a new process, whose memory is its own. Raises CalledProcessError."""
    print(f"{nodes} nodes ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.world", "--row", str(nodes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Row)


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description="how fast the virtual world is")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--nodes", default=",".join(map(str, SIZES)), help="sizes, by commas")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row is not None:
        print(msgspec.json.encode(row(SIZES[options.row])).decode())
        return
    same = compare(SAME_GOSSIP_NODES)
    rows = [row_elsewhere(int(nodes)) for nodes in options.nodes.split(",")]
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        found = {"rows": msgspec.to_builtins(rows), "same_gossip": msgspec.to_builtins(same)}
        print(json.dumps({**found, **machine}))
        return
    print("nodes  times real (best)  events/s (best)    peak MiB  height  ads    start: s, CPU s")
    for one in rows:
        print(
            f"{one.nodes:5}  {one.times_real:8.1f} ({one.times_real_best:5.1f})"
            f"  {one.events_per_s:8.0f} ({one.events_per_s_best:6.0f})"
            f"  {one.peak_mib:8.0f}  {one.height:6}  {one.ads:5.0f}"
            f"  {one.start_virtual_s:6.0f} {one.start_cpu_s:6.1f}"
        )
    print("the same gossip of 100 nodes: events/s, times real")
    for name, figures in same.items():
        print(f"  {name:6} {figures.events_per_s:8.0f} {figures.times_real:8.1f}")


if __name__ == "__main__":
    main()
