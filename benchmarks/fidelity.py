"""The same scenario, virtual and live: `python -m benchmarks.fidelity [--nodes 20] [--delay 20]`.

One file, examples/scenarios/fidelity-20.toml, is read once and run twice: in the virtual world, and
as real processes whose transport delays what they send. Medians of commit latency and of ad
propagation have to be within 25 % of each other; exit code 1 when they are not.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import trio

from p2p.model.persistence import Put, Table
from p2p.primitives.units import Millis
from p2p.storage.sqlite import SqliteStore
from sim_harness.live.cluster import LiveCluster
from sim_harness.live.figures import is_brought_up
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.node_process import local_option
from sim_harness.live.timings import (
    Timings,
    ad_latencies,
    commit_latencies,
    live_timings,
    virtual_timings,
)
from sim_harness.scenario.building import build_world
from sim_harness.scenario.quantities import span_text
from sim_harness.scenario.reading import read_scenario
from sim_harness.scenario.results import Distribution, distribution
from sim_harness.scenario.schema import Constant, Scenario
from sim_harness.virtual.disk import SYNC_US
from sim_harness.virtual.machine import Machine, share

FILE: Final = Path("examples/scenarios/fidelity-20.toml")
SEED: Final = 1
CALM_MS: Final = 10_000
"""After all nodes are up: meshes form, and what starting costs is over."""
GRACE_MS: Final = 3_000
"""What was issued later than this before the end is not judged: it may still be on its way."""
UP_DEADLINE_S: Final = 120.0
BOUND: Final = 0.25
PROBE_S: Final = 3.0
PROBE_TIMES: Final = 100


class Measured(msgspec.Struct, frozen=True):
    """One world's figures."""

    commit: Distribution
    ad: Distribution
    ads_missing: int
    heights: int
    seconds: float
    """Of real time that the run took."""
    cpu_ms_per_node_s: float = 0.0
    """Processor time of a live node in a second."""
    load: float = 0.0
    """Of the machine, at the end of a live run: a minute's average."""


class Host(msgspec.Struct, frozen=True):
    """What this machine has for the nodes at present."""

    cores: int
    speed: float
    """Of a core, all being asked for: what others leave of it."""
    commit_ms: float
    """Median of a small commit of a node's store: an fsync."""
    wake_ms: float = 0.0
    """Median lateness of a timer."""


class Row(msgspec.Struct, frozen=True):
    """Medians of one measure, held against one another."""

    what: str
    virtual_ms: int
    live_ms: int
    ratio: float
    """The greater one by the smaller one, less one."""
    within: bool


def probe() -> Host:
    """Measure this machine: a few seconds of all cores, and some fsyncs."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores) as pool:
        shares = list(pool.map(_spin, [PROBE_S] * cores))
    speed = min(1.0, sum(shares) / cores)
    return Host(cores, round(speed, 2), _median_ms(_commits()), _median_ms(trio.run(_wakes)))


def _commits() -> list[float]:
    """Seconds that small commits of a node's store take."""
    spans = []
    with (
        tempfile.TemporaryDirectory(prefix="gigmesh-") as directory,
        closing(SqliteStore(Path(directory) / "probe.db")) as store,
    ):
        for number in range(PROBE_TIMES):
            began_s = time.perf_counter()
            store.commit([Put(Table.META, b"%d" % number, bytes(500))])
            spans.append(time.perf_counter() - began_s)
    return spans


async def _wakes() -> list[float]:
    """Seconds by which a trio task wakes late."""
    late = []
    for _ in range(PROBE_TIMES):
        due_s = trio.current_time() + 0.0205
        await trio.sleep_until(due_s)
        late.append(trio.current_time() - due_s)
    return late


def _median_ms(spans_s: list[float]) -> float:
    return round(statistics.median(spans_s) * 1000, 2)


def _spin(span_s: float) -> float:
    """Share of a core that one process gets when it wants all of it."""
    began_s, used_s = time.perf_counter(), time.process_time()
    while (elapsed_s := time.perf_counter() - began_s) < span_s:
        pass
    return (time.process_time() - used_s) / elapsed_s


def scenario_for(file: Path, nodes: int | None, delay_ms: int | None) -> Scenario:
    """The scenario of a file, for another number of nodes or another distance if asked."""
    scenario = read_scenario(file)
    network = scenario.network
    distance = network.distance if delay_ms is None else Constant(Millis(delay_ms))
    nodes = network.nodes if nodes is None else nodes
    network = msgspec.structs.replace(
        network, nodes=nodes, validators=min(network.validators, nodes), distance=distance
    )
    return msgspec.structs.replace(scenario, network=network)


def run_virtual(scenario: Scenario, seed: int, host: Host | None = None) -> Measured:
    """In the virtual world: a machine for each node, or one host for all. Raises SafetyViolated."""
    began_s = time.perf_counter()
    world = build_world(scenario, seed)
    machine = None
    if host is not None:
        machine = Machine(host.cores, speed=host.speed, wake_us=round(host.wake_ms * 1000))
        share(world, machine)
        for node in world.nodes:
            node.disk.slow_us = max(0, round(host.commit_ms * 1000) - SYNC_US * 3 // 2)
    start_ms = world.now_ms
    world.start()
    world.run_for(Millis(CALM_MS))
    busy_us = 0 if machine is None else machine.busy_us
    world.run_for(Millis(scenario.duration - CALM_MS))
    world.check()
    used_ms = 0 if machine is None else (machine.busy_us - busy_us) / 1000 / len(world.nodes)
    window = (start_ms + CALM_MS, start_ms + scenario.duration - GRACE_MS)
    measured = _measured(
        virtual_timings(world),
        window,
        min(node.height for node in world.nodes),
        time.perf_counter() - began_s,
    )
    cpu_ms = round(1000 * used_ms / (scenario.duration - CALM_MS), 1)
    return msgspec.structs.replace(measured, cpu_ms_per_node_s=cpu_ms)


async def run_live(scenario: Scenario, seed: int) -> Measured:
    """As processes on this machine. Raises ClusterError when a node fails."""
    began_s = time.perf_counter()
    network, distance = scenario.network, scenario.network.distance
    assert isinstance(distance, Constant), "one latency between all nodes"
    chain = {name: value for name, value in scenario.parameters if "." not in name}
    plan = LocalPlan(
        nodes=network.nodes,
        validators=network.validators,
        seed=seed,
        parameters=chain,
        epoch_ms=chain.get("epoch_ms", LocalPlan(nodes=1).epoch_ms),
        options={
            "delay_ms": str(distance.millis),
            "jitter_ms": str(network.jitter),
            "local": local_option(scenario.parameters),
            "watch_ads": "yes",
            "log_level": "warning",
        },
    )
    async with open_network(plan) as cluster:
        await cluster.start_all()
        await cluster.wait(is_brought_up, deadline_s=UP_DEADLINE_S, what="the network to come up")
        await trio.sleep(CALM_MS / 1000)
        from_ms, cpu_ms = time.time_ns() // 1_000_000, _cpu_ms(cluster)
        await trio.sleep((scenario.duration - CALM_MS) / 1000)
        until_ms = time.time_ns() // 1_000_000
        used_ms = (_cpu_ms(cluster) - cpu_ms) / network.nodes
        heights = min(node.height for node in cluster.nodes)
        found = live_timings(cluster)
    measured = _measured(
        found, (from_ms, until_ms - GRACE_MS), heights, time.perf_counter() - began_s
    )
    return msgspec.structs.replace(
        measured,
        cpu_ms_per_node_s=round(1000 * used_ms / (until_ms - from_ms), 1),
        load=round(os.getloadavg()[0], 2),
    )


def _cpu_ms(cluster: LiveCluster) -> int:
    return sum(node.status.cpu_ms for node in cluster.nodes if node.status is not None)


def _measured(found: Timings, window: tuple[int, int], heights: int, seconds: float) -> Measured:
    from_ms, until_ms = window
    ads, missing = ad_latencies(found.heard, from_ms=from_ms, until_ms=until_ms)
    return Measured(
        commit=distribution(commit_latencies(found.finals, from_ms=from_ms, until_ms=until_ms)),
        ad=distribution(ads),
        ads_missing=missing,
        heights=heights,
        seconds=round(seconds, 1),
    )


def compare(virtual: Measured, live: Measured) -> list[Row]:
    """Both medians of both worlds."""
    rows = []
    for what in ("commit", "ad"):
        one: Distribution = getattr(virtual, what)
        other: Distribution = getattr(live, what)
        least = min(one.p50, other.p50)
        ratio = max(one.p50, other.p50) / least - 1 if least > 0 else float("inf")
        within = ratio <= BOUND and one.count > 0 and other.count > 0
        rows.append(Row(what, one.p50, other.p50, round(ratio, 3), within))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=FILE, help="a scenario without faults")
    parser.add_argument("--nodes", type=int, help="instead of the file's")
    parser.add_argument("--delay", type=int, help="ms one way, instead of the file's")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    scenario = scenario_for(arguments.file, arguments.nodes, arguments.delay)
    alone = run_virtual(scenario, arguments.seed)
    host = probe()
    virtual = run_virtual(scenario, arguments.seed, host)
    live = trio.run(run_live, scenario, arguments.seed)
    rows = compare(virtual, live)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    if arguments.json:
        worlds = {"virtual": virtual, "live": live, "virtual_without_host": alone, "host": host}
        print(json.dumps(msgspec.to_builtins({"rows": rows, **worlds, "machine": machine})))
    else:
        _print(scenario, rows, machine)
        print(
            f"host: {host.cores} cores at {host.speed:.0%}, a commit takes {host.commit_ms} ms,"
            f" a timer is {host.wake_ms} ms late\n"
            f"(virtual without it: {alone.commit.p50} ms and {alone.ad.p50} ms)"
        )
        _print_worlds(virtual, live)
    sys.exit(0 if all(row.within for row in rows) else 1)


def _print(scenario: Scenario, rows: list[Row], machine: str) -> None:
    network = scenario.network
    print(
        f"{scenario.name}: {network.nodes} nodes, {network.validators} validators,"
        f" {span_text(scenario.duration)}; {machine}"
    )
    print(f"{'median of':18} {'virtual':>9} {'live':>9} {'apart':>7}")
    for row in rows:
        verdict = "within 25 %" if row.within else "TOO FAR APART"
        names = {"commit": "commit latency", "ad": "ad propagation"}
        figures = f"{row.virtual_ms:6} ms {row.live_ms:6} ms {row.ratio:7.1%}"
        print(f"{names[row.what]:18} {figures}  {verdict}")


def _print_worlds(virtual: Measured, live: Measured) -> None:
    for name, one in (("virtual", virtual), ("live", live)):
        print(
            f"{name:8} commits {one.commit.count} (p95 {one.commit.p95} ms), ads {one.ad.count}"
            f" (p95 {one.ad.p95} ms, {one.ads_missing} missing), height {one.heights},"
            f" {one.cpu_ms_per_node_s} ms of CPU a node and second, took {one.seconds} s"
        )
    print(f"load of the machine at the end of the live run: {live.load}")


if __name__ == "__main__":
    main()
