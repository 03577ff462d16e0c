"""How far one machine gets: `python -m benchmarks.ladder [--nodes 25,50,100] [--json]`.

For each number of nodes, twice: our whole nodes (consensus, ledger, ads, SQLite), and stock hosts
of py-libp2p with their own GossipSub that carry the same ads and nothing else. Both are forked by
the same parent, report over the same sockets, and publish when they are told to. The table says how
long the network took to stand, how late ads were, what a node took of a processor while one ad a
second went round, and the memory of all processes.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from p2p.node.testnet import free_base_port
from sim_harness.live.cluster import ClusterError, LiveCluster, NodeState, open_homes
from sim_harness.live.messages import Reprice
from sim_harness.live.network import HOST, LocalPlan, open_network
from sim_harness.live.process_memory import usage
from sim_harness.live.rough_wires import UNBOUNDED
from sim_harness.live.setup import Setup
from sim_harness.live.timings import ad_latencies, commit_latencies, live_timings
from sim_harness.scenario.results import Distribution, distribution

STEPS: Final = (25, 50, 100, 200, 300)
VALIDATORS_MAX: Final = 32
EPOCH_MS: Final = 10_000
DIALS: Final = 5
ADS: Final = 20
EVERY_S: Final = 1.0
TAIL_S: Final = 10.0
CALM_S: Final = 5.0
UP_S: Final = 400.0
SEED: Final = 11


class Step(msgspec.Struct):
    """One stack at one number of nodes."""

    stack: str
    nodes: int
    served_s: float | None = None
    """Until every process listened."""
    up_s: float | None = None
    """Until every node had a mesh (ours: and a block)."""
    ad: Distribution = Distribution()
    ads_missing: int = 0
    commit: Distribution = Distribution()
    cpu_percent_node: float = 0.0
    memory_mib: float = 0.0
    load: float = 0.0
    failed: str = ""


@asynccontextmanager
async def ours(nodes: int) -> AsyncIterator[LiveCluster]:
    """Our nodes over bare sockets."""
    validators = min(VALIDATORS_MAX, nodes)
    with tempfile.TemporaryDirectory(prefix="gigmesh-ladder-") as scratch:
        setup = Setup(
            seed=SEED,
            nodes=nodes,
            validators=validators,
            rows_us=((0,),),
            places=(0,) * nodes,
            jitter_us=0,
            bytes_per_second=UNBOUNDED,
            parameters=(("gossip.flush_ms", 20),),
        ).write(Path(scratch))
        options = {
            "setup": str(setup),
            "watch_ads": "yes",
            "log_level": "warning",
            "report_ms": "1000",
        }
        plan = LocalPlan(
            nodes=nodes, validators=validators, epoch_ms=EPOCH_MS, seed=SEED, options=options
        )
        async with open_network(plan) as cluster:
            yield cluster


@asynccontextmanager
async def stock(nodes: int) -> AsyncIterator[LiveCluster]:
    """Stock hosts, each of which dials some drawn others."""
    draws = random.Random(SEED)
    dials = [
        ",".join(str(one) for one in draws.sample(range(index), min(index, DIALS)))
        for index in range(nodes)
    ]
    options = {"base_port": str(free_base_port(HOST, nodes)), "dials": ":".join(dials)}
    with tempfile.TemporaryDirectory(prefix="gigmesh-ladder-") as scratch:
        homes = [Path(scratch) / f"node-{index:03}" for index in range(nodes)]
        for home in homes:
            home.mkdir()
        entry = "benchmarks.ladder_stock:run"
        async with open_homes(homes, entry=entry, options=options) as cluster:
            yield cluster


def is_meshed(cluster: LiveCluster, *, height: int) -> bool:
    """Whether every node runs in a mesh and has a block, if there are any."""
    return all(
        node.state is NodeState.UP
        and node.status is not None
        and node.status.mesh >= min(2, len(cluster.nodes) - 1)
        and node.status.height >= height
        for node in cluster.nodes
    )


async def climb(stack: str, nodes: int) -> Step:
    """One step. What fails is told in it."""
    step = Step(stack, nodes)
    began_s = time.monotonic()
    try:
        async with (ours if stack == "ours" else stock)(nodes) as cluster:
            await cluster.start_all()
            step.served_s = round(time.monotonic() - began_s, 1)
            height = int(stack == "ours")
            await cluster.wait(
                lambda all_: is_meshed(all_, height=height), deadline_s=UP_S, what="the meshes"
            )
            step.up_s = round(time.monotonic() - began_s, 1)
            await trio.sleep(CALM_S)
            await measure(cluster, step)
    except ClusterError as error:
        step.failed = str(error).partition("\n")[0]
    return step


async def measure(cluster: LiveCluster, step: Step) -> None:
    """Let ads go round, and see what it takes."""
    draws = random.Random(SEED)
    from_ms, cpu_ms, from_s = _now_ms(), _cpu_ms(cluster), time.monotonic()
    for number in range(ADS):
        await cluster.order(draws.randrange(step.nodes), Reprice(number, 10_100))
        await trio.sleep(EVERY_S)
    until_ms = _now_ms()
    spent_s = time.monotonic() - from_s
    step.cpu_percent_node = round((_cpu_ms(cluster) - cpu_ms) / step.nodes / spent_s / 10, 2)
    await trio.sleep(TAIL_S)
    found = live_timings(cluster)
    latencies, step.ads_missing = ad_latencies(found.heard, from_ms=from_ms, until_ms=until_ms)
    step.ad = distribution(latencies)
    step.commit = distribution(commit_latencies(found.finals, from_ms=from_ms, until_ms=until_ms))
    pids = [cluster.zygote_pid, *(node.pid for node in cluster.nodes if node.pid is not None)]
    taken = [usage(pid) for pid in pids]
    step.memory_mib = round(sum(one.pss_bytes for one in taken if one) / 2**20, 1)
    step.load = round(os.getloadavg()[0], 1)


def _cpu_ms(cluster: LiveCluster) -> int:
    return sum(node.status.cpu_ms for node in cluster.nodes if node.status is not None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default=",".join(map(str, STEPS)), help="25,50,100 and so on")
    parser.add_argument("--stack", choices=["ours", "py-libp2p", "both"], default="both")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    stacks = ["ours", "py-libp2p"] if arguments.stack == "both" else [arguments.stack]
    steps = []
    for nodes in (int(one) for one in arguments.nodes.split(",")):
        for stack in stacks:
            steps.append(trio.run(climb, stack, nodes))
            if not arguments.json:
                print(_line(steps[-1]), flush=True)
    if arguments.json:
        machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.python_version()}"
        print(json.dumps(msgspec.to_builtins({"steps": steps, "machine": machine})))
    sys.exit(1 if any(step.failed for step in steps if step.stack == "ours") else 0)


def _line(step: Step) -> str:
    if step.failed:
        return f"{step.nodes:4} {step.stack:10} FAILED: {step.failed}"
    commit = f", commit p50 {step.commit.p50} p95 {step.commit.p95} ms" if step.commit.count else ""
    return (
        f"{step.nodes:4} {step.stack:10} served {step.served_s} s, up {step.up_s} s; ad p50"
        f" {step.ad.p50} p99 {step.ad.p99} ms, {step.ads_missing} missing of"
        f" {step.ad.count + step.ads_missing}{commit}; {step.cpu_percent_node} % of a core a node,"
        f" {step.memory_mib:.0f} MiB; load {step.load}"
    )


if __name__ == "__main__":
    main()
